/* core/server/command.h - the commands that are not serving.
 *
 * Those of the core only look: nothing is started. A plugin's command is found by the notes of what is
 * installed, and only what it needs is loaded.
 */
#ifndef CORE_SERVER_COMMAND_H
#define CORE_SERVER_COMMAND_H

#include "server/cli.h"
#include "server/setup.h"

int command_check_config(const struct cli *cli); /* 0: accepted; 1: every error was printed */
int command_reference(const struct cli *cli);    /* the tables of the core and of all installed plugins */
int command_plugins(const struct cli *cli);      /* what is installed, and why something is not loaded */
int command_plugin(const struct cli *cli);       /* runs a plugin's own */

int command_migrate(const struct cli *cli); /* control/migrate.h, for the components of all */

/* A command that is a task on the control loop of a process without started plugins: with the databases
 * of `s`. Returns its exit status; what fails is printed. */
int command_task(const struct cli *cli, struct setup *s, const char *label, ath_run *run, void *arg);

/* What looks for plugins' commands while the command line is parsed. */
struct commands {
    struct setup *setup;         /* opened at the first word that is no command of the core */
    struct capability *cap;
    struct cli_command found;
    const char *loaded;          /* the first word of the commands that were loaded; NULL: none yet */
    int rc;
};
struct cli_finder commands_finder(struct commands *c);
void commands_free(struct commands *c);

#endif
