/* core/io/loop.h - an event loop and its thread.
 *
 * Loops share nothing and talk by posting. Everything here but loop_post(), loop_call() and
 * loop_stop() is for the loop's own thread.
 *
 * One turn of a loop: libuv polls and calls back, then what was deferred runs (loop_defer: finished
 * operations, the flush of database pipelines), again and again until nothing is left, and only then
 * does the loop wait. So work that arrived together leaves together, and a continuation never runs
 * inside the call that caused it.
 */
#ifndef CORE_IO_LOOP_H
#define CORE_IO_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>

#include <athena/plugin.h>
#include <uv.h>

#include "base/list.h"

enum loop_kind { LOOP_CONTROL = 1, LOOP_HTTP, LOOP_WORK };

/* Core rooms that keep something per loop. */
enum loop_slot { LOOP_SLOT_IO, LOOP_SLOT_HTTP, LOOP_SLOT_DB, LOOP_SLOT_CLIENT, LOOP_SLOT_CACHE, LOOP_SLOT_AUTH,
                 LOOP_SLOT_PLUGIN, LOOP_SLOT_SERVER, LOOP_SLOTS };

enum { LOOP_MAGIC = 0x10074c01 };

/* A function to run before the loop next waits. Embedded in its object; initialise with
 * deferred_init(). Deferring one that waits already changes nothing. */
struct deferred {
    struct list node;
    ath_fn *fn;
    void *arg;
};

struct ath_loop {
    uint32_t magic;
    uint32_t index;              /* among the process's loops: 0 .. count - 1 */
    enum loop_kind kind;
    char name[16];               /* "http-0", as threads and logs show it */
    uv_loop_t uv;
    void *slot[LOOP_SLOTS];
    void **local;                /* the plugins' own, by plugin number */
    /* For the watchdog, read by the main thread: what runs, and how often that changed. */
    _Atomic(const char *) running;
    atomic_uint_fast64_t changes;
    atomic_uint_fast64_t lag_ns; /* how late the last tick was */
    atomic_uint_fast64_t tick_ns; /* clock_ns() of the last tick: every 250 ms unless it is stuck */
    atomic_uint_fast64_t turns;
    atomic_int tid;              /* of its thread; 0: it does not run yet */
    struct list deferred;
    struct loop_posts *posts;    /* private to loop.c */
    struct wheel *wheel;         /* private to deadline.c */
    struct resolver *resolver;   /* private to resolve.c */
};

/* The process ignores SIGPIPE from the first loop on. */
int loop_new(enum loop_kind kind, uint32_t index, const char *name, ath_loop **ret, ath_err *e);
int loop_start(ath_loop *l, ath_err *e); /* a thread of its own */
void loop_run(ath_loop *l);              /* on the calling thread, until loop_stop() */
void loop_stop(ath_loop *l);             /* any thread; the loop returns when its handles are closed */
void loop_join(ath_loop *l);             /* waits for the thread */
void loop_free(ath_loop *l);

/* Runs fn(arg) on the loop, in order of posting. Any thread. Posts of a stopped loop do not run. */
void loop_post(ath_loop *l, ath_fn *fn, void *arg);

/* The same, and waits until it has run. Not from the loop itself. */
void loop_call(ath_loop *l, ath_fn *fn, void *arg);

void deferred_init(struct deferred *d, ath_fn *fn, void *arg);
void loop_defer(ath_loop *l, struct deferred *d);
void deferred_cancel(struct deferred *d);

/* The loop of the calling thread; NULL on a thread that is none. */
ath_loop *loop_current(void);

/* Monotonic; as of the start of this turn. */
static inline uint64_t loop_now_ms(ath_loop *l)
{
    return uv_now(&l->uv);
}

/* Names what runs, for the watchdog: returns what ran before, to be put back. `label` must live as
 * long as the process. */
const char *loop_enter(ath_loop *l, const char *label);
void loop_leave(ath_loop *l, const char *before);

/* How long the loop's thread has waited for a processor to run on since its start, by the kernel's
 * account; 0: it keeps none. Any thread, while the loop is there; three system calls. */
uint64_t loop_waited_ns(ath_loop *l);

/* For the watchdog, any thread: the label of what runs; NULL: nothing with a label. As long as
 * *ret_changes stays the same from call to call, it is the same piece of work. */
const char *loop_busy(const ath_loop *l, uint64_t *ret_changes);

#endif
