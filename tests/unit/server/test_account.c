/* core/server: the line, the trace event and the metrics of a finished request. */
#include "server/account.h"

#include "db/client.h"
#include "log/log.h"
#include "log/metric.h"
#include "support/check_main.h"

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

static const struct route fetch = {
    .def = { .method = "POST", .path = "/gateway/fetch", .operation = "fetch" },
    .group = "gateway",
};

static void request(struct req *r, const struct route *route, const char *path, int status)
{
    *r = (struct req){ .method = ATH_S("POST"), .path = str_of(path), .peer = ATH_S("10.0.0.7"),
                       .id = "24d26ac3-64e9-416b-afd9-4db3a9520ba1", .span_id = "0123456789abcdef",
                       .trace_id = ATH_S("24d26ac364e9416bafd94db3a9520ba1"),
                       .client_name = ATH_S("shop"), .status = status, .answered = true,
                       .ending = REQ_ANSWERED, .body_bytes = 58, .sent_bytes = 400 };
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

SUITE("account", a_fetch_leaves_its_line_and_its_trace, an_error_gives_code_and_message_without_secrets,
      only_gateway_traffic_is_traced, a_client_that_left_is_499, the_filter_hides_lines_and_prefix,
      metrics_have_bounded_labels)
