/* Keys: listed, shown, made, deleted. */
#include "admin_keys.h"

enum { DRAWS_MOST = 4 };

static const struct admin_member members[] = {
    { "client_name", ADMIN_TEXT },
    { "created_at", ADMIN_TIME },
    { "description", ADMIN_TEXT },
    { "expires_at", ADMIN_TIME },
    { "id", ADMIN_TEXT },
    { "is_active", ADMIN_BOOL },
    { "last_used_at", ADMIN_TIME },
    { "max_whitelist_ips", ADMIN_INT },
    { "name", ADMIN_TEXT },
    { "public_id", ADMIN_TEXT },
    { "rights", ADMIN_JSON },
    { "updated_at", ADMIN_TIME },
    { "virgin_mode", ADMIN_BOOL },
    { "virgin_request_count", ADMIN_INT },
    { "virgin_resolved", ADMIN_BOOL },
    { "virgin_resolved_at", ADMIN_TIME },
    { "virgin_until_n_requests", ADMIN_INT },
};

void put_key(struct buf *b, const char *member, const ath_rows *rows)
{
    buf_json_key(b, member);
    admin_object(b, rows, 0, ADMIN_MEMBERS(members));
}

int no_key(ath_err *e, ath_str id)
{
    return admin_fail(e, "not_found", "API key not found", "No API key exists for '%.*s'.",
                      STR_ARG(id));
}

/* ---- reading ---- */

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Listed API keys");

    (void)e;
    buf_json_key(&b, "api_keys");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(members));
    return admin_reply(t, 200, &b);
}

int keys_list(ath_req *r, ath_err *e)
{
    static const char sql[] =
        "select " KEY_COLUMNS " from api_keys k order by k.created_at desc, k.id desc";

    return admin_read(r, ADMIN_KEYS, "Failed to list API keys", sql, NULL, 0, listed, NULL, e);
}

static int loaded(ath_task *t, const ath_done *d, ath_err *e)
{
    const ath_str *id = d->arg;
    struct buf b;

    if (!ath_host_->pg->count(d->rows))
        return no_key(e, *id);
    b = admin_answer(t, "Loaded API key");
    put_key(&b, "record", d->rows);
    return admin_reply(t, 200, &b);
}

int keys_one(ath_req *r, ath_err *e)
{
    ath_str *id = ath_new(ath_arena_of(r), sizeof(*id));
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = key_id(r, id, e)) < 0)
        return rc;
    return admin_read(r, ADMIN_KEYS, "Failed to load API key", KEY_SQL, id, 1, loaded, id, e);
}

/* ---- what a key is made of ---- */

static void draw(ath_req *r, char *ret, size_t digits)
{
    const struct admin_keys_state *s = ath_state_of(r);
    uint8_t bytes[32];

    s->secrets->random(bytes, digits / 2);
    for (size_t i = 0; i < digits / 2; i++) {
        ret[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        ret[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    ret[digits] = 0;
}

void key_draw(ath_req *r, struct key_material *m)
{
    const struct admin_keys_state *s = ath_state_of(r);
    struct buf salted = BUF_ARENA(ath_arena_of(r));

    draw(r, m->public_id, sizeof(m->public_id) - 1);
    draw(r, m->secret, sizeof(m->secret) - 1);
    draw(r, m->salt, sizeof(m->salt) - 1);
    buf_z(&salted, m->salt);
    buf_char(&salted, ':');
    buf_z(&salted, m->secret);
    m->param[0] = str_of(m->public_id);
    m->param[1] = str_of(m->salt);
    m->param[2] = s->secrets->sha256(ath_arena_of(r), buf_view(&salted));
    m->draws = 1;
}

bool key_draw_again(ath_req *r, void *arg)
{
    struct key_material *m = arg;

    draw(r, m->public_id, sizeof(m->public_id) - 1);
    return m->draws++ < DRAWS_MOST;
}

void put_secret(struct buf *b, const struct key_material *m)
{
    buf_json_key(b, "api_key");
    buf_lit(b, "\"ath_");
    buf_z(b, m->public_id);
    buf_char(b, '.');
    buf_z(b, m->secret);
    buf_char(b, '"');
}

/* ---- rights that may be granted ---- */

const char make_rights_sql[] =
    "insert into api_key_rights (name) select distinct w.name from "
    "jsonb_array_elements_text($1::jsonb) w(name) where not exists (select from api_key_rights r "
    "where r.name = w.name) on conflict (name) do nothing";
const char grant_rights_sql[] =
    "insert into api_key_right_grants (api_key_id, right_id) select k.id, r.id from api_keys k, "
    "api_key_rights r where k.public_id = $1 and r.name in (select "
    "jsonb_array_elements_text($2::jsonb)) on conflict do nothing";
static const char missing_sql[] =
    "select w.name from jsonb_array_elements_text($1::jsonb) with ordinality w(name, n) where not "
    "exists (select from api_key_rights r where r.name = w.name) group by w.name order by min(w.n)";

struct wanted { /* rights, while it is not known whether they exist */
    ath_str rights;
    ath_then *then;
    void *arg;
};

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct admin_keys_config *cfg = ath_config_of(t);
    const struct wanted *w = d->arg;
    struct buf unknown = BUF_ARENA(ath_arena_of(t));
    ath_done known = *d;

    for (uint32_t i = 0; i < ath_host_->pg->count(d->rows); i++) {
        ath_str name = ath_cell(d->rows, i, 0);
        if (cfg->make_rights && is_table_right(name))
            continue;
        if (unknown.n)
            buf_lit(&unknown, ", ");
        buf_str(&unknown, name);
    }
    if (unknown.n)
        return admin_fail(e, "VALIDATION_FAILED", "Unknown API key rights",
                          "These rights do not exist: %.*s", STR_ARG(buf_view(&unknown)));
    known.arg = w->arg;
    return w->then(t, &known, e);
}

int rights_known(ath_req *r, ath_str rights, const char *failed, ath_then *then, void *arg,
                 ath_err *e)
{
    struct wanted *w = ath_new(ath_arena_of(r), sizeof(*w));

    *w = (struct wanted){ .rights = rights, .then = then, .arg = arg };
    return admin_read(r, ADMIN_KEYS, failed, missing_sql, &w->rights, 1, looked, w, e);
}

/* ---- making ---- */

#define CREATE_FAILED "Failed to create API key"
#define KEY_NAMES     "public_id, key_salt, key_hash, name, description, client_name, expires_at"

/* A table without the columns of learning takes keys that do not learn (D-27). */
static const char insert_plain_sql[] =
    "insert into api_keys (" KEY_NAMES ") values ($1, $2, $3, $4, $5, $6, $7::timestamptz)";
static const char insert_sql[] =
    "insert into api_keys (" KEY_NAMES ", virgin_mode, virgin_until_n_requests, max_whitelist_ips) "
    "values ($1, $2, $3, $4, $5, $6, $7::timestamptz, coalesce($8::boolean, false), "
    "coalesce($9::integer, 0), coalesce($10::integer, 0))";
static const char record_sql[] = "select " KEY_COLUMNS " from api_keys k where k.public_id = $1";
#define INITIAL_SQL(table)                                                                         \
    "insert into " table " (api_key_id, addr, label) select distinct k.id, a::cidr, 'initial' "    \
    "from api_keys k, jsonb_array_elements_text($2::jsonb) a where k.public_id = $1"

enum {
    P_NAME = 3,
    P_DESCRIPTION,
    P_CLIENT,
    P_EXPIRES,
    P_PLAIN,
    P_VIRGIN = P_PLAIN,
    P_UNTIL,
    P_MOST,
    P_ALL
};

struct creation {
    struct key_material m; /* first: see key_draw_again() */
    ath_str param[P_ALL];
    ath_str grant[2], white[2], black[2]; /* public id, and what is wanted */
    uint32_t white_n, black_n;
};

static int created(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    const struct creation *n = c->arg;

    (void)e;
    warn_unknown_client(r, n->param[P_CLIENT]);
    change_said(r, c, "api_key", n->m.param[0]);
    put_secret(b, &n->m);
    put_key(b, "record", rows_of(rows, c->count - 2));
    return 0;
}

static void add_list(struct change *c, const char *sql, const ath_str *param, uint32_t n)
{
    if (n)
        change_add(c, sql, param, 2);
}

static int create(ath_req *r, struct creation *n, ath_err *e)
{
    struct change *c = change_new(r, CREATE_FAILED, "Created API key", created);
    bool plain = !n->param[P_VIRGIN].p && !n->param[P_UNTIL].p && !n->param[P_MOST].p;

    key_draw(r, &n->m);
    memcpy(n->param, n->m.param, sizeof(n->m.param));
    n->grant[0] = n->white[0] = n->black[0] = n->m.param[0];
    c->status = 201;
    c->again = key_draw_again;
    c->arg = n;
    if (n->grant[1].p)
        change_add(c, make_rights_sql, &n->grant[1], 1);
    change_add(c, plain ? insert_plain_sql : insert_sql, n->param, plain ? P_PLAIN : P_ALL);
    if (n->grant[1].p)
        change_add(c, grant_rights_sql, n->grant, 2);
    add_list(c, INITIAL_SQL("api_key_ip_whitelist"), n->white, n->white_n);
    add_list(c, INITIAL_SQL("api_key_ip_blacklist"), n->black, n->black_n);
    change_add(c, record_sql, n->m.param, 1);
    return change_run(r, c, e);
}

static int rights_are_there(ath_task *t, const ath_done *d, ath_err *e)
{
    return create(t, d->arg, e);
}

static bool is_positive(ath_str count)
{
    return count.n && !str_is(count, "0");
}

/* Something but blanks; what it is comes later. */
static bool lists_something(const struct json *body, const char *name)
{
    const struct json *list = json_given(body, name);

    return list && (list->type != JSON_ARRAY || list->count > 0);
}

/* In the published order. */
static int take(ath_req *r, const struct json *body, struct creation *n, ath_err *e)
{
    bool learns;
    int rc;

    if ((rc = take_text(body, "name", &n->param[P_NAME], e)) < 0 ||
        (rc = admin_text(body, "description", &n->param[P_DESCRIPTION], e)) < 0 ||
        (rc = take_client(body, &n->param[P_CLIENT], e)) < 0 ||
        (rc = take_rights(body, &n->grant[1], e)) < 0 ||
        (rc = admin_bool(body, "virgin_mode", &n->param[P_VIRGIN], e)) < 0 ||
        (rc = take_count(r, body, "virgin_until_n_requests", &n->param[P_UNTIL], e)) < 0 ||
        (rc = take_count(r, body, "max_whitelist_ips", &n->param[P_MOST], e)) < 0 ||
        (rc = take_expiry(body, &n->param[P_EXPIRES], e)) < 0)
        return rc;
    learns = str_is(n->param[P_VIRGIN], "true");
    if (learns && (lists_something(body, "ip_whitelist") || lists_something(body, "ip_blacklist")))
        return admin_fail(e, "VALIDATION_FAILED", VIRGIN_TITLE,
                          "A virgin key must start with empty IP whitelist and blacklist; learning "
                          "fills them automatically.");
    if ((rc = take_addresses(r, body, "ip_whitelist", &n->white[1], &n->white_n, e)) < 0 ||
        (rc = take_addresses(r, body, "ip_blacklist", &n->black[1], &n->black_n, e)) < 0)
        return rc;
    if (learns && !is_positive(n->param[P_UNTIL]) && !is_positive(n->param[P_MOST]))
        return admin_fail(e, "VALIDATION_FAILED", VIRGIN_TITLE, VIRGIN_LIMIT);
    return 0;
}

int keys_create(ath_req *r, ath_err *e)
{
    struct creation *n = ath_new(ath_arena_of(r), sizeof(*n));
    const struct json *body;
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = admin_body(r, &body, e)) < 0 || (rc = take(r, body, n, e)) < 0)
        return rc;
    if (!n->grant[1].p)
        return create(r, n, e);
    return rights_known(r, n->grant[1], CREATE_FAILED, rights_are_there, n, e);
}

/* ---- deleting ---- */

static int deleted(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    (void)r;
    if (!ath_host_->pg->count(rows))
        return no_key(e, c->subject);
    buf_json_str(b, "id", c->subject);
    return 0;
}

int keys_delete(ath_req *r, ath_err *e)
{
    static const char sql[] = "delete from api_keys where api_keys_id = $1::uuid returning 1";
    struct change *c = change_new(r, "Failed to delete API key", "Deleted API key", deleted);
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = key_id(r, &c->subject, e)) < 0)
        return rc;
    change_add(c, sql, &c->subject, 1);
    return change_run(r, c, e);
}
