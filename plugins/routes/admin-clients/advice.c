/* Advice on indexes that was given: what was recommended, and by which runs. */
#include "admin_clients.h"

enum { PAGE = 100, PAGE_MOST = 500 };

static const char *const statuses[] = { "all", "open", "applied", "dismissed" };

struct advice {
    ath_str client;
    const char *status;
    struct admin_page page;
    ath_str param[4];
};

static const struct admin_member recommendation_members[] = {
    { "id", ADMIN_INT },
    { "created_at", ADMIN_TIME },
    { "updated_at", ADMIN_TIME },
    { "client_name", ADMIN_TEXT },
    { "recommendation_key", ADMIN_TEXT },
    { "title", ADMIN_TEXT },
    { "recommendation_type", ADMIN_TEXT },
    { "severity", ADMIN_TEXT },
    { "status", ADMIN_TEXT },
    { "confidence", ADMIN_REAL },
    { "impact_score", ADMIN_REAL },
    { "rationale", ADMIN_TEXT },
    { "proposed_sql", ADMIN_TEXT },
    { "explain_plan", ADMIN_JSON },
    { "metadata", ADMIN_JSON },
    { "first_seen_at", ADMIN_TIME },
    { "last_seen_at", ADMIN_TIME },
    { "applied_at", ADMIN_TIME },
    { "applied_by", ADMIN_TEXT },
    { "apply_error", ADMIN_TEXT },
    { "run_id", ADMIN_INT },
};

static const struct admin_member run_members[] = {
    { "id", ADMIN_INT },
    { "created_at", ADMIN_TIME },
    { "started_at", ADMIN_TIME },
    { "completed_at", ADMIN_TIME },
    { "client_name", ADMIN_TEXT },
    { "trigger_source", ADMIN_TEXT },
    { "status", ADMIN_TEXT },
    { "recommendations_generated", ADMIN_INT },
    { "error_message", ADMIN_TEXT },
    { "meta", ADMIN_JSON },
};

/* clang-format off */
static const char list_sql[] =
    "select id, " ADMIN_UTC(created_at) ", " ADMIN_UTC(updated_at) ", client_name, recommendation_key, "
    "title, recommendation_type, severity, status, confidence, impact_score, rationale, proposed_sql, "
    "explain_plan, metadata, " ADMIN_UTC(first_seen_at) ", " ADMIN_UTC(last_seen_at) ", "
    ADMIN_UTC(applied_at) ", applied_by, apply_error, run_id from query_optimization_recommendations "
    "where lower(client_name) = lower($1::text) and ($4::text = 'all' or status = $4::text) "
    "order by case severity when 'critical' then 0 when 'high' then 1 when 'medium' then 2 else 3 end, "
    "updated_at desc, id desc limit $2::bigint offset $3::bigint";

static const char runs_sql[] =
    "select id, " ADMIN_UTC(created_at) ", " ADMIN_UTC(started_at) ", " ADMIN_UTC(completed_at)
    ", client_name, trigger_source, status, recommendations_generated, error_message, meta "
    "from query_optimization_runs where lower(client_name) = lower($1::text) "
    "order by created_at desc, id desc limit $2::bigint offset $3::bigint";
/* clang-format on */

static int begin(ath_req *r, struct advice **ret, ath_err *e)
{
    struct advice *a = ath_new(ath_arena_of(r), sizeof(*a));
    int rc = admin_client(r, &a->client, e);

    if (rc < 0 || (rc = admin_page(r, PAGE, PAGE_MOST, &a->page, e)) < 0)
        return rc;
    a->param[0] = a->client;
    a->param[1] = a->page.limit_text;
    a->param[2] = a->page.offset_text;
    *ret = a;
    return 0;
}

static int status(ath_req *r, struct advice *a, ath_err *e)
{
    ath_str given = str_trim(ath_param(r, "status"));

    a->status = given.n ? NULL : statuses[0];
    for (size_t i = 0; i < ATH_COUNT(statuses); i++)
        if (str_ieq(given, str_of(statuses[i])))
            a->status = statuses[i];
    if (!a->status)
        return admin_fail(e, "VALIDATION_FAILED", "Invalid status filter",
                          "status must be one of: all, open, applied, dismissed");
    a->param[3] = str_of(a->status);
    return 0;
}

static struct buf answer(ath_req *r, const struct advice *a, const char *message)
{
    struct buf b = admin_answer(r, message);

    buf_json_str(&b, "client_name", a->client);
    buf_json_int(&b, "limit", a->page.limit);
    buf_json_int(&b, "offset", a->page.offset);
    return b;
}

/* ---- recommendations ---- */

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct advice *a = d->arg;
    struct buf b = answer(t, a, "Loaded query optimization recommendations");

    (void)e;
    buf_json_str(&b, "status", str_of(a->status));
    buf_json_key(&b, "recommendations");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(recommendation_members));
    return admin_reply(t, 200, &b);
}

int advice_list(ath_req *r, ath_err *e)
{
    struct advice *a;
    int rc = begin(r, &a, e);

    if (rc < 0 || (rc = status(r, a, e)) < 0)
        return rc;
    return admin_read(r, ADMIN_CATALOG, "Failed to load query optimization recommendations",
                      list_sql, a->param, 4, listed, a, e);
}

/* ---- runs ---- */

static int listed_runs(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = answer(t, d->arg, "Loaded query optimization runs");

    (void)e;
    buf_json_key(&b, "runs");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(run_members));
    return admin_reply(t, 200, &b);
}

int advice_runs(ath_req *r, ath_err *e)
{
    struct advice *a;
    int rc = begin(r, &a, e);

    if (rc < 0)
        return rc;
    return admin_read(r, ADMIN_CATALOG, "Failed to load query optimization runs", runs_sql,
                      a->param, 3, listed_runs, a, e);
}
