/* Each client's database is asked for a constant every now and then, by a round of its own. A
 * steward looks once a second whether clients have come; those that have gone are passed over.
 * Clients live as long as the process, so a row is never given back while one runs.
 *
 * What is measured is what a request would see: waiting for a connection counts, and making one
 * when there is none.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "control/probe_priv.h"
#include "db/query.h"
#include "lib/json.h"
#include "log/metric.h"

enum { LOOK_MS = 1000, REASON = 300, FIRST_MS = 1000 };

struct pulse {
    struct db_client *client;
    struct round round;
    uint64_t begun_ns;
    bool known, ok; /* from here on under the lock */
    double latency_ms;
    uint64_t at_ns, asked, failed;
    char reason[REASON];
};

static struct {
    struct pulse **pulse; /* by the client's place in the registry; under the lock, as is n */
    size_t n;
    ath_loop *home;
    uint64_t every_ms;
    uint32_t timeout_ms;
    struct deadline look;
    bool draining;
    pthread_mutex_t lock;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool is_asked(const struct db_client *c)
{
    return !c->direct && !atomic_load(&c->gone) && atomic_load(&c->active) &&
           !atomic_load(&c->frozen) && !atomic_load(&c->pending);
}

static void keep(struct pulse *p, int rc, const ath_err *e)
{
    ath_str why = rc < 0 ? err_get(e, "reason") : ATH_S(""); /* of a database that is away */
    uint64_t now = clock_ns();

    if (rc < 0 && why.n == 0)
        why = str_from(e->message, e->message_n);
    pthread_mutex_lock(&all.lock);
    p->known = true;
    p->ok = rc >= 0;
    p->at_ns = now;
    p->latency_ms = (double)(now - p->begun_ns) / 1e6;
    p->asked++;
    p->failed += rc < 0;
    p->reason[0] = 0;
    if (rc < 0)
        snprintf(p->reason, sizeof(p->reason), "%.*s", STR_ARG(why));
    utf8_mend(p->reason, strlen(p->reason));
    pthread_mutex_unlock(&all.lock);
}

static void forget(struct pulse *p)
{
    pthread_mutex_lock(&all.lock);
    p->known = false;
    pthread_mutex_unlock(&all.lock);
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pulse *p = d->arg;

    db_client_uncount(p->client, t->loop);
    if (!p->round.stopped)
        keep(p, d->rc, e);
    task_done(t, NULL);
    return 0;
}

static int ask(ath_task *t, void *arg, ath_err *e)
{
    static const ath_stmt stmt = { .sql = "SELECT 1" };
    struct pulse *p = arg;
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_READ,
                    .client = str_of(p->client->name),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1,
                    .timeout_ms = all.timeout_ms };

    if (!is_asked(p->client)) {
        forget(p);
        task_done(t, NULL);
        return 0;
    }
    p->begun_ns = clock_ns();
    if (db_query(t, &q, answered, p, e) == 0)
        return 0;
    keep(p, e->rc, e);
    err_reset(e);
    task_done(t, NULL);
    return 0;
}

static struct pulse *pulse_new(struct db_client *c)
{
    struct pulse *p = MEM_NEW(struct pulse);

    p->client = c;
    p->round = (struct round){
        .home = all.home, .label = "client probe", .run = ask, .arg = p, .every_ms = all.every_ms
    };
    round_init(&p->round, FIRST_MS);
    return p;
}

static void look(struct deadline *d)
{
    size_t n = db_client_count();

    if (all.draining)
        return;
    if (n > all.n) {
        pthread_mutex_lock(&all.lock);
        all.pulse = mem_resize(all.pulse, n * sizeof(*all.pulse));
        while (all.n < n) {
            all.pulse[all.n] = pulse_new(db_client_at(all.n));
            all.n++;
        }
        pthread_mutex_unlock(&all.lock);
    }
    deadline_set(all.home, d, loop_now_ms(all.home) + LOOK_MS);
}

void pulses_start(const struct probe_options *o)
{
    all.home = o->home;
    all.every_ms = o->client_every_ms;
    all.timeout_ms = (uint32_t)o->client_timeout_ms;
    all.draining = false;
    deadline_init(&all.look, look);
    if (all.every_ms)
        look(&all.look);
}

void pulses_drain(void)
{
    all.draining = true;
    deadline_clear(&all.look);
    for (size_t i = 0; i < all.n; i++)
        round_stop(&all.pulse[i]->round);
}

void pulses_stop(void)
{
    pthread_mutex_lock(&all.lock);
    for (size_t i = 0; i < all.n; i++)
        free(all.pulse[i]);
    free(all.pulse);
    all.pulse = NULL;
    all.n = 0;
    pthread_mutex_unlock(&all.lock);
}

/* ---- what is known ---- */

static void put_pulse(struct buf *b, const struct pulse *p, uint64_t now, bool reasons)
{
    buf_z(b, b->p[b->n - 1] == '[' ? "{" : ",{");
    buf_json_str(b, "client", str_of(p->client->shown));
    buf_json_bool(b, "ok", p->ok);
    buf_json_key(b, "latency_ms");
    if (p->ok)
        put_number(b, p->latency_ms);
    else
        buf_lit(b, "null");
    buf_json_int(b, "age_ms", (int64_t)((now - p->at_ns) / 1000000u));
    if (reasons) {
        buf_json_key(b, "reason");
        if (p->ok)
            buf_lit(b, "null");
        else
            buf_json(b, str_of(p->reason));
    }
    buf_lit(b, "}");
}

static bool is_shown(const struct pulse *p)
{
    return p->known && is_asked(p->client);
}

void probe_clients_json(struct buf *b, bool reasons)
{
    uint64_t now = clock_ns();

    buf_lit(b, "[");
    pthread_mutex_lock(&all.lock);
    for (size_t i = 0; i < all.n; i++)
        if (is_shown(all.pulse[i]))
            put_pulse(b, all.pulse[i], now, reasons);
    pthread_mutex_unlock(&all.lock);
    buf_lit(b, "]");
}

enum family { UP, LATENCY, AGE, PROBES, FAILURES };

static double value_of(const struct pulse *p, enum family f, uint64_t now)
{
    switch (f) {
    case UP:
        return p->ok;
    case LATENCY:
        return p->latency_ms / 1e3;
    case AGE:
        return (double)(now - p->at_ns) / 1e9;
    case PROBES:
        return (double)p->asked;
    case FAILURES:
        return (double)p->failed;
    }
    return 0;
}

static void put_family(struct buf *b, enum family f, const char *name, const char *kind,
                       const char *help)
{
    uint64_t now = clock_ns();

    metric_head(b, name, kind, help);
    for (size_t i = 0; i < all.n; i++) {
        const struct pulse *p = all.pulse[i];
        if (!is_shown(p) || (f == LATENCY && !p->ok))
            continue;
        buf_printf(b, "%s{", name);
        metric_label(b, "client", str_of(p->client->name));
        buf_printf(b, f == LATENCY || f == AGE ? "} %.6f\n" : "} %.0f\n", value_of(p, f, now));
    }
}

void pulses_metrics(struct buf *b)
{
    pthread_mutex_lock(&all.lock);
    put_family(b, UP, "athena_client_probe_up", "gauge",
               "Whether the client's database answered the last probe.");
    put_family(b, LATENCY, "athena_client_probe_latency_seconds", "gauge",
               "How long that answer took.");
    put_family(b, AGE, "athena_client_probe_age_seconds", "gauge",
               "How long ago the last probe ended.");
    put_family(b, PROBES, "athena_client_probe_total", "counter",
               "Probes of the client's database.");
    put_family(b, FAILURES, "athena_client_probe_failures_total", "counter",
               "Probes that had no answer.");
    pthread_mutex_unlock(&all.lock);
}
