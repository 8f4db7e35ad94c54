/* How far a backup is, of what can be seen of it. */
#include "backup/estimate.h"

#include <athena/abi.h>

#include "support/check_main.h"

START_TEST(a_dump_never_falls_back_and_never_arrives)
{
    static const uint64_t before[] = { 0, 1, 1000, 1 << 30 };

    for (size_t i = 0; i < ATH_COUNT(before); i++) {
        int last = 0;
        for (uint64_t bytes = 0; bytes < 1ull << 44; bytes = bytes * 2 + 1) {
            int now = estimate_dump(bytes, before[i]);
            ck_assert_int_ge(now, last);
            ck_assert_int_ge(now, 5);
            ck_assert_int_le(now, 68);
            last = now;
        }
    }
}
END_TEST

START_TEST(the_last_size_is_the_measure_D57)
{
    ck_assert_int_eq(estimate_dump(0, 1000), 5);
    ck_assert_int_eq(estimate_dump(1200, 1000), 5 + 57); /* a fifth of growth is allowed */
    ck_assert_int_lt(estimate_dump(1000, 1000), estimate_dump(1200, 1000));
    ck_assert_int_eq(estimate_dump(256 << 20, 0), 5 + (int)(63 * 0.9 * (1 - 0.36787944)));
}
END_TEST

START_TEST(a_part_goes_from_one_percent_to_another)
{
    ck_assert_int_eq(estimate_part(82, 93, 0, 100), 82);
    ck_assert_int_eq(estimate_part(82, 93, 50, 100), 87);
    ck_assert_int_eq(estimate_part(82, 93, 1000, 100), 93);
    ck_assert_int_eq(estimate_part(82, 93, 5, 0), 93);
    ck_assert_int_eq(estimate_part(0, 100, UINT64_MAX - 1, UINT64_MAX), 100);
}
END_TEST

SUITE("estimate", a_dump_never_falls_back_and_never_arrives, the_last_size_is_the_measure_D57,
      a_part_goes_from_one_percent_to_another)
