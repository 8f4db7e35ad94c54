/* /admin/pipeline-templates: the templates of the control plane, beside those of the file, which
 * are shown but not changed here. What is stored could be run: it is checked before. */
#include "pipelines.h"

#define TEMPLATE_COLUMNS                                                                           \
    "template_name, definition::text, pipeline_template_id::text, metadata::text, " ADMIN_UTC(     \
        created_at) ", " ADMIN_UTC(updated_at)
#define WHERE " where lower(template_name) = lower($1)"

static const struct admin_member more[] = {
    { "pipeline_template_id", ADMIN_TEXT },
    { "metadata", ADMIN_JSON },
    { "created_at", ADMIN_TIME },
    { "updated_at", ADMIN_TIME },
};
enum { NAME, DEFINITION, MORE }; /* columns */

static const char list_sql[] =
    "select " TEMPLATE_COLUMNS " from athena_pipeline_templates order by lower(template_name)";
static const char one_sql[] = "select " TEMPLATE_COLUMNS " from athena_pipeline_templates" WHERE;
static const char put_sql[] =
    "insert into athena_pipeline_templates as t (template_name, definition, metadata) "
    "values ($1, $2::jsonb, coalesce($3, '{}')::jsonb) on conflict (lower(template_name)) "
    "do update set definition = excluded.definition, "
    "metadata = coalesce($3::jsonb, t.metadata), updated_at = now() returning " TEMPLATE_COLUMNS;
static const char delete_sql[] =
    "delete from athena_pipeline_templates" WHERE " returning " TEMPLATE_COLUMNS;

struct entry {        /* in the request's arena */
    ath_str param[3]; /* the name, its definition, metadata */
    const char *done;
    const char *word; /* for the audit log; NULL: nothing has changed */
};

/* ---- answers ---- */

static void put_nothing(struct buf *b)
{
    for (size_t i = 0; i < ATH_COUNT(more); i++) {
        buf_json_key(b, more[i].name);
        buf_lit(b, "null");
    }
}

static void put_stored(ath_task *t, struct buf *b, const ath_rows *rows, uint32_t row)
{
    struct json_error why;
    struct template one = { ath_cell(rows, row, NAME),
                            json_read(ath_cell(rows, row, DEFINITION), JSON_ARENA(ath_arena_of(t)),
                                      VALUES_MOST, &why),
                            true };

    template_put(b, &one);
    for (uint32_t i = 0; i < ATH_COUNT(more); i++) {
        buf_json_key(b, more[i].name);
        admin_value(b, more[i].form, ath_cell(rows, row, MORE + i));
    }
    buf_char(b, '}');
}

static int no_such(ath_str name, ath_err *e)
{
    return admin_fail(e, "not_found", "Pipeline template not found",
                      "No pipeline template '%.*s' exists.", STR_ARG(name));
}

static int one(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct entry *x = d->arg;
    struct buf b;

    if (!ath_host_->pg->count(d->rows))
        return no_such(x->param[0], e);
    if (x->word)
        admin_changed(t, x->word, x->param[0]);
    b = admin_answer(t, x->done);
    buf_json_key(&b, "template");
    put_stored(t, &b, d->rows, 0);
    return admin_reply(t, 200, &b);
}

static struct buf list_begin(ath_req *r)
{
    struct buf b = admin_answer(r, "Loaded pipeline templates");

    buf_lit(&b, "\"templates\":[");
    template_put_file(r, &b, ATH_S(""), put_nothing);
    return b;
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = list_begin(t);

    (void)e;
    for (uint32_t i = 0; i < ath_host_->pg->count(d->rows); i++) {
        if (b.p[b.n - 1] != '[')
            buf_char(&b, ',');
        put_stored(t, &b, d->rows, i);
    }
    buf_char(&b, ']');
    return admin_reply(t, 200, &b);
}

/* ---- requests ---- */

static int name_of(ath_req *r, ath_str *ret, ath_err *e)
{
    *ret = str_trim(ath_param(r, "template_name"));
    if (ret->n && ret->n <= NAME_MOST && !str_has_control(*ret))
        return 0;
    return admin_fail(e, "VALIDATION_FAILED", "Invalid pipeline template name",
                      "A name has 1 to %d bytes, without control characters.", NAME_MOST);
}

/* The name of a template that may be written. */
static int writable(ath_req *r, ath_str *ret, ath_err *e)
{
    struct template known;
    int rc = name_of(r, ret, e);

    if (rc == 0 && template_of_file(r, *ret, &known))
        return ath_raise(e, "pipeline_template_immutable",
                         "pipeline \"%.*s\" stands in the file of pipelines", STR_ARG(*ret));
    return rc;
}

static int body_of(ath_req *r, struct entry *x, ath_err *e)
{
    const struct json *body, *definition, *metadata;
    struct definition d = { .limit = -1 };
    int rc = admin_body(r, &body, e);

    if (rc < 0)
        return rc;
    definition = json_given(body, "definition");
    metadata = json_given(body, "metadata");
    if (!definition)
        return ath_raise(e, "malformed_json_payload", "missing member \"definition\"");
    if (metadata && metadata->type != JSON_OBJECT)
        return ath_raise(e, "malformed_json_payload", "member \"metadata\" is no object");
    if ((rc = definition_read(&d, definition, false, e)) < 0 || (rc = definition_check(&d, e)) < 0)
        return rc;
    x->param[1] = definition->raw;
    x->param[2] = metadata ? metadata->raw : (ath_str){ NULL, 0 };
    return 0;
}

static int write(ath_req *r, const char *failed, const char *sql, struct entry *x, uint32_t params,
                 ath_err *e)
{
    struct admin_ask *a = ath_new(ath_arena_of(r), sizeof(*a));

    a->store = ADMIN_LOGGING;
    a->failed = failed;
    a->count = 1;
    a->stmt[0] = (ath_stmt){ .sql = sql, .param = x->param, .param_count = params };
    return admin_ask(r, a, one, x, e);
}

static struct entry *entry_new(ath_req *r, const char *done, const char *word)
{
    struct entry *x = ath_new(ath_arena_of(r), sizeof(*x));

    x->done = done;
    x->word = word;
    return x;
}

int store_list(ath_req *r, ath_err *e)
{
    struct buf b;

    if (ath_host_->inspect(r, "logging_client").n)
        return admin_read(r, ADMIN_LOGGING, "Failed to list pipeline templates", list_sql, NULL, 0,
                          listed, NULL, e);
    b = list_begin(r);
    buf_char(&b, ']');
    return admin_reply(r, 200, &b);
}

static int reply_file(ath_req *r, const struct template *known, const char *done)
{
    struct buf b = admin_answer(r, done);

    buf_json_key(&b, "template");
    template_put(&b, known);
    put_nothing(&b);
    buf_char(&b, '}');
    return admin_reply(r, 200, &b);
}

int store_get(ath_req *r, ath_err *e)
{
    struct entry *x = entry_new(r, "Loaded pipeline template", NULL);
    struct template known;
    int rc = name_of(r, &x->param[0], e);

    if (rc < 0)
        return rc;
    if (template_of_file(r, x->param[0], &known))
        return reply_file(r, &known, x->done);
    if (!ath_host_->inspect(r, "logging_client").n)
        return no_such(x->param[0], e);
    return admin_read(r, ADMIN_LOGGING, "Failed to load pipeline template", one_sql, x->param, 1,
                      one, x, e);
}

int store_put(ath_req *r, ath_err *e)
{
    struct entry *x = entry_new(r, "Saved pipeline template", "save_pipeline_template");
    int rc = writable(r, &x->param[0], e);

    if (rc < 0 || (rc = body_of(r, x, e)) < 0)
        return rc;
    return write(r, "Failed to save pipeline template", put_sql, x, 3, e);
}

int store_delete(ath_req *r, ath_err *e)
{
    struct entry *x = entry_new(r, "Deleted pipeline template", "delete_pipeline_template");
    int rc = writable(r, &x->param[0], e);

    return rc < 0 ? rc : write(r, "Failed to delete pipeline template", delete_sql, x, 1, e);
}
