/* What there is to call: the served routes, the tables of the control plane that say more, and the
 * error codes.
 *
 * Names of plugins, rights, limits and clients are no public knowledge, so all of it wants a
 * credential even where keys are not enforced. A table that nobody has made, and a control plane
 * that is away, leave their part of GET /router/registry out; the routes that are served always
 * show.
 */
#include "meta.h"

#include "admin/admin.h"

static const char *const parts[] = {
    "select json_agg(row_to_json(r))::text from pm_athena_router r",
    "select json_agg(json_build_object('source', 'public_route', 'method', 'POST', 'path', "
    "'/public/' || r.route_key || '/' || op, 'client_name', r.client_name, 'is_active', "
    "r.is_active) "
    "order by r.route_key, op)::text "
    "from public_gateway_routes r, unnest(r.allowed_ops) op where r.deleted_at is null",
    "select json_agg(json_build_object('source', 'service_route', 'path', '/' || r.service_key, "
    "'route_key', r.route_key, 'target_kind', r.target_kind, 'is_active', r.is_active) "
    "order by r.route_key, r.service_key)::text "
    "from public_service_routes r where r.deleted_at is null",
};

enum { PARTS = ATH_COUNT(parts) };

struct listing {
    uint32_t asked;
    ath_str part[PARTS]; /* JSON arrays; empty: nothing */
    ath_stmt stmt;
    ath_query query;
    ath_str param;
};

static int known(ath_req *r, ath_err *e)
{
    ath_who who = { .size = sizeof(who) };

    ath_host_->req->who(r, &who);
    if (who.flags & (ATH_WHO_ADMIN | ATH_WHO_KEY))
        return 0;
    return ath_raise(e, "unauthorized", "this needs the admin key or an API key");
}

static int ask(ath_task *t, struct listing *l, const char *sql, ath_then *then, ath_err *e)
{
    l->stmt = (ath_stmt){ .sql = sql, .flags = ATH_PG_READ };
    if (l->param.p) {
        l->stmt.param = &l->param;
        l->stmt.param_count = 1;
    }
    l->query = (ath_query){ .size = sizeof(l->query),
                            .client = ATH_S("@control"),
                            .stmt = &l->stmt,
                            .stmt_size = sizeof(l->stmt),
                            .stmt_count = 1 };
    return ath_host_->pg->query(t, &l->query, then, l, e);
}

/* ---- GET /router/registry ---- */

/* The elements of a JSON array, after those that are there. */
static void put_elements(struct buf *b, ath_str array)
{
    if (array.n < 3 || array.p[0] != '[')
        return;
    if (b->n > 1)
        buf_char(b, ',');
    buf_str(b, str_from(array.p + 1, array.n - 2));
}

static int reply_registry(ath_req *r, const struct listing *l)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_char(&b, '[');
    put_elements(&b, l->part[0]);
    put_elements(&b, ath_host_->inspect(r, "registry"));
    for (uint32_t i = 1; i < PARTS; i++)
        put_elements(&b, l->part[i]);
    buf_char(&b, ']');
    return ath_reply(r, 200, "application/json", buf_view(&b));
}

static int on_part(ath_task *t, const ath_done *d, ath_err *e);

/* The next part, if the control plane can be asked at all. */
static int next_part(ath_req *r, struct listing *l, ath_err *e)
{
    while (l->asked < PARTS)
        if (ask(r, l, parts[l->asked++], on_part, e) == 0)
            return 0;
    return reply_registry(r, l);
}

static int on_part(ath_task *t, const ath_done *d, ath_err *e)
{
    struct listing *l = d->arg;

    if (d->rc == 0 && ath_host_->pg->count(d->rows))
        l->part[l->asked - 1] = ath_cell(ath_host_->pg->keep(t, d->rows), 0, 0);
    return next_part(t, l, e);
}

int meta_registry(ath_req *r, ath_err *e)
{
    struct listing *l = ath_new(ath_arena_of(r), sizeof(*l));
    int rc = known(r, e);

    return rc < 0 ? rc : next_part(r, l, e);
}

/* ---- GET /registry ---- */

/* Without a control plane there is nothing to ask; without the table there are no entries. */
static int no_entries(ath_req *r, ath_err *e)
{
    if (str_is(ath_host_->err->get(e, "code"), "undefined_table"))
        return ath_reply(r, 200, "application/json", ATH_S("[]"));
    return admin_refuse(r, ADMIN_LOGGING, "Failed to list API registry entries", e);
}

static int on_entries(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_str rows;

    if (d->rc < 0)
        return no_entries(t, e);
    rows = ath_cell(ath_host_->pg->keep(t, d->rows), 0, 0);
    return ath_reply(t, 200, "application/json", rows.p ? rows : ATH_S("[]"));
}

static int entries(ath_req *r, const char *sql, ath_str id, ath_err *e)
{
    struct listing *l = ath_new(ath_arena_of(r), sizeof(*l));
    int rc = known(r, e);

    if (rc < 0)
        return rc;
    l->param = id;
    rc = ask(r, l, sql, on_entries, e);
    return rc < 0 ? no_entries(r, e) : 0;
}

int meta_entries(ath_req *r, ath_err *e)
{
    return entries(r, "select json_agg(row_to_json(r))::text from api_registry r",
                   (ath_str){ NULL, 0 }, e);
}

int meta_entry(ath_req *r, ath_err *e)
{
    return entries(r,
                   "select json_agg(row_to_json(r))::text from api_registry r "
                   "where r.api_registry_id::text = $1::text",
                   ath_param(r, "api_registry_id"), e);
}

/* ---- GET /admin/errors/catalog ---- */

int meta_errors(ath_req *r, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    int rc = known(r, e);

    if (rc < 0)
        return rc;
    buf_lit(&b, "{\"status\":\"success\",\"message\":\"Listed Athena error catalog\",\"data\":");
    buf_str(&b, ath_host_->inspect(r, "errors"));
    buf_char(&b, '}');
    return ath_reply(r, 200, "application/json", buf_view(&b));
}
