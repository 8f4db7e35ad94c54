/* core/server/cli.h - the command line: which command, with which options.
 *
 *     athena [OPTIONS] [COMMAND [ARGUMENTS]]       no command: serve
 *
 * Options are field tables, the same kind that configuration has: `--pipelines-path PATH` sets the
 * field "pipelines_path"; a BOOL is a switch; ATH_CF_ARG is taken by position, and one whose key
 * ends in "..." takes all that is left, each word ended by a NUL. `--name=value` works, `--` ends
 * the options, global ones may stand before or behind the command. A command's name may be up to
 * three words. The value of a secret is blanked in `argv`. The name of the executable chooses the
 * command when no word does: athena-daemon,
 * athena_clone_worker, and so on.
 */
#ifndef CORE_SERVER_CLI_H
#define CORE_SERVER_CLI_H

#include <stdio.h>

#include "base/arena.h"
#include "config/field.h"

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
    cli_run_fn *doctor, *diag, *completion, *migrate;
    cli_run_fn *clients_list, *clients_add, *clients_remove, *clients_set_default;
};

struct cli_finder {              /* commands of plugins */
    void *arg;
    /* The one whose name is what the words begin with; NULL: no plugin has it. It may load the
     * plugin. */
    const struct cli_command *(*find)(void *arg, const char *const *word, uint32_t n);
    /* The i-th of those whose names begin with this word and have more; NULL past the end. May be
     * NULL itself. */
    const struct cli_command *(*member)(void *arg, const char *word, size_t i);
    /* Names for the help and for "did you mean", by index; NULL past the end. */
    const char *(*name)(void *arg, size_t i, const char **ret_summary);
};

struct cli_worker_options { ath_str family; };
struct cli_reference_options { ath_str section; int32_t markdown, sample; };
struct cli_completion_options { ath_str shell; };
struct cli_clients_options { ath_str path, name, uri; };
struct cli_migrate_options { ath_str action, component; int32_t dry_run, apply; };

struct cli {
    ath_arena arena;
    const struct cli_command *command;
    const char *link;            /* the command that the executable's name stands for, or NULL */
    void *options;               /* the command's struct, filled */
    /* global */
    ath_str config, env_file, pipelines_path, url, admin_key, roles;
    int64_t port, max_workers;   /* -1: not given */
    int32_t api_only, cdc_only, help, version;
    int32_t json;                /* what the command prints is for programs */
};

/* The executable's name that stands for a command with this argument: "athena-clone-worker"; NULL: none
 * does. */
const char *cli_link(const char *command, const char *argument);

enum { CLI_WORDS_MOST = 3 };     /* of a command's name */

/* The core's own commands and the options that stand before or behind any, for completion. */
const struct cli_command *cli_command_at(size_t i); /* NULL past the end */
struct config_table cli_table(const struct cli_command *c); /* NULL: the global options */

/* How many of the words the command's name is, when they begin with it; else 0. */
uint32_t cli_words(const char *name, const char *const *word, uint32_t n);

/* "--pipelines-path" for "pipelines_path". */
ath_str cli_spelled(ath_arena *a, const char *key);

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
