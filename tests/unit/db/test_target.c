/* Connection URIs: what goes to libpq, what is refused, and that no message shows a password. */
#include "base/err.h"
#include "db/target.h"
#include "lib/text.h"
#include "support/check_main.h"

static const char *param_of(const struct db_target *t, const char *key)
{
    for (size_t i = 0; i < t->params; i++)
        if (strcmp(t->key[i], key) == 0)
            return t->value[i];
    return NULL;
}

START_TEST(parts_of_a_uri_reach_libpq_by_name)
{
    struct db_target *t;
    ath_err e;

    ck_assert_int_eq(
        target_parse("athena://app:p%40ss@db.internal:6000/acme?channel_binding=require"
                     "&sslmode=verify-full&application_name=x",
                     2500, &t, &e),
        0);
    ck_assert_str_eq(param_of(t, "user"), "app");
    ck_assert_str_eq(param_of(t, "password"), "p@ss");
    ck_assert_str_eq(param_of(t, "dbname"), "acme");
    ck_assert_str_eq(param_of(t, "channel_binding"), "require");
    ck_assert_str_eq(param_of(t, "sslmode"), "verify-full");
    ck_assert_ptr_null(param_of(t, "host"));
    ck_assert_uint_eq(t->hosts, 1);
    ck_assert_str_eq(t->host[0].name, "db.internal");
    ck_assert_str_eq(t->host[0].port, "6000");
    ck_assert(t->host[0].lookup && !t->host[0].addr);
    target_unref(t);
}
END_TEST

START_TEST(a_session_has_our_settings_behind_those_of_the_uri)
{
    struct db_target *t;
    ath_str options;
    ath_err e;

    ck_assert_int_eq(target_parse("postgres://h/d?options=-c%20DateStyle%3DGerman", 2500, &t, &e),
                     0);
    options = str_of(param_of(t, "options"));
    ck_assert(str_starts(options, "-c DateStyle=German -c DateStyle=ISO,MDY"));
    ck_assert(str_ends(options, " -c statement_timeout=2500"));
    ck_assert_str_eq(param_of(t, "client_encoding"), "UTF8");
    target_unref(t);
}
END_TEST

START_TEST(several_hosts_keep_their_order_and_ports)
{
    struct db_target *t;
    ath_err e;

    ck_assert_int_eq(target_parse("postgresql://u@one:1,[::1]:2,10.0.0.3:3/d"
                                  "?target_session_attrs=read-write",
                                  0, &t, &e),
                     0);
    ck_assert_uint_eq(t->hosts, 3);
    ck_assert_str_eq(t->host[1].name, "::1");
    ck_assert_str_eq(t->host[1].addr, "::1");
    ck_assert(!t->host[1].lookup && !t->host[2].lookup && t->host[0].lookup);
    ck_assert_str_eq(t->host[2].port, "3");
    ck_assert(t->writable);
    target_unref(t);
    ck_assert_int_eq(target_parse("postgresql://u@/d?host=/run/a,/run/b&port=7", 0, &t, &e), 0);
    ck_assert_uint_eq(t->hosts, 2);
    ck_assert_str_eq(t->host[1].port, "7");
    ck_assert(!t->host[0].lookup);
    target_unref(t);
}
END_TEST

START_TEST(what_is_no_uri_is_refused_without_showing_it)
{
    static const struct {
        const char *uri, *says;
    } bad[] = {
        { "", "connection string is empty" },
        { "   ", "connection string is empty" },
        { "mysql://u:secretword@h/d", "expected athena://, postgres://, or postgresql:// after "
                                      "resolving env references (see config.yaml)" },
        { "POSTGRES://u:secretword@h/d", "expected athena://, postgres://, or postgresql:// after "
                                         "resolving env references (see config.yaml)" },
        { "postgres://u:secretword@[::1/d", "connection URI cannot be parsed" },
        { "postgres://h/d?secretword=1", "connection URI cannot be parsed" },
        { "postgres://u:secretword@h:99999/d", "port of the connection URI is not in 1..65535" },
        { "postgres://u:secretword@a,b/d?port=1,2,3",
          "connection URI has 2 hosts, but 0 addresses and 3 ports" },
    };
    struct db_target *t = NULL;
    ath_err e;

    for (size_t i = 0; i < ATH_COUNT(bad); i++) {
        ck_assert_msg(target_parse(bad[i].uri, 0, &t, &e) == ATH_E_CONFIG, "%s", bad[i].uri);
        ck_assert_str_eq(e.message, bad[i].says);
        ck_assert_ptr_null(strstr(e.message, "secretword"));
        ck_assert_ptr_null(t);
    }
}
END_TEST

SUITE("target", parts_of_a_uri_reach_libpq_by_name,
      a_session_has_our_settings_behind_those_of_the_uri, several_hosts_keep_their_order_and_ports,
      what_is_no_uri_is_refused_without_showing_it)
