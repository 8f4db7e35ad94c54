/* Functions: POST /gateway/rpc, GET and POST /rpc/{function_name} (contract 24).
 *
 *     read     the body or the query string, by names
 *     allow    gateway.rpc.execute, and reading what the selection embeds
 *     bind     the signature, from the catalogue
 *     query    one statement
 *     changed  a volatile function may have written anything: cached answers are over
 *     reply
 *
 * dataplane/call.h has what these are made of, dataplane/ask.h the way between them.
 */
#include "query.h"

#include "dataplane/call.h"
#include "dataplane/once.h"
#include "dataplane/sender.h"

struct rpc {
    struct dp_ask ask;
    struct dp reading; /* between reading and binding */
    struct dp_call c;
    ath_str path; /* {function_name}; empty: the body has it */
    bool get;
    ath_str reply;
    struct dp_sender sender;
    struct dp_once once; /* with an idempotency key */
};

static void note(ath_req *r, const char *key, ath_str value, uint32_t form)
{
    ath_host_->req->note(r, &(ath_fact){ str_of(key), value, form, 0 });
}

/* ---- the answer ---- */

/* A count, which only JSON has a place for in the body. */
static void show_count(ath_req *r, const struct dp_answer *a)
{
    char room[STR_U64_ROOM];

    if (a->count < 0)
        return;
    note(r, "count", str_from_u64((uint64_t)a->count, room), ATH_V_NUMBER);
    if (a->format != DP_JSON)
        ath_host_->req->set(r, "x-athena-count", str_from_u64((uint64_t)a->count, room));
}

static void body_of(ath_req *r, struct rpc *x, const ath_rows *rows, ath_err *e)
{
    struct dp dp = { .arena = ath_arena_of(r), .e = e };
    struct dp_answer *a = &x->sender.a;
    struct buf b = BUF_ARENA(dp.arena);
    char room[STR_U64_ROOM];
    struct dp_writer w;

    dp_writer_begin(&w, &dp, &x->c.f, &x->c.q, rows, a, &b);
    if (x->c.q.rows)
        dp_writer_rows(&w, rows, &b);
    dp_writer_end(&w, &b);
    show_count(r, a);
    note(r, "row_count", str_from_u64(w.rows, room), ATH_V_NUMBER);
    x->reply = buf_view(&b);
}

static int reply(ath_req *r, const struct rpc *x)
{
    return ath_reply(r, 200, dp_format_type(x->sender.a.format), x->reply);
}

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : reply(t, d->arg);
}

/* It is committed; nobody is told before the caches know. */
static int committed(ath_req *r, struct rpc *x, ath_err *e)
{
    int rc = x->c.function->volatility == 'v' ? run_changed(r, told, x, e) : 1;

    return rc == 1 ? reply(r, x) : rc;
}

static int answer(ath_req *r, struct dp_ask *ask, const ath_rows *rows, ath_err *e)
{
    struct rpc *x = (struct rpc *)ask;

    body_of(r, x, rows, e);
    return committed(r, x, e);
}

/* ---- with an idempotency key ---- */

static int once_answer(ath_req *r, struct dp_once *o, const ath_rows *rows, ath_err *e)
{
    struct rpc *x = o->arg;

    body_of(r, x, rows, e);
    o->body = x->reply;
    return 0;
}

static int once_failed(ath_req *r, struct dp_once *o, int rc, ath_err *e)
{
    return dp_ask_failed(r, &((struct rpc *)o->arg)->ask, rc, e);
}

static int once_committed(ath_req *r, struct dp_once *o, ath_err *e)
{
    return committed(r, o->arg, e);
}

/* What must be the same when the key comes again: the function may be named by the path, its
 * arguments by the query string. */
static int send_once(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct rpc *x = (struct rpc *)ask;
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_str(&b, ath_host_->req->info(r, "target"));
    buf_char(&b, '\n');
    buf_str(&b, ath_host_->req->body(r));
    x->once.request = buf_view(&b);
    x->once.begin = "BEGIN";
    x->once.effect = ask->query;
    x->once.answer = once_answer;
    x->once.failed = once_failed;
    x->once.committed = once_committed;
    x->once.arg = x;
    return dp_once(r, &x->once, e);
}

/* ---- long answers ---- */

static int whole(ath_req *r, void *arg, const ath_rows *rows, ath_err *e)
{
    return answer(r, arg, rows, e);
}

static void head(ath_req *r, void *arg, const struct dp_answer *a)
{
    (void)arg;
    show_count(r, a);
}

static int answer_pieces(ath_task *t, struct dp_ask *ask, const ath_rows *rows, ath_err *e)
{
    return dp_sender_start(t, &((struct rpc *)ask)->sender, rows, e);
}

/* What a volatile function gives is held back whole: it is answered when it is committed and the
 * caches know. */
static bool goes_in_pieces(ath_req *r, const struct rpc *x)
{
    const struct query_config *cfg = ath_config_of(r);
    const struct dp_call *c = &x->c;

    return c->function->set && c->function->volatility != 'v' && c->q.rows &&
           (c->f.root.limit < 0 || c->f.root.limit > cfg->pieces_above);
}

static void prepare(ath_req *r, struct rpc *x)
{
    const struct query_config *cfg = ath_config_of(r);
    ath_str accept = ath_header(r, "accept");
    bool pieces = goes_in_pieces(r, x);
    bool once = x->once.key.n && x->c.function->volatility == 'v'; /* reading needs none */

    x->sender = (struct dp_sender){
        .arg = x,
        .whole = whole,
        .head = head,
        .f = &x->c.f,
        .q = &x->c.q,
        .a = dp_call_answer(&x->c, accept.n && !once ? dp_format_of(accept) : DP_JSON),
    };
    x->ask.send = once ? send_once : NULL; /* what is kept is JSON */
    x->ask.answer = pieces ? answer_pieces : answer;
    x->ask.query.flags = x->c.q.stmt[0].flags;
    x->ask.query.stmt = x->c.q.stmt;
    x->ask.query.stmt_count = x->c.q.stmt_count;
    if (pieces)
        dp_sender_ask(&x->sender, &x->ask.query);
    x->ask.query.timeout_ms = (uint32_t)cfg->timeout_ms;
}

/* ---- the way there ---- */

static int read_json(ath_req *r, const struct json **ret, ath_err *e)
{
    ath_str text = ath_host_->req->body(r);
    struct json_error why;

    *ret = NULL;
    if (!str_trim(text).n)
        return 0;
    *ret = json_read(text, JSON_ARENA(ath_arena_of(r)), DP_VALUES, &why);
    if (*ret)
        return 0;
    return ath_raise(e, "invalid_rpc_body",
                     "malformed JSON payload for %.*s: %s at line %u, column %u",
                     STR_ARG(ath_host_->req->info(r, "path")), why.why, why.line, why.column);
}

static int read_call(ath_req *r, struct rpc *x, const struct dp_limits *limits, ath_err *e)
{
    const struct json *body;
    const ath_pair *pair;
    uint32_t n;
    int rc;

    if (x->get) {
        n = ath_host_->req->pairs(r, "query", &pair);
        return dp_read_call_query(&x->reading, x->path, pair, n, limits, &x->c);
    }
    if ((rc = read_json(r, &body, e)) < 0)
        return rc;
    if (!body && !x->path.n)
        return ath_raise(e, "invalid_rpc_body", "the request must be a JSON object");
    return dp_read_call(&x->reading, x->path, body, limits, &x->c);
}

static int read_request(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    const struct query_config *cfg = ath_config_of(r);
    const struct query_state *s = ath_state_of(r);
    struct rpc *x = (struct rpc *)ask;
    struct dp_limits limits = { .max_rows = cfg->max_rows };
    int rc;

    x->reading = (struct dp){ .arena = ath_arena_of(r), .e = e, .catalog = s->catalog };
    if ((rc = dp_once_key(r, ATH_S(""), &x->once.key, e)) < 0 ||
        (rc = read_call(r, x, &limits, e)) < 0)
        return rc;
    note(r, "function", x->c.name, ATH_V_TEXT);
    return 0;
}

/* Reading must not write: a volatile function is for POST, when the operator wants it so. */
static int may_get(ath_req *r, const struct rpc *x, ath_err *e)
{
    const struct query_config *cfg = ath_config_of(r);
    const ath_function *f = x->c.function;

    if (!x->get || f->volatility != 'v' || cfg->get_volatile)
        return 0;
    ath_host_->req->set(r, "allow", ATH_S("POST"));
    return ath_raise(e, "method_not_allowed", "\"%.*s.%.*s\" is volatile: call it with POST",
                     STR_ARG(f->schema), STR_ARG(f->name));
}

static int allow(ath_req *r, struct rpc *x, ath_err *e)
{
    const ath_right call = { .table = ATH_S("gateway.rpc"), .action = ATH_S("execute") }, *right;
    int rc = ath_host_->req->allow(r, &call, 1, e);
    uint32_t n;

    if (rc < 0 || !x->c.function)
        return rc;
    n = dp_call_rights(&x->reading, &x->c, &right);
    return n ? ath_host_->req->allow(r, right, n, e) : 0;
}

static int bind(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct rpc *x = (struct rpc *)ask;
    struct dp *dp = &x->reading;
    int rc, allowed;

    dp->e = e;
    dp->snapshot = ask->snapshot;
    rc = dp_bind_call(dp, &x->c);
    if ((allowed = allow(r, x, e)) < 0)
        return allowed;
    ask->unknown = dp->unknown;
    if (rc < 0 || (rc = may_get(r, x, e)) < 0 || (rc = dp_call_sql(dp, &x->c)) < 0)
        return rc;
    prepare(r, x);
    return x->ask.send ? dp_once_installed(ask->catalog, ask->snapshot, &ask->unknown, e) : 0;
}

static int call(ath_req *r, ath_str path, bool get, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);
    struct rpc *x = ath_new(ath_arena_of(r), sizeof(*x));

    x->ask.catalog = s->catalog;
    x->ask.read = read_request;
    x->ask.bind = bind;
    x->path = path;
    x->get = get;
    return dp_ask(r, &x->ask, e);
}

int query_rpc(ath_req *r, ath_err *e)
{
    return call(r, ATH_S(""), false, e);
}

int query_rpc_get(ath_req *r, ath_err *e)
{
    ath_host_->req->set(r, "vary", ATH_S("Accept"));
    return call(r, ath_param(r, "function_name"), true, e);
}

int query_rpc_post(ath_req *r, ath_err *e)
{
    return call(r, ath_param(r, "function_name"), false, e);
}
