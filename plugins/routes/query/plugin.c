/* routes-query: SQL of callers, counts and functions. */
#include "query.h"

#define T struct query_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_MSEC(T, timeout_ms, "timeout", "30s", "10ms..1h",
             "How long one request's statements may run.",
             .alias = "gateway.resilience_timeout_secs", .flags = ATH_CF_RELOAD),
    ATH_BYTES(T, max_body_bytes, "max_body_bytes", "2m", "1k..1g",
              "Largest body of /gateway/query, within what the server takes at all.",
              .alias = "gateway.query_body_limit_bytes", .flags = ATH_CF_RELOAD),
    ATH_BYTES(T, max_result_bytes, "max_result_bytes", "64m", "0..16g",
              "Most bytes of rows, as JSON, in one answer; more is refused. 0: any number.",
              .alias = "gateway.query_max_result_bytes", .flags = ATH_CF_RELOAD),
    ATH_INT(T, max_rows, "max_rows", "0", "0..100000000",
            "Most rows that a call of a function, or a SELECT of a caller who may not run SQL, may "
            "ask for. 0: any number.",
            .alias = "gateway.max_rows", .flags = ATH_CF_RELOAD),
    ATH_INT(T, pieces_above, "pieces_above", "1000", "0..1000000",
            "The rows of a call that may be more than these are sent in pieces, in bounded memory."),
    ATH_BOOL(T, get_volatile, "rpc_get_allow_volatile", "true",
             "Let GET /rpc/{function_name} call functions that are volatile, which may write.",
             .alias = "gateway.rpc_get_allow_volatile", .flags = ATH_CF_RELOAD),
};

/* Which right /gateway/query and /query/count need is known when their body was read. */
static const ath_route routes[] = {
    { .method = "POST", .path = "/gateway/query", .handle = query_gateway, .operation = "query",
      .auth = ATH_AUTH_GATEWAY, .limit = "raw_sql",
      .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS,
      .defer = query_defer, .summary = "Run SQL: one statement with parameters, or a script" },
    { .method = "POST", .path = "/query/sql", .handle = query_sql, .operation = "query",
      .auth = ATH_AUTH_EITHER, .right = "gateway.query", .limit = "raw_sql",
      .flags = ATH_RT_CLIENT | ATH_RT_DIRECT,
      .summary = "Run SQL with a driver named" },
    { .method = "POST", .path = "/gateway/sql", .handle = query_sql, .operation = "query",
      .auth = ATH_AUTH_EITHER, .right = "gateway.query", .limit = "raw_sql",
      .flags = ATH_RT_CLIENT | ATH_RT_DIRECT,
      .summary = "The same, newer name" },
    { .method = "POST", .path = "/query/count", .handle = query_count, .operation = "query",
      .auth = ATH_AUTH_GATEWAY, .limit = "raw_sql", .flags = ATH_RT_CLIENT | ATH_RT_ASKS,
      .summary = "Count the rows of a table or of a query" },
    { .method = "POST", .path = "/gateway/rpc", .handle = query_rpc, .operation = "rpc",
      .auth = ATH_AUTH_GATEWAY, .right = "gateway.rpc.execute",
      .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS,
      .summary = "Call a function of the database" },
    { .method = "GET", .path = "/rpc/{function_name}", .handle = query_rpc_get, .operation = "rpc",
      .auth = ATH_AUTH_GATEWAY, .right = "gateway.rpc.execute",
      .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS,
      .summary = "Call a function with arguments of the query string" },
    { .method = "POST", .path = "/rpc/{function_name}", .handle = query_rpc_post,
      .operation = "rpc", .auth = ATH_AUTH_GATEWAY, .right = "gateway.rpc.execute",
      .flags = ATH_RT_CLIENT | ATH_RT_DIRECT | ATH_RT_ASKS,
      .summary = "Call a function with the arguments of the body" },
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "query"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap, &query_command.cap, NULL };

ATH_PLUGIN("routes-query", "1.0.0",
           "athena.catalog@1 ?athena.cache@1 ?athena.writes@1 ?athena.deferred@1", "command.sql",
           .summary = "SQL of callers: queries, scripts, counts, functions",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct query_config), .cap = caps,
           .init = query_init);
