/* routes-gateway: rows of the clients' databases. */
#include "gateway.h"
#include "trigger.h"

#define T struct gateway_config

/* Values of filters carry their column's type and names are looked up as PostgreSQL knows them, so
 * two published switches have nothing left to switch; they are read so that old files stay valid.
 */
/* clang-format off */
static const ath_field fields[] = {
    ATH_INT(T, max_rows, "max_rows", "0", "0..100000000",
            "Most rows that one fetch may ask for; a larger limit is refused. 0: any number.",
            .alias = "gateway.max_rows", .flags = ATH_CF_RELOAD),
    ATH_INT(T, pieces_above, "pieces_above", "1000", "0..1000000",
            "A fetch that may have more rows than these is sent in pieces, in bounded memory."),
    ATH_INT(T, group_rows_max, "group_rows_max", "100000", "1..10000000",
            "Most rows that group_by works on; they are all in memory at once.",
            .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, query_timeout_ms, "query_timeout", "30s", "10ms..1h",
             "How long one statement may run.",
             .alias = "gateway.resilience_timeout_secs", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, window_ms, "insert_window", "0ms", "0ms..60s",
             "Inserts of one row that arrive within it are written together; 0: each by itself.",
             .alias = "gateway.insert_execution_window_ms", .flags = ATH_CF_RELOAD),
    ATH_INT(T, window_batch, "insert_window_max_batch", "100", "1..10000",
            "Most inserts that are written together; as many do not wait for the window's end.",
            .alias = "gateway.insert_window_max_batch", .flags = ATH_CF_RELOAD),
    ATH_INT(T, window_queue, "insert_window_max_queued", "10000", "1..1000000",
            "Most inserts that may wait to be written together.",
            .alias = "gateway.insert_window_max_queued", .flags = ATH_CF_RELOAD),
    ATH_REAL(T, window_watermark, "insert_window_watermark", "0.85", "0.1..1",
             "Part of these at which further ones are refused.",
             .alias = "$ATHENA_INSERT_ADMISSION_HIGH_WATERMARK", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, overload_retry_ms, "insert_overload_retry_after", "1s", "50ms..60s",
             "When they may be sent again, as they are told.",
             .alias = "$ATHENA_INSERT_OVERLOAD_RETRY_AFTER_MS", .flags = ATH_CF_RELOAD),
    ATH_STR(T, window_deny, "insert_merge_deny_tables", "", NULL,
            "Tables, between commas, whose inserts wait but are written row by row.",
            .alias = "gateway.insert_merge_deny_tables", .flags = ATH_CF_RELOAD),
    ATH_STR(T, strip_nulls_scope, "strip_nulls_scope", "keys", "keys|rows",
            "What X-Strip-Nulls removes: null keys of each row, or rows that are null.",
            .alias = "gateway.strip_nulls_scope", .flags = ATH_CF_RELOAD),
    ATH_BOOL(T, fold_names, "force_camel_case_to_snake_case", "false",
             "Turn camelCase column names of requests into snake_case.",
             .alias = "gateway.force_camel_case_to_snake_case", .flags = ATH_CF_RELOAD),
    ATH_BOOL(T, bare_rows, "compat_bare_rows", "false",
             "Answer clients of the 0.2 kind with the bare array of rows.",
             .alias = "gateway.compat_bare_rows", .flags = ATH_CF_RELOAD),
    ATH_BOOL(T, cast_uuids, "auto_cast_uuid_filter_values_to_text", "true",
             "Read for old files; filter values carry the type of their column.",
             .alias = "gateway.auto_cast_uuid_filter_values_to_text"),
    ATH_BOOL(T, split_tables, "allow_schema_names_prefixed_as_table_name", "true",
             "Read for old files; schema.table is always understood.",
             .alias = "gateway.allow_schema_names_prefixed_as_table_name"),
};

static const ath_route routes[] = {
    { .method = "POST", .path = "/gateway/fetch", .handle = gateway_fetch, .operation = "fetch",
      .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS,
      .summary = "Fetch rows: filters, relations, order, pages, count" },
    { .method = "POST", .path = "/gateway/data", .handle = gateway_fetch, .operation = "fetch",
      .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS,
      .summary = "The same, older name" },
    { .method = "GET", .path = "/data", .handle = gateway_get, .operation = "fetch",
      .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_CLIENT | ATH_RT_ASKS,
      .summary = "Fetch rows by query string: a view and one equality" },
#define WRITES(method_, path_, handle_, operation_, summary_) \
    { .method = (method_), .path = (path_), .handle = (handle_), .operation = (operation_), \
      .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS, \
      .summary = (summary_) }
    WRITES("PUT", "/gateway/insert", gateway_insert, "insert",
           "Insert one row or many: returning, upsert, defaults"),
    WRITES("POST", "/gateway/insert", gateway_insert, "insert", "The same"),
    WRITES("POST", "/gateway/update", gateway_update, "update",
           "Update rows by conditions, bounded if wanted"),
    WRITES("DELETE", "/gateway/delete", gateway_delete, "delete",
           "Delete rows by id or by conditions"),
    WRITES("POST", "/gateway/delete", gateway_delete, "delete", "The same"),
    WRITES("POST", "/gateway/transaction", gateway_transaction, "transaction",
           "Fetch, insert, update and delete: all of it or nothing"),
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "gateway"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap, &gateway_install.cap, &trigger_install.cap,
                                       &trigger_remove.cap, NULL };

ATH_PLUGIN("routes-gateway", "1.0.0", "athena.catalog@1 ?athena.cache@1",
           "command.idempotency command.cache",
           .summary = "Rows of the clients' databases", ATH_ARRAY(field, fields),
           .config_size = sizeof(struct gateway_config), .cap = caps, .init = gateway_init,
           .loop_init = gateway_loop_init, .loop_fini = gateway_loop_fini);
