/* All mirrors: one round of probes for everybody who wants to know, and its result, which is kept.
 *
 *     mirrors()   the result is fresh           -> answered at once
 *                 it is a little older          -> answered at once, and a round begins
 *                 there is none of any use      -> a round begins; who asks waits for its end
 *     a round     reads which mirrors there are, then probes them in lanes, and is over in time
 *
 * While somebody has asked in the last minutes the rounds go on by themselves, so only the first
 * one waits. Rounds are the home loop's; the result and those who wait stand under a lock.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "config/config.h"
#include "control/probe_priv.h"
#include "db/query.h"
#include "log/log.h"
#include "log/metric.h"

enum { LIST_MS = 1000 };

/* Somebody who waits; touched by its own loop, but for the list. */
struct waiting {
    struct list node;
    ath_loop *loop;
    struct op *op; /* NULL: it has gone */
    bool told;     /* its loop has been posted to */
};

struct figures { /* of one mirror, for the metrics */
    char *url;
    bool online;
    double latency_ms, bytes_per_s;
};

static struct {
    struct probe_options o;
    struct round round;
    char **table; /* the URLs of the control plane, when they were last read */
    size_t tables;
    pthread_mutex_t lock;
    /* under the lock */
    char *text;
    uint64_t at_ns, asked_ns; /* 0: never */
    struct figures *figures;
    size_t n;
    struct list waiting;
    bool serving;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- those who wait ---- */

static void give(struct op *o)
{
    char *copy;

    pthread_mutex_lock(&all.lock);
    copy = mem_dup_z(all.text ? all.text : "[]");
    pthread_mutex_unlock(&all.lock);
    arena_own(&o->task->arena, copy, free);
    o->stop = NULL;
    o->done.bytes = str_of(copy);
    op_finish(o, 0);
}

static void deliver(void *arg)
{
    struct waiting *w = arg;

    if (w->op)
        give(w->op);
    free(w);
}

static void leave(struct op *o)
{
    struct waiting *w = o->impl;
    bool told;

    pthread_mutex_lock(&all.lock);
    told = w->told;
    list_unlink(&w->node);
    pthread_mutex_unlock(&all.lock);
    w->op = NULL;
    o->stop = NULL;
    op_finish(o, ATH_E_CANCELED);
    if (!told)
        free(w);
}

static void tell_all(void)
{
    struct list batch, *node;

    pthread_mutex_lock(&all.lock);
    list_take(&batch, &all.waiting);
    for (node = batch.next; node != &batch; node = node->next)
        list_entry(node, struct waiting, node)->told = true;
    while ((node = list_pop(&batch))) {
        struct waiting *w = list_entry(node, struct waiting, node);
        loop_post(w->loop, deliver, w);
    }
    pthread_mutex_unlock(&all.lock);
}

/* Under the lock. */
static bool is_older(uint64_t ms)
{
    return all.serving && (all.at_ns == 0 || (clock_ns() - all.at_ns) / 1000000u > ms);
}

/* Many may have asked for the round that has ended meanwhile. */
static void begin_at_home(void *arg)
{
    bool due;

    (void)arg;
    pthread_mutex_lock(&all.lock);
    due = is_older(all.o.mirror_every_ms);
    pthread_mutex_unlock(&all.lock);
    if (due)
        round_begin(&all.round);
}

static int mirrors(ath_task *t, uint32_t flags, ath_then *then, void *arg, ath_err *e)
{
    int rc = task_may_start(t, e);
    struct waiting *w = NULL;
    struct op *o;
    bool begin;

    if (rc < 0)
        return rc;
    if (flags)
        return err_fail(e, ATH_E_BUG, "the mirrors were asked for with unknown flags: %u", flags);
    o = op_new(t, then, arg);
    pthread_mutex_lock(&all.lock);
    all.asked_ns = clock_ns();
    begin = is_older(all.o.mirror_every_ms);
    if (is_older(2 * all.o.mirror_every_ms + PROBE_BUDGET_MS)) {
        w = MEM_NEW(struct waiting);
        w->loop = t->loop;
        w->op = o;
        o->impl = w;
        o->stop = leave;
        list_push(&all.waiting, &w->node);
    }
    pthread_mutex_unlock(&all.lock);
    if (begin)
        loop_post(all.o.home, begin_at_home, NULL);
    if (!w)
        give(o);
    return 0;
}

const ath_cluster_api cluster_service = { .size = sizeof(cluster_service), .mirrors = mirrors };

/* ---- which there are ---- */

struct lanes {
    ath_task *task;
    struct mirror *mirror;
    size_t n, next, running;
    uint64_t until_ms;
};

static void forget_table(void)
{
    while (all.tables)
        free(all.table[--all.tables]);
    free(all.table);
    all.table = NULL;
}

static void take_table(const ath_rows *rows)
{
    uint32_t n = db_rows_count(rows);

    forget_table();
    all.table = mem_new((n + 1) * sizeof(*all.table));
    for (uint32_t i = 0; i < n; i++)
        all.table[all.tables++] = mem_dup_str(db_rows_text(rows, i, 0));
}

static void add(struct lanes *s, ath_str url)
{
    static bool said;

    url = str_trim(url);
    for (size_t i = 0; i < s->n; i++)
        if (str_is(url, s->mirror[i].url))
            return;
    if (url.n == 0)
        return;
    if (s->n < PROBE_MIRRORS_MOST) {
        s->mirror[s->n++].url = arena_str(&s->task->arena, url).p;
        return;
    }
    if (!said)
        log_write(ATH_WARN, "athena::cluster",
                  "more than %d mirrors are named: those behind are not probed",
                  PROBE_MIRRORS_MOST);
    said = true;
}

/* The configuration's first, then the table's in its own order. */
static void gather(struct lanes *s)
{
    ath_str rest = all.o.mirrors, url;

    s->mirror = arena_alloc(&s->task->arena, PROBE_MIRRORS_MOST * sizeof(*s->mirror));
    while (config_item(&rest, &url))
        add(s, url);
    for (size_t i = 0; i < all.tables; i++)
        add(s, str_of(all.table[i]));
}

/* ---- probing ---- */

static void publish(struct lanes *s)
{
    struct figures *figures = mem_new((s->n + 1) * sizeof(*figures)), *old;
    struct buf b = BUF_HEAP;
    size_t olds;

    buf_lit(&b, "[");
    for (size_t i = 0; i < s->n; i++) {
        const struct mirror *m = &s->mirror[i];
        buf_z(&b, i ? "," : "");
        mirror_json(&b, m);
        figures[i] =
            (struct figures){ mirror_shown(m->url), m->online, m->latency_ms, m->bytes_per_s };
    }
    buf_lit(&b, "]");
    pthread_mutex_lock(&all.lock);
    free(all.text);
    all.text = b.p;
    all.at_ns = clock_ns();
    old = all.figures;
    olds = all.n;
    all.figures = figures;
    all.n = s->n;
    pthread_mutex_unlock(&all.lock);
    while (olds)
        free(old[--olds].url);
    free(old);
}

static void fill_lanes(struct lanes *s);

/* Those that have ended and those that never began leave their time to the others. */
static uint64_t share(const struct lanes *s)
{
    uint64_t now = loop_now_ms(s->task->loop), left = s->until_ms > now ? s->until_ms - now : 0;
    size_t waves = (s->n - s->next + PROBE_PARALLEL - 1) / PROBE_PARALLEL;

    return now + (waves ? left / waves : left);
}

static struct lanes *lanes; /* of the round that runs */

static void on_probed(struct mirror *m)
{
    (void)m;
    lanes->running--;
    fill_lanes(lanes);
}

static void fill_lanes(struct lanes *s)
{
    ath_err e;

    while (s->running < PROBE_PARALLEL && s->next < s->n && !s->task->canceled) {
        uint64_t until = share(s);
        err_reset(&e);
        s->running += mirror_probe(s->task, &s->mirror[s->next++], until, on_probed, &e) == 0;
    }
    if (s->running)
        return;
    if (!s->task->canceled)
        publish(s);
    task_done(s->task, NULL);
}

static void probe_all(ath_task *t, uint64_t until_ms)
{
    lanes = ARENA_NEW(&t->arena, struct lanes);
    lanes->task = t;
    lanes->until_ms = until_ms;
    gather(lanes);
    fill_lanes(lanes);
}

/* A table that cannot be read keeps what it said; one that is not there says nothing. */
static int on_table(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == 0)
        take_table(d->rows);
    else if (str_is(err_get(e, "sqlstate"), "42P01"))
        forget_table();
    probe_all(t, loop_now_ms(t->loop) + PROBE_BUDGET_MS - LIST_MS);
    return 0;
}

static int begin(ath_task *t, void *arg, ath_err *e)
{
    static const ath_stmt list = {
        .sql = "SELECT url FROM cluster_mirrors WHERE is_active ORDER BY priority, url LIMIT 1000",
    };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_READ,
                    .client = ATH_S("@control"),
                    .stmt = &list,
                    .stmt_size = sizeof(list),
                    .stmt_count = 1,
                    .timeout_ms = LIST_MS };

    (void)arg;
    if (all.o.control && db_query(t, &q, on_table, NULL, e) == 0)
        return 0;
    err_reset(e);
    probe_all(t, loop_now_ms(t->loop) + PROBE_BUDGET_MS - LIST_MS);
    return 0;
}

/* ---- rounds ---- */

static bool is_wanted(void)
{
    bool yes;

    pthread_mutex_lock(&all.lock);
    yes = all.asked_ns && (clock_ns() - all.asked_ns) / 1000000u < PROBE_WANTED_MS;
    pthread_mutex_unlock(&all.lock);
    return yes;
}

static void over(void *arg)
{
    (void)arg;
    all.round.every_ms = is_wanted() ? all.o.mirror_every_ms : 0;
    tell_all();
}

void mirrors_start(const struct probe_options *o)
{
    all.o = *o;
    all.round =
        (struct round){ .home = o->home, .label = "mirror probes", .run = begin, .over = over };
    round_init(&all.round, 0);
    pthread_mutex_lock(&all.lock);
    list_init(&all.waiting);
    all.at_ns = all.asked_ns = 0;
    all.serving = o->control || o->mirrors.n;
    pthread_mutex_unlock(&all.lock);
}

void mirrors_drain(void)
{
    pthread_mutex_lock(&all.lock);
    all.serving = false;
    pthread_mutex_unlock(&all.lock);
    round_stop(&all.round);
    tell_all();
}

void mirrors_stop(void)
{
    pthread_mutex_lock(&all.lock);
    forget_table();
    while (all.n)
        free(all.figures[--all.n].url);
    free(all.figures);
    free(all.text);
    all.figures = NULL;
    all.text = NULL;
    pthread_mutex_unlock(&all.lock);
}

/* ---- metrics ---- */

struct spread {
    double sum, least, most;
    size_t n;
};

static void take(struct spread *s, double v)
{
    if (v < 0)
        return;
    s->least = s->n == 0 || v < s->least ? v : s->least;
    s->most = s->n == 0 || v > s->most ? v : s->most;
    s->sum += v;
    s->n++;
}

static void gauge(struct buf *b, const char *name, const char *help, double v, bool whole)
{
    metric_head(b, name, "gauge", help);
    buf_printf(b, whole ? "%s %.0f\n" : "%s %.6f\n", name, v);
}

struct family {
    const char *name, *help;
};

static void put_spread(struct buf *b, const struct spread *s, const struct family f[4])
{
    gauge(b, f[0].name, f[0].help, s->n ? s->sum / (double)s->n : 0, false);
    gauge(b, f[1].name, f[1].help, (double)s->n, true);
    gauge(b, f[2].name, f[2].help, s->least, false);
    gauge(b, f[3].name, f[3].help, s->most, false);
}

enum column { UP, LATENCY, DOWNLOAD };

static void put_column(struct buf *b, const char *name, const char *help, enum column c)
{
    metric_head(b, name, "gauge", help);
    for (size_t i = 0; i < all.n; i++) {
        const struct figures *f = &all.figures[i];
        double v = c == UP ? f->online : c == LATENCY ? f->latency_ms : f->bytes_per_s;
        buf_printf(b, "%s{", name);
        metric_label(b, "url", str_of(f->url));
        buf_lit(b, "} ");
        put_number(b, v < 0 ? 0 : v);
        buf_lit(b, "\n");
    }
}

void mirrors_metrics(struct buf *b)
{
    static const struct family latency[] = {
        { "athena_cluster_mirror_avg_latency_ms", "Mean latency of the mirrors." },
        { "athena_cluster_mirror_latency_samples", "Mirrors with a latency." },
        { "athena_cluster_mirror_latency_min_ms", "Shortest latency of a mirror." },
        { "athena_cluster_mirror_latency_max_ms", "Longest latency of a mirror." },
    };
    static const struct family download[] = {
        { "athena_cluster_mirror_avg_download_bytes_per_sec", "Mean throughput of the mirrors." },
        { "athena_cluster_mirror_download_samples", "Mirrors with a throughput." },
        { "athena_cluster_mirror_download_min_bytes_per_sec", "Lowest throughput of a mirror." },
        { "athena_cluster_mirror_download_max_bytes_per_sec", "Highest throughput of a mirror." },
    };
    struct spread l = { 0 }, d = { 0 };
    size_t up = 0;

    pthread_mutex_lock(&all.lock);
    for (size_t i = 0; i < all.n; i++) {
        up += all.figures[i].online;
        take(&l, all.figures[i].latency_ms);
        take(&d, all.figures[i].bytes_per_s);
    }
    gauge(b, "athena_cluster_mirrors_total", "Mirrors known.", (double)all.n, true);
    gauge(b, "athena_cluster_mirrors_up", "Mirrors that answered.", (double)up, true);
    gauge(b, "athena_cluster_mirrors_down", "Mirrors that did not answer.", (double)(all.n - up),
          true);
    gauge(b, "athena_cluster_mirror_up_ratio", "Share of mirrors that answered.",
          all.n ? (double)up / (double)all.n : 0, false);
    put_spread(b, &l, latency);
    put_spread(b, &d, download);
    put_column(b, "athena_cluster_mirror_up", "Did the mirror answer?", UP);
    put_column(b, "athena_cluster_mirror_latency_ms", "Latency of the mirror.", LATENCY);
    put_column(b, "athena_cluster_mirror_download_bytes_per_sec", "Throughput of the mirror.",
               DOWNLOAD);
    pthread_mutex_unlock(&all.lock);
}
