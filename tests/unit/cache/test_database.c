/* Counters of changes, and the list of what Redis was not told. */
#include "cache/database.h"
#include "lib/text.h"
#include "support/check_main.h"

START_TEST(each_unit_counts_for_itself_and_anything_for_all)
{
    struct database *a = database_of(ATH_S("1/5")), *b = database_of(ATH_S("1/6"));
    static const uint32_t unit[] = { 16384, 16400, 99999 };
    uint64_t before[4], now[4];

    ck_assert_ptr_eq(a, database_of(ATH_S("1/5")));
    ck_assert_ptr_ne(a, b);
    database_read(a, unit, 3, before);
    database_change(a, &unit[1], 1);
    database_read(a, unit, 3, now);
    ck_assert_uint_eq(now[0], before[0]);
    ck_assert_uint_eq(now[1], before[1]);
    ck_assert_uint_ne(now[2], before[2]);
    ck_assert_uint_eq(now[3], before[3]);
    database_change(a, NULL, 0);
    database_read(a, unit, 3, now);
    ck_assert_uint_ne(now[0], before[0]);
    database_read(b, unit, 3, now);
    ck_assert_uint_eq(now[0] + now[1] + now[2] + now[3], 0);
    for (uint32_t i = 1; i < 20000; i++)
        database_change(b, &i, 1);
    for (uint32_t i = 1; i < 20000; i++) {
        database_read(b, &i, 1, now);
        ck_assert_uint_eq(now[1], 1);
    }
    database_stop();
}
END_TEST

START_TEST(what_changed_again_is_told_again)
{
    struct database *a = database_of(ATH_S("a"));
    static struct untold list[UNTOLD_MOST];
    static const uint32_t unit[] = { 1, 2 };
    uint32_t n;

    untold_add(a, unit, 2);
    ck_assert_uint_eq(n = untold_copy(list), 2);
    untold_add(a, &unit[1], 1); /* while it is being told */
    untold_drop(list, n);
    ck_assert_uint_eq(untold_count(), 1);
    ck_assert_uint_eq(untold_copy(list), 1);
    ck_assert_uint_eq(list[0].unit, 2);
    untold_drop(list, 1);
    ck_assert_uint_eq(untold_count(), 0);
    database_stop();
}
END_TEST

START_TEST(too_much_of_one_database_becomes_anything_of_it)
{
    struct database *a = database_of(ATH_S("a")), *b = database_of(ATH_S("b"));
    static struct untold list[UNTOLD_MOST];
    uint32_t unit = 5, n, of_b = 0;

    untold_add(b, &unit, 1);
    for (uint32_t i = 1; i <= 3 * UNTOLD_MOST; i++)
        untold_add(a, &i, 1);
    n = untold_copy(list);
    ck_assert_uint_eq(n, 2);
    for (uint32_t i = 0; i < n; i++) {
        of_b += list[i].database == b && list[i].unit == 5;
        if (list[i].database == a)
            ck_assert_uint_eq(list[i].unit, DATABASE_ALL);
    }
    ck_assert_uint_eq(of_b, 1);
    untold_add(b, NULL, 0);
    ck_assert_uint_eq(untold_count(), 2);
    database_stop();
}
END_TEST

SUITE("database", each_unit_counts_for_itself_and_anything_for_all,
      what_changed_again_is_told_again, too_much_of_one_database_becomes_anything_of_it)
