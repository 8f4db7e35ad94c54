/* What clients do, in numbers. What is shown is kept by the fold (statistics/statistics.h). */
#include "admin_clients.h"

#include "statistics/statistics.h"

static const struct admin_member statistics_members[] = {
    { "client_name", ADMIN_TEXT },
    { "total_requests", ADMIN_INT },
    { "successful_requests", ADMIN_INT },
    { "failed_requests", ADMIN_INT },
    { "total_cached_requests", ADMIN_INT },
    { "total_operations", ADMIN_INT },
    { "avg_request_duration_ms", ADMIN_REAL },
    { "p50_request_duration_ms", ADMIN_REAL },
    { "p95_request_duration_ms", ADMIN_REAL },
    { "p99_request_duration_ms", ADMIN_REAL },
    { "cache_hit_ratio", ADMIN_REAL },
    { "last_request_at", ADMIN_TIME },
    { "last_operation_at", ADMIN_TIME },
    { "updated_at", ADMIN_TIME },
};

static const struct admin_member table_members[] = {
    { "client_name", ADMIN_TEXT },       { "table_name", ADMIN_TEXT },
    { "operation", ADMIN_TEXT },         { "total_operations", ADMIN_INT },
    { "error_operations", ADMIN_INT },   { "avg_duration_ms", ADMIN_REAL },
    { "p50_duration_ms", ADMIN_REAL },   { "p95_duration_ms", ADMIN_REAL },
    { "p99_duration_ms", ADMIN_REAL },   { "total_cache_hits", ADMIN_INT },
    { "total_cache_misses", ADMIN_INT }, { "cache_hit_ratio", ADMIN_REAL },
    { "last_operation_at", ADMIN_TIME }, { "updated_at", ADMIN_TIME },
};

#define STATISTICS_COLUMNS                                                                         \
    "client_name, total_requests, successful_requests, failed_requests, total_cached_requests, "   \
    "total_operations, avg_request_duration_ms, p50_request_duration_ms, "                         \
    "p95_request_duration_ms, p99_request_duration_ms, cache_hit_ratio, " ADMIN_UTC(               \
        last_request_at) ", " ADMIN_UTC(last_operation_at) ", " ADMIN_UTC(updated_at)

static const char list_sql[] =
    "select " STATISTICS_COLUMNS
    " from client_statistics order by total_requests desc, lower(client_name), client_name";

/* Of names that differ in case only the very one, else the busiest. */
static const char one_sql[] =
    "select " STATISTICS_COLUMNS " from client_statistics where lower(client_name) = lower($1) "
    "order by client_name <> $1, total_requests desc, client_name limit 1";

static const char tables_sql[] =
    "select client_name, table_name, operation, total_operations, error_operations, "
    "avg_duration_ms, p50_duration_ms, p95_duration_ms, p99_duration_ms, total_cache_hits, "
    "total_cache_misses, cache_hit_ratio, " ADMIN_UTC(last_operation_at) ", " ADMIN_UTC(
        updated_at) " from client_table_statistics where lower(client_name) = lower($1) "
                    "order by total_operations desc, lower(table_name), lower(operation), "
                    "client_name, table_name, operation";

/* ---- all ---- */

static int answer_all(ath_req *r, const ath_rows *rows, const char *message)
{
    struct buf b = admin_answer(r, message);

    buf_json_key(&b, "statistics");
    admin_objects(&b, rows, ADMIN_MEMBERS(statistics_members));
    return admin_reply(r, 200, &b);
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return answer_all(t, d->rows, "Listed client statistics");
}

int statistics_list(ath_req *r, ath_err *e)
{
    return admin_read(r, ADMIN_CATALOG, "Failed to list client statistics", list_sql, NULL, 0,
                      listed, NULL, e);
}

/* ---- counted and shown now ---- */

static const char refresh_failed[] = "Failed to refresh client statistics";

static int refreshed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return answer_all(t, d->rows, "Refreshed client statistics");
}

static int folded(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == ATH_E_RETRY)
        return d->rc;
    if (d->rc < 0)
        return admin_refuse(t, ADMIN_CATALOG, refresh_failed, e);
    return admin_read(t, ADMIN_CATALOG, refresh_failed, list_sql, NULL, 0, refreshed, NULL, e);
}

int statistics_refresh(ath_req *r, ath_err *e)
{
    bool rebuild;
    int rc = admin_switch(r, "rebuild", &rebuild, e);

    if (rc < 0)
        return rc;
    if (statistics_fold(r, rebuild, folded, NULL, e) < 0)
        return admin_refuse(r, ADMIN_CATALOG, refresh_failed, e);
    return 0;
}

/* ---- one ---- */

static int loaded(ath_task *t, const ath_done *d, ath_err *e)
{
    const ath_str *name = d->arg;
    struct buf b;

    if (ath_host_->pg->count(d->rows) == 0)
        return admin_fail(e, "not_found", "Client statistics not found",
                          "No statistics exist for '%.*s'.", STR_ARG(*name));
    b = admin_answer(t, "Loaded client statistics");
    buf_json_key(&b, "statistics");
    admin_object(&b, d->rows, 0, ADMIN_MEMBERS(statistics_members));
    buf_json_key(&b, "tables");
    admin_objects(&b, ath_host_->pg->next(d->rows), ADMIN_MEMBERS(table_members));
    return admin_reply(t, 200, &b);
}

int statistics_one(ath_req *r, ath_err *e)
{
    struct admin_ask *a = ath_new(ath_arena_of(r), sizeof(*a));
    ath_str *name = ath_new(ath_arena_of(r), sizeof(*name));
    int rc = admin_client(r, name, e);

    if (rc < 0)
        return rc;
    a->store = ADMIN_CATALOG;
    a->failed = "Failed to load client statistics";
    a->flags = ATH_PG_READ;
    a->count = 2;
    a->stmt[0] = (ath_stmt){ .sql = one_sql, .param = name, .param_count = 1 };
    a->stmt[1] = (ath_stmt){ .sql = tables_sql, .param = name, .param_count = 1 };
    return admin_ask(r, a, loaded, name, e);
}
