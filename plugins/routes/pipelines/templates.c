/* Pipelines with a name: those of the file, which stand for the whole process, and those of the
 * control plane, which operators put there. A name is known once, whatever its case. */
#include "pipelines.h"

static const char one_sql[] = "select template_name, definition::text from "
                              "athena_pipeline_templates where lower(template_name) = lower($1)";
static const char all_sql[] =
    "select template_name, definition::text from athena_pipeline_templates "
    "order by lower(template_name)";

/* ---- of the file ---- */

/* The server has read and checked it (pipelines of inspect.h): {"name":...,"definition":{...}}. */
static const struct json *file(ath_req *r)
{
    struct json_error why;

    return json_read(ath_host_->inspect(r, "pipelines"), JSON_ARENA(ath_arena_of(r)), VALUES_MOST,
                     &why);
}

static struct template of_file(const struct json *v)
{
    return (struct template){ json_text(json_get(v, "name")), json_get(v, "definition"), false };
}

bool template_of_file(ath_req *r, ath_str name, struct template *ret)
{
    const struct json *all = file(r);

    if (!all)
        return false;
    json_each(v, all)
    {
        *ret = of_file(v);
        if (str_ieq(ret->name, name))
            return true;
    }
    return false;
}

/* ---- one, for a run ---- */

static int nobody(ath_str name, ath_err *e)
{
    return ath_raise(e, "invalid_pipeline_definition", "there is no pipeline \"%.*s\"",
                     STR_ARG(name));
}

static int given(ath_task *t, struct template_search *s, ath_err *e)
{
    ath_done d = { .size = sizeof(d), .arg = s->arg };

    return s->then(t, &d, e);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct template_search *s = d->arg;
    struct json_error why;

    if (!ath_host_->pg->count(d->rows))
        return nobody(s->param, e);
    s->found = (struct template){
        ath_cell(d->rows, 0, 0),
        json_read(ath_cell(d->rows, 0, 1), JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why), true
    };
    if (!s->found.definition)
        return ath_raise(e, "invalid_pipeline_definition", "template \"%.*s\": %s",
                         STR_ARG(s->param), why.why);
    return given(t, s, e);
}

int template_find(ath_req *r, struct template_search *s, ath_str name, ath_err *e)
{
    s->param = name;
    if (template_of_file(r, name, &s->found))
        return given(r, s, e);
    if (!ath_host_->inspect(r, "logging_client").n)
        return nobody(name, e);
    return admin_read(r, ADMIN_LOGGING, "Failed to load pipeline template", one_sql, &s->param, 1,
                      looked, s, e);
}

/* ---- lists ---- */

static const struct json *part(const struct json *definition, const char *section, const char *key)
{
    return json_given(json_given(definition, section), key);
}

static void put_text_of(struct buf *b, const char *key, const struct json *v)
{
    buf_json_key(b, key);
    buf_str(b, v ? v->raw : ATH_S("null"));
}

void template_put(struct buf *b, const struct template *t)
{
    const struct json *d = t->definition, *view = part(d, "source", "view_name");

    buf_char(b, '{');
    buf_json_str(b, "name", t->name);
    put_text_of(b, "source_table", view ? view : part(d, "source", "table_name"));
    put_text_of(b, "sink_table", part(d, "sink", "table_name"));
    buf_json_bool(b, "has_transform", json_given(d, "transform") != NULL);
    buf_json_str(b, "source", t->mutable ? ATH_S("database") : ATH_S("yaml"));
    buf_json_bool(b, "mutable", t->mutable);
    put_text_of(b, "source_client", part(d, "source", "client"));
    put_text_of(b, "sink_client", part(d, "sink", "client"));
    put_text_of(b, "definition", d);
}

static bool is_open(const struct json *client, ath_str only)
{
    return !client || str_ieq(str_trim(json_text(client)), only);
}

bool template_is_for(const struct json *d, ath_str client)
{
    return client.n == 0 || (is_open(part(d, "source", "client"), client) &&
                             is_open(part(d, "sink", "client"), client));
}

static void put_item(struct buf *b, const struct template *t, void (*more)(struct buf *b))
{
    if (b->p[b->n - 1] != '[')
        buf_char(b, ',');
    template_put(b, t);
    if (more)
        more(b);
    buf_char(b, '}');
}

void template_put_file(ath_req *r, struct buf *b, ath_str only, void (*more)(struct buf *b))
{
    const struct json *all = file(r);

    if (!all)
        return;
    json_each(v, all)
    {
        struct template t = of_file(v);
        if (template_is_for(t.definition, only))
            put_item(b, &t, more);
    }
}

/* A key that is bound to a client is shown what is of that client, or of any. */
static ath_str bound_to(ath_req *r)
{
    ath_who who = { .size = sizeof(who) };

    ath_host_->req->who(r, &who);
    return who.flags & ATH_WHO_KEY ? who.client : ATH_S("");
}

static struct buf list_begin(ath_req *r)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_lit(&b, "{\"templates\":[");
    template_put_file(r, &b, bound_to(r), NULL);
    return b;
}

static int list_end(ath_req *r, struct buf *b)
{
    buf_lit(b, "]}");
    return ath_reply(r, 200, "application/json", buf_view(b));
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = list_begin(t);
    ath_str only = bound_to(t);
    struct json_error why;

    (void)e;
    for (uint32_t i = 0; i < ath_host_->pg->count(d->rows); i++) {
        struct template one = {
            ath_cell(d->rows, i, 0),
            json_read(ath_cell(d->rows, i, 1), JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why), true
        };
        if (one.definition && template_is_for(one.definition, only))
            put_item(&b, &one, NULL);
    }
    return list_end(t, &b);
}

int templates_list(ath_req *r, ath_err *e)
{
    struct buf b;

    if (ath_host_->inspect(r, "logging_client").n)
        return admin_read(r, ADMIN_LOGGING, "Failed to list pipeline templates", all_sql, NULL, 0,
                          listed, NULL, e);
    b = list_begin(r);
    return list_end(r, &b);
}
