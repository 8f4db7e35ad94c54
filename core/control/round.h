/* core/control/round.h - something that is done again and again on one loop, never twice at once.
 *
 * Each round is a task of its own, so that nothing grows over the days. The next one begins `every_ms`
 * after the last one has ended, a little earlier or later, so that many rounds spread by themselves.
 * All of it is for the loop's own thread.
 */
#ifndef CORE_CONTROL_ROUND_H
#define CORE_CONTROL_ROUND_H

#include "io/task.h"

struct round {
    ath_loop *home;
    ath_self *self;              /* whose code it runs; NULL: the core's own */
    const char *label;           /* lives as long as the process */
    ath_run *run;                /* the first step of each; its `arg` is below */
    void *arg;
    void (*over)(void *arg);     /* it has ended, however it did; NULL: nobody wants to know */
    uint64_t every_ms;           /* 0: only when begun */
    struct deadline due;         /* private from here on */
    ath_task *task;
    bool begun, stopped;
};

/* With the members above filled; the first begins within `first_ms`, 0: when it is begun. */
void round_init(struct round *r, uint64_t first_ms);
void round_begin(struct round *r); /* now, unless one runs */
void round_stop(struct round *r); /* what runs is canceled, no other one begins */

#endif
