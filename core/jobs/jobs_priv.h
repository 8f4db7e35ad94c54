/* core/jobs/jobs_priv.h - what the files of the engine share.
 *
 * Threads: a runner and all that hangs on it belong to `home`. A job's task lives on its own loop;
 * the two talk by posting, and a job is freed at home when the last word on its way has come.
 * What other threads ask of a runner stands in `seen`, under a lock.
 */
#ifndef CORE_JOBS_JOBS_PRIV_H
#define CORE_JOBS_JOBS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "db/query.h"
#include "jobs/jobs.h"
#include "jobs/pace.h"
#include "jobs/queue.h"

enum {
    JOB_MAGIC = 0x10b00001,
    JOB_ERROR_BYTES = 1024,
    STATEMENT_MS = 10000,        /* most of one statement of the engine */
    CLIENT_BYTES = 256
};

/* Why a job is to end before it has by itself. */
enum job_fate { FATE_NONE, FATE_CANCELED, FATE_STOPPED, FATE_LOST };

/* How it has ended, and what is written. */
enum job_end { END_DONE, END_RETRY, END_DEAD, END_CANCELED, END_HANDED_BACK, END_LOST, ENDS };

struct runner;

struct job {
    uint32_t magic;
    uint32_t attempt, most;
    struct list node;            /* home: among those that run, or that have ended */
    struct runner *runner;
    ath_str key, token, args, client; /* in one piece of memory with the job */
    atomic_uint refs;            /* home's, and words on their way to the task */
    atomic_uint_fast64_t until_ns; /* the lease is held until then at least, by clock_ns() */
    atomic_int fate;             /* enum job_fate; set by home */
    uint64_t begun_ns;
    /* The task's loop alone, until it is over. */
    ath_loop *loop;
    ath_task task;
    bool begun, over;
    int rc;
    char *result;                /* JSON; NULL: none */
    char error[JOB_ERROR_BYTES]; /* of one that failed */
    /* Home. */
    enum job_end end;
    bool asked;                  /* the renewal that is under way names it */
    char *progress;              /* the latest that is not written; NULL: none */
    char text[];
};

struct family {                  /* a queue by its name */
    const ath_queue *queue;
    _Atomic(struct queue_sql *) sql; /* NULL: not made yet */
    struct runner *runner;       /* of this process; NULL: it runs none */
};

/* What others see of a runner; wall clock in ns, 0: never. */
struct runner_seen {
    uint64_t ended[ENDS];
    uint64_t claims, claimed, renewals, running;
    uint64_t last_claim_ns, last_end_ns;
    uint32_t concurrency;
    char error[400];             /* of the last statement that failed, until one works again */
};

struct depth_row {
    char state[64];
    int64_t count, ready;
    double oldest_s;
};
enum { DEPTH_ROWS = 8 };

struct runner {
    struct job_worker w;
    struct family *family;
    ath_pace pace;
    ath_task *root;              /* NULL: not begun, or over */
    struct list running, ended;  /* jobs */
    struct list writing;         /* of those that have ended: the batch that is under way */
    uint32_t running_n, ended_n, writing_n;
    bool ready;                  /* its statements are there */
    bool asking, claiming, renewing, finishing, progressing, tending; /* a statement is under way */
    bool more;                   /* the last claim was full: there may be more */
    bool again;                  /* woken while it claimed */
    bool renew_now;              /* somebody may have been canceled */
    bool renew_then;             /* ... while it claimed: somebody whom the claim brings, too */
    uint32_t one_by_one;         /* a batch of results was refused: so many are written alone */
    bool said;                   /* that the control plane is away, or its queue is not there */
    uint32_t failures;           /* in a row, since failing_at_ms */
    uint64_t failing_at_ms, claim_at_ms, renew_at_ms, finish_at_ms, sweep_at_ms, full_at_ms, retain_at_ms,
        progress_at_ms, depth_at_ms;
    uint64_t wait_until_ms;      /* no statements before: one has failed */
    bool cut;                    /* of a drain: there is no time left */
    uint64_t stop_at_ms;         /* of a drain: what runs is canceled then; 0: it was */
    uint64_t hold_ms;            /* of the lease being asked for */
    uint32_t wanted;             /* jobs, by the claim that is under way */
    uint64_t asked_ns;           /* when the claim that is under way was sent */
    uint64_t renew_asked_ns;
    bool claims_all;             /* the claim that is under way looks below the floor too */
    int64_t floor_us;
    char cursor[CLIENT_BYTES];   /* whose turn it was */
    struct deadline timer;
    struct deferred pump;
    atomic_bool depth_wanted;
    pthread_mutex_t lock;        /* of what follows */
    struct runner_seen seen;
    struct depth_row depth[DEPTH_ROWS];
    uint32_t depth_n;
};

struct jobs {
    struct jobs_options o;
    char *id, *base_id;
    ath_str pins;                /* as an array of PostgreSQL's */
    struct family *family;
    size_t family_count;
    struct runner *runner;
    size_t runner_count;
    bool floor;                  /* claims keep above their floor; off for measuring alone */
    size_t alive;                /* runners whose task is not over */
    bool started, stopping;      /* stopping: home's */
};
extern struct jobs jobs;

/* jobs.c */
bool jobs_is_missing(const ath_err *e); /* a table or a column is not there */
/* An operator makes all that is missing at once: whoever misses something first says so, and nobody
 * else for an hour. */
bool jobs_may_tell_missing(uint64_t now_ms);
void jobs_runner_over(void);
void jobs_quiet(void);

/* runner.c */
void runner_pump(struct runner *r);          /* looks what is to do, before the loop next waits */
void runner_wake(struct runner *r);          /* there may be work */
void runner_start(struct runner *r);
void runner_drain(struct runner *r);
void runner_failed(struct runner *r, const char *what, const ath_err *e);
void runner_works(struct runner *r);
uint64_t runner_now(const struct runner *r);

/* claim.c, lease.c, finish.c, tend.c: one statement each, as a fork of the runner's task. < 0: not
 * begun. */
int claim_begin(struct runner *r, ath_err *e);
int renew_begin(struct runner *r, ath_err *e);
int progress_begin(struct runner *r, ath_err *e);
int finish_begin(struct runner *r, ath_err *e);
int sweep_begin(struct runner *r, ath_err *e);
int retain_begin(struct runner *r, ath_err *e);
int depth_begin(struct runner *r, ath_err *e);

/* Local leases that have passed: their jobs are lost. */
void lease_look(struct runner *r);

/* run.c */
struct job *job_new(struct runner *r, ath_str key, ath_str token, ath_str args, ath_str client);
void job_begin(struct job *j);
void job_fate(struct job *j, enum job_fate fate); /* ends it early; the worst counts */
void job_unref(struct job *j);
void job_ended(struct job *j);               /* finish.c; at home, the task is gone */
struct job *job_find(struct list *in, ath_str key);
void jobs_fence(void);                       /* tells the databases what a lease is */

/* family.c */
struct family *family_find(ath_str name);
/* An operation: its statements are there. */
int family_ready(ath_task *t, struct family *f, ath_then *then, void *arg, ath_err *e);

/* wake.c */
#define JOBS_CHANNEL "athena_jobs"
void wake_start(void);
void wake_drain(void);
void wake_stop(void);

/* event.c: what has happened to a job, for who asks later; written in batches. */
void event_put(struct runner *r, const struct job *j, const char *level, const char *message, ath_str data);
/* Texts live as long as the process, but for the key; `data`: JSON on the heap, taken; NULL: none. */
void event_note(const char *queue, ath_str key, const char *level, const char *message, char *data);
void events_start(void);
void events_drain(void);

/* seen.c */
void seen_start(void);
void seen_stop(void);
const char *job_end_name(enum job_end end);

/* A query of the engine: one statement on the control plane. */
int jobs_ask(ath_task *t, const char *sql, const ath_str *param, const uint32_t *type, uint32_t n,
             ath_then *then, void *arg, ath_err *e);
ath_then jobs_done;              /* of one whose answer says nothing more: its task is done */

#endif
