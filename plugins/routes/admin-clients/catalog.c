/* GET: the catalogue and what this process makes of it. */
#include "admin_clients.h"

static const char list_sql[] =
    "select " CLIENT_COLUMNS " from athena_clients where deleted_at is null "
    "order by lower(client_name)";
static const char one_sql[] =
    "select " CLIENT_COLUMNS " from athena_clients where lower(client_name) = lower($1) and "
    "deleted_at is null";

#define LIST_FAILED "Failed to list Athena clients"

static uint32_t reveal_flag(ath_req *r)
{
    const struct admin_clients_config *c = ath_config_of(r);

    return c->reveal ? ATH_CLIENTS_REVEAL : 0;
}

static ath_str runtime_of(ath_req *r, ath_str name)
{
    const struct admin_clients_state *s = ath_state_of(r);

    return s->clients->runtime(ath_arena_of(r), name, reveal_flag(r));
}

/* Without a control plane there is still what the process serves. */
static int list_runtime(ath_req *r)
{
    struct buf b = admin_answer(r, "Listed runtime Athena clients");

    buf_json_key(&b, "clients");
    buf_str(&b, runtime_of(r, ATH_S("")));
    return admin_reply(r, 200, &b);
}

static int list_without(ath_req *r, ath_err *e)
{
    int rc = admin_refuse(r, ADMIN_CATALOG, LIST_FAILED, e);

    if (str_is(ath_host_->err->get(e, "code"), "control_plane_unavailable"))
        return list_runtime(r);
    return rc;
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    uint32_t n = d->rc == 0 ? ath_host_->pg->count(d->rows) : 0;
    struct buf b;

    if (d->rc < 0)
        return list_without(t, e);
    b = admin_answer(t, "Listed Athena clients");
    buf_json_key(&b, "clients");
    buf_char(&b, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            buf_char(&b, ',');
        client_object(t, &b, d->rows, i);
    }
    buf_char(&b, ']');
    buf_json_key(&b, "runtime");
    buf_str(&b, runtime_of(t, ATH_S("")));
    return admin_reply(t, 200, &b);
}

int clients_list(ath_req *r, ath_err *e)
{
    const ath_stmt stmt = { .sql = list_sql, .flags = ATH_PG_READ };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(r, &q, listed, NULL, e) < 0 ? list_without(r, e) : 0;
}

static int loaded(ath_task *t, const ath_done *d, ath_err *e)
{
    const ath_str *name = d->arg;
    struct buf b;

    if (!ath_host_->pg->count(d->rows))
        return admin_fail(e, "not_found", "Athena client not found", "No client exists for '%.*s'.",
                          STR_ARG(*name));
    b = admin_answer(t, "Loaded Athena client");
    buf_json_key(&b, "client");
    client_object(t, &b, d->rows, 0);
    buf_json_key(&b, "runtime");
    buf_str(&b, runtime_of(t, *name).n ? runtime_of(t, *name) : ATH_S("null"));
    return admin_reply(t, 200, &b);
}

int clients_one(ath_req *r, ath_err *e)
{
    ath_str *name = ath_new(ath_arena_of(r), sizeof(*name));

    if (admin_client(r, name, e) < 0)
        return ATH_E_INPUT;
    return admin_read(r, ADMIN_CATALOG, "Failed to load Athena client", one_sql, name, 1, loaded,
                      name, e);
}

int clients_names(ath_req *r, ath_err *e)
{
    const struct admin_clients_state *s = ath_state_of(r);
    struct buf b = BUF_ARENA(ath_arena_of(r));

    (void)e;
    buf_lit(&b, "{\"clients\":");
    buf_str(&b, s->clients->names(ath_arena_of(r)));
    buf_lit(&b, "}");
    return ath_reply(r, 200, "application/json", buf_view(&b));
}
