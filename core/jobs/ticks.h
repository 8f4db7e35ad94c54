/* core/jobs/ticks.h - workers without a queue: `run` is called every pace.poll_ms, with jitter; of a
 * worker with a schedule it is the engine's (schedule.h).
 *
 * Never twice at once in this process; with ATH_WK_SINGLE in no other one of the control plane
 * either (locks.h). A tick that fails is tried again after a second, then after two, four and so
 * on, up to its period; the first failure is said, then one a minute, and that it works again. That
 * a table or a column is missing is said with the command that makes it, once an hour by one worker
 * of all, and not before it has failed some times: at a start it may just be being made.
 */
#ifndef CORE_JOBS_TICKS_H
#define CORE_JOBS_TICKS_H

#include <stdbool.h>

#include "io/task.h"

struct buf;

struct tick_worker {             /* as the server found it among the plugins; for the whole life */
    const ath_worker *worker;
    ath_self *self;
    const char *plugin;
    const int32_t *open;         /* 0: its gate is shut; may change any time */
    const void *(*config)(const ath_self *self); /* the present one, for pace() */
};

/* Begins them, on `home`, a work loop. `control`: there is a control plane; without one those that
 * run once per control plane wait. Once. */
void ticks_start(ath_loop *home, const struct tick_worker *w, size_t n, bool control);

/* Cancels what runs and begins nothing any more; locks are given back when the last has ended. */
void ticks_drain(void);
void ticks_stop(void);           /* after the loops have stopped */

/* An array of one object per worker: worker, family, plugin, kind, single, runner, open, running,
 * period_ms, ticks, failures, last_run_at, last_success_at, last_duration_ms, last_outcome,
 * last_error, next_run_at; of a schedule more (schedule.h). Any thread. */
void ticks_json(struct buf *b);

#endif
