/* PATCH /admin/api-keys/{id}: what the body names changes, nothing else (D-28).
 *
 *     lock the key, declare rights, update, read, tell
 *
 * The statement names the given columns only, and behind the lock it sees what others have
 * committed, so two operators who change different things both get what they want. null clears what
 * may be empty, and leaves alone what may not (as the published server does with every null).
 */
#include "admin_keys.h"

#define UPDATE_FAILED "Failed to update API key"

enum { COLUMNS = 8 };

struct patch {
    const struct json *body;
    struct buf sql, sets;
    ath_str param[2 + COLUMNS]; /* the first is the id; the last may be the rights */
    uint32_t params;
    ath_str rights, client;
    ath_str virgin, until, most; /* what the key would be; see refuse_endless() */
    bool given;                  /* something changes */
    struct change *c;
};

/* "name = $2" */
static void set(struct patch *p, const char *column, const char *type, ath_str value)
{
    if (p->given)
        buf_lit(&p->sets, ", ");
    p->given = true;
    p->param[p->params++] = value;
    buf_printf(&p->sets, "%s = $%u::%s", column, p->params, type);
}

static bool has(const struct patch *p, const char *name)
{
    return json_get(p->body, name) != NULL;
}

/* Columns that may be empty: given is given. */
static int take_nullable(struct patch *p, ath_err *e)
{
    ath_str description, expires;
    int rc;

    if ((rc = take_expiry(p->body, &expires, e)) < 0 ||
        (rc = admin_text(p->body, "description", &description, e)) < 0 ||
        (rc = take_client(p->body, &p->client, e)) < 0)
        return rc;
    if (has(p, "description"))
        set(p, "description", "text", description);
    if (has(p, "client_name"))
        set(p, "client_name", "text", p->client);
    if (has(p, "expires_at"))
        set(p, "expires_at", "timestamptz", expires);
    return 0;
}

static int take_firm(ath_req *r, struct patch *p, ath_err *e)
{
    ath_str name, active;
    int rc;

    if ((rc = admin_text(p->body, "name", &name, e)) < 0 ||
        (rc = admin_bool(p->body, "is_active", &active, e)) < 0 ||
        (rc = admin_bool(p->body, "virgin_mode", &p->virgin, e)) < 0 ||
        (rc = take_count(r, p->body, "virgin_until_n_requests", &p->until, e)) < 0 ||
        (rc = take_count(r, p->body, "max_whitelist_ips", &p->most, e)) < 0 ||
        (rc = take_rights(p->body, &p->rights, e)) < 0)
        return rc;
    if (name.p)
        set(p, "name", "text", name);
    if (active.p)
        set(p, "is_active", "boolean", active);
    if (p->virgin.p)
        set(p, "virgin_mode", "boolean", p->virgin);
    if (p->until.p)
        set(p, "virgin_until_n_requests", "integer", p->until);
    if (p->most.p)
        set(p, "max_whitelist_ips", "integer", p->most);
    return 0;
}

/* ---- the statement ---- */

/* The parameters were checked, so they may stand in the text: a word or digits. */
static void put_either(struct buf *b, ath_str given, const char *column)
{
    buf_str(b, given.p ? given : str_of(column));
}

/* Who learns must stop some time. */
static void refuse_endless(struct patch *p)
{
    if (!p->virgin.p && !p->until.p && !p->most.p)
        return;
    buf_lit(&p->sql, " and not (");
    put_either(&p->sql, p->virgin, "virgin_mode");
    buf_lit(&p->sql, " and ");
    put_either(&p->sql, p->until, "virgin_until_n_requests");
    buf_lit(&p->sql, " <= 0 and ");
    put_either(&p->sql, p->most, "max_whitelist_ips");
    buf_lit(&p->sql, " <= 0)");
}

static const char *update_sql(struct patch *p)
{
    buf_lit(&p->sql, "with k as (update api_keys set ");
    buf_str(&p->sql, buf_view(&p->sets));
    buf_z(&p->sql, p->given ? ", updated_at = now()" : "updated_at = now()");
    buf_lit(&p->sql, " where api_keys_id = $1::uuid");
    refuse_endless(p);
    buf_lit(&p->sql, " returning id)");
    if (p->rights.p) {
        p->param[p->params++] = p->rights;
        buf_printf(&p->sql,
                   ", wanted as (select id from api_key_rights where name in (select "
                   "jsonb_array_elements_text($%u::jsonb))), gone as (delete from "
                   "api_key_right_grants g using k where g.api_key_id = k.id and g.right_id not in "
                   "(select id from wanted)), added as (insert into api_key_right_grants "
                   "(api_key_id, right_id) select k.id, w.id from k, wanted w on conflict do "
                   "nothing)",
                   p->params);
    }
    buf_lit(&p->sql, " select from k");
    return buf_view(&p->sql).p;
}

static int patched(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    const struct patch *p = c->arg;

    if (!ath_host_->pg->count(rows))
        return no_key(e, p->param[0]);
    if (c->count > 3 && !ath_host_->pg->count(rows_of(rows, c->count - 3)))
        return admin_fail(e, "VALIDATION_FAILED", VIRGIN_TITLE, VIRGIN_LIMIT);
    warn_unknown_client(r, p->client);
    put_key(b, "record", rows_of(rows, c->count - 2));
    return 0;
}

static int patch(ath_task *t, const ath_done *d, ath_err *e)
{
    static const char lock_sql[] = "select 1 from api_keys where api_keys_id = $1::uuid for update";
    struct patch *p = d->arg;
    struct change *c = p->c;

    change_add(c, lock_sql, p->param, 1);
    if (p->rights.p)
        change_add(c, make_rights_sql, &p->rights, 1);
    if (p->given || p->rights.p) {
        const char *sql = update_sql(p);
        change_add(c, sql, p->param, p->params);
    }
    change_add(c, KEY_SQL, p->param, 1);
    return change_run(t, c, e);
}

int keys_patch(ath_req *r, ath_err *e)
{
    struct patch *p = ath_new(ath_arena_of(r), sizeof(*p));
    int rc = keys_ready(r, e);

    p->sql = BUF_ARENA(ath_arena_of(r));
    p->sets = BUF_ARENA(ath_arena_of(r));
    p->params = 1;
    if (rc < 0 || (rc = key_id(r, &p->param[0], e)) < 0 || (rc = admin_body(r, &p->body, e)) < 0 ||
        (rc = take_nullable(p, e)) < 0 || (rc = take_firm(r, p, e)) < 0)
        return rc;
    p->c = change_new(r, UPDATE_FAILED, "Updated API key", patched);
    p->c->arg = p;
    if (p->rights.p)
        return rights_known(r, p->rights, UPDATE_FAILED, patch, p, e);
    return patch(r, &(ath_done){ .size = sizeof(ath_done), .arg = p }, e);
}
