/* The table of prepared statements: found by text and types, bounded, oldest out first. */
#include <stdlib.h>

#include "db/prep.h"
#include "lib/text.h"
#include "support/check_main.h"

static struct trip_stmt stmt(const char *sql, const uint32_t *type, uint32_t n)
{
    struct trip_stmt s = { .sql = sql, .sql_n = strlen(sql), .type = type, .n = n };

    s.hash = prep_hash(&s, 0);
    return s;
}

START_TEST(types_are_part_of_what_a_statement_is)
{
    static const uint32_t text[] = { 25 }, number[] = { 23 };
    struct trip_stmt a = stmt("SELECT $1", text, 1), b = stmt("SELECT $1", number, 1);
    struct trip_stmt c = stmt("SELECT $1", NULL, 1);
    struct prep_table t;
    struct prep *p;

    prep_init(&t, 10);
    p = prep_add(&t, &a);
    ck_assert_ptr_eq(prep_find(&t, &a), p);
    ck_assert_ptr_null(prep_find(&t, &b));
    ck_assert_ptr_null(prep_find(&t, &c));
    ck_assert_str_ne(prep_add(&t, &b)->name, p->name);
    prep_free(&t);
}
END_TEST

START_TEST(least_recently_used_go_first_and_what_is_used_stays)
{
    struct prep_table t;
    struct prep *first, *second, *out;
    static char sql[20][16];
    struct trip_stmt s[20];

    prep_init(&t, 8);
    for (int i = 0; i < 8; i++) {
        snprintf(sql[i], sizeof(sql[i]), "SELECT %d", i);
        s[i] = stmt(sql[i], NULL, 0);
        ck_assert_ptr_null(prep_spare(&t));
        prep_add(&t, &s[i]);
    }
    first = prep_use(prep_find(&t, &s[0]));
    second = prep_find(&t, &s[1]); /* now the last used */
    out = prep_spare(&t);
    ck_assert_str_eq(out->sql, "SELECT 2");
    prep_unuse(out);
    ck_assert_ptr_null(prep_spare(&t));
    ck_assert_uint_eq(t.count, 7);
    ck_assert_ptr_eq(prep_find(&t, &s[0]), first);
    ck_assert_ptr_eq(prep_find(&t, &s[1]), second);
    prep_forget(&t, first); /* in flight: freed with its use */
    ck_assert_ptr_null(prep_find(&t, &s[0]));
    prep_unuse(first);
    prep_free(&t);
}
END_TEST

START_TEST(texts_of_every_length_hash_apart)
{
    char sql[64] = "";
    uint64_t seen[60];

    for (size_t i = 0; i < 60; i++) {
        struct trip_stmt s = stmt(sql, NULL, 0);
        seen[i] = s.hash;
        for (size_t j = 0; j < i; j++)
            ck_assert(seen[j] != seen[i]);
        sql[i] = 'a';
        sql[i + 1] = 0;
    }
}
END_TEST

SUITE("prep", types_are_part_of_what_a_statement_is,
      least_recently_used_go_first_and_what_is_used_stays, texts_of_every_length_hash_apart)
