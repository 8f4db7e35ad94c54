/* POST, PATCH, PUT, DELETE: a row changes, everybody is told in the same transaction, and this
 * process acts by it before it answers.
 *
 * The row is stored whether its database can be reached or not; the answer's `runtime` says how it
 * went (20.8: a caller who was told of a failure would not know that the row is there).
 */
#include "admin_clients.h"

enum { NAME_MOST = 255, DRAIN_MS = 10000, DRAIN_MOST_MS = 50000, PARAMS = 8 };

#define RETURNING " returning " CLIENT_COLUMNS
#define WHERE     " where lower(client_name) = lower($1) and deleted_at is null" RETURNING

static const char insert_sql[] =
    "insert into athena_clients (client_name, description, pg_uri, pg_uri_env_var, is_active, "
    "source, "
    "metadata) values ($1, $2, $3, $4, coalesce($5::boolean, true), 'database', "
    "'{\"managed_by\":\"admin_api\"}')" RETURNING;
static const char patch_sql[] =
    "update athena_clients set description = coalesce($2, description), pg_uri = coalesce($3, "
    "pg_uri), "
    "pg_uri_env_var = coalesce($4, pg_uri_env_var), is_active = coalesce($5::boolean, is_active), "
    "updated_at = now()" WHERE;
static const char freeze_sql[] =
    "update athena_clients set is_frozen = $2::boolean, metadata = metadata - 'draining', "
    "updated_at = now()" WHERE;
static const char drain_sql[] =
    "update athena_clients set is_frozen = true, metadata = metadata || '{\"draining\":true}', "
    "updated_at = now()" WHERE;
static const char delete_sql[] =
    "update athena_clients set deleted_at = now(), is_active = false, updated_at = now()" WHERE;
static const char notify_sql[] = "select pg_notify('athena_clients', $1)";
static const char stored_sql[] = "select pg_uri from athena_clients where lower(client_name) = "
                                 "lower($1) and deleted_at is null";

#define CREATE_FAILED "Failed to create Athena client"
#define UPDATE_FAILED "Failed to update Athena client"
#define DELETE_FAILED "Failed to delete Athena client"

struct change { /* in the request's arena */
    const char *sql, *failed, *message, *word;
    int status;
    uint32_t params;
    ath_str param[PARAMS]; /* the first is the name */
    ath_stmt stmt[2];
    ath_query query;
    const ath_rows *rows;
    bool drains;
    uint32_t drain_ms;
    uint64_t running;
};

static struct change *change_new(ath_req *r, const char *sql, const char *failed,
                                 const char *message, const char *word)
{
    struct change *c = ath_new(ath_arena_of(r), sizeof(*c));

    c->sql = sql;
    c->failed = failed;
    c->message = message;
    c->word = word;
    c->status = 200;
    return c;
}

/* ---- after the change ---- */

static void put_runtime(ath_req *r, struct buf *b, ath_str name)
{
    const struct admin_clients_state *s = ath_state_of(r);
    const struct admin_clients_config *cfg = ath_config_of(r);
    ath_str now = s->clients->runtime(ath_arena_of(r), name, cfg->reveal ? ATH_CLIENTS_REVEAL : 0);

    buf_json_key(b, "runtime");
    buf_str(b, now.n ? now : ATH_S("null"));
}

static int answer(ath_req *r, struct change *c)
{
    struct buf b = admin_answer(r, c->message);

    buf_json_key(&b, "client");
    client_object(r, &b, c->rows, 0);
    put_runtime(r, &b, c->param[0]);
    if (c->drains) {
        buf_json_int(&b, "running", (int64_t)c->running);
        buf_json_bool(&b, "drained", c->running == 0);
    }
    return admin_reply(r, c->status, &b);
}

static int drained(ath_task *t, const ath_done *d, ath_err *e)
{
    struct change *c = d->arg;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    c->running = d->count;
    return answer(t, c);
}

static int refreshed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct admin_clients_state *s = ath_state_of(t);
    struct change *c = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (c->drains)
        return s->clients->drain(t, c->param[0], c->drain_ms, drained, c, e);
    return answer(t, c);
}

static int refuse(ath_task *t, const struct change *c, ath_err *e)
{
    if (c->sql == insert_sql && str_is(ath_host_->err->get(e, "sqlstate"), "23505"))
        return admin_fail(e, "control_plane_conflict", "Athena client already exists",
                          "A client named '%.*s' already exists.", STR_ARG(c->param[0]));
    return admin_refuse(t, ADMIN_CATALOG, c->failed, e);
}

static int not_there(const struct change *c, ath_err *e)
{
    return admin_fail(e, "not_found", "Athena client not found", "No client exists for '%.*s'.",
                      STR_ARG(c->param[0]));
}

static int changed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct admin_clients_config *cfg = ath_config_of(t);
    const struct admin_clients_state *s = ath_state_of(t);
    struct change *c = d->arg;

    if (d->rc < 0)
        return refuse(t, c, e);
    if (!ath_host_->pg->count(d->rows))
        return not_there(c, e);
    c->rows = ath_host_->pg->keep(t, d->rows);
    admin_changed(t, c->word, c->param[0]);
    return s->clients->refresh(t, c->param[0], (uint32_t)cfg->connect_ms, refreshed, c, e);
}

static int change_run(ath_task *t, struct change *c, ath_err *e)
{
    if (c->param[0].n > NAME_MOST)
        return not_there(c, e);
    c->stmt[0] = (ath_stmt){ .sql = c->sql, .param = c->param, .param_count = c->params };
    c->stmt[1] = (ath_stmt){ .sql = notify_sql, .param = c->param, .param_count = 1 };
    c->query = (ath_query){ .size = sizeof(c->query),
                            .client = ATH_S("@control"),
                            .stmt = c->stmt,
                            .stmt_size = sizeof(c->stmt[0]),
                            .stmt_count = ATH_COUNT(c->stmt) };
    return ath_host_->pg->query(t, &c->query, changed, c, e) < 0 ? refuse(t, c, e) : 0;
}

/* ---- what may be written ---- */

static bool is_blank(ath_str s)
{
    return str_trim(s).n == 0;
}

static bool is_masked(ath_str uri)
{
    for (size_t i = 0; i + 3 <= uri.n; i++)
        if (memcmp(uri.p + i, "***", 3) == 0)
            return true;
    return false;
}

static int refuse_mask(ath_err *e)
{
    return ath_raise(e, "VALIDATION_FAILED",
                     "pg_uri is masked (\"***\"), and not as the stored one is");
}

/* A blank one says nothing, so there is nothing to seal. */
static void seal(ath_req *r, ath_str *uri)
{
    const struct admin_clients_state *s = ath_state_of(r);

    if (uri->p && !is_blank(*uri))
        *uri = s->secrets->seal(ath_arena_of(r), *uri);
}

/* description, pg_uri, pg_uri_env_var and is_active: $2 to $5. */
static int take_members(const struct json *body, struct change *c, ath_err *e)
{
    static const char *const text[] = { "description", "pg_uri", "pg_uri_env_var" };

    for (size_t i = 0; i < ATH_COUNT(text); i++)
        if (admin_text(body, text[i], &c->param[i + 1], e) < 0)
            return ATH_E_INPUT;
    if (admin_bool(body, "is_active", &c->param[4], e) < 0)
        return ATH_E_INPUT;
    c->params = 5;
    return 0;
}

static int check_new(const struct change *c, ath_err *e)
{
    if (c->param[0].n == 0)
        return admin_fail(e, "VALIDATION_FAILED", "Missing client name",
                          "Provide client_name in the request body when creating a client.");
    if (c->param[0].n > NAME_MOST || !str_utf8(c->param[0]))
        return ath_raise(e, "VALIDATION_FAILED", "client_name has more than %d bytes", NAME_MOST);
    if (is_blank(c->param[2]) && is_blank(c->param[3]))
        return admin_fail(e, "VALIDATION_FAILED", "Missing connection details",
                          "Provide either pg_uri or pg_uri_env_var for database-backed clients.");
    return is_masked(c->param[2]) ? refuse_mask(e) : 0;
}

int clients_create(ath_req *r, ath_err *e)
{
    struct change *c =
        change_new(r, insert_sql, CREATE_FAILED, "Created Athena client", "create_client");
    const struct json *body;

    c->status = 201;
    if (admin_body(r, &body, e) < 0 || admin_text(body, "client_name", &c->param[0], e) < 0 ||
        take_members(body, c, e) < 0)
        return ATH_E_INPUT;
    c->param[0] = str_trim(c->param[0]);
    if (check_new(c, e) < 0)
        return ATH_E_INPUT;
    seal(r, &c->param[2]);
    return change_run(r, c, e);
}

/* Who sends back what he was shown changes nothing. */
static int compare_masked(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct admin_clients_state *s = ath_state_of(t);
    struct change *c = d->arg;
    ath_str stored;

    if (!ath_host_->pg->count(d->rows))
        return not_there(c, e);
    if (s->secrets->open(ath_arena_of(t), ath_cell(d->rows, 0, 0), &stored, e) < 0 ||
        !str_eq(s->secrets->mask(ath_arena_of(t), stored), c->param[2]))
        return refuse_mask(e);
    c->param[2] = (ath_str){ NULL, 0 };
    return change_run(t, c, e);
}

int clients_patch(ath_req *r, ath_err *e)
{
    struct change *c =
        change_new(r, patch_sql, UPDATE_FAILED, "Updated Athena client", "update_client");
    const struct json *body;

    if (admin_client(r, &c->param[0], e) < 0 || admin_body(r, &body, e) < 0 ||
        take_members(body, c, e) < 0)
        return ATH_E_INPUT;
    if (is_masked(c->param[2]))
        return admin_read(r, ADMIN_CATALOG, UPDATE_FAILED, stored_sql, c->param, 1, compare_masked,
                          c, e);
    seal(r, &c->param[2]);
    return change_run(r, c, e);
}

int clients_freeze(ath_req *r, ath_err *e)
{
    struct change *c = change_new(r, freeze_sql, UPDATE_FAILED,
                                  "Updated Athena client freeze state", "freeze_client");
    const struct json *body;

    if (admin_client(r, &c->param[0], e) < 0 || admin_body(r, &body, e) < 0 ||
        admin_bool(body, "is_frozen", &c->param[1], e) < 0)
        return ATH_E_INPUT;
    if (!c->param[1].p)
        return ath_raise(e, "malformed_json_payload", "missing member \"is_frozen\"");
    if (str_is(c->param[1], "false"))
        c->word = "unfreeze_client";
    c->params = 2;
    return change_run(r, c, e);
}

/* ?timeout=10s */
static int drain_time(ath_req *r, struct change *c, ath_err *e)
{
    ath_str text = str_trim(ath_param(r, "timeout"));
    uint64_t ms = DRAIN_MS;

    if (text.n && (!str_msec(text, &ms) || ms > DRAIN_MOST_MS))
        return ath_raise(e, "VALIDATION_FAILED",
                         "parameter \"timeout\" is \"%.*s\", expected a duration of at most %d s",
                         STR_ARG(text), DRAIN_MOST_MS / 1000);
    c->drain_ms = (uint32_t)ms;
    return 0;
}

int clients_drain(ath_req *r, ath_err *e)
{
    struct change *c =
        change_new(r, drain_sql, UPDATE_FAILED, "Drained Athena client", "drain_client");

    if (admin_client(r, &c->param[0], e) < 0 || drain_time(r, c, e) < 0)
        return ATH_E_INPUT;
    c->params = 1;
    c->drains = true;
    return change_run(r, c, e);
}

int clients_delete(ath_req *r, ath_err *e)
{
    struct change *c =
        change_new(r, delete_sql, DELETE_FAILED, "Deleted Athena client", "delete_client");

    if (admin_client(r, &c->param[0], e) < 0)
        return ATH_E_INPUT;
    c->params = 1;
    return change_run(r, c, e);
}
