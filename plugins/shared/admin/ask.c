/* Asking the control plane or the key store, and what their failures mean to an operator. */
#include "admin/admin.h"

static int refuse(ath_err *e, const char *code, const char *title, ath_str words)
{
    struct buf b = BUF_HEAP;
    int rc = ath_raise(e, code, "%.*s", STR_ARG(words));

    buf_json(&b, str_of(title));
    ath_host_->err->detail(e, "title", buf_view(&b));
    buf_free(&b);
    return rc;
}

int admin_fail(ath_err *e, const char *code, const char *title, const char *fmt, ...)
{
    struct buf words = BUF_HEAP;
    va_list ap;
    int rc;

    va_start(ap, fmt);
    buf_vprintf(&words, fmt, ap);
    va_end(ap);
    rc = refuse(e, code, title, buf_view(&words));
    buf_free(&words);
    return rc;
}

ath_str admin_database(enum admin_store store)
{
    return store == ADMIN_KEYS ? ATH_S("@auth") : ATH_S("@control");
}

static int no_keys(ath_task *t, ath_err *e)
{
    ath_str name = ath_host_->inspect(t, "auth_client");

    if (name.n)
        return admin_fail(e, "auth_store_unavailable", "Auth store unavailable",
                          "Gateway auth client '%.*s' is not connected.", STR_ARG(name));
    return admin_fail(e, "auth_store_unavailable", "Auth store unavailable",
                      "No gateway auth client is configured.");
}

/* No control plane is configured, or it is away. */
static int no_control(ath_task *t, enum admin_store store, ath_err *e)
{
    const char *title = store == ADMIN_CATALOG   ? "Client catalog unavailable"
                        : store == ADMIN_BACKUPS ? "Logging unavailable"
                                                 : "Logging store unavailable";
    ath_str name = ath_host_->inspect(t, "logging_client");

    if (name.n)
        return admin_fail(e, "control_plane_unavailable", title,
                          "Logging client '%.*s' is not connected.", STR_ARG(name));
    return admin_fail(e, "control_plane_unavailable", title,
                      "No athena%clogging client is configured.",
                      store == ADMIN_LOGGING ? ' ' : '_');
}

int admin_absent(ath_task *t, enum admin_store store, ath_err *e)
{
    return store == ADMIN_KEYS ? no_keys(t, e) : no_control(t, store, e);
}

int admin_refuse(ath_task *t, enum admin_store store, const char *failed, ath_err *e)
{
    ath_str code = ath_host_->err->get(e, "code"), state = ath_host_->err->get(e, "sqlstate");
    struct buf words = BUF_ARENA(ath_arena_of(t));

    if (str_is(code, "feature_unavailable"))
        return admin_absent(t, store, e);
    if (!state.n && (str_is(code, "client_unavailable") || str_is(code, "connection_error") ||
                     str_is(code, "client_unknown")))
        return admin_absent(t, store, e);
    if (!state.n)
        return ath_fail(e, ATH_E_UPSTREAM, "%s: %.*s", failed,
                        STR_ARG(ath_host_->err->get(e, "message")));
    buf_str(&words, ath_host_->err->get(e, "message"));
    return refuse(e, str_is(state, "23505") ? "control_plane_conflict" : "control_plane_failed",
                  failed, buf_view(&words));
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct admin_ask *a = d->arg;
    ath_done kept = *d;

    if (d->rc < 0)
        return admin_refuse(t, a->store, a->failed, e);
    kept.arg = a->arg;
    kept.rows = d->rows ? ath_host_->pg->keep(t, d->rows) : NULL;
    return a->then(t, &kept, e);
}

int admin_ask(ath_task *t, struct admin_ask *a, ath_then *then, void *arg, ath_err *e)
{
    a->then = then;
    a->arg = arg;
    a->query = (ath_query){ .size = sizeof(a->query),
                            .client = admin_database(a->store),
                            .flags = a->flags,
                            .timeout_ms = a->timeout_ms,
                            .stmt = a->stmt,
                            .stmt_size = sizeof(a->stmt[0]),
                            .stmt_count = a->count };
    if (ath_host_->pg->query(t, &a->query, answered, a, e) < 0)
        return admin_refuse(t, a->store, a->failed, e);
    return 0;
}

int admin_read(ath_task *t, enum admin_store store, const char *failed, const char *sql,
               const ath_str *param, uint32_t params, ath_then *then, void *arg, ath_err *e)
{
    struct admin_ask *a = ath_new(ath_arena_of(t), sizeof(*a));

    a->store = store;
    a->failed = failed;
    a->count = 1;
    a->stmt[0] =
        (ath_stmt){ .sql = sql, .param = param, .param_count = params, .flags = ATH_PG_READ };
    return admin_ask(t, a, then, arg, e);
}
