/* athena/job.h - work that outlives a request: queues, workers, ticks.
 *
 * A family (backup, clone ...) is a table of rows with a state. The plugin describes the table by
 * the names of its columns and the words of its states, and the host makes the SQL: claim with a
 * lease, renewal, finish, retry, cancel, sweep, depth, listing. The routes and the worker of a
 * family both bring the same ath_queue. Putting a job into it is the plugin's own INSERT, then
 * ath_job_api.wake.
 *
 * A worker without a queue is a tick; a schedule is a tick that inserts.
 *
 * A job may run twice: a worker that stalls past its lease loses it, and another one starts again.
 * So every step is safe to repeat, and writes of the plugin's own say ATH_PG_FENCED.
 */
#ifndef ATHENA_JOB_H
#define ATHENA_JOB_H

#include <athena/task.h>

/* clang-format off */

/* cap.name: the family's queue, "backup". Texts are names of columns or words of the state column,
 * fixed in the plugin; NULL: the family has no such thing. */
typedef struct {
    ath_cap     cap;
    const char *table;           /* "backup_jobs", of the control plane */
    const char *key;             /* primary key: "id" */
    const char *args;            /* JSON that the job is given: "queue_payload" */
    const char *status;          /* the state column; then its words: */
    const char *waiting, *again, *claimed, *active; /* "pending", ..., "running" */
    const char *done, *dead, *canceling, *canceled;      /* "completed", "failed", ... */
    const char *created, *due;   /* timestamps: made, not before */
    const char *priority;        /* higher runs first */
    const char *attempts, *max_attempts;
    const char *token, *until, *owner;   /* the lease: a fresh UUID, its end, who holds it */
    const char *pin;             /* of the daemon that alone may run it */
    const char *client;          /* whose database an empty ath_query.client means */
    const char *cancel;          /* BOOL or timestamp: somebody asked to cancel */
    const char *error, *progress, *result, *finished;
    const char *where;           /* more to the claim, fixed SQL text: "enabled" */
} ath_queue;

/* How a worker runs; filled with the host's defaults, changed by the plugin's config. */
typedef struct {
    uint32_t size;
    uint32_t concurrency;        /* jobs at once in this process */
    uint32_t per_client;         /* of them for one client; 0: any */
    uint32_t max_attempts;       /* before a job is dead */
    uint64_t poll_ms;            /* looking for work without being woken; of a tick: its period */
    uint64_t lease_ms;           /* renewed at a third */
    uint64_t grace_ms;           /* for cleaning up after a cancel or a drain */
} ath_pace;

enum {
    ATH_WK_SINGLE = 1,           /* one runner per control plane, by advisory lock */
    ATH_WK_APART  = 2            /* never inside the HTTP process */
};

/* cap.name: as the daemon registry shows it. */
typedef struct {
    ath_cap          cap;
    const char      *family;     /* "backup": what `athena worker backup` selects */
    const char      *gate;       /* BOOL key of this plugin that switches it off; NULL: always on */
    const ath_queue *queue;      /* NULL: no rows; run is a tick every poll_ms */
    void (*pace)(const void *config, ath_pace *p);   /* NULL: the defaults */
    /* One job, on a work loop. Ends well by `done` (d->bytes: JSON of the result column);
     * ATH_E_RETRY puts it back with a delay, any other code ends it as dead. The row is written
     * when all that it started has ended. */
    int  (*run)(ath_job *j, ath_err *e);
    uint32_t flags, pad;         /* ATH_WK_* */
} ath_worker;

enum { ATH_JOB_CANCEL = 1, ATH_JOB_RETRY };
typedef struct {                 /* what an operator does to a job */
    uint32_t size;
    int32_t  what;               /* ATH_JOB_* */
    const char *queue;           /* its cap.name */
    ath_str  key;
} ath_act;

typedef struct {                 /* leases, heartbeats and retries are the host's */
    uint32_t size, pad;
    ath_str  (*key)(ath_job *j);         /* borrowed, as long as the job; so is args */
    ath_str  (*args)(ath_job *j);        /* JSON; empty: the family has none */
    uint32_t (*attempt)(ath_job *j);     /* from 1 */
    int      (*progress)(ath_task *t, ath_str json);     /* copied; < 0: the lease was lost */
    void     (*wake)(const char *queue); /* after an INSERT has committed; any thread */
    ATH_OP(act, const ath_act *a);       /* d->count 0: not in a state that allows it */
} ath_job_api;

/* clang-format on */
#endif
