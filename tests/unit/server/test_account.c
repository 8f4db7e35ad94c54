/* core/server: the line, the trace event and the metrics of a finished request. */
#include "server/account.h"

#include "auth/ip.h"
#include "db/client.h"
#include "log/log.h"
#include "log/metric.h"
#include "support/check_main.h"
#include "support/eventtext.h"

static struct buf text;          /* what the sink got */

static int keep(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    (void)state, (void)e;
    for (size_t i = 0; i < n; i++) {
        buf_printf(&text, "%u %s %s", batch[i]->level, batch[i]->source.p, batch[i]->message.p);
        for (uint32_t f = 0; f < batch[i]->fact_count; f++)
            buf_printf(&text, " %s=%s", batch[i]->fact[f].key.p, batch[i]->fact[f].value.p);
        buf_char(&text, '\n');
    }
    return 0;
}

static const ath_sink sink = { ATH_CAP(ath_sink, ATH_CAP_SINK, "keep"), .events = "*", .write = keep };

/* The rows, null as in SQL. */
static int keep_rows(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    (void)state, (void)e;
    events_text(&text, batch, n);
    return 0;
}

static const ath_sink rows = { ATH_CAP(ath_sink, ATH_CAP_SINK, "rows"), .write = keep_rows,
                               .events = "gateway_request gateway_operation gateway_route" };

static const struct route fetch = {
    .def = { .method = "POST", .path = "/gateway/fetch", .operation = "fetch" },
    .group = "gateway",
};

static void request(struct req *r, const struct route *route, const char *path, int status)
{
    static const uint8_t peer[16] = { [10] = 0xFF, 0xFF, 10, 0, 0, 7 };

    *r = (struct req){ .method = ATH_S("POST"), .path = str_of(path), .peer = ATH_S("10.0.0.7"),
                       .peer_address = peer,
                       .id = "24d26ac3-64e9-416b-afd9-4db3a9520ba1", .span_id = "0123456789abcdef",
                       .trace_id = ATH_S("24d26ac364e9416bafd94db3a9520ba1"),
                       .client_name = ATH_S("shop"), .status = status, .answered = true,
                       .ending = REQ_ANSWERED, .body_bytes = 58, .sent_bytes = 400 };
    arena_init(&r->task.arena);
    err_reset(&r->err);
    r->match.route = route;
    uint64_t *const marks[] = { &r->mark[MARK_FIRST_BYTE], &r->mark[MARK_HEAD], &r->mark[MARK_BODY],
                                &r->mark[MARK_HANDLER], &r->task.db_sent_ns, &r->task.db_done_ns,
                                &r->mark[MARK_REPLY], &r->mark[MARK_END] };
    for (size_t i = 0; i < ATH_COUNT(marks); i++) /* 1 ms each, then 2, 3 ... */
        *marks[i] = 1000000000u + (uint64_t)(i * (i + 1) / 2) * 1000000u;
}

static const char *account(struct req *r)
{
    struct log_sink *s = NULL;
    ath_err e;

    buf_reset(&text);
    ck_assert_int_eq(log_sink_start("keep", &sink, NULL, NULL, &s, &e), 0);
    account_request(r);
    log_sink_stop(s);
    return buf_view(&text).p;
}

static const char *account_rows_of(struct req *r)
{
    struct log_sink *s = NULL;
    ath_err e;

    buf_reset(&text);
    ck_assert_int_eq(log_sink_start("rows", &rows, NULL, NULL, &s, &e), 0);
    account_request(r);
    arena_free(&r->task.arena);
    arena_init(&r->task.arena);
    log_sink_stop(s);
    return buf_view(&text).p;
}

/* D1, 20.4: one row each, final, without what is secret. */
START_TEST(a_fetch_leaves_its_rows)
{
    static ath_fact facts[] = {
        { ATH_S("cache_key"), ATH_S("orders:_:id"), ATH_V_TEXT, 0 },
        { ATH_S("cached"), ATH_S("true"), ATH_V_BOOL, 0 },
        { ATH_S("table_name"), ATH_S("orders"), ATH_V_TEXT, 0 },
        { ATH_S("note"), ATH_S("a \"b\"\\"), ATH_V_TEXT, 0 },
        { ATH_S("count"), ATH_S(""), ATH_V_NUMBER, 0 },
    };
    static ath_pair headers[] = {
        { ATH_S("host"), ATH_S("gw:1") },          { ATH_S("cookie"), ATH_S("s3cret") },
        { ATH_S("x-pg-uri"), ATH_S("s3cret") },    { ATH_S("x-forwarded-for"), ATH_S("192.0.2.1, 10.0.0.1") },
        { ATH_S("referer"), ATH_S("http://u:s3cret@h/") }, { ATH_S("host"), ATH_S("again") },
    };
    struct ip_rules rules = { .trusted_proxies = ATH_S("10.0.0.0/8"), .forwarded_in_logs = true };
    struct req r;
    ath_err e;

    account_configure(&(struct account_options){ .enforced = false });
    ck_assert_int_eq(ip_configure(&rules, &e), 0);
    request(&r, &fetch, "/gateway/fetch", 200);
    r.fact = facts;
    r.fact_count = ATH_COUNT(facts);
    r.header = headers;
    r.header_count = ATH_COUNT(headers);
    r.header_bits = ~(uint64_t)0;
    r.query = ATH_S("a=1&api_key=s3cret&b");
    r.who.flags = ATH_WHO_ADMIN;
    ck_assert_str_eq(
        account_rows_of(&r),
        "gateway_request request_id=24d26ac3-64e9-416b-afd9-4db3a9520ba1 client=shop method=POST "
        "path=/gateway/fetch query_string=a=1&api_key=[REDACTED]&b status_code=200 ipv4=192.0.2.1 "
        "ipv4_address=192.0.2.1 user_agent=NOT_FOUND headers={\"host\":\"gw:1\","
        "\"cookie\":\"[REDACTED]\",\"x-pg-uri\":\"[REDACTED]\","
        "\"x-forwarded-for\":\"192.0.2.1, 10.0.0.1\",\"referer\":\"http://u:***@h/\"} body={} "
        "user_id=NOT_FOUND company_id=NOT_FOUND organization_id=NOT_FOUND api_key_id=null "
        "internal_api_key_id=null presented_api_key_public_id=null presented_api_key_hash=[REDACTED] "
        "presented_api_key_salt=[REDACTED] api_key_authenticated=true api_key_authorized=true "
        "api_key_enforced=false api_key_auth_reason=static_admin_key host=gw:1 athena_url=http://gw:1 "
        "cached=true duration_ms=21 cache_lookup_outcome=null cache_source=null operation=fetch "
        "table_name=orders client_known=false\n"
        "gateway_operation request_id=24d26ac3-64e9-416b-afd9-4db3a9520ba1 operation=fetch "
        "table_name=orders client=shop method=POST path=/gateway/fetch status_code=200 duration_ms=21 "
        "details={\"backend_engine\":\"postgres\","
        "\"cache_key_hashed\":\"6ebd3329b0f8a99e9e870866b0381e43dcd3bf9275ded619befc53142da83baa\","
        "\"cached\":true,\"count\":null,\"logical_client_name\":\"shop\",\"note\":\"a \\\"b\\\"\\\\\","
        "\"operation_name\":\"fetch\",\"operation_outcome\":\"success\",\"route_family\":\"gateway\"} "
        "error=false message=null cache_key=null "
        "cache_key_hashed=6ebd3329b0f8a99e9e870866b0381e43dcd3bf9275ded619befc53142da83baa "
        "cache_lookup_outcome=null cache_source=null cached=true client_known=false\n");
    account_loop_fini();
}
END_TEST

/* Sinks that take every event get no rows; an address is believed from a proxy alone. */
START_TEST(rows_are_for_who_names_them)
{
    static ath_pair headers[] = { { ATH_S("x-real-ip"), ATH_S("192.0.2.1") } };
    struct ip_rules rules = { .trusted_proxies = ATH_S("127.0.0.0/8"), .forwarded_in_logs = true };
    static ath_pair probe[] = { { ATH_S("user-agent"), ATH_S("probe/1") } };
    struct req r;
    ath_err e;

    account_configure(&(struct account_options){ .skip_user_agents = ATH_S("probe/1") });
    ck_assert_int_eq(ip_configure(&rules, &e), 0);
    request(&r, &fetch, "/gateway/fetch", 200);
    ck_assert_ptr_null(strstr(account(&r), "gateway_request"));
    r.header = headers;
    r.header_count = 1;
    r.header_bits = ~(uint64_t)0;
    ck_assert_ptr_nonnull(strstr(account_rows_of(&r), " ipv4=10.0.0.7 "));
    r.header = probe;
    ck_assert_str_eq(account_rows_of(&r), "");
    account_configure(&(struct account_options){ .enforced = false });
    account_loop_fini();
}
END_TEST

START_TEST(a_fetch_leaves_its_line_and_its_trace)
{
    static ath_fact facts[] = {
        { ATH_S("cache_key"), ATH_S("orders:_:id"), ATH_V_TEXT, 0 },
        { ATH_S("cached"), ATH_S("false"), ATH_V_BOOL, 0 },
        { ATH_S("cache_source"), ATH_S("database"), ATH_V_PLAIN, 0 },
        { ATH_S("cache_lookup_outcome"), ATH_S("miss_all_tiers"), ATH_V_PLAIN, 0 },
        { ATH_S("table_name"), ATH_S("orders"), ATH_V_TEXT, 0 },
        { ATH_S("row_count"), ATH_S("25"), ATH_V_NUMBER, 0 },
        { ATH_S("count"), ATH_S("null"), ATH_V_JSON, 0 },
    };
    struct req r;

    request(&r, &fetch, "/gateway/fetch", 200);
    r.fact = facts;
    r.fact_count = ATH_COUNT(facts);
    ck_assert_str_eq(
        account(&r),
        "3 athena_rs::gateway_trace gateway operation completed span.http_method=POST "
        "span.http_route=/gateway/fetch span.net_peer_addr=10.0.0.7 event=gateway_operation "
        "athena_version=0.1.0 request_id=24d26ac3-64e9-416b-afd9-4db3a9520ba1 client=shop "
        "logical_client_name=shop method=POST path=/gateway/fetch route_family=gateway operation=fetch "
        "table_name=orders status_code=200 outcome=success duration_ms=21 backend= "
        "backend_engine=postgres error_code= trace_id=24d26ac3-64e9-416b-afd9-4db3a9520ba1 "
        "cache_lookup_outcome=miss_all_tiers cache_source=database cached=false statement_count=0 "
        "row_count=25 returned_row_count=0 rows_affected=0 resource_id= "
        "detail_keys=backend_engine,cache_key,cache_key_hashed,cache_lookup_outcome,cache_source,"
        "cached,count,logical_client_name,operation_name,operation_outcome,route_family,row_count "
        "message= route=/gateway/fetch key_id= request_bytes=58 response_bytes=400 head_us=1000 "
        "body_us=2000 queue_us=3000 wait_us=4000 db_us=5000 reply_us=6000 send_us=7000 "
        "ending=answered w3c_trace_id=24d26ac364e9416bafd94db3a9520ba1 span_id=0123456789abcdef\n"
        "3 athena::http request completed span.http_method=POST span.http_route=/gateway/fetch "
        "span.net_peer_addr=10.0.0.7 span.http_status_code=200 http_method=POST "
        "http_route=/gateway/fetch http_status_code=200\n");
}
END_TEST

START_TEST(an_error_gives_code_and_message_without_secrets)
{
    struct req r;
    const char *lines;

    request(&r, &fetch, "/gateway/fetch", 503);
    err_raise(&r.err, "connection_error", "could not connect to \"postgres://u:pw@h/db\"");
    r.ending = REQ_FAILED;
    r.task.db_sent_ns = r.task.db_done_ns = 0;
    lines = account(&r);
    ck_assert_ptr_nonnull(strstr(lines, "1 athena_rs::gateway_trace "));
    ck_assert_ptr_nonnull(strstr(lines, " outcome=server_error "));
    ck_assert_ptr_nonnull(strstr(lines, " error_code=connection_error "));
    ck_assert_ptr_nonnull(strstr(lines, "detail_keys=backend_engine,error_code,logical_client_name,"
                                        "message,operation_name,operation_outcome,route_family "
                                        "message=could not connect to \"postgres://u:***@h/db\" route="));
    ck_assert_ptr_nonnull(strstr(lines, " queue_us=3000 wait_us=0 db_us=0 reply_us=15000 send_us=7000 "
                                        "ending=failed "));
    ck_assert_ptr_nonnull(strstr(lines, "\n1 athena::http request completed "));
}
END_TEST

START_TEST(only_gateway_traffic_is_traced)
{
    static const struct route ping = { .def = { .path = "/ping" }, .group = "health" };
    static const struct route table = { .def = { .path = "/management/tables", .operation = "create_table" },
                                        .group = "management" };
    struct req r;

    request(&r, &ping, "/ping", 200);
    ck_assert_ptr_null(strstr(account(&r), "gateway_trace"));
    request(&r, &table, "/management/tables", 200);
    ck_assert_ptr_null(strstr(account(&r), "gateway_trace"));
    request(&r, NULL, "/no/such", 404);
    ck_assert_ptr_nonnull(strstr(account(&r), "2 athena::http request completed "));
    ck_assert_ptr_null(strstr(account(&r), "gateway_trace"));
}
END_TEST

START_TEST(a_client_that_left_is_499)
{
    struct req r;
    const char *lines;

    request(&r, &fetch, "/gateway/fetch", 0);
    r.answered = false;
    r.ending = REQ_CLIENT_LEFT;
    r.mark[MARK_REPLY] = 0;
    lines = account(&r);
    ck_assert_ptr_nonnull(strstr(lines, " status_code=499 outcome=client_error duration_ms=28 "));
    ck_assert_ptr_nonnull(strstr(lines, " ending=client_left "));
}
END_TEST

START_TEST(the_filter_hides_lines_and_prefix)
{
    struct req r;
    ath_err e;

    log_filter("warn", &e);
    request(&r, &fetch, "/gateway/fetch", 200);
    ck_assert_str_eq(account(&r), "");
    request(&r, NULL, "/no/such", 404);
    ck_assert_str_eq(account(&r), "2 athena::http request completed http_method=POST http_route=/no/such "
                                  "http_status_code=404\n");
    log_filter("info", &e);
}
END_TEST

static bool counted(const char *line)
{
    struct buf b = BUF_HEAP;
    bool found;

    metric_render(&b);
    found = strstr(b.p, line) != NULL;
    buf_free(&b);
    return found;
}

static bool shows(const char *said, const char *key, const char *value, const char *next)
{
    struct buf want = BUF_HEAP;
    bool there;

    buf_printf(&want, " %s=%s %s=", key, value, next);
    there = strstr(said, want.p) != NULL;
    buf_free(&want);
    return there;
}

/* D-42: what a caller makes up is no label, and of its length 512 bytes are stored, whole characters. */
START_TEST(paths_are_cut_and_no_labels)
{
    char path[700] = "/rest/v1/", cut[520];
    struct req r;

    for (size_t i = strlen(path); i + 2 < sizeof(path); i += 2)
        memcpy(path + i, "\xC3\xB6", 3);
    snprintf(cut, sizeof(cut), "%.511s", path); /* nine bytes and whole pairs */
    request(&r, &fetch, path, 200);
    account_rows_of(&r);
    ck_assert(shows(text.p, "path", cut, "query_string"));
    ck_assert(shows(text.p, "path", cut, "status_code"));
    ck_assert(shows(account(&r), "path", cut, "route_family"));
    ck_assert(shows(text.p, "http_route", cut, "http_status_code"));
    request(&r, NULL, path, 404);
    ck_assert(shows(account(&r), "http_route", cut, "http_status_code"));
    ck_assert(counted("route=\"unmatched\""));
    ck_assert(!counted("/rest/v1/\xC3"));
    account_loop_fini();
}
END_TEST

/* What no JSON and no PostgreSQL takes as it is; a thing that came twice; more than a row holds. */
START_TEST(headers_are_json_whatever_came)
{
    static char nul[] = "a\0b";
    static ath_pair few[] = {
        { ATH_S("x-a"), ATH_S("say \"hi\"\\\t\x01") }, { ATH_S("x-b"), { nul, 3 } },
        { ATH_S("x-a"), ATH_S("again") },              { ATH_S("x-c"), ATH_S("") },
        { ATH_S("x-api-key"), ATH_S("s3cret \"") },     { ATH_S("x-d"), ATH_S("h\xC3\xB6 x:y//z") },
        { ATH_S("x-e"), ATH_S("\"postgres://u:s3cret@h/\"") },
    };
    static char longer[1500];
    static ath_pair many[40];
    struct req r;

    request(&r, &fetch, "/gateway/fetch", 200);
    r.header = few;
    r.header_count = ATH_COUNT(few);
    account_rows_of(&r);
    ck_assert_ptr_nonnull(
        strstr(text.p, " headers={\"x-a\":\"say \\\"hi\\\"\\\\\\t\\u0001\",\"x-b\":\"a?b\",\"x-c\":\"\","
                       "\"x-api-key\":\"[REDACTED]\",\"x-d\":\"h\xC3\xB6 x:y//z\","
                       "\"x-e\":\"\\\"postgres://u:***@h/\\\"\"} body="));
    memset(longer, 'v', sizeof(longer) - 1);
    for (size_t i = 0; i < ATH_COUNT(many); i++)
        many[i] = (ath_pair){ { &"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"[i], 1 }, str_of(longer) };
    r.header = many;
    r.header_count = ATH_COUNT(many);
    account_rows_of(&r);
    ck_assert_ptr_nonnull(strstr(text.p, "\",\"[CUT]\":34} body=")); /* six of 1024 bytes each */
    account_loop_fini();
}
END_TEST

START_TEST(metrics_have_bounded_labels)
{
    static char shown[] = "Acme";
    struct db_client client = { .shown = shown };
    static ath_fact facts[] = { { ATH_S("table_name"), ATH_S("made_up"), ATH_V_TEXT, 0 } };
    static const struct route update = {
        .def = { .method = "POST", .path = "/gateway/update", .operation = "update" }, .group = "gateway",
    };
    struct req r;
    ath_err e;

    request(&r, &update, "/gateway/update", 400);
    r.client_name = ATH_S("ACME");
    r.task.client = &client;
    r.fact = facts;
    r.fact_count = 1;
    err_raise(&r.err, "undefined_table", "relation \"made_up\" does not exist");
    ck_assert_int_eq(phase_account(&r, &e), PHASE_NEXT);
    ck_assert(counted("athena_http_in_flight_requests{method=\"POST\",route=\"/gateway/update\",route_group=\"gateway\"} 1\n"));
    account(&r);
    ck_assert(counted("athena_http_in_flight_requests{method=\"POST\",route=\"/gateway/update\",route_group=\"gateway\"} 0\n"));
    ck_assert(counted("athena_gateway_operation_total{client=\"Acme\",table=\"unknown\",operation=\"update\",status_family=\"4xx\",cache_outcome=\"none\",cache_source=\"none\"} 1\n"));
    request(&r, NULL, "/random/path", 404);
    r.client_name = ATH_S("invented");
    account(&r);
    ck_assert(counted("athena_http_requests_by_client_total{client=\"unknown\",method=\"POST\",route_group=\"other\",status_family=\"4xx\"}"));
    ck_assert(!counted("invented"));
    ck_assert(counted("route=\"unmatched\""));
    buf_free(&text);
}
END_TEST

SUITE("account", a_fetch_leaves_its_rows, rows_are_for_who_names_them,
      a_fetch_leaves_its_line_and_its_trace, an_error_gives_code_and_message_without_secrets,
      only_gateway_traffic_is_traced, a_client_that_left_is_499, the_filter_hides_lines_and_prefix,
      metrics_have_bounded_labels, paths_are_cut_and_no_labels, headers_are_json_whatever_came)
