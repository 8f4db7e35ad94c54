/* Whether keys are asked for: in general (the row of api_key_config with the nil UUID), and for
 * clients that have a word of their own.
 *
 * A client's name means the same in any case (D-1), so a change is of every row that has it.
 */
#include "admin_keys.h"

#define NIL "'00000000-0000-0000-0000-000000000000'"

static const struct admin_member global_members[] = {
    { "enforce_api_keys", ADMIN_BOOL },
    { "updated_at", ADMIN_TIME },
};
static const struct admin_member client_members[] = {
    { "client_name", ADMIN_TEXT },
    { "created_at", ADMIN_TIME },
    { "enforce_api_keys", ADMIN_BOOL },
    { "updated_at", ADMIN_TIME },
};

#define GLOBAL_COLUMNS "enforce_api_keys, " ADMIN_UTC(updated_at)
#define CLIENT_COLUMNS                                                                             \
    "client_name, " ADMIN_UTC(created_at) ", enforce_api_keys, " ADMIN_UTC(updated_at)

static const char global_sql[] =
    "select " GLOBAL_COLUMNS " from api_key_config where api_key_config_id = " NIL;
static const char clients_sql[] = "select " CLIENT_COLUMNS " from api_key_client_config order by "
                                  "client_name collate \"C\"";

/* ---- in general ---- */

static int shown(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Loaded API key config");

    (void)e;
    buf_json_key(&b, "clients");
    admin_objects(&b, rows_of(d->rows, 1), ADMIN_MEMBERS(client_members));
    buf_json_key(&b, "global");
    if (ath_host_->pg->count(d->rows))
        admin_object(&b, d->rows, 0, ADMIN_MEMBERS(global_members));
    else
        buf_lit(&b, "{\"enforce_api_keys\":false,\"updated_at\":null}");
    return admin_reply(t, 200, &b);
}

int switch_show(ath_req *r, ath_err *e)
{
    struct admin_ask *a = ath_new(ath_arena_of(r), sizeof(*a));

    a->store = ADMIN_KEYS;
    a->failed = "Failed to load API key config";
    a->flags = ATH_PG_READ;
    a->stmt[0] = (ath_stmt){ .sql = global_sql };
    a->stmt[1] = (ath_stmt){ .sql = clients_sql };
    a->count = 2;
    return admin_ask(r, a, shown, NULL, e);
}

struct word {
    ath_str param[2]; /* the client's name; true or false */
};

static int switched(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    (void)r, (void)c, (void)e;
    buf_json_key(b, "global");
    admin_object(b, rows, 0, ADMIN_MEMBERS(global_members));
    return 0;
}

int switch_put(ath_req *r, ath_err *e)
{
    static const char sql[] =
        "insert into api_key_config (api_key_config_id, enforce_api_keys) values (" NIL
        ", $1::boolean) on conflict (api_key_config_id) do update set enforce_api_keys = "
        "excluded.enforce_api_keys, updated_at = now() returning " GLOBAL_COLUMNS;
    struct change *c =
        change_new(r, "Failed to update API key config", "Updated API key config", switched);
    struct word *w = ath_new(ath_arena_of(r), sizeof(*w));
    const struct json *body;
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = admin_body(r, &body, e)) < 0 ||
        (rc = take_bool(body, "enforce_api_keys", &w->param[1], e)) < 0)
        return rc;
    change_said(r, c, "enforce_api_keys", w->param[1]);
    change_add(c, sql, &w->param[1], 1);
    return change_run(r, c, e);
}

/* ---- of clients ---- */

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Listed API key client config");

    (void)e;
    buf_json_key(&b, "clients");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(client_members));
    return admin_reply(t, 200, &b);
}

int clients_show(ath_req *r, ath_err *e)
{
    return admin_read(r, ADMIN_KEYS, "Failed to list API key client config", clients_sql, NULL, 0,
                      listed, NULL, e);
}

static int client_switched(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b,
                           ath_err *e)
{
    (void)e;
    warn_unknown_client(r, c->subject);
    buf_json_key(b, "client");
    admin_object(b, rows_of(rows, 2), 0, ADMIN_MEMBERS(client_members));
    return 0;
}

int clients_put(ath_req *r, ath_err *e)
{
    static const char update_sql[] =
        "update api_key_client_config set enforce_api_keys = $2::boolean, updated_at = now() where "
        "lower(client_name) = lower($1)";
    static const char insert_sql[] =
        "insert into api_key_client_config (client_name, enforce_api_keys) select $1, $2::boolean "
        "where not exists (select from api_key_client_config where lower(client_name) = lower($1)) "
        "on conflict (client_name) do update set enforce_api_keys = excluded.enforce_api_keys";
    static const char show_sql[] =
        "select " CLIENT_COLUMNS " from api_key_client_config where lower(client_name) = lower($1) "
        "order by client_name = $1 desc, id limit 1";
    struct change *c = change_new(r, "Failed to update API key client config",
                                  "Updated API key client config", client_switched);
    struct word *w = ath_new(ath_arena_of(r), sizeof(*w));
    const struct json *body;
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = admin_client(r, &w->param[0], e)) < 0 ||
        (rc = admin_body(r, &body, e)) < 0 ||
        (rc = take_bool(body, "enforce_api_keys", &w->param[1], e)) < 0)
        return rc;
    change_said(r, c, "enforce_api_keys", w->param[1]);
    c->subject = w->param[0];
    change_add(c, update_sql, w->param, 2);
    change_add(c, insert_sql, w->param, 2);
    change_add(c, show_sql, w->param, 1);
    return change_run(r, c, e);
}

static int deleted(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    (void)r;
    if (!ath_host_->pg->count(rows))
        return admin_fail(e, "not_found", "API key client config not found",
                          "No client config exists for '%.*s'.", STR_ARG(c->subject));
    buf_json_str(b, "client_name", c->subject);
    return 0;
}

int clients_delete(ath_req *r, ath_err *e)
{
    static const char sql[] = "delete from api_key_client_config where lower(client_name) = "
                              "lower($1) returning 1";
    struct change *c = change_new(r, "Failed to delete API key client config",
                                  "Deleted API key client config", deleted);
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = admin_client(r, &c->subject, e)) < 0)
        return rc;
    change_add(c, sql, &c->subject, 1);
    return change_run(r, c, e);
}
