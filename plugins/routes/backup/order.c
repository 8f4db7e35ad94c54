/* POST /admin/backups and POST /admin/backups/{key}/restore: a job is put into the queue.
 *
 * A job for a client names the client alone; its database is found when the job runs, so that a
 * password that was changed meanwhile is the right one. A URI of the body is sealed (enqueue.h).
 */
#include "backup.h"

struct order {
    struct backup_order o;
    const char *said;            /* message of the answer */
    const char *word;            /* for the audit log */
};

/* ---- the answer ---- */

static int put(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct order *x = d->arg;
    const struct backup_payload *p = &x->o.what;
    struct buf b;
    int64_t id = 0;

    if (d->rc < 0) {
        int rc = backups_refuse(t, "Logging unavailable", e);
        if (!str_is(ath_host_->err->get(e, "code"), "control_plane_failed"))
            return rc;
        return admin_fail(e, "control_plane_failed", "Logging unavailable",
                          "Could not create backup job record");
    }
    str_i64(ath_cell(d->rows, 0, 0), &id);
    admin_changed(t, x->word, p->key.n ? p->key : p->client_name);
    b = admin_answer(t, x->said);
    buf_json_int(&b, "job_id", id);
    if (p->key.n)
        buf_json_str(&b, "key", p->key);
    buf_json_str(&b, "client_name", p->client_name);
    buf_json_str(&b, "status", ATH_S("pending"));
    return admin_reply(t, 202, &b);
}

int backups_put(ath_req *r, const struct backup_order *o, const char *said, const char *word,
                ath_err *e)
{
    const struct backups_state *s = ath_state_of(r);
    const struct backups_config *cfg = ath_config_of(r);
    struct order *x = ath_new(ath_arena_of(r), sizeof(*x));

    *x = (struct order){ .o = *o, .said = said, .word = word };
    x->o.max_attempts = cfg->max_attempts;
    if (backup_enqueue(r, s->secrets, &x->o, put, x, e) < 0)
        return backups_refuse(r, "Logging unavailable", e);
    return 0;
}

/* ---- what the body says ---- */

int backups_timeout(const struct json *body, struct backup_payload *p, ath_err *e)
{
    int64_t v;
    int rc = backups_number(body, "timeout_seconds", PAYLOAD_TIMEOUT, &v, e);

    v = v < PAYLOAD_TIMEOUT_LEAST ? PAYLOAD_TIMEOUT_LEAST : v;
    p->timeout_seconds = (uint32_t)(v > PAYLOAD_TIMEOUT_MOST ? PAYLOAD_TIMEOUT_MOST : v);
    return rc;
}

static int read_target(const struct json *body, struct backup_payload *p, ath_err *e)
{
    int rc = admin_text(body, "client_name", &p->client_name, e);

    if (rc < 0 || (rc = admin_text(body, "pg_uri", &p->pg_uri, e)) < 0)
        return rc;
    if (p->client_name.p && (rc = backups_client_name(p->client_name, e)) < 0)
        return rc;
    p->pg_uri = str_trim(p->pg_uri);
    return p->pg_uri.n ? backups_pg_uri(p->pg_uri, e) : 0;
}

static int need_target(struct backup_payload *p, ath_err *e)
{
    if (!p->client_name.n && !p->pg_uri.n)
        return admin_fail(e, "backup_request_invalid", "Missing target",
                          "Provide either client_name or pg_uri.");
    if (!p->client_name.n)
        p->client_name = ATH_S("custom");
    return 0;
}

/* Behind all that is about the request alone. */
static int ready(ath_req *r, const struct backup_payload *p, ath_err *e)
{
    int rc = backups_ready(r, true, e);

    if (rc < 0 || p->pg_uri.n)
        return rc;
    return backups_known_client(r, p->client_name, e);
}

/* ---- a backup ---- */

static int read_strategy(const struct json *body, struct backup_payload *p, ath_err *e)
{
    ath_str s;
    int rc = admin_text(body, "recovery_strategy", &s, e);

    if (rc < 0 || !s.p || str_is(s, "none"))
        return rc;
    p->repair_roles = str_is(s, "repair_missing_role_oids") || str_is(s, "schema_heal");
    if (p->repair_roles)
        return 0;
    return ath_raise(e, "malformed_json_payload",
                     "member \"recovery_strategy\" is neither none nor repair_missing_role_oids");
}

static int read_label(const struct json *body, struct backup_payload *p, ath_err *e)
{
    int rc = admin_text(body, "label", &p->label, e);

    return rc < 0 || !p->label.p ? rc : backups_label(p->label, e);
}

int backups_create(ath_req *r, ath_err *e)
{
    struct backup_order o = { .what.kind = PAYLOAD_BACKUP };
    struct backup_payload *p = &o.what;
    const struct json *body;
    int rc = admin_body(r, &body, e);

    if (rc < 0 || (rc = read_strategy(body, p, e)) < 0 ||
        (rc = backups_timeout(body, p, e)) < 0 || (rc = read_target(body, p, e)) < 0 ||
        (rc = read_label(body, p, e)) < 0 || (rc = need_target(p, e)) < 0 ||
        (rc = backups_tools(r, p, e)) < 0 || (rc = ready(r, p, e)) < 0)
        return rc;
    return backups_put(r, &o, "Backup job queued", "create_backup", e);
}

/* ---- a restore ---- */

static int read_switch(const struct json *body, const char *name, bool *ret, ath_err *e)
{
    ath_str text;
    int rc = admin_bool(body, name, &text, e);

    *ret = str_is(text, "true");
    return rc;
}

/* "mode":"in_place" and "in_place":true say the same, and may not contradict each other. */
static int read_mode(const struct json *body, struct backup_payload *p, ath_err *e)
{
    ath_str mode;
    bool in_place;
    int rc = admin_text(body, "mode", &mode, e);

    if (rc < 0 || (rc = read_switch(body, "in_place", &in_place, e)) < 0)
        return rc;
    p->in_place = in_place || str_is(mode, "in_place");
    if (mode.p && !str_is(mode, p->in_place ? "in_place" : "swap"))
        return ath_raise(e, "malformed_json_payload",
                         "member \"mode\" is neither swap nor in_place, or contradicts "
                         "\"in_place\"");
    return 0;
}

static int read_keep(const struct json *body, struct backup_payload *p, ath_err *e)
{
    int64_t v;
    int rc = backups_number(body, "keep_hours", -1, &v, e);

    p->keep_given = json_given(body, "keep_hours") != NULL;
    if (rc < 0 || !p->keep_given)
        return rc;
    if (v < 0 || v > PAYLOAD_KEEP_MOST)
        return ath_raise(e, "malformed_json_payload", "member \"keep_hours\" is not in 0..%d",
                         PAYLOAD_KEEP_MOST);
    p->keep_hours = (uint32_t)v;
    return 0;
}

static int read_restore(const struct json *body, struct backup_payload *p, ath_err *e)
{
    int rc = read_mode(body, p, e);

    if (rc < 0 || (rc = read_keep(body, p, e)) < 0 ||
        (rc = read_switch(body, "single_transaction", &p->single_transaction, e)) < 0)
        return rc;
    return read_switch(body, "allow_control_plane", &p->allow_control_plane, e);
}

/* D-43. Two names of one database are told apart by the worker, which asks the database itself. */
static int spare_control_plane(ath_req *r, const struct backup_payload *p, ath_err *e)
{
    ath_str logging = ath_host_->inspect(r, "logging_client");
    ath_str keys = ath_host_->inspect(r, "auth_client");

    if (p->allow_control_plane || p->pg_uri.n ||
        (!str_ieq(p->client_name, logging) && !str_ieq(p->client_name, keys)))
        return 0;
    return admin_fail(e, "backup_request_invalid", "Restore target refused",
                      "Client '%.*s' holds the control plane or the keys; send "
                      "\"allow_control_plane\": true to restore into it all the same.",
                      STR_ARG(p->client_name));
}

int backups_restore(ath_req *r, ath_err *e)
{
    struct backup_order o = { .what.kind = PAYLOAD_RESTORE };
    struct backup_payload *p = &o.what;
    const struct json *body;
    int rc = backups_key(r, &p->key, e);

    if (rc < 0 || (rc = admin_body(r, &body, e)) < 0 || (rc = backups_timeout(body, p, e)) < 0 ||
        (rc = read_restore(body, p, e)) < 0 || (rc = read_target(body, p, e)) < 0 ||
        (rc = need_target(p, e)) < 0 || (rc = backups_tools(r, p, e)) < 0 ||
        (rc = ready(r, p, e)) < 0 || (rc = spare_control_plane(r, p, e)) < 0 ||
        (rc = backups_own_key(r, p->key, e)) < 0)
        return rc;
    return backups_put(r, &o, "Restore job queued", "restore_backup", e);
}
