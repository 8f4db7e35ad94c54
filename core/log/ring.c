/* The bounded queue between producers and a sink. */
#include "log/ring.h"

#include <stdlib.h>

#include "base/mem.h"

void ring_init(struct ring *r, size_t capacity)
{
    r->bits = 1;
    while (((size_t)1 << r->bits) < capacity)
        r->bits++;
    r->mask = ((size_t)1 << r->bits) - 1;
    r->cell = mem_new(ring_capacity(r) * sizeof(*r->cell));
    atomic_init(&r->tail, 0);
    atomic_init(&r->head, 0);
}

void ring_fini(struct ring *r)
{
    free(r->cell);
    r->cell = NULL;
}

static size_t turn_of(const struct ring *r, size_t at)
{
    return at >> r->bits << 1;
}

bool ring_push(struct ring *r, void *item, size_t *ret_at)
{
    size_t at = atomic_load_explicit(&r->tail, memory_order_relaxed);

    for (;;) {
        struct ring_cell *c = &r->cell[at & r->mask];
        size_t turn = atomic_load_explicit(&c->turn, memory_order_acquire);

        if (turn == turn_of(r, at)) {
            if (!atomic_compare_exchange_weak_explicit(&r->tail, &at, at + 1, memory_order_relaxed,
                                                       memory_order_relaxed))
                continue;
            c->item = item;
            /* In one order with the sink's going to sleep: see sinks.c. */
            atomic_store_explicit(&c->turn, turn + 1, memory_order_seq_cst);
            *ret_at = at;
            return true;
        }
        if ((ptrdiff_t)(turn - turn_of(r, at)) < 0)
            return false; /* still filled in the lap before: full */
        at = atomic_load_explicit(&r->tail, memory_order_relaxed);
    }
}

size_t ring_pop(struct ring *r, void **ret, size_t most)
{
    size_t at = atomic_load_explicit(&r->head, memory_order_relaxed), n = 0;

    while (n < most) {
        struct ring_cell *c = &r->cell[at & r->mask];
        size_t want = turn_of(r, at) + 1;

        if (atomic_load_explicit(&c->turn, memory_order_seq_cst) != want)
            break;
        ret[n++] = c->item;
        atomic_store_explicit(&c->turn, want + 1, memory_order_release);
        at++;
    }
    atomic_store_explicit(&r->head, at, memory_order_relaxed);
    return n;
}

size_t ring_waiting(const struct ring *r)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

    return tail - head <= r->mask + 1 ? tail - head : 0;
}
