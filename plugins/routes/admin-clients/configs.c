/* /admin/client-configs: a document per client that lies in athena_client_configs. Nothing reads it
 * at run time; who has none is shown the configuration of the process. */
#include "admin_clients.h"

#include <stdlib.h>
#include <strings.h>

#define CONFIG_COLUMNS                                                                             \
    "athena_client_config_id::text, client_name, config::text, metadata::text, " ADMIN_UTC(        \
        created_at) ", " ADMIN_UTC(updated_at)
#define WHERE " where lower(client_name) = lower($1)"

static const struct admin_member members[] = {
    { "id", ADMIN_TEXT },       { "client_name", ADMIN_TEXT }, { "config", ADMIN_JSON },
    { "metadata", ADMIN_JSON }, { "created_at", ADMIN_TIME },  { "updated_at", ADMIN_TIME },
};
enum { CONFIG = 2 };

static const char list_sql[] =
    "select " CONFIG_COLUMNS " from athena_client_configs order by lower(client_name)";
static const char one_sql[] = "select " CONFIG_COLUMNS " from athena_client_configs" WHERE;
static const char put_sql[] =
    "insert into athena_client_configs as c (client_name, config, metadata) "
    "values ($1, $2::jsonb, $3::jsonb) on conflict (lower(client_name)) do update set "
    "config = excluded.config, metadata = excluded.metadata, updated_at = now() "
    "returning " CONFIG_COLUMNS;
static const char delete_sql[] =
    "delete from athena_client_configs" WHERE " returning " CONFIG_COLUMNS;
static const char names_sql[] = "select client_name from athena_clients where deleted_at is null";
static const char seed_sql[] =
    "insert into athena_client_configs (client_name, config, metadata) "
    "select x.client_name, x.config, "
    "'{\"managed_by\":\"admin_api\",\"seeded_from\":\"config.yaml\"}' "
    "from jsonb_to_recordset($1::jsonb) as x(client_name text, config jsonb) "
    "on conflict (lower(client_name)) do update set config = excluded.config, "
    "metadata = excluded.metadata, updated_at = now()";

struct document {     /* in the request's arena */
    ath_str param[3]; /* the first is the client as it was sent */
};

static struct document *document_new(ath_req *r)
{
    return ath_new(ath_arena_of(r), sizeof(struct document));
}

static void put_object(ath_req *r, struct buf *b, const ath_rows *rows, uint32_t row)
{
    buf_char(b, '{');
    for (uint32_t i = 0; i < ATH_COUNT(members); i++) {
        buf_json_key(b, members[i].name);
        if (members[i].form == ADMIN_JSON)
            client_json(r, b, ath_cell(rows, row, i));
        else
            admin_value(b, members[i].form, ath_cell(rows, row, i));
    }
    buf_char(b, '}');
}

static void put_record(ath_req *r, struct buf *b, const ath_rows *rows)
{
    buf_json_key(b, "record");
    put_object(r, b, rows, 0);
}

/* ---- reading ---- */

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Loaded Athena client configs");

    (void)e;
    buf_json_key(&b, "configs");
    buf_char(&b, '[');
    for (uint32_t i = 0; i < ath_host_->pg->count(d->rows); i++) {
        if (i)
            buf_char(&b, ',');
        put_object(t, &b, d->rows, i);
    }
    buf_char(&b, ']');
    return admin_reply(t, 200, &b);
}

int configs_list(ath_req *r, ath_err *e)
{
    return admin_read(r, ADMIN_CATALOG, "Failed to list Athena client configs", list_sql, NULL, 0,
                      listed, NULL, e);
}

static ath_str derived(ath_task *t, const char *word, ath_str client)
{
    struct buf what = BUF_ARENA(ath_arena_of(t));

    buf_z(&what, word);
    buf_str(&what, client);
    return ath_host_->inspect(t, buf_view(&what).p);
}

static int loaded(ath_task *t, const ath_done *d, ath_err *e)
{
    struct document *doc = d->arg;
    bool stored = ath_host_->pg->count(d->rows) > 0;
    struct buf b = admin_answer(t, "Loaded Athena client config");

    (void)e;
    buf_json_str(&b, "client_name", doc->param[0]);
    buf_json_str(&b, "source", stored ? ATH_S("database") : ATH_S("config.yaml"));
    buf_json_key(&b, "config");
    if (stored)
        client_json(t, &b, ath_cell(d->rows, 0, CONFIG));
    else
        buf_str(&b, derived(t, "client_config/", doc->param[0]));
    if (stored)
        put_record(t, &b, d->rows);
    return admin_reply(t, 200, &b);
}

int configs_get(ath_req *r, ath_err *e)
{
    struct document *doc = document_new(r);

    if (admin_client(r, &doc->param[0], e) < 0)
        return ATH_E_INPUT;
    return admin_read(r, ADMIN_CATALOG, "Failed to load Athena client config", one_sql, doc->param,
                      1, loaded, doc, e);
}

/* ---- writing ---- */

static int write(ath_task *t, const char *failed, const char *sql, const ath_str *param,
                 uint32_t params, ath_then *then, void *arg, ath_err *e)
{
    struct admin_ask *a = ath_new(ath_arena_of(t), sizeof(*a));

    a->store = ADMIN_CATALOG;
    a->failed = failed;
    a->count = 1;
    a->stmt[0] = (ath_stmt){ .sql = sql, .param = param, .param_count = params };
    return admin_ask(t, a, then, arg, e);
}

static int saved(ath_task *t, const ath_done *d, ath_err *e)
{
    struct document *doc = d->arg;
    struct buf b = admin_answer(t, "Saved Athena client config");

    (void)e;
    admin_changed(t, "save_client_config", doc->param[0]);
    buf_json_str(&b, "client_name", doc->param[0]);
    buf_json_str(&b, "source", ATH_S("database"));
    put_record(t, &b, d->rows);
    return admin_reply(t, 200, &b);
}

int configs_put(ath_req *r, ath_err *e)
{
    const struct json *body, *config, *metadata;
    struct document *doc = document_new(r);

    if (admin_client(r, &doc->param[0], e) < 0 || admin_body(r, &body, e) < 0)
        return ATH_E_INPUT;
    config = json_get(body, "config");
    metadata = json_given(body, "metadata");
    if (!config)
        return ath_raise(e, "malformed_json_payload", "missing member \"config\"");
    if (config->type != JSON_OBJECT)
        return admin_fail(e, "VALIDATION_FAILED", "Invalid config payload",
                          "config must be a JSON object that mirrors config.yaml shape.");
    doc->param[1] = config->raw;
    doc->param[2] = metadata ? metadata->raw : ATH_S("{\"managed_by\":\"admin_api\"}");
    return write(r, "Failed to save Athena client config", put_sql, doc->param, 3, saved, doc, e);
}

static int deleted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct document *doc = d->arg;
    struct buf b;

    if (!ath_host_->pg->count(d->rows))
        return admin_fail(e, "not_found", "Athena client config not found",
                          "No client config exists for '%.*s'.", STR_ARG(doc->param[0]));
    admin_changed(t, "delete_client_config", doc->param[0]);
    b = admin_answer(t, "Deleted Athena client config");
    buf_json_str(&b, "client_name", doc->param[0]);
    put_record(t, &b, d->rows);
    return admin_reply(t, 200, &b);
}

int configs_delete(ath_req *r, ath_err *e)
{
    struct document *doc = document_new(r);

    if (admin_client(r, &doc->param[0], e) < 0)
        return ATH_E_INPUT;
    return write(r, "Failed to delete Athena client config", delete_sql, doc->param, 1, deleted,
                 doc, e);
}

/* ---- seeding: of each client what is its own (20.4: nobody else's secrets) ---- */

struct seed {
    ath_str *name;
    uint32_t n, room;
    ath_str param;
};

static void add_name(struct seed *s, ath_str name, ath_str logging)
{
    name = str_trim(name);
    if (name.n && !str_ieq(name, logging))
        s->name[s->n++] = name;
}

static int by_name(const void *a, const void *b)
{
    const ath_str *x = a, *y = b;
    int order = strncasecmp(x->p, y->p, x->n < y->n ? x->n : y->n);

    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Sorted, each once. */
static void tidy(struct seed *s)
{
    uint32_t n = 0;

    qsort(s->name, s->n, sizeof(*s->name), by_name);
    for (uint32_t i = 0; i < s->n; i++)
        if (n == 0 || !str_ieq(s->name[n - 1], s->name[i]))
            s->name[n++] = s->name[i];
    s->n = n;
}

static int seeded(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct seed *s = d->arg;
    struct buf b = admin_answer(t, "Seeded Athena client configs from config.yaml");

    (void)e;
    admin_changed(t, "seed_client_configs", ATH_S(""));
    buf_json_int(&b, "seeded_count", s->n);
    buf_json_key(&b, "clients");
    buf_char(&b, '[');
    for (uint32_t i = 0; i < s->n; i++) {
        if (i)
            buf_char(&b, ',');
        buf_json(&b, s->name[i]);
    }
    buf_char(&b, ']');
    return admin_reply(t, 200, &b);
}

static void take_names(ath_task *t, struct seed *s, const ath_rows *rows)
{
    uint32_t n = ath_host_->pg->count(rows);
    ath_str logging = ath_host_->inspect(t, "logging_client");
    struct json_error why;
    const struct json *configured = json_read(ath_host_->inspect(t, "client_config.names"),
                                              JSON_ARENA(ath_arena_of(t)), 100000, &why);

    s->name =
        ath_new(ath_arena_of(t), (n + (configured ? configured->count : 0) + 1) * sizeof(*s->name));
    for (uint32_t i = 0; i < n; i++)
        add_name(s, ath_cell(rows, i, 0), logging);
    if (configured)
        json_each(v, configured) add_name(s, json_text(v), logging);
    tidy(s);
}

static int named(ath_task *t, const ath_done *d, ath_err *e)
{
    struct seed *s = d->arg;
    struct buf b = BUF_ARENA(ath_arena_of(t));

    take_names(t, s, d->rows);
    buf_char(&b, '[');
    for (uint32_t i = 0; i < s->n; i++) {
        buf_z(&b, i ? ",{" : "{");
        buf_json_str(&b, "client_name", s->name[i]);
        buf_json_key(&b, "config");
        buf_str(&b, derived(t, "client_config.own/", s->name[i]));
        buf_char(&b, '}');
    }
    buf_char(&b, ']');
    s->param = buf_view(&b);
    return write(t, "Failed to save Athena client configs", seed_sql, &s->param, 1, seeded, s, e);
}

int configs_seed(ath_req *r, ath_err *e)
{
    struct seed *s = ath_new(ath_arena_of(r), sizeof(*s));

    return admin_read(r, ADMIN_CATALOG, "Failed to list Athena clients", names_sql, NULL, 0, named,
                      s, e);
}
