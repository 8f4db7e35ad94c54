#include "dataplane/route.h"

#include "dataplane/dataplane.h"

int dp_body(ath_req *r, const char *code, const struct json **ret, ath_err *e)
{
    struct json_error why;

    *ret = json_read(ath_host_->req->body(r), JSON_ARENA(ath_arena_of(r)), DP_VALUES, &why);
    if (*ret)
        return 0;
    return ath_raise(e, code, "malformed JSON payload for %.*s: %s at line %u, column %u",
                     STR_ARG(ath_host_->req->info(r, "path")), why.why, why.line, why.column);
}

int dp_services(ath_self *s, const ath_catalog **ret_catalog, const ath_cache **ret_cache,
                ath_err *e)
{
    *ret_cache = ath_host_->service(s, "athena.cache", 1);
    *ret_catalog = ath_host_->service(s, "athena.catalog", 1);
    return *ret_catalog ? 0 : ath_fail(e, ATH_E_CONFIG, "service \"athena.catalog\" is not there");
}
