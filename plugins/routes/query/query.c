/* POST /gateway/query.
 *
 *     read        the body: statements, mode, parameters
 *     recognise   a SELECT that a client wrote for a fetch: bound to the catalogue, allowed by the
 *                 right to read, run like a fetch
 *     run         anything else, allowed by gateway.query
 *
 * Who may run SQL may read by SQL what can be read by a fetch, and gets SQL wherever a fetch would
 * not do: a name that the catalogue lacks, a value that does not fit its column. Who may not is
 * told what a fetch says. Relations inside of a SELECT, which is no SQL, need the rights to read in
 * any case.
 *
 * An idempotency key is for what is run. A fetch changes nothing, so it is done anew each time and
 * nothing is kept.
 */
#include "query.h"

#include "dataplane/defer.h"
#include "lib/json.h"

struct query {
    struct dp_ask ask; /* of a recognised SELECT */
    struct dp dp;
    struct dp_fetch fetch;
    struct dp_query compiled;
    enum dp_sql_kind kind;
    bool may_run;
    struct run run;
};

int query_init(ath_self *s, const void *config, void **ret_state, ath_err *e)
{
    static struct query_state state;

    (void)config;
    *ret_state = &state;
    state.writes = ath_host_->service(s, "athena.writes", 1);
    state.deferred = ath_host_->service(s, "athena.deferred", 1);
    return dp_services(s, &state.catalog, &state.cache, e);
}

int query_allowed(ath_req *r, ath_err *e)
{
    ath_right right = { .table = ATH_S("gateway"), .action = ATH_S("query") };

    return ath_host_->req->allow(r, &right, 1, e);
}

/* ---- answers ---- */

static ath_str mode(const struct run *x)
{
    return x->script.each ? ATH_S("per_statement") : ATH_S("single_transaction");
}

static void answer_meta(ath_req *r, struct buf *b, const struct run *x)
{
    buf_json_key(b, "meta");
    buf_char(b, '{');
    buf_json_str(b, "backend", answer_backend(r));
    buf_json_int(b, "returned_row_count", (int64_t)x->data_rows);
    buf_json_int(b, "rows_affected", (int64_t)x->affected);
    buf_json_int(b, "statement_count", x->script.count);
    buf_char(b, '}');
}

static void answer_tail(ath_req *r, struct buf *b, const struct run *x)
{
    buf_json_str(b, "execution_mode", mode(x));
    buf_json_str(b, "message", ATH_S("Query executed"));
    answer_meta(r, b, x);
}

static void answer(ath_req *r, struct run *x)
{
    struct buf *b = &x->body;

    answer_tail(r, b, x);
    answer_preprocess(b);
    answer_statements(b, &x->script);
    buf_json_str(b, "status", ATH_S("success"));
    buf_char(b, '}');
}

/* Contract 21.5: what was asked for in its words, and the SQL that it became. */
static void answer_relations(ath_req *r, struct query *x)
{
    struct buf *b = &x->run.body;

    buf_lit(b, ",\"compatibility_rewrite\":{");
    buf_json_str(b, "kind", ATH_S("relation_select"));
    buf_json_str(b, "table_name", x->fetch.root.table);
    buf_char(b, '}');
    answer_tail(r, b, &x->run);
    buf_lit(b, ",\"statements\":[");
    buf_json(b, buf_view(&x->compiled.sql.text));
    buf_char(b, ']');
    buf_json_str(b, "status", ATH_S("success"));
    buf_char(b, '}');
}

/* ---- SQL ---- */

static int run_sql(ath_req *r, struct query *x, ath_err *e)
{
    x->run.answer = answer;
    x->run.head = ATH_S("{\"data\":");
    return run_start(r, &x->run, e);
}

/* Exactly these mean yes; a query for a direct URI is never deferred. */
static bool is_deferred(ath_req *r)
{
    static const char *const words[] = { "1", "true", "TRUE", "yes", "YES" };
    static const char *const direct[] = { "x-pg-uri", "x-athena-jdbc-url", "x-jdbc-url" };
    ath_str given = ath_header(r, "x-athena-defer");

    for (size_t i = 0; i < ATH_COUNT(direct); i++)
        if (str_trim(ath_header(r, direct[i])).n)
            return false;
    for (size_t i = 0; i < ATH_COUNT(words); i++)
        if (str_is(given, words[i]))
            return true;
    return false;
}

static void put_member(struct buf *b, const struct json *body, const char *key)
{
    const struct json *v = json_get(body, key);

    buf_json_key(b, key);
    buf_str(b, v ? v->raw : ATH_S("null"));
}

/* As readers of the queue know it. */
static ath_str deferred_body(ath_req *r, const struct json *body)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_char(&b, '{');
    put_member(&b, body, "query");
    put_member(&b, body, "schema_name");
    put_member(&b, body, "execution_mode");
    if (json_given(body, "params"))
        put_member(&b, body, "params");
    buf_char(&b, '}');
    return buf_view(&b);
}

static int defer(ath_req *r, const struct json *body, bool asked, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);
    struct dp_defer x = { .queue = s->deferred,
                          .as = { .size = sizeof(x.as),
                                  .kind = "gateway_query",
                                  .method = "POST",
                                  .body = deferred_body(r, body) },
                          .operation = "query",
                          .message = asked ? "Query queued for deferred execution"
                                           : "Query queued for deferred execution (auth fallback "
                                             "mode)",
                          .names_client = true };

    if (!ath_host_->req->info(r, "client").n)
        return ath_raise(e, "missing_client_header",
                         "X-Athena-Client is required when using X-Athena-Defer for "
                         "/gateway/query");
    return dp_defer(r, &x, e);
}

/* Nobody knows yet whether the caller may. */
int query_defer(ath_req *r, ath_err *e)
{
    const struct query_config *cfg = ath_config_of(r);
    struct script script = { 0 };
    const struct json *body;
    int rc;

    if ((rc = script_body(r, cfg->max_body_bytes, &body, e)) < 0 ||
        (rc = script_read(r, body, &script, e)) < 0)
        return rc;
    return defer(r, body, is_deferred(r), e);
}

/* ---- a SELECT that is a fetch ---- */

static struct query *of_ask(struct dp_ask *a)
{
    return (struct query *)a;
}

static int read_select(ath_req *r, struct dp_ask *a, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);
    struct query *x = of_ask(a);
    int kind;

    x->dp = (struct dp){ .arena = ath_arena_of(r), .e = e, .catalog = s->catalog };
    kind = dp_read_sql(&x->dp, x->run.script.stmt[0].of.text, &x->fetch);
    if (kind < 0)
        return kind;
    x->kind = (enum dp_sql_kind)kind;
    return 0;
}

static int answer_select(ath_req *r, struct dp_ask *a, const ath_rows *rows, ath_err *e)
{
    struct query *x = of_ask(a);
    struct script_stmt *st = &x->run.script.stmt[0];
    uint64_t now = ath_host_->loop->now_ms(ath_host_->task->loop(r));
    int rc;

    if ((rc = rows_fetched(r, &x->fetch, &x->compiled, rows, &x->run.body, e)) < 0)
        return rc;
    st->returned = x->run.data_rows = ath_host_->pg->count(rows);
    st->took_us = (now - x->run.started_ms) * 1000;
    answer_facts(r, 1, st->returned, 0);
    if (x->kind == DP_SQL_RELATIONS)
        answer_relations(r, x);
    else
        answer(r, &x->run);
    return ath_reply(r, 200, "application/json", buf_view(&x->run.body));
}

static int selected(ath_task *t, const ath_done *d, ath_err *e)
{
    struct query *x = d->arg;

    return d->rc < 0 ? run_sql(t, x, e) : answer_select(t, &x->ask, d->rows, e);
}

static int allow_reads(ath_req *r, struct query *x, ath_err *e)
{
    const ath_right *right;
    uint32_t n = dp_rights(&x->dp, &x->fetch.root, "read", &right);

    return ath_host_->req->allow(r, right, n, e);
}

/* As a fetch has it: a larger limit is refused, and none is this one. */
static int bound_rows(ath_req *r, struct query *x, ath_err *e)
{
    const struct query_config *cfg = ath_config_of(r);
    int64_t most = cfg->max_rows, *limit = &x->fetch.root.limit;

    if (most && *limit > most)
        return ath_raise(e, "invalid_fetch_condition", "limit %lld is over the %lld rows allowed",
                         (long long)*limit, (long long)most);
    if (most && *limit < 0)
        *limit = most;
    return 0;
}

/* Who may run SQL as well gets that when the fetch fails. */
static int send_select(ath_req *r, struct dp_ask *a, ath_err *e)
{
    struct query *x = of_ask(a);

    if (x->may_run && x->kind == DP_SQL_FETCH)
        return ath_host_->pg->query(r, &a->query, selected, x, e);
    return dp_ask_send(r, a, e);
}

static int bind_select(ath_req *r, struct dp_ask *a, ath_err *e)
{
    const struct query_config *cfg = ath_config_of(r);
    struct query *x = of_ask(a);
    bool or_sql = x->may_run && x->kind == DP_SQL_FETCH;
    int rc, allowed;

    x->dp.e = e;
    x->dp.snapshot = a->snapshot;
    rc = dp_bind(&x->dp, &x->fetch.root);
    allowed = or_sql ? 0 : allow_reads(r, x, e);
    a->unknown = x->dp.unknown;
    if (or_sql && rc < 0)
        return run_sql(r, x, e);
    if (allowed < 0 || rc < 0)
        return allowed < 0 ? allowed : rc;
    if (!x->may_run && (rc = bound_rows(r, x, e)) < 0)
        return rc;
    if ((rc = dp_fetch_sql(&x->dp, &x->fetch, &x->compiled)) < 0)
        return or_sql ? run_sql(r, x, e) : rc;
    a->query.flags = ATH_PG_READ;
    a->query.stmt = x->compiled.stmt;
    a->query.stmt_count = x->compiled.stmt_count;
    a->query.timeout_ms = (uint32_t)cfg->timeout_ms;
    return 0;
}

/* ---- the request ---- */

static bool may_be_select(const struct script *s)
{
    return s->count == 1 && !s->schema.n && !s->param_count && !s->stmt[0].of.broken &&
           sql_is(&s->stmt[0].of.verb, "SELECT");
}

int query_gateway(ath_req *r, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);
    const struct query_config *cfg = ath_config_of(r);
    struct query *x = ath_new(ath_arena_of(r), sizeof(*x));
    const struct json *body;
    int rc;

    if ((rc = script_body(r, cfg->max_body_bytes, &body, e)) < 0 ||
        (rc = script_read(r, body, &x->run.script, e)) < 0)
        return rc;
    x->ask = (struct dp_ask){ .catalog = s->catalog,
                              .read = read_select,
                              .bind = bind_select,
                              .send = send_select,
                              .answer = answer_select };
    x->run.started_ms = ath_host_->loop->now_ms(ath_host_->task->loop(r));
    if (may_be_select(&x->run.script) && (rc = read_select(r, &x->ask, e)) < 0)
        return rc;
    rc = query_allowed(r, e);
    x->may_run = rc == 0;
    if (is_deferred(r))
        return rc < 0 ? rc : defer(r, body, true, e);
    if (x->kind != DP_SQL_ELSE)
        return dp_ask(r, &x->ask, e);
    return rc < 0 ? rc : run_sql(r, x, e);
}
