/* core/log: counting, label caps, and the Prometheus text. */
#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "base/map.h"
#include "lib/buf.h"
#include "log/metric.h"
#include "support/check_main.h"

#include "families.inc"

static struct buf render(void)
{
    struct buf b = BUF_HEAP;

    metric_render(&b);
    return b;
}

static bool has(const char *text, const char *line)
{
    size_t n = strlen(line);

    for (const char *p = text; (p = strstr(p, line)); p++)
        if ((p == text || p[-1] == '\n') && p[n] == '\n')
            return true;
    return false;
}

static size_t lines_with(const char *text, const char *start)
{
    size_t n = 0;

    for (const char *p = text; (p = strstr(p, start)); p++)
        n += p == text || p[-1] == '\n';
    return n;
}

#define HAS(line) \
    do { \
        struct buf b_ = render(); \
        ck_assert_msg(has(b_.p, line), "not there: %s", line); \
        buf_free(&b_); \
    } while (0)

static void request(const char *method, const char *route, const char *client, int status, uint64_t ns)
{
    struct metric_http m = { .method = str_of(method), .route = route, .route_group = "gateway",
                             .client = str_of(client), .status = status, .duration_ns = ns,
                             .request_bytes = 10, .response_bytes = 100 };

    metric_http(&m);
}

START_TEST(one_request_moves_all_its_families)
{
    request("POST", "/gateway/fetch", "shop", 200, 5490000);
    request("POST", "/gateway/fetch", "shop", 200, 400000);
    request("POST", "/gateway/fetch", "", 503, 40000000000u);
    request("BREW", "unmatched", "", 404, 0);
    HAS("athena_http_requests_observed_total 4");
    HAS("athena_http_error_rate 0.500000");
    HAS("athena_http_server_error_rate 0.250000");
    HAS("athena_http_requests_total{method=\"POST\",route=\"/gateway/fetch\",status_family=\"2xx\"} 2");
    HAS("athena_http_request_duration_seconds_sum{method=\"POST\",route=\"/gateway/fetch\",status_family=\"2xx\"} 0.005890");
    HAS("athena_http_request_duration_seconds_count{method=\"POST\",route=\"/gateway/fetch\",status_family=\"2xx\"} 2");
    HAS("athena_http_request_duration_seconds_min{method=\"POST\",route=\"/gateway/fetch\",status_family=\"2xx\"} 0.000400");
    HAS("athena_http_request_duration_seconds_max{method=\"POST\",route=\"/gateway/fetch\",status_family=\"2xx\"} 0.005490");
    HAS("athena_http_request_duration_seconds_histogram_bucket{method=\"POST\",route=\"/gateway/fetch\",route_group=\"gateway\",status_code=\"200\",status_family=\"2xx\",le=\"0.005\"} 1");
    HAS("athena_http_request_duration_seconds_histogram_bucket{method=\"POST\",route=\"/gateway/fetch\",route_group=\"gateway\",status_code=\"200\",status_family=\"2xx\",le=\"0.01\"} 2");
    HAS("athena_http_request_duration_seconds_histogram_bucket{method=\"POST\",route=\"/gateway/fetch\",route_group=\"gateway\",status_code=\"503\",status_family=\"5xx\",le=\"30\"} 0");
    HAS("athena_http_request_duration_seconds_histogram_bucket{method=\"POST\",route=\"/gateway/fetch\",route_group=\"gateway\",status_code=\"503\",status_family=\"5xx\",le=\"+Inf\"} 1");
    HAS("athena_http_requests_by_client_total{client=\"shop\",method=\"POST\",route_group=\"gateway\",status_family=\"2xx\"} 2");
    HAS("athena_http_requests_by_client_total{client=\"unknown\",method=\"OTHER\",route_group=\"gateway\",status_family=\"4xx\"} 1");
    HAS("athena_http_requests_by_status_family_total{status_family=\"5xx\"} 1");
    HAS("athena_http_response_bytes_observed_sum 400.000000");
    HAS("athena_http_request_bytes_max 10.000000");
    HAS("athena_http_routes_tracked 3");
    HAS("athena_http_handler_errors_total{method=\"POST\",route=\"/gateway/fetch\",route_group=\"gateway\"} 0");
}
END_TEST

START_TEST(in_flight_counts_up_and_down)
{
    struct metric_flight *one = metric_flight_begin(ATH_S("GET"), "/ping", "health");
    struct metric_flight *two = metric_flight_begin(ATH_S("GET"), "/ping", "health");

    metric_flight_end(one);
    HAS("athena_http_in_flight_requests{method=\"GET\",route=\"/ping\",route_group=\"health\"} 1");
    HAS("athena_http_in_flight_requests_max{method=\"GET\",route=\"/ping\",route_group=\"health\"} 2");
    HAS("athena_http_in_flight_requests_total 1");
    HAS("athena_http_in_flight_requests_max_total 2");
    metric_flight_end(two);
    metric_flight_end(NULL);
}
END_TEST

START_TEST(one_operation_moves_all_its_families)
{
    struct metric_operation m = { .client = ATH_S("shop"), .table = ATH_S("orders"),
                                  .operation = "fetch", .method = ATH_S("POST"),
                                  .route = "/gateway/fetch", .status = 200,
                                  .duration_ns = 2000000,
                                  .cache_outcome = ATH_S("miss_all_tiers"),
                                  .cache_source = ATH_S("database") };

    metric_operation(&m);
    m.status = 400;
    m.table = m.cache_outcome = m.cache_source = ATH_S("");
    metric_operation(&m);
    HAS("athena_gateway_operation_total{client=\"shop\",table=\"orders\",operation=\"fetch\",status_family=\"2xx\",cache_outcome=\"miss_all_tiers\",cache_source=\"database\"} 1");
    HAS("athena_gateway_operation_duration_seconds_bucket{client=\"shop\",table=\"orders\",operation=\"fetch\",status_family=\"2xx\",cache_outcome=\"miss_all_tiers\",cache_source=\"database\",le=\"0.0025\"} 1");
    HAS("athena_gateway_operation_detailed_total{client=\"shop\",table=\"unknown\",operation=\"fetch\",method=\"POST\",route=\"/gateway/fetch\",status_code=\"400\",status_family=\"4xx\",error_class=\"client\",cache_outcome=\"none\",cache_source=\"none\"} 1");
    HAS("athena_gateway_operation_detailed_label_sets 2");
    HAS("athena_gateway_operation_detailed_observed_total 2");
    HAS("athena_gateway_operations_by_operation_route_total{operation=\"fetch\",method=\"POST\",route=\"/gateway/fetch\"} 2");
    HAS("athena_gateway_operation_errors_by_operation_total{operation=\"fetch\",error_class=\"client\"} 1");
    HAS("athena_gateway_operation_error_rate{operation=\"fetch\",error_class=\"all\"} 0.500000");
    HAS("athena_gateway_operation_error_rate{operation=\"fetch\",error_class=\"server\"} 0.000000");
}
END_TEST

START_TEST(cache_lookups_do_not_move_the_error_rate)
{
    metric_management(ATH_S("create_table"), ATH_S("success"), 1000000);
    metric_management(ATH_S("create_table"), ATH_S("error"), 3000000);
    metric_management(ATH_S("gateway_fetch_cache_lookup"), ATH_S("miss"), 0);
    HAS("athena_management_mutations_total{operation=\"gateway_fetch_cache_lookup\",status=\"miss\"} 1");
    HAS("athena_management_mutation_error_rate 0.500000");
    HAS("athena_management_mutations_by_status_total{status=\"success\"} 1");
    HAS("athena_management_mutation_duration_seconds_sum{operation=\"create_table\",status=\"error\"} 0.003000");
    HAS("athena_management_operations_tracked 3");
}
END_TEST

static const ath_metric counter = { "test_total", "kind,what", "Things.", ATH_M_COUNTER, 3 };
static const ath_metric gauge = { "test_gauge", NULL, "A level.", ATH_M_GAUGE, 0 };
static const ath_metric histogram = { "test_seconds", "kind", "A time.", ATH_M_HISTOGRAM, 0 };

START_TEST(registered_families_are_capped_and_escaped)
{
    uint32_t c, g, h, again;
    ath_err e;
    char name[16];

    ck_assert_int_eq(metric_register(&counter, &c, &e), 0);
    ck_assert_int_eq(metric_register(&gauge, &g, &e), 0);
    ck_assert_int_eq(metric_register(&histogram, &h, &e), 0);
    ck_assert_int_eq(metric_register(&counter, &again, &e), ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "metric \"test_total\" exists already");
    HAS("test_gauge 0");
    HAS("# TYPE test_seconds histogram");
    metric_put(c, (ath_str[]){ ATH_S("a\"b\\c\nd"), ATH_S("\xff") }, 2);
    HAS("test_total{kind=\"a\\\"b\\\\c\\nd\",what=\"?\"} 2");
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        metric_put(c, (ath_str[]){ str_of(name), ATH_S("x") }, 1);
    }
    HAS("test_total{kind=\"other\",what=\"other\"} 48");
    metric_put(g, NULL, 1.5);
    metric_put(g, NULL, 7.25);
    HAS("test_gauge 7.250000");
    metric_put(h, (ath_str[]){ ATH_S("a") }, 0.02);
    metric_put(h, (ath_str[]){ ATH_S("a") }, -1);
    HAS("test_seconds_bucket{kind=\"a\",le=\"0.001\"} 1");
    HAS("test_seconds_bucket{kind=\"a\",le=\"0.025\"} 2");
    HAS("test_seconds_count{kind=\"a\"} 2");
}
END_TEST

START_TEST(a_flood_of_clients_leaves_the_series_bounded)
{
    struct buf b;
    char client[200];

    for (int i = 0; i < 6000; i++) {
        snprintf(client, sizeof(client), "client-%d-%0*d", i, i % 150, i);
        request("GET", "/flood", client, i % 2 ? 200 : 404, 1000);
    }
    b = render();
    ck_assert_uint_le(lines_with(b.p, "athena_http_requests_by_client_total{"), 2100);
    ck_assert(strstr(b.p, "client=\"other\",method=\"GET\",route_group=\"gateway\",status_family=\"4xx\"}"));
    buf_free(&b);
}
END_TEST

static void source(struct buf *b, void *arg)
{
    metric_head(b, "athena_pg_registered_clients", "gauge", "Clients known.");
    buf_printf(b, "athena_pg_registered_clients %d\n", *(int *)arg);
}

/* Every published family once, with its type, HELP before TYPE before samples, no series twice. */
START_TEST(the_text_is_well_formed_and_complete)
{
    static int clients = 3;
    struct map seen = MAP_EMPTY;
    struct buf b;
    ath_str rest, line;

    metric_source(source, &clients);
    b = render();
    ck_assert(has(b.p, "athena_pg_registered_clients 3"));
    ck_assert(has(b.p, "athena_cluster_mirror_up_ratio 0.000000"));
    for (size_t i = 0; i < ATH_COUNT(published_families); i++) {
        char type[200], help[200];
        snprintf(type, sizeof(type), "# TYPE %s", published_families[i]);
        ck_assert_msg(has(b.p, type), "not there: %s", type);
        snprintf(help, sizeof(help), "# HELP %.*s ",
                 (int)str_find(str_of(published_families[i]), ' '), published_families[i]);
        ck_assert_uint_eq(lines_with(b.p, help), 1);
    }
    rest = buf_view(&b);
    while (str_next(&rest, '\n', &line)) {
        size_t at = line.n;
        while (at > 0 && line.p[at - 1] != ' ')
            at--;
        if (!str_starts(line, "# "))
            ck_assert_msg(!map_put(&seen, str_from(line.p, at), &b), "twice: %.*s", STR_ARG(line));
    }
    ck_assert_uint_gt(seen.n, 100);
    map_free(&seen);
    buf_free(&b);
}
END_TEST

START_TEST(the_exporter_switched_off_has_three_families)
{
    struct buf b = BUF_HEAP;

    metric_render_off(&b);
    ck_assert(has(b.p, "athena_prometheus_metrics_enabled 0"));
    ck_assert_uint_eq(lines_with(b.p, "# TYPE "), 3);
    ck_assert_uint_eq(lines_with(b.p, "athena_build_info{version=\""), 1);
    buf_free(&b);
}
END_TEST

static void *count_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2000; i++) {
        request("PUT", "/threads", "t", 200, 1000);
        metric_flight_end(metric_flight_begin(ATH_S("PUT"), "/threads", "x"));
    }
    return NULL;
}

START_TEST(threads_count_on_after_they_end)
{
    pthread_t t[4];

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++)
            pthread_create(&t[i], NULL, count_many, NULL);
        for (int i = 0; i < 5; i++) {
            struct buf b = render();
            buf_free(&b);
        }
        for (int i = 0; i < 4; i++)
            pthread_join(t[i], NULL);
    }
    HAS("athena_http_requests_total{method=\"PUT\",route=\"/threads\",status_family=\"2xx\"} 16000");
    HAS("athena_http_in_flight_requests{method=\"PUT\",route=\"/threads\",route_group=\"x\"} 0");
}
END_TEST

SUITE("metric", one_request_moves_all_its_families, in_flight_counts_up_and_down,
      one_operation_moves_all_its_families, cache_lookups_do_not_move_the_error_rate,
      registered_families_are_capped_and_escaped, the_text_is_well_formed_and_complete,
      the_exporter_switched_off_has_three_families, threads_count_on_after_they_end,
      a_flood_of_clients_leaves_the_series_bounded)
