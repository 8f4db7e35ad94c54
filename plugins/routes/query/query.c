/* POST /gateway/query. */
#include "query.h"

int query_init(ath_self *s, const void *config, void **ret_state, ath_err *e)
{
    static struct query_state state;

    (void)config;
    state.catalog = ath_host_->service(s, "athena.catalog", 1);
    if (!state.catalog)
        return ath_fail(e, ATH_E_CONFIG, "service \"athena.catalog\" is not there");
    *ret_state = &state;
    return 0;
}

int query_gateway(ath_req *r, ath_err *e)
{
    int rc = ath_host_->req->allow(
        r, &(ath_right){ .table = ATH_S("gateway"), .action = ATH_S("query") }, 1, e);

    return rc < 0 ? rc : ath_raise(e, "feature_unavailable", "SQL is not available yet");
}
