/* What a client's own database says of its slowest logged statements: EXPLAIN, which plans and does
 * not run, in a transaction that may not write, with little time. Nothing of it fails the hour:
 * what does not work is a reason in the client's snapshot.
 *
 * Statements are in the log where a server writes their texts (details.query). This one does not,
 * because texts hold values; what shares a control plane with it may.
 */
#include "pressure.h"
#include "pressure/sample.h"

enum { EXPLAIN_MS = 3000, VALUES_MOST = 100000 };

struct planning {
    struct plan *plan;
    const ath_rows *samples;
    uint32_t at;
    bool asked, refused; /* a statement was; by the database */
    ath_stmt stmt;
    ath_str param[2];
};

static int end(ath_task *t, const struct planning *p, const char *reason)
{
    if (p->plan->cost < 0)
        p->plan->reason = reason;
    return pressure_done(t);
}

/* The whole statement's, of [{"Plan": {"Total Cost": 12.3, ...}}]. */
static double cost_of(ath_task *t, ath_str text)
{
    struct json_error why;
    const struct json *doc = json_read(text, JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why);
    const struct json *cost;
    double v;

    if (!doc || doc->type != JSON_ARRAY || doc->count == 0)
        return -1;
    cost = json_get(json_get(doc->first, "Plan"), "Total Cost");
    return cost && cost->type == JSON_NUMBER && str_double(cost->text, &v) ? v : -1;
}

/* Which of the table's words it is when no statement can be asked for. */
static const char *why_away(const ath_err *e)
{
    static const char *const missing[] = { "client_unknown", "client_inactive", "client_frozen" };
    ath_str code = ath_host_->err->get(e, "code");

    for (size_t i = 0; i < ATH_COUNT(missing); i++)
        if (str_is(code, missing[i]))
            return "client_target_missing";
    return str_is(code, "client_unavailable") ? "client_uri_unavailable" : "target_explain_failed";
}

static int next_sample(ath_task *t, struct planning *p, ath_err *e);

static int explained(ath_task *t, const ath_done *d, ath_err *e)
{
    struct planning *p = d->arg;
    double cost;

    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0 && !ath_host_->err->get(e, "sqlstate").n)
        return end(t, p, why_away(e));
    p->refused |= d->rc < 0;
    if (d->rc == 0) {
        cost = cost_of(t, ath_cell(d->rows, 0, 0));
        if (cost > p->plan->cost)
            p->plan->cost = cost;
    }
    return next_sample(t, p, e);
}

static int explain(ath_task *t, struct planning *p, ath_str sql, ath_err *e)
{
    static const ath_pair set[] = { { ATH_S("statement_timeout"), ATH_S("2s") },
                                    { ATH_S("lock_timeout"), ATH_S("500ms") } };
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_RAW | ATH_PG_READ_ONLY,
                    .client = p->plan->client,
                    .stmt = &p->stmt,
                    .stmt_size = sizeof(p->stmt),
                    .stmt_count = 1,
                    .set = set,
                    .set_count = ATH_COUNT(set),
                    .timeout_ms = EXPLAIN_MS };
    int rc;

    buf_lit(&b, "EXPLAIN (FORMAT JSON) ");
    buf_str(&b, sql);
    p->stmt = (ath_stmt){ .sql = buf_view(&b).p };
    p->asked = true;
    rc = ath_host_->pg->query(t, &q, explained, p, e);
    return rc < 0 ? end(t, p, why_away(e)) : rc;
}

static int next_sample(ath_task *t, struct planning *p, ath_err *e)
{
    while (p->at < ath_host_->pg->count(p->samples)) {
        ath_str sql = ath_cell(p->samples, p->at++, 0);
        if (ath_host_->loop->now_ms(ath_host_->task->loop(t)) >= p->plan->until_ms)
            return end(t, p, "load_shed");
        if (sample_is_safe(sql))
            return explain(t, p, sql, e);
    }
    return end(t, p,
               !p->asked    ? "no_safe_sample_queries"
               : p->refused ? "target_explain_failed"
                            : "no_explain_plan_cost");
}

static int sampled(ath_task *t, const ath_done *d, ath_err *e)
{
    struct planning *p = d->arg;

    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0)
        return end(t, p, "sample_query_read_failed");
    p->samples = ath_host_->pg->keep(t, d->rows);
    return next_sample(t, p, e);
}

int plan_run(ath_task *t, void *arg, ath_err *e)
{
    struct planning *p = ath_new(ath_arena_of(t), sizeof(*p));
    struct ask a = { .stmt = &p->stmt, .count = 1, .flags = ATH_PG_READ_ONLY };

    p->plan = arg;
    p->plan->cost = -1;
    p->param[0] = p->plan->start;
    p->param[1] = p->plan->client;
    p->stmt = (ath_stmt){ .sql = samples_sql, .param = p->param, .param_count = 2 };
    return pressure_ask(t, &a, sampled, p, e);
}
