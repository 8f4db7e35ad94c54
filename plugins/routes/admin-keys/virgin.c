/* Keys that learn where they are used from: locked in now, or made to begin again. */
#include "admin_keys.h"

/* ---- promote ---- */

static const char lock_sql[] = "select 1 from api_keys where api_keys_id = $1::uuid for update";
/* The earliest first, at most max_whitelist_ips of them. */
static const char learn_sql[] =
    "with k as (select id, max_whitelist_ips as most from api_keys where api_keys_id = $1::uuid) "
    "insert into api_key_ip_whitelist (api_key_id, addr, label) select k.id, s.addr::cidr, "
    "'virgin_learned' from k cross join lateral (select addr from api_key_ip_seen where "
    "api_key_id = k.id order by first_seen_at, id limit case when most > 0 then most end) s "
    "on conflict do nothing returning 1";
static const char resolve_sql[] =
    "update api_keys k set virgin_resolved = true, virgin_resolved_at = "
    "coalesce(virgin_resolved_at, now()), updated_at = now() where api_keys_id = $1::uuid and "
    "exists (select from api_key_ip_whitelist w where w.api_key_id = k.id) returning 1";
static const char lock_in_sql[] =
    "update api_key_ip_seen s set locked_in = true from api_keys k where k.api_keys_id = $1::uuid "
    "and k.virgin_resolved and s.api_key_id = k.id and not s.locked_in";

/* An empty whitelist of a key that has learned would let nobody in (D-10). */
static int promoted(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    (void)r;
    if (!ath_host_->pg->count(rows))
        return no_key(e, c->subject);
    if (!ath_host_->pg->count(rows_of(rows, 2)))
        return admin_fail(e, "conflict", "No addresses to promote",
                          "API key '%.*s' has seen no address yet, and its whitelist is empty.",
                          STR_ARG(c->subject));
    buf_json_int(b, "promoted", ath_host_->pg->count(rows_of(rows, 1)));
    buf_json_bool(b, "virgin_resolved", true);
    return 0;
}

int virgin_promote(ath_req *r, ath_err *e)
{
    struct change *c =
        change_new(r, "Failed to promote virgin key", "Virgin key promoted", promoted);
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = key_id(r, &c->subject, e)) < 0)
        return rc;
    change_add(c, lock_sql, &c->subject, 1);
    change_add(c, learn_sql, &c->subject, 1);
    change_add(c, resolve_sql, &c->subject, 1);
    change_add(c, lock_in_sql, &c->subject, 1);
    return change_run(r, c, e);
}

/* ---- reset ---- */

static const char reset_sql[] =
    "update api_keys set virgin_resolved = false, virgin_resolved_at = null, "
    "virgin_request_count = 0, updated_at = now() where api_keys_id = $1::uuid returning 1";
static const char clear_sql[] = "delete from api_key_ip_seen s using api_keys k where "
                                "k.api_keys_id = $1::uuid and s.api_key_id = k.id";
static const char unlock_sql[] =
    "update api_key_ip_seen s set locked_in = false from api_keys k where k.api_keys_id = $1::uuid "
    "and s.api_key_id = k.id and s.locked_in";

static int was_reset(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    (void)r;
    if (!ath_host_->pg->count(rows))
        return no_key(e, c->subject);
    buf_json_bool(b, "clear_seen", c->arg != NULL);
    return 0;
}

int virgin_reset(ath_req *r, ath_err *e)
{
    struct change *c =
        change_new(r, "Failed to reset virgin state", "Virgin state reset", was_reset);
    const struct json *body;
    ath_str clear = { 0 };
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = key_id(r, &c->subject, e)) < 0)
        return rc;
    if (ath_host_->req->body(r).n && ((rc = admin_body(r, &body, e)) < 0 ||
                                      (rc = admin_bool(body, "clear_seen", &clear, e)) < 0))
        return rc;
    if (str_is(clear, "true"))
        c->arg = c;
    change_add(c, reset_sql, &c->subject, 1);
    change_add(c, c->arg ? clear_sql : unlock_sql, &c->subject, 1);
    return change_run(r, c, e);
}
