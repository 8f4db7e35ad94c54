/* Starting, draining and stopping the engine. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "jobs/jobs_priv.h"

enum { TELL_MISSING_MS = 3600 * 1000 };

bool jobs_is_missing(const ath_err *e)
{
    ath_str state = err_get(e, "sqlstate");

    return state.n ? str_is(state, "42P01") || str_is(state, "42703") : e->rc == ATH_E_MISSING;
}

bool jobs_may_tell_missing(uint64_t now_ms)
{
    static atomic_uint_fast64_t told_ms;
    uint64_t told = atomic_load(&told_ms);

    if (told && now_ms - told < TELL_MISSING_MS)
        return false;
    return atomic_compare_exchange_strong(&told_ms, &told, now_ms);
}

static void take_family(const ath_queue *q)
{
    if (!family_find(str_of(q->cap.name)))
        jobs.family[jobs.family_count++].queue = q;
}

static void take_families(const struct jobs_options *o)
{
    jobs.family = mem_new((o->queue_count + o->worker_count + 1) * sizeof(*jobs.family));
    for (size_t i = 0; i < o->worker_count; i++)
        take_family(o->worker[i].worker->queue);
    for (size_t i = 0; i < o->queue_count; i++)
        take_family(o->queue[i]);
}

static void take_workers(const struct jobs_options *o)
{
    jobs.runner = mem_new((o->worker_count + 1) * sizeof(*jobs.runner));
    jobs.runner_count = o->worker_count;
    for (size_t i = 0; i < o->worker_count; i++) {
        struct runner *r = &jobs.runner[i];
        r->w = o->worker[i];
        r->family = family_find(str_of(r->w.worker->queue->cap.name));
        r->family->runner = r;
    }
}

static ath_str pins_of(void)
{
    struct buf b = BUF_HEAP;

    buf_char(&b, '{');
    array_add(&b, str_of(jobs.id));
    if (jobs.base_id)
        array_add(&b, str_of(jobs.base_id));
    buf_char(&b, '}');
    return buf_view(&b);
}

void jobs_start(const struct jobs_options *o)
{
    jobs.o = *o;
    jobs.id = mem_dup_z(o->id);
    jobs.base_id = o->base_id ? mem_dup_z(o->base_id) : NULL;
    jobs.pins = pins_of();
    jobs.floor = !getenv("ATHENA_JOBS_WITHOUT_FLOOR"); /* to measure what it is worth */
    jobs.stopping = false;
    take_families(o);
    if (o->control)
        take_workers(o);
    jobs.alive = jobs.runner_count;
    jobs.started = o->control;
    if (!o->control)
        return;
    jobs_fence();
    wake_start();
    events_start();
    for (size_t i = 0; i < jobs.runner_count; i++)
        runner_start(&jobs.runner[i]);
    seen_start();
}

static void drain(void *arg)
{
    (void)arg;
    jobs.stopping = true;
    for (size_t i = 0; i < jobs.runner_count; i++)
        runner_drain(&jobs.runner[i]);
    if (jobs.alive == 0)
        jobs_quiet();
}

/* What others need to the end goes when the last runner has gone. */
void jobs_quiet(void)
{
    wake_drain();
    events_drain();
}

void jobs_runner_over(void)
{
    if (--jobs.alive == 0)
        jobs_quiet();
}

void jobs_drain(void)
{
    if (jobs.started)
        loop_post(jobs.o.home, drain, NULL);
}

void jobs_stop(void)
{
    size_t n = jobs.runner_count;

    seen_stop();
    wake_stop();
    for (size_t i = 0; i < n; i++)
        pthread_mutex_destroy(&jobs.runner[i].lock);
    for (size_t i = 0; i < jobs.family_count; i++)
        queue_free(atomic_load(&jobs.family[i].sql));
    free(jobs.family);
    free(jobs.runner);
    free(jobs.id);
    free(jobs.base_id);
    free((char *)(uintptr_t)jobs.pins.p);
    jobs = (struct jobs){ 0 };
}
