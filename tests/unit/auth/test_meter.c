/* core/auth: rates, budgets, and the bounded table of those who have them. */
#include "auth/meter.h"

#include <pthread.h>

#include "support/check_main.h"

#define SECOND UINT64_C(1000000000)
#define START  (1000 * SECOND)

static int burst(uint64_t *full, const struct rate *r, uint64_t now, uint64_t *wait)
{
    int n = 0;

    while (rate_take(full, r, now, wait))
        n++;
    return n;
}

START_TEST(a_new_caller_has_the_whole_burst)
{
    struct rate r = rate_of(20, 40);
    uint64_t full = 0, wait = 0;

    ck_assert_int_eq(burst(&full, &r, START, &wait), 40);
    ck_assert_uint_eq(wait, SECOND / 20);
}
END_TEST

START_TEST(then_one_comes_at_a_time)
{
    struct rate r = rate_of(10, 5);
    uint64_t full = 0, wait = 0;

    burst(&full, &r, START, &wait);
    ck_assert_int_eq(burst(&full, &r, START + SECOND / 10 - 1, &wait), 0);
    ck_assert_int_eq(burst(&full, &r, START + SECOND / 10, &wait), 1);
    ck_assert_int_eq(burst(&full, &r, START + SECOND / 10 * 4, &wait), 3);
    ck_assert_int_eq(burst(&full, &r, START + 100 * SECOND, &wait), 5); /* no more is saved up */
}
END_TEST

START_TEST(extremes_are_no_trap)
{
    struct rate fast = rate_of(4294967295u, 4294967295u), slow = rate_of(1, 4294967295u);
    struct rate none = rate_of(0, 0);
    uint64_t full = 0, wait = 0;

    for (int i = 0; i < 1000; i++)
        ck_assert(rate_take(&full, &fast, START, &wait));
    full = 0;
    for (int i = 0; i < 1000; i++)
        ck_assert(rate_take(&full, &slow, START, &wait));
    full = 0;
    ck_assert_int_eq(burst(&full, &none, START, &wait), 1); /* zero becomes one */
    ck_assert_uint_eq(wait, SECOND);
}
END_TEST

START_TEST(a_budget_is_of_the_last_minute)
{
    struct spent s = { 0 };
    uint64_t now = 100 * BUDGET_MS;

    ck_assert_uint_eq(spent_wait_ms(&s, now, 1000), 0);
    spent_add(&s, now, 400);
    ck_assert_uint_eq(spent_by_now(&s, now), 400);
    ck_assert_uint_eq(spent_by_now(&s, now + BUDGET_MS), 400);
    ck_assert_uint_eq(spent_by_now(&s, now + BUDGET_MS * 3 / 2), 200);
    ck_assert_uint_eq(spent_by_now(&s, now + BUDGET_MS * 2), 0);
}
END_TEST

/* Retry-After is real: at that moment it is possible again, and not before. */
START_TEST(the_wait_ends_when_it_says)
{
    static const uint64_t spent[][2] = { { 0, 1000 },  { 0, 5000 },   { 800, 600 },
                                         { 5000, 10 }, { 1000, 999 }, { 0, 123456789 },
                                         { 1000, 0 } };
    uint64_t minute = 100 * BUDGET_MS;

    for (size_t i = 0; i < sizeof(spent) / sizeof(spent[0]); i++)
        for (uint64_t at = 0; at < BUDGET_MS; at += 7777) {
            struct spent s = { 0 };
            uint64_t wait;
            spent_add(&s, minute - 1, spent[i][0]);
            spent_add(&s, minute, spent[i][1]);
            wait = spent_wait_ms(&s, minute + at, 1000);
            ck_assert_uint_lt(spent_by_now(&s, minute + at + wait), 1000);
            if (wait)
                ck_assert_uint_ge(spent_by_now(&s, minute + at + wait - 1), 1000);
        }
}
END_TEST

/* ---- the table ---- */

static struct meter_key key_of(uint64_t n)
{
    return (struct meter_key){ .high = n, .low = n * 7, .kind = 1 };
}

START_TEST(callers_are_independent)
{
    struct meters *m = meters_new(100);
    struct rate r = rate_of(1, 2);
    struct meter_key a = key_of(1), b = key_of(2), other = key_of(1);
    uint64_t wait;

    other.kind = 2;
    ck_assert(meters_rate(m, &a, &r, START, &wait));
    ck_assert(meters_rate(m, &a, &r, START, &wait));
    ck_assert(!meters_rate(m, &a, &r, START, &wait));
    ck_assert(meters_rate(m, &b, &r, START, &wait));
    ck_assert(meters_rate(m, &other, &r, START, &wait));
    meters_free(m);
}
END_TEST

/* D-22: the published maps never shrink. */
START_TEST(the_table_is_bounded_and_forgets_the_oldest)
{
    enum { MOST = 1600 };
    struct meters *m = meters_new(MOST);
    struct rate r = rate_of(1, 1);
    struct meter_key busy = key_of(0);
    uint64_t wait, used, out;
    int again = 0;

    for (uint64_t i = 1; i <= 100000; i++) {
        struct meter_key k = key_of(i);
        ck_assert(meters_rate(m, &k, &r, START, &wait));
        ck_assert(meters_rate(m, &busy, &r, START, &wait) == (i == 1)); /* stays: it is seen */
    }
    meters_read(m, &used, &out);
    ck_assert_uint_le(used, MOST);
    ck_assert_uint_ge(used, MOST * 9 / 10);
    ck_assert_uint_eq(out, 100001 - used);
    for (uint64_t i = 100000; i > 100000 - MOST / 2; i--) {
        struct meter_key k = key_of(i);
        again += meters_rate(m, &k, &r, START, &wait);
    }
    ck_assert_int_le(again,
                     MOST / 50); /* shards fill unevenly: of the newest half nearly all are known */
    meters_free(m);
}
END_TEST

START_TEST(what_is_spent_adds_up)
{
    struct meters *m = meters_new(16);
    struct meter_key k = key_of(1), nobody = key_of(2);
    uint64_t wait, used, out;

    meters_spend(m, &k, BUDGET_MS, 700);
    meters_spend(m, &k, BUDGET_MS + 5, 300);
    ck_assert_uint_eq(meters_spent(m, &k, BUDGET_MS + 5, 1000, &wait), 1000);
    ck_assert_uint_gt(wait, BUDGET_MS - 10);
    ck_assert_uint_eq(meters_spent(m, &nobody, BUDGET_MS, 1000, NULL), 0);
    meters_read(m, &used, &out);
    ck_assert_uint_eq(used, 1); /* a look makes no meter */
    meters_free(m);
}
END_TEST

enum { THREADS = 4, TRIES = 50000, BURST = 20000 };
static struct meters *shared;

static void *crowd(void *arg)
{
    struct rate r = rate_of(1, BURST);
    struct meter_key k = key_of(1);
    uint64_t wait;
    int *n = arg;

    for (int i = 0; i < TRIES; i++) {
        struct meter_key other = key_of(100 + (uint64_t)i);
        meters_spend(shared, &other, BUDGET_MS, 1);
        *n += meters_rate(shared, &k, &r, START, &wait);
    }
    return NULL;
}

START_TEST(threads_share_a_burst_exactly)
{
    int n[THREADS] = { 0 }, all = 0;
    pthread_t thread[THREADS];

    shared = meters_new(1 << 20);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, crowd, &n[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        all += n[i];
    }
    ck_assert_int_eq(all, BURST);
    meters_free(shared);
}
END_TEST

SUITE("auth/meter", a_new_caller_has_the_whole_burst, then_one_comes_at_a_time,
      extremes_are_no_trap, a_budget_is_of_the_last_minute, the_wait_ends_when_it_says,
      callers_are_independent, the_table_is_bounded_and_forgets_the_oldest, what_is_spent_adds_up,
      threads_share_a_burst_exactly)
