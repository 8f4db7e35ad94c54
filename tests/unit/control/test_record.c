/* Rows of the catalogue: where they lead, and what a start writes into them. */
#include "control/record.h"
#include "support/check_main.h"

#define NONE ((ath_str){ NULL, 0 })

static ath_arena arena;

static struct config_env env_of(const char *const *real)
{
    return (struct config_env){ .arena = &arena, .real = real };
}

static const char *uri_of(const struct record *r, ath_str *uri)
{
    static const char *const real[] = { "SHOP=postgres://env/db", "BLANK= ", "ODD=mysql://x", NULL };
    struct config_env env = env_of(real);

    return record_uri(r, &env, &arena, uri);
}

#define BINDINGS(inside) "{\"network\":{\"pg_route_bindings\":{" inside "}}}"

START_TEST(a_uri_is_found_in_its_order)
{
    static const struct {
        const char *uri, *variable, *template, *metadata, *want, *why;
    } row[] = {
        { " postgres://u/db ", "SHOP", "postgres://t/db", "{}", "postgres://u/db", NULL },
        { " ", "SHOP", "postgres://t/db", "{}", "postgres://env/db", NULL },
        { NULL, NULL, "${SHOP}", "{}", "postgres://env/db", NULL },
        { NULL, NULL, "${NOPE:-postgres://d/db}", "{}", "postgres://d/db", NULL },
        { "${BLANK:-postgres://d/db}", NULL, NULL, "{}", "postgres://d/db", NULL },
        { NULL, "NOPE", "postgres://t/db", "{}", NULL, "environment variable `NOPE` is not set" },
        { NULL, "BLANK", NULL, "{}", NULL, "connection string is empty" },
        { NULL, NULL, NULL, "{}", NULL, "connection string is empty" },
        { "${ODD}", NULL, NULL, "{}", NULL, "expected athena://" },
        { "postgres://localhost/db", NULL, NULL, BINDINGS("\"z\":{\"public_pg_uri\":\"postgres://z\"},"
          "\"b\":{\"public_pg_uri\":\"postgres://b\"}"), "postgres://b", NULL },
        { "postgres://u:p@127.0.0.1:5/db", NULL, NULL, BINDINGS("\"default\":{\"public_pg_uri\":"
          "\"postgres://d\"},\"primary\":{\"public_pg_uri\":\"\"}"), "postgres://d", NULL },
        { NULL, NULL, NULL, BINDINGS("\"primary\":{\"public_pg_uri\":\"postgres://p\"}"),
          "postgres://p", NULL },
        { "postgres://far/db", NULL, NULL, BINDINGS("\"primary\":{\"public_pg_uri\":"
          "\"postgres://p\"}"), "postgres://far/db", NULL },
        { "postgres://[::1]/db", NULL, NULL, "not json", "postgres://[::1]/db", NULL },
        { "postgres://[::1]/db", NULL, NULL, "{\"network\":5}", "postgres://[::1]/db", NULL },
    };

    for (size_t i = 0; i < ATH_COUNT(row); i++) {
        struct record r = { .uri = str_of(row[i].uri), .variable = str_of(row[i].variable),
                            .template = str_of(row[i].template),
                            .metadata = str_of(row[i].metadata) };
        ath_str uri = { "", 0 };
        const char *why = uri_of(&r, &uri);
        if (row[i].want)
            ck_assert_msg(!why && str_is(uri, row[i].want), "row %zu: %.*s, %s", i, STR_ARG(uri), why);
        else
            ck_assert_msg(why && str_starts(str_of(why), row[i].why), "row %zu: %s", i, why);
    }
    arena_free(&arena);
}
END_TEST

#define NETWORK(inside) "{\"network\":{" inside "}}"

START_TEST(tools_take_the_private_uri_first)
{
    static const struct {
        const char *metadata, *want;
    } row[] = {
        { NETWORK("\"private_pg_uri\":\" postgres://private/db \""), "postgres://private/db" },
        { NETWORK("\"pg_route_bindings\":{\"a\":{\"source_pg_uri\":\"postgres://a\"},"
                  "\"default\":{\"source_pg_uri\":\"postgres://d\"}}"), "postgres://d" },
        { NETWORK("\"pg_route_bindings\":{\"b\":{\"source_pg_uri\":\"postgres://b\"},"
                  "\"a\":{\"source_pg_uri\":\"postgres://a\"}}"), "postgres://a" },
        { NETWORK("\"private_pg_uri\":\"\""), "postgres://env/db" },
        { "{}", "postgres://env/db" },
    };
    static const char *const real[] = { "SHOP=postgres://env/db", NULL };
    struct config_env env = env_of(real);
    ath_str uri;

    for (size_t i = 0; i < ATH_COUNT(row); i++) {
        struct record r = { .uri = ATH_S("postgres://u/db"), .template = ATH_S("${SHOP}"),
                            .metadata = str_of(row[i].metadata) };
        ck_assert_ptr_null(record_tool_uri(&r, &env, &arena, &uri));
        ck_assert_msg(str_is(uri, row[i].want), "row %zu: %.*s", i, STR_ARG(uri));
    }
    struct record d44 = { .variable = ATH_S("SHOP"), .metadata = ATH_S("{}") };
    ck_assert_ptr_null(record_tool_uri(&d44, &env, &arena, &uri)); /* D-44 */
    ck_assert(str_is(uri, "postgres://env/db"));
}
END_TEST

START_TEST(loopback_is_seen)
{
    static const char *const near[] = { "postgres://localhost", "postgres://u:p@LOCALHOST:1/x",
                                        "postgres://127.9.9.9/x", "athena://u:a@127.0.0.1?x=y",
                                        "postgres://[::1]:5/x" };
    static const char *const far[] = { "postgres://far/x", "postgres://u@far/localhost", "",
                                       "postgres:///x?host=/tmp", "postgres://localhost.example/x" };

    for (size_t i = 0; i < ATH_COUNT(near); i++)
        ck_assert_msg(record_is_loopback(str_of(near[i])), "%s", near[i]);
    for (size_t i = 0; i < ATH_COUNT(far); i++)
        ck_assert_msg(!record_is_loopback(str_of(far[i])), "%s", far[i]);
}
END_TEST

#define A "postgres://a"
#define B "postgres://b"
#define X "postgres://operator"

static void is(ath_str have, const char *want)
{
    ck_assert_msg(want ? str_is(have, want) && have.p : !have.p, "\"%.*s\", expected \"%s\"",
                  STR_ARG(have), want ? want : "null");
}

START_TEST(a_start_leaves_what_operators_changed_D24)
{
    /* What lies there: uri, variable, template, source; what the file says; then what lies there. */
    static const struct {
        const char *uri, *variable, *template, *source, *text, *reference;
        const char *uri_then, *variable_then, *source_then;
        bool changed;
    } row[] = {
        { A, NULL, A, "config", A, "", A, NULL, "config", false },          /* nothing new */
        { A, NULL, A, "config", B, "", B, NULL, "config", true },           /* the file moved it */
        { X, NULL, A, "config", B, "", X, NULL, "config", true },           /* the operator had */
        { X, NULL, A, "config", A, "", X, NULL, "config", false },
        { A, NULL, A, "config", "${V}", "V", NULL, "V", "config", true },   /* now by a variable */
        { NULL, "V", "${V}", "config", B, "", B, NULL, "config", true },    /* and back */
        { X, "V", "${V}", "config", "${V}", "V", X, "V", "config", false }, /* beside a variable */
        { " ", "V", "${V}", "config", "${V}", "V", " ", "V", "config", false },
        { X, NULL, NULL, "database", A, "", X, NULL, "merged", true },      /* it was not the file's */
        { NULL, "W", NULL, "database", A, "", A, NULL, "merged", true },
        { X, NULL, A, "merged", A, "", X, NULL, "merged", false },
    };

    for (size_t i = 0; i < ATH_COUNT(row); i++) {
        struct record_config c = { ATH_S("n"), str_of(row[i].text), str_of(row[i].reference) };
        struct record r = { .uri = str_of(row[i].uri), .variable = str_of(row[i].variable),
                            .template = str_of(row[i].template), .source = str_of(row[i].source),
                            .description = ATH_S("mine"), .metadata = ATH_S("{\"mine\":1}"),
                            .frozen = true };
        ck_assert_msg(record_merge(&r, &c, false) == row[i].changed, "row %zu", i);
        is(r.uri, row[i].uri_then);
        is(r.variable, row[i].variable_then);
        is(r.template, row[i].text);
        is(r.source, row[i].source_then);
        is(r.description, "mine");
        is(r.metadata, "{\"mine\":1}");
        ck_assert(!r.active && r.frozen);
    }
}
END_TEST

START_TEST(overwriting_leaves_the_freeze)
{
    struct record_config c = { ATH_S("n"), ATH_S(A), NONE };
    struct record r = { .uri = ATH_S(X), .template = ATH_S(B), .source = ATH_S("config"),
                        .description = ATH_S("mine"), .metadata = ATH_S("{\"mine\":1}"),
                        .frozen = true };

    ck_assert(record_merge(&r, &c, true));
    is(r.uri, A);
    is(r.description, NULL);
    is(r.metadata, "{\"seeded_from\":\"config.yaml\"}");
    ck_assert(r.active && r.frozen);
}
END_TEST

START_TEST(what_is_sealed_by_no_key_or_an_old_one_is_written_again)
{
    struct record_config c = { ATH_S("n"), ATH_S(A), NONE };
    struct record r = { .uri = ATH_S(A), .template = ATH_S(A), .source = ATH_S("config") };

    ck_assert(!record_merge(&r, &c, false));
    r.outdated = true;
    ck_assert(record_merge(&r, &c, false));
}
END_TEST

START_TEST(draining_is_a_kind_of_freeze)
{
    struct record r = { .frozen = true, .metadata = ATH_S("{\"draining\": true}") };

    ck_assert(record_drains(&r));
    r.frozen = false;
    ck_assert(!record_drains(&r));
    r = (struct record){ .frozen = true, .metadata = ATH_S("{\"draining\": \"true\"}") };
    ck_assert(!record_drains(&r));
}
END_TEST

SUITE("record", a_uri_is_found_in_its_order, tools_take_the_private_uri_first, loopback_is_seen,
      a_start_leaves_what_operators_changed_D24, overwriting_leaves_the_freeze,
      what_is_sealed_by_no_key_or_an_old_one_is_written_again, draining_is_a_kind_of_freeze)
