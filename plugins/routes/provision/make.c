/* A database is made: is its server there, may its name be registered, is it free; CREATE DATABASE,
 * the schema, the client. Each step is one operation whose continuation begins the next.
 *
 * A step that fails behind CREATE DATABASE leads to undo(), which drops what was made here and only
 * that: the database with the OID that it was given. So a retry begins as if nothing had happened
 * (P7).
 */
#include "provision.h"

#include "lib/sqlname.h"

#define FAILED "Failed to create local cluster database"
#define MARK   "athena-provision:"

enum { VALUES = 1000, MARK_DIGITS = 16, FORCE_VERSION = 130000 };

struct make { /* in the arena of its task */
    struct work *work;
    struct database_order order;
    ath_str client, owner, typed, mark;
    ath_str server_uri, uri; /* of the client's own database, of the new one */
    ath_str oid;             /* of the new one, once it is known */
    ath_str param[2];
    ath_stmt stmt;
    struct registration g;
    uint64_t statements;
    bool provisions, keeps;
    bool made; /* by this request: undo() drops it */
    bool marked;
    int64_t version; /* of the server: 150018 */
    /* of the failure that is being undone */
    int rc;
    ath_str code, title, words;
};

static int undo(ath_task *t, struct make *x, ath_err *e);
static int registers(ath_task *t, struct make *x, ath_err *e);

/* ---- asking the server ---- */

static int ask(ath_task *t, struct make *x, const char *sql, uint32_t params, uint32_t flags,
               ath_then *then, ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .flags = flags | ATH_PG_OPERATOR,
                    .uri = x->server_uri,
                    .timeout_ms = flags & ATH_PG_ALONE ? WORK_MS : ANSWER_MS,
                    .stmt = &x->stmt,
                    .stmt_size = sizeof(x->stmt),
                    .stmt_count = 1 };

    x->param[0] = x->order.name;
    x->param[1] = x->oid;
    x->stmt = (ath_stmt){ .sql = sql, .param = x->param, .param_count = params };
    return ath_host_->pg->query(t, &q, then, x, e);
}

static int unavailable(struct make *x, ath_err *e)
{
    return admin_fail(e, "client_unavailable", "Client unavailable",
                      "Postgres client '%.*s' is not connected.", STR_ARG(x->client));
}

/* ---- the answer ---- */

static int made_it(ath_task *t, struct make *x)
{
    struct buf b = admin_answer(t, "Created local cluster database");
    ath_str normal = client_uri_normal(ath_arena_of(t), x->uri);

    buf_json_str(&b, "server_client_name", x->client);
    buf_json_str(&b, "database_name", x->typed);
    buf_json_str(&b, "created_database_name", x->order.name);
    buf_json_str(&b, "database_uri", x->owner.n ? x->uri : normal);
    if (!x->owner.n) {
        buf_json_str(&b, "catalog_pg_uri", normal);
        buf_lit(&b, ",\"catalog_public_proxy\":null,\"catalog_public_proxy_dns\":null");
    }
    buf_lit(&b, ",\"pipeline\":{");
    buf_json_bool(&b, "provision_schema", x->provisions);
    buf_json_key(&b, "statements_executed");
    if (x->provisions)
        buf_i64(&b, (int64_t)x->statements);
    else
        buf_lit(&b, "null");
    buf_json_bool(&b, "register_runtime", x->g.runtime);
    buf_json_bool(&b, "register_catalog", x->g.catalog);
    buf_json_str(&b, "register_name", x->g.name);
    buf_lit(&b, "}}}");
    return work_done(t, x->work, 201, buf_view(&b));
}

/* ---- registering ---- */

static int registered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;

    if (d->rc < 0 && d->rc != ATH_E_CONFLICT && d->rc != ATH_E_CANCELED)
        admin_refuse(t, ADMIN_CATALOG, "Failed to register client in catalog", e);
    return d->rc < 0 ? undo(t, x, e) : made_it(t, x);
}

static int registers(ath_task *t, struct make *x, ath_err *e)
{
    return client_register(t, &x->g, registered, x, e) < 0 ? undo(t, x, e) : 0;
}

/* ---- the schema ---- */

static int unmarked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;

    if (d->rc < 0) {
        provision_fail(e, "provisioning_failed", FAILED, "database operation failed: ");
        return undo(t, x, e);
    }
    return registers(t, x, e);
}

static int comment(ath_task *t, struct make *x, ath_str text, ath_then *then, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_lit(&b, "COMMENT ON DATABASE ");
    buf_ident(&b, x->order.name);
    buf_lit(&b, " IS ");
    if (text.n)
        buf_literal(&b, text);
    else
        buf_lit(&b, "NULL");
    return ask(t, x, b.p, 0, 0, then, e) < 0 ? undo(t, x, e) : 0;
}

/* Before anybody is told of it: from here on it is never made again. */
static int unmark(ath_task *t, struct make *x, ath_err *e)
{
    return x->marked ? comment(t, x, (ath_str){ "", 0 }, unmarked, e) : registers(t, x, e);
}

static int provisioned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;

    if (d->rc < 0) {
        provision_fail(e, "provisioning_failed", "Failed to provision newly created database", "");
        return undo(t, x, e);
    }
    x->statements = d->count;
    return unmark(t, x, e);
}

/* Who may not write comments makes databases without a mark: then a retry after a crash is refused.
 */
static int marked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;

    if (d->rc < 0 && !ath_host_->err->get(e, "sqlstate").n)
        return undo(t, x, e);
    x->marked = d->rc == 0;
    if (!x->provisions)
        return unmark(t, x, e);
    return provision_run(t, x->uri, WORK_MS, provisioned, x, e) < 0 ? undo(t, x, e) : 0;
}

/* ---- CREATE DATABASE ---- */

static int found(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;
    const ath_rows *rows;

    if (d->rc < 0)
        return undo(t, x, e);
    if (!ath_host_->pg->count(d->rows))
        return admin_fail(e, "conflict", FAILED, "the new database is gone");
    rows = ath_host_->pg->keep(t, d->rows);
    x->oid = ath_cell(rows, 0, 0);
    return comment(t, x, x->mark, marked, e);
}

static int created(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_str state = ath_host_->err->get(e, "sqlstate");
    struct make *x = d->arg;

    x->made = d->rc == 0;
    if (x->made)
        return ask(t, x, "select oid::text from pg_database where datname = $1", 1, ATH_PG_READ,
                   found, e) < 0
                   ? undo(t, x, e)
                   : 0;
    if (str_is(state, "42P04"))
        return admin_fail(e, "conflict", FAILED, "database already exists");
    if (str_is(state, "42501"))
        return admin_fail(e, "provisioning_unavailable", FAILED,
                          "database role lacks CREATE DATABASE privilege");
    if (state.n)
        return provision_fail(e, "provisioning_failed", FAILED,
                              "database operation failed: error returned from database: ");
    return provision_fail(e, "provisioning_failed", FAILED,
                          "it is not known whether the database was made: ");
}

/* Without the lock: another request is at it. Of a client's own key a copy of a database that is no
 * template would be a look into somebody else's (P1). */
static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;

    if (d->rc < 0)
        return d->rc == ATH_E_CANCELED ? d->rc : unavailable(x, e);
    if (!str_is(ath_cell(d->rows, 0, 0), "t"))
        return admin_fail(e, "conflict", FAILED, "database is being created by another request");
    if (x->owner.n && x->order.option[DATABASE_TEMPLATE].p && !str_is(ath_cell(d->rows, 0, 4), "t"))
        return admin_fail(e, "VALIDATION_FAILED", FAILED, "'template' is no template database");
    str_i64(ath_cell(d->rows, 0, 1), &x->version);
    if (!ath_cell(d->rows, 0, 2).p)
        return ask(t, x, database_create_sql(ath_arena_of(t), &x->order).p, 0, ATH_PG_ALONE,
                   created, e);
    if (!str_eq(ath_cell(d->rows, 0, 3), x->mark))
        return admin_fail(e, "conflict", FAILED, "database already exists");
    return comment(t, x, x->mark, marked, e); /* this very request was cut off before it was done */
}

static const char look_sql[] =
    "select pg_try_advisory_lock(7307493, hashtext($1)), current_setting('server_version_num'), "
    "d.oid::text, shobj_description(d.oid, 'pg_database'), exists (select from pg_database t "
    "where t.datname = $2 and t.datistemplate) from (values (1)) as one "
    "left join pg_database d on d.datname = $1";

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;
    ath_query q = { .size = sizeof(q),
                    .session = d->session,
                    .timeout_ms = ANSWER_MS,
                    .stmt = &x->stmt,
                    .stmt_size = sizeof(x->stmt),
                    .stmt_count = 1 };

    if (d->rc < 0)
        return d->rc == ATH_E_CANCELED ? d->rc : unavailable(x, e);
    x->param[0] = x->order.name;
    x->param[1] = x->order.option[DATABASE_TEMPLATE];
    x->stmt = (ath_stmt){ .sql = look_sql, .param = x->param, .param_count = 2 };
    return ath_host_->pg->query(t, &q, looked, x, e);
}

/* ---- before anything is made ---- */

static int may(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_OPERATOR | ATH_PG_OWN,
                    .uri = x->server_uri,
                    .timeout_ms = PROVISION_CONNECT_MS };

    if (d->rc == ATH_E_CONFLICT || d->rc == ATH_E_INPUT || d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0)
        return admin_refuse(t, ADMIN_CATALOG, "Failed to register client in catalog", e);
    return ath_host_->pg->open(t, &q, opened, x, e);
}

static int find_uris(ath_task *t, struct make *x, ath_err *e)
{
    const struct provision_state *s = ath_state_of(t);

    if (s->clients->uri(ath_arena_of(t), x->client, &x->server_uri, e) < 0)
        return unavailable(x, e);
    if (database_uri(ath_arena_of(t), x->server_uri, x->order.name, &x->uri, e) < 0)
        return provision_fail(e, "VALIDATION_FAILED", "Failed to build database URI", "");
    x->server_uri = client_uri_normal(ath_arena_of(t), x->server_uri);
    x->g.uri = client_uri_normal(ath_arena_of(t), x->uri);
    return 0;
}

/* A client that is frozen, or whose database is away, makes no databases. */
static int answers(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;
    int rc;

    if (d->rc < 0)
        return d->rc == ATH_E_CANCELED ? d->rc : unavailable(x, e);
    if ((rc = find_uris(t, x, e)) < 0)
        return rc;
    return client_may_register(t, &x->g, may, x, e);
}

static int begin(ath_task *t, struct make *x, ath_err *e)
{
    static const ath_stmt stmt = { .sql = "select 1" };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_READ,
                    .client = x->client,
                    .timeout_ms = ANSWER_MS,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    if (!x->client.n || ath_host_->pg->query(t, &q, answers, x, e) < 0)
        return unavailable(x, e);
    return 0;
}

/* ---- undoing ---- */

static int failed(struct make *x, ath_err *e)
{
    admin_fail(e, x->code.n ? x->code.p : "provisioning_failed", x->title.n ? x->title.p : FAILED,
               "%.*s", STR_ARG(x->words));
    return x->rc;
}

static int dropped(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (d->rc < 0) {
        buf_str(&b, x->words);
        buf_printf(&b, "; the database \"%.*s\" stays, as it could not be dropped: %.*s",
                   STR_ARG(x->order.name), STR_ARG(ath_host_->err->get(e, "message")));
        x->words = buf_view(&b);
    }
    return failed(x, e);
}

static int still_there(ath_task *t, const ath_done *d, ath_err *e)
{
    struct make *x = d->arg;
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (d->rc < 0 || !ath_host_->pg->count(d->rows))
        return dropped(t, d, e);
    buf_lit(&b, "DROP DATABASE ");
    buf_ident(&b, x->order.name);
    if (x->version >= FORCE_VERSION) /* connections of ours rest there */
        buf_lit(&b, " WITH (FORCE)");
    return ask(t, x, b.p, 0, ATH_PG_ALONE, dropped, e);
}

static ath_str kept(ath_task *t, ath_str s)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_str(&b, s);
    return buf_view(&b);
}

static const char still_sql[] = "select from pg_database where datname = $1 and "
                                "oid::text = coalesce($2, oid::text)";

/* `e` has the words; what it returns ends the work with them. */
static int undo(ath_task *t, struct make *x, ath_err *e)
{
    x->code = kept(t, ath_host_->err->get(e, "code"));
    x->title = kept(t, ath_host_->err->get(e, "title"));
    x->words = kept(t, ath_host_->err->get(e, "message"));
    x->rc = ATH_E_UPSTREAM;
    if (!x->made || x->keeps)
        return failed(x, e);
    if (ask(t, x, still_sql, 2, ATH_PG_READ, still_there, e) < 0)
        return failed(x, e);
    return 0;
}

/* ---- what the request says ---- */

/* "athena-cluster.com" of "*.v3.athena-cluster.com" */
static ath_str domain_of(ath_str pattern)
{
    for (int i = 0; i < 2; i++) {
        size_t dot = str_find(pattern, '.');
        pattern = dot < pattern.n ? str_after(pattern, dot + 1) : pattern;
    }
    return pattern;
}

static ath_str metadata_of(ath_task *t, const struct make *x, ath_str options)
{
    const struct provision_config *cfg = ath_config_of(t);
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_char(&b, '{');
    buf_json_str(&b, "managed_by", x->owner.n ? ATH_S("management_api") : ATH_S("provision_api"));
    if (x->owner.n)
        buf_json_str(&b, "requested_by_client", x->owner);
    buf_json_str(&b, "provider", ATH_S("local_cluster"));
    if (!x->owner.n) {
        buf_json_str(&b, "cluster_name", ATH_S("athena-cluster"));
        buf_json_str(&b, "cluster_domain", domain_of(cfg->wildcard));
    }
    buf_json_str(&b, "database_engine", ATH_S("postgresql"));
    buf_json_str(&b, "server_client_name", x->client);
    buf_json_str(&b, "database_name", x->order.name);
    buf_lit(&b, ",\"instance\":{");
    buf_json_str(&b, "database_name", x->order.name);
    buf_json_str(&b, "database_engine", ATH_S("postgresql"));
    buf_lit(&b, "},\"create_options\":");
    buf_str(&b, options);
    buf_char(&b, '}');
    return buf_view(&b);
}

/* The same for the same request alone. */
static ath_str mark_of(ath_task *t, const struct make *x, ath_str options)
{
    const struct provision_state *s = ath_state_of(t);
    struct buf what = BUF_ARENA(ath_arena_of(t)), b = BUF_ARENA(ath_arena_of(t));

    buf_printf(&what, "%.*s\n%.*s\n%.*s\n%.*s\n%.*s", STR_ARG(x->client), STR_ARG(x->owner),
               STR_ARG(x->order.name), STR_ARG(x->g.name), STR_ARG(options));
    buf_lit(&b, MARK);
    buf_str(&b, str_from(s->secrets->sha256(ath_arena_of(t), buf_view(&what)).p, MARK_DIGITS));
    return buf_view(&b);
}

static bool is_on(const struct json *in, const char *key)
{
    return json_get(in, key)->type == JSON_TRUE;
}

static void take(ath_task *t, struct make *x, const struct json *in)
{
    const struct provision_state *s = ath_state_of(t);
    const struct provision_config *cfg = ath_config_of(t);
    const struct json *options = json_get(in, "options");

    x->client = json_text(json_get(in, "client"));
    x->owner = json_text(json_get(in, "owner"));
    x->typed = json_text(json_get(in, "typed"));
    x->order.name = json_text(json_get(in, "name"));
    for (size_t i = 0; i < DATABASE_OPTIONS; i++) {
        const struct json *v = json_given(options, database_option[i]);
        x->order.option[i] = v ? v->text : (ath_str){ NULL, 0 };
    }
    x->provisions = is_on(in, "provision_schema");
    x->keeps = is_on(in, "keep");
    x->g = (struct registration){ .clients = s->clients,
                                  .secrets = s->secrets,
                                  .name = json_text(json_get(in, "register_name")),
                                  .description = json_text(json_get(in, "description")),
                                  .owner = x->owner,
                                  .runtime = is_on(in, "register_runtime"),
                                  .catalog = is_on(in, "register_catalog"),
                                  .connect_ms = (uint32_t)cfg->connect_ms };
    x->g.metadata = metadata_of(t, x, options->raw);
    x->mark = mark_of(t, x, options->raw);
}

int make_run(ath_task *t, void *arg, ath_err *e)
{
    struct make *x = ath_new(ath_arena_of(t), sizeof(*x));
    struct work *w = arg;
    struct json_error why;

    x->work = w;
    take(t, x,
         json_read(str_from(w->input, w->input_n), JSON_ARENA(ath_arena_of(t)), VALUES, &why));
    return begin(t, x, e);
}
