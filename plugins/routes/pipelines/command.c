/* athena pipeline: one run, by a running server. What is refused ends with 1. */
#include <errno.h>
#include <stdlib.h>

#include "lib/file.h"
#include "pipelines.h"

enum { FILE_MOST = 16 << 20, ANSWER_MOST = 256 << 20 };

struct options {
    ath_str client, payload_json, payload_file, pipeline, key;
    int32_t dry_run;
};

struct running {
    ath_pair header[3];
    struct buf body;
};

static int text_of(ath_task *t, const struct options *o, ath_str *ret, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (o->payload_json.n && o->payload_file.n)
        return ath_fail(e, ATH_E_INPUT,
                        "the payload is one of --payload-json and --payload-file, not both");
    *ret = o->payload_json.n ? o->payload_json : ATH_S("{}");
    if (!o->payload_file.n)
        return 0;
    errno = -file_read(o->payload_file.p, FILE_MOST, &b);
    *ret = buf_view(&b);
    return errno ? ath_fail(e, ATH_E_INPUT, "could not read file \"%s\": %m", o->payload_file.p)
                 : 0;
}

/* The payload, in which --pipeline and --dry-run count for more than its own members. */
static int body_of(ath_task *t, const struct options *o, struct buf *b, ath_err *e)
{
    struct json_error why;
    const struct json *payload;
    ath_str text;
    int rc = text_of(t, o, &text, e);

    if (rc < 0)
        return rc;
    payload = json_read(text, JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why);
    if (!payload || payload->type != JSON_OBJECT)
        return ath_fail(e, ATH_E_INPUT, "the payload is no JSON object");
    if (!o->pipeline.n && !payload->count)
        return ath_fail(e, ATH_E_INPUT,
                        "no pipeline: pass --pipeline, --payload-json or --payload-file");
    *b = BUF_ARENA(ath_arena_of(t));
    buf_char(b, '{');
    if (o->pipeline.n)
        buf_json_str(b, "pipeline", o->pipeline);
    if (o->dry_run)
        buf_json_bool(b, "dry_run", true);
    json_each(v, payload)
    {
        if ((o->pipeline.n && str_is(v->key, "pipeline")) ||
            (o->dry_run && str_is(v->key, "dry_run")))
            continue;
        if (b->p[b->n - 1] != '{')
            buf_char(b, ',');
        buf_json(b, v->key);
        buf_char(b, ':');
        buf_str(b, v->raw);
    }
    buf_char(b, '}');
    return 0;
}

static int ended(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done result = { .size = sizeof(result), .bytes = d->bytes };

    if (d->rc < 0)
        return d->rc;
    if (d->status < 200 || d->status > 299)
        return ath_fail(e, ATH_E_UPSTREAM, "pipeline failed (%d): %.*s", d->status,
                        STR_ARG(d->bytes));
    ath_host_->task->done(t, &result);
    return 0;
}

static ath_str given(ath_str option, const char *variable)
{
    return option.n ? option : str_trim(str_of(getenv(variable)));
}

static int pipeline_run(ath_task *t, const void *options, ath_err *e)
{
    const struct options *o = options;
    struct running *x = ath_new(ath_arena_of(t), sizeof(*x));
    ath_str client = given(o->client, "ATHENA_CLIENT"), key = given(o->key, "ATHENA_API_KEY");
    ath_fetch f = { .size = sizeof(f),
                    .method = "POST",
                    .url = ATH_S("/pipelines"),
                    .max_body = ANSWER_MOST,
                    .header = x->header,
                    .header_count = 2 };
    int rc;

    if (!client.n)
        return ath_fail(e, ATH_E_INPUT, "no client: pass --client or set ATHENA_CLIENT");
    if ((rc = body_of(t, o, &x->body, e)) < 0)
        return rc;
    x->header[0] = (ath_pair){ ATH_S("content-type"), ATH_S("application/json") };
    x->header[1] = (ath_pair){ ATH_S("x-athena-client"), client };
    x->header[2] = (ath_pair){ ATH_S("x-athena-key"), key };
    f.header_count += key.n > 0;
    f.body = buf_view(&x->body);
    return ath_host_->req->call(t, &f, ended, x, e);
}

static const ath_field fields[] = {
    ATH_STR(struct options, client, "client", "", NULL,
            "Whose rows, where the pipeline names nobody; else ATHENA_CLIENT.", .alias = "-c"),
    ATH_STR(struct options, payload_json, "payload_json", "", NULL, "The body of POST /pipelines."),
    ATH_STR(struct options, payload_file, "payload_file", "", NULL,
            "The file that holds it, instead."),
    ATH_STR(struct options, pipeline, "pipeline", "", NULL, "The name of a template."),
    ATH_STR(struct options, key, "key", "", NULL,
            "The API key; else ATHENA_API_KEY, else the administrator's.", .flags = ATH_CF_SECRET),
    ATH_BOOL(struct options, dry_run, "dry_run", "false", "Show what would be written."),
};

const ath_command pipeline_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "pipeline"),
    .summary = "Run a pipeline: rows of one table into another",
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct options),
    .run = pipeline_run,
};
