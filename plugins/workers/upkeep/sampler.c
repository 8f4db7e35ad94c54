/* metrics_sampler: gauges whose truth lies in the control plane, so that a scrape reads memory
 * only.
 *
 * Requests of the last 24 hours are kept as counts by the minute. A tick counts the last few
 * minutes again, because rows may arrive late; the rest of the day is read once after the start, an
 * hour at a time over the index on created_at, with pauses four times as long. One of the old hours
 * is counted again now and then, so that what somebody deletes is noticed within hours. So the
 * figure is exact as of the last tick, of 24 hours and up to a minute, whatever the size of the
 * log.
 *
 * What cannot be read shows as 0.
 */
#include "upkeep.h"

#include <stdlib.h>

#include "lib/sqlname.h"

enum {
    DAY = 1440, /* minutes */
    RING = 1536,
    SLICE_MINUTES = 60,
    LATE_MINUTES = 2, /* rows may arrive so late */
    TURN_MS = 20000,
    PAUSE_TIMES = 4,
    VERIFY_EVERY = 10, /* ticks between two old hours that are counted again */
    LIMIT_MS = 10000
};

struct window {
    const char *table, *where;
    uint32_t metric;
    int64_t last, first;  /* minutes since 1970 that are counted, both included; 0: none */
    int64_t verify;       /* the next old hour to be counted again */
    uint32_t count[RING]; /* by minute modulo RING */
};

struct sampler {
    struct window window[2];
    uint32_t ticks;
};

struct sample { /* one tick */
    struct sampler *s;
    ath_loop *loop;
    ath_str schema[2], name[2]; /* of the logs; empty: not there */
    bool queue;
    uint32_t at;           /* the window whose turn it is */
    int64_t now, from, to; /* minutes; what is being counted, `to` not included */
    uint64_t begun_ms, asked_ms;
    bool verify, verified; /* an old hour's turn; what is being counted is it */
};

struct sampler *sampler_new(void)
{
    struct sampler *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->window[0] = (struct window){ .table = "gateway_request_log", .metric = M_REQUESTS_24H };
    s->window[1] = (struct window){ .table = "gateway_operation_log",
                                    .where = " and path like '/management/%'",
                                    .metric = M_MUTATIONS_24H };
    return s;
}

static void nothing(void)
{
    upkeep_put(M_REQUESTS_24H, NULL, 0);
    upkeep_put(M_MUTATIONS_24H, NULL, 0);
    upkeep_put(M_QUEUE_UP, NULL, 0);
    upkeep_put(M_QUEUE_TOTAL, NULL, 0);
    upkeep_put(M_QUEUE_OLDEST, NULL, 0);
}

/* Elsewhere than where ticks run, so what it shows stays: gauges of two threads are added up. */
void sampler_start(void)
{
    nothing();
}

static uint64_t now_ms(const struct sample *m)
{
    return ath_host_->loop->now_ms(m->loop);
}

static int failed(const ath_done *d)
{
    if (d->rc != ATH_E_CANCELED)
        nothing();
    return d->rc;
}

/* ---- a day by the minute ---- */

static uint64_t sum(const struct window *w, int64_t now)
{
    uint64_t n = 0;

    for (int64_t m = now - DAY; m <= now; m++)
        if (m >= w->first && m <= w->last)
            n += w->count[m % RING];
    return n;
}

/* What is to be counted next; false: nothing for now. */
static bool next_range(struct sample *m, struct window *w)
{
    int64_t oldest = m->now - DAY;

    if (w->last < oldest) { /* the first time, or after a long sleep */
        w->first = m->now - 1;
        w->last = m->now - 2;
    }
    if (w->first < oldest)
        w->first = oldest;
    m->verified = false;
    if (w->last < m->now || m->from == 0) {
        m->from = w->last - LATE_MINUTES > w->first ? w->last - LATE_MINUTES : w->first;
        m->to = m->from + SLICE_MINUTES <= m->now ? m->from + SLICE_MINUTES : m->now + 1;
    } else if (w->first > oldest) {
        m->to = w->first;
        m->from = m->to - SLICE_MINUTES > oldest ? m->to - SLICE_MINUTES : oldest;
    } else if (m->verify) {
        m->from = w->verify > oldest && w->verify < m->now ? w->verify : oldest;
        m->to = m->from + SLICE_MINUTES < m->now ? m->from + SLICE_MINUTES : m->now;
        m->verify = false;
        m->verified = true;
    } else {
        return false;
    }
    return true;
}

static void counted_range(struct sample *m, struct window *w, ath_str pairs)
{
    ath_str minute, n;

    for (int64_t i = m->from; i < m->to; i++)
        w->count[i % RING] = 0;
    while (str_next(&pairs, ' ', &minute) && str_next(&pairs, ' ', &n)) {
        int64_t i = 0, v = 0;
        if (str_i64(minute, &i) && str_i64(n, &v) && i >= m->from && i < m->to)
            w->count[i % RING] = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
    }
    if (m->verified)
        w->verify = m->to;
    if (m->from < w->first)
        w->first = m->from;
    if (m->to - 1 > w->last)
        w->last = m->to - 1;
}

static int next_window(ath_task *t, struct sample *m, ath_err *e);
static int count_range(ath_task *t, const ath_done *d, ath_err *e);

static int range_counted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sample *m = d->arg;
    struct window *w = &m->s->window[m->at];
    uint64_t took = now_ms(m) - m->asked_ms;

    if (d->rc < 0)
        return failed(d);
    counted_range(m, w, d->bytes);
    upkeep_put(w->metric, NULL, (double)sum(w, m->now));
    if (now_ms(m) - m->begun_ms < TURN_MS && next_range(m, w))
        return ath_host_->task->after(t, PAUSE_TIMES * took, count_range, m, e);
    m->at++;
    return next_window(t, m, e);
}

/* ---- the fork that counts: its memory goes with it ---- */

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done answer = { .size = sizeof(answer) };

    (void)e;
    if (d->rc < 0)
        return d->rc;
    answer.bytes = ath_cell(d->rows, 0, 0);
    ath_host_->task->done(t, &answer);
    return 0;
}

static int ask_range(ath_task *t, void *arg, ath_err *e)
{
    const struct sample *m = arg;
    const struct window *w = &m->s->window[m->at];
    struct buf sql = BUF_ARENA(ath_arena_of(t));
    char room[2][STR_U64_ROOM];
    ath_str param[] = { str_from_u64((uint64_t)m->from, room[0]),
                        str_from_u64((uint64_t)m->to, room[1]) };
    ath_stmt stmt = { .param = param, .param_count = 2 };
    struct ask a = { .stmt = &stmt, .count = 1, .flags = ATH_PG_READ_ONLY, .limit_ms = LIMIT_MS };

    buf_lit(&sql,
            "select string_agg(minute || ' ' || n, ' ') from (select floor(extract(epoch from "
            "created_at) / 60)::int8 as minute, count(*) as n from ");
    buf_ident2(&sql, m->schema[m->at], m->name[m->at]);
    buf_lit(&sql, " where created_at >= to_timestamp($1::float8 * 60) and created_at < "
                  "to_timestamp($2::float8 * 60)");
    buf_z(&sql, w->where ? w->where : "");
    buf_lit(&sql, " group by 1) x");
    stmt.sql = sql.p;
    return upkeep_ask(t, &a, answered, NULL, e);
}

static int count_range(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sample *m = d->arg;
    ath_fork f = { .size = sizeof(f), .run = ask_range, .arg = m };

    if (d->rc < 0)
        return d->rc;
    m->asked_ms = now_ms(m);
    return ath_host_->task->fork(t, &f, range_counted, m, e);
}

static int next_window(ath_task *t, struct sample *m, ath_err *e)
{
    ath_done go = { .size = sizeof(go), .arg = m };

    for (; m->at < ATH_COUNT(m->s->window); m->at++) {
        struct window *w = &m->s->window[m->at];
        m->from = 0;
        m->verify = m->s->ticks % VERIFY_EVERY == m->at + 1;
        if (m->name[m->at].n && next_range(m, w))
            return count_range(t, &go, e);
        if (!m->name[m->at].n)
            upkeep_put(w->metric, NULL, 0);
    }
    m->s->ticks++;
    return upkeep_done(t);
}

/* ---- the deferred queue ---- */

static int queue_read(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sample *m = d->arg;
    int64_t total = 0;
    double oldest = 0;

    if (d->rc < 0)
        return failed(d);
    for (uint32_t i = 0; i < ath_host_->pg->count(d->rows); i++) {
        int64_t n = upkeep_number(d->rows, i, 1);
        char status[32];
        snprintf(status, sizeof(status), "%.*s", STR_ARG(ath_cell(d->rows, i, 0)));
        upkeep_put(M_QUEUE_STATUS, status, (double)n);
        total += n;
    }
    str_double(ath_cell(ath_host_->pg->next(d->rows), 0, 0), &oldest);
    upkeep_put(M_QUEUE_UP, NULL, 1);
    upkeep_put(M_QUEUE_TOTAL, NULL, (double)total);
    upkeep_put(M_QUEUE_OLDEST, NULL, oldest > 0 ? oldest : 0);
    return next_window(t, m, e);
}

static int read_queue(ath_task *t, struct sample *m, ath_err *e)
{
    static const ath_stmt stmt[] = {
        { .sql =
              "select s.status, (select count(*) from (select from "
              "public.gateway_deferred_request_queue q where q.status = s.status limit 100000) x) "
              "from unnest(array['queued', 'running', 'completed', 'dead_letter']) s(status)" },
        { .sql = "select extract(epoch from now() - least((select min(created_at) from "
                 "public.gateway_deferred_request_queue where status = 'queued'), (select "
                 "min(created_at) from public.gateway_deferred_request_queue where status = "
                 "'running')))::float8" },
    };
    struct ask a = { .stmt = stmt, .count = 2, .flags = ATH_PG_READ_ONLY, .limit_ms = LIMIT_MS };

    return upkeep_ask(t, &a, queue_read, m, e);
}

/* ---- the tick ---- */

static int planned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sample *m = d->arg;
    const ath_rows *rows;

    if (d->rc < 0)
        return failed(d);
    rows = ath_host_->pg->keep(t, d->rows);
    m->now = upkeep_number(rows, 0, 0);
    for (uint32_t i = 0; i < 2; i++) {
        m->schema[i] = ath_cell(rows, 0, 2 + 2 * i);
        m->name[i] = ath_cell(rows, 0, 3 + 2 * i);
    }
    if (str_is(ath_cell(rows, 0, 1), "t"))
        return read_queue(t, m, e);
    upkeep_put(M_QUEUE_UP, NULL, 0);
    return next_window(t, m, e);
}

int sampler_run(ath_job *t, ath_err *e)
{
    static const ath_stmt stmt = {
        .sql =
            "with rel as (select name, c.relname, n.nspname from unnest(array["
            "'gateway_request_log', 'gateway_operation_log']) name join pg_catalog.pg_class c on "
            "c.oid = coalesce(to_regclass(name), to_regclass('public.' || name)) "
            "join pg_catalog.pg_namespace n on n.oid = c.relnamespace) "
            "select floor(extract(epoch from now()) / 60)::int8, "
            "to_regclass('public.gateway_deferred_request_queue') is not null, "
            "r.nspname, r.relname, o.nspname, o.relname from (select) one "
            "left join rel r on r.name = 'gateway_request_log' "
            "left join rel o on o.name = 'gateway_operation_log'",
    };
    const struct upkeep_config *c = ath_config_of(t);
    const struct upkeep *u = ath_state_of(t);
    struct sample *m = ath_new(ath_arena_of(t), sizeof(*m));
    struct ask a = { .stmt = &stmt, .count = 1, .flags = ATH_PG_READ_ONLY, .limit_ms = LIMIT_MS };

    if (!c->logging_client.n)
        return upkeep_done(t);
    m->s = u->sampler;
    m->loop = ath_host_->task->loop(t);
    m->begun_ms = now_ms(m);
    return upkeep_ask(t, &a, planned, m, e);
}
