/* A batch on its way into its sink: written, written again, given up; and what is said about it. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/err.h"
#include "log/sinks_priv.h"

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MOST_MS = 5000 };

/* ---- naps ---- */

void nap_init(struct nap *n)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&n->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&n->cond, &attr);
    pthread_condattr_destroy(&attr);
    n->over = false;
}

void nap_fini(struct nap *n)
{
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->cond);
}

void nap_end(struct nap *n)
{
    pthread_mutex_lock(&n->lock);
    n->over = true;
    pthread_cond_signal(&n->cond);
    pthread_mutex_unlock(&n->lock);
}

static struct timespec in_ms(uint64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    ms += (uint64_t)t.tv_nsec / 1000000u;
    t.tv_nsec = t.tv_nsec % 1000000 + (long)(ms % 1000u) * 1000000;
    t.tv_sec += (time_t)(ms / 1000u);
    return t;
}

void nap_take(struct nap *n, uint64_t ms)
{
    struct timespec until = in_ms(ms);

    pthread_mutex_lock(&n->lock);
    while (!n->over) {
        if (ms == 0)
            pthread_cond_wait(&n->cond, &n->lock);
        else if (pthread_cond_timedwait(&n->cond, &n->lock, &until) == ETIMEDOUT)
            break;
    }
    n->over = false;
    pthread_mutex_unlock(&n->lock);
}

/* ---- what is lost ---- */

void sink_count_lost(struct log_sink *s, ath_str name, uint64_t n)
{
    for (uint32_t i = 0; i < s->names; i++)
        if (str_same(s->name_of[i], name))
            atomic_fetch_add_explicit(&s->lost_of[i], n, memory_order_relaxed);
}

void sink_tell_lost(struct log_sink *s)
{
    for (uint32_t i = 0; s->sink->lost && i < s->names; i++) {
        uint64_t n = atomic_exchange_explicit(&s->lost_of[i], 0, memory_order_relaxed);
        if (n)
            s->sink->lost(s->state, s->name_of[i], n);
    }
}

static uint64_t lost(const struct log_sink *s)
{
    return atomic_load(&s->dropped) + atomic_load(&s->failed) + atomic_load(&s->spooled_lost);
}

/* ---- what is said ---- */

/* What the operator must know is in the other sinks, and in this one once it works again; when
 * there is no other one, on standard error. */
static void say(int level, const char *text)
{
    ath_event e = { .size = sizeof(e),
                    .level = (uint32_t)level,
                    .source = ATH_S("athena::log"),
                    .message = str_of(text) };
    struct log_sink_stats stats[2];

    log_event(&e);
    if (log_sink_stats(stats, 2) < 2)
        log_stderr(&e);
}

static void pause_set(struct log_sink *s, const ath_err *err)
{
    char text[1400];

    if (atomic_exchange(&s->paused, true))
        return;
    s->lost_before = lost(s);
    snprintf(text, sizeof(text), "log sink \"%s\" is paused: %.*s", s->name,
             STR_ARG(err_get(err, "message")));
    say(ATH_ERROR, text);
}

void sink_say_healed(struct log_sink *s)
{
    char text[256];

    if (!s->healed)
        return;
    s->healed = false;
    snprintf(text, sizeof(text), "log sink \"%s\" writes again, %llu events were lost meanwhile",
             s->name, (unsigned long long)(lost(s) - s->lost_before));
    say(ATH_WARN, text);
}

void sink_say_ended(const struct log_sink *s)
{
    struct spool_stats left = { 0 };
    char text[256];

    if (!atomic_load(&s->paused))
        return;
    if (s->spool)
        spool_stats(s->spool, &left);
    snprintf(text, sizeof(text),
             "log sink \"%s\" ends, %llu events were lost since it was paused, %llu wait in its "
             "spool",
             s->name, (unsigned long long)(lost(s) - s->lost_before),
             (unsigned long long)left.events);
    say(ATH_ERROR, text);
}

/* ---- writing ---- */

int sink_open(struct log_sink *s, ath_err *e)
{
    int rc = s->is_open || !s->sink->open ? 0 : s->sink->open(s->state, e);

    s->is_open = rc >= 0;
    return rc;
}

void sink_close(struct log_sink *s)
{
    if (s->is_open && s->sink->close)
        s->sink->close(s->state);
    s->is_open = false;
}

static int try_write(struct log_sink *s, const ath_event **view, size_t n, ath_err *e)
{
    err_reset(e);
    sink_tell_lost(s);
    if (atomic_exchange(&s->reopen, false))
        sink_close(s);
    if (sink_open(s, e) < 0)
        return ATH_E_RETRY;
    return n || (s->spool && s->sink->taken) ? s->sink->write(s->state, view, n, e) : 0;
}

/* What lies in a spool is not lost because it took too long, or because the server stops. */
static bool comes_again(const struct log_sink *s, int rc)
{
    return rc == ATH_E_RETRY || (s->spool && (rc == ATH_E_TIMEOUT || rc == ATH_E_CANCELED));
}

int sink_deliver(struct log_sink *s, struct nap *nap, const ath_event **view, size_t n)
{
    uint64_t backoff = BACKOFF_FIRST_MS;
    ath_err e;
    int rc;

    while (comes_again(s, rc = try_write(s, view, n, &e)) && !atomic_load(&s->stop)) {
        pause_set(s, &e);
        nap_take(nap, backoff);
        backoff = backoff * 2 < BACKOFF_MOST_MS ? backoff * 2 : BACKOFF_MOST_MS;
    }
    if (rc < 0) {
        if (rc != ATH_E_CANCELED)
            pause_set(s, &e);
        return comes_again(s, rc) ? NOT_YET : GIVEN_UP;
    }
    atomic_fetch_add(&s->written, n);
    s->healed |= atomic_exchange(&s->paused, false);
    return DELIVERED;
}
