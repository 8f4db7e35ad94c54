/* core/jobs/pace.h: back-off, jitter. */
#include "jobs/pace.h"
#include "support/check_main.h"

START_TEST(delays_double_up_to_the_most_and_are_never_longer)
{
    ck_assert_uint_eq(pace_backoff(1000, 300000, 1, 0), 1000);
    ck_assert_uint_eq(pace_backoff(1000, 300000, 2, 0), 2000);
    ck_assert_uint_eq(pace_backoff(1000, 300000, 9, 0), 256000);
    ck_assert_uint_eq(pace_backoff(1000, 300000, 10, 0), 300000);
    ck_assert_uint_eq(pace_backoff(1000, 300000, UINT32_MAX, 0), 300000);
    ck_assert_uint_eq(pace_backoff(0, 0, 5, 7), 0);
}
END_TEST

START_TEST(what_failed_together_does_not_come_back_together)
{
    uint64_t least = UINT64_MAX, most = 0;

    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t ms = pace_backoff(1000, 300000, 1, i * 2654435761u);
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    ck_assert_uint_ge(least, 900);
    ck_assert_uint_le(least, 910);
    ck_assert_uint_le(most, 1000);
    ck_assert_uint_ge(most, 990);
}
END_TEST

START_TEST(jitter_is_a_twentieth)
{
    for (int i = 0; i < 1000; i++) {
        uint64_t ms = pace_jitter(1000);
        ck_assert_uint_ge(ms, 950);
        ck_assert_uint_le(ms, 1050);
    }
}
END_TEST

SUITE("jobs.pace", delays_double_up_to_the_most_and_are_never_longer,
      what_failed_together_does_not_come_back_together, jitter_is_a_twentieth)
