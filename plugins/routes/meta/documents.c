/* What the host generates from the tables of routes and from its counters, handed out as it is. */
#include "meta.h"

#include "lib/text.h"

int meta_metrics(ath_req *r, ath_err *e)
{
    const struct meta_config *cfg = ath_config_of(r);

    (void)e;
    return ath_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8",
                     ath_host_->inspect(r, cfg->metrics ? "metrics" : "metrics.minimal"));
}

/* Names of plugins, rights and limits are no public knowledge, so this one wants a credential even
 * where keys are not enforced. */
int meta_registry(ath_req *r, ath_err *e)
{
    ath_who who = { .size = sizeof(who) };

    ath_host_->req->who(r, &who);
    if (!(who.flags & (ATH_WHO_ADMIN | ATH_WHO_KEY)))
        return ath_raise(e, "unauthorized", "the route registry needs the admin key or an API key");
    return ath_reply(r, 200, "application/json", ath_host_->inspect(r, "registry"));
}

int meta_openapi(ath_req *r, ath_err *e)
{
    (void)e;
    return ath_reply(r, 200, "application/yaml; charset=utf-8", ath_host_->inspect(r, "openapi"));
}

int meta_openapi_wss(ath_req *r, ath_err *e)
{
    (void)e;
    return ath_reply(r, 200, "application/yaml; charset=utf-8",
                     ath_host_->inspect(r, "openapi-wss"));
}
