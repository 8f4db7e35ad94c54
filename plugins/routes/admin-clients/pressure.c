/* Pressure: what the planner found, hour by hour, and what it is asked to fill in. */
#include "admin_clients.h"

#include "lib/jsonread.h"

enum { HOURS = 24, HOURS_MOST = 720, BODY_VALUES = 10000 };

static const struct admin_member run_members[] = {
    { "id", ADMIN_INT },
    { "recorded_at", ADMIN_TIME },
    { "window_start", ADMIN_TIME },
    { "window_end", ADMIN_TIME },
    { "status", ADMIN_TEXT },
    { "skip_reason", ADMIN_TEXT },
    { "formula_version", ADMIN_TEXT },
    { "logging_saturation_ratio", ADMIN_REAL },
    { "pool_timeout_like_failure", ADMIN_BOOL },
    { "collection_error", ADMIN_TEXT },
    { "meta", ADMIN_JSON },
};

static const struct admin_member snapshot_members[] = {
    { "id", ADMIN_INT },
    { "run_id", ADMIN_INT },
    { "recorded_at", ADMIN_TIME },
    { "window_start", ADMIN_TIME },
    { "window_end", ADMIN_TIME },
    { "client_name", ADMIN_TEXT },
    { "request_count", ADMIN_INT },
    { "failed_requests", ADMIN_INT },
    { "cache_misses", ADMIN_INT },
    { "total_work_ms", ADMIN_INT },
    { "p50_duration_ms", ADMIN_REAL },
    { "p95_duration_ms", ADMIN_REAL },
    { "error_ratio", ADMIN_REAL },
    { "cache_miss_ratio", ADMIN_REAL },
    { "tail_ratio", ADMIN_REAL },
    { "burst_ratio", ADMIN_REAL },
    { "saturation_ratio", ADMIN_REAL },
    { "dominant_table_share", ADMIN_REAL },
    { "request_shock", ADMIN_REAL },
    { "error_shock", ADMIN_REAL },
    { "pressure_score", ADMIN_REAL },
    { "volatility_score", ADMIN_REAL },
    { "planner_score", ADMIN_REAL },
    { "pressure_band", ADMIN_TEXT },
    { "placement_hint", ADMIN_TEXT },
    { "observed_only", ADMIN_BOOL },
    { "planner_enrichment_attempted", ADMIN_BOOL },
    { "planner_enrichment_applied", ADMIN_BOOL },
    { "planner_enrichment_skipped_reason", ADMIN_TEXT },
    { "meta", ADMIN_JSON },
};

static const struct admin_member table_members[] = {
    { "id", ADMIN_INT },
    { "run_id", ADMIN_INT },
    { "client_snapshot_id", ADMIN_INT },
    { "recorded_at", ADMIN_TIME },
    { "window_start", ADMIN_TIME },
    { "window_end", ADMIN_TIME },
    { "client_name", ADMIN_TEXT },
    { "table_name", ADMIN_TEXT },
    { "request_count", ADMIN_INT },
    { "failed_requests", ADMIN_INT },
    { "cache_misses", ADMIN_INT },
    { "total_work_ms", ADMIN_INT },
    { "p50_duration_ms", ADMIN_REAL },
    { "p95_duration_ms", ADMIN_REAL },
    { "share_of_client_work", ADMIN_REAL },
    { "error_ratio", ADMIN_REAL },
    { "cache_miss_ratio", ADMIN_REAL },
    { "tail_ratio", ADMIN_REAL },
    { "burst_ratio", ADMIN_REAL },
    { "request_shock", ADMIN_REAL },
    { "error_shock", ADMIN_REAL },
    { "pressure_score", ADMIN_REAL },
    { "volatility_score", ADMIN_REAL },
    { "pressure_band", ADMIN_TEXT },
    { "observed_only", ADMIN_BOOL },
    { "meta", ADMIN_JSON },
};

static const struct admin_member request_members[] = {
    { "id", ADMIN_INT },
    { "requested_at", ADMIN_TIME },
    { "updated_at", ADMIN_TIME },
    { "claimed_at", ADMIN_TIME },
    { "completed_at", ADMIN_TIME },
    { "hours_back", ADMIN_INT },
    { "status", ADMIN_TEXT },
    { "error_message", ADMIN_TEXT },
    { "formula_version", ADMIN_TEXT },
    { "meta", ADMIN_JSON },
};

/* clang-format off */
#define SNAPSHOT \
    "s.id, s.run_id, " ADMIN_UTC(s.recorded_at) ", " ADMIN_UTC(s.window_start) ", " \
    ADMIN_UTC(s.window_end) ", s.client_name, s.request_count, s.failed_requests, s.cache_misses, " \
    "s.total_work_ms, s.p50_duration_ms, s.p95_duration_ms, s.error_ratio, s.cache_miss_ratio, " \
    "s.tail_ratio, s.burst_ratio, s.saturation_ratio, s.dominant_table_share, s.request_shock, " \
    "s.error_shock, s.pressure_score, s.volatility_score, s.planner_score, s.pressure_band, " \
    "s.placement_hint, s.observed_only, s.planner_enrichment_attempted, " \
    "s.planner_enrichment_applied, s.planner_enrichment_skipped_reason, s.meta"

static const char last_run_sql[] =
    "select id, " ADMIN_UTC(recorded_at) ", " ADMIN_UTC(window_start) ", " ADMIN_UTC(window_end)
    ", status, skip_reason, formula_version, logging_saturation_ratio, pool_timeout_like_failure, "
    "collection_error, meta from client_pressure_snapshot_runs order by recorded_at desc, id desc limit 1";

/* The index is by name and window: from each name to the next one, not through all windows. */
static const char newest_sql[] =
    "with recursive name as ((select client_name from client_pressure_snapshots "
        "order by client_name limit 1) union all "
        "select (select n.client_name from client_pressure_snapshots n "
        "where n.client_name > name.client_name order by n.client_name limit 1) "
        "from name where name.client_name is not null) "
    "select " SNAPSHOT " from name cross join lateral (select * from client_pressure_snapshots c "
        "where c.client_name = name.client_name order by c.window_start desc, c.id desc limit 1) s "
    "order by s.client_name collate \"C\"";

static const char history_sql[] =
    "select " SNAPSHOT " from client_pressure_snapshots s where s.client_name = $1 "
    "order by s.window_start desc, s.id desc limit 24";

static const char tables_sql[] =
    "select id, run_id, client_snapshot_id, " ADMIN_UTC(recorded_at) ", " ADMIN_UTC(window_start)
    ", " ADMIN_UTC(window_end) ", client_name, table_name, request_count, failed_requests, "
    "cache_misses, total_work_ms, p50_duration_ms, p95_duration_ms, share_of_client_work, "
    "error_ratio, cache_miss_ratio, tail_ratio, burst_ratio, request_shock, error_shock, "
    "pressure_score, volatility_score, pressure_band, observed_only, meta "
    "from client_table_pressure_snapshots where client_name = $1 and (window_start, client_snapshot_id) = "
        "(select window_start, id from client_pressure_snapshots where client_name = $1 "
        "order by window_start desc, id desc limit 1) "
    "order by pressure_score desc nulls last, total_work_ms desc, table_name collate \"C\"";

static const char backfill_sql[] =
    "insert into client_pressure_backfill_requests (hours_back) values ($1::integer) returning id, "
    ADMIN_UTC(requested_at) ", " ADMIN_UTC(updated_at) ", " ADMIN_UTC(claimed_at) ", "
    ADMIN_UTC(completed_at) ", hours_back, status, error_message, formula_version, meta";
/* clang-format on */

static struct admin_ask *ask_new(ath_req *r, const char *failed)
{
    struct admin_ask *a = ath_new(ath_arena_of(r), sizeof(*a));

    a->store = ADMIN_CATALOG;
    a->failed = failed;
    return a;
}

static void put_run(struct buf *b, const ath_rows *rows)
{
    buf_json_key(b, "last_run");
    if (ath_host_->pg->count(rows))
        admin_object(b, rows, 0, ADMIN_MEMBERS(run_members));
    else
        buf_lit(b, "null");
}

/* ---- all clients ---- */

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Listed client pressure snapshots");

    (void)e;
    buf_json_key(&b, "snapshots");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(snapshot_members));
    put_run(&b, ath_host_->pg->next(d->rows));
    return admin_reply(t, 200, &b);
}

int pressure_list(ath_req *r, ath_err *e)
{
    struct admin_ask *a = ask_new(r, "Failed to load client pressure overview");

    a->flags = ATH_PG_READ;
    a->count = 2;
    a->stmt[0] = (ath_stmt){ .sql = newest_sql };
    a->stmt[1] = (ath_stmt){ .sql = last_run_sql };
    return admin_ask(r, a, listed, NULL, e);
}

/* ---- one ---- */

static int loaded(ath_task *t, const ath_done *d, ath_err *e)
{
    const ath_str *name = d->arg;
    const ath_rows *tables = ath_host_->pg->next(d->rows);
    struct buf b;

    if (ath_host_->pg->count(d->rows) == 0)
        return admin_fail(e, "not_found", "Client pressure not found",
                          "No pressure snapshots exist for '%.*s'.", STR_ARG(*name));
    b = admin_answer(t, "Loaded client pressure detail");
    buf_json_key(&b, "snapshot");
    admin_object(&b, d->rows, 0, ADMIN_MEMBERS(snapshot_members));
    buf_json_key(&b, "tables");
    admin_objects(&b, tables, ADMIN_MEMBERS(table_members));
    buf_json_key(&b, "history");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(snapshot_members));
    put_run(&b, ath_host_->pg->next(tables));
    return admin_reply(t, 200, &b);
}

int pressure_one(ath_req *r, ath_err *e)
{
    struct admin_ask *a = ask_new(r, "Failed to load client pressure detail");
    ath_str *name = ath_new(ath_arena_of(r), sizeof(*name));
    int rc = admin_client(r, name, e);

    if (rc < 0)
        return rc;
    a->flags = ATH_PG_READ;
    a->count = 3;
    a->stmt[0] = (ath_stmt){ .sql = history_sql, .param = name, .param_count = 1 };
    a->stmt[1] = (ath_stmt){ .sql = tables_sql, .param = name, .param_count = 1 };
    a->stmt[2] = (ath_stmt){ .sql = last_run_sql };
    return admin_ask(r, a, loaded, name, e);
}

/* ---- filling in ---- */

/* The body is optional in all its parts, down to being JSON at all: that is the published
 * interface. An array gives the members by their place. */
static int64_t hours_back(ath_req *r)
{
    struct json_error why;
    ath_str type = ath_header(r, "content-type");
    const struct json *body, *given = NULL;
    int64_t hours = HOURS;

    type.n = str_find(type, ';');
    if (!str_ieq(str_trim(type), ATH_S("application/json")))
        return hours;
    body = json_read(ath_host_->req->body(r), JSON_ARENA(ath_arena_of(r)), BODY_VALUES, &why);
    if (body && body->type == JSON_ARRAY && body->count == 1)
        given = body->first;
    else if (body && body->type == JSON_OBJECT)
        given = json_given(body, "hours_back");
    if (!given || !json_i64(given, &hours))
        return HOURS;
    return hours < 1 ? 1 : hours > HOURS_MOST ? HOURS_MOST : hours;
}

static int queued(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Queued client pressure backfill request");

    (void)e;
    buf_json_key(&b, "request");
    admin_object(&b, d->rows, 0, ADMIN_MEMBERS(request_members));
    return admin_reply(t, 202, &b);
}

int pressure_backfill(ath_req *r, ath_err *e)
{
    struct admin_ask *a = ask_new(r, "Failed to queue client pressure backfill request");
    struct buf hours = BUF_ARENA(ath_arena_of(r));
    ath_str *param = ath_new(ath_arena_of(r), sizeof(*param));

    buf_i64(&hours, hours_back(r));
    *param = buf_view(&hours);
    a->count = 1;
    a->stmt[0] = (ath_stmt){ .sql = backfill_sql, .param = param, .param_count = 1 };
    return admin_ask(r, a, queued, NULL, e);
}
