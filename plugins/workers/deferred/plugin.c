/* worker-deferred: carries out the requests of the deferred queue, through the very routes that
 * they came by (routes-gateway, routes-query), which have to be loaded beside it. */
#include "deferred.h"

#define T struct deferred_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_BOOL(T, enabled, "enabled", "true", "Whether deferred requests are carried out here.",
             .alias = "gateway.deferred_query_worker_enabled", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, poll_ms, "poll", "1000", "100ms..120s", "How often it looks for work that it was not woken for.",
             .alias = "gateway.deferred_query_worker_poll_ms", .flags = ATH_CF_RELOAD),
    ATH_INT(T, attempts, "max_attempts", "3", "3..50", "How often one is tried before it is given up.",
            .alias = "$ATHENA_DEFERRED_MAX_ATTEMPTS", .flags = ATH_CF_RELOAD),
    ATH_INT(T, concurrency, "concurrency", "4", "1..64", "Requests at once; of one client one after the other.",
            .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, lease_ms, "lease", "30s", "1s..10m", "How long one is held without a word of its process; it is renewed at a third."),
    ATH_MSEC(T, grace_ms, "grace", "5s", "100ms..1m", "How long one that is cancelled may take to end."),
    ATH_MSEC(T, unchecked_ms, "unchecked_expire", "15m", "2m..1d",
             "When a request whose caller could not be checked is given up after the process that took it has ended.",
             .flags = ATH_CF_RELOAD),
    ATH_BYTES(T, max_bytes, "max_answer_bytes", "72m", "1m..1g", "Largest answer of one; of a larger one nothing is kept."),
};
/* clang-format on */

static const ath_queue queue = { DEFERRED_QUEUE_MEMBERS };

static void run_pace(const void *config, ath_pace *p)
{
    const struct deferred_config *cfg = config;

    p->concurrency = (uint32_t)cfg->concurrency;
    p->per_client = 1;
    p->max_attempts = (uint32_t)cfg->attempts;
    p->poll_ms = cfg->poll_ms;
    p->lease_ms = cfg->lease_ms;
    p->grace_ms = cfg->grace_ms;
    p->retry_ms = 1000;
    p->retry_most_ms = 300000;
}

static void expire_pace(const void *config, ath_pace *p)
{
    (void)config;
    p->poll_ms = 60000;
}

static const ath_worker runner = {
    ATH_CAP(ath_worker, ATH_CAP_WORKER, DEFERRED_QUEUE),
    .family = "deferred",
    .gate = "enabled",
    .queue = &queue,
    .pace = run_pace,
    .run = deferred_run,
};
static const ath_worker expirer = {
    ATH_CAP(ath_worker, ATH_CAP_WORKER, "deferred_expiry_worker"),
    .family = "deferred",
    .pace = expire_pace,
    .run = deferred_expire,
    .flags = ATH_WK_SINGLE,
};
static const ath_cap *const caps[] = { &runner.cap, &expirer.cap, NULL };

static const ath_deferred *service;

void deferred_tell(const struct work *w, const char *status)
{
    if (service)
        service->count(w->kind ? w->kind->name : "unknown", status);
}

static int init(ath_self *s, const void *config, void **state, ath_err *e)
{
    (void)config, (void)e;
    service = ath_host_->service(s, "athena.deferred", 1);
    *state = &service;
    return 0;
}

ATH_PLUGIN("worker-deferred", "1.0.0", "?athena.deferred@1 ?routes-gateway ?routes-query", "",
           .summary = "Carries out deferred requests", ATH_ARRAY(field, fields),
           .config_size = sizeof(struct deferred_config), .cap = caps, .init = init);
