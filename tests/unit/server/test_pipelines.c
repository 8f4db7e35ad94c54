/* core/server/pipelines.c: the file of pipelines, right and wrong. */
#include <stdlib.h>
#include <unistd.h>

#include "log/log.h"
#include "server/pipelines.h"
#include "support/check_main.h"

#define SINK "  sink: { table_name: y }\n"

static bool load(const char *text)
{
    char path[] = "/tmp/athena-pipelines-XXXXXX";
    struct config c = { 0 };
    int fd = mkstemp(path);
    bool good;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    good = pipelines_load(&c, str_of(path));
    unlink(path);
    return good;
}

static void means(const char *yaml, const char *json)
{
    struct buf b = BUF_HEAP;

    ck_assert(load(yaml));
    pipelines_json(&b);
    ck_assert_str_eq(buf_view(&b).p, json);
    buf_free(&b);
    pipelines_free();
}

START_TEST(values_have_the_type_of_their_key)
{
    means("pipelines: []\n", "[]");
    means("pipelines:\n- name: a b\n  source:\n    table_name: 2024\n    columns: [1, no]\n"
          "    limit: 5\n    client: ~\n" SINK,
          "[{\"name\":\"a b\",\"definition\":{\"source\":{\"table_name\":\"2024\","
          "\"columns\":[\"1\",\"no\"],\"limit\":5},\"sink\":{\"table_name\":\"y\"}}}]");
    means("pipelines:\n- name: a\n  source: { view_name: x }\n  transform:\n    group_by: b\n"
          "    aggregation_dedup: yes\n    column_aliases: { b: 7 }\n" SINK,
          "[{\"name\":\"a\",\"definition\":{\"source\":{\"view_name\":\"x\"},\"transform\":{"
          "\"group_by\":\"b\",\"aggregation_dedup\":true,\"column_aliases\":{\"b\":\"7\"}},"
          "\"sink\":{\"table_name\":\"y\"}}}]");
}
END_TEST

START_TEST(conditions_are_read_as_yaml_reads_them)
{
    means(
        "pipelines:\n- name: a\n  source:\n    table_name: x\n    conditions:\n"
        "    - { a: 1, b: -0.5e3, c: \"1\", d: true, e: null, f: 007, g: [x, 2], h: 1., i: .5, "
        "j: inf, k: '' }\n" SINK,
        "[{\"name\":\"a\",\"definition\":{\"source\":{\"table_name\":\"x\",\"conditions\":[{"
        "\"a\":1,\"b\":-0.5e3,\"c\":\"1\",\"d\":true,\"e\":null,\"f\":\"007\",\"g\":[\"x\",2],"
        "\"h\":\"1.\",\"i\":\".5\",\"j\":\"inf\",\"k\":\"\"}]},\"sink\":{\"table_name\":\"y\"}}}]");
}
END_TEST

START_TEST(a_file_counts_as_a_whole)
{
    ck_assert(load("pipelines:\n- name: a\n  source: { table_name: x }\n" SINK
                   "- name: b\n  source: { table_name: x }\n" SINK));
    ck_assert_uint_eq(pipelines_count(), 2);
    ck_assert(pipelines_loaded());
    pipelines_free();
    ck_assert(!load("pipelines:\n- name: a\n  source: { table_name: x }\n" SINK
                    "- name: b\n  source: { table_nam: x }\n" SINK));
    ck_assert_uint_eq(pipelines_count(), 0);
    ck_assert(!pipelines_loaded());
}
END_TEST

START_TEST(what_is_wrong_is_refused)
{
    static const char *const wrong[] = {
        "",
        "pipelines: {}\n",
        "pipelines: []\nother: 1\n",
        "- a\n",
        "pipelines: [a]\n",
        "pipelines:\n- source: { table_name: x }\n" SINK,
        "pipelines:\n- name: [a]\n  source: { table_name: x }\n" SINK,
        "pipelines:\n- name: a\n" SINK,
        "pipelines:\n- name: a\n  source: x\n" SINK,
        "pipelines:\n- name: a\n  source: { table_name: [x] }\n" SINK,
        "pipelines:\n- name: a\n  source: { table_name: x, limit: -1 }\n" SINK,
        "pipelines:\n- name: a\n  source: { table_name: x, columns: { a: b } }\n" SINK,
        "pipelines:\n- name: a\n  source: { table_name: x, conditions: { a: b } }\n" SINK,
        "pipelines:\n- name: a\n  source: { table_name: x }\n",
        "pipelines:\n- name: a\n  source: { table_name: x }\n  limit: 5\n" SINK,
        "pipelines:\n- name: a\n  source: { table_name: x }\n  transform: { by: 5 }\n" SINK,
        "pipelines:\n- name: a\n  source: { table_name: x }\n" SINK
        "- name: A\n  source: { table_name: x }\n" SINK,
        "pipelines:\n\t- name: a\n",
    };

    for (size_t i = 0; i < ATH_COUNT(wrong); i++)
        ck_assert_msg(!load(wrong[i]), "%s", wrong[i]);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_no_file)
{
    struct config c = { 0 };

    ck_assert(!pipelines_load(&c, ATH_S("/nonexistent/pipelines.yaml")));
    ck_assert_uint_eq(pipelines_count(), 0);
}
END_TEST

SUITE("server/pipelines", values_have_the_type_of_their_key, conditions_are_read_as_yaml_reads_them,
      a_file_counts_as_a_whole, what_is_wrong_is_refused, a_file_that_is_not_there_is_no_file)
