/* worker-pressure: how hard each hour was for each client and its tables, from the logs, as rows
 * that GET /admin/clients/pressure shows. It observes and limits nothing.
 *
 *     loads     how used up are the connections? A busy control plane is left alone: skipped, with
 *               a run that says why
 *     claim     a request of an operator to fill in hours; without one, hours of the last day that
 *               were missed
 *     windows   up to two hours, the last closed one before all others, each a task of its own
 *     release   the request is finished, or waits for the next tick
 *
 * A process that dies leaves its request claimed, and another one takes it ten minutes later; an
 * hour is written in one transaction, so it is there whole or not at all. What fails is a run, too,
 * with its words. Loads are told by connection_monitor, and old rows go with retention_worker.
 */
#include "pressure.h"

enum { TRIP_MS = 30000 };

#define MISSED_HOURS ATH_S("24")
#define BUSY         0.60 /* a control plane that is left alone */

struct tick {
    struct loads loads;
    ath_str young_ms;       /* how old a load may be */
    ath_str closed, now;    /* the hour that was last closed, and its end */
    ath_str id, claimed_at; /* of the request; empty: there is none */
    ath_str hours, end;     /* that it asks for, or that may have been missed */
    struct window window[PRESSURE_WINDOWS];
    uint32_t windows, at;
    int64_t missing; /* all in all */
    ath_str param[6];
    ath_str words; /* of a window that failed, and its class: */
    int rc;
};

/* ---- shared ---- */

int pressure_ask(ath_task *t, const struct ask *a, ath_then *then, void *arg, ath_err *e)
{
    static const ath_pair set[] = {
        { ATH_S("lock_timeout"), ATH_S("1s") },
        { ATH_S("timezone"), ATH_S("UTC") },
        { ATH_S("datestyle"), ATH_S("ISO") },
        { ATH_S("jit"), ATH_S("off") },
    };
    ath_query q = { .size = sizeof(q),
                    .flags = a->flags,
                    .client = ATH_S("@control"),
                    .stmt = a->stmt,
                    .stmt_size = sizeof(*a->stmt),
                    .stmt_count = a->count,
                    .set = set,
                    .set_count = ATH_COUNT(set),
                    .timeout_ms = a->limit_ms ? a->limit_ms : TRIP_MS };

    return ath_host_->pg->query(t, &q, then, arg, e);
}

int pressure_done(ath_task *t)
{
    ath_host_->task->done(t, NULL);
    return 0;
}

ath_str pressure_keep(ath_task *t, ath_str s)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (!s.p)
        return s;
    buf_str(&b, s);
    return buf_view(&b);
}

double pressure_real(const ath_rows *rows, uint32_t row, uint32_t col)
{
    double v = 0;

    str_double(ath_cell(rows, row, col), &v);
    return v;
}

int64_t pressure_int(const ath_rows *rows, uint32_t row, uint32_t col)
{
    int64_t v = 0;

    str_i64(ath_cell(rows, row, col), &v);
    return v;
}

bool load_of(const struct loads *l, ath_str client, double *ret)
{
    for (uint32_t i = 0; i < ath_host_->pg->count(l->rows); i++)
        if (str_ieq(ath_cell(l->rows, i, 0), client))
            return str_double(ath_cell(l->rows, i, 1), ret);
    return false;
}

ath_str pressure_text(ath_task *t, double v)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_printf(&b, "%.17g", v);
    return buf_view(&b);
}

static int ask_one(ath_task *t, struct tick *k, const char *sql, uint32_t params, ath_then *then,
                   ath_err *e)
{
    ath_stmt stmt = { .sql = sql, .param = k->param, .param_count = params };
    struct ask a = { .stmt = &stmt, .count = 1 };

    return pressure_ask(t, &a, then, k, e);
}

/* ---- the end ---- */

static int ended(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct tick *k = d->arg;

    if (d->rc < 0)
        return d->rc;
    return k->rc < 0 ? ath_fail(e, k->rc, "%.*s", STR_ARG(k->words)) : pressure_done(t);
}

/* Gives the request back, if there is one: finished, failed, or for the next tick. */
static int release(ath_task *t, struct tick *k, ath_err *e)
{
    ath_done nothing = { .size = sizeof(nothing), .arg = k };

    if (!k->id.n)
        return ended(t, &nothing, e);
    k->param[0] = k->id;
    k->param[1] = k->claimed_at;
    k->param[2] = k->rc < 0                     ? ATH_S("failed")
                  : k->missing > (int64_t)k->at ? ATH_S("pending")
                                                : ATH_S("completed");
    k->param[3] = k->words;
    return ask_one(t, k, release_sql, 4, ended, e);
}

/* A run that came to nothing. */
static int note(ath_task *t, struct tick *k, ath_str start, const char *status, const char *reason,
                bool no_connection, ath_then *then, ath_err *e)
{
    k->param[0] = start;
    k->param[1] = str_of(status);
    k->param[2] = str_of(reason);
    k->param[3] = k->words;
    k->param[4] = no_connection ? ATH_S("true") : ATH_S("false");
    k->param[5] = k->loads.known ? pressure_text(t, k->loads.logging) : (ath_str){ 0 };
    return ask_one(t, k, noted_sql, 6, then, e);
}

/* ---- windows ---- */

static int next_window(ath_task *t, struct tick *k, ath_err *e);

static int failure_noted(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : release(t, d->arg, e);
}

static int window_ended(ath_task *t, const ath_done *d, ath_err *e)
{
    struct tick *k = d->arg;
    bool no_connection;

    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc == 0) {
        k->at++;
        return next_window(t, k, e);
    }
    k->rc = d->rc;
    k->words = pressure_keep(t, ath_host_->err->get(e, "message"));
    no_connection = str_is(ath_host_->err->get(e, "code"), "pool_timeout");
    return note(t, k, k->window[k->at].start, "failed", NULL, no_connection, failure_noted, e);
}

static int next_window(ath_task *t, struct tick *k, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = window_run, .arg = &k->window[k->at] };

    if (k->at == k->windows)
        return release(t, k, e);
    return ath_host_->task->fork(t, &f, window_ended, k, e);
}

/* Two at most, the later one last: so the run that is shown is that of the present. */
static void take_windows(ath_task *t, struct tick *k, const ath_rows *rows)
{
    struct window *w = k->window, first;

    k->windows = ath_host_->pg->count(rows);
    for (uint32_t i = 0; i < k->windows; i++)
        w[i] = (struct window){ pressure_keep(t, ath_cell(rows, i, 0)), &k->loads };
    if (k->windows < PRESSURE_WINDOWS || str_cmp(w[0].start, w[1].start) < 0)
        return;
    first = w[0];
    w[0] = w[1];
    w[1] = first;
}

static int found(ath_task *t, const ath_done *d, ath_err *e)
{
    struct tick *k = d->arg;

    if (d->rc < 0)
        return d->rc;
    take_windows(t, k, d->rows);
    k->missing = pressure_int(d->rows, 0, 1);
    return next_window(t, k, e);
}

static int claimed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct tick *k = d->arg;
    bool asked;

    if (d->rc < 0)
        return d->rc;
    asked = ath_host_->pg->count(d->rows) > 0;
    if (asked) {
        k->id = pressure_keep(t, ath_cell(d->rows, 0, 0));
        k->claimed_at = pressure_keep(t, ath_cell(d->rows, 0, 1));
    }
    k->param[0] = asked ? pressure_keep(t, ath_cell(d->rows, 0, 3)) : k->now;
    k->param[1] = asked ? pressure_keep(t, ath_cell(d->rows, 0, 2)) : MISSED_HOURS;
    k->param[2] = asked ? ATH_S("true") : ATH_S("false");
    return ask_one(t, k, missing_sql, 3, found, e);
}

/* ---- may it run? ---- */

static const char *why_not(const struct tick *k, const ath_rows *standing)
{
    if (!str_is(ath_cell(standing, 0, 0), "t"))
        return "missing_load_snapshot";
    if (!str_is(ath_cell(standing, 0, 1), "t"))
        return "stale_load_snapshot";
    if (k->loads.known && k->loads.logging > BUSY)
        return "logging_saturation_high";
    return str_is(ath_cell(standing, 0, 2), "t") ? "prior_pool_timeout_like_failure" : NULL;
}

static int loaded(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct pressure_config *c = ath_config_of(t);
    struct tick *k = d->arg;
    const ath_rows *standing;
    const char *reason;

    if (d->rc < 0)
        return d->rc;
    k->loads.rows = ath_host_->pg->keep(t, d->rows);
    k->loads.known = load_of(&k->loads, c->logging_client, &k->loads.logging);
    standing = ath_host_->pg->next(k->loads.rows);
    k->closed = ath_cell(standing, 0, 3);
    k->now = ath_cell(standing, 0, 4);
    reason = why_not(k, standing);
    if (reason)
        return note(t, k, k->closed, "skipped_load_shed", reason, false, ended, e);
    return ask_one(t, k, claim_sql, 0, claimed, e);
}

static int run(ath_job *t, ath_err *e)
{
    const struct pressure_config *c = ath_config_of(t);
    struct tick *k = ath_new(ath_arena_of(t), sizeof(*k));
    ath_stmt stmt[] = { { .sql = loads_sql, .param = k->param, .param_count = 1 },
                        { .sql = standing_sql, .param = k->param, .param_count = 2 } };
    struct ask a = { .stmt = stmt, .count = ATH_COUNT(stmt), .flags = ATH_PG_READ_ONLY };

    if (!c->logging_client.n)
        return pressure_done(t);
    k->param[0] = pressure_text(t, 2 * (double)c->monitor_every_ms);
    k->param[1] = c->logging_client;
    return pressure_ask(t, &a, loaded, k, e);
}

/* ---- the plugin ---- */

#define T struct pressure_config
/* clang-format off */
static const ath_field fields[] = {
    ATH_STR(T, logging_client, "logging_client", "", NULL, "The client that holds the control plane; empty: there is nothing to do.", .alias = "gateway.logging_client"),
    ATH_BOOL(T, on, "enabled", "true", "Whether the pressure of clients is worked out.", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, every_ms, "every", "300s", "100ms..1d", "How often it is looked whether an hour is missing.", .flags = ATH_CF_RELOAD, .alias = "$ATHENA_CLIENT_PRESSURE_INTERVAL_SECS"),
    ATH_MSEC(T, monitor_every_ms, "monitor_every", "30s", "1s..1h", "How often connections are recorded; what was recorded longer ago than twice that is too old to go by.", .flags = ATH_CF_RELOAD, .alias = "worker-upkeep.monitor_every $ATHENA_POOL_MONITOR_INTERVAL_SECS"),
};
/* clang-format on */

static void pace(const void *config, ath_pace *p)
{
    p->poll_ms = ((const struct pressure_config *)config)->every_ms;
}

static const ath_worker worker = { ATH_CAP(ath_worker, ATH_CAP_WORKER, "client_pressure_worker"),
                                   .family = "pressure",
                                   .gate = "enabled",
                                   .pace = pace,
                                   .run = run,
                                   .flags = ATH_WK_SINGLE | ATH_WK_APART };
static const ath_cap *const caps[] = { &worker.cap, NULL };

ATH_PLUGIN("worker-pressure", "1.0.0", "", "",
           .summary = "How hard each hour was for each client and its tables",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct pressure_config), .cap = caps);
