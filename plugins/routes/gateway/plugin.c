/* routes-gateway: rows of the clients' databases. */
#include "buffer.h"
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
             "Part of these at which further ones are deferred or refused.",
             .alias = "$ATHENA_INSERT_ADMISSION_HIGH_WATERMARK", .flags = ATH_CF_RELOAD),
    ATH_BOOL(T, window_defers, "insert_window_defers", "true",
             "Put them into the queue of deferred requests, where there is one, before they are refused.",
             .alias = "$ATHENA_INSERT_ADMISSION_DEFER_ENABLED", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, overload_retry_ms, "insert_overload_retry_after", "0ms", "0ms..60s",
             "When they may be sent again, as they are told; 0: by the window and by how many wait.",
             .alias = "$ATHENA_INSERT_OVERLOAD_RETRY_AFTER_MS", .flags = ATH_CF_RELOAD),
    ATH_STR(T, window_deny, "insert_merge_deny_tables", "", NULL,
            "Tables, between commas, whose inserts wait but are written row by row.",
            .alias = "gateway.insert_merge_deny_tables", .flags = ATH_CF_RELOAD),
    ATH_BOOL(T, deferred, "deferred_writes", "false",
             "Updates and deletes of /gateway are acknowledged when they are in a log on the disk, and "
             "done later.",
             .alias = "deferred_writes.enabled"),
    ATH_MSEC(T, deferred_window_ms, "deferred_writes_window", "1s", "0ms..1h",
             "How often they are done; 0: when enough wait, when somebody asks, at the stop.",
             .alias = "deferred_writes.batch_window_ms"),
    ATH_INT(T, deferred_most, "deferred_writes_batch", "100", "0..100000",
            "So many of a client that wait are done at once; 0: any number waits.",
            .alias = "deferred_writes.batch_max_size"),
    ATH_BOOL(T, deferred_wal, "deferred_writes_log", "true",
             "They are in files before they are acknowledged; false: a crash loses them.",
             .alias = "deferred_writes.wal_enabled"),
    ATH_STR(T, deferred_dir, "deferred_writes_dir", "./data/wal", NULL,
            "Folder of these files; one process has it.", .alias = "deferred_writes.wal_dir"),
    ATH_BOOL(T, deferred_public, "deferred_writes_public_flush", "false",
             "Let everybody have them done now, as the published server does.",
             .alias = "gateway.deferred_routes_public"),
    ATH_INT(T, deferred_max_entries, "deferred_writes_max_entries", "100000", "1..10000000",
            "Most that may wait; further ones are done at once.",
            .alias = "deferred_writes.max_entries"),
    ATH_BYTES(T, deferred_max_bytes, "deferred_writes_max_bytes", "64m", "64k..16g",
              "Most bytes of them.", .alias = "deferred_writes.max_bytes"),
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
    { .method = "POST", .path = "/gateway/fetch", .handle = gateway_fetch, .defer = gateway_defer_fetch, .operation = "fetch",
      .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS,
      .summary = "Fetch rows: filters, relations, order, pages, count" },
    { .method = "POST", .path = "/gateway/data", .handle = gateway_fetch, .defer = gateway_defer_fetch, .operation = "fetch",
      .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS,
      .summary = "The same, older name" },
    { .method = "GET", .path = "/data", .handle = gateway_get, .operation = "fetch",
      .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_CLIENT | ATH_RT_ASKS,
      .summary = "Fetch rows by query string: a view and one equality" },
#define WRITES(method_, path_, handle_, defer_, operation_, more_, summary_) \
    { .method = (method_), .path = (path_), .handle = (handle_), .defer = (defer_), .operation = (operation_), \
      .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS | (more_), \
      .summary = (summary_) }
    WRITES("PUT", "/gateway/insert", gateway_insert, gateway_defer_insert, "insert", 0,
           "Insert one row or many: returning, upsert, defaults"),
    WRITES("POST", "/gateway/insert", gateway_insert, gateway_defer_insert, "insert", 0, "The same"),
    WRITES("POST", "/gateway/update", gateway_update, gateway_defer_update, "update", ATH_RT_AWAY,
           "Update rows by conditions, bounded if wanted"),
    WRITES("DELETE", "/gateway/delete", gateway_delete, gateway_defer_delete, "delete", ATH_RT_AWAY,
           "Delete rows by id or by conditions"),
    WRITES("POST", "/gateway/delete", gateway_delete, gateway_defer_delete, "delete", ATH_RT_AWAY, "The same"),
    WRITES("POST", "/gateway/transaction", gateway_transaction, NULL, "transaction", 0,
           "Fetch, insert, update and delete: all of it or nothing"),
    { .method = "POST", .path = "/gateway/deferred/flush", .handle = deferred_flush,
      .auth = ATH_AUTH_NONE, .right = "gateway.write", .flags = ATH_RT_COMMON, /* it asks itself */
      .summary = "Do all deferred writes now" },
};

static const ath_metric metrics[GATEWAY_METRICS] = {
    [M_BUFFER_ENTRIES] = { "athena_deferred_write_buffer_entries", NULL,
                           "Deferred writes that wait to be done.", ATH_M_GAUGE, 0 },
    [M_BUFFER_WRITES] = { "athena_deferred_write_total", "outcome",
                          "Deferred writes by what became of them; inline: done at once for want of room.",
                          ATH_M_COUNTER, 0 },
    [M_BUFFER_UNMARKED] = { "athena_deferred_write_unmarked_total", NULL,
                            "Deferred writes done in databases without a table of idempotency keys, "
                            "which a crash may repeat.", ATH_M_COUNTER, 0 },
};

static const ath_driver writes = {
    ATH_CAP(ath_driver, ATH_CAP_DRIVER, "athena.writes"), .version = 1, .vtable = &gateway_writes
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "gateway"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap,           &gateway_fetch_command.cap,
                                       &gateway_install.cap, &trigger_install.cap,
                                       &trigger_remove.cap,  &writes.cap,
                                      &deferred_flusher.cap, &deferred_check.cap, NULL };

ATH_PLUGIN("routes-gateway", "1.0.0", "athena.catalog@1 ?athena.cache@1 ?athena.deferred@1",
           "command.fetch command.idempotency command.cache athena.writes@1",
           .summary = "Rows of the clients' databases", ATH_ARRAY(field, fields),
           ATH_ARRAY(metric, metrics), .drain = gateway_drain, .fini = gateway_fini,
           .config_size = sizeof(struct gateway_config), .cap = caps, .init = gateway_init,
           .loop_init = gateway_loop_init, .loop_fini = gateway_loop_fini);
