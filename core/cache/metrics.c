/* The published families of the response cache, and what it did. */
#include "cache/cache_priv.h"

#include "cache/remote.h"
#include "lib/buf.h"
#include "log/metric.h"

typedef unsigned long long ull;

static void one(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    metric_head(b, name, type, help);
    buf_printf(b, "%s %llu\n", name, (ull)v);
}

static void size(struct buf *b, const char *name, const char *help, uint64_t v)
{
    metric_head(b, name, "gauge", help);
    buf_printf(b, "%s{cache=\"request\"} %llu\n%s{cache=\"immortal\"} 0\n", name, (ull)v, name);
}

static void put_published(struct buf *b)
{
    struct memory_stats m;
    uint64_t n;

    memory_read_stats(&m);
    n = m.entries ? m.entries : 1;
    size(b, "athena_cache_entries", "Entries of a cache.", m.entries);
    size(b, "athena_cache_weighted_size", "Bytes of a cache.", m.bytes);
    one(b, "athena_cache_entries_total", "gauge", "Entries of all caches.", m.entries);
    one(b, "athena_cache_weighted_size_total", "gauge", "Bytes of all caches.", m.bytes);
    metric_head(b, "athena_cache_average_weight_per_entry", "gauge", "Bytes per cache entry.");
    buf_printf(b, "athena_cache_average_weight_per_entry %.6f\n", (double)m.bytes / (double)n);
    one(b, "athena_cache_evicted_total", "counter", "Answers that had to make room.", m.evicted);
}

static void put_looks(struct buf *b, const struct cache_counts *c)
{
    static const char *const outcome[CACHE_OUTCOMES] = {
        [ATH_CACHE_HIT_LOCAL] = "hit_local",
        [ATH_CACHE_HIT_REDIS] = "hit_redis",
        [ATH_CACHE_MISS] = "miss",
        [ATH_CACHE_MISS_REDIS_ERROR] = "miss_redis_error",
        [ATH_CACHE_MISS_REDIS_TIMEOUT] = "miss_redis_timeout",
        [ATH_CACHE_BYPASSED] = "bypassed",
    };

    metric_head(b, "athena_cache_lookups_total", "counter", "Questions by what the cache had.");
    for (size_t i = 0; i < CACHE_OUTCOMES; i++)
        if (outcome[i])
            buf_printf(b, "athena_cache_lookups_total{outcome=\"%s\"} %llu\n", outcome[i],
                       (ull)c->outcome[i]);
    one(b, "athena_cache_shared_total", "counter", "Hits on the answer of a request before them.",
        c->shared);
    one(b, "athena_cache_stored_total", "counter", "Answers kept.", c->stored);
    metric_head(b, "athena_cache_changes_total", "counter", "Changes by what they were of.");
    buf_printf(b,
               "athena_cache_changes_total{of=\"relations\"} %llu\n"
               "athena_cache_changes_total{of=\"anything\"} %llu\n",
               (ull)c->changes, (ull)c->changes_all);
}

static void put_redis(struct buf *b)
{
    struct remote_stats r;

    if (!remote_on())
        return;
    remote_read_stats(&r);
    one(b, "athena_cache_redis_connections", "gauge", "Connections to Redis that are ready.",
        r.ready);
    one(b, "athena_cache_redis_requests_total", "counter", "Commands sent to Redis.", r.asks);
    metric_head(b, "athena_cache_redis_failures_total", "counter",
                "Answers of Redis that did not come.");
    buf_printf(b,
               "athena_cache_redis_failures_total{kind=\"timeout\"} %llu\n"
               "athena_cache_redis_failures_total{kind=\"error\"} %llu\n",
               (ull)r.timeouts, (ull)r.errors);
    one(b, "athena_cache_redis_untold", "gauge", "Changes that Redis has not been told yet.",
        r.untold);
    one(b, "athena_cache_redis_untold_total", "counter",
        "Changes that Redis could not be told in time.", r.untold_ever);
}

void cache_metrics(struct buf *b, void *arg)
{
    struct cache_counts c;

    (void)arg;
    cache_read_counts(&c);
    put_published(b);
    put_looks(b, &c);
    put_redis(b);
}
