/* driver-embedded-postgres: `athena dev`, everything that a first look, a test or a demo needs. */
#include "dev.h"

static const ath_field fields[] = {
    ATH_INT(struct options, port, "port", "4052", "0..65535",
            "TCP port of the server; 0 picks a free one."),
    ATH_STR(struct options, state, "state", "", NULL,
            "Folder of databases, key and logs; empty: $XDG_STATE_HOME/athena/dev or the like."),
    ATH_BOOL(struct options, fresh, "fresh", "false",
             "Begin anew: what the folder holds is removed."),
    ATH_BOOL(struct options, exec, "exec", "false",
             "Run the command behind -- against it, then stop everything; exits with its status."),
    ATH_STR(struct options, command, "command...", "", NULL, "The command of --exec.",
            .flags = ATH_CF_ARG),
};

static const ath_command dev = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "dev"),
    .summary = "A private PostgreSQL with demo data and a server in front of it",
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct options),
    .run = dev_run,
};
static const ath_cap *const caps[] = { &dev.cap, NULL };

ATH_PLUGIN("driver-embedded-postgres", "1.0.0", "athena.secrets@1", "command.dev",
           .summary = "athena dev: a private PostgreSQL and a server in front of it", .cap = caps);
