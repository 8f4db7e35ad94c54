/* core/auth: failed credentials of an address, and who is let through all the same. */
#include "auth/brake.h"

#include "base/clock.h"
#include "base/err.h"
#include "lib/buf.h"
#include "log/log.h"
#include "log/metric.h"
#include "support/check_main.h"

#define SECOND 1000000000ull

static uint64_t time_ns;

static uint64_t fake_clock(void)
{
    return time_ns;
}

static struct req r;
static uint8_t peer[16];

static struct req *from(const char *address)
{
    arena_free(&r.task.arena);
    memset(&r, 0, sizeof(r));
    arena_init(&r.task.arena);
    r.peer = str_of(address);
    if (*address) {
        ck_assert(address_read(r.peer, peer));
        r.peer_address = peer;
    }
    return &r;
}

static void passed(const char *address, const char *public_id)
{
    brake_passed(from(address), brake_id(str_of(public_id)), clock_ms());
}

static void failed(const char *address, int times)
{
    for (int i = 0; i < times; i++)
        brake_failed(from(address), BRAKE_ASKED);
}

/* Seconds to wait, 0: it is looked at. */
static uint64_t wait_of(const char *address, const char *given)
{
    uint64_t s = 0;
    ath_err e;
    int rc;

    err_reset(&e);
    rc = brake_check(from(address), str_of(given), BRAKE_ASKED, &e);
    if (rc == 0)
        return 0;
    ck_assert_int_eq((int)err_entry(&e)->status, 429);
    ck_assert_str_eq(err_entry(&e)->code, "auth_failures_exceeded");
    ck_assert_str_eq(err_entry(&e)->message, "Too Many Requests");
    ck_assert(str_u64(err_get(&e, "retry_after"), &s));
    ck_assert_uint_ge(s, 1);
    return s;
}

static void begin_with(uint32_t per_minute, uint32_t burst, const char *exempt)
{
    ath_err e;

    time_ns = 1000 * SECOND;
    clock_fake(fake_clock);
    ck_assert_int_eq(ip_configure(&(struct ip_rules){ .trusted_proxies = ATH_S("10.0.0.0/8") }, &e),
                     0);
    ck_assert_int_eq(
        brake_configure(&(struct brake_rules){ per_minute, burst, str_of(exempt) }, &e), 0);
}

static void begin(void)
{
    begin_with(60, 5, "127.0.0.0/8");
}

static void end(void)
{
    arena_free(&r.task.arena);
    memset(&r, 0, sizeof(r));
    brake_stop();
    clock_fake(NULL);
}

/* D-22, D-30: a burst, then one at a time, with the real time to wait. */
START_TEST(failures_are_braked)
{
    failed("192.0.2.1", 4);
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 0);
    failed("192.0.2.1", 1);
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 1);
    ck_assert_uint_eq(wait_of("192.0.2.2", "guess"), 0); /* nobody else */
    time_ns += SECOND;
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 0);
    failed("192.0.2.1", 1);
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 1);
    time_ns += 5 * SECOND;
    failed("192.0.2.1", 4);
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 0); /* all was forgiven */
}
END_TEST

/* Guesses where no key is asked for are counted by themselves. */
START_TEST(D_30_open_routes_have_a_count_of_their_own)
{
    static const char *const from_there[] = { "192.0.2.1", "2001:db8::1" };
    ath_err e;

    for (size_t i = 0; i < ATH_COUNT(from_there); i++) {
        passed(from_there[i], "0123456789abcdef");
        for (int n = 0; n < 5; n++)
            brake_failed(from(from_there[i]), BRAKE_OPEN);
        err_reset(&e);
        ck_assert_int_lt(brake_check(from(from_there[i]), ATH_S("guess"), BRAKE_OPEN, &e), 0);
        ck_assert_int_eq(
            brake_check(from(from_there[i]), ATH_S("ath_0123456789abcdef.x"), BRAKE_OPEN, &e), 0);
        ck_assert_uint_eq(wait_of(from_there[i], "guess"), 0);
    }
    failed("192.0.2.2", 5);
    ck_assert_uint_eq(wait_of("192.0.2.2", "guess"), 1);
    ck_assert_int_eq(brake_check(from("192.0.2.2"), ATH_S("guess"), BRAKE_OPEN, &e), 0);
}
END_TEST

START_TEST(the_time_to_wait_is_real)
{
    begin_with(6, 2, "");
    failed("192.0.2.1", 2);
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 10);
    time_ns += 8 * SECOND + SECOND / 2;
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 2);
    time_ns += 2 * SECOND;
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 0);
}
END_TEST

/* What arrived at once counts, but not for ever. */
START_TEST(a_flood_is_forgiven_in_the_end)
{
    failed("192.0.2.1", 100000);
    ck_assert_uint_gt(wait_of("192.0.2.1", "guess"), 500);
    time_ns += 601 * SECOND;
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 0);
}
END_TEST

/* D-22: IPv6 callers have a /64 each; what comes in both families is one address. */
START_TEST(addresses_are_told_apart_by_what_a_caller_has)
{
    for (int i = 0; i < 5; i++)
        failed(i % 2 ? "2001:db8:1:2::1" : "2001:db8:1:2:ffff::9", 1);
    ck_assert_uint_eq(wait_of("2001:db8:1:2:3:4:5:6", "guess"), 1);
    ck_assert_uint_eq(wait_of("2001:db8:1:3::1", "guess"), 0);
    failed("::ffff:192.0.2.1", 5);
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 1);
    failed("", 10); /* a Unix socket */
    ck_assert_uint_eq(wait_of("", "guess"), 0);
    failed("127.0.0.9", 10); /* exempt */
    ck_assert_uint_eq(wait_of("127.0.0.9", "guess"), 0);
}
END_TEST

/* D-8: the address is the caller's by what trusted proxies say, and nobody can choose it. */
START_TEST(a_stranger_cannot_choose_his_address)
{
    static ath_pair header[] = { { ATH_S("x-real-ip"), ATH_S("192.0.2.99") } };
    ath_err e;

    for (int i = 0; i < 5; i++) {
        from("203.0.113.9");
        r.header = header;
        r.header_count = 1;
        r.header_bits = ~(uint64_t)0;
        brake_failed(&r, BRAKE_ASKED);
    }
    ck_assert_uint_eq(wait_of("203.0.113.9", "guess"), 1);
    ck_assert_uint_eq(wait_of("192.0.2.99", "guess"), 0);
    err_reset(&e);
    from("203.0.113.9");
    r.header = header;
    r.header_count = 1;
    r.header_bits = ~(uint64_t)0;
    ck_assert_int_lt(brake_check(&r, ATH_S("guess"), BRAKE_ASKED, &e), 0);
}
END_TEST

/* Neighbours behind one address: a stored key that has worked there is looked at, nothing else is.
 */
START_TEST(keys_that_worked_there_are_let_through)
{
    passed("192.0.2.1", "0123456789abcdef");
    failed("192.0.2.1", 5);
    ck_assert_uint_eq(wait_of("192.0.2.1", "ath_0123456789abcdef.secret"), 0);
    ck_assert_uint_eq(wait_of("192.0.2.1", "ath_0123456789abcdee.secret"), 1);
    ck_assert_uint_eq(wait_of("192.0.2.1", "ath_0123456789abcdef0.secret"), 1);
    ck_assert_uint_eq(wait_of("192.0.2.1", "ath_.secret"), 1);
    ck_assert_uint_eq(wait_of("192.0.2.1", "0123456789abcdef"), 1);
    failed("192.0.2.2", 5);
    ck_assert_uint_eq(wait_of("192.0.2.2", "ath_0123456789abcdef.secret"), 1); /* not from there */
    time_ns += 16 * 60 * SECOND;
    failed("192.0.2.1", 100);
    ck_assert_uint_gt(wait_of("192.0.2.1", "ath_0123456789abcdef.secret"), 0); /* long ago */
}
END_TEST

/* A success takes nothing back. */
START_TEST(a_valid_key_does_not_pay_for_guesses)
{
    failed("192.0.2.1", 5);
    passed("192.0.2.1", "0123456789abcdef");
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 1);
    ck_assert_uint_eq(wait_of("192.0.2.1", "ath_0123456789abcdef.x"), 0);
}
END_TEST

START_TEST(off_is_off)
{
    begin_with(0, 5, "");
    failed("192.0.2.1", 100000);
    passed("192.0.2.1", "0123456789abcdef");
    ck_assert_uint_eq(wait_of("192.0.2.1", "guess"), 0);
}
END_TEST

/* Any number of addresses have the same room, and those that fail most keep their place. */
START_TEST(many_addresses_are_bounded)
{
    char address[32];

    failed("192.0.2.1", 1000);
    for (uint32_t i = 0; i < 100000; i++) {
        snprintf(address, sizeof(address), "100.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        failed(address, 1);
    }
    ck_assert_uint_gt(wait_of("192.0.2.1", "guess"), 1);
}
END_TEST

static struct buf said;

static int keep(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    (void)state, (void)e;
    for (size_t i = 0; i < n; i++)
        buf_printf(&said, "%s\n", batch[i]->message.p);
    return 0;
}

static const ath_sink sink = { ATH_CAP(ath_sink, ATH_CAP_SINK, "keep"), .events = "*",
                               .write = keep };

/* One line per address and minute, a counter for the rest, and no value that was presented. */
START_TEST(refusals_are_told)
{
    struct log_sink *s = NULL;
    struct buf metrics = BUF_HEAP;
    ath_err e;

    ck_assert_int_eq(log_sink_start("keep", &sink, NULL, NULL, &s, &e), 0);
    failed("192.0.2.1", 200);
    for (int i = 0; i < 10; i++)
        ck_assert_uint_gt(wait_of("192.0.2.1", "s3cret"), 0);
    time_ns += 61 * SECOND;
    ck_assert_uint_gt(wait_of("192.0.2.1", "s3cret"), 0);
    log_sink_stop(s);
    ck_assert_str_eq(
        buf_view(&said).p,
        "too many credentials from 192.0.2.1 have failed, its requests with one are refused "
        "for now\ntoo many credentials from 192.0.2.1 have failed, its requests with one "
        "are refused for now\n");
    metric_render(&metrics);
    ck_assert_ptr_nonnull(strstr(buf_view(&metrics).p, "\nathena_auth_braked_total "));
    buf_free(&metrics);
    buf_free(&said);
}
END_TEST

START_TEST(what_is_no_network_stops_the_start)
{
    ath_err e;

    ck_assert_int_eq(brake_configure(&(struct brake_rules){ 60, 60, ATH_S("::1, here") }, &e),
                     ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "\"here\" in gateway.auth_failures_exempt is no network");
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("brake");
    TCase *t = tcase_create("brake");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, failures_are_braked);
    tcase_add_test(t, the_time_to_wait_is_real);
    tcase_add_test(t, D_30_open_routes_have_a_count_of_their_own);
    tcase_add_test(t, a_flood_is_forgiven_in_the_end);
    tcase_add_test(t, addresses_are_told_apart_by_what_a_caller_has);
    tcase_add_test(t, a_stranger_cannot_choose_his_address);
    tcase_add_test(t, keys_that_worked_there_are_let_through);
    tcase_add_test(t, a_valid_key_does_not_pay_for_guesses);
    tcase_add_test(t, off_is_off);
    tcase_add_test(t, many_addresses_are_bounded);
    tcase_add_test(t, refusals_are_told);
    tcase_add_test(t, what_is_no_network_stops_the_start);
    return s;
}
