/* Where Redis is: URLs, taken apart and refused, and never shown. */
#include "db/redis.h"
#include "lib/text.h"
#include "support/check_main.h"

START_TEST(urls_are_taken_apart)
{
    static const struct {
        const char *url, *host, *port, *user, *password, *database;
    } row[] = {
        { "redis://h", "h", "6379", NULL, NULL, "0" },
        { "redis://h:1/3", "h", "1", NULL, NULL, "3" },
        { "redis://:s%40%3a@h:1/", "h", "1", NULL, "s@:", "0" },
        { "redis://u:p@q@h", "h", "6379", "u", "p@q", "0" },
        { " redis://u:p@[::1]:7/2 ", "::1", "7", "u", "p", "2" },
        { "unix:///run/redis.sock", "/run/redis.sock", "", NULL, NULL, "0" },
    };

    for (size_t i = 0; i < ATH_COUNT(row); i++) {
        struct redis_options o;
        ath_err e;
        ck_assert_msg(redis_options_parse(str_of(row[i].url), &o, &e) == 0, "%s", row[i].url);
        ck_assert_str_eq(o.host, row[i].host);
        ck_assert_str_eq(o.port, row[i].port);
        ck_assert_pstr_eq(o.user, row[i].user);
        ck_assert_pstr_eq(o.password, row[i].password);
        ck_assert_str_eq(o.database, row[i].database);
        redis_options_free(&o);
    }
}
END_TEST

START_TEST(others_are_refused_without_being_repeated)
{
    static const char *const url[] = {
        "rediss://:secret@h", "http://secret@h", "redis://:secret@",    "redis://:secret@h:0",
        "redis://h:port",     "redis://h:70000", "redis://h/secret",    "redis://:%zzsecret@h",
        "unix://secret",      "redis://[::1",    "redis://:sec%00ret@h"
    };

    for (size_t i = 0; i < ATH_COUNT(url); i++) {
        struct redis_options o;
        ath_err e;
        err_reset(&e);
        ck_assert_msg(redis_options_parse(str_of(url[i]), &o, &e) < 0, "%s", url[i]);
        ck_assert_ptr_null(strstr(e.message, "secret"));
        redis_options_free(&o);
    }
}
END_TEST

SUITE("redis_url", urls_are_taken_apart, others_are_refused_without_being_repeated)
