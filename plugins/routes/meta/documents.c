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

/* The site is the published one: links to it are in the wild. */
int meta_docs(ath_req *r, ath_err *e)
{
    (void)e;
    ath_host_->req->set(r, "location", ATH_S("https://xylex.group/docs/athena"));
    return ath_reply(r, 308, NULL, ATH_S(""));
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
