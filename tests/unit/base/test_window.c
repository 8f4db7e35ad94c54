/* core/base: windows that slide, counted by many threads at once. */
#include "base/window.h"

#include <pthread.h>

#include "support/check_main.h"

enum { LENGTH = 1000 };

static int take(struct window *w, uint64_t now_ms, uint64_t limit, int most)
{
    struct window_time t = window_time(now_ms, LENGTH);
    int n = 0;

    while (n < most && window_take(w, &t, limit))
        n++;
    return n;
}

START_TEST(a_window_takes_its_limit)
{
    struct window w = { 0 };

    ck_assert_int_eq(take(&w, 5000, 10, 99), 10);
    ck_assert_int_eq(take(&w, 5999, 10, 99), 0);
}
END_TEST

/* D-20: a fixed window lets twice the limit pass where two meet. */
START_TEST(where_two_windows_meet_the_limit_holds)
{
    struct window w = { 0 };

    ck_assert_int_eq(take(&w, 5999, 10, 99), 10);
    ck_assert_int_eq(take(&w, 6000, 10, 99), 0);
    ck_assert_int_eq(take(&w, 6250, 10, 99), 3); /* 7.5 of the last one still count, as 7 */
    ck_assert_int_eq(take(&w, 6500, 10, 99), 2);
    ck_assert_int_eq(take(&w, 6999, 10, 99), 5);
}
END_TEST

START_TEST(what_is_older_than_two_windows_is_forgotten)
{
    struct window w = { 0 };

    take(&w, 5000, 10, 10);
    ck_assert_int_eq(take(&w, 7000, 10, 99), 10);
    take(&w, 8000, 10, 0);
    ck_assert_int_eq(take(&w, 100 * 1000 * LENGTH, 10, 99), 10);
}
END_TEST

/* A request waited in its connection's line: its window has passed, and so has the next. */
START_TEST(who_comes_late_counts_where_it_is_now)
{
    struct window w = { 0 };

    ck_assert_int_eq(take(&w, 8000, 10, 8), 8);
    ck_assert_int_eq(take(&w, 6000, 10, 99), 2);
    ck_assert_int_eq(take(&w, 8100, 10, 99), 0);
}
END_TEST

START_TEST(one_can_be_given_back)
{
    struct window w = { 0 };
    struct window_time t = window_time(5000, LENGTH), later = window_time(9000, LENGTH);

    window_untake(&w, &t); /* there is none */
    take(&w, 5000, 2, 2);
    window_untake(&w, &t);
    ck_assert_int_eq(take(&w, 5000, 2, 99), 1);
    window_untake(&w, &later);
    ck_assert_int_eq(take(&w, 5000, 2, 99), 0);
}
END_TEST

enum { THREADS = 4, TRIES = 200000, LIMIT = 100000 };
static struct window shared;

static void *crowd(void *arg)
{
    struct window_time t = window_time(5000, LENGTH);
    int *n = arg;

    for (int i = 0; i < TRIES; i++)
        *n += window_take(&shared, &t, LIMIT);
    return NULL;
}

START_TEST(loops_together_take_the_limit_exactly)
{
    int n[THREADS] = { 0 }, all = 0;
    pthread_t thread[THREADS];

    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, crowd, &n[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        all += n[i];
    }
    ck_assert_int_eq(all, LIMIT);
}
END_TEST

SUITE("base/window", a_window_takes_its_limit, where_two_windows_meet_the_limit_holds,
      what_is_older_than_two_windows_is_forgotten, who_comes_late_counts_where_it_is_now,
      one_can_be_given_back, loops_together_take_the_limit_exactly)
