/* POST /admin/api-keys/{id}/rotate: a new key in place of one that has been in use, and a time in
 * which both hold. The new one may do what the old one may, from where the old one may, and expires
 * when the old one would have; the old one expires when the time is over, or as it would have.
 */
#include "admin_keys.h"

#define ROTATE_FAILED "Failed to rotate API key"

enum { OVERLAP_SECS = 86400, OVERLAP_MOST = 366 * 86400 };

/* A copy of the lock's row: only what is in use can be followed by another. */
static const char lock_sql[] =
    "select is_active and (expires_at is null or expires_at > now()) from api_keys "
    "where api_keys_id = $1::uuid for update";
#define OLD                                                                                        \
    " from api_keys o where o.api_keys_id = $1::uuid and o.is_active and "                         \
    "(o.expires_at is null or o.expires_at > now())"
static const char insert_sql[] =
    "insert into api_keys (public_id, key_salt, key_hash, name, description, client_name, "
    "expires_at, virgin_mode, virgin_resolved, virgin_resolved_at, virgin_until_n_requests, "
    "virgin_request_count, max_whitelist_ips) select $2, $3, $4, o.name, o.description, "
    "o.client_name, o.expires_at, o.virgin_mode, o.virgin_resolved, o.virgin_resolved_at, "
    "o.virgin_until_n_requests, o.virgin_request_count, o.max_whitelist_ips" OLD;
#define COPY_SQL(table, columns)                                                                   \
    "insert into " table " (api_key_id, " columns ") select n.id, " columns " from " table         \
    " t join api_keys o on o.id = t.api_key_id join api_keys n on n.public_id = $2 "               \
    "where o.api_keys_id = $1::uuid"
static const char lists_sql[] =
    "with w as (" COPY_SQL("api_key_ip_whitelist", "addr, label") "), b as (" COPY_SQL(
        "api_key_ip_blacklist", "addr, label") ") " COPY_SQL("api_key_ip_seen",
                                                             "addr, ipv4_address, first_seen_at, "
                                                             "last_seen_at, hit_count, locked_in");
static const char grants_sql[] = COPY_SQL("api_key_right_grants", "right_id");
static const char expire_sql[] =
    "update api_keys o set expires_at = least(o.expires_at, now() + make_interval(secs => "
    "$3::integer)), updated_at = now() where o.api_keys_id = $1::uuid and exists (select from "
    "api_keys n where n.public_id = $2)";
static const char record_sql[] = "select " KEY_COLUMNS " from api_keys k where k.public_id = $1";

struct rotation {
    struct key_material m; /* first: see key_draw_again() */
    ath_str param[4];      /* the old id, and what the new one is made of */
    ath_str copy[3];       /* the old id, the new public id, seconds */
};

static int rotated(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    const struct rotation *n = c->arg;

    if (!ath_host_->pg->count(rows))
        return no_key(e, n->param[0]);
    if (!str_is(ath_cell(rows, 0, 0), "t"))
        return admin_fail(e, "conflict", "API key is not in use",
                          "API key '%.*s' is disabled or has expired; create another one.",
                          STR_ARG(n->param[0]));
    change_said(r, c, "api_key", n->m.param[0]);
    put_secret(b, &n->m);
    put_key(b, "previous", rows_of(rows, c->count - 3));
    put_key(b, "record", rows_of(rows, c->count - 2));
    return 0;
}

/* How long both hold: a day unless the body says otherwise; 0: the old one ends at once. */
static int take_overlap(ath_req *r, ath_str *ret, ath_err *e)
{
    const struct json *body, *v = NULL;
    struct buf b = BUF_ARENA(ath_arena_of(r));
    int64_t secs = OVERLAP_SECS;
    int rc;

    if (ath_host_->req->body(r).n) {
        if ((rc = admin_body(r, &body, e)) < 0)
            return rc;
        v = json_given(body, "overlap_secs");
    }
    if (v && (!json_i64(v, &secs) || secs < 0 || secs > OVERLAP_MOST))
        return ath_raise(e, "VALIDATION_FAILED",
                         "member \"overlap_secs\" must be a whole number from 0 to %d",
                         OVERLAP_MOST);
    buf_i64(&b, secs);
    *ret = buf_view(&b);
    return 0;
}

int keys_rotate(ath_req *r, ath_err *e)
{
    struct change *c = change_new(r, ROTATE_FAILED, "Rotated API key", rotated);
    struct rotation *n = ath_new(ath_arena_of(r), sizeof(*n));
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = key_id(r, &n->param[0], e)) < 0 ||
        (rc = take_overlap(r, &n->copy[2], e)) < 0)
        return rc;
    key_draw(r, &n->m);
    memcpy(n->param + 1, n->m.param, sizeof(n->m.param));
    memcpy(n->copy, n->param, 2 * sizeof(n->param[0]));
    c->status = 201;
    c->again = key_draw_again;
    c->arg = n;
    change_add(c, lock_sql, n->param, 1);
    change_add(c, insert_sql, n->param, 4);
    change_add(c, grants_sql, n->copy, 2);
    change_add(c, lists_sql, n->copy, 2);
    change_add(c, expire_sql, n->copy, 3);
    change_add(c, KEY_SQL, n->param, 1);
    change_add(c, record_sql, n->m.param, 1);
    return change_run(r, c, e);
}
