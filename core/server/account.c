/* The account of a request. Its events are built on the stack from a table that has keys, forms and
 * defaults; log_event() copies them once, and the sinks' threads do the formatting. */
#include "server/account.h"

#include <endian.h>

#include "base/version.h"
#include "db/client.h"
#include "lib/buf.h"
#include "log/log.h"
#include "log/metric.h"

static const ath_str http_source = { "athena::http", 12 };
static const ath_str trace_source = { "athena_rs::gateway_trace", 24 };

/* ---- what both events and the metrics need ---- */

struct account {
    struct req *r;
    const struct route *route;   /* NULL: unmatched */
    const char *group;
    int status;
    ath_str status_text;
    uint64_t duration_ns;        /* until the answer began */
    bool span;                   /* does the filter show the prefix? */
    char *at;                    /* room for digits */
    char digits[320];
};

enum { DIGITS = 20 };            /* of the largest number */

static ath_str number(struct account *a, uint64_t v)
{
    char text[DIGITS], *end = text + sizeof(text), *p = end;
    ath_str s = { a->at, 0 };

    do {
        *--p = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (p < end)
        a->at[s.n++] = *p++;
    a->at += s.n;
    return s;
}

/* A client that left before the answer has no status: 499, as proxies say. */
static int final_status(const struct req *r)
{
    if (r->status && r->answered)
        return r->status;
    return r->ending == REQ_TIMED_OUT ? 504 : r->ending == REQ_CLIENT_LEFT ? 499 : 500;
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
    a->group = a->route ? a->route->group : route_group(r->path);
    a->status = final_status(r);
    a->at = a->digits;
    a->status_text = number(a, (uint64_t)a->status);
    a->duration_ns = later(r->mark[MARK_FIRST_BYTE], answered);
    a->span = log_wants(ATH_INFO, http_source);
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

static void count_request(const struct account *a)
{
    struct req *r = a->r;
    struct metric_http m = {
        .method = r->method.p,
        .route = a->route ? a->route->def.path : "unmatched",
        .route_group = a->group,
        .client = client_label(r),
        .status = a->status,
        .handler_error = unanswered(r),
        .duration_ns = a->duration_ns,
        .request_bytes = r->body_bytes,
        .response_bytes = r->sent_bytes,
    };

    metric_http(&m);
    if (r->counted)
        metric_http_in_flight(m.method, m.route, m.route_group, -1);
    r->counted = false;
}

int phase_account(struct req *r, ath_err *e)
{
    const struct route *route = r->match.route;

    (void)e;
    if (!route)
        return PHASE_NEXT;
    metric_http_in_flight(r->method.p, route->def.path, route->group, 1);
    r->counted = true;
    return PHASE_NEXT;
}

/* ---- the line ---- */

enum { SPAN_METHOD, SPAN_ROUTE, SPAN_PEER, SPAN_STATUS, LINE_METHOD, LINE_ROUTE, LINE_STATUS, LINE_FACTS };
static const ath_fact line_facts[LINE_FACTS] = {
    [SPAN_METHOD] = { ATH_S(LOG_SPAN "http_method"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [SPAN_ROUTE] = { ATH_S(LOG_SPAN "http_route"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [SPAN_PEER] = { ATH_S(LOG_SPAN "net_peer_addr"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [SPAN_STATUS] = { ATH_S(LOG_SPAN "http_status_code"), { NULL, 0 }, ATH_V_NUMBER, 0 },
    [LINE_METHOD] = { ATH_S("http_method"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [LINE_ROUTE] = { ATH_S("http_route"), { NULL, 0 }, ATH_V_PLAIN, 0 },
    [LINE_STATUS] = { ATH_S("http_status_code"), { NULL, 0 }, ATH_V_NUMBER, 0 },
};

static ath_event event_of(const struct account *a, int level, ath_str source)
{
    const struct req *r = a->r;

    return (ath_event){ .size = sizeof(ath_event), .level = (uint32_t)level, .source = source,
                        .flags = LOG_KEYS_STAY, .request_id = str_from(r->id, UUID_TEXT - 1),
                        .trace_id = r->trace_id };
}

/* Without the first `spans` facts when the filter hides the prefix. */
static void hand_over(const struct account *a, ath_event *e, const ath_fact *fact, uint32_t n,
                      uint32_t spans)
{
    e->fact = a->span ? fact : fact + spans;
    e->fact_count = a->span ? n : n - spans;
    log_event(e);
}

static void write_line(const struct account *a)
{
    int level = a->status >= 500 ? ATH_ERROR : a->status >= 400 ? ATH_WARN : ATH_INFO;
    ath_event e = event_of(a, level, http_source);
    ath_fact fact[LINE_FACTS];

    e.name = ATH_S("request");
    if (!log_takes(level, http_source, e.name))
        return;
    e.message = ATH_S("request completed");
    memcpy(fact, line_facts, sizeof(fact));
    fact[SPAN_METHOD].value = fact[LINE_METHOD].value = a->r->method;
    fact[SPAN_ROUTE].value = fact[LINE_ROUTE].value = a->r->path;
    fact[SPAN_PEER].value = a->r->peer;
    fact[SPAN_STATUS].value = fact[LINE_STATUS].value = a->status_text;
    hand_over(a, &e, fact, LINE_FACTS, LINE_METHOD);
}

/* ---- the trace: the published fields, in their order, then ours ---- */

enum {
    T_METHOD_SPAN, T_ROUTE_SPAN, T_PEER_SPAN, T_SPANS,
    T_EVENT = T_SPANS, T_VERSION, T_REQUEST_ID, T_CLIENT, T_LOGICAL, T_METHOD, T_PATH, T_FAMILY,
    T_OPERATION, T_TABLE, T_STATUS, T_OUTCOME, T_DURATION, T_BACKEND, T_ENGINE, T_ERROR_CODE,
    T_TRACE_ID, T_CACHE_OUTCOME, T_CACHE_SOURCE, T_CACHED, T_STATEMENTS, T_ROWS, T_RETURNED,
    T_AFFECTED, T_RESOURCE, T_DETAIL_KEYS, T_MESSAGE,
    T_ROUTE, T_KEY, T_IN, T_OUT, T_HEAD_US, T_BODY_US, T_QUEUE_US, T_WAIT_US, T_DB_US, T_REPLY_US,
    T_SEND_US, T_ENDING, T_W3C, T_SPAN, T_FACTS
};

#define PLAIN(key) { ATH_S(key), { "", 0 }, ATH_V_PLAIN, 0 }
#define TEXT(key) { ATH_S(key), { "", 0 }, ATH_V_TEXT, 0 }
#define NUMBER(key) { ATH_S(key), { "0", 1 }, ATH_V_NUMBER, 0 }

static const ath_fact trace_facts[T_FACTS] = {
    [T_METHOD_SPAN] = PLAIN(LOG_SPAN "http_method"),
    [T_ROUTE_SPAN] = PLAIN(LOG_SPAN "http_route"),
    [T_PEER_SPAN] = PLAIN(LOG_SPAN "net_peer_addr"),
    [T_EVENT] = { ATH_S("event"), ATH_S("gateway_operation"), ATH_V_TEXT, 0 },
    [T_VERSION] = TEXT("athena_version"),
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
    [T_BACKEND] = PLAIN("backend"),
    [T_ENGINE] = { ATH_S("backend_engine"), ATH_S("postgres"), ATH_V_PLAIN, 0 },
    [T_ERROR_CODE] = PLAIN("error_code"),
    [T_TRACE_ID] = PLAIN("trace_id"),
    [T_CACHE_OUTCOME] = PLAIN("cache_lookup_outcome"),
    [T_CACHE_SOURCE] = PLAIN("cache_source"),
    [T_CACHED] = { ATH_S("cached"), ATH_S("false"), ATH_V_BOOL, 0 },
    [T_STATEMENTS] = NUMBER("statement_count"),
    [T_ROWS] = NUMBER("row_count"),
    [T_RETURNED] = NUMBER("returned_row_count"),
    [T_AFFECTED] = NUMBER("rows_affected"),
    [T_RESOURCE] = PLAIN("resource_id"),
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

/* Where a noted fact shows; a later entry of the same field gives way to an earlier one. */
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

enum { NOTED_TABLE = 0, KEYS_MOST = 48 };

struct trace {
    ath_fact fact[T_FACTS];
    uint8_t by[T_FACTS];         /* 1 + the entry of `noted` that filled the field */
    ath_str key[KEYS_MOST];      /* of details */
    uint32_t keys;
    char text[1024];             /* detail_keys */
    struct buf message;          /* redacted */
};

static void key_put(struct trace *t, ath_str key)
{
    if (t->keys < KEYS_MOST && key.n < 64)
        t->key[t->keys++] = key;
}

/* Every noted fact is a detail, but the table: that is a column of its own. */
static void take_noted(struct trace *t, const ath_fact *f)
{
    uint8_t i = 0;

    while (i < ATH_COUNT(noted) && !str_eq(noted[i].key, f->key))
        i++;
    if (i < ATH_COUNT(noted)) {
        int field = noted[i].field;
        if (t->by[field] == 0 || i < t->by[field] - 1) {
            t->by[field] = (uint8_t)(i + 1);
            t->fact[field].value = f->value;
        }
    }
    if (i != NOTED_TABLE)
        key_put(t, f->key);
    if (i == ATH_COUNT(noted) && str_eq(f->key, ATH_S("cache_key")))
        key_put(t, ATH_S("cache_key_hashed"));
}

/* What failed, when the handler did not say it itself. */
static void take_error(struct trace *t, const struct req *r)
{
    ath_str message = err_get(&r->err, "message");

    if (r->err.rc == 0)
        return;
    if (!t->by[T_ERROR_CODE]) {
        t->fact[T_ERROR_CODE].value = str_of(err_entry(&r->err)->code);
        key_put(t, ATH_S("error_code"));
    }
    if (!t->by[T_MESSAGE] && message.n) {
        log_redact(&t->message, message);
        t->fact[T_MESSAGE].value = buf_view(&t->message);
        key_put(t, ATH_S("message"));
    }
}

/* The first eight bytes as a number that sorts as the text does. */
static uint64_t head_of(ath_str s)
{
    uint64_t v = 0;

    memcpy(&v, s.p, s.n < sizeof(v) ? s.n : sizeof(v));
    return be64toh(v);
}

/* Sorted by insertion: a dozen keys, most of them apart in their first bytes. */
static ath_str detail_keys(struct trace *t)
{
    uint64_t head[KEYS_MOST];
    char *at = t->text;

    for (uint32_t i = 0; i < t->keys; i++) {
        ath_str key = t->key[i];
        uint64_t h = head_of(key);
        uint32_t j = i;
        for (; j > 0 && (head[j - 1] > h || (head[j - 1] == h && str_cmp(t->key[j - 1], key) > 0)); j--) {
            head[j] = head[j - 1];
            t->key[j] = t->key[j - 1];
        }
        head[j] = h;
        t->key[j] = key;
    }
    for (uint32_t i = 0; i < t->keys && (size_t)(at - t->text) + 66 < sizeof(t->text); i++) {
        if (i && str_eq(t->key[i], t->key[i - 1]))
            continue;
        if (i)
            *at++ = ',';
        memcpy(at, t->key[i].p, t->key[i].n);
        at += t->key[i].n;
    }
    return str_from(t->text, (size_t)(at - t->text));
}

static void fill_details(struct trace *t, const struct account *a)
{
    const struct req *r = a->r;

    for (uint32_t i = 0; i < r->fact_count; i++)
        take_noted(t, &r->fact[i]);
    take_error(t, r);
    key_put(t, ATH_S("backend_engine"));
    key_put(t, ATH_S("logical_client_name"));
    key_put(t, ATH_S("operation_name"));
    key_put(t, ATH_S("operation_outcome"));
    key_put(t, ATH_S("route_family"));
    t->fact[T_DETAIL_KEYS].value = detail_keys(t);
    if (!t->by[T_TRACE_ID])
        t->fact[T_TRACE_ID].value = str_from(r->id, UUID_TEXT - 1);
}

/* Moves *at on to a mark and gives the microseconds between; 0 for a mark that was not reached. */
static uint64_t lap(uint64_t *at, uint64_t mark)
{
    uint64_t us = later(*at, mark) / 1000;

    if (mark > *at)
        *at = mark;
    return us;
}

static void fill_times(struct trace *t, struct account *a)
{
    static const struct {
        int mark, field;
    } laps[] = { { MARK_HEAD, T_HEAD_US },    { MARK_BODY, T_BODY_US },  { MARK_HANDLER, T_QUEUE_US },
                 { MARK_DB_SENT, T_WAIT_US }, { MARK_DB_DONE, T_DB_US }, { MARK_REPLY, T_REPLY_US },
                 { MARK_END, T_SEND_US } };
    uint64_t at = a->r->mark[MARK_FIRST_BYTE];

    for (size_t i = 0; i < ATH_COUNT(laps); i++)
        t->fact[laps[i].field].value = number(a, lap(&at, a->r->mark[laps[i].mark]));
}

static ath_str outcome_of(int status)
{
    static const ath_str outcomes[] = { { "other", 5 }, { "other", 5 }, { "success", 7 },
                                        { "redirect", 8 }, { "client_error", 12 }, { "server_error", 12 } };

    return outcomes[status >= 200 && status < 600 ? status / 100 : 0];
}

static ath_str ending_of(enum req_ending ending)
{
    static const ath_str words[] = {
        [REQ_ANSWERED] = { "answered", 8 },   [REQ_FAILED] = { "failed", 6 },
        [REQ_CLIENT_LEFT] = { "client_left", 11 }, [REQ_TIMED_OUT] = { "timed_out", 9 },
        [REQ_CUT] = { "cut", 3 },
    };

    return words[(size_t)ending < ATH_COUNT(words) ? ending : REQ_FAILED];
}

static void fill_fields(struct trace *t, struct account *a)
{
    const struct req *r = a->r;
    ath_fact *fact = t->fact;

    fact[T_METHOD_SPAN].value = fact[T_METHOD].value = r->method;
    fact[T_ROUTE_SPAN].value = fact[T_PATH].value = r->path;
    fact[T_PEER_SPAN].value = r->peer;
    fact[T_VERSION].value = str_of(athena_version);
    fact[T_REQUEST_ID].value = str_from(r->id, UUID_TEXT - 1);
    fact[T_CLIENT].value = fact[T_LOGICAL].value = r->client_name;
    fact[T_FAMILY].value = str_of(a->group);
    fact[T_OPERATION].value = str_of(a->route->def.operation);
    fact[T_STATUS].value = a->status_text;
    fact[T_OUTCOME].value = outcome_of(a->status);
    fact[T_DURATION].value = number(a, a->duration_ns / 1000000u);
    fact[T_ROUTE].value = str_of(a->route->def.path);
    fact[T_KEY].value = r->who.public_id;
    fact[T_IN].value = number(a, r->body_bytes);
    fact[T_OUT].value = number(a, r->sent_bytes);
    fact[T_ENDING].value = ending_of(r->ending);
    fact[T_W3C].value = r->trace_id;
    fact[T_SPAN].value = str_of(r->span_id);
}

static void write_trace(struct trace *t, struct account *a, int level)
{
    ath_event e = event_of(a, level, trace_source);

    fill_fields(t, a);
    fill_times(t, a);
    e.name = ATH_S("operation");
    e.message = ATH_S("gateway operation completed");
    hand_over(a, &e, t->fact, T_FACTS, T_SPANS);
}

/* A table that does not exist is a name that the caller made up: no label. */
static void count_operation(const struct trace *t, const struct account *a)
{
    struct metric_operation m = {
        .client = client_label(a->r),
        .table = t->fact[T_TABLE].value,
        .operation = str_of(a->route->def.operation),
        .method = a->r->method,
        .path = str_of(a->route->def.path),
        .cache_outcome = t->fact[T_CACHE_OUTCOME].value,
        .cache_source = t->fact[T_CACHE_SOURCE].value,
        .status = a->status,
        .duration_ns = a->duration_ns,
    };

    if (str_eq(t->fact[T_ERROR_CODE].value, ATH_S("undefined_table")))
        m.table = ATH_S("");
    metric_operation(&m);
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

static void account_operation(struct account *a)
{
    int level = a->status >= 500 ? ATH_ERROR : ATH_INFO;
    struct trace t;

    memcpy(t.fact, trace_facts, sizeof(t.fact));
    memset(t.by, 0, sizeof(t.by));
    t.keys = 0;
    t.message = BUF_HEAP;
    fill_details(&t, a);
    count_operation(&t, a);
    if (is_traced(a->r->path) && log_takes(level, trace_source, ATH_S("operation")))
        write_trace(&t, a, level);
    buf_free(&t.message);
}

void account_request(struct req *r)
{
    struct account a;

    account_fill(&a, r);
    if (a.route && a.route->def.operation)
        account_operation(&a);
    write_line(&a);
    count_request(&a);
}
