/* The rows, read again and again in the background.
 *
 * One task of the process lives on a work loop: it waits, lets a child read both tables, and waits
 * again. Beside it another one listens: whoever changes a row says NOTIFY athena_routes, and it
 * lets a child read at once (D-24). When the rows have changed, every loop gets the new ones by
 * posting. A table that is not there is known to be not there; a database that does not answer
 * changes nothing, and after a while what is known is too old to decide by (public_registry).
 */
#include "public.h"

#include <stdlib.h>

enum { LOOK_MS = 5000, FAILURES_SAID = 4, LISTEN_AGAIN_MS = 5000 };

static const char routes_sql[] =
    "select lower(trim(route_key)), client_name, coalesce(target_url, ''), "
    "array_to_string(allowed_ops, ' '), is_active, "
    "coalesce(metadata ->> 'enforce_ops_on_host' = 'true', false), "
    "coalesce(metadata ->> 'trusted_target' = 'true', false) "
    "from public_gateway_routes where deleted_at is null order by 1, id limit 100001";
static const char services_sql[] =
    "select lower(trim(route_key)), "
    "case lower(service_key) when 'real-time' then 'realtime' else lower(service_key) end, "
    "target_kind, coalesce(local_path_prefix, ''), coalesce(target_url, ''), is_active, "
    "coalesce(metadata ->> 'trusted_target' = 'true', false) "
    "from public_service_routes where deleted_at is null order by 1, 2, id limit 100001";

enum registry public_registry(ath_req *r, const struct table **ret)
{
    const struct public_state *s = ath_state_of(r);
    const struct public_local *local = ath_local_of(r);
    uint64_t read_ms = atomic_load_explicit(&s->read_ms, memory_order_relaxed);
    uint64_t now_ms = ath_host_->loop->now_ms(ath_host_->task->loop(r));

    *ret = local->table;
    if (!local->table || now_ms > read_ms + STALE_MS)
        return REGISTRY_DOWN;
    return local->table->routes_there ? REGISTRY_READY : REGISTRY_ABSENT;
}

void public_say(int level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, NULL, level, fmt, ap);
    va_end(ap);
}

/* ---- to the loops ---- */

struct parcel {
    struct public_local *to;
    struct table *table;
};

static void unpack(void *arg)
{
    struct parcel *p = arg;

    table_unref(p->to->table);
    p->to->table = p->table;
    free(p);
}

static void publish(struct public_state *s, struct table *t)
{
    for (struct public_local *l = atomic_load(&s->locals); l; l = l->next) {
        struct parcel *p = malloc(sizeof(*p));
        if (!p)
            abort(); /* as everywhere */
        atomic_fetch_add(&t->refs, 1);
        *p = (struct parcel){ l, t };
        ath_host_->loop->post(l->loop, unpack, p);
    }
}

/* The same rows again, nearly always. */
static void take(struct public_state *s, ath_task *t, struct table *fresh)
{
    const struct table *old = s->last;

    atomic_store(&s->read_ms, ath_host_->loop->now_ms(ath_host_->task->loop(t)));
    if (old && str_eq(buf_view(&old->text), buf_view(&fresh->text))) {
        table_unref(fresh);
        return;
    }
    publish(s, fresh);
    table_unref(s->last);
    s->last = fresh;
}

/* ---- one look ---- */

struct look {
    struct public_state *s;
    const ath_rows *routes;
    ath_stmt stmt;
    ath_query query;
};

static int ask(ath_task *t, struct look *k, const char *sql, ath_then *then, ath_err *e)
{
    k->stmt = (ath_stmt){ .sql = sql, .flags = ATH_PG_READ };
    k->query = (ath_query){ .size = sizeof(k->query),
                            .client = ATH_S("@control"),
                            .timeout_ms = LOOK_MS,
                            .stmt = &k->stmt,
                            .stmt_size = sizeof(k->stmt),
                            .stmt_count = 1 };
    return ath_host_->pg->query(t, &k->query, then, k, e);
}

/* Nobody has made the table, or there is no control plane that it could be in. */
static bool is_absent(const ath_err *e)
{
    ath_str code = ath_host_->err->get(e, "code");

    return str_is(code, "undefined_table") || str_is(code, "feature_unavailable");
}

static int finish(ath_task *t, struct look *k, const ath_rows *services, ath_err *e)
{
    struct table *fresh = table_new(k->routes, services, e);

    if (!fresh)
        return ATH_E_LIMIT;
    take(k->s, t, fresh);
    ath_host_->task->done(t, NULL);
    return 0;
}

static int on_services(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0 && !is_absent(e))
        return d->rc;
    return finish(t, d->arg, d->rc < 0 ? NULL : d->rows, e);
}

static int ask_services(ath_task *t, struct look *k, ath_err *e)
{
    int rc = ask(t, k, services_sql, on_services, e);

    return rc < 0 && is_absent(e) ? finish(t, k, NULL, e) : rc;
}

static int on_routes(ath_task *t, const ath_done *d, ath_err *e)
{
    struct look *k = d->arg;

    if (d->rc < 0 && !is_absent(e))
        return d->rc;
    if (d->rc == 0)
        k->routes = ath_host_->pg->keep(t, d->rows);
    return ask_services(t, k, e);
}

static int look_run(ath_task *t, void *arg, ath_err *e)
{
    struct look *k = ath_new(ath_arena_of(t), sizeof(*k));
    int rc;

    k->s = arg;
    rc = ask(t, k, routes_sql, on_routes, e);
    return rc < 0 && is_absent(e) ? ask_services(t, k, e) : rc;
}

/* ---- again and again ---- */

static int looked(ath_task *t, const ath_done *d, ath_err *e);

static int look(ath_task *t, struct public_state *s, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = look_run, .arg = s };

    if (!atomic_load(&s->stopping))
        return ath_host_->task->fork(t, &f, looked, s, e);
    s->ticker = NULL;
    ath_host_->task->done(t, NULL);
    return 0;
}

static int waited(ath_task *t, const ath_done *d, ath_err *e)
{
    return look(t, d->arg, e);
}

/* A column that is missing is given time: the tables of a server that starts may just be being
 * completed. */
static void say_failing(struct public_state *s, const ath_err *e)
{
    bool missing = str_is(ath_host_->err->get(e, "sqlstate"), "42703");

    if (s->said || ++s->failures < (missing ? FAILURES_SAID : 1))
        return;
    s->said = true;
    public_say(ATH_WARN, "public routes cannot be read: %s%s", ath_host_->err->get(e, "message").p,
               missing ? "; to add it: athena migrate up" : "");
}

static void say_read(struct public_state *s)
{
    if (s->said)
        public_say(ATH_INFO, "public routes can be read again");
    s->said = false;
    s->failures = 0;
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct public_state *s = d->arg;

    if (d->rc == 0)
        say_read(s);
    else if (!atomic_load(&s->stopping))
        say_failing(s, e);
    return ath_host_->task->after(t, s->cfg->refresh_ms, waited, s, e);
}

/* ---- at once ---- */

static int listen_now(ath_task *t, struct public_state *s, ath_err *e);

static int listen_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc == ATH_E_CANCELED ? d->rc : listen_now(t, d->arg, e);
}

static int heard(ath_task *t, const ath_done *d, ath_err *e)
{
    struct public_state *s = d->arg;
    ath_fork f = { .size = sizeof(f), .run = look_run, .arg = s };

    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0)
        return ath_host_->task->after(t, LISTEN_AGAIN_MS, listen_again, s, e);
    return ath_host_->task->fork(t, &f, listen_again, s, e);
}

static int listen_now(ath_task *t, struct public_state *s, ath_err *e)
{
    ath_stmt channel = { .sql = "athena_routes" };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &channel,
                    .stmt_size = sizeof(channel),
                    .stmt_count = 1 };

    if (atomic_load(&s->stopping)) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    if (ath_host_->pg->listen(t, &q, heard, s, e) < 0)
        return ath_host_->task->after(t, LISTEN_AGAIN_MS, listen_again, s, e);
    return 0;
}

static int listener_run(ath_task *t, void *arg, ath_err *e)
{
    return listen_now(t, arg, e);
}

static int listener_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    return d->rc == ATH_E_CANCELED ? d->rc : 0;
}

static int ticker_run(ath_task *t, void *arg, ath_err *e)
{
    struct public_state *s = arg;

    ath_fork f = { .size = sizeof(f), .run = listener_run, .arg = s };
    int rc = ath_host_->task->fork(t, &f, listener_over, s, e);

    if (rc < 0)
        return rc;
    s->ticker = t;
    atomic_store(&s->ticker_loop, ath_host_->task->loop(t));
    return look(t, s, e);
}

int refresh_start(void *state, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = ticker_run, .arg = state };

    (void)e;
    ath_host_->task->begin(ath_self_, &f);
    return 0;
}

static void cancel(void *arg)
{
    struct public_state *s = arg;

    if (s->ticker)
        ath_host_->task->cancel(s->ticker);
}

/* A task that has not begun yet sees `stopping`. */
void refresh_stop(void *arg)
{
    struct public_state *s = arg;
    ath_loop *l;

    atomic_store(&s->stopping, true);
    if ((l = atomic_load(&s->ticker_loop)))
        ath_host_->loop->post(l, cancel, s);
}
