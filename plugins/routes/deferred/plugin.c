/* routes-deferred: requests that are carried out later. */
#include "deferred.h"

#define T struct deferred_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_BOOL(T, public_routes, "public", "false",
             "Let everybody see and requeue deferred requests who knows their id, as the published server does.",
             .alias = "gateway.deferred_routes_public", .flags = ATH_CF_RELOAD),
    ATH_INT(T, most, "max_queued", "10000", "1..10000000",
            "Most requests that may wait in the queue; further ones are refused (429).",
            .flags = ATH_CF_RELOAD),
    ATH_INT(T, most_per_client, "max_queued_per_client", "1000", "1..10000000",
            "Most of them of one client.", .flags = ATH_CF_RELOAD),
};

static const ath_metric metrics[METRICS] = {
    [M_EVENTS] = { "athena_gateway_deferred_events_total", "kind,status", "Deferred requests by kind and what became of them.", ATH_M_COUNTER, 100 },
};

/* Nobody but the handler knows whose request it is, so it decides who may (access.c). */
#define OWN(method_, path_, handle_, summary_) \
    { .method = (method_), .path = (path_), .handle = (handle_), .right = "{request_id}", .summary = (summary_), \
      .auth = ATH_AUTH_NONE, .flags = ATH_RT_COMMON }

static const ath_route routes[] = {
    OWN("GET", "/gateway/deferred/{request_id}", deferred_status, "What became of a deferred request"),
    OWN("GET", "/gateway/deferred/flush", deferred_status, "The same of the id \"flush\"; POST is another route's"),
    OWN("POST", "/gateway/deferred/{request_id}/requeue", deferred_requeue, "Carries out a finished one once more"),
    OWN("POST", "/gateway/deferred/{request_id}/cancel", deferred_cancel, "Gives up one that waits or runs"),
    { .method = "GET", .path = "/admin/deferred", .handle = deferred_list, .auth = ATH_AUTH_ADMIN,
      .summary = "Deferred requests, newest first, by status, client and kind" },
    { .method = "POST", .path = "/admin/deferred/redrive", .handle = deferred_redrive, .auth = ATH_AUTH_ADMIN,
      .summary = "Requeues those that were given up, by client, kind and error" },
    { .method = "GET", .path = "/routed/deferred", .handle = deferred_key, .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_COMMON | ATH_RT_INNER,
      .summary = "Calls of the server to itself: is it a key?" },
};
/* clang-format on */

void deferred_count(const char *kind, const char *status)
{
    ath_host_->log->put(ath_self_, M_EVENTS, (ath_str[]){ str_of(kind), str_of(status) }, 1);
}

void deferred_requeued(ath_str kind)
{
    ath_host_->log->put(ath_self_, M_EVENTS,
                        (ath_str[]){ kind.n ? kind : ATH_S("unknown"), ATH_S("requeued") }, 1);
}

static int init(ath_self *s, const void *config, void **state, ath_err *e)
{
    static struct deferred_state deferred;

    (void)config;
    deferred.rights = ath_host_->service(s, "athena.rights", 1);
    deferred.secrets = ath_host_->service(s, "athena.secrets", 1);
    if (!deferred.rights || !deferred.secrets)
        return ath_fail(e, ATH_E_CONFIG,
                        "services \"athena.rights\" and \"athena.secrets\" are "
                        "not there");
    *state = &deferred;
    return 0;
}

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "deferred"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_driver driver = {
    ATH_CAP(ath_driver, ATH_CAP_DRIVER, "athena.deferred"),
    .version = 1,
    .vtable = &deferred_service,
};
static const ath_queue queue = { DEFERRED_QUEUE_MEMBERS };
static const ath_cap *const caps[] = { &group.cap, &driver.cap, &queue.cap, NULL };

ATH_PLUGIN("routes-deferred", "1.0.0", "athena.rights@1 athena.secrets@1", "athena.deferred@1",
           .summary = "The queue of requests that are carried out later", ATH_ARRAY(field, fields),
           .config_size = sizeof(struct deferred_config), ATH_ARRAY(metric, metrics), .cap = caps,
           .init = init);
