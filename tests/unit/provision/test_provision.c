/* plugins/shared/provision: the script cut into statements, what a table may lack of it, names and
 * options of new databases, URIs of databases beside others and the servers that they lead to. */
#include "base/arena.h"
#include "base/err.h"
#include "provision/database.h"
#include "provision/provision.h"
#include "support/check_main.h"
#include "support/testhost.h"

static ath_arena arena;
static ath_err err;

static void begin(void)
{
    arena_init(&arena);
    err_reset(&err);
    testhost_pg(NULL); /* words of errors */
}

static void end(void)
{
    arena_free(&arena);
}

#define is(text, expected) \
    do { \
        ath_str t_ = (text); \
        ck_assert_msg(str_is(t_, (expected)), "\"%.*s\" is not \"%s\"", STR_ARG(t_), (expected)); \
    } while (0)

/* ---- the script ---- */

START_TEST(statements_end_where_sql_ends_them)
{
    ath_str *s;
    uint32_t n = provision_statements(&arena,
                                      ATH_S("-- one; two\nCREATE TABLE a (b text DEFAULT ';'); /* ; /* ; */ ; */\n"
                                            "DO $x$ BEGIN; END $x$;;\nSELECT \";\"; -- the end"),
                                      &s);

    ck_assert_uint_eq(n, 3);
    is(s[0], "CREATE TABLE a (b text DEFAULT ';')");
    is(s[1], "DO $x$ BEGIN; END $x$");
    is(s[2], "SELECT \";\"");
    ck_assert_int_eq(s[1].p[s[1].n], 0);
}
END_TEST

START_TEST(p5_the_script_has_its_tables_and_nothing_unquoted)
{
    ath_str *statement, *table;
    uint32_t n = provision_statements(&arena, str_of(tenant_sql), &statement);
    uint32_t tables = provision_tables(&arena, str_of(tenant_sql), &table), audit = 0;

    ck_assert_uint_eq(tables, 43);
    ck_assert_uint_gt(n, tables);
    is(table[0], "billing.billing_provider_connections");
    for (uint32_t i = 0; i < n; i++)
        audit += memmem(statement[i].p, statement[i].n, "\"table\" text", 12) != NULL;
    ck_assert_uint_eq(audit, 1); /* D32 */
}
END_TEST

START_TEST(c22_what_a_table_lacks_is_made_from_its_definition)
{
    is(provision_lacking(&arena, ATH_S("CREATE TABLE IF NOT EXISTS athena.files (\n    id text PRIMARY KEY DEFAULT f(1, 2), name text NOT NULL,\n"
                                       "    price numeric(20,4) NOT NULL DEFAULT 0, \"table\" text, UNIQUE (name, price)\n)")),
       "ALTER TABLE athena.files ADD COLUMN IF NOT EXISTS name text , ADD COLUMN IF NOT EXISTS price numeric(20,4) NOT NULL DEFAULT 0, "
       "ADD COLUMN IF NOT EXISTS \"table\" text");
    is(provision_lacking(&arena, ATH_S("CREATE INDEX IF NOT EXISTS a ON b (c)")), "");
    is(provision_lacking(&arena, ATH_S("CREATE TABLE IF NOT EXISTS a.b (id text PRIMARY KEY)")), "");
    is(provision_lacking(&arena, ATH_S("CREATE TABLE a.b (id text)")), "");
}
END_TEST

START_TEST(p14_a_failure_shows_whole_characters)
{
    struct buf long_one = ARENA_BUF(&arena);

    for (int i = 0; i < 119; i++)
        buf_char(&long_one, 'x');
    buf_lit(&long_one, "\xc3\xa9\xc3\xa9");
    is(provision_failure(&arena, 2, 75, ATH_S("SELECT 1"), ATH_S("no")), "statement 2/75 failed: SELECT 1 \xe2\x80\x94 no");
    ck_assert(str_utf8(provision_failure(&arena, 2, 75, buf_view(&long_one), ATH_S("no"))));
    ck_assert(str_ends(provision_failure(&arena, 2, 75, buf_view(&long_one), ATH_S("no")), "xxx\xe2\x80\xa6 \xe2\x80\x94 no"));
}
END_TEST

/* ---- names and options ---- */

static int check(struct database_order *o)
{
    err_reset(&err);
    return database_check(&arena, o, &err);
}

#define refused(order, words) \
    do { \
        struct database_order o_ = order; \
        ck_assert_int_eq(check(&o_), ATH_E_INPUT); \
        ck_assert_str_eq(err.message, words); \
    } while (0)
#define ORDER(...) ((struct database_order){ __VA_ARGS__ })

START_TEST(names)
{
    char most[64];

    memset(most, 'a', sizeof(most));
    struct database_order o = ORDER(.name = ATH_S(" Tenant_A1\t"));
    ck_assert_int_eq(check(&o), 0);
    is(o.name, "tenant_a1");
    o = ORDER(.name = str_from(most, 63));
    ck_assert_int_eq(check(&o), 0);
    refused(ORDER(.name = str_from(most, 64)), "'database_name' exceeds PostgreSQL identifier length limit (63)");
    refused(ORDER(.name = ATH_S(" ")), "'database_name' must not be empty");
    refused(ORDER(.name = ATH_S("a-b")), "'database_name' may contain only ASCII letters, numbers, and '_'");
    refused(ORDER(.name = ATH_S("a\"b")), "'database_name' may contain only ASCII letters, numbers, and '_'");
    refused(ORDER(.name = ATH_S("caf\xc3\xa9")), "'database_name' may contain only ASCII letters, numbers, and '_'");
}
END_TEST

START_TEST(options)
{
    struct database_order o = ORDER(.name = ATH_S("a"), .option = { [DATABASE_OWNER] = ATH_S(" Someone "), [DATABASE_TEMPLATE] = ATH_S("template0"),
                                                                    [DATABASE_ENCODING] = ATH_S("x'y\\"), [DATABASE_CTYPE] = ATH_S("C") });

    ck_assert_int_eq(check(&o), 0);
    is(database_create_sql(&arena, &o), "CREATE DATABASE \"a\" OWNER \"someone\" TEMPLATE \"template0\" ENCODING  E'x''y\\\\' LC_CTYPE 'C'");
    o = ORDER(.name = ATH_S("a"));
    is(database_create_sql(&arena, &o), "CREATE DATABASE \"a\"");
    for (size_t i = 0; i < DATABASE_OPTIONS; i++) {
        o = ORDER(.name = ATH_S("a"));
        o.option[i] = ATH_S(" ");
        refused(o, "advanced option values must not be empty strings");
    }
    refused(ORDER(.name = ATH_S("a"), .option = { [DATABASE_TABLESPACE] = ATH_S("a b") }),
            "'tablespace' may contain only ASCII letters, numbers, and '_'");
}
END_TEST

/* ---- URIs ---- */

static ath_str beside(const char *uri)
{
    ath_str ret = { "refused", 7 };

    err_reset(&err);
    return database_uri(&arena, str_of(uri), ATH_S("new_one"), &ret, &err) < 0 ? ATH_S("refused") : ret;
}

START_TEST(uris_keep_their_parts)
{
    is(beside("postgresql://u:p@h:5432/old"), "postgresql://u:p@h:5432/new_one");
    is(beside("postgres://u:p%40%2F@h1:1,h2:2/old?sslmode=require&dbname=other&x=y"), "postgres://u:p%40%2F@h1:1,h2:2/new_one?sslmode=require&x=y");
    is(beside("athena://h/?d%62name=other"), "athena://h/new_one");
    is(beside("postgres://u@/old?host=/run/pg&port=5433"), "postgres://u@/new_one?host=/run/pg&port=5433");
    is(beside("postgres://[::1]:5432/old"), "postgres://[::1]:5432/new_one");
    is(beside("postgres://u:p@h:5432"), "refused");
    is(beside("postgres://u:p@h:5432?x=/old"), "refused");
    is(beside("mysql://h/old"), "refused");
    is(beside("host=h dbname=old"), "refused");
    is(beside(""), "refused");
}
END_TEST

static ath_str server(const char *uri)
{
    struct database_place place;

    return database_place(&arena, str_of(uri), &place) ? place.server : ATH_S("none");
}

START_TEST(one_server_has_one_fingerprint)
{
    struct database_place place;

    is(server("postgres://App:x@DB1/a"), "app@db1:5432");
    is(server("postgresql://app:other@db1:5432/b?sslmode=require"), "app@db1:5432");
    is(server("postgres://app@db2:2,db1:1/a"), "app@db1:1,db2:2");
    is(server("postgres://app@db1,db1:5432,db1/a"), "app@db1:5432");
    is(server("postgres://a%70p@db1/a"), "app@db1:5432");
    is(server("postgres://x@y/a?user=app&host=db1,db2&port=1,2"), "app@db1:1,db2:2");
    is(server("postgres://app@db1,db2/a?port=7"), "app@db1:7,db2:7");
    is(server("postgres://app@[FE80::1]:7/a"), "app@[fe80::1]:7");
    is(server("postgres://app@/a?host=/run/pg"), "app@/run/pg:5432");
    is(server("postgres://app@%2Frun%2Fpg/a"), "app@/run/pg:5432");
    is(server("redis://x"), "none");
    ck_assert(database_place(&arena, ATH_S("postgres://u@h/a%20b?x=1"), &place));
    is(place.database, "a b");
    ck_assert(database_place(&arena, ATH_S("postgres://u@h/a?dbname=c"), &place));
    is(place.database, "c");
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("provision");
    TCase *t = tcase_create("provision");

    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, statements_end_where_sql_ends_them);
    tcase_add_test(t, p5_the_script_has_its_tables_and_nothing_unquoted);
    tcase_add_test(t, c22_what_a_table_lacks_is_made_from_its_definition);
    tcase_add_test(t, p14_a_failure_shows_whole_characters);
    tcase_add_test(t, names);
    tcase_add_test(t, options);
    tcase_add_test(t, uris_keep_their_parts);
    tcase_add_test(t, one_server_has_one_fingerprint);
    suite_add_tcase(s, t);
    return s;
}
