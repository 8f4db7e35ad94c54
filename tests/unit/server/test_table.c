/* core/server/table.c: what commands are done with, as people read it. */
#include <stdio.h>

#include "server/table.h"
#include "support/check_main.h"

static char out[8192];

static const char *table(const char *json, const char *rows, const char *columns, size_t width)
{
    FILE *f = fmemopen(out, sizeof(out), "w");

    memset(out, 0, sizeof(out));
    table_print_within(str_of(json), rows, columns, width, f);
    fclose(f);
    return out;
}

START_TEST(columns_are_as_wide_as_they_must_be)
{
    ck_assert_str_eq(
        table("[{\"name\":\"shop\",\"size\":7},{\"name\":\"a longer one\",\"size\":1234}]", NULL,
              "name,size", 0),
        "NAME          SIZE\n"
        "shop             7\n"
        "a longer one  1234\n");
}
END_TEST

START_TEST(values_of_every_kind)
{
    ck_assert_str_eq(
        table("[{\"a\":true,\"b\":null,\"c\":[1],\"d\":\"\"},{\"a\":false,\"b\":1.50}]", NULL,
              "a,b,c,d", 0),
        "A       B  C    D\n"
        "yes     -  [1]  \n"
        "no   1.50  -    -\n");
}
END_TEST

START_TEST(rows_are_where_the_command_says)
{
    static const char json[] =
        "{\"data\":{\"total\":{\"n\":2},\"list\":[{\"n\":1}],\"none\":null}}";

    ck_assert_str_eq(table(json, "data.list", "n", 0), "N\n1\n");
    ck_assert_str_eq(table(json, "data.total data.none data.list", "n;n;n", 0), "N\n2\n\nN\n1\n");
    ck_assert_str_eq(table(json, "data.nowhere", "n", 0), "{\"data\":{\"total\":{\"n\":2},\"list\":"
                                                          "[{\"n\":1}],\"none\":null}}\n");
}
END_TEST

START_TEST(the_widest_text_gives_way)
{
    const char *json = "[{\"id\":123456789012345,\"text\":\"0123456789012345678901234567890\"}]";

    ck_assert_str_eq(table(json, NULL, "id,text", 30), "             ID  TEXT\n"
                                                       "123456789012345  012345678901~\n");
    ck_assert_str_eq(table(json, NULL, "id,text", 5), "             ID  TEXT\n"
                                                      "123456789012345  01234567890~\n");
}
END_TEST

START_TEST(characters_count_not_bytes)
{
    ck_assert_str_eq(
        table("[{\"a\":\"\xc3\xa4\xc3\xa4\",\"b\":1},{\"a\":\"xyz\",\"b\":2}]", NULL, "a,b", 0),
        "A    B\n\xc3\xa4\xc3\xa4   1\nxyz  2\n");
    ck_assert_ptr_nonnull(
        strstr(table("[{\"a\":\"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
                     "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\"}]",
                     NULL, "a", 12),
               "\n\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
               "\xc3\xa4~\n"));
}
END_TEST

START_TEST(a_terminal_obeys_nobody)
{
    ck_assert_str_eq(table("[{\"a\":\"x\\u001b[2Jy\\nz\"}]", NULL, "a", 0), "A\nx [2Jy z\n");
}
END_TEST

START_TEST(what_is_no_json_is_printed_as_it_is)
{
    ck_assert_str_eq(table("not json", NULL, "a", 0), "not json\n");
    ck_assert_str_eq(table("[]", NULL, "a_b,c", 0), "A B  C\n");
}
END_TEST

START_TEST(json_has_a_line_for_each_value)
{
    FILE *f = fmemopen(out, sizeof(out), "w");

    memset(out, 0, sizeof(out));
    table_json(ATH_S("{\"a\":[1.50,\"x\\n\"],\"k \\\"q\":{},\"n\":null}"), f);
    table_json(ATH_S("{broken"), f);
    fclose(f);
    ck_assert_str_eq(out, "{\n  \"a\": [\n    1.50,\n    \"x\\n\"\n  ],\n  \"k \\\"q\": {},\n"
                          "  \"n\": null\n}\n{broken\n");
}
END_TEST

SUITE("table", json_has_a_line_for_each_value, columns_are_as_wide_as_they_must_be,
      values_of_every_kind, rows_are_where_the_command_says, the_widest_text_gives_way,
      characters_count_not_bytes, a_terminal_obeys_nobody, what_is_no_json_is_printed_as_it_is)
