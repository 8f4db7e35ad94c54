/* Where one key may be used from: its two lists, and the addresses that it was used from. */
#include "admin_keys.h"

#define POLICY_FAILED "Failed to load IP policy"
#define LIST_FAILED   "Failed to update IP list"

/* ---- reading ---- */

static const struct admin_member before_lists[] = { { "api_key_id", ADMIN_INT } };
static const struct admin_member between_lists[] = {
    { "max_whitelist_ips", ADMIN_INT },    { "virgin_mode", ADMIN_BOOL },
    { "virgin_request_count", ADMIN_INT }, { "virgin_resolved", ADMIN_BOOL },
    { "virgin_resolved_at", ADMIN_TIME },  { "virgin_until_n_requests", ADMIN_INT },
};
static const struct admin_member rule_members[] = {
    { "addr", ADMIN_TEXT },
    { "created_at", ADMIN_TIME },
    { "id", ADMIN_TEXT },
    { "label", ADMIN_TEXT },
};
static const struct admin_member seen_members[] = {
    { "addr", ADMIN_TEXT }, { "first_seen_at", ADMIN_TIME }, { "hit_count", ADMIN_INT },
    { "id", ADMIN_TEXT },   { "last_seen_at", ADMIN_TIME },  { "locked_in", ADMIN_BOOL },
};

static const char policy_sql[] =
    "select id, max_whitelist_ips, virgin_mode, virgin_request_count, virgin_resolved, " ADMIN_UTC(
        virgin_resolved_at) ", virgin_until_n_requests from api_keys where api_keys_id = $1::uuid";
#define RULES_SQL(table)                                                                           \
    "select l.addr::text, " ADMIN_UTC(                                                             \
        l.created_at) ", l." table "_id::text, l.label from " table                                \
                      " l join api_keys k on k.id = l.api_key_id where k.api_keys_id = $1::uuid "  \
                      "order by l.created_at, l.id"

static void put_members(struct buf *b, const ath_rows *rows, uint32_t from,
                        const struct admin_member *member, size_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        buf_json_key(b, member[i].name);
        admin_value(b, member[i].form, ath_cell(rows, 0, from + i));
    }
}

static int policy_loaded(ath_task *t, const ath_done *d, ath_err *e)
{
    const ath_str *id = d->arg;
    struct buf b;

    if (!ath_host_->pg->count(d->rows))
        return no_key(e, *id);
    b = admin_answer(t, "IP policy");
    buf_json_key(&b, "policy");
    buf_char(&b, '{');
    put_members(&b, d->rows, 0, ADMIN_MEMBERS(before_lists));
    buf_json_key(&b, "blacklist");
    admin_objects(&b, rows_of(d->rows, 2), ADMIN_MEMBERS(rule_members));
    put_members(&b, d->rows, 1, ADMIN_MEMBERS(between_lists));
    buf_json_key(&b, "whitelist");
    admin_objects(&b, rows_of(d->rows, 1), ADMIN_MEMBERS(rule_members));
    buf_char(&b, '}');
    return admin_reply(t, 200, &b);
}

static struct admin_ask *reading(ath_req *r, const char *failed)
{
    struct admin_ask *a = ath_new(ath_arena_of(r), sizeof(*a));

    a->store = ADMIN_KEYS;
    a->failed = failed;
    a->flags = ATH_PG_READ_ONLY | ATH_PG_REPEATABLE;
    return a;
}

static void ask(struct admin_ask *a, const char *sql, const ath_str *param, uint32_t params)
{
    a->stmt[a->count++] = (ath_stmt){ .sql = sql, .param = param, .param_count = params };
}

int key_policy(ath_req *r, ath_err *e)
{
    ath_str *id = ath_new(ath_arena_of(r), sizeof(*id));
    struct admin_ask *a = reading(r, POLICY_FAILED);
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = key_id(r, id, e)) < 0)
        return rc;
    ask(a, policy_sql, id, 1);
    ask(a, RULES_SQL("api_key_ip_whitelist"), id, 1);
    ask(a, RULES_SQL("api_key_ip_blacklist"), id, 1);
    return admin_ask(r, a, policy_loaded, id, e);
}

static int seen_loaded(ath_task *t, const ath_done *d, ath_err *e)
{
    const ath_str *id = d->arg;
    struct buf b;

    if (!ath_host_->pg->count(d->rows))
        return no_key(e, *id);
    b = admin_answer(t, "Seen IPs");
    buf_json_key(&b, "records");
    admin_objects(&b, rows_of(d->rows, 1), ADMIN_MEMBERS(seen_members));
    return admin_reply(t, 200, &b);
}

int key_seen(ath_req *r, ath_err *e)
{
    static const char key_sql[] = "select 1 from api_keys where api_keys_id = $1::uuid";
    static const char seen_sql[] = "select text(s.addr), " ADMIN_UTC(
        s.first_seen_at) ", s.hit_count, "
                         "s.api_key_ip_seen_id::text, " ADMIN_UTC(
                             s.last_seen_at) ", s.locked_in from "
                                             "api_key_ip_seen s join api_keys k on k.id = "
                                             "s.api_key_id where k.api_keys_id = $1::uuid "
                                             "order by s.last_seen_at desc, s.id desc limit "
                                             "$2::bigint offset $3::bigint";
    ath_str *param = ath_new(ath_arena_of(r), 3 * sizeof(*param));
    struct admin_ask *a = reading(r, "Failed to list seen IPs");
    struct admin_page page;
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = key_id(r, &param[0], e)) < 0 ||
        (rc = admin_page(r, 100, 1000, &page, e)) < 0)
        return rc;
    param[1] = page.limit_text;
    param[2] = page.offset_text;
    ask(a, key_sql, param, 1);
    ask(a, seen_sql, param, 3);
    return admin_ask(r, a, seen_loaded, param, e);
}

/* ---- writing ---- */

/* Behind the lock nobody else adds, so what is counted is what there is. */
static const char lock_sql[] =
    "select max_whitelist_ips from api_keys where api_keys_id = $1::uuid for update";
#define FRESH_SQL(table, most)                                                                     \
    "with k as (select id, " most                                                                  \
    " as most from api_keys where api_keys_id = $1::uuid), fresh as "                              \
    "(select distinct k.id, a::cidr as addr from k, jsonb_array_elements_text($2::jsonb) a where " \
    "not exists (select from " table " l where l.api_key_id = k.id and l.addr = a::cidr)), room "  \
    "as (select most <= 0 or (select count(*) from " table " l where l.api_key_id = k.id) + "      \
    "(select count(*) from fresh) <= most as there from k), added as (insert into " table          \
    " (api_key_id, addr, label) select f.id, f.addr, $3 from fresh f, room where room.there "      \
    "on conflict do nothing returning 1) select (select count(*) from added), (select there from " \
    "room)"
#define REMOVE_SQL(table)                                                                          \
    "with gone as (delete from " table " l using api_keys k where k.id = l.api_key_id and "        \
    "k.api_keys_id = $1::uuid and l.addr in (select a::cidr from "                                 \
    "jsonb_array_elements_text($2::jsonb) a) returning 1) select count(*), true from gone"

struct entries {
    const char *kind, *action;
    ath_str param[3]; /* id, addresses, label */
};

static int list_changed(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b,
                        ath_err *e)
{
    const ath_rows *result = rows_of(rows, 1);
    const struct entries *n = c->arg;

    (void)r;
    if (!ath_host_->pg->count(rows))
        return no_key(e, n->param[0]);
    if (!str_is(ath_cell(result, 0, 1), "t"))
        return admin_fail(e, "VALIDATION_FAILED", "Whitelist limit reached",
                          "The whitelist of this API key holds at most %.*s entries "
                          "(max_whitelist_ips).",
                          STR_ARG(ath_cell(rows, 0, 0)));
    buf_json_str(b, "action", str_of(n->action));
    buf_json_key(b, "affected");
    buf_str(b, ath_cell(result, 0, 0));
    buf_json_str(b, "kind", str_of(n->kind));
    return 0;
}

static int change_list(ath_req *r, const char *kind, const char *action, const char *sql,
                       ath_err *e)
{
    struct change *c = change_new(r, LIST_FAILED, "IP policy updated", list_changed);
    struct entries *n = ath_new(ath_arena_of(r), sizeof(*n));
    bool adds = str_is(str_of(action), "added");
    const struct json *body;
    uint32_t count;
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = key_id(r, &n->param[0], e)) < 0 || (rc = admin_body(r, &body, e)) < 0 ||
        (rc = take_addresses(r, body, "addrs", &n->param[1], &count, e)) < 0 ||
        (rc = admin_text(body, "label", &n->param[2], e)) < 0)
        return rc;
    if (!json_given(body, "addrs"))
        return ath_raise(e, "malformed_json_payload", "missing member \"addrs\"");
    if (!count)
        return admin_fail(e, "VALIDATION_FAILED", "No IP entries provided",
                          "Supply at least one IP address or CIDR.");
    n->kind = kind;
    n->action = action;
    c->arg = n;
    change_add(c, lock_sql, n->param, 1);
    change_add(c, sql, n->param, adds ? 3 : 2);
    return change_run(r, c, e);
}

int key_allow(ath_req *r, ath_err *e)
{
    return change_list(r, "whitelist", "added",
                       FRESH_SQL("api_key_ip_whitelist", "max_whitelist_ips"), e);
}

int key_disallow(ath_req *r, ath_err *e)
{
    return change_list(r, "whitelist", "removed", REMOVE_SQL("api_key_ip_whitelist"), e);
}

int key_block(ath_req *r, ath_err *e)
{
    return change_list(r, "blacklist", "added", FRESH_SQL("api_key_ip_blacklist", "0"), e);
}

int key_unblock(ath_req *r, ath_err *e)
{
    return change_list(r, "blacklist", "removed", REMOVE_SQL("api_key_ip_blacklist"), e);
}
