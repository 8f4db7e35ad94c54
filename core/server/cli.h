/* core/server/cli.h - the command line: which command, with which options.
 *
 *     athena [OPTIONS] [COMMAND [ARGUMENTS]]       no command: serve
 *
 * Options are field tables, the same kind that configuration has: `--pipelines-path PATH` sets the
 * field "pipelines_path"; a BOOL is a switch; ATH_CF_ARG is taken by position, and one whose key
 * ends in "..." takes all that is left, each word ended by a NUL. `--name=value` works, `--` ends
 * the options, global ones may stand before or behind the command. A command's name may be two
 * words. The name of the executable chooses the command when no word does: athena-daemon,
 * athena_clone_worker, and so on.
 */
#ifndef CORE_SERVER_CLI_H
#define CORE_SERVER_CLI_H

#include <stdio.h>

#include "base/arena.h"
#include "config/config.h"

struct cli;
typedef int cli_run_fn(const struct cli *cli);

struct cli_command {
    const char *name;            /* "serve", "backup create" */
    const char *also;            /* other spellings, blank between: "server", "--check-config" */
    const char *arguments;       /* for the help: "FAMILY" */
    const char *summary;
    const ath_field *field;
    uint32_t field_size, field_count;
    size_t options_size;
    size_t run;                  /* offset in struct cli_runs; of a plugin's: that of `plugin` */
    const void *data;            /* the finder's own */
};

/* What runs the commands that the server brings, and the ones of plugins. NULL: not offered. */
struct cli_runs {
    cli_run_fn *serve, *daemon, *worker, *check_config, *config_reference, *plugins, *plugin;
};

struct cli_finder {              /* commands of plugins */
    void *arg;
    /* By its first word, or its first two; NULL: no plugin has it. It may load the plugin. */
    const struct cli_command *(*find)(void *arg, const char *word, const char *next);
    /* Names for the help and for "did you mean", by index; NULL past the end. */
    const char *(*name)(void *arg, size_t i, const char **ret_summary);
};

struct cli_worker_options { ath_str family; };
struct cli_reference_options { ath_str section; int32_t markdown, sample; };
struct cli_plugins_options { int32_t json; };

struct cli {
    ath_arena arena;
    const struct cli_command *command;
    const char *link;            /* the command that the executable's name stands for, or NULL */
    void *options;               /* the command's struct, filled */
    /* global */
    ath_str config, pipelines_path;
    int64_t port, max_workers;   /* -1: not given */
    int32_t api_only, cdc_only, help, version;
};

enum { CLI_GO = -1 };            /* else the exit status: 0 done, 1 refused, 2 wrong usage */

/* Help and version go to `err`, as do mistakes; the command `version` prints to `out`. `finder` may
 * be NULL. cli_free() after it in any case. */
int cli_parse(int argc, char *const *argv, const struct cli_finder *finder, struct cli *ret,
              FILE *out, FILE *err);
int cli_run(const struct cli *cli, const struct cli_runs *runs, FILE *err);
void cli_free(struct cli *cli);

/* Hands the global options that stand for configuration keys to it. */
void cli_override(const struct cli *cli, struct config *c);

#endif
