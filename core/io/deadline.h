/* core/io/deadline.h - thousands of time limits on one libuv timer.
 *
 * A wheel with a resolution of 10 ms: setting, moving and clearing a deadline costs a few stores. A
 * deadline never fires early, and at most two ticks late. For the loop's own thread.
 */
#ifndef CORE_IO_DEADLINE_H
#define CORE_IO_DEADLINE_H

#include "io/loop.h"

struct deadline {
    struct list node;
    uint64_t at_ms;              /* 0: not set */
    void (*fire)(struct deadline *d);
};

void deadline_init(struct deadline *d, void (*fire)(struct deadline *d));
void deadline_set(ath_loop *l, struct deadline *d, uint64_t at_ms); /* by loop_now_ms() */
void deadline_clear(struct deadline *d);

#endif
