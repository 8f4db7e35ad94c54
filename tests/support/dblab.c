/* Tasks for tests: each asks one thing, keeps the answer and wakes the test. */
#include "support/dblab.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "lib/text.h"

struct lab {
    ath_loop *loop[9];
    ath_loop *work[1];
    uint32_t n;
};

static void loop_ready(void *arg)
{
    ath_err e;

    ck_assert_int_eq(db_loop_init(arg, &e), 0);
}

static void loop_over(void *arg)
{
    db_loop_fini(arg);
}

struct db_options lab_options(void)
{
    return (struct db_options){
        .budget = 60,
        .pool_max = 20,
        .acquire_timeout_ms = 5000,
        .idle_timeout_ms = 60000,
        .max_lifetime_ms = 600000,
        .connect_timeout_ms = 5000,
        .waiting_max = 10000,
        .waiting_budget = 40000,
        .fair = true,
        .prepared_max = 100,
    };
}

struct lab *lab_start(const struct db_options *o, uint32_t loops)
{
    struct lab *lab = MEM_NEW(struct lab);
    ath_err e;

    lab->n = loops + 1;
    for (uint32_t i = 0; i < lab->n; i++) {
        enum loop_kind kind = i < loops ? LOOP_HTTP : LOOP_WORK;
        ck_assert_int_eq(loop_new(kind, i, kind == LOOP_HTTP ? "http" : "work", &lab->loop[i], &e),
                         0);
    }
    lab->work[0] = lab->loop[loops];
    task_loops(lab->work, 1);
    ck_assert_int_eq(db_start(o, lab->loop, lab->n, &e), 0);
    for (uint32_t i = 0; i < lab->n; i++) {
        ck_assert_int_eq(loop_start(lab->loop[i], &e), 0);
        loop_call(lab->loop[i], loop_ready, lab->loop[i]);
    }
    return lab;
}

void lab_stop(struct lab *lab)
{
    for (uint32_t i = 0; i < lab->n; i++)
        loop_call(lab->loop[i], loop_over, lab->loop[i]);
    for (uint32_t i = 0; i < lab->n; i++)
        loop_stop(lab->loop[i]);
    for (uint32_t i = 0; i < lab->n; i++) {
        loop_join(lab->loop[i]);
        loop_free(lab->loop[i]);
    }
    db_stop();
    free(lab);
}

ath_loop *lab_loop(struct lab *lab, uint32_t i)
{
    return lab->loop[i];
}

struct ask *ask_new(const char *client, uint32_t flags, const char *sql)
{
    struct ask *a = MEM_NEW(struct ask);

    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->over, NULL);
    err_reset(&a->err);
    a->q = (ath_query){ .size = sizeof(a->q),
                        .flags = flags,
                        .client = str_of(client),
                        .stmt = a->stmt,
                        .stmt_size = sizeof(*a->stmt),
                        .set = a->set };
    if (sql)
        ask_stmt(a, sql);
    return a;
}

void ask_stmt(struct ask *a, const char *sql)
{
    uint32_t i = a->q.stmt_count++;

    a->stmt[i] = (ath_stmt){ .sql = sql, .param = a->param[i] };
}

void ask_param(struct ask *a, const char *value)
{
    ath_stmt *s = &a->stmt[a->q.stmt_count - 1];

    a->param[a->q.stmt_count - 1][s->param_count++] = str_of(value);
}

void ask_type(struct ask *a, uint32_t type)
{
    ath_stmt *s = &a->stmt[a->q.stmt_count - 1];

    a->type[a->q.stmt_count - 1][s->param_count - 1] = type;
    s->type = a->type[a->q.stmt_count - 1];
}

void ask_set(struct ask *a, const char *name, const char *value)
{
    a->set[a->q.set_count++] = (ath_pair){ str_of(name), str_of(value) };
}

static void read_rows(struct ask *a, const ath_rows *rows)
{
    ath_str first = db_rows_text(rows, 0, 0);

    a->rows = db_rows_count(rows);
    snprintf(a->cell, sizeof(a->cell), "%.*s", first.p ? (int)first.n : 6,
             first.p ? first.p : "<null>");
    for (; rows && a->results < 16; rows = db_rows_next(rows)) {
        first = db_rows_text(rows, 0, 0);
        snprintf(a->cells[a->results], 64, "%.*s", STR_ARG(first));
        a->affected[a->results++] = db_rows_affected(rows);
    }
}

void ask_end(struct ask *a)
{
    task_done(&a->task, &(ath_done){ .size = sizeof(ath_done) });
}

static int ask_done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct ask *a = container_of(t, struct ask, task);

    a->rc = d->rc;
    if (d->rc < 0)
        err_copy(&a->err, e);
    else
        read_rows(a, d->rows);
    ask_end(a);
    return 0;
}

static int ask_run(ath_task *t, void *arg, ath_err *e)
{
    struct ask *a = arg;
    int rc = a->instead ? a->instead(t, a, e) : db_query(t, &a->q, ask_done, NULL, e);

    if (rc < 0) {
        a->rc = rc;
        a->refused = true;
        err_copy(&a->err, e);
    }
    return rc;
}

static void ask_task_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct ask *a = container_of(t, struct ask, task);

    (void)result;
    if (rc < 0 && a->rc == 0) {
        a->rc = rc;
        if (e)
            err_copy(&a->err, e);
    }
    task_unref(t);
}

static void ask_destroy(ath_task *t)
{
    struct ask *a = container_of(t, struct ask, task);

    pthread_mutex_lock(&a->lock);
    a->done_ns = clock_ns();
    a->gone = true;
    pthread_cond_broadcast(&a->over);
    pthread_mutex_unlock(&a->lock);
}

static const struct task_type ask_type_ = { .name = "ask",
                                            .end = ask_task_end,
                                            .destroy = ask_destroy };

struct batch {
    ath_loop *loop;
    size_t n;
    struct ask *a[];
};

static void batch_run(void *arg)
{
    struct batch *b = arg;

    for (size_t i = 0; i < b->n; i++) {
        struct ask *a = b->a[i];
        task_init(&a->task, &ask_type_, b->loop, NULL, NULL);
        a->task.client = db_client_find(a->q.client);
        task_run(&a->task, ask_run, a);
    }
    free(b);
}

void lab_send(struct lab *lab, uint32_t loop, struct ask **a, size_t n)
{
    struct batch *b = mem_new(sizeof(*b) + n * sizeof(b->a[0]));

    b->loop = lab->loop[loop];
    b->n = n;
    for (size_t i = 0; i < n; i++) {
        b->a[i] = a[i];
        a[i]->loop = b->loop;
    }
    loop_post(b->loop, batch_run, b);
}

bool ask_wait(struct ask *a, int ms)
{
    struct timespec until;
    bool gone;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&a->lock);
    while (!a->gone && pthread_cond_timedwait(&a->over, &a->lock, &until) == 0)
        ;
    gone = a->gone;
    pthread_mutex_unlock(&a->lock);
    return gone;
}

void ask_free(struct ask *a)
{
    ck_assert_msg(a->gone, "an ask was freed that is not over");
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->over);
    free(a);
}

static void leave_here(void *arg)
{
    struct ask *a = arg;

    if (a->gone || a->task.ended)
        return;
    task_leave(&a->task);
    task_unref(&a->task);
}

void ask_leave(struct ask *a)
{
    loop_post(a->loop, leave_here, a);
}

void lab_get(struct lab *lab, const char *client, uint32_t flags, const char *sql, char *ret,
             size_t n)
{
    struct ask *a = ask_new(client, flags, sql);

    lab_send(lab, 0, &a, 1);
    ck_assert_msg(ask_wait(a, 10000), "hangs: %s", sql);
    ck_assert_msg(a->rc == 0, "%s: %s", sql, a->err.message);
    snprintf(ret, n, "%s", a->cell);
    ask_free(a);
}
