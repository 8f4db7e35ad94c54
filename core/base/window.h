/* core/base/window.h - how many requests came in a window of time, shared by all loops without a lock.
 *
 * Windows follow each other. What was used by now is what this one has counted and, of the last one,
 * the share that a window's length back from now still covers: so a limit holds at the border of two
 * windows, too. A slot holds a window's number and its count in one word, even and odd numbers taking
 * turns, and is changed by comparing and swapping: of requests that come at once never more are taken
 * than the limit. The last window's count may grow by the few that were late while it is read.
 */
#ifndef CORE_BASE_WINDOW_H
#define CORE_BASE_WINDOW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct window {
    atomic_uint_fast64_t slot[2]; /* number << 32 | count */
};

struct window_time {
    uint32_t number;             /* of the window */
    uint64_t left_ms, length_ms; /* of it */
};

static inline struct window_time window_time(uint64_t now_ms, uint64_t length_ms)
{
    uint64_t number = now_ms / length_ms;

    return (struct window_time){ .number = (uint32_t)number,
                                 .left_ms = (number + 1) * length_ms - now_ms,
                                 .length_ms = length_ms };
}

/* Of the window before, by now. */
static inline uint64_t window_before(const struct window *w, const struct window_time *t)
{
    uint64_t v = atomic_load_explicit(&w->slot[~t->number & 1], memory_order_relaxed);

    if (v >> 32 != (uint32_t)(t->number - 1) || (uint32_t)v == 0)
        return 0;
    return (uint32_t)v * t->left_ms / t->length_ms;
}

/* Takes one, unless as many as `limit` were. A request that waited until its window has long passed
 * counts as one of the newer window. */
static inline bool window_take(struct window *w, const struct window_time *t, uint64_t limit)
{
    atomic_uint_fast64_t *slot = &w->slot[t->number & 1];
    uint64_t before = window_before(w, t), v = atomic_load_explicit(slot, memory_order_relaxed), to;

    do {
        int32_t newer = (int32_t)((uint32_t)(v >> 32) - t->number);
        uint64_t count = newer >= 0 ? (uint32_t)v : 0;
        if (before + count >= limit)
            return false;
        to = likely(newer <= 0) ? (uint64_t)t->number << 32 | (count + 1) : v + 1;
    } while (!atomic_compare_exchange_weak_explicit(slot, &v, to, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* Gives one back that was taken at `t`. */
static inline void window_untake(struct window *w, const struct window_time *t)
{
    atomic_uint_fast64_t *slot = &w->slot[t->number & 1];
    uint64_t v = atomic_load_explicit(slot, memory_order_relaxed);

    while (v >> 32 == t->number && (uint32_t)v &&
           !atomic_compare_exchange_weak_explicit(slot, &v, v - 1, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

#endif
