/* Addresses that hold for every key, or for every key in use for one client: a list of whom to let
 * in, and one of whom to keep out.
 *
 * A rule is one network and one client, or none; the table's own constraint lets rules without a
 * client repeat, so rules are looked for first, one change at a time (D-35).
 */
#include "admin_keys.h"

static const struct admin_member members[] = {
    { "addr", ADMIN_TEXT }, { "client_name", ADMIN_TEXT }, { "created_at", ADMIN_TIME },
    { "id", ADMIN_TEXT },   { "label", ADMIN_TEXT },
};

#define RECORD(table)                                                                              \
    "addr::text, client_name, " ADMIN_UTC(created_at) ", " table "_id::text, label"
#define SAME                                                                                       \
    " where addr = $1::cidr and lower(coalesce(client_name, '')) = lower(coalesce($2::text, ''))"
#define LIST_SQL(table) "select " RECORD(table) " from " table " order by created_at, id"
#define PUT_SQL(table)                                                                             \
    "with old as (update " table " set label = $3" SAME " returning " RECORD(                      \
        table) "), new as ("                                                                       \
               "insert into " table                                                                \
               " (addr, client_name, label) select $1::cidr, $2::text, $3 where not "              \
               "exists (select from " table SAME                                                   \
               ") returning " RECORD(table) ") select * from old union all "                       \
                                            "select * from new"
#define DELETE_SQL(table) "delete from " table SAME " returning 1"

struct global { /* one of the two lists */
    const char *list_sql, *put_sql, *delete_sql;
    const char *listed, *saved, *removed, *list_failed, *save_failed, *remove_failed, *missing;
};

#define GLOBAL(word_, table)                                                                       \
    {                                                                                              \
        .list_sql = LIST_SQL(table), .put_sql = PUT_SQL(table), .delete_sql = DELETE_SQL(table),   \
        .listed = "Global " word_, .saved = "Global " word_ " entry saved",                        \
        .removed = "Global " word_ " entry removed",                                               \
        .list_failed = "Failed to list global " word_,                                             \
        .save_failed = "Failed to save global " word_ " entry",                                    \
        .remove_failed = "Failed to remove global " word_ " entry",                                \
        .missing = "No matching global " word_ " entry exists."                                    \
    }

static const struct global white = GLOBAL("whitelist", "api_key_ip_global_whitelist");
static const struct global black = GLOBAL("blacklist", "api_key_ip_global_blacklist");

struct rule {
    const struct global *list;
    ath_str param[3]; /* network, client, label */
};

/* ---- reading ---- */

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct global *g = d->arg;
    struct buf b = admin_answer(t, g->listed);

    (void)e;
    buf_json_key(&b, "records");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(members));
    return admin_reply(t, 200, &b);
}

static int list(ath_req *r, const struct global *g, ath_err *e)
{
    return admin_read(r, ADMIN_KEYS, g->list_failed, g->list_sql, NULL, 0, listed,
                      (void *)(uintptr_t)g, e);
}

/* ---- writing ---- */

static const char turn_sql[] = "select pg_advisory_xact_lock(hashtext('athena.api_key_ip_global'))";

static struct change *change_of(ath_req *r, struct rule *n, const char *failed, const char *message,
                                change_settle *settle)
{
    struct change *c = change_new(r, failed, message, settle);

    change_said(r, c, "addr", n->param[0]);
    c->arg = n;
    change_add(c, turn_sql, NULL, 0);
    return c;
}

static int saved(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    const struct rule *n = c->arg;

    (void)e;
    warn_unknown_client(r, n->param[1]);
    buf_json_key(b, "record");
    admin_object(b, rows_of(rows, 1), 0, ADMIN_MEMBERS(members));
    return 0;
}

static int take_network(ath_req *r, ath_str text, ath_str *ret, ath_err *e)
{
    text = str_trim(text);
    if (!text.n)
        return admin_fail(e, "VALIDATION_FAILED", "Invalid address",
                          "Supply exactly one IP or CIDR.");
    return read_network(r, text, ret, e);
}

static int save(ath_req *r, const struct global *g, ath_err *e)
{
    struct rule *n = ath_new(ath_arena_of(r), sizeof(*n));
    const struct json *body;
    struct change *c;
    ath_str addr;
    int rc = keys_ready(r, e);

    n->list = g;
    if (rc < 0 || (rc = admin_body(r, &body, e)) < 0 ||
        (rc = take_text(body, "addr", &addr, e)) < 0 ||
        (rc = take_client(body, &n->param[1], e)) < 0 ||
        (rc = admin_text(body, "label", &n->param[2], e)) < 0 ||
        (rc = take_network(r, addr, &n->param[0], e)) < 0)
        return rc;
    c = change_of(r, n, g->save_failed, g->saved, saved);
    c->status = 201;
    change_add(c, g->put_sql, n->param, 3);
    return change_run(r, c, e);
}

static int removed(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    const struct global *g = ((const struct rule *)c->arg)->list;

    (void)r;
    if (!ath_host_->pg->count(rows_of(rows, 1)))
        return admin_fail(e, "not_found",
                          g == &white ? "Global whitelist entry not found"
                                      : "Global blacklist entry not found",
                          "%s", g->missing);
    buf_json_bool(b, "removed", true);
    return 0;
}

static int drop(ath_req *r, const struct global *g, ath_err *e)
{
    struct rule *n = ath_new(ath_arena_of(r), sizeof(*n));
    ath_str client = str_trim(ath_param(r, "client_name"));
    struct change *c;
    int rc = keys_ready(r, e);

    n->list = g;
    if (rc < 0 || (rc = take_network(r, ath_param(r, "addr"), &n->param[0], e)) < 0)
        return rc;
    if (client.n)
        n->param[1] = client;
    c = change_of(r, n, g->remove_failed, g->removed, removed);
    change_add(c, g->delete_sql, n->param, 2);
    return change_run(r, c, e);
}

/* ---- the handlers ---- */

int global_white_list(ath_req *r, ath_err *e)
{
    return list(r, &white, e);
}

int global_white_put(ath_req *r, ath_err *e)
{
    return save(r, &white, e);
}

int global_white_delete(ath_req *r, ath_err *e)
{
    return drop(r, &white, e);
}

int global_black_list(ath_req *r, ath_err *e)
{
    return list(r, &black, e);
}

int global_black_put(ath_req *r, ath_err *e)
{
    return save(r, &black, e);
}

int global_black_delete(ath_req *r, ath_err *e)
{
    return drop(r, &black, e);
}
