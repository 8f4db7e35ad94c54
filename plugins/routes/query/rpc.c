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
#include "dataplane/effect.h"
#include "dataplane/sender.h"

struct rpc {
    struct dp_effect effect; /* first */
    struct dp reading;       /* between reading and binding */
    struct dp_call c;
    ath_str path; /* {function_name}; empty: the body has it */
    bool get;
    struct dp_sender sender;
};

/* ---- the answer ---- */

/* A count, which only JSON has a place for in the body. */
static void show_count(ath_req *r, const struct dp_answer *a)
{
    char room[STR_U64_ROOM];

    if (a->count < 0)
        return;
    dp_note(r, "count", str_from_u64((uint64_t)a->count, room), ATH_V_NUMBER);
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
    dp_note(r, "row_count", str_from_u64(w.rows, room), ATH_V_NUMBER);
    x->effect.reply = buf_view(&b);
}

static int say(ath_req *r, struct dp_effect *effect, const ath_rows *rows, ath_err *e)
{
    struct rpc *x = (struct rpc *)effect;

    body_of(r, x, rows, e);
    x->effect.type = dp_format_type(x->sender.a.format);
    return 0;
}

/* ---- long answers ---- */

static int whole(ath_req *r, void *arg, const ath_rows *rows, ath_err *e)
{
    struct rpc *x = arg;
    int rc = say(r, &x->effect, rows, e);

    return rc < 0 ? rc : dp_effect_done(r, &x->effect, e);
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
    bool once = x->effect.once.key.n; /* what is kept is JSON */

    x->sender = (struct dp_sender){
        .arg = x,
        .whole = whole,
        .head = head,
        .f = &x->c.f,
        .q = &x->c.q,
        .a = dp_call_answer(&x->c, accept.n && !once ? dp_format_of(accept) : DP_JSON),
    };
    x->effect.ask.query.flags = x->c.q.stmt[0].flags;
    x->effect.ask.query.stmt = x->c.q.stmt;
    x->effect.ask.query.stmt_count = x->c.q.stmt_count;
    if (pieces) {
        x->effect.ask.answer = answer_pieces;
        dp_sender_ask(&x->sender, &x->effect.ask.query);
    }
    x->effect.ask.query.timeout_ms = (uint32_t)cfg->timeout_ms;
}

/* ---- the way there ---- */

static int read_json(ath_req *r, const struct json **ret, ath_err *e)
{
    *ret = NULL;
    return str_trim(ath_host_->req->body(r)).n ? dp_body(r, "invalid_rpc_body", ret, e) : 0;
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
    if ((rc = dp_once_key(r, ATH_S(""), &x->effect.once.key, e)) < 0 ||
        (rc = read_call(r, x, &limits, e)) < 0)
        return rc;
    dp_note(r, "function", x->c.name, ATH_V_TEXT);
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
    x->effect.harmless = x->c.function->volatility != 'v';
    if (x->effect.harmless)
        x->effect.once.key = ATH_S("");                 /* reading needs none */
    x->effect.also = ath_host_->req->info(r, "target"); /* function and arguments may stand there */
    if ((rc = dp_effect_bound(r, &x->effect, e)) < 0)
        return rc;
    prepare(r, x);
    return 0;
}

static int call(ath_req *r, ath_str path, bool get, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);
    struct rpc *x = ath_new(ath_arena_of(r), sizeof(*x));

    x->effect = (struct dp_effect){
        .ask = { .catalog = s->catalog, .read = read_request, .bind = bind },
        .cache = s->cache,
        .writes = s->writes,
        .say = say,
    };
    x->path = path;
    x->get = get;
    return dp_ask(r, &x->effect.ask, e);
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
