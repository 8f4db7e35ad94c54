/* Arguments, forms, facts: what a handler asks of its request. */
#include "http/http_priv.h"
#include "support/check_main.h"

static const char *decoded(const char *text)
{
    static char out[256];
    ath_arena a;
    ath_pair *pair;
    uint32_t n;
    size_t at = 0;

    arena_init(&a);
    args_decode(&a, str_of(text), &pair, &n);
    out[0] = 0;
    for (uint32_t i = 0; i < n; i++)
        at += (size_t)snprintf(out + at, sizeof(out) - at, "[%.*s=%.*s]", STR_ARG(pair[i].name),
                               STR_ARG(pair[i].value));
    arena_free(&a);
    return out;
}

START_TEST(arguments)
{
    ck_assert_str_eq(decoded(""), "");
    ck_assert_str_eq(decoded("a=1&b=2&a=3"), "[a=1][b=2][a=3]");
    ck_assert_str_eq(decoded("a"), "[a=]");
    ck_assert_str_eq(decoded("&&a=&=b&"), "[a=][=b]");
    ck_assert_str_eq(decoded("a=b=c"), "[a=b=c]");
    ck_assert_str_eq(decoded("a%20b=c+d%2B"), "[a b=c d+]");
    ck_assert_str_eq(decoded("a=%zz%4"), "[a=%zz%4]");
    ck_assert_str_eq(decoded("or=(x.eq.1,y.gt.2)"), "[or=(x.eq.1,y.gt.2)]");
}
END_TEST

START_TEST(facts_replace_by_key)
{
    struct exchange *x = calloc(1, sizeof(*x));
    struct req *r = &x->req;
    char key[16], value[16];

    r->task.magic = TASK_MAGIC;
    arena_init(&r->task.arena);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 40; i++) {
            snprintf(key, sizeof(key), "k%d", i);
            snprintf(value, sizeof(value), "%d", i + round);
            req_note(&r->task, &(ath_fact){ str_of(key), str_of(value), ATH_V_NUMBER, 0 });
        }
    ck_assert_uint_eq(r->fact_count, 40);
    ck_assert(str_is(req_fact(r, "k7")->value, "8"));
    ck_assert_ptr_null(req_fact(r, "k40"));
    arena_free(&r->task.arena);
    free(x);
}
END_TEST

SUITE("req", arguments, facts_replace_by_key)
