/* URIs that callers bring (G-20, D-12): which parts may be there, and where they may lead. */
#include <stdlib.h>

#include "base/err.h"
#include "db/direct.h"
#include "db/directuri.h"
#include "support/check_main.h"

static const struct direct_rules anywhere = { .allow_private = true };
static const struct direct_rules guarded = { .hosts = "db.example.org, Wild.Example.NET ,8.8.8.8" };

static const char *param_of(const struct db_target *t, const char *key)
{
    for (size_t i = 0; i < t->params; i++)
        if (strcmp(t->key[i], key) == 0)
            return t->value[i];
    return NULL;
}

/* "" when it is accepted, else the refusal's words, or "scheme". */
static const char *parse(const char *uri, const struct direct_rules *rules)
{
    static ath_err e;
    struct db_target *t;
    struct buf b = BUF_HEAP;
    const char *said = "";

    err_reset(&e);
    if (!direct_normalise(str_of(uri), &b)) {
        said = "scheme";
    } else if (direct_parse(b.p, rules, 0, &t, &e) == 0) {
        ck_assert(t->guarded == !rules->allow_private);
        target_unref(t);
    } else {
        e.message[e.message_n] = 0;
        said = e.message;
        ck_assert_ptr_null(strstr(said, "secret"));
    }
    buf_free(&b);
    return said;
}

static void is(const char *uri, const struct direct_rules *rules, const char *expected)
{
    const char *said = parse(uri, rules);

    ck_assert_msg(strcmp(said, expected) == 0, "%s: \"%s\", expected \"%s\"", uri, said, expected);
}

static void says(const char *uri, const struct direct_rules *rules, const char *part)
{
    const char *said = parse(uri, rules);

    ck_assert_msg(strstr(said, part), "%s: \"%s\", expected to hear \"%s\"", uri, said, part);
}

START_TEST(three_schemes_are_one)
{
    static const char *const forms[] = {
        "postgres://u:secret@h/d?sslmode=require",
        "postgresql://u:secret@h/d?channel_binding=require&sslmode=require",
        " JDBC:postgresql://u:secret@h/d?sslmode=require&channel_binding=prefer ",
    };
    char first[DIRECT_TOKEN], token[DIRECT_TOKEN];

    ck_assert(db_direct_token(str_of(forms[0]), first));
    ck_assert_int_eq(strncmp(first, "pg_direct_", 10), 0);
    ck_assert_uint_eq(strlen(first), 26);
    for (size_t i = 0; i < ATH_COUNT(forms); i++) {
        ck_assert(db_direct_token(str_of(forms[i]), token));
        ck_assert_str_eq(token, first);
        is(forms[i], &anywhere, "");
    }
    ck_assert(!db_direct_token(ATH_S("mysql://x"), token));
    is("", &anywhere, "scheme");
    is("athena://u@h/d", &anywhere, "scheme");
    is("anything", &anywhere, "scheme");
}
END_TEST

START_TEST(a_host_has_to_be_there_and_no_socket)
{
    says("postgres://", &anywhere, "must include a host");
    says("postgres:///d?user=u", &anywhere, "must include a host");
    says("postgres://u@a,/d", &anywhere, "must include a host");
    says("postgres://u@%2Ftmp/d", &anywhere, "unix socket");
    says("postgres://u@/d?host=/tmp", &anywhere, "unix socket");
    says("postgres://u@h,%2Ftmp/d", &anywhere, "unix socket");
    says("postgres://u@%40abstract/d", &anywhere, "unix socket");
    says("postgres://h/d", &anywhere, "names its user");
}
END_TEST

/* A parameter of libpq may name a file of ours, or an address beside the host. */
START_TEST(what_is_not_known_to_be_harmless_is_refused)
{
    static const char *const bad[] = { "hostaddr=127.0.0.1", "passfile=/etc/passwd",
                                       "sslkey=/etc/key",    "sslcert=/etc/cert",
                                       "sslrootcert=/x",     "service=x",
                                       "krbsrvname=x",       "replication=database",
                                       "requirepeer=root",   "sslcrl=/x" };
    char uri[200];

    for (size_t i = 0; i < ATH_COUNT(bad); i++) {
        snprintf(uri, sizeof(uri), "postgres://u:secret@h/d?%s", bad[i]);
        says(uri, &anywhere, "is not accepted");
    }
    says("postgres://u:secret@h/d?nonsense=1", &anywhere, "cannot be parsed");
    says("postgres://u:secret@h:99999/d", &anywhere, "cannot be parsed");
    is("jdbc:postgresql://h/d?user=u&password=secret&ssl=true", &anywhere, "");
}
END_TEST

START_TEST(G_20_private_and_local_hosts_are_blocked)
{
    static const struct direct_rules any = { .hosts = "" };
    static const char *const bad[] = { "localhost",
                                       "LOCALHOST.",
                                       "db.localhost",
                                       "127.0.0.1",
                                       "10.1.2.3",
                                       "172.20.0.1",
                                       "192.168.0.1",
                                       "169.254.169.254",
                                       "100.64.0.1",
                                       "0.0.0.0",
                                       "[::1]",
                                       "[fe80::1]",
                                       "[fd00::1]",
                                       "[::ffff:10.0.0.1]",
                                       "[64:ff9b::7f00:1]",
                                       "8.8.8.8,10.0.0.1" };
    char uri[200];

    for (size_t i = 0; i < ATH_COUNT(bad); i++) {
        snprintf(uri, sizeof(uri), "postgres://u:secret@%s/d", bad[i]);
        is(uri, &any, "Direct PostgreSQL private or local hosts are blocked by policy");
        is(uri, &anywhere, "");
    }
    is("postgres://u@8.8.8.8/d", &any, "");
    is("postgres://u@db.example.org/d", &any, "");
}
END_TEST

START_TEST(allowed_hosts_are_those_and_what_is_below_them)
{
    static const char *const good[] = { "db.example.org", "DB.example.ORG.", "a.db.example.org",
                                        "wild.example.net", "8.8.8.8" };
    static const char *const bad[] = { "example.org", "xdb.example.org", "db.example.org.evil.net",
                                       "8.8.8.9", "evil.net" };
    char uri[200];

    for (size_t i = 0; i < ATH_COUNT(good); i++) {
        snprintf(uri, sizeof(uri), "postgres://u:secret@%s/d", good[i]);
        is(uri, &guarded, "");
    }
    for (size_t i = 0; i < ATH_COUNT(bad); i++) {
        snprintf(uri, sizeof(uri), "postgres://u:secret@%s/d", bad[i]);
        says(uri, &guarded, "not one of the allowed");
    }
}
END_TEST

/* What the environment or a home folder of the server holds goes to nobody's database. */
START_TEST(nothing_of_the_process_is_lent)
{
    struct db_target *t;
    ath_err e;

    setenv("PGPASSWORD", "of the server", 1);
    ck_assert_int_eq(direct_parse("postgres://u@h/d", &anywhere, 0, &t, &e), 0);
    ck_assert_str_eq(param_of(t, "password"), "none");
    ck_assert_str_eq(param_of(t, "passfile"), "/dev/null/none");
    ck_assert_str_eq(param_of(t, "sslcert"), "/dev/null/none");
    ck_assert_str_eq(param_of(t, "gssencmode"), "disable");
    target_unref(t);
    ck_assert_int_eq(direct_parse("postgres://u:mine@h/d", &anywhere, 0, &t, &e), 0);
    ck_assert_str_eq(param_of(t, "password"), "mine");
    target_unref(t);
    unsetenv("PGPASSWORD");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        three_schemes_are_one,
        a_host_has_to_be_there_and_no_socket,
        what_is_not_known_to_be_harmless_is_refused,
        G_20_private_and_local_hosts_are_blocked,
        allowed_hosts_are_those_and_what_is_below_them,
        nothing_of_the_process_is_lent,
    };
    Suite *s = suite_create("directuri");
    TCase *c = tcase_create("directuri");

    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
