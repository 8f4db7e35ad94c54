/* core/jobs/jobs.h - workers with a queue: rows are claimed, run as tasks on the work loops, and
 * written when they have ended.
 *
 *     waits -> claimed -> runs -> done
 *                 ^         |--> put back, with a delay (ATH_E_RETRY, attempts left)
 *                 |         |--> dead (any other failure, no attempts left)
 *                 |         |--> canceled (an operator asked)
 *                 |         `--> handed back (this process stops): the attempt does not count
 *                 `-- the lease passed without renewal: any process takes it again
 *
 * A worker has a runner on `home`: one task that claims as many as there is room for, renews all
 * leases at a third of them by one statement, and writes what has ended, many at once. It is woken by
 * NOTIFY and, for what that misses, looks by itself each poll_ms. While the control plane is away it
 * tries again, at growing intervals; results wait as long as their lease lasts.
 *
 * What commits only while the lease is held says ATH_PG_FENCED: on the control plane it is refused by
 * the row itself, elsewhere by this process's clock.
 */
#ifndef CORE_JOBS_JOBS_H
#define CORE_JOBS_JOBS_H

#include <stdbool.h>

#include "io/task.h"

struct buf;

struct job_worker {              /* as the server found it among the plugins; for the whole life */
    const ath_worker *worker;
    ath_self *self;
    const char *plugin;
    const int32_t *open;         /* 0: its gate is shut; may change any time */
    const void *(*config)(const ath_self *self); /* the present one, for pace() */
};

struct jobs_options {
    ath_loop *home;              /* a work loop */
    const char *id;              /* who holds the leases: this process in the registry of daemons */
    const char *base_id;         /* pins name it, or `id`; NULL: there is no other */
    const struct job_worker *worker;
    size_t worker_count;
    const ath_queue *const *queue; /* all that are known here: routes bring theirs too */
    size_t queue_count;
    uint64_t drain_ms;           /* a stop waits so long for running jobs */
    bool control;                /* there is a control plane */
};

/* Once. Without workers too: what routes put into queues is told to those who run them. */
void jobs_start(const struct jobs_options *o);

/* Claims nothing any more; what runs has its grace time, is then canceled and handed back. */
void jobs_drain(void);
void jobs_stop(void);            /* after the loops have stopped */

/* Members of an array, one object per worker, each behind a comma when `comma`: worker, family,
 * plugin, kind "queue", queue, single, runner, open, running, concurrency, claimed, done, failed ... Any thread. */
void jobs_json(struct buf *b, bool comma);

/* ath_job_api; `t`: a job, or a task below it on its loop. */
ath_str job_key(ath_task *t);
ath_str job_args(ath_task *t);
uint32_t job_attempt(ath_task *t);
int job_progress(ath_task *t, ath_str json);
void jobs_wake(const char *queue);
int jobs_act(ath_task *t, const ath_act *a, ath_then *then, void *arg, ath_err *e);
int jobs_redrive(ath_task *t, const ath_redrive *r, ath_then *then, void *arg, ath_err *e);
int jobs_put(ath_task *t, const ath_put *p, ath_then *then, void *arg, ath_err *e);

#endif
