/* core/base and sdk/lib: arenas, maps, errors, text. */
#include "base/arena.h"
#include "base/err.h"
#include "base/map.h"
#include "base/rand.h"
#include "lib/json.h"
#include "lib/sqlname.h"
#include "support/check_main.h"

static int freed;

static void count_free(void *p)
{
    (void)p;
    freed++;
}

START_TEST(arena_gives_aligned_zeroed_memory_and_runs_destructors)
{
    ath_arena a;

    arena_init(&a);
    ck_assert_ptr_nonnull(arena_alloc(&a, 0));
    for (size_t n = 1; n < 100000; n = n * 3 + 1) {
        char *p = arena_alloc(&a, n);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        ck_assert(p[0] == 0 && p[n - 1] == 0);
        memset(p, 'x', n);
    }
    freed = 0;
    arena_own(&a, &a, count_free);
    arena_own(&a, &a, count_free);
    arena_free(&a);
    ck_assert_int_eq(freed, 2);
}
END_TEST

START_TEST(map_finds_replaces_and_removes)
{
    struct map m = MAP_EMPTY;
    static char key[500][8];

    for (int i = 0; i < 500; i++) {
        snprintf(key[i], sizeof(key[i]), "k%d", i);
        ck_assert_ptr_null(map_put(&m, str_of(key[i]), key[i]));
    }
    for (int i = 0; i < 500; i += 2)
        ck_assert_ptr_eq(map_remove(&m, str_of(key[i])), key[i]);
    for (int i = 0; i < 500; i++)
        ck_assert_ptr_eq(map_get(&m, str_of(key[i])), i % 2 ? key[i] : NULL);
    ck_assert_uint_eq(m.n, 250);
    map_free(&m);
}
END_TEST

START_TEST(errors_carry_code_hint_and_details)
{
    ath_err e;

    ck_assert_int_eq(err_raise(&e, "client_frozen", "client \"%s\" is frozen", "acme"), ATH_E_INPUT);
    ck_assert_uint_eq(err_entry(&e)->number, 2006);
    err_detail_str(&e, "client", str_of("ac\"me"));
    err_detail(&e, "list", str_of("[1,2]"));
    ck_assert(str_is(err_get(&e, "message"), "client \"acme\" is frozen"));
    ck_assert(str_is(err_get(&e, "title"), "Athena client is frozen"));
    ck_assert(str_is(err_get(&e, "client"), "ac\\\"me"));
    ck_assert(str_is(err_get(&e, "list"), "[1,2]"));
    ck_assert(str_is(err_get(&e, "absent"), ""));
    ck_assert_int_eq(err_raise(&e, "no_such_code", "x"), ATH_E_BUG);
    ck_assert_str_eq(err_entry(&e)->code, "INTERNAL_ERROR");
}
END_TEST

START_TEST(numbers_and_units_are_read_exactly)
{
    int64_t i;
    uint64_t u;

    ck_assert(str_i64(str_of("-9223372036854775808"), &i) && i == INT64_MIN);
    ck_assert(!str_i64(str_of("9223372036854775808"), &i));
    ck_assert(!str_u64(str_of("12a"), &u) && !str_u64(str_of(""), &u));
    ck_assert(str_msec(str_of("5s"), &u) && u == 5000);
    ck_assert(str_msec(str_of("10"), &u) && u == 10);
    ck_assert(!str_msec(str_of("s"), &u));
    ck_assert(str_bytes(str_of("2 MiB"), &u) && u == 2u << 20);
    ck_assert_uint_eq(str_distance(str_of("query_timout"), str_of("query_timeout"), 3), 1);
}
END_TEST

START_TEST(text_that_is_not_utf8_is_seen)
{
    ck_assert(str_utf8(str_of("h\xc3\xa9llo \xe2\x82\xac \xf0\x9f\x98\x80")));
    char broken[] = "h\xc3\xa9 \xff\xe2\x82 \xed\xa0\x80\xc3";
    utf8_mend(broken, sizeof(broken) - 1);
    ck_assert_str_eq(broken, "h\xc3\xa9 ??? ????");
    ck_assert(!str_utf8(str_of("\xc0\xaf")) && !str_utf8(str_of("\xed\xa0\x80")));
    ck_assert(!str_utf8(str_of("\xf4\x90\x80\x80")) && !str_utf8(str_of("a\xe2\x82")));
}
END_TEST

START_TEST(controls_are_found_wherever_they_stand)
{
    char text[41];

    for (size_t n = 0; n <= 40; n++) {
        memset(text, 'x', sizeof(text));
        ck_assert(!str_has_control(str_from(text, n)));
        for (size_t i = 0; i < n; i++) {
            text[i] = '\t';
            ck_assert(!str_has_control(str_from(text, n)));
            text[i] = (char)0xFF;
            ck_assert(!str_has_control(str_from(text, n)));
            text[i] = 0x7F;
            ck_assert(str_has_control(str_from(text, n)));
            text[i] = '\n';
            ck_assert(str_has_control(str_from(text, n)));
            text[i] = 'x';
        }
    }
}
END_TEST

START_TEST(names_literals_and_json_are_quoted)
{
    struct buf b = BUF_HEAP;

    buf_ident2(&b, str_of("pub\"lic"), str_of("a\"; drop"));
    buf_literal(&b, str_of("it's"));
    buf_literal(&b, str_of("back\\slash'"));
    buf_json(&b, str_of("a\"b\\\n\x01"));
    ck_assert_str_eq(b.p, "\"pub\"\"lic\".\"a\"\"; drop\"'it''s' E'back\\\\slash'''\"a\\\"b\\\\\\n\\u0001\"");
    buf_free(&b);
}
END_TEST

START_TEST(json_escapes_every_byte_wherever_it_stands)
{
    for (size_t n = 1; n <= 20; n++)
        for (size_t at = 0; at < n; at++)
            for (unsigned c = 0; c < 256; c++) {
                char text[20];
                struct buf b = BUF_HEAP;
                bool special = c < ' ' || c == '"' || c == '\\';
                memset(text, 'x', n);
                text[at] = (char)c;
                buf_json(&b, str_from(text, n));
                ck_assert(b.p[0] == '"' && b.p[b.n - 1] == '"');
                ck_assert(memcmp(b.p + 1, text, at) == 0);
                ck_assert_int_eq(b.p[1 + at], special ? '\\' : (char)c);
                ck_assert(memcmp(b.p + b.n - (n - at), text + at + 1, n - at - 1) == 0);
                ck_assert(special ? b.n > n + 2 : b.n == n + 2);
                buf_free(&b);
            }
}
END_TEST

/* Of every length that has a way of its own, and nothing is written behind it. */
START_TEST(plain_texts_are_copied_and_others_are_seen)
{
    char text[50], to[51];

    for (size_t n = 0; n <= sizeof(text); n++) {
        memset(text, 'x', sizeof(text));
        memset(to, '#', sizeof(to));
        ck_assert(plain_put(to, str_from(text, n), PLAIN_COPY));
        ck_assert(memcmp(to, text, n) == 0 && to[n] == '#');
        for (size_t at = 0; at < n; at++)
            for (unsigned c = 0; c < 256; c++) {
                bool low = c < ' ' || c == '\\';
                text[at] = (char)c;
                ck_assert(plain_put(to, str_from(text, n), PLAIN_JSON) == !(low || c == '"'));
                ck_assert(plain_put(to, str_from(text, n), PLAIN_COPY) == !(low || c > 127));
                text[at] = 'x';
            }
    }
}
END_TEST

START_TEST(secrets_compare_whole)
{
    char id[UUID_TEXT];

    ck_assert(rand_same(str_of("abc"), str_of("abc")));
    ck_assert(!rand_same(str_of("abd"), str_of("abc")) && !rand_same(str_of("ab"), str_of("abc")));
    ck_assert(!rand_same(str_of("abcabc"), str_of("abc")) && !rand_same(str_of(""), str_of("abc")));
    rand_uuid(id);
    ck_assert(id[14] == '4' && strlen(id) == 36);
}
END_TEST

SUITE("base", arena_gives_aligned_zeroed_memory_and_runs_destructors,
      map_finds_replaces_and_removes, errors_carry_code_hint_and_details,
      numbers_and_units_are_read_exactly, text_that_is_not_utf8_is_seen,
      controls_are_found_wherever_they_stand, names_literals_and_json_are_quoted,
      json_escapes_every_byte_wherever_it_stands, plain_texts_are_copied_and_others_are_seen,
      secrets_compare_whole)
