/* From a sink's thread to a work loop and back.
 *
 * The normal path: sender_write() posts begin(), which runs the plugin's `send` as a task; on_end()
 * keeps how it went, and on_over(), when the last operation of the task has gone, wakes the thread.
 *
 * The task lives on the thread's stack. It can go only on its loop, so whoever runs there and has
 * found it under the lock may use it (see cut()).
 */
#include "plugin/sender.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "io/task.h"

struct sending {
    ath_task task;
    struct sender *sender;
    ath_loop *loop;
    const ath_event *const *batch;
    size_t n;
    ath_err *e;
    int rc;
    bool over;
};

struct sender {
    ath_sink as_sink;
    const ath_sink *sink;
    void *state;
    ath_self *self;
    pthread_mutex_t lock; /* of all below, and of sending.over */
    pthread_cond_t cond;
    struct sending *now;
    bool is_cut;
};

static atomic_uint_fast64_t alive;

uint64_t senders_alive(void)
{
    return atomic_load(&alive);
}

/* ---- on the loop ---- */

static void on_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct sending *x = container_of(t, struct sending, task);

    (void)result;
    x->rc = rc;
    if (rc < 0 && e)
        err_copy(x->e, e);
    task_unref(t);
}

static void on_over(ath_task *t)
{
    struct sending *x = container_of(t, struct sending, task);
    struct sender *s = x->sender;

    atomic_fetch_sub(&alive, 1);
    pthread_mutex_lock(&s->lock);
    x->over = true;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->lock);
}

static const struct task_type sending_type = {
    .name = "sink", .end = on_end, .destroy = on_over, .apart = true
};

static int run(ath_task *t, void *arg, ath_err *e)
{
    struct sending *x = arg;

    return x->sender->sink->send(t, x->batch, x->n, e);
}

static void begin(void *arg)
{
    struct sending *x = arg;

    task_init(&x->task, &sending_type, x->loop, x->sender->self, NULL);
    x->task.label = x->sender->self->name;
    task_deadline(&x->task, loop_now_ms(x->loop) + SENDER_TASK_MS);
    task_run(&x->task, run, x);
}

static void cut(void *arg)
{
    struct sender *s = arg;
    struct sending *x;
    ath_err e;

    pthread_mutex_lock(&s->lock);
    x = s->now && !s->now->over && s->now->loop == loop_current() ? s->now : NULL;
    pthread_mutex_unlock(&s->lock);
    if (!x)
        return;
    err_reset(&e);
    err_fail(&e, ATH_E_CANCELED, "the server stops");
    task_end(&x->task, e.rc, &e, NULL);
}

/* ---- on the sink's thread ---- */

static int sender_write(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    struct sender *s = state;
    struct sending x = { .sender = s, .loop = task_work_loop(), .batch = batch, .n = n, .e = e };

    pthread_mutex_lock(&s->lock);
    if (s->is_cut) {
        pthread_mutex_unlock(&s->lock);
        return err_fail(e, ATH_E_CANCELED, "the server stops");
    }
    s->now = &x;
    atomic_fetch_add(&alive, 1);
    loop_post(x.loop, begin, &x);
    while (!x.over)
        pthread_cond_wait(&s->cond, &s->lock);
    s->now = NULL;
    pthread_mutex_unlock(&s->lock);
    return x.rc;
}

static int sender_open(void *state, ath_err *e)
{
    struct sender *s = state;

    return s->sink->open ? s->sink->open(s->state, e) : 0;
}

static void sender_lost(void *state, ath_str name, uint64_t n)
{
    struct sender *s = state;

    if (s->sink->lost)
        s->sink->lost(s->state, name, n);
}

static void sender_begin(void *state, const ath_batch *b)
{
    struct sender *s = state;

    s->sink->begin(s->state, b);
}

static void sender_taken(void *state, const ath_batch *b, const ath_event *const *event, size_t n)
{
    struct sender *s = state;

    s->sink->taken(s->state, b, event, n);
}

static void sender_close(void *state)
{
    struct sender *s = state;

    if (s->sink->close)
        s->sink->close(s->state);
}

/* ---- life ---- */

struct sender *sender_new(ath_self *self, const ath_sink *sink, void *state)
{
    struct sender *s = MEM_NEW(struct sender);

    s->self = self;
    s->sink = sink;
    s->state = state;
    s->as_sink = (ath_sink){
        .cap = sink->cap,
        .events = sink->events,
        .open = sender_open,
        .write = sender_write,
        .close = sender_close,
        .lost = sender_lost,
        .begin = sink->begin ? sender_begin : NULL,
        .taken = sink->taken ? sender_taken : NULL,
    };
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->cond, NULL);
    return s;
}

void sender_free(struct sender *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->cond);
    free(s);
}

const ath_sink *sender_sink(const struct sender *s)
{
    return &s->as_sink;
}

void sender_cut(struct sender *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_cut = true;
    if (s->now)
        loop_post(s->now->loop, cut, s);
    pthread_mutex_unlock(&s->lock);
}
