/* What shows that backups are good, and that a restore can be taken back: proving, drills, the signed
 * record, and the databases that restores have set aside.
 */
#include "backup.h"

#include "backup/record.h"

enum { PAGE = 50, PAGE_MOST = 500 };

/* ---- POST {key}/prove and {key}/drill ---- */

/* The client whose backup it is, and its database where the backup named one by URI. */
static const char whose_sql[] =
    "select client_name, pg_uri, secrets from " BACKUP_TABLE
    " where s3_key = $1 and job_type = 'backup' order by id desc limit 1";
enum { W_CLIENT, W_URI, W_SECRETS };

struct proof {
    struct backup_order o;
    bool drill;
};

/* "backups/shop/0f6c.tar.gz" is shop's. */
static ath_str client_of(ath_str key)
{
    ath_str piece, before = ATH_S(""), name = ATH_S("");

    while (str_next(&key, '/', &piece)) {
        name = before;
        before = piece;
    }
    return name;
}

static int found(ath_task *t, const ath_done *d, ath_err *e)
{
    struct proof *x = d->arg;
    struct backup_payload *p = &x->o.what;
    ath_str client = ath_cell(d->rows, 0, W_CLIENT);

    if (client.n && !p->client_name.n) {
        p->client_name = client;
        p->pg_uri = ath_cell(d->rows, 0, W_URI);
        x->o.sealed = ath_cell(d->rows, 0, W_SECRETS);
    }
    if (!p->client_name.n)
        p->client_name = client_of(p->key);
    if (backups_client_name(p->client_name, e) < 0)
        return admin_fail(e, "backup_request_invalid", "Missing target", "Provide client_name.");
    return backups_put(t, &x->o, x->drill ? "Drill job queued" : "Prove job queued",
                       x->drill ? "drill_backup" : "prove_backup", e);
}

static int read_proof(const struct json *body, struct backup_payload *p, ath_err *e)
{
    int rc = backups_timeout(body, p, e);

    if (rc < 0 || (rc = admin_text(body, "client_name", &p->client_name, e)) < 0)
        return rc;
    return p->client_name.p ? backups_client_name(p->client_name, e) : 0;
}

static int ask_proof(ath_req *r, bool drill, ath_err *e)
{
    struct proof *x = ath_new(ath_arena_of(r), sizeof(*x));
    struct backup_payload *p = &x->o.what;
    const struct json *body;
    int rc = backups_key(r, &p->key, e);

    p->kind = drill ? PAYLOAD_DRILL : PAYLOAD_PROVE;
    x->drill = drill;
    if (rc < 0 || (rc = backups_body(r, &body, e)) < 0 || (rc = read_proof(body, p, e)) < 0 ||
        (rc = backups_ready(r, true, e)) < 0 || (rc = backups_own_key(r, p->key, e)) < 0)
        return rc;
    return backups_read(r, "Failed to load backup", whose_sql, &p->key, 1, found, x, e);
}

int backups_prove(ath_req *r, ath_err *e)
{
    return ask_proof(r, false, e);
}

int backups_drill(ath_req *r, ath_err *e)
{
    return ask_proof(r, true, e);
}

/* ---- GET records ---- */

static const struct admin_member record[] = {
    { "seq", ADMIN_INT },    { "at", ADMIN_TIME },      { "kind", ADMIN_TEXT },
    { "backup_id", ADMIN_TEXT }, { "job_id", ADMIN_INT }, { "key", ADMIN_TEXT },
    { "facts", ADMIN_JSON }, { "previous", ADMIN_TEXT }, { "digest", ADMIN_TEXT },
    { "signer", ADMIN_TEXT }, { "signature", ADMIN_TEXT }, { "public_key", ADMIN_TEXT },
};

static const char records_sql[] =
    "select seq, " ADMIN_UTC(at) ", kind, backup_id, job_id, key, facts, previous, digest, signer,"
    " signature, public_key from athena_backup_records r join athena_backup_signers s"
    " on s.id = r.signer where ($1::text is null or key = $1)"
    " and ($2::int8 is null or seq < $2::int8) order by seq desc limit $3::int8";

/* "next": what ?before is to get the page behind this one; null when this was the last. */
static int recorded(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Listed backup records");
    uint32_t n = ath_host_->pg->count(d->rows);
    const int64_t *limit = d->arg;

    (void)e;
    buf_json_key(&b, "records");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(record));
    buf_json_key(&b, "next");
    buf_str(&b, n && n == *limit ? ath_cell(d->rows, n - 1, 0) : ATH_S("null"));
    return admin_reply(t, 200, &b);
}

static int read_before(ath_req *r, ath_str *ret, ath_err *e)
{
    int64_t v;

    *ret = str_trim(ath_param(r, "before"));
    if (!ret->n)
        *ret = (ath_str){ NULL, 0 };
    if (!ret->n || str_i64(*ret, &v))
        return 0;
    return ath_raise(e, "VALIDATION_FAILED",
                     "parameter \"before\" must be the seq of a record, not \"%.*s\"",
                     STR_ARG(*ret));
}

int backups_records(ath_req *r, ath_err *e)
{
    ath_str *param = ath_new(ath_arena_of(r), 3 * sizeof(*param));
    int64_t *limit = ath_new(ath_arena_of(r), sizeof(*limit));
    int rc = backups_filter(r, "key", &param[0], e);

    if (rc < 0 || (rc = read_before(r, &param[1], e)) < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    *limit = backups_limit(r, PAGE, PAGE_MOST);
    param[2] = backups_text(r, *limit);
    return backups_read(r, "Failed to list backup records", records_sql, param, 3, recorded, limit,
                        e);
}

/* ---- GET records/verify ---- */

static int verified(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct record_verdict *v = d->arg;
    struct buf b;

    if (d->rc < 0)
        return backups_refuse(t, "Failed to verify backup records", e);
    b = admin_answer(t, v->broken ? "Backup records do not hold" : "Verified backup records");
    buf_json_bool(&b, "valid", !v->broken);
    buf_json_int(&b, "records", (int64_t)v->records);
    buf_json_key(&b, "broken");
    buf_str(&b, v->broken ? backups_text(t, (int64_t)v->broken) : ATH_S("null"));
    buf_json_key(&b, "why");
    if (v->broken)
        buf_json(&b, str_of(v->why));
    else
        buf_lit(&b, "null");
    buf_json_str(&b, "head", str_of(v->head));
    buf_json_int(&b, "unsealed_signers", v->unsealed);
    return admin_reply(t, 200, &b);
}

/* The whole chain, or the records of one backup: every digest, every signature. */
int backups_verify(ath_req *r, ath_err *e)
{
    const struct backups_state *s = ath_state_of(r);
    struct record_verdict *v = ath_new(ath_arena_of(r), sizeof(*v));
    ath_str id;
    int rc = backups_filter(r, "backup_id", &id, e);

    if (rc < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    if (record_verify(r, s->secrets, id, v, verified, v, e) < 0)
        return backups_refuse(r, "Failed to verify backup records", e);
    return 0;
}

/* ---- GET kept and POST kept/{id}/undo ---- */

static const struct admin_member kept[] = {
    { "id", ADMIN_INT },         { "job_id", ADMIN_INT },      { "client_name", ADMIN_TEXT },
    { "state", ADMIN_TEXT },     { "server", ADMIN_TEXT },     { "database", ADMIN_TEXT },
    { "name", ADMIN_TEXT },      { "size_bytes", ADMIN_INT },  { "made_at", ADMIN_TIME },
    { "keep_until", ADMIN_TIME },
};

static const char kept_sql[] =
    "select id, job_id, client_name, state, server, database, name, size_bytes, " ADMIN_UTC(
        made_at) ", " ADMIN_UTC(keep_until) " from athena_backup_kept where state = 'kept'"
                                            " and ($1::text is null or client_name = $1)"
                                            " order by made_at desc, id desc limit $2::int8";

static int listed_kept(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Listed replaced databases");

    (void)e;
    buf_json_key(&b, "kept");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(kept));
    return admin_reply(t, 200, &b);
}

int backups_kept(ath_req *r, ath_err *e)
{
    ath_str *param = ath_new(ath_arena_of(r), 2 * sizeof(*param));
    int rc = backups_filter(r, "client_name", &param[0], e);

    if (rc < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    param[1] = backups_text(r, backups_limit(r, PAGE, PAGE_MOST));
    return backups_read(r, "Failed to list replaced databases", kept_sql, param, 2, listed_kept,
                        NULL, e);
}

static const char one_sql[] =
    "select job_id, coalesce(client_name, 'custom'), state, target_sealed, name"
    " from athena_backup_kept where id = $1::int8";
enum { K_JOB, K_CLIENT, K_STATE, K_SEALED, K_NAME };

/* Only its worker may know whether it is still there: what is asked for is a job. */
static int undo(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct backups_state *s = ath_state_of(t);
    struct backup_order o = { .what = { .kind = PAYLOAD_RESTORE,
                                        .timeout_seconds = PAYLOAD_TIMEOUT } };
    ath_str sealed = ath_cell(d->rows, 0, K_SEALED), name = ath_cell(d->rows, 0, K_NAME), uri;

    if (!ath_host_->pg->count(d->rows))
        return admin_fail(e, "not_found", "Replaced database not found",
                          "no replaced database has the id \"%.*s\"",
                          STR_ARG(ath_param(t, "id")));
    if (!str_is(ath_cell(d->rows, 0, K_STATE), "kept"))
        return admin_fail(e, "conflict", "Replaced database not kept",
                          "database \"%.*s\" is %.*s, so it cannot be put back", STR_ARG(name),
                          STR_ARG(ath_cell(d->rows, 0, K_STATE)));
    str_i64(ath_cell(d->rows, 0, K_JOB), &o.what.undo_of);
    o.what.client_name = ath_cell(d->rows, 0, K_CLIENT);
    if (sealed.n) {
        int rc = s->secrets->open(ath_arena_of(t), sealed, &uri, e);
        if (rc < 0)
            return rc;
        o.what.pg_uri = uri;
    }
    return backups_put(t, &o, "Undo job queued", "undo_restore", e);
}

int backups_undo(ath_req *r, ath_err *e)
{
    ath_str *param = ath_new(ath_arena_of(r), sizeof(*param));
    int64_t id;
    int rc = backups_id(r, "id", &id, e);

    if (rc < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    *param = backups_text(r, id);
    return backups_read(r, "Failed to load replaced database", one_sql, param, 1, undo, NULL, e);
}
