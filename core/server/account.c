/* The account of a request. Its events are drafts: tables give their facts keys, forms and
 * defaults, the texts of this request stand once in a block that both events share. The sinks'
 * threads do the formatting. */
#include "server/account.h"

#include "base/version.h"
#include "db/client.h"
#include "db/query.h"
#include "lib/buf.h"
#include "log/log.h"
#include "log/metric.h"

static const ath_str http_source = { "athena::http", 12 };
static const ath_str trace_source = { "athena_rs::gateway_trace", 24 };
static const ath_str line_name = { "request", 7 }, trace_name = { "operation", 9 };

/* ---- what both events and the metrics need ---- */

/* The largest part of one text that is logged, and of all texts of a request. */
enum { TEXT_MOST = 2048, TEXTS_MOST = 12288 };

struct account {
    struct req *r;
    const struct route *route; /* NULL: unmatched */
    const struct shape *shape; /* of its details; NULL: it is no operation */
    const char *group;
    int status;           /* that the caller has got */
    int judged;           /* what it came to: that, unless it broke behind its head */
    uint64_t duration_ns; /* until the answer began */
    bool span;            /* does the filter show the prefix? */
    struct log_draft draft;
    /* as they stand in it */
    ath_str method, path, peer, id, w3c, status_text;
};

/* A text into the draft: cut when it is too long, dropped when there is no room left. */
static ath_str put(struct account *a, ath_str s)
{
    return log_draft_text(&a->draft, str_from(s.p, s.n < TEXT_MOST ? s.n : TEXT_MOST));
}

enum { DIGITS = 20 }; /* of the largest number */
static const char digit[10][2] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" };

static ath_str number(struct account *a, uint64_t v)
{
    char digits[DIGITS], *at = digits + DIGITS;

    if (v < 10)
        return str_from(digit[v], 1);
    do
        *--at = (char)('0' + v % 10);
    while (v /= 10);
    return put(a, str_from(at, (size_t)(digits + DIGITS - at)));
}

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

static const struct shape *shape_of(const struct account *a);

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
    a->shape = a->route && a->route->def.operation ? shape_of(a) : NULL;
}

static void put_common(struct account *a)
{
    const struct req *r = a->r;

    a->method = put(a, r->method);
    a->path = put(a, req_asked_path(r));
    a->peer = put(a, r->peer);
    a->id = put(a, str_from(r->id, UUID_TEXT - 1));
    a->w3c = put(a, r->trace_id);
    a->status_text = number(a, (uint64_t)a->status);
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

enum {
    T_METHOD_SPAN,
    T_ROUTE_SPAN,
    T_PEER_SPAN,
    T_SPANS,
    T_EVENT = T_SPANS,
    T_VERSION,
    T_REQUEST_ID,
    T_CLIENT,
    T_LOGICAL,
    T_METHOD,
    T_PATH,
    T_FAMILY,
    T_OPERATION,
    T_TABLE,
    T_STATUS,
    T_OUTCOME,
    T_DURATION,
    T_BACKEND,
    T_ENGINE,
    T_ERROR_CODE,
    T_TRACE_ID,
    T_CACHE_OUTCOME,
    T_CACHE_SOURCE,
    T_CACHED,
    T_STATEMENTS,
    T_ROWS,
    T_RETURNED,
    T_AFFECTED,
    T_RESOURCE,
    T_DETAIL_KEYS,
    T_MESSAGE,
    T_ROUTE,
    T_KEY,
    T_IN,
    T_OUT,
    T_HEAD_US,
    T_BODY_US,
    T_QUEUE_US,
    T_WAIT_US,
    T_DB_US,
    T_REPLY_US,
    T_SEND_US,
    T_ENDING,
    T_W3C,
    T_SPAN,
    T_FACTS
};

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

/* ---- details: which noted fact fills which field, and the sorted list of their keys ----
 *
 * Requests of one route note the same facts again and again, so what follows from their keys is
 * kept per thread, as a shape, and made anew only when a request's keys differ from it. */

/* Where a noted fact shows; of two for one field the one that stands first here. */
static const struct {
    ath_str key;
    int field;
} noted[] = {
    { ATH_S("table_name"), T_TABLE },
    { ATH_S("row_count"), T_ROWS },
    { ATH_S("updated_count"), T_ROWS },
    { ATH_S("cached"), T_CACHED },
    { ATH_S("cache_source"), T_CACHE_SOURCE },
    { ATH_S("cache_lookup_outcome"), T_CACHE_OUTCOME },
    { ATH_S("backend"), T_BACKEND },
    { ATH_S("backend_engine"), T_ENGINE },
    { ATH_S("resource_id"), T_RESOURCE },
    { ATH_S("rows_affected"), T_AFFECTED },
    { ATH_S("returned_row_count"), T_RETURNED },
    { ATH_S("statement_count"), T_STATEMENTS },
    { ATH_S("trace_id"), T_TRACE_ID },
    { ATH_S("error_code"), T_ERROR_CODE },
    { ATH_S("code"), T_ERROR_CODE },
    { ATH_S("message"), T_MESSAGE },
    { ATH_S("error"), T_MESSAGE },
};

enum { NOTED_MOST = 32, KEYS_MOST = NOTED_MOST + 16, SHAPES = 8 };

struct shape {
    const struct route *route;
    ath_str family, operation, pattern; /* of the route: not longer than TEXT_MOST */
    uint32_t facts;                     /* how many of the request's are looked at */
    bool failed, described;             /* it has an error; that has words */
    bool code, message;                 /* the error fills the field */
    bool traced;                        /* its path is gateway traffic */
    int8_t field[NOTED_MOST];           /* of each fact; -1: none */
    int8_t from[T_FACTS];               /* of each field the fact; -1: none */
    ath_str key[KEYS_MOST];             /* while it is made */
    uint32_t keys;
    size_t noted_n, sorted_n;
    char noted[1024];  /* the facts' keys, each ended by NUL */
    char sorted[1024]; /* detail_keys */
};

static _Thread_local struct shape shapes[SHAPES];

static uint32_t facts_of(const struct req *r)
{
    return r->fact_count < NOTED_MOST ? r->fact_count : NOTED_MOST;
}

static bool shape_fits(const struct shape *s, const struct account *a)
{
    const struct req *r = a->r;
    size_t at = 0;

    if (s->route != a->route || s->facts != facts_of(r) || s->failed != (r->err.rc != 0) ||
        s->described != (r->err.message_n != 0))
        return false;
    for (uint32_t i = 0; i < s->facts; i++) {
        ath_str key = r->fact[i].key;
        if (at + key.n + 1 > s->noted_n || s->noted[at + key.n] ||
            !str_same(str_from(s->noted + at, key.n), key))
            return false;
        at += key.n + 1;
    }
    return at == s->noted_n;
}

static void key_put(struct shape *s, ath_str key)
{
    if (s->keys < KEYS_MOST && key.n < 64)
        s->key[s->keys++] = key;
}

/* Every noted fact is a detail, but the table: that is a column of its own. */
static void shape_fact(struct shape *s, uint32_t at, ath_str key, uint8_t *by)
{
    uint8_t i = 0;

    s->field[at] = -1;
    while (i < ATH_COUNT(noted) && !str_eq(noted[i].key, key))
        i++;
    if (i < ATH_COUNT(noted) && (by[noted[i].field] == 0 || i < by[noted[i].field] - 1)) {
        for (uint32_t j = 0; j < at; j++)
            if (s->field[j] == noted[i].field)
                s->field[j] = -1;
        by[noted[i].field] = (uint8_t)(i + 1);
        s->field[at] = (int8_t)noted[i].field;
    }
    if (i > 0)
        key_put(s, key);
    if (str_eq(key, ATH_S("cache_key")))
        key_put(s, ATH_S("cache_key_hashed"));
}

static void keys_sort(struct shape *s)
{
    for (uint32_t i = 1; i < s->keys; i++) {
        ath_str key = s->key[i];
        uint32_t j = i;
        for (; j > 0 && str_cmp(s->key[j - 1], key) > 0; j--)
            s->key[j] = s->key[j - 1];
        s->key[j] = key;
    }
    s->sorted_n = 0;
    for (uint32_t i = 0; i < s->keys && s->sorted_n + 66 < sizeof(s->sorted); i++) {
        if (i && str_eq(s->key[i], s->key[i - 1]))
            continue;
        if (i)
            s->sorted[s->sorted_n++] = ',';
        memcpy(s->sorted + s->sorted_n, s->key[i].p, s->key[i].n);
        s->sorted_n += s->key[i].n;
    }
}

/* Management and pipelines are operations, but no gateway traffic. */
static bool is_traced(ath_str path)
{
    static const char *const prefixes[] = { "/gateway/", "/rest/", "/rpc/", "/query/", "/public/" };

    for (size_t i = 0; i < ATH_COUNT(prefixes); i++)
        if (str_starts(path, prefixes[i]))
            return true;
    return str_is(path, "/data");
}

static ath_str bounded(const char *text)
{
    return str_from(text, strnlen(text, TEXT_MOST));
}

static void shape_make(struct shape *s, const struct account *a)
{
    static const ath_str always[] = { { "backend_engine", 14 },
                                      { "logical_client_name", 19 },
                                      { "operation_name", 14 },
                                      { "operation_outcome", 17 },
                                      { "route_family", 12 } };
    const struct req *r = a->r;
    uint8_t by[T_FACTS] = { 0 };

    *s = (struct shape){ .route = a->route,
                         .family = bounded(a->group),
                         .operation = bounded(a->route->def.operation),
                         .pattern = bounded(a->route->def.path),
                         .facts = facts_of(r),
                         .failed = r->err.rc != 0,
                         .described = r->err.message_n != 0,
                         .traced = is_traced(str_of(a->route->def.path)) };
    for (uint32_t i = 0; i < s->facts; i++) {
        ath_str key = r->fact[i].key;
        shape_fact(s, i, key, by);
        if (s->noted_n + key.n + 1 > sizeof(s->noted)) { /* too much to remember: made each time */
            s->route = NULL;
            continue;
        }
        memcpy(s->noted + s->noted_n, key.p, key.n);
        s->noted_n += key.n + 1;
    }
    memset(s->from, -1, sizeof(s->from));
    for (uint32_t i = 0; i < s->facts; i++)
        if (s->field[i] >= 0)
            s->from[s->field[i]] = (int8_t)i;
    s->code = s->failed && !by[T_ERROR_CODE];
    s->message = s->failed && s->described && !by[T_MESSAGE];
    if (s->code)
        key_put(s, ATH_S("error_code"));
    if (s->message)
        key_put(s, ATH_S("message"));
    for (size_t i = 0; i < ATH_COUNT(always); i++)
        key_put(s, always[i]);
    keys_sort(s);
}

static const struct shape *shape_of(const struct account *a)
{
    struct shape *s = &shapes[(a->route->id * 2 + (a->r->err.rc != 0)) % SHAPES];

    if (!shape_fits(s, a))
        shape_make(s, a);
    return s;
}

/* What the handler noted for a field. */
static ath_str noted_for(const struct account *a, int field)
{
    int8_t i = a->shape->from[field];

    return i < 0 ? ATH_S("") : a->r->fact[i].value;
}

static ath_str error_code(const struct account *a)
{
    return a->shape->code ? str_of(err_entry(&a->r->err)->code) : noted_for(a, T_ERROR_CODE);
}

static ath_str redacted(struct account *a, ath_str text)
{
    struct buf b = BUF_HEAP;
    ath_str kept;

    log_redact(&b, text);
    kept = put(a, buf_view(&b));
    buf_free(&b);
    return kept;
}

/* What went wrong, in words that hold nobody's data: PostgreSQL quotes the value that it refuses, and
 * the statement around a mistake. Callers see that; a log keeps what kind of error it was. */
static ath_str described(struct account *a)
{
    const ath_err *e = &a->r->err;
    ath_str said = err_get(e, "sql_state"); /* a detail: it stays when an error is said again */
    char state[6] = "";

    if (said.n < sizeof(state))
        memcpy(state, said.p, said.n);
    if (state[0] && db_state_quotes(state))
        return str_of(err_entry(e)->message);
    return redacted(a, err_get(e, "message"));
}

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
            put_own(&fact[s->field[i]], put(a, r->fact[i].value));
    if (s->code)
        put_own(&fact[T_ERROR_CODE], put(a, error_code(a)));
    if (s->message)
        put_own(&fact[T_MESSAGE], described(a));
    fact[T_DETAIL_KEYS].value = put(a, str_from(s->sorted, s->sorted_n));
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
        fact[laps[i].field].value = number(a, lap(&at, laps[i].mark));
    }
}

static ath_str outcome_of(int status)
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
    fact[T_CLIENT].value = fact[T_LOGICAL].value = put(a, r->client_name);
    fact[T_FAMILY].value = a->shape->family;
    fact[T_OPERATION].value = a->shape->operation;
    fact[T_STATUS].value = a->status_text;
    fact[T_OUTCOME].value = outcome_of(a->judged);
    fact[T_DURATION].value = number(a, a->duration_ns / 1000000u);
    fact[T_ROUTE].value = a->shape->pattern;
    fact[T_KEY].value = put(a, r->who.public_id);
    fact[T_IN].value = number(a, r->body_bytes);
    fact[T_OUT].value = number(a, r->sent_bytes);
    fact[T_ENDING].value = ending_of(r->ending);
    fact[T_W3C].value = a->w3c;
    fact[T_SPAN].value = put(a, str_of(r->span_id));
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
    size_t n = NUMBERS + IDS + NULS + r->method.n + req_asked_path(r).n + r->peer.n;

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
    bool made_up = str_eq(error_code(a), ATH_S("undefined_table"));

    return (struct metric_operation){
        .client = client_label(a->r),
        .table = made_up ? ATH_S("") : noted_for(a, T_TABLE),
        .operation = a->route->def.operation,
        .method = a->r->method,
        .route = a->route->def.path,
        .cache_outcome = noted_for(a, T_CACHE_OUTCOME),
        .cache_source = noted_for(a, T_CACHE_SOURCE),
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
    if (a.shape)
        operation = operation_of(&a);
    count_request(&a, a.shape ? &operation : NULL);
}
