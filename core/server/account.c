/* The account of a request. Its events are drafts: tables give their facts keys, forms and
 * defaults, the texts of this request stand once in a block that both events share. The sinks'
 * threads do the formatting. */
#include "server/account.h"

#include "auth/audit.h"
#include "base/version.h"
#include "db/client.h"
#include "log/metric.h"
#include "server/account_priv.h"

static const ath_str http_source = { "athena::http", 12 };
static const ath_str trace_source = { "athena_rs::gateway_trace", 24 };
static const ath_str line_name = { "request", 7 }, trace_name = { "operation", 9 };

/* ---- what both events and the metrics need ---- */

/* A client that left before the answer has no status: 499, as proxies say. */
static int final_status(const struct req *r)
{
    if (r->status && r->answered)
        return r->status;
    return r->ending == REQ_TIMED_OUT ? 504 : r->ending == REQ_CLIENT_LEFT ? 499 : 500;
}

static int judged_status(const struct req *r, int status)
{
    if (unlikely(r->ending == REQ_CUT) && r->err.rc)
        return (int)err_entry(&r->err)->status;
    return status;
}

static uint64_t later(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

static void account_fill(struct account *a, struct req *r)
{
    uint64_t answered = r->mark[MARK_REPLY] ? r->mark[MARK_REPLY] : r->mark[MARK_END];

    a->r = r;
    a->route = r->match.route;
    a->group = a->route ? a->route->group : route_group(req_asked_path(r));
    a->status = final_status(r);
    a->judged = judged_status(r, a->status);
    a->duration_ns = later(r->mark[MARK_FIRST_BYTE], answered);
    a->span = log_wants(ATH_INFO, http_source);
    a->shape = a->route && a->route->def.operation ? account_shape(a) : NULL;
}

ath_str account_path(const struct req *r)
{
    ath_str path = req_asked_path(r);

    if (likely(path.n <= PATH_MOST))
        return path;
    path.n = PATH_MOST;
    while (path.n && ((unsigned char)path.p[path.n] & 0xC0) == 0x80)
        path.n--;
    return path;
}

static void put_common(struct account *a)
{
    const struct req *r = a->r;

    a->method = account_put(a, r->method);
    a->path = account_put(a, account_path(r));
    a->peer = account_put(a, r->peer);
    a->id = account_put(a, str_from(r->id, UUID_TEXT - 1));
    a->w3c = account_put(a, r->trace_id);
    a->status_text = account_number(a, (uint64_t)a->status);
}

static bool unanswered(const struct req *r)
{
    return r->err.error && strcmp(r->err.error->code, "plugin_unanswered") == 0;
}

/* Only names that the server knows become labels. */
static ath_str client_label(const struct req *r)
{
    return r->task.client ? str_of(r->task.client->shown) : ATH_S("");
}

static void count_request(const struct account *a, const struct metric_operation *operation)
{
    struct req *r = a->r;
    struct metric_http m = {
        .method = r->method,
        .route = a->route ? a->route->def.path : "unmatched",
        .route_group = a->group,
        .client = client_label(r),
        .status = a->status,
        .handler_error = unanswered(r),
        .duration_ns = a->duration_ns,
        .request_bytes = r->body_bytes,
        .response_bytes = r->sent_bytes,
    };

    metric_request(&m, operation);
    metric_flight_end(r->flight);
    r->flight = NULL;
}

int phase_account(struct req *r, ath_err *e)
{
    const struct route *route = r->match.route;

    (void)e;
    if (route && !r->call)
        r->flight = metric_flight_begin(r->method, route->def.path, route->group);
    return PHASE_NEXT;
}

/* ---- the line ---- */

enum {
    SPAN_METHOD,
    SPAN_ROUTE,
    SPAN_PEER,
    SPAN_STATUS,
    LINE_METHOD,
    LINE_ROUTE,
    LINE_STATUS,
    LINE_FACTS
};
static const ath_fact line_facts[LINE_FACTS] = {
    [SPAN_METHOD] = { ATH_S(LOG_SPAN "http_method"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [SPAN_ROUTE] = { ATH_S(LOG_SPAN "http_route"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [SPAN_PEER] = { ATH_S(LOG_SPAN "net_peer_addr"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [SPAN_STATUS] = { ATH_S(LOG_SPAN "http_status_code"), { NULL, 0 }, ATH_V_NUMBER, 0 },
    [LINE_METHOD] = { ATH_S("http_method"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [LINE_ROUTE] = { ATH_S("http_route"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [LINE_STATUS] = { ATH_S("http_status_code"), { NULL, 0 }, ATH_V_NUMBER, 0 },
};

static void write_line(struct account *a, int level)
{
    ath_event e = { .level = (uint32_t)level,
                    .flags = ATH_EV_KEYS,
                    .source = http_source,
                    .name = line_name,
                    .message = ATH_S("request completed"),
                    .request_id = a->id,
                    .trace_id = a->w3c,
                    .fact = line_facts,
                    .fact_count = LINE_FACTS };
    ath_fact *fact = log_draft_event(&a->draft, &e, a->span ? 0 : LINE_METHOD);

    fact[SPAN_METHOD].value = fact[LINE_METHOD].value = a->method;
    fact[SPAN_ROUTE].value = fact[LINE_ROUTE].value = a->path;
    fact[SPAN_PEER].value = a->peer;
    fact[SPAN_STATUS].value = fact[LINE_STATUS].value = a->status_text;
}

/* ---- the trace: the published fields, in their order, then ours ---- */

#define PLAIN(key)                                                                                 \
    {                                                                                              \
        ATH_S(key), { "", 0 }, ATH_V_PLAIN, 0                                                      \
    }
#define TEXT(key)                                                                                  \
    {                                                                                              \
        ATH_S(key), { "", 0 }, ATH_V_TEXT, 0                                                       \
    }
#define NUMBER(key)                                                                                \
    {                                                                                              \
        ATH_S(key), { "0", 1 }, ATH_V_NUMBER, 0                                                    \
    }

/* The same in every event, but where a request says otherwise: see put_own(). */
#define SAME(key, value, form)                                                                     \
    {                                                                                              \
        ATH_S(key), ATH_S(value), form, ATH_FACT_SAME                                              \
    }

static const ath_fact trace_facts[T_FACTS] = {
    [T_METHOD_SPAN] = PLAIN(LOG_SPAN "http_method"),
    [T_ROUTE_SPAN] = PLAIN(LOG_SPAN "http_route"),
    [T_PEER_SPAN] = PLAIN(LOG_SPAN "net_peer_addr"),
    [T_EVENT] = SAME("event", "gateway_operation", ATH_V_TEXT),
    [T_VERSION] = SAME("athena_version", "", ATH_V_TEXT),
    [T_REQUEST_ID] = PLAIN("request_id"),
    [T_CLIENT] = PLAIN("client"),
    [T_LOGICAL] = PLAIN("logical_client_name"),
    [T_METHOD] = PLAIN("method"),
    [T_PATH] = PLAIN("path"),
    [T_FAMILY] = PLAIN("route_family"),
    [T_OPERATION] = PLAIN("operation"),
    [T_TABLE] = TEXT("table_name"),
    [T_STATUS] = NUMBER("status_code"),
    [T_OUTCOME] = TEXT("outcome"),
    [T_DURATION] = NUMBER("duration_ms"),
    [T_BACKEND] = SAME("backend", "", ATH_V_PLAIN),
    [T_ENGINE] = SAME("backend_engine", "postgres", ATH_V_PLAIN),
    [T_ERROR_CODE] = SAME("error_code", "", ATH_V_PLAIN),
    [T_TRACE_ID] = PLAIN("trace_id"),
    [T_CACHE_OUTCOME] = PLAIN("cache_lookup_outcome"),
    [T_CACHE_SOURCE] = PLAIN("cache_source"),
    [T_CACHED] = { ATH_S("cached"), ATH_S("false"), ATH_V_BOOL, 0 },
    [T_STATEMENTS] = NUMBER("statement_count"),
    [T_ROWS] = NUMBER("row_count"),
    [T_RETURNED] = SAME("returned_row_count", "0", ATH_V_NUMBER),
    [T_AFFECTED] = SAME("rows_affected", "0", ATH_V_NUMBER),
    [T_RESOURCE] = SAME("resource_id", "", ATH_V_PLAIN),
    [T_DETAIL_KEYS] = PLAIN("detail_keys"),
    [T_MESSAGE] = PLAIN("message"),
    [T_ROUTE] = PLAIN("route"),
    [T_KEY] = PLAIN("key_id"),
    [T_IN] = NUMBER("request_bytes"),
    [T_OUT] = NUMBER("response_bytes"),
    [T_HEAD_US] = NUMBER("head_us"),
    [T_BODY_US] = NUMBER("body_us"),
    [T_QUEUE_US] = NUMBER("queue_us"),
    [T_WAIT_US] = NUMBER("wait_us"),
    [T_DB_US] = NUMBER("db_us"),
    [T_REPLY_US] = NUMBER("reply_us"),
    [T_SEND_US] = NUMBER("send_us"),
    [T_ENDING] = PLAIN("ending"),
    [T_W3C] = PLAIN("w3c_trace_id"),
    [T_SPAN] = PLAIN("span_id"),
};

static void put_own(ath_fact *fact, ath_str value)
{
    fact->value = value;
    fact->pad = 0;
}

/* As nobody noted anything: what an earlier event left there goes. */
static void fill_unnoted(ath_fact *fact)
{
    static const uint8_t fields[] = { T_TABLE,      T_BACKEND,       T_ENGINE,       T_ERROR_CODE,
                                      T_TRACE_ID,   T_CACHE_OUTCOME, T_CACHE_SOURCE, T_CACHED,
                                      T_STATEMENTS, T_ROWS,          T_RETURNED,     T_AFFECTED,
                                      T_RESOURCE,   T_MESSAGE };

#pragma GCC unroll 16
    for (size_t i = 0; i < ATH_COUNT(fields); i++) {
        fact[fields[i]].value = trace_facts[fields[i]].value;
        fact[fields[i]].pad = trace_facts[fields[i]].pad;
    }
}

static void fill_details(ath_fact *fact, struct account *a)
{
    const struct shape *s = a->shape;
    const struct req *r = a->r;

    fill_unnoted(fact);
    fact[T_TRACE_ID].value = a->id;
    for (uint32_t i = 0; i < s->facts; i++)
        if (s->field[i] >= 0)
            put_own(&fact[s->field[i]], account_put(a, r->fact[i].value));
    if (s->code)
        put_own(&fact[T_ERROR_CODE], account_put(a, account_error_code(a)));
    if (s->message) {
        struct buf words = BUF_HEAP;
        put_own(&fact[T_MESSAGE], account_put(a, account_described(a, &words)));
        buf_free(&words);
    }
    fact[T_DETAIL_KEYS].value = account_put(a, str_from(s->sorted, s->sorted_n));
}

/* ---- the other fields ---- */

/* Moves *at on to a mark and gives the microseconds between; 0 for a mark that was not reached. */
static uint64_t lap(uint64_t *at, uint64_t mark)
{
    uint64_t us = later(*at, mark) / 1000;

    if (mark > *at)
        *at = mark;
    return us;
}

static void fill_times(ath_fact *fact, struct account *a)
{
    const struct req *r = a->r;
    const struct {
        uint64_t mark;
        int field;
    } laps[] = { { r->mark[MARK_HEAD], T_HEAD_US },     { r->mark[MARK_BODY], T_BODY_US },
                 { r->mark[MARK_HANDLER], T_QUEUE_US }, { r->task.db_sent_ns, T_WAIT_US },
                 { r->task.db_done_ns, T_DB_US },       { r->mark[MARK_REPLY], T_REPLY_US },
                 { r->mark[MARK_END], T_SEND_US } };
    uint64_t at = r->mark[MARK_FIRST_BYTE];

    for (size_t i = 0; i < ATH_COUNT(laps); i++) {
        fact[laps[i].field].value = account_number(a, lap(&at, laps[i].mark));
    }
}

ath_str account_outcome(int status)
{
    static const ath_str outcomes[] = { { "other", 5 },         { "other", 5 },
                                        { "success", 7 },       { "redirect", 8 },
                                        { "client_error", 12 }, { "server_error", 12 } };

    return outcomes[status >= 200 && status < 600 ? status / 100 : 0];
}

static ath_str ending_of(enum req_ending ending)
{
    static const ath_str words[] = {
        [REQ_ANSWERED] = { "answered", 8 },
        [REQ_FAILED] = { "failed", 6 },
        [REQ_CLIENT_LEFT] = { "client_left", 11 },
        [REQ_TIMED_OUT] = { "timed_out", 9 },
        [REQ_CUT] = { "cut", 3 },
    };

    return words[(size_t)ending < ATH_COUNT(words) ? ending : REQ_FAILED];
}

static void fill_fields(ath_fact *fact, struct account *a)
{
    const struct req *r = a->r;

    fact[T_METHOD_SPAN].value = fact[T_METHOD].value = a->method;
    fact[T_ROUTE_SPAN].value = fact[T_PATH].value = a->path;
    fact[T_PEER_SPAN].value = a->peer;
    fact[T_VERSION].value = str_of(athena_version);
    fact[T_REQUEST_ID].value = a->id;
    fact[T_CLIENT].value = fact[T_LOGICAL].value = account_put(a, r->client_name);
    fact[T_FAMILY].value = a->shape->family;
    fact[T_OPERATION].value = a->shape->operation;
    fact[T_STATUS].value = a->status_text;
    fact[T_OUTCOME].value = account_outcome(a->judged);
    fact[T_DURATION].value = account_number(a, a->duration_ns / 1000000u);
    fact[T_ROUTE].value = a->shape->pattern;
    fact[T_KEY].value = account_put(a, r->who.public_id);
    fact[T_IN].value = account_number(a, r->body_bytes);
    fact[T_OUT].value = account_number(a, r->sent_bytes);
    fact[T_ENDING].value = ending_of(r->ending);
    fact[T_W3C].value = a->w3c;
    fact[T_SPAN].value = account_put(a, str_of(r->span_id));
}

static void write_trace(struct account *a, int level)
{
    ath_event e = { .level = (uint32_t)level,
                    .flags = ATH_EV_KEYS,
                    .source = trace_source,
                    .name = trace_name,
                    .message = ATH_S("gateway operation completed"),
                    .request_id = a->id,
                    .trace_id = a->w3c,
                    .fact = trace_facts,
                    .fact_count = T_FACTS };
    ath_fact *fact = log_draft_event(&a->draft, &e, a->span ? 0 : T_SPANS);

    fill_details(fact, a);
    fill_fields(fact, a);
    fill_times(fact, a);
}

/* ---- both ---- */

/* How many bytes the texts take at most, with their NULs; what is longer is cut. */
static size_t text_room(const struct account *a)
{
    enum { NUMBERS = 11 * (DIGITS + 1), IDS = 2 * UUID_TEXT + 64, NULS = 16 };
    const struct req *r = a->r;
    size_t n = NUMBERS + IDS + NULS + r->method.n + account_path(r).n + r->peer.n;

    if (a->shape) {
        n += r->client_name.n + r->who.public_id.n + a->shape->sorted_n;
        for (uint32_t i = 0; i < a->shape->facts; i++)
            n += r->fact[i].value.n + 1;
        if (a->shape->failed)
            n += 2 * TEXT_MOST;
    }
    return n < TEXTS_MOST ? n : TEXTS_MOST;
}

static void write_events(struct account *a)
{
    int level = a->judged >= 500 ? ATH_ERROR : a->judged >= 400 ? ATH_WARN : ATH_INFO;
    int trace_level = level == ATH_WARN ? ATH_INFO : level;
    bool line = log_takes(level, http_source, line_name);
    bool trace = a->shape && a->shape->traced && log_takes(trace_level, trace_source, trace_name);

    if ((!line && !trace) ||
        !log_draft_begin(&a->draft, trace + line, (trace ? T_FACTS : 0u) + (line ? LINE_FACTS : 0u),
                         text_room(a)))
        return;
    put_common(a);
    if (trace)
        write_trace(a, trace_level);
    if (line)
        write_line(a, level);
    log_draft_send(&a->draft);
}

/* A table that does not exist is a name that the caller made up: no label. */
static struct metric_operation operation_of(const struct account *a)
{
    bool made_up = str_eq(account_error_code(a), ATH_S("undefined_table"));

    return (struct metric_operation){
        .client = client_label(a->r),
        .table = made_up ? ATH_S("") : account_noted(a, T_TABLE),
        .operation = a->route->def.operation,
        .method = a->r->method,
        .route = a->route->def.path,
        .cache_outcome = account_noted(a, T_CACHE_OUTCOME),
        .cache_source = account_noted(a, T_CACHE_SOURCE),
        .status = a->status,
        .duration_ns = a->duration_ns,
    };
}

/* A request of our own is part of one that is counted and has a line; what it did with the data is
 * its own. Apart from the others, who are many. */
static __attribute__((cold, noinline)) void account_called(struct account *a)
{
    int level = a->judged >= 500 ? ATH_ERROR : ATH_INFO;
    struct metric_operation operation;

    audit_called(a->r);
    if (!a->shape)
        return;
    if (a->shape->traced && log_takes(level, trace_source, trace_name) &&
        log_draft_begin(&a->draft, 1, T_FACTS, text_room(a))) {
        put_common(a);
        write_trace(a, level);
        log_draft_send(&a->draft);
    }
    operation = operation_of(a);
    metric_operation(&operation);
    if (log_rows_wanted())
        account_rows_called(a);
}

void account_request(struct req *r)
{
    struct metric_operation operation;
    struct account a;

    account_fill(&a, r);
    if (unlikely(r->call)) {
        account_called(&a);
        return;
    }
    write_events(&a);
    if (unlikely(log_rows_wanted())) {
        account_rows(&a);
        audit_key(r);
    }
    if (likely(a.shape != NULL))
        operation = operation_of(&a);
    if (unlikely(!a.shape || a.route->def.auth != ATH_AUTH_GATEWAY))
        audit_change(r, a.status, a.duration_ns);
    count_request(&a, a.shape ? &operation : NULL);
}
