/* One trip writes the row and tells of it: INSERT ... ON CONFLICT decides by itself who may replace
 * whom, so that two who come at once cannot both be right; when it has written nothing the row says
 * why. Then this process reads the catalogue, before whoever asked is answered. A client without a
 * row is adopted by the process instead.
 */
#include "clients/register.h"

#include "lib/json.h"
#include "lib/jsonread.h"

enum { RUNTIME_VALUES = 1000 };

struct registering { /* in the arena of its task */
    const struct registration *g;
    char *id; /* of it */
    ath_str name, uri, param[5];
    ath_stmt stmt[3];
    int status;
};

/* $1 name, $2 description, $3 uri, $4 metadata, $5 owner */
#define MINE "(lower(c.metadata ->> 'requested_by_client') = lower($5) and c.source = 'database')"
static const char upsert_sql[] =
    "insert into athena_clients as c (client_name, description, pg_uri, source, metadata, "
    "is_active,"
    " is_frozen) values ($1, $2, $3, 'database', $4::jsonb, true, false)"
    " on conflict (lower(client_name)) where deleted_at is null do update set"
    " description = excluded.description, pg_uri = excluded.pg_uri, pg_uri_env_var = null,"
    " config_uri_template = null, metadata = excluded.metadata, is_active = true,"
    " is_frozen = false, updated_at = now(),"
    " source = case when c.source = 'database' then c.source else 'merged' end"
    " where $5 = '' or " MINE " returning (xmax = 0)::text, athena_client_id::text";
static const char seen_sql[] = "update athena_clients set last_seen_at = now() where "
                               "lower(client_name) = lower($1) and deleted_at is null";
static const char notify_sql[] = "select pg_notify('athena_clients', $1)";
static const char may_sql[] =
    "select from athena_clients c where lower(c.client_name) = lower($1) and c.deleted_at is null "
    "and not ($2 = '' or (lower(c.metadata ->> 'requested_by_client') = lower($2) and "
    "c.source = 'database'))";
static const char remove_sql[] = "delete from athena_clients where athena_client_id = $2::uuid and "
                                 "lower(client_name) = lower($1)";

ath_str client_uri_normal(ath_arena *a, ath_str uri)
{
    static const char *const other[] = { "postgres://", "athena://" };
    struct buf b = BUF_ARENA(a);

    for (size_t i = 0; i < ATH_COUNT(other); i++) {
        if (!str_starts(uri, other[i]))
            continue;
        buf_lit(&b, "postgresql://");
        uri = str_after(uri, strlen(other[i]));
        break;
    }
    buf_str(&b, uri);
    return buf_view(&b);
}

/* ---- what is refused ---- */

static int refuse_reserved(ath_str name, ath_err *e)
{
    return ath_raise(e, "client_reserved", "client '%.*s' is reserved for the server itself",
                     STR_ARG(name));
}

static int refuse_foreign(ath_str name, ath_err *e)
{
    return ath_raise(e, "client_not_yours", "client '%.*s' belongs to somebody else",
                     STR_ARG(name));
}

static bool is_reserved(ath_task *t, ath_str name)
{
    static const char *const of[] = { "logging_client", "auth_client", "benchmark_client" };

    for (size_t i = 0; i < ATH_COUNT(of); i++)
        if (str_ieq(ath_host_->inspect(t, of[i]), name))
            return true;
    return false;
}

/* The catalogue does not know what the configuration names where it is not the one to be written
 * to. */
static bool is_configured(ath_task *t, const struct registration *g, ath_str name)
{
    ath_arena *a = ath_arena_of(t);
    struct json_error why;
    const struct json *now =
        json_read(g->clients->runtime(a, name, 0), JSON_ARENA(a), RUNTIME_VALUES, &why);
    ath_str source = json_text(json_get(now, "source"));

    return source.n && !str_is(source, "database");
}

static int check(ath_task *t, struct registering *r, ath_err *e)
{
    const struct registration *g = r->g;

    if (r->name.n == 0 || r->name.n > CLIENT_NAME_MOST || !str_utf8(r->name))
        return ath_raise(e, "VALIDATION_FAILED", "the name of a client is a text of 1 to %d bytes",
                         CLIENT_NAME_MOST);
    if (is_reserved(t, r->name))
        return refuse_reserved(r->name, e);
    if (g->owner.n && is_configured(t, g, r->name))
        return refuse_reserved(r->name, e);
    return 0;
}

/* ---- asking the catalogue ---- */

static int end(ath_task *t, const struct registering *r)
{
    ath_done result = { .size = sizeof(result), .status = r->status };

    ath_host_->task->done(t, &result);
    return 0;
}

static int ask(ath_task *t, struct registering *r, uint32_t n, uint32_t flags, ath_then *then,
               ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .flags = flags,
                    .client = ATH_S("@control"),
                    .stmt = r->stmt,
                    .stmt_size = sizeof(r->stmt[0]),
                    .stmt_count = n };

    return ath_host_->pg->query(t, &q, then, r, e);
}

static struct registering *registering_new(ath_task *t, const struct registration *g)
{
    struct registering *r = ath_new(ath_arena_of(t), sizeof(*r));

    r->g = g;
    r->name = str_trim(g->name);
    return r;
}

static void fill(ath_task *t, struct registering *r)
{
    const struct registration *g = r->g;

    r->uri = client_uri_normal(ath_arena_of(t), str_trim(g->uri));
    r->param[0] = r->name;
    r->param[1] = g->description;
    r->param[2] = g->secrets->seal(ath_arena_of(t), r->uri);
    r->param[3] = g->metadata.n ? g->metadata : ATH_S("{}");
    r->param[4] = g->owner.n ? g->owner : ATH_S("");
}

/* ---- registering ---- */

static uint32_t patience(const struct registration *g)
{
    return g->connect_ms ? g->connect_ms : CLIENT_CONNECT_MS;
}

static int refreshed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct registering *r = d->arg;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    if (d->status)
        r->status |= REGISTERED_LIVE;
    return end(t, r);
}

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    struct registering *r = d->arg;
    const struct registration *g = r->g;

    if (d->rc < 0)
        return d->rc;
    if (!ath_host_->pg->count(d->rows))
        return refuse_foreign(r->name, e);
    r->status = REGISTERED_ROW;
    if (str_is(ath_cell(d->rows, 0, 0), "true"))
        r->status |= REGISTERED_NEW;
    snprintf(r->id, sizeof(g->id), "%.*s", STR_ARG(ath_cell(d->rows, 0, 1)));
    if (!g->runtime)
        return end(t, r);
    return g->clients->refresh(t, r->name, patience(g), refreshed, r, e);
}

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct registering *r = arg;
    const struct registration *g = r->g;
    int rc;

    if (!g->catalog && !g->runtime)
        return end(t, r);
    if ((rc = check(t, r, e)) < 0)
        return rc;
    fill(t, r);
    if (!g->catalog)
        return g->clients->adopt(t, r->name, r->uri, patience(g), refreshed, r, e);
    r->stmt[0] = (ath_stmt){ .sql = upsert_sql, .param = r->param, .param_count = 5 };
    r->stmt[1] = (ath_stmt){ .sql = seen_sql, .param = r->param, .param_count = 1 };
    r->stmt[2] = (ath_stmt){ .sql = notify_sql, .param = r->param, .param_count = 1 };
    return ask(t, r, 3, g->fenced ? ATH_PG_FENCED : 0, written, e);
}

static int start(ath_task *t, struct registering *r, ath_run *run, ath_then *then, void *arg,
                 ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = run, .arg = r };

    return ath_host_->task->fork(t, &f, then, arg, e);
}

int client_register(ath_task *t, struct registration *g, ath_then *then, void *arg, ath_err *e)
{
    struct registering *r = registering_new(t, g);

    r->id = g->id;
    return start(t, r, begin, then, arg, e);
}

/* ---- before, and back ---- */

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct registering *r = d->arg;

    if (d->rc < 0)
        return d->rc;
    return ath_host_->pg->count(d->rows) ? refuse_foreign(r->name, e) : end(t, r);
}

static int look(ath_task *t, void *arg, ath_err *e)
{
    struct registering *r = arg;
    const struct registration *g = r->g;
    int rc;

    if (!g->catalog && !g->runtime)
        return end(t, r);
    if ((rc = check(t, r, e)) < 0)
        return rc;
    if (!g->catalog)
        return g->clients->runtime(ath_arena_of(t), r->name, 0).n ? refuse_foreign(r->name, e)
                                                                  : end(t, r);
    r->param[0] = r->name;
    r->param[1] = g->owner.n ? g->owner : ATH_S("");
    r->stmt[0] = (ath_stmt){ .sql = may_sql, .param = r->param, .param_count = 2 };
    return ask(t, r, 1, ATH_PG_READ, looked, e);
}

int client_may_register(ath_task *t, const struct registration *g, ath_then *then, void *arg,
                        ath_err *e)
{
    return start(t, registering_new(t, g), look, then, arg, e);
}

static int removed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct registering *r = d->arg;

    if (d->rc < 0)
        return d->rc;
    return r->g->clients->refresh(t, r->name, patience(r->g), refreshed, r, e);
}

static int take_back(ath_task *t, void *arg, ath_err *e)
{
    struct registering *r = arg;

    r->param[0] = r->name;
    r->param[1] = str_of(r->g->id);
    r->stmt[0] = (ath_stmt){ .sql = remove_sql, .param = r->param, .param_count = 2 };
    r->stmt[1] = (ath_stmt){ .sql = notify_sql, .param = r->param, .param_count = 1 };
    return ask(t, r, 2, 0, removed, e);
}

int client_unregister(ath_task *t, const struct registration *g, ath_then *then, void *arg,
                      ath_err *e)
{
    return start(t, registering_new(t, g), take_back, then, arg, e);
}
