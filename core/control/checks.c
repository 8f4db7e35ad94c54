/* The plugins' checks: each has a round of its own, in which it is a fork, so that what it fails
 * with is an answer like any other. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "control/probe_priv.h"
#include "lib/json.h"
#include "log/log.h"
#include "log/metric.h"

enum { EVERY_MS = 60000, EVERY_LEAST_MS = 100, LIMIT_MS = 30000, FIRST_MS = 250, WORDS = 400 };

struct check {
    struct probe_check of;
    struct round round;
    uint64_t begun_ns;
    bool known, ok; /* from here on under the lock */
    uint64_t took_ms, at_ns;
    char words[WORDS];
};

static struct {
    struct check *check;
    size_t n;
    pthread_mutex_t lock;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void say(const struct check *c, bool was_known, bool was_ok)
{
    const char *name = c->of.check->cap.name;

    if (c->ok && was_known && !was_ok)
        log_write(ATH_INFO, "athena::checks", "check \"%s\" is good again", name);
    else if (!c->ok && (!was_known || was_ok))
        log_write(ATH_WARN, "athena::checks", "check \"%s\" fails: %s", name, c->words);
}

static void keep(struct check *c, int rc, ath_str words)
{
    bool was_known = c->known, was_ok = c->ok;

    pthread_mutex_lock(&all.lock);
    c->known = true;
    c->ok = rc >= 0;
    c->at_ns = clock_ns();
    c->took_ms = (c->at_ns - c->begun_ns) / 1000000u;
    snprintf(c->words, sizeof(c->words), "%.*s", (int)(words.n < WORDS ? words.n : WORDS - 1),
             words.n ? words.p : "");
    utf8_mend(c->words, strlen(c->words));
    pthread_mutex_unlock(&all.lock);
    say(c, was_known, was_ok);
}

static int checked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct check *c = d->arg;

    if (d->rc == 0)
        keep(c, 0, d->bytes);
    else if (d->rc != ATH_E_CANCELED || !c->round.stopped)
        keep(c, d->rc, str_from(e->message, e->message_n));
    task_done(t, NULL);
    return 0;
}

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    ath_fork f = { .size = sizeof(f), .run = c->of.check->run, .timeout_ms = LIMIT_MS };

    c->begun_ns = clock_ns();
    return task_fork(t, &f, checked, c, e);
}

void checks_start(const struct probe_options *o)
{
    struct check *list = mem_new((o->checks + 1) * sizeof(*list));

    for (size_t i = 0; i < o->checks; i++) {
        struct check *c = &list[i];
        uint64_t every = o->check[i].check->every_ms ? o->check[i].check->every_ms : EVERY_MS;
        c->of = o->check[i];
        c->round = (struct round){ .home = o->home,
                                   .self = c->of.self,
                                   .run = begin,
                                   .arg = c,
                                   .label = c->of.check->cap.name,
                                   .every_ms = every < EVERY_LEAST_MS ? EVERY_LEAST_MS : every };
        round_init(&c->round, FIRST_MS);
    }
    pthread_mutex_lock(&all.lock);
    all.check = list;
    all.n = o->checks;
    pthread_mutex_unlock(&all.lock);
}

void checks_drain(void)
{
    for (size_t i = 0; i < all.n; i++)
        round_stop(&all.check[i].round);
}

void checks_stop(void)
{
    pthread_mutex_lock(&all.lock);
    free(all.check);
    all.check = NULL;
    all.n = 0;
    pthread_mutex_unlock(&all.lock);
}

/* ---- what is known ---- */

static void put_check(struct buf *b, const struct check *c, uint64_t now)
{
    buf_z(b, b->p[b->n - 1] == '[' ? "{" : ",{");
    buf_json_str(b, "name", str_of(c->of.check->cap.name));
    buf_json_str(b, "plugin", str_of(c->of.plugin));
    buf_json_str(b, "summary", str_of(c->of.check->summary ? c->of.check->summary : ""));
    if (c->known) {
        buf_json_bool(b, "ok", c->ok);
        buf_json_str(b, "message", str_of(c->words));
        buf_json_int(b, "took_ms", (int64_t)c->took_ms);
        buf_json_int(b, "age_ms", (int64_t)((now - c->at_ns) / 1000000u));
    } else {
        buf_lit(b, ",\"ok\":null,\"message\":null,\"took_ms\":null,\"age_ms\":null");
    }
    buf_lit(b, "}");
}

void probe_checks_json(struct buf *b)
{
    uint64_t now = clock_ns();

    buf_lit(b, "[");
    pthread_mutex_lock(&all.lock);
    for (size_t i = 0; i < all.n; i++)
        put_check(b, &all.check[i], now);
    pthread_mutex_unlock(&all.lock);
    buf_lit(b, "]");
}

void probe_checks_summary(struct buf *b)
{
    int64_t ok = 0, failing = 0, total;

    pthread_mutex_lock(&all.lock);
    total = (int64_t)all.n;
    for (size_t i = 0; i < all.n; i++) {
        ok += all.check[i].known && all.check[i].ok;
        failing += all.check[i].known && !all.check[i].ok;
    }
    pthread_mutex_unlock(&all.lock);
    buf_lit(b, "{");
    buf_json_int(b, "total", total);
    buf_json_int(b, "ok", ok);
    buf_json_int(b, "failing", failing);
    buf_json_int(b, "unknown", total - ok - failing);
    buf_lit(b, "}");
}

void checks_metrics(struct buf *b)
{
    metric_head(b, "athena_check_ok", "gauge",
                "Whether the last run of a background check was good.");
    pthread_mutex_lock(&all.lock);
    for (size_t i = 0; i < all.n; i++) {
        if (!all.check[i].known)
            continue;
        buf_lit(b, "athena_check_ok{");
        metric_label(b, "check", str_of(all.check[i].of.check->cap.name));
        buf_printf(b, "} %d\n", all.check[i].ok);
    }
    pthread_mutex_unlock(&all.lock);
}
