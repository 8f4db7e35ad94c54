/* plugins/workers/backup/tools.h - pg_dump and pg_restore: which one, of which version, and running one.
 *
 * Looked for, in this order: the path that the job's caller gave (only one inside of tools_dir, or the
 * configured one: D-42); pg_dump / pg_restore of the configuration; tools_dir/<major>/bin of the server's
 * major; then, of tools_dir, PATH and /usr/lib/postgresql/<major>/bin, the one of the server's major, else the
 * oldest that is newer. Nothing is ever installed or fetched (D-45). What a program says its version is
 * is asked once, until the file changes.
 */
#ifndef WORKERS_BACKUP_TOOLS_H
#define WORKERS_BACKUP_TOOLS_H

#include "target.h"

enum tool_kind { TOOL_DUMP, TOOL_RESTORE };

struct tool {
    ath_str path, version;       /* "/usr/bin/pg_dump", "15.6"; in the arena */
    uint32_t major;
};

struct tool_want {
    enum tool_kind kind;
    uint32_t major;              /* at least this one; 0: unknown, the newest will do */
    const char *because;         /* what has it, in messages: "the server", "the archive" */
    ath_str override;            /* of the payload; empty: none */
};

/* An operation. ATH_E_RETRY: there is none here; ATH_E_CONFIG: all that there are are too old, which
 * names both versions; ATH_E_INPUT: the override may not be used. */
int tool_find(ath_task *t, const struct tool_want *w, struct tool *ret, ath_then *then, void *arg,
              ath_err *e);

enum { TOOL_ARGS = 24 };

struct tool_run {                /* lives until `then` */
    const struct tool *tool;
    const struct target_files *files;
    const char *args[TOOL_ARGS]; /* behind argv[0]; ends with NULL */
    void (*line)(void *arg, ath_str text); /* each line that it writes, on the task's loop */
    void *line_arg;
    const char *argv[TOOL_ARGS + 1]; /* ours from here on */
    ath_child child;
    ath_then *then;
    void *arg;
};

/* An operation, in a process group of its own: d->status, d->signal. It ends when the process has: after
 * TERM, and KILL ten seconds later, where it is cancelled or too late (D-36). */
int tool_run(ath_task *t, struct tool_run *r, ath_then *then, void *arg, ath_err *e);

/* "4" of jobs: the configuration's number, else processors, at most 4; in the arena. */
const char *tool_jobs(ath_task *t);

#endif
