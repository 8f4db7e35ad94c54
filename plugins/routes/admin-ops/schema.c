/* GET /debug/schema: which tables of the control plane are there, and what is missing.
 *
 * One statement reads the whole catalogue; the rest is comparing. Only columns that the published
 * DDL has are expected, so a database that is complete is `healthy` (20.10).
 */
#include "admin_ops.h"

#include <time.h>

#include "lib/jsonread.h"

struct expected {
    const char *table;
    const char *columns; /* between blanks */
    const char *purpose;
    bool optional;
};

/* By name. */
static const struct expected expected[] = {
    { "api_registry", "id api_registry_id name config", "Entries that GET /registry shows", false },
    { "athena_client_configs", "client_name config", "Configuration documents of clients", false },
    { "athena_clients", "client_name is_active is_frozen", "The catalogue of clients", false },
    { "backup_job_logs", "job_id level message created_at", "What backups and restores said",
      false },
    { "backup_jobs",
      "job_type client_name status s3_bucket s3_key execution_daemon_id lease_expires_at "
      "completed_at",
      "The queue of backups and restores", false },
    { "backup_schedules",
      "client_name frequency cron_expression execution_daemon_id enabled next_run_at",
      "When backups are due", false },
    { "client_statistics",
      "client_name total_requests successful_requests failed_requests total_operations",
      "Totals per client", false },
    { "client_table_statistics",
      "client_name table_name operation total_operations error_operations",
      "Totals per table and operation", false },
    { "daemon_runtime_registry",
      "daemon_id runtime_kind host version workers_json metadata_json started_at last_seen_at",
      "Heartbeats of the processes that run workers", false },
    { "database_clone_job_events", "event_id job_id daemon_id kind message created_at",
      "What clone jobs went through", false },
    { "database_clone_jobs", "job_id status phase execution_daemon_id lease_expires_at created_at",
      "The queue of clone jobs", false },
    { "gateway_admission_events", "id event_id client_name decision route created_at",
      "What the admission limiter refused", false },
    { "gateway_connection_registry_realtime",
      "registry_key client_name last_request_id last_status_code last_seen_at updated_at",
      "Who was seen lately", false },
    { "gateway_deferred_request_queue", "request_id status created_at completed_at",
      "The queue of deferred requests", false },
    { "gateway_operation_log", "request_id operation table_name client status_code time",
      "One row per operation", false },
    { "gateway_request_log", "request_id client method path status_code time",
      "One row per request", false },
    { "gateway_route_request_log", "request_id source outcome path status_code time",
      "One row per request of a public route", true },
    { "ip_addresses", "id ipv4_address first_seen_at last_seen_at",
      "Addresses that requests came from", false },
    { "ip_addresses_statistics",
      "ip_address_id total_requests successful_requests failed_requests last_request_at",
      "Totals per address", false },
    { "public_gateway_routes", "route_key target_url is_active", "Public routes", false },
    { "public_service_routes", "route_key service_key target_kind is_active", "Service prefixes",
      false },
    { "typesense_sync_jobs",
      "name enabled auto_sync_enabled execution_daemon_id next_sync_at last_sync_status",
      "What is kept in step with Typesense", false },
    { "typesense_sync_runs", "job_id status started_at progress_pct progress_stage",
      "Runs of these jobs", false },
};

/* What the information schema calls tables and views, whoever may read them. */
static const char catalogue_sql[] =
    "select n.nspname, c.relname, case c.relkind when 'v' then 'VIEW' when 'f' then 'FOREIGN'"
    " else 'BASE TABLE' end,"
    " coalesce((select json_agg(a.attname order by a.attnum) from pg_attribute a"
    " where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]')"
    " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where c.relkind in ('r', 'p', 'v', 'f') and n.nspname not in ('pg_catalog',"
    " 'information_schema') and n.nspname !~ '^pg_(toast|temp)'"
    " order by (n.nspname || '.' || c.relname) collate \"C\"";

enum { SCHEMA, TABLE, KIND, COLUMNS };

struct counts {
    int64_t found, tables[2], columns[2], mismatches; /* [0] required, [1] optional */
};

struct report {
    const ath_rows *rows;
    uint32_t row_count;
    struct json_memory memory;
    struct counts n;
    struct buf expected;
    struct buf tables[2], columns[2], mismatches; /* lists of what is missing */
};

static void put_item(struct buf *b, ath_str text)
{
    if (b->n)
        buf_char(b, ',');
    buf_json(b, text);
}

static void put_array(struct buf *b, const char *key, const struct buf *items)
{
    buf_json_key(b, key);
    buf_char(b, '[');
    buf_str(b, buf_view(items));
    buf_char(b, ']');
}

/* ---- one expected table ---- */

static int64_t row_of(const struct report *p, const char *table)
{
    for (uint32_t i = 0; i < p->row_count; i++)
        if (str_is(ath_cell(p->rows, i, SCHEMA), "public") &&
            str_is(ath_cell(p->rows, i, TABLE), table))
            return i;
    return -1;
}

static bool has_column(const struct json *columns, ath_str name)
{
    for (const struct json *c = columns ? columns->first : NULL; c; c = c->next)
        if (str_eq(c->text, name))
            return true;
    return false;
}

static bool in_words(const char *words, ath_str name)
{
    ath_str rest = str_of(words), word;

    while (str_next(&rest, ' ', &word))
        if (str_eq(word, name))
            return true;
    return false;
}

static void note_missing(struct report *p, const struct expected *x, ath_str column)
{
    struct buf name = { .alloc = p->memory.alloc, .arena = p->memory.arena };

    buf_printf(&name, "public.%s.%.*s", x->table, STR_ARG(column));
    put_item(&p->columns[x->optional], buf_view(&name));
    p->n.columns[x->optional]++;
}

/* expected_columns, and which of them are missing. */
static void put_wanted(struct report *p, const struct expected *x, const struct json *found)
{
    struct buf all = { .alloc = p->memory.alloc, .arena = p->memory.arena }, missing = all;
    ath_str rest = str_of(x->columns), word;

    while (str_next(&rest, ' ', &word)) {
        put_item(&all, word);
        if (has_column(found, word))
            continue;
        put_item(&missing, word);
        note_missing(p, x, word);
    }
    put_array(&p->expected, "expected_columns", &all);
    put_array(&p->expected, "missing_columns", &missing);
}

static void put_unexpected(struct report *p, const struct expected *x, const struct json *found)
{
    struct buf more = { .alloc = p->memory.alloc, .arena = p->memory.arena };

    for (const struct json *c = found ? found->first : NULL; c; c = c->next)
        if (!in_words(x->columns, c->text))
            put_item(&more, c->text);
    put_array(&p->expected, "unexpected_columns", &more);
}

static void note_table(struct report *p, const struct expected *x, bool found, bool matches)
{
    struct buf name = { .alloc = p->memory.alloc, .arena = p->memory.arena };

    buf_printf(&name, "public.%s", x->table);
    p->n.found += found;
    if (!found) {
        p->n.tables[x->optional]++;
        put_item(&p->tables[x->optional], buf_view(&name));
    } else if (!matches) {
        p->n.mismatches++;
        put_item(&p->mismatches, buf_view(&name));
    }
}

static void put_expected(struct report *p, const struct expected *x)
{
    int64_t row = row_of(p, x->table);
    ath_str kind = row < 0 ? (ath_str){ 0 } : ath_cell(p->rows, (uint32_t)row, KIND);
    ath_str columns = row < 0 ? ATH_S("[]") : ath_cell(p->rows, (uint32_t)row, COLUMNS);
    bool matches = str_is(kind, "BASE TABLE");
    struct json_error why;
    const struct json *found = json_read(columns, p->memory, 2000, &why);
    struct buf *b = &p->expected;

    buf_z(b, b->n ? ",{\"table_schema\":\"public\"" : "{\"table_schema\":\"public\"");
    buf_json_str(b, "table_name", str_of(x->table));
    buf_json_str(b, "expected_relation_type", ATH_S("BASE TABLE"));
    buf_json_bool(b, "required", !x->optional);
    buf_json_str(b, "purpose", str_of(x->purpose));
    buf_json_bool(b, "found", row >= 0);
    buf_json_key(b, "found_relation_type");
    admin_value(b, ADMIN_TEXT, kind);
    buf_json_bool(b, "relation_type_matches", matches);
    buf_json_key(b, "found_columns");
    buf_str(b, columns);
    put_wanted(p, x, found);
    put_unexpected(p, x, found);
    buf_char(b, '}');
    note_table(p, x, row >= 0, matches);
}

/* ---- the summary ---- */

static void put_reason(struct buf *b, const char *code, const char *severity, int64_t count,
                       const char *message)
{
    if (count == 0)
        return;
    if (b->p[b->n - 1] != '[')
        buf_char(b, ',');
    buf_char(b, '{');
    buf_json_str(b, "code", str_of(code));
    buf_json_str(b, "severity", str_of(severity));
    buf_json_int(b, "count", count);
    buf_json_str(b, "message", str_of(message));
    buf_char(b, '}');
}

static void put_reasons(struct buf *b, const struct counts *n)
{
    buf_json_key(b, "health_reasons");
    buf_char(b, '[');
    put_reason(b, "missing_required_tables", "error", n->tables[0],
               "Required logging tables are missing");
    put_reason(b, "missing_required_columns", "error", n->columns[0],
               "Required logging columns are missing");
    put_reason(b, "relation_type_mismatches", "error", n->mismatches,
               "Relations are not of the expected kind");
    put_reason(b, "missing_optional_tables", "warning", n->tables[1],
               "Optional logging tables are missing");
    put_reason(b, "missing_optional_columns", "warning", n->columns[1],
               "Optional logging columns are missing");
    if (b->p[b->n - 1] == '[')
        buf_lit(b, "{\"code\":\"all_expected_resources_present\",\"severity\":\"info\",\"count\":0,"
                   "\"message\":\"All expected logging tables and columns are present\"}");
    buf_char(b, ']');
}

static const char *health_of(const struct counts *n)
{
    if (n->tables[0] >= 3 || n->columns[0] >= 10)
        return "unhealthy";
    if (n->tables[0] || n->columns[0] || n->mismatches)
        return "degraded";
    return n->tables[1] || n->columns[1] ? "warning" : "healthy";
}

static void put_summary(struct buf *b, const struct counts *n)
{
    buf_lit(b, ",\"summary\":{");
    buf_json_str(b, "health", str_of(health_of(n)));
    put_reasons(b, n);
    buf_json_int(b, "expected_table_count", ATH_COUNT(expected));
    buf_json_int(b, "found_table_count", n->found);
    buf_json_int(b, "required_missing_table_count", n->tables[0]);
    buf_json_int(b, "optional_missing_table_count", n->tables[1]);
    buf_json_int(b, "required_missing_column_count", n->columns[0]);
    buf_json_int(b, "optional_missing_column_count", n->columns[1]);
    buf_json_int(b, "relation_type_mismatch_count", n->mismatches);
    buf_char(b, '}');
}

static void put_needed(struct buf *b, const struct report *p)
{
    buf_lit(b, ",\"still_needed\":{");
    put_array(b, "required_missing_tables", &p->tables[0]);
    put_array(b, "optional_missing_tables", &p->tables[1]);
    put_array(b, "required_missing_columns", &p->columns[0]);
    put_array(b, "optional_missing_columns", &p->columns[1]);
    put_array(b, "relation_type_mismatches", &p->mismatches);
    buf_char(b, '}');
}

static void put_observed(struct buf *b, const struct report *p)
{
    buf_lit(b, ",\"observed_tables\":[");
    for (uint32_t i = 0; i < p->row_count; i++) {
        buf_z(b, i ? ",{" : "{");
        buf_json_str(b, "table_schema", ath_cell(p->rows, i, SCHEMA));
        buf_json_str(b, "table_name", ath_cell(p->rows, i, TABLE));
        buf_json_str(b, "relation_type", ath_cell(p->rows, i, KIND));
        buf_json_key(b, "columns");
        buf_str(b, ath_cell(p->rows, i, COLUMNS));
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

static void put_now(struct buf *b)
{
    struct timespec now;
    struct tm tm;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, ",\"generated_at\":\"%s.%09ldZ\"", text, now.tv_nsec);
}

static int compared(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf empty = BUF_ARENA(ath_arena_of(t)), b = empty;
    struct report p = { .rows = d->rows,
                        .row_count = ath_host_->pg->count(d->rows),
                        .memory = JSON_ARENA(ath_arena_of(t)),
                        .expected = empty,
                        .tables = { empty, empty },
                        .columns = { empty, empty },
                        .mismatches = empty };

    (void)e;
    for (size_t i = 0; i < ATH_COUNT(expected); i++)
        put_expected(&p, &expected[i]);
    buf_char(&b, '{');
    buf_json_str(&b, "logging_client", ath_host_->inspect(t, "logging_client"));
    put_now(&b);
    put_summary(&b, &p.n);
    put_array(&b, "expected_tables", &p.expected);
    put_needed(&b, &p);
    put_observed(&b, &p);
    put_array(&b, "missing_required_tables", &p.tables[0]);
    put_array(&b, "missing_optional_tables", &p.tables[1]);
    buf_char(&b, '}');
    return ath_reply(t, 200, "application/json", buf_view(&b));
}

/* The names of all tables are nobody's business, also where keys are not enforced. */
int schema_debug(ath_req *r, ath_err *e)
{
    ath_who who = { .size = sizeof(who) };

    ath_host_->req->who(r, &who);
    if (!(who.flags & (ATH_WHO_ADMIN | ATH_WHO_KEY)))
        return ath_raise(e, "unauthorized", "this needs the admin key or an API key");
    return admin_read(r, ADMIN_LOGGING, "Failed to fetch logging schema tables", catalogue_sql,
                      NULL, 0, compared, NULL, e);
}
