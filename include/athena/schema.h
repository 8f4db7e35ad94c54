/* athena/schema.h - tables that a plugin needs, and checks of what it depends on. */
#ifndef ATHENA_SCHEMA_H
#define ATHENA_SCHEMA_H

#include <athena/task.h>

/* clang-format off */

/* For athena doctor, /health and /ready. Runs in the background, as a task on a work loop; the last
 * answer is what is shown. `done` with d->bytes (one line, or empty): good; a negative code: bad,
 * its message is shown. */
typedef struct {
    ath_cap     cap;             /* cap.name: "backup.storage" */
    const char *summary;         /* what it checks, one line */
    ath_run    *run;             /* arg is NULL */
    uint32_t    every_ms, flags; /* 0: once a minute; flags 0 */
} ath_check;

/* One step: version rises from step to step, name says what it does. Frozen once published: a step
 * that has run anywhere never changes. */
typedef struct { const char *name, *sql; uint32_t version, flags; } ath_step;

/* cap.name: the component, "backup", under which the versions are kept. Steps run in order, under
 * an advisory lock, each in one transaction. What `expect` names is probed once per pool; when
 * something is missing the plugin's routes answer 503 and name it. */
typedef struct {
    ath_cap         cap;
    const char     *client;      /* "@control", "@auth"; "": each client, at first use */
    const char     *expect;      /* "backup_jobs(id, status) ...": what must be there, or NULL */
    const ath_step *step;
    uint32_t        step_size, step_count;
} ath_schema;

/* clang-format on */
#endif
