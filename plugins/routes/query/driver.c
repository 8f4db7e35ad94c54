/* Which database system is meant. The published server knows more of them. */
#include "driver.h"

enum { DRIVER_NAME = 32 };

static int text_of(ath_req *r, const struct json *body, const char *key, ath_str *ret, ath_err *e)
{
    const struct json *v = json_get(body, key);
    ath_str path = ath_host_->req->info(r, "path");

    if (!v)
        return ath_raise(e, "invalid_query_payload", "invalid %.*s payload: missing field `%s`",
                         STR_ARG(path), key);
    if (v->type != JSON_STRING)
        return ath_raise(e, "invalid_query_payload", "invalid %.*s payload: %s must be a text",
                         STR_ARG(path), key);
    *ret = v->text;
    return 0;
}

int driver_read(ath_req *r, const struct json *body, const char *instead, ath_str *ret_database,
                ath_err *e)
{
    ath_str driver;
    int rc;

    if ((rc = text_of(r, body, "driver", &driver, e)) < 0 ||
        (rc = text_of(r, body, "db_name", ret_database, e)) < 0)
        return rc;
    driver = str_trim(driver);
    if (!driver.n || driver.n > DRIVER_NAME)
        return ath_raise(e, "invalid_driver", "driver must be a non-empty supported identifier");
    if (!str_ieq(driver, ATH_S("postgresql")) && !str_ieq(driver, ATH_S("postgres")))
        return ath_raise(e, "invalid_driver", "Driver '%.*s' is not supported. %s", STR_ARG(driver),
                         instead);
    return 0;
}
