/* Rows of the log tables: gateway_request, gateway_operation, gateway_route.
 *
 * A request is one row of gateway_request_log, written when it is over, and one row of
 * gateway_operation_log when its route is an operation. A request of our own is part of the
 * caller's: it has the row of the operation alone, with the caller's method and path, and tells the
 * caller what it was, so that the caller's own row can say so. The facts of an event are the
 * columns, under their names and in the order of the published NDJSON lines; what is no column
 * (athena_url, internal_api_key_id, client_known) is there for the tables beside them.
 */
#include "server/account_priv.h"

#include "auth/ip.h"
#include "base/clock.h"
#include "db/client.h"
#include "io/crypto.h"

static const ath_str source = { "athena::rows", 12 };
static const ath_str request_name = { "gateway_request", 15 };
static const ath_str operation_name = { "gateway_operation", 17 };
static const ath_str route_name = { "gateway_route", 13 };
static const ath_str none = { NULL, 0 }, not_found = { "NOT_FOUND", 9 }, nothing = { "{}", 2 };
static const ath_str truth[2] = { { "false", 5 }, { "true", 4 } };
static const ath_str mask = { "[REDACTED]", 10 };

/* Room for what is put together before there is a draft: a thread needs it again and again. */
enum { FOR_DETAILS, FOR_HEADERS, FOR_QUERY, FOR_WORDS, ROOMS };
static _Thread_local struct buf rooms[ROOMS];

static struct buf *scratch(int which)
{
    buf_reset(&rooms[which]);
    return &rooms[which];
}

void account_loop_fini(void)
{
    for (int i = 0; i < ROOMS; i++)
        buf_free(&rooms[i]);
}

/* ---- gateway_request ---- */

enum {
    Q_ID,
    Q_CLIENT,
    Q_METHOD,
    Q_PATH,
    Q_QUERY,
    Q_STATUS,
    Q_IPV4,
    Q_ADDRESS,
    Q_AGENT,
    Q_HEADERS,
    Q_BODY,
    Q_USER,
    Q_COMPANY,
    Q_ORGANIZATION,
    Q_KEY,
    Q_KEY_INTERNAL,
    Q_PRESENTED,
    Q_HASH,
    Q_SALT,
    Q_AUTHENTICATED,
    Q_AUTHORIZED,
    Q_ENFORCED,
    Q_REASON,
    Q_HOST,
    Q_URL,
    Q_CACHED,
    Q_DURATION,
    Q_CACHE_OUTCOME,
    Q_CACHE_SOURCE,
    Q_OPERATION,
    Q_TABLE,
    Q_TIME,
    Q_KNOWN,
    Q_FACTS
};

#define COLUMN(key, form)                                                                          \
    {                                                                                              \
        ATH_S(key), { NULL, 0 }, form, 0                                                           \
    }

static const ath_fact request_facts[Q_FACTS] = {
    [Q_ID] = COLUMN("request_id", ATH_V_TEXT),
    [Q_CLIENT] = COLUMN("client", ATH_V_TEXT),
    [Q_METHOD] = COLUMN("method", ATH_V_TEXT),
    [Q_PATH] = COLUMN("path", ATH_V_TEXT),
    [Q_QUERY] = COLUMN("query_string", ATH_V_TEXT),
    [Q_STATUS] = COLUMN("status_code", ATH_V_NUMBER),
    [Q_IPV4] = COLUMN("ipv4", ATH_V_TEXT),
    [Q_ADDRESS] = COLUMN("ipv4_address", ATH_V_TEXT),
    [Q_AGENT] = COLUMN("user_agent", ATH_V_TEXT),
    [Q_HEADERS] = COLUMN("headers", ATH_V_JSON),
    [Q_BODY] = { ATH_S("body"), ATH_S("{}"), ATH_V_JSON, ATH_FACT_SAME },
    [Q_USER] = COLUMN("user_id", ATH_V_TEXT),
    [Q_COMPANY] = COLUMN("company_id", ATH_V_TEXT),
    [Q_ORGANIZATION] = COLUMN("organization_id", ATH_V_TEXT),
    [Q_KEY] = COLUMN("api_key_id", ATH_V_TEXT),
    [Q_KEY_INTERNAL] = COLUMN("internal_api_key_id", ATH_V_NUMBER),
    [Q_PRESENTED] = COLUMN("presented_api_key_public_id", ATH_V_TEXT),
    [Q_HASH] = COLUMN("presented_api_key_hash", ATH_V_TEXT),
    [Q_SALT] = COLUMN("presented_api_key_salt", ATH_V_TEXT),
    [Q_AUTHENTICATED] = COLUMN("api_key_authenticated", ATH_V_BOOL),
    [Q_AUTHORIZED] = COLUMN("api_key_authorized", ATH_V_BOOL),
    [Q_ENFORCED] = COLUMN("api_key_enforced", ATH_V_BOOL),
    [Q_REASON] = COLUMN("api_key_auth_reason", ATH_V_TEXT),
    [Q_HOST] = COLUMN("host", ATH_V_TEXT),
    [Q_URL] = COLUMN("athena_url", ATH_V_TEXT),
    [Q_CACHED] = COLUMN("cached", ATH_V_BOOL),
    [Q_DURATION] = COLUMN("duration_ms", ATH_V_NUMBER),
    [Q_CACHE_OUTCOME] = COLUMN("cache_lookup_outcome", ATH_V_TEXT),
    [Q_CACHE_SOURCE] = COLUMN("cache_source", ATH_V_TEXT),
    [Q_OPERATION] = COLUMN("operation", ATH_V_TEXT),
    [Q_TABLE] = COLUMN("table_name", ATH_V_TEXT),
    [Q_TIME] = COLUMN("time", ATH_V_NUMBER),
    [Q_KNOWN] = COLUMN("client_known", ATH_V_BOOL),
};

/* What both rows say of the request, as it stands in the draft. */
struct rows {
    struct account *a;
    const struct req *top; /* whose method and path they show */
    uint64_t time_ns;
    ath_str client, table, operation, cache_outcome, cache_source, cached, duration, time;
    bool known;                               /* the client, to the registry */
    ath_str headers, query, details, message; /* made before there is a draft */
};

/* A text into the draft; p NULL when there is none: SQL null. */
static ath_str put_or_null(struct account *a, ath_str s)
{
    return s.n ? account_put(a, s) : none;
}

static ath_str put_or_not_found(struct account *a, ath_str s)
{
    return s.n ? account_put(a, s) : not_found;
}

/* JSON is whole or not there. */
static ath_str put_json(struct account *a, ath_str s)
{
    ath_str kept = log_draft_text(&a->draft, s);

    return kept.n ? kept : nothing;
}

static void fill_key(ath_fact *fact, struct account *a)
{
    struct verdict v = account_verdict(a->r);

    fact[Q_KEY].value = put_or_null(a, a->r->who.key_id);
    fact[Q_KEY_INTERNAL].value = none; /* it is the key store's alone */
    fact[Q_PRESENTED].value = put_or_null(a, v.presented.n ? v.presented : a->r->who.public_id);
    fact[Q_HASH].value = fact[Q_SALT].value = v.hidden ? mask : none;
    fact[Q_AUTHENTICATED].value = truth[v.authenticated];
    fact[Q_AUTHORIZED].value = truth[v.authorized];
    fact[Q_ENFORCED].value = truth[v.enforced];
    fact[Q_REASON].value = v.reason;
}

static void fill_caller(ath_fact *fact, struct account *a)
{
    const struct req *r = a->r;
    ath_str host = req_find(r, ATH_S("host"));
    ath_str company = str_trim(req_find(r, ATH_S("x-company-id")));
    ath_str ip = ip_of_for_logs(a->r);

    fact[Q_IPV4].value = fact[Q_ADDRESS].value = put_or_not_found(a, ip);
    fact[Q_AGENT].value = put_or_not_found(a, req_find(r, ATH_S("user-agent")));
    fact[Q_USER].value = put_or_not_found(a, str_trim(req_find(r, ATH_S("x-user-id"))));
    fact[Q_ORGANIZATION].value =
        put_or_not_found(a, str_trim(req_find(r, ATH_S("x-organization-id"))));
    fact[Q_COMPANY].value = company.n ? account_put(a, company) : fact[Q_ORGANIZATION].value;
    fact[Q_HOST].value = put_or_not_found(a, host);
    fact[Q_URL].value = account_url(a, host);
}

static void write_request(struct rows *w)
{
    struct account *a = w->a;
    ath_event e = { .level = ATH_INFO,
                    .flags = ATH_EV_KEYS | ATH_EV_ROW,
                    .time_ns = w->time_ns,
                    .source = source,
                    .name = request_name,
                    .request_id = a->id,
                    .trace_id = a->w3c,
                    .fact = request_facts,
                    .fact_count = Q_FACTS };
    ath_fact *fact = log_draft_event(&a->draft, &e, 0);

    fact[Q_ID].value = a->id;
    fact[Q_CLIENT].value = w->client;
    fact[Q_METHOD].value = a->method;
    fact[Q_PATH].value = a->path;
    fact[Q_QUERY].value = put_or_not_found(a, w->query);
    fact[Q_STATUS].value = a->status_text;
    fact[Q_HEADERS].value = put_json(a, w->headers);
    fact[Q_CACHED].value = w->cached.n ? w->cached : truth[0];
    fact[Q_DURATION].value = w->duration;
    fact[Q_CACHE_OUTCOME].value = w->cache_outcome;
    fact[Q_CACHE_SOURCE].value = w->cache_source;
    fact[Q_OPERATION].value = w->operation;
    fact[Q_TABLE].value = w->table;
    fact[Q_TIME].value = w->time;
    fact[Q_KNOWN].value = truth[w->known];
    fill_caller(fact, a);
    fill_key(fact, a);
}

/* ---- gateway_operation ---- */

enum {
    OP_ID,
    OP_OPERATION,
    OP_TABLE,
    OP_CLIENT,
    OP_METHOD,
    OP_PATH,
    OP_STATUS,
    OP_DURATION,
    OP_DETAILS,
    OP_TIME,
    OP_ERROR,
    OP_MESSAGE,
    OP_CACHE_KEY,
    OP_CACHE_KEY_HASHED,
    OP_CACHE_OUTCOME,
    OP_CACHE_SOURCE,
    OP_CACHED,
    OP_KNOWN,
    OP_FACTS
};

static const ath_fact operation_facts[OP_FACTS] = {
    [OP_ID] = COLUMN("request_id", ATH_V_TEXT),
    [OP_OPERATION] = COLUMN("operation", ATH_V_TEXT),
    [OP_TABLE] = COLUMN("table_name", ATH_V_TEXT),
    [OP_CLIENT] = COLUMN("client", ATH_V_TEXT),
    [OP_METHOD] = COLUMN("method", ATH_V_TEXT),
    [OP_PATH] = COLUMN("path", ATH_V_TEXT),
    [OP_STATUS] = COLUMN("status_code", ATH_V_NUMBER),
    [OP_DURATION] = COLUMN("duration_ms", ATH_V_NUMBER),
    [OP_DETAILS] = COLUMN("details", ATH_V_JSON),
    [OP_TIME] = COLUMN("time", ATH_V_NUMBER),
    [OP_ERROR] = COLUMN("error", ATH_V_BOOL),
    [OP_MESSAGE] = COLUMN("message", ATH_V_TEXT),
    [OP_CACHE_KEY] = COLUMN("cache_key", ATH_V_TEXT),
    [OP_CACHE_KEY_HASHED] = COLUMN("cache_key_hashed", ATH_V_TEXT),
    [OP_CACHE_OUTCOME] = COLUMN("cache_lookup_outcome", ATH_V_TEXT),
    [OP_CACHE_SOURCE] = COLUMN("cache_source", ATH_V_TEXT),
    [OP_CACHED] = COLUMN("cached", ATH_V_BOOL),
    [OP_KNOWN] = COLUMN("client_known", ATH_V_BOOL),
};

/* A fact in JSON, as its form says; what its form promises and is not there is null. */
static void put_fact(struct buf *b, const ath_fact *f)
{
    if (f->form == ATH_V_PLAIN || f->form == ATH_V_TEXT)
        account_put_string(b, f->value);
    else if (f->value.n && f->value.n <= JSON_MOST)
        buf_end(b, str_put(buf_room(b, f->value.n), f->value));
    else
        buf_lit(b, "null");
}

static void put_detail(struct buf *b, const struct rows *w, uint8_t from, const char *hash)
{
    const struct account *a = w->a;

    switch (from) {
    case FROM_ERROR_CODE:
        account_put_string(b, account_error_code(a));
        break;
    case FROM_MESSAGE:
        account_put_string(b, w->message);
        break;
    case FROM_CLIENT:
        account_put_string(b, a->r->client_name);
        break;
    case FROM_OUTCOME:
        account_put_string(b, account_outcome(a->judged));
        break;
    case FROM_HASH:
        account_put_string(b, str_of(hash));
        break;
    default:
        put_fact(b, &a->r->fact[from]);
    }
}

/* The texts of the shape, and between them what is this request's own. What is more than JSON_MOST
 * ends behind a whole detail. */
static void put_details(struct buf *b, const struct rows *w, const char *hash)
{
    const struct shape *s = w->a->shape;
    size_t at = 0;
    uint32_t i = 0;

    for (; i < s->details && b->n < JSON_MOST; i++) {
        ath_str before = str_from(s->text + at, s->detail[i].end - at);
        buf_end(b, str_put(buf_room(b, before.n), before));
        put_detail(b, w, s->detail[i].from, hash);
        at = s->detail[i].end;
    }
    if (i == s->details)
        buf_mem(b, s->text + at, s->text_n - at);
    buf_char(b, '}');
}

static void write_operation(struct rows *w, const char *hash)
{
    struct account *a = w->a;
    ath_event e = { .level = ATH_INFO,
                    .flags = ATH_EV_KEYS | ATH_EV_ROW,
                    .time_ns = w->time_ns,
                    .source = source,
                    .name = operation_name,
                    .request_id = a->id,
                    .trace_id = a->w3c,
                    .fact = operation_facts,
                    .fact_count = OP_FACTS };
    ath_fact *fact = log_draft_event(&a->draft, &e, 0);

    fact[OP_ID].value = a->id;
    fact[OP_OPERATION].value = w->operation;
    fact[OP_TABLE].value = w->table;
    fact[OP_CLIENT].value = w->client;
    fact[OP_METHOD].value = a->method;
    fact[OP_PATH].value = a->path;
    fact[OP_STATUS].value = a->status_text;
    fact[OP_DURATION].value = w->duration;
    fact[OP_DETAILS].value = put_json(a, w->details);
    fact[OP_TIME].value = w->time;
    fact[OP_ERROR].value = truth[a->status >= 400];
    fact[OP_MESSAGE].value = put_or_null(a, w->message);
    fact[OP_CACHE_KEY].value = none;
    fact[OP_CACHE_KEY_HASHED].value = put_or_null(a, str_of(hash));
    fact[OP_CACHE_OUTCOME].value = w->cache_outcome;
    fact[OP_CACHE_SOURCE].value = w->cache_source;
    fact[OP_CACHED].value = w->cached.n ? w->cached : none;
    fact[OP_KNOWN].value = truth[w->known];
}

/* ---- gateway_route ---- */

enum {
    R_ID,
    R_SOURCE,
    R_OUTCOME,
    R_METHOD,
    R_PATH,
    R_HOST,
    R_PATTERN,
    R_PREFIX,
    R_KEY,
    R_OP,
    R_CLIENT,
    R_STATUS,
    R_DURATION,
    R_MESSAGE,
    R_METADATA,
    R_TIME,
    R_FACTS
};

static const ath_fact route_facts[R_FACTS] = {
    [R_ID] = COLUMN("request_id", ATH_V_TEXT),
    [R_SOURCE] = COLUMN("source", ATH_V_TEXT),
    [R_OUTCOME] = COLUMN("outcome", ATH_V_TEXT),
    [R_METHOD] = COLUMN("method", ATH_V_TEXT),
    [R_PATH] = COLUMN("path", ATH_V_TEXT),
    [R_HOST] = COLUMN("host", ATH_V_TEXT),
    [R_PATTERN] = COLUMN("wildcard_host_pattern", ATH_V_TEXT),
    [R_PREFIX] = COLUMN("wildcard_prefix", ATH_V_TEXT),
    [R_KEY] = COLUMN("route_key", ATH_V_TEXT),
    [R_OP] = COLUMN("public_op", ATH_V_TEXT),
    [R_CLIENT] = COLUMN("resolved_client", ATH_V_TEXT),
    [R_STATUS] = COLUMN("status_code", ATH_V_NUMBER),
    [R_DURATION] = COLUMN("duration_ms", ATH_V_NUMBER),
    [R_MESSAGE] = COLUMN("error_message", ATH_V_TEXT),
    [R_METADATA] = COLUMN("metadata", ATH_V_JSON),
    [R_TIME] = COLUMN("time", ATH_V_NUMBER),
};

static ath_str fact_of(const struct req *r, const char *key)
{
    const ath_fact *f = req_fact(r, key);

    return f ? f->value : none;
}

/* What went wrong on the way: the words of the answer, or that the operation behind it failed. */
static ath_str route_message(const struct account *a, ath_str outcome, struct buf *words)
{
    if (str_is(outcome, "forwarded_error")) {
        buf_printf(words, "Public route dispatch returned HTTP %d.", a->status);
        return buf_view(words);
    }
    return a->r->err.rc ? account_described(a, words) : none;
}

/* The draft holds what its texts take together: see text_room(). */
static void write_route(struct account *a, ath_str time)
{
    const struct req *r = a->r;
    ath_event e = { .level = ATH_INFO,
                    .flags = ATH_EV_KEYS | ATH_EV_ROW,
                    .source = source,
                    .name = route_name,
                    .request_id = a->id,
                    .fact = route_facts,
                    .fact_count = R_FACTS };
    ath_fact *fact = log_draft_event(&a->draft, &e, 0);
    ath_str outcome = fact_of(r, "route_outcome");

    fact[R_ID].value = a->id;
    fact[R_SOURCE].value = put_or_null(a, fact_of(r, "route_source"));
    fact[R_METHOD].value = a->method;
    fact[R_PATH].value = a->path;
    fact[R_HOST].value = put_or_null(a, req_find(r, ATH_S("host")));
    fact[R_PATTERN].value = put_or_null(a, fact_of(r, "route_pattern"));
    fact[R_PREFIX].value = put_or_null(a, fact_of(r, "route_prefix"));
    fact[R_KEY].value = put_or_null(a, fact_of(r, "route_key"));
    fact[R_OP].value = put_or_null(a, fact_of(r, "route_op"));
    fact[R_CLIENT].value = put_or_null(a, fact_of(r, "route_client"));
    fact[R_STATUS].value = a->status_text;
    fact[R_DURATION].value = account_number(a, a->duration_ns / 1000000u);
    if (str_is(outcome, "forwarded_ok") && a->status >= 400)
        outcome = ATH_S("forwarded_error");
    fact[R_OUTCOME].value = put_or_null(a, outcome);
    fact[R_MESSAGE].value = put_or_null(a, route_message(a, outcome, scratch(FOR_WORDS)));
    fact[R_METADATA].value = put_json(a, fact_of(r, "route_metadata"));
    fact[R_TIME].value = time;
}

/* ---- together ---- */

static ath_str seconds(struct account *a, uint64_t ns)
{
    return account_number(a, ns / 1000000000u);
}

/* The client by its name in the registry. Who was refused early has none yet, but named one. */
static ath_str client_of(const struct req *r, bool *ret_known)
{
    const struct db_client *c = r->task.client;

    if (unlikely(!c && r->client_name.n && !r->direct_uri.n))
        c = db_client_find(r->client_name);
    *ret_known = c && !r->direct_uri.n;
    return *ret_known ? str_of(c->shown) : r->client_name;
}

static void put_common(struct rows *w)
{
    struct account *a = w->a;
    const struct req *r = a->r;

    a->id = account_put(a, str_from(r->id, UUID_TEXT - 1));
    a->w3c = account_put(a, r->trace_id);
    a->method = account_put(a, w->top->method);
    a->path = account_put(a, account_path(w->top));
    a->status_text = account_number(a, (uint64_t)a->status);
    w->duration = account_number(a, a->duration_ns / 1000000u);
    w->time = seconds(a, w->time_ns);
    w->client = account_put(a, client_of(r, &w->known));
    w->table = put_or_null(a, w->table);
    w->operation = put_or_null(a, w->operation);
    w->cache_outcome = put_or_null(a, w->cache_outcome);
    w->cache_source = put_or_null(a, w->cache_source);
    if (w->cached.n)
        w->cached = truth[str_is(w->cached, "true")];
}

/* What the operation was: of the request itself, or of the one that it led to, which has told. */
static void operation_fill(struct rows *w)
{
    const struct account *a = w->a;

    if (likely(a->shape != NULL)) {
        w->operation = a->shape->operation;
        w->table = account_noted(a, T_TABLE);
        w->cached = account_noted(a, T_CACHED);
        w->cache_outcome = account_noted(a, T_CACHE_OUTCOME);
        w->cache_source = account_noted(a, T_CACHE_SOURCE);
        return;
    }
    w->operation = fact_of(a->r, "led_to_operation");
    w->table = fact_of(a->r, "led_to_table");
    w->cached = fact_of(a->r, "led_to_cached");
    w->cache_outcome = fact_of(a->r, "led_to_cache_outcome");
    w->cache_source = fact_of(a->r, "led_to_cache_source");
}

static size_t text_room(const struct rows *w)
{
    enum { FIXED = 1024 + 64 }; /* numbers, ids, texts of ours, NULs */
    const struct req *r = w->a->r;
    size_t n = FIXED + 2 * r->client_name.n + w->top->method.n + account_path(w->top).n +
               w->headers.n + w->query.n + w->details.n + w->message.n + w->table.n +
               w->operation.n + w->cache_outcome.n + w->cache_source.n + r->peer.n;

    for (uint32_t i = 0; w->headers.n && i < r->header_count; i++)
        n += r->header[i].value.n < VALUE_MOST ? r->header[i].value.n : VALUE_MOST;
    return n < 2 * TEXTS_MOST ? n : 2 * TEXTS_MOST;
}

/* What is put together of many pieces, before there is a draft. */
static void prepare(struct rows *w, bool request, bool operation, char hash[SHA256_HEX])
{
    struct buf *details = scratch(FOR_DETAILS), *headers = scratch(FOR_HEADERS);
    struct buf *query = scratch(FOR_QUERY);
    const struct account *a = w->a;
    const struct shape *s = a->shape;

    operation_fill(w);
    if (operation && s->message)
        w->message = account_described(a, scratch(FOR_WORDS));
    else if (operation)
        w->message = account_noted(a, T_MESSAGE);
    hash[0] = 0;
    if (operation && s->cache_key >= 0)
        crypto_sha256_hex(a->r->fact[s->cache_key].value, hash);
    if (operation)
        put_details(details, w, hash);
    if (request) {
        account_put_headers(headers, a->r);
        account_put_query(query, a->r->query);
    }
    w->details = buf_view(details);
    w->headers = buf_view(headers);
    w->query = buf_view(query);
}

static void write_rows(struct rows *w, bool request, bool operation)
{
    struct account *a = w->a;
    char hash[SHA256_HEX];

    if (!request && !operation)
        return;
    prepare(w, request, operation, hash);
    if (!log_draft_begin(&a->draft, request + operation,
                         (request ? Q_FACTS : 0u) + (operation ? OP_FACTS : 0u), text_room(w)))
        return;
    w->time_ns = clock_wall_ns();
    put_common(w);
    if (request)
        write_request(w);
    if (operation)
        write_operation(w, hash);
    log_draft_send(&a->draft);
}

static void write_route_row(struct account *a)
{
    const struct req *r = a->r;
    size_t room = TEXT_MOST + 1024 + r->client_name.n + r->method.n + account_path(r).n;

    for (uint32_t i = 0; i < r->fact_count; i++)
        room += r->fact[i].value.n + 1;
    room += req_find(r, ATH_S("host")).n;
    if (!log_draft_begin(&a->draft, 1, R_FACTS, room < TEXTS_MOST ? room : TEXTS_MOST))
        return;
    a->id = account_put(a, str_from(r->id, UUID_TEXT - 1));
    a->method = account_put(a, r->method);
    a->path = account_put(a, account_path(r));
    a->status_text = account_number(a, (uint64_t)a->status);
    write_route(a, seconds(a, clock_wall_ns()));
    log_draft_send(&a->draft);
}

/* An alias leads to an operation, or should have. */
static bool is_alias(const struct account *a)
{
    return a->route && str_starts(str_of(a->route->def.path), "/public/");
}

void account_rows(struct account *a)
{
    struct rows w = { .a = a, .top = a->r };
    bool request = a->shape || is_alias(a);

    if (account_skipped(a->r))
        return;
    if (request)
        write_rows(&w, log_takes_row(request_name),
                   a->shape != NULL && log_takes_row(operation_name));
    if (unlikely(a->r->fact_count && req_fact(a->r, "route_source")) && log_takes_row(route_name))
        write_route_row(a);
}

static void tell(struct req *top, const char *key, ath_str value)
{
    if (value.n)
        req_note(&top->task, &(ath_fact){ str_of(key), value, ATH_V_TEXT, 0 });
}

void account_rows_called(struct account *a)
{
    ath_task *parent = a->r->task.parent;
    struct req *top = parent && req_is(parent) ? req_of(parent) : NULL;
    struct rows w = { .a = a, .top = top ? top : a->r };

    if (top && account_skipped(top))
        return;
    if (top) {
        tell(top, "led_to_operation", a->shape->operation);
        tell(top, "led_to_table", account_noted(a, T_TABLE));
        tell(top, "led_to_cached", account_noted(a, T_CACHED));
        tell(top, "led_to_cache_outcome", account_noted(a, T_CACHE_OUTCOME));
        tell(top, "led_to_cache_source", account_noted(a, T_CACHE_SOURCE));
    }
    if (log_takes_row(operation_name))
        write_rows(&w, false, true);
}
