/* The wheel: five rings of 64 slots, each slot of a ring as wide as the whole ring before it
 * (10 ms, 640 ms, 41 s, 44 min, 47 h). A deadline lies in the ring that its distance asks for and
 * moves to finer rings as its time comes near; so setting and clearing touch one slot, and far ones
 * wake nobody until then.
 *
 * Each ring has a word with a bit per slot that may hold something. A cleared deadline leaves its
 * bit behind: the slot is found empty later, which costs less than keeping count. The libuv timer
 * is armed for the first slot that is marked, and not at all when none is.
 */
#include "io/deadline.h"

#include <stdlib.h>

#include "base/mem.h"
#include "io/io_priv.h"

enum { TICK_MS = 10, RINGS = 5, SLOT_BITS = 6, SLOTS = 1 << SLOT_BITS };

struct wheel {
    ath_loop *loop;
    uv_timer_t timer;
    uint64_t tick;  /* every slot up to here was served */
    uint64_t armed; /* tick that the timer waits for; UINT64_MAX: none */
    uint64_t used[RINGS];
    struct list slot[RINGS][SLOTS];
};

static void on_timer(uv_timer_t *h);

void wheel_new(ath_loop *l)
{
    struct wheel *w = MEM_NEW(struct wheel);

    w->loop = l;
    w->tick = loop_now_ms(l) / TICK_MS;
    w->armed = UINT64_MAX;
    for (int ring = 0; ring < RINGS; ring++)
        for (int i = 0; i < SLOTS; i++)
            list_init(&w->slot[ring][i]);
    uv_timer_init(&l->uv, &w->timer);
    w->timer.data = w;
    uv_unref((uv_handle_t *)&w->timer);
    l->wheel = w;
}

void wheel_close(ath_loop *l)
{
    uv_close((uv_handle_t *)&l->wheel->timer, NULL);
}

void wheel_free(ath_loop *l)
{
    free(l->wheel);
    l->wheel = NULL;
}

/* The first tick after w->tick at which a marked slot comes up; UINT64_MAX: none is marked. */
static uint64_t next_tick(const struct wheel *w)
{
    uint64_t next = UINT64_MAX;

    for (unsigned ring = 0; ring < RINGS; ring++) {
        uint64_t from = (w->tick >> (ring * SLOT_BITS)) + 1, used = w->used[ring], at;
        unsigned turn = from % SLOTS;

        if (!used)
            continue;
        used = used >> turn | used << ((SLOTS - turn) % SLOTS);
        at = (from + (unsigned)__builtin_ctzll(used)) << (ring * SLOT_BITS);
        if (at < next)
            next = at;
    }
    return next;
}

static void arm(struct wheel *w, uint64_t tick)
{
    uint64_t now = loop_now_ms(w->loop), at = tick * TICK_MS;

    w->armed = tick;
    uv_timer_start(&w->timer, on_timer, at > now ? at - now : 0, 0);
}

/* Into the slot of its tick, which is `first` or later. Returns the tick at which that comes up. */
static uint64_t place(struct wheel *w, struct deadline *d, uint64_t first)
{
    uint64_t tick = (d->at_ms + TICK_MS - 1) / TICK_MS, away;
    unsigned ring, slot;

    if (tick < first)
        tick = first;
    away = tick - w->tick;
    ring = (63u - (unsigned)__builtin_clzll(away | 1)) / SLOT_BITS;
    if (ring >= RINGS) { /* beyond the last ring: looked at again when that has turned */
        ring = RINGS - 1;
        tick = w->tick + ((uint64_t)1 << (RINGS * SLOT_BITS)) - 1;
    }
    slot = (tick >> (ring * SLOT_BITS)) % SLOTS;
    list_push(&w->slot[ring][slot], &d->node);
    w->used[ring] |= (uint64_t)1 << slot;
    return tick >> (ring * SLOT_BITS) << (ring * SLOT_BITS);
}

static void take_slot(struct wheel *w, unsigned ring, struct list *ret)
{
    unsigned slot = (w->tick >> (ring * SLOT_BITS)) % SLOTS;

    list_take(ret, &w->slot[ring][slot]);
    w->used[ring] &= ~((uint64_t)1 << slot);
}

/* w->tick has just become a tick with something marked. */
static void serve(struct wheel *w)
{
    struct list batch, *node;

    for (unsigned ring = RINGS - 1; ring > 0; ring--) {
        if (w->tick & (((uint64_t)1 << (ring * SLOT_BITS)) - 1))
            continue; /* no slot of this ring begins here */
        take_slot(w, ring, &batch);
        while ((node = list_pop(&batch))) /* a finer ring, or the slot that is served below */
            place(w, list_entry(node, struct deadline, node), w->tick);
    }
    take_slot(w, 0, &batch);
    while ((node = list_pop(&batch))) {
        struct deadline *d = list_entry(node, struct deadline, node);
        d->at_ms = 0;
        d->fire(d);
    }
}

static void on_timer(uv_timer_t *h)
{
    struct wheel *w = h->data;
    uint64_t now = loop_now_ms(w->loop) / TICK_MS, next;

    w->armed = 0; /* no need to arm while we are at it */
    while ((next = next_tick(w)) <= now) {
        w->tick = next;
        serve(w);
    }
    if (now > w->tick)
        w->tick = now;
    w->armed = UINT64_MAX;
    if (next != UINT64_MAX)
        arm(w, next);
}

void deadline_init(struct deadline *d, void (*fire)(struct deadline *d))
{
    list_init(&d->node);
    d->at_ms = 0;
    d->fire = fire;
}

void deadline_set(ath_loop *l, struct deadline *d, uint64_t at_ms)
{
    struct wheel *w = l->wheel;
    uint64_t tick;

    list_unlink(&d->node);
    d->at_ms = at_ms ? at_ms : 1;
    if (w->armed == UINT64_MAX) /* nothing waits: the wheel has not turned for a while */
        w->tick = loop_now_ms(l) / TICK_MS;
    tick = place(w, d, w->tick + 1);
    if (tick < w->armed)
        arm(w, tick);
}

void deadline_clear(struct deadline *d)
{
    list_unlink(&d->node);
    d->at_ms = 0;
}
