/* plugins/shared/backup/listing: what pg_restore lists, and which of its errors change nothing
 * (D-49). */
#include "backup/listing.h"

#include "support/check_main.h"

START_TEST(a_list_is_counted)
{
    static const char *const lines[] = {
        ";     dbname: shop",
        ";     Format: DIRECTORY",
        ";     Dumped from database version: 15.20 (Debian 15.20-0+deb12u1)",
        ";     Dumped by pg_dump version: 18.1",
        "842; 1247 106277 TYPE public mood postgres",
        "215; 1259 106282 TABLE public my table postgres",
        "216; 1259 106283 TABLE public part postgres",
        "3300; 0 0 TABLE ATTACH public part postgres",
        "3371; 0 106300 TABLE DATA public my table postgres",
        "3378; 0 0 SEQUENCE SET public products_id_seq postgres",
        "",
    };
    struct listing l = { 0 };

    for (size_t i = 0; i < ATH_COUNT(lines); i++)
        listing_line(&l, str_of(lines[i]));
    ck_assert(l.directory);
    ck_assert_uint_eq(l.from_major, 15);
    ck_assert_uint_eq(l.by_major, 18);
    ck_assert_uint_eq(l.entries, 6);
    ck_assert_uint_eq(l.tables, 2);
    ck_assert_uint_eq(l.loads, 1);
}
END_TEST

#define QUERY "pg_restore: error: could not execute query: ERROR:  "

static const struct {
    const char *line;
    enum listing_said is;
} said[] = {
    { "pg_restore: processing data for table \"public.items\"", SAID_LOADING },
    { QUERY "schema \"public\" already exists", SAID_HARMLESS },
    { QUERY "extension \"citext\" already exists", SAID_HARMLESS },
    { QUERY "must be owner of extension plpgsql", SAID_HARMLESS },
    { QUERY "must be owner of schema public", SAID_HARMLESS },
    { QUERY "unrecognized configuration parameter \"transaction_timeout\"", SAID_HARMLESS },
    { QUERY "relation \"items\" already exists", SAID_ERROR },
    { QUERY "must be owner of table items", SAID_ERROR },
    { QUERY "must be owner of schema sales", SAID_ERROR },
    { QUERY "column \"schema public already exists\" does not exist", SAID_ERROR },
    { "pg_restore: error: could not uncompress data: (null)", SAID_ERROR },
    { "pg_restore: error: connection to server failed: FATAL:  no", SAID_ERROR },
    { "Command was: CREATE SCHEMA public;", SAID_NOISE },
    { "pg_restore: warning: errors ignored on restore: 1", SAID_NOISE },
    { "pg_restore: creating TABLE \"public.items\"", SAID_NOISE },
    { "", SAID_NOISE },
};

START_TEST(D_49_which_errors_are_harmless)
{
    ck_assert_msg(listing_said(str_of(said[_i].line)) == said[_i].is, "%s", said[_i].line);
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("backup.listing");
    TCase *t = tcase_create("listing");

    tcase_add_test(t, a_list_is_counted);
    tcase_add_loop_test(t, D_49_which_errors_are_harmless, 0, ATH_COUNT(said));
    suite_add_tcase(s, t);
    return s;
}
