/* One hour: counted, judged, written.
 *
 *     count     requests by client and operations by table, of the hour and of the day before, in
 *               one view of the logs
 *     plans     of clients that are idle enough, one client after the other (plan.c)
 *     write     the run, its clients and their tables, in one statement
 *
 * Clients whose connections are nearly used up are left out and named in the run: their figures
 * would tell of that, and nothing should make it worse.
 */
#include "lib/json.h"
#include "pressure.h"

enum { COUNT_MS = 120000, PLANS_MS = 60000 };

#define FULL 0.80 /* a client that is left out */

struct counted { /* of a client or a table */
    struct pressure_hour hour;
    struct pressure_ratios ratios;
    int64_t work_ms;
    bool timed;
};

struct client {
    ath_str name;
    struct counted of;
    double saturation, dominant; /* dominant: its heaviest table's share */
    int64_t dominant_ms;
    bool known, left_out, heavy; /* known: its saturation; heavy: it has such a table */
    struct plan plan;
    bool planned; /* it was asked for plans */
};

struct table {
    struct client *of;
    ath_str name;
    struct counted counted;
};

struct hour {
    const struct window *w;
    struct client *client;
    struct table *table;
    uint32_t clients, tables, at; /* at: whose plans are asked for */
    int64_t beyond;               /* clients and tables that the bounds have left out */
    uint64_t until_ms;            /* for plans */
    ath_str param[5];
};

/* ---- counting ---- */

enum { NAME, TABLE, REQUESTS, FAILED, MISSED, WORK, P50, P95, MEDIAN, BEFORE, BEFORE_FAILED, ALL };

static struct counted read_counted(const ath_rows *rows, uint32_t i)
{
    struct counted c = {
        .hour = { .requests = pressure_int(rows, i, REQUESTS),
                  .failed = pressure_int(rows, i, FAILED),
                  .missed = pressure_int(rows, i, MISSED),
                  .p50_ms = pressure_real(rows, i, P50),
                  .p95_ms = pressure_real(rows, i, P95),
                  .median = pressure_real(rows, i, MEDIAN),
                  .before = pressure_int(rows, i, BEFORE),
                  .before_failed = pressure_int(rows, i, BEFORE_FAILED) },
        .work_ms = pressure_int(rows, i, WORK),
        .timed = ath_cell(rows, i, P50).p != NULL,
    };

    c.ratios = pressure_ratios(&c.hour);
    return c;
}

static void read_clients(ath_task *t, struct hour *h, const ath_rows *rows)
{
    uint32_t n = ath_host_->pg->count(rows);

    h->client = ath_new(ath_arena_of(t), (n + 1) * sizeof(*h->client));
    h->clients = n;
    h->beyond += n ? pressure_int(rows, 0, ALL) - n : 0;
    for (uint32_t i = 0; i < n; i++) {
        struct client *c = &h->client[i];
        c->name = ath_cell(rows, i, NAME);
        c->of = read_counted(rows, i);
        c->known = load_of(h->w->loads, c->name, &c->saturation);
        c->left_out = c->known && c->saturation > FULL;
    }
}

static struct client *client_of(struct hour *h, ath_str name)
{
    for (uint32_t i = 0; i < h->clients; i++)
        if (str_eq(h->client[i].name, name))
            return &h->client[i];
    return NULL;
}

/* Rows with most work come first, so a client's first table is its heaviest. */
static void read_tables(ath_task *t, struct hour *h, const ath_rows *rows)
{
    uint32_t n = ath_host_->pg->count(rows);

    h->table = ath_new(ath_arena_of(t), (n + 1) * sizeof(*h->table));
    h->beyond += n ? pressure_int(rows, 0, ALL) - n : 0;
    for (uint32_t i = 0; i < n; i++) {
        struct client *c = client_of(h, ath_cell(rows, i, NAME));
        struct table *table = &h->table[h->tables];
        if (!c || c->left_out)
            continue;
        *table = (struct table){ c, ath_cell(rows, i, TABLE), read_counted(rows, i) };
        h->tables++;
        if (c->heavy)
            continue;
        c->heavy = true;
        c->dominant_ms = table->counted.work_ms;
        c->dominant = pressure_share((double)c->dominant_ms, (double)c->of.work_ms);
    }
}

/* ---- as JSON ---- */

static void put_real(struct buf *b, const char *key, double v)
{
    buf_json_key(b, key);
    buf_printf(b, "%.17g", v);
}

static void put_real_or_null(struct buf *b, const char *key, double v, bool known)
{
    if (known) {
        put_real(b, key, v);
        return;
    }
    buf_json_key(b, key);
    buf_lit(b, "null");
}

static void put_counted(struct buf *b, const struct counted *c, double score)
{
    buf_json_int(b, "request_count", c->hour.requests);
    buf_json_int(b, "failed_requests", c->hour.failed);
    buf_json_int(b, "cache_misses", c->hour.missed);
    buf_json_int(b, "total_work_ms", c->work_ms);
    put_real_or_null(b, "p50_duration_ms", c->hour.p50_ms, c->timed);
    put_real_or_null(b, "p95_duration_ms", c->hour.p95_ms, c->timed);
    put_real(b, "error_ratio", c->ratios.error);
    put_real(b, "cache_miss_ratio", c->ratios.miss);
    put_real(b, "tail_ratio", c->ratios.tail);
    put_real(b, "burst_ratio", c->ratios.burst);
    put_real(b, "request_shock", c->ratios.request_shock);
    put_real(b, "error_shock", c->ratios.error_shock);
    put_real(b, "pressure_score", score);
    put_real(b, "volatility_score", pressure_volatility(&c->ratios));
    buf_json_str(b, "pressure_band", str_of(pressure_band(score)));
}

/* What the scores were made from and no column says. */
static void put_meta(struct buf *b, const struct counted *c)
{
    buf_json_key(b, "meta");
    buf_lit(b, "{");
    put_real(b, "trailing_24h_median_hourly_requests", c->hour.median);
    buf_json_int(b, "previous_hour_requests", c->hour.before);
    buf_json_int(b, "previous_hour_failed", c->hour.before_failed);
}

static void put_plan(struct buf *b, const struct client *c, bool applied)
{
    put_real_or_null(b, "planner_score", pressure_of_plan(c->plan.cost), applied);
    buf_json_bool(b, "observed_only", !applied);
    buf_json_bool(b, "planner_enrichment_attempted", c->planned);
    buf_json_bool(b, "planner_enrichment_applied", applied);
    if (!applied)
        buf_json_str(b, "planner_enrichment_skipped_reason",
                     str_of(c->planned ? c->plan.reason : "load_shed"));
}

static void put_client(struct buf *b, const struct client *c)
{
    bool applied = c->planned && c->plan.cost >= 0;
    double score = pressure_of_client(&c->of.hour, &c->of.ratios, c->saturation, c->dominant);

    if (applied)
        score = pressure_with_plan(score, pressure_of_plan(c->plan.cost));
    buf_z(b, b->n > 1 ? ",{" : "{");
    buf_json_str(b, "client_name", c->name);
    put_counted(b, &c->of, score);
    put_real_or_null(b, "saturation_ratio", c->saturation, c->known);
    put_real(b, "dominant_table_share", c->dominant);
    buf_json_str(b, "placement_hint", str_of(pressure_hint(score, c->dominant)));
    put_plan(b, c, applied);
    put_meta(b, &c->of);
    buf_json_int(b, "dominant_table_work_ms", c->dominant_ms);
    if (applied)
        put_real(b, "explain_total_cost", c->plan.cost);
    buf_lit(b, "}}");
}

static void put_table(struct buf *b, const struct table *table)
{
    const struct counted *c = &table->counted;
    double share = pressure_share((double)c->work_ms, (double)table->of->of.work_ms);

    buf_z(b, b->n > 1 ? ",{" : "{");
    buf_json_str(b, "client_name", table->of->name);
    buf_json_str(b, "table_name", table->name);
    put_real(b, "share_of_client_work", share);
    put_counted(b, c, pressure_of_table(&c->hour, &c->ratios, share));
    buf_json_bool(b, "observed_only", true);
    put_meta(b, c);
    buf_lit(b, "}}");
}

static ath_str run_meta(ath_task *t, const struct hour *h)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    int64_t n = 0;

    buf_lit(&b, "{\"skipped_clients_due_to_saturation\":[");
    for (uint32_t i = 0; i < h->clients; i++) {
        if (!h->client[i].left_out) {
            n++;
            continue;
        }
        if (b.p[b.n - 1] != '[')
            buf_lit(&b, ",");
        buf_json(&b, h->client[i].name);
    }
    buf_lit(&b, "]");
    buf_json_int(&b, "client_count", n);
    if (h->beyond)
        buf_json_int(&b, "left_out", h->beyond);
    buf_lit(&b, "}");
    return buf_view(&b);
}

/* ---- writing ---- */

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : pressure_done(t);
}

static int write_hour(ath_task *t, struct hour *h, ath_err *e)
{
    struct buf clients = BUF_ARENA(ath_arena_of(t)), tables = BUF_ARENA(ath_arena_of(t));
    ath_stmt stmt = { .sql = write_sql, .param = h->param, .param_count = ATH_COUNT(h->param) };
    struct ask a = { .stmt = &stmt, .count = 1 };

    buf_lit(&clients, "[");
    for (uint32_t i = 0; i < h->clients; i++)
        if (!h->client[i].left_out)
            put_client(&clients, &h->client[i]);
    buf_lit(&clients, "]");
    buf_lit(&tables, "[");
    for (uint32_t i = 0; i < h->tables; i++)
        put_table(&tables, &h->table[i]);
    buf_lit(&tables, "]");
    h->param[0] = h->w->start;
    h->param[1] = h->w->loads->known ? pressure_text(t, h->w->loads->logging) : (ath_str){ 0 };
    h->param[2] = run_meta(t, h);
    h->param[3] = buf_view(&clients);
    h->param[4] = buf_view(&tables);
    return pressure_ask(t, &a, written, h, e);
}

/* ---- plans ---- */

static bool may_plan(const struct hour *h, const struct client *c)
{
    return !c->left_out && c->known && pressure_is_idle(c->saturation) && h->w->loads->known &&
           pressure_is_idle(h->w->loads->logging);
}

static int next_plan(ath_task *t, struct hour *h, ath_err *e);

static int planned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct hour *h = d->arg;

    if (d->rc < 0)
        return d->rc;
    h->at++;
    return next_plan(t, h, e);
}

static int next_plan(ath_task *t, struct hour *h, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = plan_run };
    struct client *c;

    while (h->at < h->clients && !may_plan(h, &h->client[h->at]))
        h->at++;
    if (h->at == h->clients)
        return write_hour(t, h, e);
    c = &h->client[h->at];
    c->planned = true;
    c->plan = (struct plan){ .client = c->name, .start = h->w->start, .until_ms = h->until_ms };
    f.arg = &c->plan;
    return ath_host_->task->fork(t, &f, planned, h, e);
}

static int counted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct hour *h = d->arg;
    const ath_rows *rows;

    if (d->rc < 0)
        return d->rc;
    rows = ath_host_->pg->keep(t, d->rows);
    read_clients(t, h, rows);
    read_tables(t, h, ath_host_->pg->next(rows));
    h->until_ms = ath_host_->loop->now_ms(ath_host_->task->loop(t)) + PLANS_MS;
    return next_plan(t, h, e);
}

int window_run(ath_task *t, void *arg, ath_err *e)
{
    struct hour *h = ath_new(ath_arena_of(t), sizeof(*h));
    ath_stmt stmt[] = { { .sql = clients_sql, .param = h->param, .param_count = 1 },
                        { .sql = tables_sql, .param = h->param, .param_count = 1 } };
    struct ask a = { .stmt = stmt,
                     .count = ATH_COUNT(stmt),
                     .flags = ATH_PG_READ_ONLY | ATH_PG_REPEATABLE,
                     .limit_ms = COUNT_MS };

    h->w = arg;
    h->param[0] = h->w->start;
    return pressure_ask(t, &a, counted, h, e);
}
