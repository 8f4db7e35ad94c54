/* core/log/ring.h - a bounded queue of pointers: many threads push, one pops. Nobody waits.
 *
 * Each cell counts its turns: even, free for lap turn / 2; odd, filled in it. A pusher claims a
 * position with one compare-and-swap and publishes it with the cell's turn; the popper takes cells
 * in order and stops at the first that is not filled yet.
 */
#ifndef CORE_LOG_RING_H
#define CORE_LOG_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct ring_cell {
    atomic_size_t turn;
    void *item;
};

struct ring {
    struct ring_cell *cell;
    size_t mask;
    unsigned bits;
    char apart_a[64];            /* pushers and popper each on a cache line of their own */
    atomic_size_t tail;          /* the next position to be pushed */
    char apart_b[64];
    atomic_size_t head;          /* the next position to be popped */
    char apart_c[64];
};

void ring_init(struct ring *r, size_t capacity); /* rounded up to a power of two, 2 at least */
void ring_fini(struct ring *r);

/* False when it is full. *ret_at is the position, for "every half ring" decisions. */
bool ring_push(struct ring *r, void *item, size_t *ret_at);
size_t ring_pop(struct ring *r, void **ret, size_t most);
size_t ring_waiting(const struct ring *r);

static inline size_t ring_capacity(const struct ring *r)
{
    return r->mask + 1;
}

#endif
