/* .env files and ${NAME}. */
#include "config_case.h"

static ath_arena arena;
static struct config_env env;

static void begin(const char *const *real)
{
    arena_init(&arena);
    env = (struct config_env){ .arena = &arena, .real = real };
}

static const char *get(const char *name)
{
    ath_str v;

    return env_get_z(&env, name, &v) ? v.p : "(unset)";
}

START_TEST(lines_follow_the_grammar)
{
    unsigned line = 0;

    begin(NULL);
    ck_assert_int_eq(env_parse(&env, str_of("# comment\r\n"
                                            "\n"
                                            "PLAIN=value\r\n"
                                            "  export SPACED = x y\n"), &line), ATH_E_INPUT);
    ck_assert_uint_eq(line, 4); /* what follows a value must be a comment */
    ck_assert_str_eq(get("PLAIN"), "value");
    ck_assert_str_eq(get("SPACED"), "(unset)");
    ck_assert_int_eq(env_parse(&env, str_of("export E = 1 # one\n"
                                            "HASH=v#x\n"
                                            "EMPTY=\n"
                                            "SINGLE='a $PLAIN \\n \"q\"'\n"
                                            "DOUBLE=\"a ${PLAIN} \\\"q\\\" \\$x \\n.\"\n"
                                            "BARE=a\\ b$PLAIN-c\n"
                                            "MIXED=a\"b c\"'d e'f\n"
                                            "UNDER=$PLAIN_x\n"
                                            "dotted.key_1=ok\n"
                                            "GONE=[$NOSUCH]\n"
                                            "PLAIN=later\n"), &line), 0);
    ck_assert_str_eq(get("E"), "1");
    ck_assert_str_eq(get("HASH"), "v#x");
    ck_assert_str_eq(get("EMPTY"), "");
    ck_assert_str_eq(get("SINGLE"), "a $PLAIN \\n \"q\"");
    ck_assert_str_eq(get("DOUBLE"), "a value \"q\" $x \n.");
    ck_assert_str_eq(get("BARE"), "a bvalue-c");
    ck_assert_str_eq(get("MIXED"), "ab cd ef");
    ck_assert_str_eq(get("UNDER"), "value_x");
    ck_assert_str_eq(get("dotted.key_1"), "ok");
    ck_assert_str_eq(get("GONE"), "[]");
    ck_assert_str_eq(get("PLAIN"), "value");
    arena_free(&arena);
}
END_TEST

START_TEST(bad_lines_stop_the_file)
{
    static const char *const bad[] = { "NOVALUE", "1X=2", "A=\"open", "A='open", "A=\\q", "A=${x", "=x",
                                       "A-B=c", "A=\"x\" y" };
    unsigned line;

    for (size_t i = 0; i < ATH_COUNT(bad); i++) {
        begin(NULL);
        ck_assert_msg(env_parse(&env, str_of(bad[i]), &line) == ATH_E_INPUT, "%s", bad[i]);
        arena_free(&arena);
    }
}
END_TEST

START_TEST(the_environment_is_never_overridden)
{
    static const char *const real[] = { "SET=real", "BLANK=", NULL };
    unsigned line;

    begin(real);
    ck_assert_int_eq(env_parse(&env, str_of("SET=file\nBLANK=file\nNEW=file\nUSES=${SET}\n"), &line), 0);
    ck_assert_str_eq(get("SET"), "real");
    ck_assert_str_eq(get("BLANK"), "");
    ck_assert_str_eq(get("NEW"), "file");
    ck_assert_str_eq(get("USES"), "real");
    arena_free(&arena);
}
END_TEST

START_TEST(values_cannot_double_without_end)
{
    struct buf b = BUF_HEAP;
    unsigned line = 0;

    begin(NULL);
    buf_lit(&b, "A0=0123456789\n");
    for (int i = 1; i < 60; i++)
        buf_printf(&b, "A%d=$A%d$A%d\n", i, i - 1, i - 1);
    ck_assert_int_eq(env_parse(&env, buf_view(&b), &line), ATH_E_INPUT);
    ck_assert_uint_lt(line, 20);
    buf_free(&b);
    arena_free(&arena);
}
END_TEST

START_TEST(only_a_whole_value_is_a_reference)
{
    struct env_reference r;

    ck_assert(env_reference(str_of("${A}"), &r) && str_is(r.name, "A") && !r.has_fallback);
    ck_assert(env_reference(str_of(" ${A:-b c} "), &r) && str_is(r.name, "A") && str_is(r.fallback, "b c"));
    ck_assert(env_reference(str_of("${A:-}"), &r) && r.has_fallback && r.fallback.n == 0);
    ck_assert(!env_reference(str_of("x${A}"), &r) && !env_reference(str_of("${A}/b"), &r));
    ck_assert(!env_reference(str_of("${}"), &r) && !env_reference(str_of("$A"), &r));
    ck_assert(!env_reference(str_of("${:-x}"), &r) && !env_reference(str_of("${A}${B}"), &r));
}
END_TEST

SUITE("config env", lines_follow_the_grammar, bad_lines_stop_the_file,
      the_environment_is_never_overridden, values_cannot_double_without_end,
      only_a_whole_value_is_a_reference)
