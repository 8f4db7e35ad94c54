/* core/server/loops.h - the process's loops: the main thread's, those for HTTP, those for work. */
#ifndef CORE_SERVER_LOOPS_H
#define CORE_SERVER_LOOPS_H

#include "io/loop.h"

enum { LOOPS_MOST = 1 + 256 + 64 };

struct loops {
    ath_loop *all[LOOPS_MOST];   /* all[i]->index == i; the control loop is the first */
    uint32_t count;
    ath_loop *const *http, *const *work; /* parts of `all` */
    uint32_t http_count, work_count;
    uint32_t running;            /* threads started, of all[1] .. */
};

/* One per processor, 4 at most: the default number of HTTP loops. */
uint32_t loops_per_processor(void);

int loops_new(struct loops *l, uint32_t http, uint32_t work, ath_err *e);
int loops_start(struct loops *l, ath_err *e);  /* the threads of all but the control loop */

static inline ath_loop *loops_control(struct loops *l)
{
    return l->all[0];
}

/* Runs fn(arg) on each loop of a kind (0: all), one after the other; the control loop's share directly. */
void loops_each(struct loops *l, enum loop_kind kind, void (*fn)(ath_loop *loop, void *arg), void *arg);

void loops_stop(struct loops *l);   /* asks all; the control loop too */
void loops_free(struct loops *l);   /* joins and frees; after loop_run() of the control loop */

/* For the watchdog tick: logs a loop that has been in one piece of plugin code for longer than
 * limit_ms, once per piece, and aborts the process past abort_ms (0: never). */
void loops_watch(struct loops *l, uint64_t limit_ms, uint64_t abort_ms);

/* loop_waited_ns() of all HTTP loops, and how many they are; `arg`: struct loops. For log_pressure(). */
uint64_t loops_waited(void *arg, uint32_t *ret_loops);

#endif
