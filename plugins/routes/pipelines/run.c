/* POST /pipelines and /pipelines/simulate: a run, step by step.
 *
 *     read       the body, over the template that it names
 *     may write  POST /pipelines/sink for the sink's client: who may not write moves nothing
 *     source     POST /gateway/fetch for the source's client: all rows, or a refusal
 *     transform  what they are in the sink
 *     sink       PUT /gateway/insert: one statement, so all rows are there or none
 *
 * A dry run ends before the sink, and takes no right to write. What a step's route refuses is
 * answered as it says it, with the step and the run added; the steps are logged either way. With an
 * Idempotency-Key the insert happens once: the same run again reads again, and answers the same if
 * the rows are the same, else it is refused.
 */
#include "pipelines.h"

#include "lib/uuid.h"

enum { MEMBERS_ROOM = 256 };

struct run {
    struct definition d;
    struct template_search search;
    const struct json *body;
    struct steps steps;
    char id[UUID_TEXT];
    ath_pair header[6];
    uint32_t header_count;
    struct buf sent;  /* what a route is called with */
    int64_t most;     /* rows that are asked for */
    uint32_t fetched; /* rows of the source */
    struct rows rows; /* for the sink */
    uint64_t inserted;
};

/* ---- the account ---- */

static void note(ath_req *r, const char *key, ath_str value, uint32_t form)
{
    ath_host_->req->note(r, &(ath_fact){ str_of(key), value, form, 0 });
}

static void note_number(ath_req *r, const char *key, uint64_t v)
{
    char room[STR_U64_ROOM];

    note(r, key, str_from_u64(v, room), ATH_V_NUMBER);
}

static void note_run(ath_req *r, const struct run *x)
{
    note_number(r, "rows_fetched", x->fetched);
    note_number(r, "rows_inserted", x->inserted);
    note(r, "source_client", x->d.source_client, ATH_V_TEXT);
    note(r, "sink_client", x->d.sink_client, ATH_V_TEXT);
    note(r, "dry_run", x->d.dry_run ? ATH_S("true") : ATH_S("false"), ATH_V_BOOL);
    note(r, "pipeline_run_id", str_of(x->id), ATH_V_TEXT);
}

/* ---- the end ---- */

static int reply(ath_req *r, struct run *x)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    note_run(r, x);
    steps_write(r, &x->steps);
    buf_grow(&b, x->rows.text.n + MEMBERS_ROOM);
    buf_lit(&b, "{\"data\":");
    buf_str(&b, x->rows.text);
    buf_json_int(&b, "rows_fetched", x->fetched);
    buf_json_int(&b, "rows_inserted", (int64_t)x->inserted);
    buf_json_key(&b, "would_insert");
    if (x->d.dry_run)
        buf_u64(&b, x->rows.count);
    else
        buf_lit(&b, "null");
    buf_json_bool(&b, "dry_run", x->d.dry_run);
    buf_json_str(&b, "source_client", x->d.source_client);
    buf_json_str(&b, "sink_client", x->d.sink_client);
    buf_lit(&b, ",\"errors\":[]");
    buf_json_str(&b, "pipeline_run_id", str_of(x->id));
    buf_char(&b, '}');
    return ath_reply(r, 200, "application/json", buf_view(&b));
}

/* Which step it was, for those who read the refusal. */
static void blame(const struct run *x, enum step step, ath_err *e)
{
    char words[UUID_TEXT + 2];

    (void)snprintf(words, sizeof(words), "\"%s\"", x->id);
    ath_host_->err->detail(e, "pipeline_run_id", str_of(words));
    (void)snprintf(words, sizeof(words), "\"%s\"", step_word(step));
    ath_host_->err->detail(e, "pipeline_step", str_of(words));
}

/* A refusal of our own; its words are in `e`. */
static int fail(ath_req *r, struct run *x, enum step step, int rc, uint32_t status, ath_err *e)
{
    step_end(r, &x->steps, step, status, ath_host_->err->get(e, "message"));
    blame(x, step, e);
    note_run(r, x);
    steps_write(r, &x->steps);
    return rc;
}

/* The members of an answer that say what went wrong, for the account and the log of steps. */
static ath_str words_of(const struct json *body)
{
    const struct json *words = json_given(body, "error");

    return json_text(words ? words : json_given(body, "message"));
}

/* The members of an object and what is added to them, without the braces. */
static void put_members(struct buf *b, const struct json *o, const char *but)
{
    for (const struct json *v = o && o->type == JSON_OBJECT ? o->first : NULL; v; v = v->next) {
        if (but && str_is(v->key, but))
            continue;
        if (b->p[b->n - 1] != '{')
            buf_char(b, ',');
        buf_json(b, v->key);
        buf_char(b, ':');
        buf_str(b, v->raw);
    }
}

/* The answer of a route with its details, and the step and the run among those. */
static ath_str blamed(ath_req *r, const struct run *x, enum step step, const struct json *body,
                      ath_str otherwise)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_char(&b, '{');
    put_members(&b, body, "details");
    if (!body || body->type != JSON_OBJECT) {
        buf_json_str(&b, "status", ATH_S("error"));
        buf_json_str(&b, "error", otherwise);
    }
    buf_json_key(&b, "details");
    buf_char(&b, '{');
    put_members(&b, json_given(body, "details"), NULL);
    buf_json_str(&b, "pipeline_step", str_of(step_word(step)));
    buf_json_str(&b, "pipeline_run_id", str_of(x->id));
    buf_lit(&b, "}}");
    return buf_view(&b);
}

/* A route refused: its answer is ours. */
static int refused(ath_req *r, struct run *x, enum step step, const ath_done *d)
{
    struct json_error why;
    const struct json *body = json_read(d->bytes, JSON_ARENA(ath_arena_of(r)), VALUES_MOST, &why);

    for (uint32_t i = 0; i < d->header_count; i++)
        if (str_is(d->header[i].name, "retry-after"))
            ath_host_->req->set(r, "retry-after", d->header[i].value);
    step_end(r, &x->steps, step, (uint32_t)d->status, words_of(body));
    note(r, "error_code", json_text(json_given(body, "code")), ATH_V_TEXT);
    note(r, "error", words_of(body), ATH_V_TEXT);
    note_number(r, "status", (uint64_t)d->status);
    note_run(r, x);
    steps_write(r, &x->steps);
    return ath_reply(r, d->status, "application/json", blamed(r, x, step, body, d->bytes));
}

static bool is_good(const ath_done *d)
{
    return d->rc == 0 && d->status >= 200 && d->status < 300;
}

/* ---- calls ---- */

static void add_header(struct run *x, const char *name, ath_str value)
{
    if (value.n)
        x->header[x->header_count++] = (ath_pair){ str_of(name), value };
}

/* The caller's key and address go along by themselves. */
static int call(ath_req *r, struct run *x, const char *method, const char *path, ath_str client,
                ath_then *then, ath_err *e)
{
    const struct pipelines_config *cfg = ath_config_of(r);
    ath_fetch f = { .size = sizeof(f),
                    .method = method,
                    .url = str_of(path),
                    .body = buf_view(&x->sent),
                    .max_body = cfg->max_bytes,
                    .header = x->header };

    add_header(x, "content-type", ATH_S("application/json"));
    add_header(x, "x-athena-client", client);
    add_header(x, "x-athena-sdk", ATH_S("pipelines")); /* answers in the form of today */
    f.header_count = x->header_count;
    return ath_host_->req->call(r, &f, then, x, e);
}

static void sent_begin(ath_req *r, struct run *x, ath_str table)
{
    x->header_count = 0;
    x->sent = BUF_ARENA(ath_arena_of(r));
    buf_char(&x->sent, '{');
    buf_json_str(&x->sent, "table_name", table);
}

/* ---- sink ---- */

static int inserted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;
    struct json_error why;
    const struct json *body;
    int64_t n = 0;

    if (d->rc < 0)
        return fail(t, x, STEP_SINK, d->rc, 0, e);
    if (!is_good(d))
        return refused(t, x, STEP_SINK, d);
    body = json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why);
    (void)json_i64(json_get(body, "affected_rows"), &n);
    x->inserted = (uint64_t)n;
    x->steps.row[STEP_SINK].rows = (uint32_t)n;
    step_end(t, &x->steps, STEP_SINK, (uint32_t)d->status, ATH_S(""));
    return reply(t, x);
}

static int insert(ath_req *r, struct run *x, ath_err *e)
{
    step_begin(r, &x->steps, STEP_SINK);
    if (!x->rows.count) { /* nothing to write, by somebody who may */
        step_end(r, &x->steps, STEP_SINK, 200, ATH_S(""));
        return reply(r, x);
    }
    sent_begin(r, x, x->d.sink_table);
    buf_lit(&x->sent, ",\"head\":true,\"insert_body\":");
    buf_str(&x->sent, x->rows.text);
    buf_char(&x->sent, '}');
    add_header(x, "idempotency-key", ath_header(r, "idempotency-key"));
    return call(r, x, "PUT", "/gateway/insert", x->d.sink_client, inserted, e);
}

/* ---- source and transform ---- */

static int too_many(const struct run *x, ath_err *e)
{
    return ath_raise(e, "pipeline_too_large", "the source \"%.*s\" has more than %lld rows",
                     STR_ARG(x->d.source_table), (long long)x->most - 1);
}

/* A limit of the caller's is met by fewer rows; without one there must be none left behind. */
static int count_rows(struct run *x, const struct json *answer, ath_err *e)
{
    const struct json *rows = json_get(answer, "data");

    x->fetched = rows && rows->type == JSON_ARRAY ? rows->count : 0;
    x->steps.row[STEP_SOURCE].rows = x->fetched;
    return x->d.limit < 0 && x->fetched >= x->most ? too_many(x, e) : 0;
}

static int go_on(ath_req *r, struct run *x, const struct json *answer, ath_err *e)
{
    int rc;

    step_end(r, &x->steps, STEP_SOURCE, 200, ATH_S(""));
    if (definition_changes(&x->d))
        step_begin(r, &x->steps, STEP_TRANSFORM);
    if ((rc = transform(r, &x->d, answer, &x->rows, e)) < 0)
        return fail(r, x, STEP_TRANSFORM, rc, 400, e);
    x->steps.row[STEP_TRANSFORM].rows = x->rows.count;
    if (x->steps.row[STEP_TRANSFORM].done)
        step_end(r, &x->steps, STEP_TRANSFORM, 200, ATH_S(""));
    return x->d.dry_run ? reply(r, x) : insert(r, x, e);
}

static int too_long(ath_req *r, struct run *x, const char *why, ath_err *e)
{
    int rc = ath_raise(e, "pipeline_too_large", "the rows of \"%.*s\": %s",
                       STR_ARG(x->d.source_table), why);

    return fail(r, x, STEP_SOURCE, rc, 413, e);
}

static int fetched(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;
    struct json_error why;
    const struct json *answer;
    int rc;

    if (d->rc == ATH_E_TOO_LARGE)
        return too_long(t, x, "more bytes than max_bytes allows", e);
    if (d->rc < 0)
        return fail(t, x, STEP_SOURCE, d->rc, 0, e);
    if (!is_good(d))
        return refused(t, x, STEP_SOURCE, d);
    if (!(answer = json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why)))
        return too_long(t, x, why.why, e);
    if ((rc = count_rows(x, answer, e)) < 0)
        return fail(t, x, STEP_SOURCE, rc, 413, e);
    return go_on(t, x, answer, e);
}

static void put_raw(struct buf *b, const char *key, const struct json *v)
{
    if (!v)
        return;
    buf_json_key(b, key);
    buf_str(b, v->raw);
}

static void put_text(struct buf *b, const char *key, ath_str text)
{
    if (text.n)
        buf_json_str(b, key, text);
}

static int fetch(ath_req *r, struct run *x, ath_err *e)
{
    const struct definition *d = &x->d;

    step_begin(r, &x->steps, STEP_SOURCE);
    sent_begin(r, x, d->source_table);
    put_raw(&x->sent, "columns", d->columns);
    put_raw(&x->sent, "conditions", d->conditions);
    buf_json_int(&x->sent, "limit", x->most);
    put_text(&x->sent, "group_by", d->group_by);
    put_text(&x->sent, "time_granularity", d->granularity);
    put_text(&x->sent, "aggregation_column", d->sum_column);
    put_text(&x->sent, "aggregation_strategy", d->strategy);
    if (d->dedup)
        buf_json_bool(&x->sent, "aggregation_dedup", true);
    buf_char(&x->sent, '}');
    add_header(x, "cache-control", ATH_S("no-cache")); /* what is there now, not what was kept */
    return call(r, x, "POST", "/gateway/fetch", d->source_client, fetched, e);
}

/* ---- may it be written? ---- */

static int allowed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;

    if (d->rc == 0 && is_good(d))
        return fetch(t, x, e);
    step_begin(t, &x->steps, STEP_SINK);
    return d->rc < 0 ? fail(t, x, STEP_SINK, d->rc, 0, e) : refused(t, x, STEP_SINK, d);
}

static int ask(ath_req *r, struct run *x, ath_err *e)
{
    sent_begin(r, x, x->d.sink_table);
    buf_char(&x->sent, '}');
    return call(r, x, "POST", "/pipelines/sink", x->d.sink_client, allowed, e);
}

/* POST /pipelines/sink: may the caller write into the table? Asked before anything is read, and the
 * only one to say so when there is nothing to write. */
int pipelines_sink(ath_req *r, ath_err *e)
{
    const struct json *body;
    ath_right right = { .action = ATH_S("write") };
    ath_str name;
    size_t dot;
    int rc;

    if ((rc = admin_body(r, &body, e)) < 0 || (rc = admin_text(body, "table_name", &name, e)) < 0)
        return rc;
    name = str_trim(name);
    if (!name.n)
        return ath_raise(e, "invalid_pipeline_definition", "table_name is required");
    dot = str_find(name, '.');
    right.table = dot < name.n ? str_after(name, dot + 1) : name;
    right.schema = dot < name.n ? str_from(name.p, dot) : ATH_S("");
    if ((rc = ath_host_->req->allow(r, &right, 1, e)) < 0)
        return rc;
    return ath_reply(r, 200, "application/json", ATH_S("{\"allowed\":true}"));
}

/* ---- the beginning ---- */

static void steps_begin(ath_req *r, struct run *x)
{
    struct step_row *row = x->steps.row;

    x->steps.run = str_of(x->id);
    x->steps.name = x->d.name;
    x->steps.request = ath_host_->req->info(r, "id");
    x->steps.dry_run = x->d.dry_run;
    row[STEP_SOURCE].client = x->d.source_client;
    row[STEP_SOURCE].table = x->d.source_table;
    row[STEP_SINK].client = x->d.sink_client;
    row[STEP_SINK].table = x->d.sink_table;
}

static int limit_check(const struct run *x, const struct pipelines_config *cfg, ath_err *e)
{
    if (x->d.limit <= cfg->max_rows)
        return 0;
    return ath_raise(e, "invalid_pipeline_definition", "source.limit %lld is over max_rows %lld",
                     (long long)x->d.limit, (long long)cfg->max_rows);
}

static int start(ath_req *r, struct run *x, ath_err *e)
{
    const struct pipelines_config *cfg = ath_config_of(r);
    ath_str client = ath_host_->req->info(r, "client");
    int rc;

    if ((rc = definition_read(&x->d, x->body, true, e)) < 0 ||
        (rc = definition_check(&x->d, e)) < 0 || (rc = limit_check(x, cfg, e)) < 0)
        return rc;
    if (x->search.found.name.n)
        x->d.name = x->search.found.name;
    if (!x->d.source_client.n)
        x->d.source_client = client;
    if (!x->d.sink_client.n)
        x->d.sink_client = client;
    x->most = x->d.limit < 0 ? cfg->max_rows + 1 : x->d.limit;
    uuid_make(x->id);
    steps_begin(r, x);
    note(r, "table_name", x->d.sink_table, ATH_V_TEXT);
    return x->d.dry_run ? fetch(r, x, e) : ask(r, x, e);
}

static int named(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;
    int rc = definition_read(&x->d, x->search.found.definition, false, e);

    return rc < 0 ? rc : start(t, x, e);
}

static int begin(ath_req *r, bool dry_run, ath_err *e)
{
    struct run *x = ath_new(ath_arena_of(r), sizeof(*x));
    struct definition first = { .limit = -1 };
    int rc;

    x->d = (struct definition){ .limit = -1, .dry_run = dry_run };
    x->search = (struct template_search){ .then = named, .arg = x };
    if (!ath_host_->req->info(r, "client").n)
        return ath_raise(e, "missing_client_header",
                         "X-Athena-Client header is required and cannot be empty");
    if ((rc = admin_body(r, &x->body, e)) < 0 ||
        (rc = definition_read(&first, x->body, true, e)) < 0)
        return rc;
    return first.name.n ? template_find(r, &x->search, first.name, e) : start(r, x, e);
}

int pipelines_run(ath_req *r, ath_err *e)
{
    return begin(r, false, e);
}

int pipelines_simulate(ath_req *r, ath_err *e)
{
    return begin(r, true, e);
}
