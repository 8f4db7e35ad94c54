/* What is done to jobs from outside, on any loop: one statement, and those who run the queue are
 * told with its commit.
 */
#include "base/err.h"
#include "jobs/jobs_priv.h"

struct act {
    struct family *family;
    ath_str key;
    int32_t what;
};

static int acted(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done result = { .size = sizeof(result) };

    if (d->rc < 0 && str_is(err_get(e, "sqlstate"), "23505")) {
        task_done(t, &result); /* one that is the same was put meanwhile */
        return 0;
    }
    if (d->rc < 0)
        return d->rc;
    result.count = db_rows_affected(d->rows);
    result.bytes = db_rows_text(d->rows, 0, 0);
    task_done(t, &result);
    return 0;
}

static int change(ath_task *t, const ath_done *d, ath_err *e)
{
    struct act *a = d->arg;
    const struct queue_sql *sql;
    const char *name = a->family->queue->cap.name;
    bool cancel = a->what == ATH_JOB_CANCEL;
    static const uint32_t text[] = { 25 };
    ath_str told = arena_printf(&t->arena, "%s%s", cancel ? "!" : "", name);

    if (d->rc < 0)
        return d->rc;
    sql = atomic_load(&a->family->sql);
    return db_query(
        t,
        &(ath_query){
            .size = sizeof(ath_query),
            .client = ATH_S("@control"),
            .timeout_ms = STATEMENT_MS,
            .stmt = (ath_stmt[]){ { .sql = cancel ? sql->cancel : sql->retry,
                                    .param = &a->key,
                                    .param_count = 1 },
                                  { .sql = "SELECT pg_catalog.pg_notify('" JOBS_CHANNEL "', $1)",
                                    .param = &told,
                                    .type = text,
                                    .param_count = 1 } },
            .stmt_size = sizeof(ath_stmt),
            .stmt_count = 2 },
        acted, a, e);
}

static int act(ath_task *t, void *arg, ath_err *e)
{
    struct act *a = arg;

    return family_ready(t, a->family, change, a, e);
}

static int find(const char *queue, struct family **ret, ath_err *e)
{
    if (!jobs.started)
        return err_raise(e, "feature_unavailable",
                         "no database is named for this: gateway.logging_client is empty");
    *ret = queue ? family_find(str_of(queue)) : NULL;
    return *ret ? 0 : err_fail(e, ATH_E_BUG, "there is no queue \"%s\" here", queue ? queue : "");
}

int jobs_act(ath_task *t, const ath_act *given, ath_then *then, void *arg, ath_err *e)
{
    struct act *a = ARENA_NEW(&t->arena, struct act);

    if (find(given->queue, &a->family, e) < 0)
        return e->rc;
    a->key = arena_str(&t->arena, given->key);
    a->what = given->what;
    if (a->what != ATH_JOB_CANCEL && a->what != ATH_JOB_RETRY)
        return err_fail(e, ATH_E_BUG, "%d is nothing that is done to a job", a->what);
    return task_fork(t, &(ath_fork){ .size = sizeof(ath_fork), .run = act, .arg = a }, then, arg,
                     e);
}

/* ---- many dead ones ---- */

struct redrive {
    struct family *family;
    ath_redrive r;
};

static int redriven(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct redrive *x = d->arg;
    ath_done result = { .size = sizeof(result) };
    int64_t n = db_rows_count(d->rows);

    (void)e;
    if (d->rc < 0)
        return d->rc;
    if (x->r.flags & ATH_REDRIVE_LOOK)
        str_i64(db_rows_text(d->rows, 0, 0), &n);
    else if (n)
        jobs_wake(x->r.queue);
    result.count = (uint64_t)n;
    task_done(t, &result);
    return 0;
}

static int revive(ath_task *t, const ath_done *d, ath_err *e)
{
    struct redrive *x = d->arg;
    struct redrive_sql *s = ARENA_NEW(&t->arena, struct redrive_sql);
    struct buf sql = ARENA_BUF(&t->arena);

    if (d->rc < 0)
        return d->rc;
    if (redrive_make(&sql, x->family->queue, atomic_load(&x->family->sql)->revive, &x->r, &t->arena,
                     s, e) < 0)
        return e->rc;
    return jobs_ask(t, buf_view(&sql).p, s->param, NULL, s->params, redriven, x, e);
}

static int redrive(ath_task *t, void *arg, ath_err *e)
{
    struct redrive *x = arg;

    return family_ready(t, x->family, revive, x, e);
}

int jobs_redrive(ath_task *t, const ath_redrive *r, ath_then *then, void *arg, ath_err *e)
{
    struct redrive *x = ARENA_NEW(&t->arena, struct redrive);

    if (find(r->queue, &x->family, e) < 0)
        return e->rc;
    x->r = *r;
    x->r.queue = x->family->queue->cap.name;
    x->r.client = arena_str(&t->arena, r->client);
    x->r.error = arena_str(&t->arena, r->error);
    return task_fork(t, &(ath_fork){ .size = sizeof(ath_fork), .run = redrive, .arg = x }, then,
                     arg, e);
}

/* ---- a new one ---- */

struct put {
    const char *queue, *sql;
    ath_session *session;
    ath_str *param;
    uint32_t params;
};

static int is_put(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct put *x = d->arg;
    ath_done result = { .size = sizeof(result) };

    (void)e;
    if (d->rc < 0)
        return d->rc;
    if (!x->session)
        jobs_wake(x->queue);
    result.bytes = db_rows_text(d->rows, 0, 0);
    result.count = str_is(db_rows_text(d->rows, 0, 1), "t");
    task_done(t, &result);
    return 0;
}

static int put(ath_task *t, void *arg, ath_err *e)
{
    struct put *x = arg;
    ath_stmt stmt = { .sql = x->sql, .param = x->param, .param_count = x->params };

    return db_query(t,
                    &(ath_query){ .size = sizeof(ath_query),
                                  .client = x->session ? (ath_str){ 0 } : ATH_S("@control"),
                                  .session = x->session,
                                  .timeout_ms = STATEMENT_MS,
                                  .stmt = &stmt,
                                  .stmt_size = sizeof(stmt),
                                  .stmt_count = 1 },
                    is_put, x, e);
}

int jobs_put(ath_task *t, const ath_put *p, ath_then *then, void *arg, ath_err *e)
{
    struct put *x = ARENA_NEW(&t->arena, struct put);
    struct buf sql = ARENA_BUF(&t->arena);
    struct family *f;

    if (find(p->queue, &f, e) < 0)
        return e->rc;
    put_make(&sql, f->queue, p);
    *x = (struct put){ .queue = f->queue->cap.name,
                       .sql = buf_view(&sql).p,
                       .session = p->session,
                       .param = arena_alloc(&t->arena, (p->column_count + 1) * sizeof(ath_str)),
                       .params = p->column_count };
    for (uint32_t i = 0; i < p->column_count; i++)
        x->param[i] = p->column[i].value;
    return task_fork(t, &(ath_fork){ .size = sizeof(ath_fork), .run = put, .arg = x }, then, arg,
                     e);
}
