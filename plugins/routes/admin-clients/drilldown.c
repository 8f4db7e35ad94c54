/* GET /admin/clients/{client_name}/statistics/drilldown: the operations behind a number, newest
 * first.
 *
 * A page near the top is read from the index that has the rows in this order. Where a page lies
 * deep, or among rows of which few are wanted, skipping to it would read all that lies before it.
 * Then the counts of the fold tell how many rows each hour holds: the hours of the page are found
 * by adding, and only these are read. Rows that the fold has not seen yet are counted on the way;
 * when those are too many, or nobody keeps counts, the page is read the slow way. Both ways give
 * the same rows, ordered by created_at and id.
 */
#include "admin_clients.h"

enum {
    PAGE_MOST = 500,
    PAGE = 100,
    SHALLOW = 1000,    /* offsets that are skipped row by row */
    UNFOLDED = 200000, /* ids behind the mark that may still be counted on the way */
    NAME_MOST = 700    /* bytes of a name that is counted, as in the fold */
};

static const char failed[] = "Failed to load client statistics drilldown";

enum wanted { ALL, ERRORS, NORMAL, WANTED };
static const char *const wanted_words[WANTED] = { "all", "errors", "normal" };

struct drill {
    enum wanted wanted;
    ath_str client, table, operation, status; /* as they are shown */
    struct admin_page page;
    ath_str param[5];
};

static const struct admin_member row_members[] = {
    { "created_at", ADMIN_TIME },  { "request_id", ADMIN_TEXT },
    { "operation", ADMIN_TEXT },   { "table_name", ADMIN_TEXT },
    { "client_name", ADMIN_TEXT }, { "method", ADMIN_TEXT },
    { "path", ADMIN_TEXT },        { "status_code", ADMIN_INT },
    { "duration_ms", ADMIN_INT },  { "operation_time_ms", ADMIN_REAL },
    { "details", ADMIN_JSON },     { "error", ADMIN_BOOL },
    { "message", ADMIN_TEXT },     { "cache_key", ADMIN_TEXT },
};

/* clang-format off */
#define COLUMNS \
    ADMIN_UTC(l.created_at) ", l.request_id, l.operation, l.table_name, l.client, l.method, " \
    "l.path, l.status_code, l.duration_ms, l.time::float8, l.details, l.error, l.message, l.cache_key"

#define OF_KEY(t) \
    "lower(" t "client) = lower($1::text) and lower(" t "table_name) = lower($2::text) " \
    "and lower(" t "operation) = lower($3::text)"

/* As in the index of failed operations. */
#define FAILED "(error is true or coalesce(status_code, 0) >= 400)"

#define PLAIN(filter) \
    "select " COLUMNS " from gateway_operation_log l where " OF_KEY("l.") filter \
    " order by l.created_at desc, l.id desc limit $5::bigint offset $4::bigint"

#define COUNTED(n, filter) \
    "with fresh as materialized (select client, table_name, operation, created_at, error, status_code " \
        "from gateway_operation_log where id > " \
        "(select upto from athena_log_folds where kind = 'operation') and isfinite(created_at)), " \
    "hours as (select hour, sum(n) as n from (" \
        "select h.hour, " n " as n from athena_log_hours h join athena_log_keys k on k.id = h.key_id " \
        "where k.kind = 'operation' and " OF_KEY("k.") " union all " \
        "select floor(extract(epoch from created_at) / 3600)::integer, 1 from fresh where " \
        OF_KEY("") filter ") s group by hour having sum(n) > 0), " \
    "placed as (select hour, n, sum(n) over (order by hour desc) - n as before from hours), " \
    "page as (select hour, greatest($4::numeric - before, 0)::bigint as skip, " \
        "least(n, $4::numeric + $5::bigint - before)::bigint as upto from placed " \
        "where before < $4::numeric + $5::bigint and before + n > $4::numeric) " \
    "select " COLUMNS " from page p cross join lateral (select * from gateway_operation_log " \
        "where " OF_KEY("") filter " and created_at >= to_timestamp(p.hour * 3600.0) " \
        "and created_at < to_timestamp((p.hour + 1) * 3600.0) " \
        "order by created_at desc, id desc offset p.skip limit p.upto - p.skip) l " \
    "order by l.created_at desc, l.id desc limit $5::bigint"

static const char *const plain_sql[WANTED] = {
    PLAIN(""), PLAIN(" and " FAILED), PLAIN(" and not " FAILED),
};
static const char *const counted_sql[WANTED] = {
    COUNTED("h.total", ""), COUNTED("h.failed", " and " FAILED),
    COUNTED("h.total - h.failed", " and not " FAILED),
};
static const char unfolded_sql[] =
    "select coalesce((select max(id) from gateway_operation_log), 0) - upto "
    "from athena_log_folds where kind = 'operation'";
/* clang-format on */

/* ---- what is asked ---- */

static int needed(ath_req *r, const char *name, ath_str *ret, ath_err *e)
{
    *ret = str_trim(ath_param(r, name));
    if (ret->n)
        return 0;
    return admin_fail(e, "VALIDATION_FAILED", "Invalid query parameter", "'%s' must not be empty.",
                      name);
}

static int status(ath_req *r, struct drill *d, ath_err *e)
{
    d->status = str_trim(ath_param(r, "status"));
    if (!d->status.n)
        d->status = str_of(wanted_words[ALL]);
    for (d->wanted = ALL; d->wanted < WANTED; d->wanted++)
        if (str_ieq(d->status, str_of(wanted_words[d->wanted])))
            return 0;
    return admin_fail(e, "VALIDATION_FAILED", "Invalid status filter",
                      "status must be one of: all, errors, normal");
}

/* Rows with such names are not counted. */
static bool is_countable(const struct drill *d)
{
    return d->client.n <= NAME_MOST && d->table.n <= NAME_MOST && d->operation.n <= NAME_MOST;
}

/* Failed operations have an index of their own; those that went well are sought like all, which is
 * long where they are few. */
static bool is_shallow(const struct drill *d)
{
    return d->page.offset < SHALLOW && d->wanted != NORMAL;
}

/* ---- the answer ---- */

static int loaded(ath_task *t, const ath_done *done, ath_err *e)
{
    const struct drill *d = done->arg;
    struct buf b = admin_answer(t, "Loaded client statistics drilldown");

    (void)e;
    buf_json_str(&b, "client_name", d->client);
    buf_json_str(&b, "table_name", d->table);
    buf_json_str(&b, "operation", d->operation);
    buf_json_str(&b, "status", d->status);
    buf_json_int(&b, "limit", d->page.limit);
    buf_json_int(&b, "offset", d->page.offset);
    buf_json_key(&b, "rows");
    admin_objects(&b, done->rows, ADMIN_MEMBERS(row_members));
    return admin_reply(t, 200, &b);
}

static int read_page(ath_task *t, const struct drill *d, const char *const *sql, ath_err *e)
{
    return admin_read(t, ADMIN_CATALOG, failed, sql[d->wanted], d->param, ATH_COUNT(d->param),
                      loaded, (void *)(uintptr_t)d, e);
}

static int looked(ath_task *t, const ath_done *done, ath_err *e)
{
    const struct drill *d = done->arg;
    int64_t unfolded = INT64_MAX;

    if (done->rc < 0 && !str_is(ath_host_->err->get(e, "code"), "undefined_table"))
        return admin_refuse(t, ADMIN_CATALOG, failed, e);
    if (done->rc == 0)
        str_i64(ath_cell(done->rows, 0, 0), &unfolded);
    return read_page(t, d, unfolded <= UNFOLDED ? counted_sql : plain_sql, e);
}

/* Are there counts, and are they near enough to the end of the log? */
static int look(ath_req *r, struct drill *d, ath_err *e)
{
    ath_stmt stmt = { .sql = unfolded_sql, .flags = ATH_PG_READ };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    if (ath_host_->pg->query(r, &q, looked, d, e) < 0)
        return admin_refuse(r, ADMIN_CATALOG, failed, e);
    return 0;
}

int statistics_drilldown(ath_req *r, ath_err *e)
{
    struct drill *d = ath_new(ath_arena_of(r), sizeof(*d));
    int rc = admin_client(r, &d->client, e);

    if (rc < 0 || (rc = needed(r, "table_name", &d->table, e)) < 0 ||
        (rc = needed(r, "operation", &d->operation, e)) < 0 || (rc = status(r, d, e)) < 0 ||
        (rc = admin_page(r, PAGE, PAGE_MOST, &d->page, e)) < 0)
        return rc;
    d->param[0] = d->client;
    d->param[1] = d->table;
    d->param[2] = d->operation;
    d->param[3] = d->page.offset_text;
    d->param[4] = d->page.limit_text;
    if (is_shallow(d) || !is_countable(d))
        return read_page(r, d, plain_sql, e);
    return look(r, d, e);
}
