/* What others see of the engine: metrics, and the list of workers. How much waits is asked of the
 * database in the background, and only while somebody looks.
 */
#include "jobs/jobs_priv.h"
#include "lib/json.h"
#include "log/metric.h"

static bool registered;
static pthread_mutex_t there = PTHREAD_MUTEX_INITIALIZER; /* held while the runners are looked at */

const char *job_end_name(enum job_end end)
{
    static const char *const name[ENDS] = { "completed", "retried",     "failed",
                                            "canceled",  "handed_back", "lease_lost" };

    return name[end];
}

static const char *queue_of(const struct runner *r)
{
    return r->family->queue->cap.name;
}

/* ---- metrics ---- */

typedef void put_fn(struct buf *b, struct runner *r);

static void family_of(struct buf *b, const char *name, const char *type, const char *help,
                      put_fn *put)
{
    metric_head(b, name, type, help);
    for (size_t i = 0; i < jobs.runner_count; i++) {
        struct runner *r = &jobs.runner[i];
        pthread_mutex_lock(&r->lock);
        put(b, r);
        pthread_mutex_unlock(&r->lock);
    }
}

static void put_states(struct buf *b, struct runner *r)
{
    for (uint32_t i = 0; i < r->depth_n; i++) {
        buf_printf(b, "athena_jobs{queue=\"%s\",", queue_of(r));
        metric_label(b, "state", str_of(r->depth[i].state));
        buf_printf(b, "} %lld\n", (long long)r->depth[i].count);
    }
}

static void put_ready(struct buf *b, struct runner *r)
{
    int64_t n = 0;

    for (uint32_t i = 0; i < r->depth_n; i++)
        n += r->depth[i].ready;
    buf_printf(b, "athena_jobs_ready{queue=\"%s\"} %lld\n", queue_of(r), (long long)n);
}

static bool is_waiting(const struct runner *r, const char *state)
{
    const ath_queue *q = r->family->queue;

    return str_is(str_of(state), q->waiting) || (q->again && str_is(str_of(state), q->again));
}

static void put_age(struct buf *b, struct runner *r)
{
    double oldest = 0;

    for (uint32_t i = 0; i < r->depth_n; i++)
        if (is_waiting(r, r->depth[i].state) && r->depth[i].oldest_s > oldest)
            oldest = r->depth[i].oldest_s;
    buf_printf(b, "athena_jobs_oldest_age_seconds{queue=\"%s\"} %.6f\n", queue_of(r), oldest);
}

static void put_running(struct buf *b, struct runner *r)
{
    buf_printf(b, "athena_jobs_running{queue=\"%s\"} %llu\n", queue_of(r),
               (unsigned long long)r->seen.running);
}

static void put_claims(struct buf *b, struct runner *r)
{
    buf_printf(b, "athena_job_claims_total{queue=\"%s\"} %llu\n", queue_of(r),
               (unsigned long long)r->seen.claims);
}

static void put_claimed(struct buf *b, struct runner *r)
{
    buf_printf(b, "athena_job_attempts_total{queue=\"%s\"} %llu\n", queue_of(r),
               (unsigned long long)r->seen.claimed);
}

static void put_ends(struct buf *b, struct runner *r)
{
    for (int end = 0; end < ENDS; end++)
        buf_printf(b, "athena_job_ends_total{queue=\"%s\",outcome=\"%s\"} %llu\n", queue_of(r),
                   job_end_name(end), (unsigned long long)r->seen.ended[end]);
}

static void put_losses(struct buf *b, struct runner *r)
{
    buf_printf(b, "athena_job_lease_losses_total{queue=\"%s\"} %llu\n", queue_of(r),
               (unsigned long long)r->seen.ended[END_LOST]);
}

static void want_depth(void)
{
    for (size_t i = 0; i < jobs.runner_count; i++)
        atomic_store(&jobs.runner[i].depth_wanted, true);
}

static void put_metrics(struct buf *b, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&there);
    want_depth();
    family_of(b, "athena_jobs", "gauge", "Jobs that are not done, by state; some seconds old.",
              put_states);
    family_of(b, "athena_jobs_ready", "gauge", "Jobs that may be claimed now; some seconds old.",
              put_ready);
    family_of(b, "athena_jobs_oldest_age_seconds", "gauge",
              "Age of the oldest job that waits; some seconds old.", put_age);
    family_of(b, "athena_jobs_running", "gauge", "Jobs that run in this process.", put_running);
    family_of(b, "athena_job_claims_total", "counter", "Claims that this process has made.",
              put_claims);
    family_of(b, "athena_job_attempts_total", "counter", "Jobs that this process has begun.",
              put_claimed);
    family_of(b, "athena_job_ends_total", "counter", "Jobs that have ended here, by outcome.",
              put_ends);
    family_of(b, "athena_job_lease_losses_total", "counter",
              "Jobs whose lease this process has lost.", put_losses);
    pthread_mutex_unlock(&there);
}

/* ---- the list ---- */

static void put_worker(struct buf *b, struct runner *r)
{
    const struct runner_seen *s = &r->seen;

    buf_lit(b, "{");
    buf_json_str(b, "worker", str_of(r->w.worker->cap.name));
    buf_json_str(b, "family", str_of(r->w.worker->family));
    buf_json_str(b, "plugin", str_of(r->w.plugin));
    buf_json_str(b, "kind", ATH_S("queue"));
    buf_json_str(b, "queue", str_of(queue_of(r)));
    buf_json_bool(b, "single", false);
    buf_json_bool(b, "runner", true);
    buf_json_bool(b, "open", __atomic_load_n(r->w.open, __ATOMIC_RELAXED) != 0);
    buf_json_int(b, "running", (int64_t)s->running);
    buf_json_int(b, "concurrency", s->concurrency);
    buf_json_int(b, "claimed", (int64_t)s->claimed);
    for (int end = 0; end < ENDS; end++)
        buf_json_int(b, job_end_name(end), (int64_t)s->ended[end]);
    buf_json_time(b, "last_claim_at", s->last_claim_ns);
    buf_json_time(b, "last_end_at", s->last_end_ns);
    buf_json_key(b, "last_error");
    if (s->error[0])
        buf_json(b, str_of(s->error));
    else
        buf_lit(b, "null");
    buf_lit(b, "}");
}

void jobs_json(struct buf *b, bool comma)
{
    pthread_mutex_lock(&there);
    for (size_t i = 0; i < jobs.runner_count; i++) {
        struct runner *r = &jobs.runner[i];
        if (comma || i)
            buf_lit(b, ",");
        pthread_mutex_lock(&r->lock);
        put_worker(b, r);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&there);
}

/* ---- life ---- */

void seen_start(void)
{
    if (!registered)
        metric_source(put_metrics, NULL);
    registered = true;
}

/* The runners are about to go. */
void seen_stop(void)
{
    pthread_mutex_lock(&there);
    jobs.runner_count = 0;
    pthread_mutex_unlock(&there);
}
