/* `athena idempotency install`: the SQL that makes a client's database ready for idempotency keys.
 *
 * It is printed, for psql or a migration: nothing changes a client's schema but its operator.
 *
 *     athena idempotency install | psql postgres://...
 */
#include "gateway.h"

struct options {
    char none;
};

static int run(ath_task *t, const void *options, ath_err *e)
{
    (void)options, (void)e;
    ath_host_->task->done(
        t, &(ath_done){ .size = sizeof(ath_done), .bytes = str_trim(str_of(idempotency_sql)) });
    return 0;
}

const ath_command gateway_install = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "idempotency install"),
    .summary = "The SQL that a client's database needs for idempotency keys, for psql",
    .options_size = sizeof(struct options),
    .run = run,
};
