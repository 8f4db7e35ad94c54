/* One deferred request.
 *
 *     take       what the row says beyond its payload; from now on it may have taken effect
 *     call       its route, with the rights that who asked has now, once by an idempotency key
 *     judge      the answer (verdict.c)
 *     settle     what is known of its effect, then done, again or given up
 *
 * The key is made of the request's id and a generation. While an effect is in doubt the generation
 * stays, so a run after a lost lease, a killed process or a lost answer is told what the first one
 * did. The keys of a client's database are kept for a day, so after that a run that is in doubt is
 * given up. Where the database keeps no keys the request is carried out without, and its result
 * says so: at least once.
 */
#include "deferred.h"

#include "lib/json.h"

enum { PAYLOAD_VALUES = 1 << 20, HEADERS_MOST = 24 };

#define KEYS_KEPT "interval '20 hours'"

static const struct deferred_kind kinds[] = {
    { "gateway_query", "POST", "/gateway/query", "query", false },
    { "gateway_fetch", "POST", "/gateway/fetch", "fetch", true },
    { "gateway_insert", "PUT", "/gateway/insert", "insert", false },
    { "gateway_update", "POST", "/gateway/update", "update", false },
    { "gateway_delete", "DELETE", "/gateway/delete", "delete", false },
};

/* ---- words of a row that cannot be carried out ---- */

ATH_PRINTF(3, 4) static int give_up(const struct work *w, ath_err *e, const char *fmt, ...)
{
    va_list ap;
    int rc;

    va_start(ap, fmt);
    rc = ath_host_->err->fail(e, ATH_E_INPUT, fmt, ap);
    va_end(ap);
    deferred_tell(w, "dead_letter");
    return rc;
}

static int text_of(struct work *w, const char *name, ath_str *ret, ath_err *e)
{
    *ret = str_trim(json_text(json_get(w->payload, name)));
    return ret->n ? 0 : give_up(w, e, "deferred payload missing %s", name);
}

static int read_payload(ath_job *j, struct work *w, ath_err *e)
{
    struct json_error why = { .why = "expected an object" };
    ath_str kind, id;
    int rc;

    w->payload =
        json_read(ath_host_->job->args(j), JSON_ARENA(ath_arena_of(j)), PAYLOAD_VALUES, &why);
    if (!w->payload || w->payload->type != JSON_OBJECT)
        return give_up(w, e, "invalid deferred payload contract: %s",
                       w->payload ? "expected an object" : why.why);
    if ((rc = text_of(w, "client_name", &w->client, e)) < 0 ||
        (rc = text_of(w, "kind", &kind, e)) < 0 || (rc = text_of(w, "request_id", &id, e)) < 0)
        return rc;
    if (!str_eq(id, w->id))
        return give_up(w, e, "deferred payload request_id mismatch: row='%.*s' payload='%.*s'",
                       STR_ARG(w->id), STR_ARG(id));
    for (size_t i = 0; i < ATH_COUNT(kinds); i++)
        if (str_is(kind, kinds[i].name))
            w->kind = &kinds[i];
    return w->kind ? 0 : give_up(w, e, "unsupported deferred payload kind '%.*s'", STR_ARG(kind));
}

/* ---- settling ---- */

static const char settle_sql[] =
    "update " DEFERRED_TABLE " set began_at = case when $2::bool then null else began_at end,"
    " attempts = greatest(attempts - $3::int4, 0)"
    " where request_id = $1";

struct ending {
    struct work *w;
    struct verdict v;
    ath_str param[3];
};

static int settled(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct ending *x = d->arg;
    bool again = x->v.is == AGAIN;

    (void)t;
    if (d->rc < 0)
        return d->rc;
    deferred_tell(x->w, again ? "retry_scheduled" : "dead_letter");
    return ath_fail(e, again ? ATH_E_RETRY : ATH_E_INPUT, "%.*s", STR_ARG(x->v.words));
}

static int control(ath_task *t, const char *sql, const ath_str *param, uint32_t n, ath_then *then,
                   void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = sql, .param = param, .param_count = n };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_FENCED,
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(t, &q, then, arg, e);
}

static int settle(ath_task *t, struct work *w, struct verdict v, ath_err *e)
{
    struct ending *x = ath_new(ath_arena_of(t), sizeof(*x));

    *x = (struct ending){ .w = w, .v = v };
    x->param[0] = w->id;
    x->param[1] = v.sure ? ATH_S("true") : ATH_S("false");
    x->param[2] = v.free ? ATH_S("1") : ATH_S("0");
    return control(t, settle_sql, x->param, 3, settled, x, e);
}

/* ---- the call ---- */

static int call(ath_task *t, struct work *w, ath_err *e);

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;
    struct verdict v;
    ath_done result = { .size = sizeof(result) };

    if (d->rc == ATH_E_CANCELED || d->rc == ATH_E_LEASE)
        return d->rc;
    v = verdict_of(t, w, d, e);
    if (v.is == WITHOUT_KEY) {
        w->key = ATH_S("");
        return call(t, w, e);
    }
    if (v.is != DONE)
        return settle(t, w, v, e);
    deferred_tell(w, "completed");
    result.bytes = summary_of(t, w, d->bytes);
    ath_host_->task->done(t, &result);
    return 0;
}

static void header(ath_pair *to, uint32_t *n, ath_str name, ath_str value)
{
    if (*n < HEADERS_MOST && value.n)
        to[(*n)++] = (ath_pair){ name, value };
}

static uint32_t headers(const struct work *w, ath_pair to[HEADERS_MOST])
{
    const struct json *given = json_given(w->context, "headers");
    uint32_t n = 0;

    header(to, &n, ATH_S("content-type"), ATH_S("application/json"));
    header(to, &n, ATH_S("x-athena-client"), w->client);
    header(to, &n, ATH_S("x-athena-deferred-id"), w->id);
    header(to, &n, ATH_S("idempotency-key"), w->own_key ? ATH_S("") : w->key);
    for (const struct json *v = given ? given->first : NULL; v; v = v->next)
        header(to, &n, v->key, json_text(v));
    return n;
}

static int call(ath_task *t, struct work *w, ath_err *e)
{
    const struct deferred_config *cfg = ath_config_of(t);
    ath_str who = json_text(json_get(w->context, "who"));
    ath_pair header[HEADERS_MOST];
    ath_fetch f = { .size = sizeof(f),
                    .method = w->kind->method,
                    .url = str_of(w->kind->path),
                    .body = w->text,
                    .max_body = cfg->max_bytes,
                    .header = header,
                    .header_count = headers(w, header) };

    w->once = w->key.n > 0;
    if (str_is(who, "admin"))
        f.flags |= ATH_HTTP_SELF;
    else if (str_is(who, "key"))
        f.as = json_text(json_get(w->context, "key"));
    return ath_host_->req->call(t, &f, answered, w, e);
}

/* ---- taking it ---- */

static const char take_sql[] =
    "update " DEFERRED_TABLE " q set began_at = coalesce(q.began_at, now()),"
    " generation = coalesce(q.generation, 0) + (q.began_at is null)::int4"
    " where request_id = $1 returning request_text, context, generation,"
    " began_at < now() - " KEYS_KEPT;

/* A request whose statements are no transaction cannot be done once, nor one with a key of the
 * caller's own by another. */
static void choose_key(ath_task *t, struct work *w, ath_str generation)
{
    struct json_error why;
    const struct json *body = json_read(w->text, JSON_ARENA(ath_arena_of(t)), PAYLOAD_VALUES, &why);
    const struct json *headers_given = json_given(w->context, "headers");
    ath_str own = json_text(json_get(headers_given, "idempotency-key"));
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (!own.n)
        own = json_text(json_get(body, "idempotency_key"));
    w->own_key = own.n > 0;
    w->key = own;
    if (own.n || w->kind->reads ||
        str_is(json_text(json_get(body, "execution_mode")), "per_statement"))
        return;
    buf_printf(&b, "deferred:%.*s:%.*s", STR_ARG(w->id), STR_ARG(generation));
    w->key = buf_view(&b);
}

static int taken(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;
    const ath_rows *row;
    struct json_error why;

    if (d->rc < 0)
        return d->rc;
    if (!ath_host_->pg->count(d->rows))
        return ath_fail(e, ATH_E_MISSING, "the request is gone");
    row = ath_host_->pg->keep(t, d->rows);
    w->context = json_read(ath_cell(row, 0, 1), JSON_ARENA(ath_arena_of(t)), 1000, &why);
    w->text = ath_cell(row, 0, 0);
    if (!w->text.p && json_get(w->payload, "request_body"))
        w->text = json_get(w->payload, "request_body")->raw;
    choose_key(t, w, ath_cell(row, 0, 2));
    if (!w->kind->reads && str_is(ath_cell(row, 0, 3), "t"))
        return give_up(w, e, "outcome unknown");
    return call(t, w, e);
}

int deferred_run(ath_job *j, ath_err *e)
{
    struct work *w = ath_new(ath_arena_of(j), sizeof(*w));
    int rc;

    w->id = ath_host_->job->key(j);
    if ((rc = read_payload(j, w, e)) < 0)
        return rc;
    deferred_tell(w, "running");
    return control(j, take_sql, &w->id, 1, taken, w, e);
}
