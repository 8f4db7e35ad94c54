/* The store of answers: found by key, bounded by number and by bytes, gone when its time is over.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "cache/memory.h"
#include "lib/text.h"
#include "support/check_main.h"

enum { MINUTE = 60000 };

static uint64_t now_ns = 1000000000u;

static uint64_t fake_clock(void)
{
    return now_ns;
}

static struct cache_key key_of(uint64_t i)
{
    return (struct cache_key){ { i * 0x9e3779b97f4a7c15u, i } };
}

static void put(uint64_t i, ath_str bytes, uint64_t life_ms)
{
    struct cache_key k = key_of(i);
    struct entry *e = entry_new(&k, bytes);

    memory_put(e, life_ms);
    entry_unref(e);
}

static bool has(uint64_t i)
{
    struct cache_key k = key_of(i);
    struct entry *e = memory_get(&k);

    entry_unref(e);
    return e != NULL;
}

static void start(uint64_t entries, uint64_t bytes, uint64_t entry_bytes)
{
    clock_fake(fake_clock);
    memory_start(&(struct memory_limits){ entries, bytes, entry_bytes });
}

static void stop(void)
{
    memory_stop();
    clock_fake(NULL);
}

START_TEST(what_was_put_is_found_and_replaced)
{
    struct cache_key k = key_of(7);
    struct entry *first, *second;

    start(10, 1 << 20, 1000);
    ck_assert(!has(7));
    put(7, ATH_S("one"), MINUTE);
    first = memory_get(&k);
    put(7, ATH_S("two"), MINUTE);
    second = memory_get(&k);
    ck_assert(str_is(str_from(first->bytes, first->n), "one")); /* who holds it keeps it */
    ck_assert(str_is(str_from(second->bytes, second->n), "two"));
    entry_unref(first);
    entry_unref(second);
    stop();
}
END_TEST

START_TEST(an_answer_lives_its_time_and_not_longer)
{
    start(10, 1 << 20, 1000);
    put(1, ATH_S("x"), 1000);
    now_ns += 999 * 1000000u;
    ck_assert(has(1));
    now_ns += 1000000u;
    ck_assert(!has(1));
    stop();
}
END_TEST

START_TEST(the_least_recently_used_goes_first_and_bounds_hold_G_30)
{
    struct memory_stats s;
    char page[900];
    uint64_t found = 0;

    memset(page, 'p', sizeof(page));
    start(100, 1 << 20, 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        put(i, ATH_S("small"), MINUTE);
        ck_assert(has(i));
        ck_assert(i < 80 || has(80)); /* used all the time */
    }
    memory_read_stats(&s);
    ck_assert_uint_le(s.entries, 100);
    stop();

    start(1000, 20000, 1000); /* a page of rows and small answers live together */
    put(0, str_from(page, sizeof(page)), MINUTE);
    for (uint64_t i = 1; i < 40; i++)
        put(i, ATH_S("small"), MINUTE);
    for (uint64_t i = 0; i < 40; i++)
        found += has(i);
    ck_assert_uint_eq(found, 40);
    for (uint64_t i = 100; i < 400; i++)
        put(i, str_from(page, sizeof(page)), MINUTE);
    memory_read_stats(&s);
    ck_assert_uint_le(s.bytes, 20000);
    ck_assert_uint_gt(s.entries, 10);
    ck_assert(has(399));
    stop();
    memory_read_stats(&s);
    ck_assert_uint_eq(s.entries, 0);
    ck_assert_uint_eq(s.bytes, 0);
}
END_TEST

START_TEST(what_is_too_large_is_not_kept)
{
    char page[2000] = { 0 };

    start(10, 1 << 20, 1000);
    put(1, str_from(page, 1001), MINUTE);
    ck_assert(!has(1));
    put(1, str_from(page, 1000), MINUTE);
    ck_assert(has(1));
    stop();
    start(0, 1 << 20, 1000);
    put(1, ATH_S("x"), MINUTE);
    ck_assert(!has(1));
    stop();
}
END_TEST

START_TEST(memory_that_is_out_is_survived)
{
    struct cache_key k = key_of(1);

    mem_fail_at(1);
    ck_assert_ptr_null(entry_new(&k, ATH_S("x")));
    mem_fail_at(0);
}
END_TEST

START_TEST(keys_depend_on_every_byte)
{
    char text[300] = { 0 };
    struct cache_key first, k;

    cache_key_start(false);
    first = cache_key_of(str_from(text, 300), ATH_S("when"));
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = 1;
        k = cache_key_of(str_from(text, 300), ATH_S("when"));
        ck_assert(!cache_key_same(&k, &first));
        text[i] = 0;
        k = cache_key_of(str_from(text, i), ATH_S("when"));
        ck_assert(!cache_key_same(&k, &first));
    }
    k = cache_key_of(str_from(text, 300), ATH_S("whem"));
    ck_assert(!cache_key_same(&k, &first));
    k = cache_key_of(str_from(text, 300), ATH_S("when"));
    ck_assert(cache_key_same(&k, &first));
    cache_key_start(false); /* another process */
    k = cache_key_of(str_from(text, 300), ATH_S("when"));
    ck_assert(!cache_key_same(&k, &first));
    cache_key_start(true);
    first = cache_key_of(ATH_S("q"), ATH_S("when"));
    cache_key_start(true);
    k = cache_key_of(ATH_S("q"), ATH_S("when"));
    ck_assert(cache_key_same(&k, &first));
}
END_TEST

SUITE("memory", what_was_put_is_found_and_replaced, an_answer_lives_its_time_and_not_longer,
      the_least_recently_used_goes_first_and_bounds_hold_G_30, what_is_too_large_is_not_kept,
      memory_that_is_out_is_survived, keys_depend_on_every_byte)
