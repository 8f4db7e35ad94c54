/* athena/job.h - work that outlives a request: queues, workers, ticks.
 *
 * A family (backup, clone ...) is a table of rows with a state. The plugin describes the table by
 * the names of its columns and the words of its states, and the host makes the SQL: claim with a
 * lease, renewal, finish, retry, cancel, sweep, depth, listing. The routes and the worker of a
 * family both bring the same ath_queue. Putting a job into it is the plugin's own INSERT, then
 * ath_job_api.wake.
 *
 * A worker without a queue is a tick; one with a schedule is a table of rows that are due now and then
 * (ath_schedule). A job that may be there only once at a time has a key for that in the column `unique`;
 * ath_job_api.put answers with the one that is there.
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
    const char *where;           /* more to the claim, fixed SQL text of its columns: "enabled" */
    const char *started, *touched;       /* timestamps: first claimed, last changed */
    uint32_t    flags, pad;      /* ATH_QUEUE_* */
    /* Text: of those that wait or run no two have the same; null: any number. A partial unique index
     * sees to it: ON table (unique) WHERE status IN (every word of theirs). */
    const char *unique;
    /* More that a job which is over gets when it is to wait again: assignments, fixed SQL text of
     * its columns, "began_at = NULL, note = q.error". */
    const char *revive;
} ath_queue;

enum {
    ATH_QUEUE_QUIET = 1          /* many small jobs: that one is claimed or ends well is no event */
};

/* How a worker runs; filled with the host's defaults, changed by the plugin's config. */
typedef struct {
    uint32_t size;
    uint32_t concurrency;        /* jobs at once in this process */
    uint32_t per_client;         /* of them for one client, in all processes; 0: any. With it clients
                                  * come by turns, each one's jobs in their order: one that was put
                                  * back holds up those behind it. 1: never two at once */
    uint32_t max_attempts;       /* before a job is dead */
    uint64_t poll_ms;            /* looking for work without being woken; of a tick: its period */
    uint64_t lease_ms;           /* renewed at a third */
    uint64_t grace_ms;           /* for cleaning up after a cancel or a drain */
    uint64_t deadline_ms;        /* of one attempt, apart from the lease; 0: none */
    uint64_t retry_ms, retry_most_ms;    /* first delay of ATH_E_RETRY; it doubles, up to the most */
    uint64_t retain_ms;          /* finished rows that are older are deleted; 0: never */
} ath_pace;

enum {
    ATH_WK_SINGLE = 1,           /* one runner per control plane, by advisory lock */
    ATH_WK_APART  = 2,           /* never inside the HTTP process */
    ATH_WK_LOCAL  = 4            /* a duty of each process towards itself: runs there even when
                                  * daemon.enabled has the others run elsewhere */
};

/* A row that is due: locked, in a transaction of the host's. What `fire` writes by `session` is
 * committed with the row's next time, or not at all. */
typedef struct {
    uint32_t size, pad;
    ath_str  key;
    const ath_rows *row;         /* row 0: the columns of ath_schedule.columns */
    int64_t  due_us, now_us;     /* microseconds since 1970, by the database's clock */
    ath_session *session;
} ath_due;

/* A table of schedules: when is each row's next run? The host finds rows that are due, each in a
 * transaction of its own, so that none fires twice, whoever else looks and whatever is killed, and
 * none holds up another: one that fails is left as it is and tried again a minute later, then two,
 * four ... an hour. Texts are names of columns; NULL: the table has no such thing.
 *
 * `missed`: what becomes of runs that nobody was there for. once: one is made for all of them. skip:
 * only one that is at most `late_ms` behind. all: each, one at a look. `overlap`: whether a run may be
 * made while the last job waits or runs. skip: it is left out; with `missed` all it waits instead.
 * allow: it may. Columns with these words; null, or another word: once, and skip. */
typedef struct {
    uint32_t size, pad;
    const char *table, *key;     /* "backup_schedules", "id" */
    const char *due;             /* timestamptz of the next run; null: worked out, without a run */
    const char *last_run, *last_job;     /* when it fired last; the key of the job that it put in */
    const char *enabled;         /* BOOL */
    const char *pin;             /* of the daemon that alone may fire it */
    const char *missed, *overlap;
    const char *where;           /* more to being due, fixed SQL text of its columns */
    const char *columns;         /* what next and fire are shown: "client_name, frequency" */
    const ath_queue *queue;      /* where the jobs go */
    uint64_t late_ms;            /* 0: twice the period of looking */
    /* The first run later than `after`, by the row alone. */
    int (*next)(const ath_rows *row, int64_t after_us, int64_t *ret_us, ath_err *e);
    /* Puts in the job of one run. Ends well by `done`: d->bytes is its key, d->count 0 says that none
     * was put in. Any failure: nothing has happened. */
    int (*fire)(ath_task *t, const ath_due *due, ath_err *e);
} ath_schedule;

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
    const ath_schedule *schedule; /* instead of queue and run: looked at every poll_ms */
} ath_worker;

enum { ATH_JOB_CANCEL = 1, ATH_JOB_RETRY };
/* CANCEL: one that waits is over at once; one that runs is asked to end (`cancel`), or loses its
 * lease where the table has no such column. Without `canceled` it is `dead`. RETRY: one that is
 * over waits again, with all of its attempts. */
typedef struct {                 /* what an operator does to a job */
    uint32_t size;
    int32_t  what;               /* ATH_JOB_* */
    const char *queue;           /* its cap.name */
    ath_str  key;
} ath_act;

typedef struct {                 /* a page of a queue's jobs, the newest first */
    uint32_t size;
    uint32_t limit;              /* 0: 50; at most 1000 */
    const char *queue;           /* its cap.name */
    ath_str  key;                /* this job alone; empty: any */
    ath_str  state;              /* waiting, running, done, dead, canceled; empty: any */
    ath_str  client;             /* empty: any */
    ath_str  after;              /* behind the job with this key; empty: from the newest */
} ath_job_page;

typedef struct {                 /* a new job */
    uint32_t size, column_count;
    const char *queue;           /* its cap.name */
    const ath_pair *column;      /* values by column, names fixed in the plugin; p NULL: null. Those of
                                  * state, lease and attempts are the host's */
    ath_session *session;        /* NULL: it stands alone; else part of a transaction of the caller's,
                                  * who wakes the queue when it is committed */
} ath_put;

enum { ATH_REDRIVE_LOOK = 1 };   /* counts alone */
typedef struct {                 /* dead jobs that are to wait again, with all of their attempts */
    uint32_t size, flags;        /* ATH_REDRIVE_* */
    const char *queue;           /* its cap.name */
    ath_str  client, error;      /* of this client; whose error has this in it; empty: any */
    uint64_t ended_before_ms, ended_within_ms;   /* so long ago at least, at most; 0: any */
    uint32_t limit, pad;         /* the oldest first; 0: 1000; at most 10000 */
} ath_redrive;

typedef struct {                 /* leases, heartbeats and retries are the host's */
    uint32_t size, pad;
    ath_str  (*key)(ath_job *j);         /* borrowed, as long as the job; so is args */
    ath_str  (*args)(ath_job *j);        /* JSON; empty: the family has none */
    uint32_t (*attempt)(ath_job *j);     /* from 1 */
    int      (*progress)(ath_task *t, ath_str json);     /* copied; < 0: the lease was lost */
    void     (*wake)(const char *queue); /* after an INSERT has committed; any thread */
    ATH_OP(act, const ath_act *a);       /* d->count 0: not in a state that allows it */
    /* d->rows, as text, null where the queue has no such column: key, state (as ath_job_page says
     * it), status (the queue's own word), client, priority, attempts, max_attempts, created, due,
     * started, finished, until (UTC: "2026-01-31 12:00:00.5"), owner, cancel, progress, error, and,
     * when the key was given, result. */
    ATH_OP(list, const ath_job_page *p);
    /* d->rows: how many wait, are ready to be claimed, run, are dead, are canceled, and the seconds
     * that the oldest has waited. */
    ATH_OP(depth, const char *queue);
    /* d->bytes: the job's key; d->count 0: it was there already, by its `unique`. */
    ATH_OP(put, const ath_put *p);
    /* d->count: how many wait again. A filter that the queue has no column for is refused. */
    ATH_OP(redrive, const ath_redrive *r);
} ath_job_api;

/* clang-format on */
#endif
