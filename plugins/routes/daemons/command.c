/* athena daemons: which processes run workers. */
#include "daemons.h"

static int daemons_run(ath_task *t, const void *options, ath_err *e)
{
    (void)options;
    return admin_remote(t, "GET", ATH_S("/admin/daemons"), (ath_str){ 0 }, e);
}

const ath_command daemons_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "daemons"),
    .summary = "The processes that run workers, with their heartbeats",
    .columns = "daemon_id,status,runtime_kind,version,last_seen_at,workers",
    .rows = "data.daemons",
    .run = daemons_run,
};
