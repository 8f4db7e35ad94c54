/* Event loops.
 *
 * Life: loop_new() makes the handles; loop_run() runs libuv until loop_stop() lets go of the one
 * handle that holds it (the async of the post queue) and every other handle has been closed by its
 * owner; posts that came until then still run, later ones are dropped; loop_free() closes ours.
 *
 * libuv's order in one turn is timers, pending, idle, prepare, poll, check, closing. Deferred work
 * runs in check, right after poll, and in prepare, for what timers and closing callbacks deferred:
 * prepare always comes before poll, so nothing deferred ever sleeps. A chain of continuations that
 * defers without end is cut after some rounds, and an idle handle makes the next poll return at
 * once: others are served in between.
 */
#include "io/loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "io/io_priv.h"
#include "lib/text.h"

enum { TICK_MS = 250, MOST_ROUNDS = 64 };

struct post {
    ath_fn *fn;
    void *arg;
};

struct post_list {
    struct post *at;
    size_t n, cap;
};

struct loop_posts {
    pthread_mutex_t lock; /* guards `in` and `closed` */
    struct post_list in;
    bool closed;
    struct post_list running; /* the loop's own */
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t tick;
    uint64_t tick_due_ns;
    pthread_t thread;
};

static _Thread_local ath_loop *current;

ath_loop *loop_current(void)
{
    return current;
}

/* ---- deferred work ---- */

void deferred_init(struct deferred *d, ath_fn *fn, void *arg)
{
    list_init(&d->node);
    d->fn = fn;
    d->arg = arg;
}

void loop_defer(ath_loop *l, struct deferred *d)
{
    if (list_empty(&d->node))
        list_push(&l->deferred, &d->node);
}

void deferred_cancel(struct deferred *d)
{
    list_unlink(&d->node);
}

static void on_idle(uv_idle_t *h)
{
    (void)h; /* its only use is that poll does not wait */
}

static void run_deferred(ath_loop *l)
{
    for (int round = 0; round < MOST_ROUNDS; round++) {
        struct list batch, *node;

        if (list_empty(&l->deferred)) {
            uv_idle_stop(&l->posts->idle);
            return;
        }
        list_take(&batch, &l->deferred);
        while ((node = list_pop(&batch))) {
            struct deferred *d = list_entry(node, struct deferred, node);
            d->fn(d->arg);
        }
    }
    uv_idle_start(&l->posts->idle, on_idle);
}

static void on_prepare(uv_prepare_t *h)
{
    run_deferred(h->data);
}

static void on_check(uv_check_t *h)
{
    ath_loop *l = h->data;

    atomic_store_explicit(&l->turns, atomic_load_explicit(&l->turns, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    run_deferred(l);
}

/* ---- posts ---- */

static bool post_put(ath_loop *l, ath_fn *fn, void *arg)
{
    struct loop_posts *p = l->posts;
    bool taken;

    pthread_mutex_lock(&p->lock);
    taken = !p->closed;
    if (taken) {
        if (p->in.n == p->in.cap) {
            p->in.cap = p->in.cap ? p->in.cap * 2 : 64;
            p->in.at = mem_resize(p->in.at, p->in.cap * sizeof(*p->in.at));
        }
        p->in.at[p->in.n++] = (struct post){ fn, arg };
        if (p->in.n == 1) /* under the lock: the handle is not closed meanwhile */
            uv_async_send(&p->wake);
    }
    pthread_mutex_unlock(&p->lock);
    return taken;
}

void loop_post(ath_loop *l, ath_fn *fn, void *arg)
{
    post_put(l, fn, arg);
}

/* True when there were any. */
static bool run_posts(ath_loop *l)
{
    struct loop_posts *p = l->posts;
    struct post_list batch;

    pthread_mutex_lock(&p->lock);
    batch = p->in;
    p->in = p->running;
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < batch.n; i++)
        batch.at[i].fn(batch.at[i].arg);
    p->running = (struct post_list){ .at = batch.at, .cap = batch.cap };
    return batch.n > 0;
}

static void on_wake(uv_async_t *h)
{
    run_posts(h->data);
}

struct call {
    ath_fn *fn;
    void *arg;
    uv_sem_t done;
};

static void run_call(void *arg)
{
    struct call *c = arg;

    c->fn(c->arg);
    uv_sem_post(&c->done);
}

void loop_call(ath_loop *l, ath_fn *fn, void *arg)
{
    struct call c = { .fn = fn, .arg = arg };

    if (l == current || uv_sem_init(&c.done, 0) != 0)
        abort(); /* it would wait for itself */
    if (post_put(l, run_call, &c))
        uv_sem_wait(&c.done);
    uv_sem_destroy(&c.done);
}

/* ---- the watchdog's data ---- */

static void on_tick(uv_timer_t *h)
{
    ath_loop *l = h->data;
    uint64_t now = clock_ns(), due = l->posts->tick_due_ns;

    atomic_store_explicit(&l->lag_ns, now > due ? now - due : 0, memory_order_relaxed);
    atomic_store_explicit(&l->tick_ns, now, memory_order_relaxed);
    l->posts->tick_due_ns = now + TICK_MS * 1000000u;
    uv_timer_start(h, on_tick, TICK_MS, 0);
}

/* No clock is asked, as this happens around every piece of code: the watchdog has one. Its reader
 * may see a new label with an old count, and then a new count the next time it looks. */
static void running_set(ath_loop *l, const char *label)
{
    uint64_t n = atomic_load_explicit(&l->changes, memory_order_relaxed);

    atomic_store_explicit(&l->running, label, memory_order_release);
    atomic_store_explicit(&l->changes, n + 1, memory_order_release);
}

const char *loop_enter(ath_loop *l, const char *label)
{
    const char *before = atomic_load_explicit(&l->running, memory_order_relaxed);

    running_set(l, label);
    return before;
}

void loop_leave(ath_loop *l, const char *before)
{
    running_set(l, before);
}

const char *loop_busy(const ath_loop *l, uint64_t *ret_changes)
{
    *ret_changes = atomic_load_explicit(&l->changes, memory_order_acquire);
    return atomic_load_explicit(&l->running, memory_order_acquire);
}

/* /proc/self/task/N/schedstat: ns that it ran, ns that it waited, how often it ran. */
uint64_t loop_waited_ns(ath_loop *l)
{
    char path[64], text[96];
    uint64_t waited = 0;
    ath_str rest, one;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", atomic_load(&l->tid));
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return 0;
    n = read(fd, text, sizeof(text));
    close(fd);
    rest = str_from(text, n > 0 ? (size_t)n : 0);
    if (str_next(&rest, ' ', &one) && str_next(&rest, ' ', &one))
        str_u64(one, &waited);
    return waited;
}

/* ---- life ---- */

static void handles_init(ath_loop *l)
{
    struct loop_posts *p = l->posts;

    uv_prepare_init(&l->uv, &p->prepare);
    uv_check_init(&l->uv, &p->check);
    uv_idle_init(&l->uv, &p->idle);
    uv_timer_init(&l->uv, &p->tick);
    p->wake.data = p->prepare.data = p->check.data = p->idle.data = p->tick.data = l;
    uv_prepare_start(&p->prepare, on_prepare);
    uv_check_start(&p->check, on_check);
    uv_timer_start(&p->tick, on_tick, TICK_MS, 0);
    p->tick_due_ns = clock_ns() + TICK_MS * 1000000u;
    atomic_store(&l->tick_ns, clock_ns());
    uv_unref((uv_handle_t *)&p->prepare);
    uv_unref((uv_handle_t *)&p->check);
    uv_unref((uv_handle_t *)&p->idle);
    uv_unref((uv_handle_t *)&p->tick);
}

int loop_new(enum loop_kind kind, uint32_t index, const char *name, ath_loop **ret, ath_err *e)
{
    ath_loop *l = MEM_NEW(ath_loop);
    int rc = uv_loop_init(&l->uv);

    signal(SIGPIPE, SIG_IGN); /* a peer that closed is an error code of the write */
    l->magic = LOOP_MAGIC;
    l->index = index;
    l->kind = kind;
    snprintf(l->name, sizeof(l->name), "%s", name);
    list_init(&l->deferred);
    l->uv.data = l;
    l->posts = MEM_NEW(struct loop_posts);
    pthread_mutex_init(&l->posts->lock, NULL);
    if (rc == 0 && (rc = uv_async_init(&l->uv, &l->posts->wake, on_wake)) < 0)
        uv_loop_close(&l->uv);
    if (rc < 0) {
        free(l->posts);
        free(l);
        return err_fail(e, ATH_E_LIMIT, "could not make event loop \"%s\": %s", name,
                        uv_strerror(rc));
    }
    handles_init(l);
    wheel_new(l);
    task_loop_new(l);
    *ret = l;
    return 0;
}

/* What was posted or deferred last still runs; nothing is taken after that. */
static bool close_posts(ath_loop *l)
{
    bool empty;

    pthread_mutex_lock(&l->posts->lock);
    empty = l->posts->in.n == 0 && list_empty(&l->deferred);
    l->posts->closed = empty;
    pthread_mutex_unlock(&l->posts->lock);
    return empty;
}

void loop_run(ath_loop *l)
{
    current = l;
    do {
        uv_run(&l->uv, UV_RUN_DEFAULT);
        run_posts(l);
        run_deferred(l);
    } while (uv_loop_alive(&l->uv) || !close_posts(l));
    arena_thread_end();
    current = NULL;
}

static void *thread_main(void *arg)
{
    ath_loop *l = arg;

    pthread_setname_np(pthread_self(), l->name);
    atomic_store(&l->tid, gettid());
    loop_run(l);
    return NULL;
}

int loop_start(ath_loop *l, ath_err *e)
{
    static const int crash[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
    sigset_t all, before;
    int rc;

    sigfillset(&all); /* signals are for the main thread */
    for (size_t i = 0; i < ATH_COUNT(crash); i++)
        sigdelset(&all, crash[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&l->posts->thread, NULL, thread_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return err_fail(e, ATH_E_LIMIT, "could not start thread \"%s\": %s", l->name, strerror(rc));
    return 0;
}

static void let_go(void *arg)
{
    ath_loop *l = arg;

    uv_unref((uv_handle_t *)&l->posts->wake);
}

void loop_stop(ath_loop *l)
{
    loop_post(l, let_go, l);
}

void loop_join(ath_loop *l)
{
    pthread_join(l->posts->thread, NULL);
}

void loop_free(ath_loop *l)
{
    struct loop_posts *p;

    if (!l)
        return;
    p = l->posts;
    p->closed = true;
    uv_close((uv_handle_t *)&p->wake, NULL);
    uv_close((uv_handle_t *)&p->prepare, NULL);
    uv_close((uv_handle_t *)&p->check, NULL);
    uv_close((uv_handle_t *)&p->idle, NULL);
    uv_close((uv_handle_t *)&p->tick, NULL);
    wheel_close(l);
    uv_run(&l->uv, UV_RUN_NOWAIT);
    task_loop_free(l);
    resolver_free(l);
    wheel_free(l);
    if (uv_loop_close(&l->uv) != 0)
        return; /* somebody's handle is still open: its memory may not go, and the process ends
                   anyway */
    pthread_mutex_destroy(&p->lock);
    free(p->in.at);
    free(p->running.at);
    free(p);
    l->magic = 0;
    free(l);
}
