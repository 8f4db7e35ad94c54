/* POST /admin/provision, GET /admin/provision/status. */
#include "provision.h"

#define FAILED "Provisioning failed"

enum { VALUES = 1000 };

/* ---- which tables ---- */

static ath_str list_of(ath_task *t, ath_str *name, uint32_t n)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_char(&b, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            buf_char(&b, ',');
        buf_json(&b, name[i]);
    }
    buf_char(&b, ']');
    return buf_view(&b);
}

/* Those that the configuration names, else those of the script (P4). */
ath_str provision_expected(ath_task *t)
{
    const struct provision_config *cfg = ath_config_of(t);
    ath_str rest = cfg->expected_tables, word, *name;
    uint32_t n = 0;

    if (!str_trim(rest).n) {
        n = provision_tables(ath_arena_of(t), str_of(tenant_sql), &name);
        return list_of(t, name, n);
    }
    name = ath_new(ath_arena_of(t), (rest.n + 1) * sizeof(*name));
    while (str_next(&rest, ',', &word))
        if (str_trim(word).n)
            name[n++] = str_trim(word);
    return list_of(t, name, n);
}

/* ---- what is there ---- */

/* A name without a schema is one of the control plane's or of a tenant's. */
static const char there_sql[] =
    "select w.name, exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where c.relkind in ('r', 'p', 'v', 'm', 'f') and (n.nspname || '.' || c.relname = w.name or "
    "(c.relname = w.name and n.nspname in ('public', 'athena', 'billing')))) "
    "from jsonb_array_elements_text($1::jsonb) with ordinality as w(name, n) order by w.n";

static int unavailable(ath_task *t, ath_err *e)
{
    return admin_fail(e, "client_unavailable", "Client unavailable",
                      "Postgres client '%.*s' is registered but could not be reconnected.",
                      STR_ARG(str_trim(ath_param(t, "client_name"))));
}

static void put_names(struct buf *b, const char *key, const ath_rows *rows, const char *there)
{
    bool any = false;

    buf_json_key(b, key);
    buf_char(b, '[');
    for (uint32_t i = 0; i < ath_host_->pg->count(rows); i++) {
        if (!str_is(ath_cell(rows, i, 1), there))
            continue;
        if (any)
            buf_char(b, ',');
        buf_json(b, ath_cell(rows, i, 0));
        any = true;
    }
    buf_char(b, ']');
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_str name = str_trim(ath_param(t, "client_name"));
    struct buf message = BUF_ARENA(ath_arena_of(t)), b;
    bool whole = true;

    if (d->rc < 0 && ath_host_->err->get(e, "sqlstate").n)
        return provision_fail(e, "provisioning_failed", "Failed to query tables", "");
    if (d->rc < 0)
        return d->rc == ATH_E_CANCELED ? d->rc : unavailable(t, e);
    for (uint32_t i = 0; i < ath_host_->pg->count(d->rows); i++)
        whole = whole && str_is(ath_cell(d->rows, i, 1), "t");
    buf_printf(&message, "Provisioning status for '%.*s'", STR_ARG(name));
    b = admin_answer(t, message.p);
    buf_json_str(&b, "client_name", name);
    buf_json_str(&b, "requested_client_name", name);
    buf_json_bool(&b, "provisioned", whole);
    put_names(&b, "present_tables", d->rows, "t");
    put_names(&b, "missing_tables", d->rows, "f");
    return admin_reply(t, 200, &b);
}

int provision_status(ath_req *r, ath_err *e)
{
    ath_str *param = ath_new(ath_arena_of(r), sizeof(*param));
    ath_stmt stmt = { .sql = there_sql, .param = param, .param_count = 1 };
    ath_query q = { .size = sizeof(q), .flags = ATH_PG_READ, .timeout_ms = ANSWER_MS };

    q.client = str_trim(ath_param(r, "client_name"));
    if (!q.client.n)
        return admin_fail(e, "VALIDATION_FAILED", "Missing required field",
                          "'client_name' must not be empty.");
    *param = provision_expected(r);
    q.stmt = &stmt;
    q.stmt_size = sizeof(stmt);
    q.stmt_count = 1;
    return ath_host_->pg->query(r, &q, looked, NULL, e) < 0 ? unavailable(r, e) : 0;
}

/* ---- making it ---- */

struct run { /* in the arena of its task */
    struct work *work;
    ath_str uri, client, name, tables, warning;
    struct registration g;
    uint64_t statements;
    bool registers, registered;
};

static int answer(ath_task *t, struct run *x)
{
    struct buf message = BUF_ARENA(ath_arena_of(t)), b;

    buf_printf(&message, "Provisioned %llu statements", (unsigned long long)x->statements);
    b = admin_answer(t, message.p);
    buf_json_int(&b, "statements_executed", (int64_t)x->statements);
    buf_json_str(&b, "client",
                 x->client.n     ? x->client
                 : x->registered ? x->g.name
                                 : ATH_S("direct"));
    buf_json_key(&b, "registered");
    if (x->registered)
        buf_json(&b, x->g.name);
    else
        buf_lit(&b, "null");
    buf_json_key(&b, "tables");
    buf_str(&b, x->tables);
    if (x->warning.n)
        buf_json_str(&b, "warning", x->warning);
    buf_lit(&b, "}}");
    return work_done(t, x->work, 200, buf_view(&b));
}

/* The schema is there whatever becomes of the name: the answer says both (P8). */
static int registered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    struct run *x = d->arg;

    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    x->registered = d->rc == 0;
    if (d->rc < 0)
        buf_printf(&b, "the client was not registered: %.*s",
                   STR_ARG(ath_host_->err->get(e, "message")));
    else if (!x->g.catalog)
        buf_lit(&b,
                "there is no control plane: the client is registered in this process alone, until "
                "it ends");
    x->warning = buf_view(&b);
    return answer(t, x);
}

static int provisioned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;

    if (d->rc < 0)
        return provision_fail(e, "provisioning_failed", FAILED, "");
    x->statements = d->count;
    if (!x->registers)
        return answer(t, x);
    return client_register(t, &x->g, registered, x, e);
}

static int may(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;

    if (d->rc == ATH_E_CONFLICT || d->rc == ATH_E_INPUT)
        return d->rc;
    return provision_run(t, x->uri, WORK_MS, provisioned, x, e);
}

static int run(ath_task *t, void *arg, ath_err *e)
{
    const struct provision_state *s = ath_state_of(t);
    struct work *w = arg;
    struct run *x = ath_new(ath_arena_of(t), sizeof(*x));
    struct json_error why;
    const struct json *in =
        json_read(str_from(w->input, w->input_n), JSON_ARENA(ath_arena_of(t)), VALUES, &why);

    x->work = w;
    x->uri = json_text(json_get(in, "uri"));
    x->client = json_text(json_get(in, "client"));
    x->name = json_text(json_get(in, "name"));
    x->registers = x->name.n > 0;
    x->tables = provision_expected(t);
    x->g = (struct registration){ .clients = s->clients,
                                  .secrets = s->secrets,
                                  .name = x->name,
                                  .uri = x->uri,
                                  .description = ATH_S("Provisioned via API"),
                                  .metadata = ATH_S("{\"managed_by\":\"provision_api\"}"),
                                  .runtime = true,
                                  .catalog = ath_host_->inspect(t, "logging_client").n > 0 };
    if (!x->registers)
        return provision_run(t, x->uri, WORK_MS, provisioned, x, e);
    return client_may_register(t, &x->g, may, x, e);
}

/* ---- the request ---- */

struct asked {
    ath_str uri, client, registers, name;
};

static int take(ath_req *r, struct asked *x, ath_err *e)
{
    const struct json *body;
    int rc;

    if ((rc = admin_body(r, &body, e)) < 0 || (rc = admin_text(body, "uri", &x->uri, e)) < 0 ||
        (rc = admin_text(body, "client_name", &x->client, e)) < 0 ||
        (rc = admin_bool(body, "register", &x->registers, e)) < 0 ||
        (rc = admin_text(body, "register_name", &x->name, e)) < 0)
        return rc;
    x->uri = str_trim(x->uri);
    x->client = str_trim(x->client);
    x->name = str_trim(x->name);
    return 0;
}

static int check(const struct asked *x, ath_err *e)
{
    if (x->uri.n && x->client.n)
        return admin_fail(e, "VALIDATION_FAILED", "Ambiguous target",
                          "Provide either 'uri' or 'client_name', not both.");
    if (!x->uri.n && !x->client.n)
        return admin_fail(e, "VALIDATION_FAILED", "Missing target",
                          "Provide either 'uri' (direct Postgres URI) or 'client_name' "
                          "(registered client).");
    return 0;
}

static int find_uri(ath_req *r, struct asked *x, ath_err *e)
{
    const struct provision_state *s = ath_state_of(r);
    int rc = s->clients->uri(ath_arena_of(r), x->client, &x->uri, e);

    if (rc < 0 && str_is(ath_host_->err->get(e, "code"), "client_unknown"))
        return admin_fail(e, "VALIDATION_FAILED", "Unknown client",
                          "No Postgres client named '%.*s' is registered.", STR_ARG(x->client));
    return rc < 0 ? provision_fail(e, "VALIDATION_FAILED", "Client URI unavailable", "") : 0;
}

int provision_schema(ath_req *r, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    struct asked x;
    int rc;

    if ((rc = take(r, &x, e)) < 0 || (rc = check(&x, e)) < 0 ||
        (x.client.n && (rc = find_uri(r, &x, e)) < 0))
        return rc;
    buf_char(&b, '{');
    buf_json_str(&b, "uri", client_uri_normal(ath_arena_of(r), x.uri));
    buf_json_str(&b, "client", x.client);
    if (!x.client.n && str_is(x.registers, "true")) /* one that has a name is a client already */
        buf_json_str(&b, "name", x.name.n ? x.name : ATH_S("provisioned"));
    buf_char(&b, '}');
    admin_changed(r, "provision", x.client.n ? x.client : ATH_S("direct"));
    return work_begin(r, run, buf_view(&b), e);
}
