/* core/auth: the row of a request that a limit turned away. */
#include "auth/refusal.h"

#include "log/log.h"
#include "support/check_main.h"

static char route[2048], client[64], method[16], sized[32];
static bool has_client, has_window;
static int rows;

static void take(char *to, size_t room, ath_str value)
{
    snprintf(to, room, "%.*s", STR_ARG(value));
}

static int write_rows(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    (void)state, (void)e;
    for (size_t i = 0; i < n; i++, rows++)
        for (uint32_t j = 0; j < batch[i]->fact_count; j++) {
            const ath_fact *f = &batch[i]->fact[j];
            if (str_is(f->key, "route"))
                take(route, sizeof(route), f->value);
            else if (str_is(f->key, "method"))
                take(method, sizeof(method), f->value);
            else if (str_is(f->key, "request_bytes"))
                take(sized, sizeof(sized), f->value);
            else if (str_is(f->key, "window_seconds"))
                has_window = f->value.p != NULL;
            else if (str_is(f->key, "client_name")) {
                has_client = f->value.p != NULL;
                take(client, sizeof(client), f->value);
            }
        }
    return 0;
}

static void tell(struct req *r)
{
    static const ath_sink sink = { ATH_CAP(ath_sink, ATH_CAP_SINK, "rows"),
                                   .events = "gateway_admission", .write = write_rows };
    struct refusal f = {
        .decision = "rejected", .reason = "r", .retry_after_s = 1, .meta = ATH_S("{}")
    };
    struct log_sink *s;
    ath_err e;

    err_reset(&e);
    rows = 0;
    ck_assert_int_eq(log_sink_start("rows", &sink, NULL, &(struct log_queue_options){ 0 }, &s, &e),
                     0);
    refusal_tell(r, &f);
    log_sink_stop(s);
    ck_assert_int_eq(rows, 1);
}

static struct req request(ath_str path)
{
    return (struct req){ .method = ATH_S("GET"), .path = path, .id = "0", .minor = 1 };
}

START_TEST(a_path_that_is_no_route_is_cut_D_42)
{
    static char path[2000];
    struct req r = request(str_from(path, sizeof(path)));

    memset(path, 'a', sizeof(path));
    path[0] = '/';
    tell(&r);
    ck_assert_uint_eq(strlen(route), 512);
    ck_assert(!has_client && !has_window);
}
END_TEST

START_TEST(a_route_is_its_pattern)
{
    static const struct route known = { .def = { .path = "/rpc/{function_name}" } };
    struct req r = request(ATH_S("/rpc/whatever"));
    ath_pair header = { ATH_S("content-length"), ATH_S("12") };

    r.match.route = &known;
    r.client_name = ATH_S("Acme");
    r.header = &header;
    r.header_count = 1;
    r.header_bits = name_bit(header.name);
    tell(&r);
    ck_assert_str_eq(route, "/rpc/{function_name}");
    ck_assert_str_eq(client, "Acme");
    ck_assert_str_eq(method, "GET");
    ck_assert_str_eq(sized, "12");
}
END_TEST

START_TEST(only_these_words_ask_to_be_deferred)
{
    static const char *const yes[] = { "1", "true", "TRUE", "yes", "YES" };
    static const char *const no[] = { "", "0", "True", "on", "true,true" };
    ath_pair header = { ATH_S("x-athena-defer"), { "", 0 } };
    struct req r = request(ATH_S("/"));

    r.header = &header;
    r.header_count = 1;
    r.header_bits = name_bit(header.name);
    for (size_t i = 0; i < ATH_COUNT(yes); i++) {
        header.value = str_of(yes[i]);
        ck_assert(refusal_defer_asked(&r));
        header.value = str_of(no[i]);
        ck_assert(!refusal_defer_asked(&r));
    }
}
END_TEST

SUITE("auth/refusal", a_path_that_is_no_route_is_cut_D_42, a_route_is_its_pattern,
      only_these_words_ask_to_be_deferred)
