/* GET /admin/clients/{client_name}/table-row-estimates: how large a client's tables are, by what
 * its own catalogue estimates, and what that advises.
 *
 * The catalogue of clients says whether there is such a client, and the same trip makes the key
 * that the answer is kept under; then the answer that is kept, or one statement in the client's
 * database. Partitions count as the table that they are part of.
 */
#include "admin_clients.h"

#include <time.h>

enum { LIMIT = 12, LIMIT_MOST = 100, RETENTION_SECONDS = 1209600 };

static const char failed[] = "Failed to load table row estimates";

struct estimates {
    ath_str client, schema; /* as asked */
    ath_str name;           /* as the catalogue has it */
    struct admin_page page; /* its limit alone */
    bool system, fresh;
    ath_str key; /* of the answer that is kept */
    ath_str param[3];
    ath_stmt stmt;
    ath_query query;
};

/* clang-format off */
static const char client_sql[] =
    "select client_name, encode(sha256(convert_to($2::text, 'UTF8')), 'hex') from athena_clients "
    "where deleted_at is null and lower(client_name) = lower($1::text) "
    "order by client_name <> $1::text limit 1";

#define TABLE_JSON \
    "json_build_object('schema_name', s, 'table_name', t, " \
    "'qualified_table_name', s || '.' || t, 'estimated_rows', n)"
#define IN_ORDER "n desc, s collate \"C\", t collate \"C\""
#define LOGS "s = 'public' and t in ('gateway_request_log', 'gateway_operation_log')"

/* Tables that an advice is about: how many, their rows, their share, the largest of them. */
#define AFFECTED(which) \
    "(select count(*) from sized where " which "), " \
    "(select coalesce(sum(n), 0) from sized where " which "), " \
    "(select round(100 * sum(n) filter (where " which ") / nullif(sum(n), 0), 1) from sized), " \
    "(select coalesce(json_agg(" TABLE_JSON " order by " IN_ORDER "), '[]') from " \
        "(select * from sized where " which " order by " IN_ORDER " limit 5) a)"

static const char sizes_sql[] =
    "with sized as materialized (select n.nspname::text as s, r.relname::text as t, "
        "sum(case c.relkind when 'r' then greatest(c.reltuples, 0)::bigint else 0 end) as n "
        "from pg_catalog.pg_class c join pg_catalog.pg_class r on r.oid = "
            "case when c.relispartition then pg_catalog.pg_partition_root(c.oid)::oid else c.oid end "
        "join pg_catalog.pg_namespace n on n.oid = r.relnamespace "
        "where c.relkind in ('r', 'p') and ($1::text = '' or n.nspname = $1::text) "
        "and ($3::boolean or not (n.nspname in ('pg_catalog', 'information_schema', 'pg_toast') "
            "or n.nspname like 'pg\\_temp\\_%' or n.nspname like 'pg\\_toast\\_temp\\_%')) "
        "group by 1, 2) "
    "select (select count(*) from sized), (select count(*) from sized where n > 0), "
    "(select coalesce(sum(n), 0) from sized), (select coalesce(max(n), 0) from sized), "
    "(select t from sized order by " IN_ORDER " limit 1), "
    "(select s || '.' || t from sized order by " IN_ORDER " limit 1), "
    "(select coalesce(json_agg(" TABLE_JSON " order by " IN_ORDER "), '[]') from "
        "(select * from sized order by " IN_ORDER " limit $2::bigint) a), "
    "(select coalesce(json_agg(json_build_object('schema_name', s, 'table_count', c, "
        "'estimated_rows', n) order by n desc, s collate \"C\"), '[]') from "
        "(select s, count(*) as c, sum(n) as n from sized group by s) a), "
    "(select count(*) from sized where n = 0), "
    "(select count(*) from sized where n between 1 and 999), "
    "(select count(*) from sized where n between 1000 and 9999), "
    "(select count(*) from sized where n between 10000 and 99999), "
    "(select count(*) from sized where n between 100000 and 999999), "
    "(select count(*) from sized where n between 1000000 and 9999999), "
    "(select count(*) from sized where n >= 10000000), "
    AFFECTED(LOGS " and n > 0") ", "
    AFFECTED("(t like '%\\_log' or t like '%\\_logs') and n >= 100000 and not (" LOGS ")") ", "
    AFFECTED("n >= 10000000");
/* clang-format on */

/* Columns of its one row. */
enum {
    SUMMARY,
    TOP = 6,
    ROLLUPS,
    BUCKETS,
    ADVICE = BUCKETS + 7,
    AFFECTED_COUNT = 0,
    AFFECTED_ROWS,
    AFFECTED_SHARE,
    AFFECTED_TABLES,
    AFFECTED_COLUMNS
};

static const struct admin_member summary_members[] = {
    { "table_count", ADMIN_INT },          { "nonzero_table_count", ADMIN_INT },
    { "estimated_total_rows", ADMIN_INT }, { "max_estimated_rows", ADMIN_INT },
    { "max_table_name", ADMIN_TEXT },      { "max_qualified_table_name", ADMIN_TEXT },
};

static const struct {
    const char *label;
    int64_t least, most; /* most 0: and more */
} buckets[] = {
    { "0", 0, 0 },
    { "1-999", 1, 999 },
    { "1K-9.9K", 1000, 9999 },
    { "10K-99.9K", 10000, 99999 },
    { "100K-999.9K", 100000, 999999 },
    { "1M-9.9M", 1000000, 9999999 },
    { "10M+", 10000000, -1 },
};

struct advice {
    const char *code, *title, *message;
};
static const struct advice advices[] = {
    { "gateway-log-retention", "Gateway request and operation logs hold many rows",
      "The traffic logs live in this database and are kept for as long as "
      "gateway.log_retention_secs "
      "says. Shorten it if they take more room than they are worth." },
    { "log-like-table-growth", "Other log-like tables are accumulating",
      "These tables look log-shaped by name and are already large enough to matter for backups, "
      "vacuum, and disk headroom. Review retention or archiving if they keep growing." },
    { "large-table-pressure", "Very large tables are present",
      "Tables of ten million rows and more dominate backups, vacuum and index builds. Consider "
      "partitioning or archiving them." },
};
enum { LOG_RETENTION, CRITICAL_SHARE = 50, CRITICAL_ROWS = 10000000, LARGE = 2 };

/* ---- the answer ---- */

static ath_str cell(const ath_rows *rows, uint32_t column)
{
    return ath_cell(rows, 0, column);
}

static void put_now(struct buf *b)
{
    struct timespec now;
    struct tm tm;

    timespec_get(&now, TIME_UTC);
    gmtime_r(&now.tv_sec, &tm);
    buf_json_key(b, "collected_at");
    buf_printf(b, "\"%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ\"", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec);
}

static void put_member(struct buf *b, const char *key, enum admin_form form, ath_str text)
{
    buf_json_key(b, key);
    admin_value(b, form, text);
}

static void put_buckets(struct buf *b, const ath_rows *rows)
{
    buf_json_key(b, "buckets");
    buf_char(b, '[');
    for (uint32_t i = 0; i < ATH_COUNT(buckets); i++) {
        buf_z(b, i ? ",{" : "{");
        buf_json_str(b, "label", str_of(buckets[i].label));
        buf_json_int(b, "min_rows", buckets[i].least);
        if (buckets[i].most >= 0)
            buf_json_int(b, "max_rows", buckets[i].most);
        else
            put_member(b, "max_rows", ADMIN_INT, (ath_str){ NULL, 0 });
        put_member(b, "table_count", ADMIN_INT, cell(rows, BUCKETS + i));
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

static bool is_critical(size_t which, ath_str rows, ath_str share)
{
    int64_t n = 0;
    double percent = 0;

    str_i64(rows, &n);
    str_double(share, &percent);
    return which == LARGE ||
           (which == LOG_RETENTION && (n >= CRITICAL_ROWS || percent >= CRITICAL_SHARE));
}

static void put_advice(struct buf *b, const ath_rows *rows, size_t which)
{
    uint32_t at = ADVICE + (uint32_t)which * AFFECTED_COLUMNS;
    ath_str n = cell(rows, at + AFFECTED_ROWS), share = cell(rows, at + AFFECTED_SHARE);
    bool retention = which == LOG_RETENTION;

    if (str_is(cell(rows, at + AFFECTED_COUNT), "0"))
        return;
    buf_z(b, b->p[b->n - 1] == '[' ? "{" : ",{");
    buf_json_str(b, "code", str_of(advices[which].code));
    buf_json_str(b, "severity", str_of(is_critical(which, n, share) ? "critical" : "warn"));
    buf_json_str(b, "title", str_of(advices[which].title));
    buf_json_str(b, "message", str_of(advices[which].message));
    put_member(b, "affected_tables", ADMIN_JSON, cell(rows, at + AFFECTED_TABLES));
    put_member(b, "affected_estimated_rows", ADMIN_INT, n);
    put_member(b, "share_of_estimated_total_pct", ADMIN_REAL, share);
    put_member(b, "config_key", ADMIN_TEXT,
               str_of(retention ? "gateway.log_retention_secs" : NULL));
    if (retention)
        buf_json_int(b, "config_default_seconds", RETENTION_SECONDS);
    else
        put_member(b, "config_default_seconds", ADMIN_INT, (ath_str){ NULL, 0 });
    buf_char(b, '}');
}

static void put_snapshot(struct buf *b, const ath_rows *rows)
{
    buf_json_key(b, "snapshot");
    buf_char(b, '{');
    buf_json_str(b, "source", ATH_S("pg_class.reltuples"));
    put_now(b);
    buf_json_key(b, "summary");
    admin_object(b, rows, 0, ADMIN_MEMBERS(summary_members));
    put_member(b, "top_tables", ADMIN_JSON, cell(rows, TOP));
    put_member(b, "schema_rollups", ADMIN_JSON, cell(rows, ROLLUPS));
    put_buckets(b, rows);
    buf_json_key(b, "advisories");
    buf_char(b, '[');
    for (size_t i = 0; i < ATH_COUNT(advices); i++)
        put_advice(b, rows, i);
    buf_lit(b, "]}");
}

static void say_cache(ath_req *r, const struct estimates *s, const char *outcome,
                      const char *source)
{
    struct buf key = BUF_ARENA(ath_arena_of(r));

    buf_lit(&key, "admin_table_row_estimates:");
    buf_str(&key, s->key);
    ath_host_->req->set(r, "x-athena-cache-key", buf_view(&key));
    ath_host_->req->set(r, "x-athena-cache-outcome", str_of(outcome));
    ath_host_->req->set(r, "x-athena-cache-source", str_of(source));
}

static uint64_t now_ms(ath_task *t)
{
    return ath_host_->loop->now_ms(ath_host_->task->loop(t));
}

static int sized(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct estimates *s = d->arg;
    const struct admin_clients_config *cfg = ath_config_of(t);
    struct buf b;

    if (d->rc < 0 && ath_host_->err->get(e, "sqlstate").n)
        return admin_refuse(t, ADMIN_CATALOG, failed, e);
    if (d->rc < 0)
        return admin_fail(e, "client_unavailable", "Postgres client not connected",
                          "Client '%.*s' exists in the catalog but does not currently have an "
                          "active Postgres pool.",
                          STR_ARG(s->client));
    b = admin_answer(t, "Loaded table row estimates");
    buf_json_str(&b, "client_name", s->client);
    put_member(&b, "schema", ADMIN_TEXT, s->schema.n ? s->schema : (ath_str){ NULL, 0 });
    buf_json_int(&b, "limit", s->page.limit);
    buf_json_bool(&b, "include_system_schemas", s->system);
    put_snapshot(&b, d->rows);
    buf_lit(&b, "}}");
    estimates_keep(s->key, buf_view(&b), now_ms(t) + cfg->estimates_ttl_ms);
    say_cache(t, s, s->fresh ? "bypass_no_cache_header" : "miss_all_tiers", "database");
    return ath_reply(t, 200, "application/json", buf_view(&b));
}

/* ---- asking ---- */

static int ask_client(ath_task *t, struct estimates *s, ath_err *e)
{
    s->param[0] = s->schema;
    s->param[1] = s->page.limit_text;
    s->param[2] = str_of(s->system ? "true" : "false");
    s->stmt =
        (ath_stmt){ .sql = sizes_sql, .param = s->param, .param_count = 3, .flags = ATH_PG_READ };
    s->query = (ath_query){ .size = sizeof(s->query),
                            .client = s->name,
                            .stmt = &s->stmt,
                            .stmt_size = sizeof(s->stmt),
                            .stmt_count = 1 };
    if (ath_host_->pg->query(t, &s->query, sized, s, e) < 0)
        return sized(t, &(ath_done){ .size = sizeof(ath_done), .rc = ATH_E_UPSTREAM, .arg = s }, e);
    return 0;
}

static int known(ath_task *t, const ath_done *d, ath_err *e)
{
    struct estimates *s = d->arg;
    ath_str kept = { NULL, 0 };

    if (ath_host_->pg->count(d->rows) == 0)
        return admin_fail(e, "not_found", "Athena client not found", "No client exists for '%.*s'.",
                          STR_ARG(s->client));
    s->name = ath_cell(d->rows, 0, 0);
    s->key = ath_cell(d->rows, 0, 1);
    if (!s->fresh)
        kept = estimates_find(ath_arena_of(t), s->key, now_ms(t));
    if (!kept.p)
        return ask_client(t, s, e);
    ath_host_->req->set(t, "x-athena-cached", ATH_S("true"));
    say_cache(t, s, "hit_local_raw", "local");
    return ath_reply(t, 200, "application/json", kept);
}

/* All that changes the answer. */
static ath_str question(ath_req *r, const struct estimates *s)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_char(&b, '{');
    buf_json_str(&b, "client", s->client);
    buf_json_str(&b, "schema", s->schema);
    buf_json_int(&b, "limit", s->page.limit);
    buf_json_bool(&b, "system", s->system);
    buf_char(&b, '}');
    return buf_view(&b);
}

static bool says_no_cache(ath_str header)
{
    ath_str word;

    while (str_next(&header, ',', &word))
        if (str_ieq(str_trim(word), ATH_S("no-cache")))
            return true;
    return false;
}

int estimates_show(ath_req *r, ath_err *e)
{
    struct estimates *s = ath_new(ath_arena_of(r), sizeof(*s));
    int rc = admin_client(r, &s->client, e);

    if (rc < 0 || (rc = admin_page(r, LIMIT, LIMIT_MOST, &s->page, e)) < 0 ||
        (rc = admin_switch(r, "include_system_schemas", &s->system, e)) < 0)
        return rc;
    s->schema = str_trim(ath_param(r, "schema"));
    s->fresh = says_no_cache(ath_header(r, "cache-control"));
    s->param[0] = s->client;
    s->param[1] = question(r, s);
    return admin_read(r, ADMIN_CATALOG, failed, client_sql, s->param, 2, known, s, e);
}
