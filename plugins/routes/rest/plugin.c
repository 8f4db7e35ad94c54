/* routes-rest: tables as resources, by query string. */
#include "rest.h"

#define T struct rest_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_INT(T, max_rows, "max_rows", "0", "0..100000000",
            "Most rows that one read may ask for; a larger limit is refused. 0: any number.",
            .alias = "gateway.max_rows", .flags = ATH_CF_RELOAD),
    ATH_INT(T, pieces_above, "pieces_above", "1000", "0..1000000",
            "A read that may have more rows than these is sent in pieces, in bounded memory."),
    ATH_MSEC(T, query_timeout_ms, "query_timeout", "30s", "10ms..1h",
             "How long one statement may run.",
             .alias = "gateway.resilience_timeout_secs", .flags = ATH_CF_RELOAD),
    ATH_BOOL(T, fold_names, "force_camel_case_to_snake_case", "false",
             "Turn camelCase column names of requests into snake_case.",
             .alias = "gateway.force_camel_case_to_snake_case", .flags = ATH_CF_RELOAD),
};

#define ROUTE(method_, handle_, operation_, summary_) \
    { .method = (method_), .path = "/rest/v1/{table}", .handle = (handle_), \
      .operation = (operation_), .auth = ATH_AUTH_GATEWAY, \
      .flags = ATH_RT_CLIENT | ATH_RT_ASKS, .summary = (summary_) }

static const ath_route routes[] = {
    ROUTE("GET", rest_get, "fetch", "Read rows: filters, relations, order, pages, count"),
    ROUTE("POST", rest_post, "insert", "Insert rows, or merge them with what is there"),
    ROUTE("PATCH", rest_patch, "update", "Update the rows that the filters mean"),
    ROUTE("DELETE", rest_delete, "delete", "Delete the rows that the filters mean"),
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "rest"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap, NULL };

int rest_init(ath_self *s, const void *config, void **ret_state, ath_err *e)
{
    static struct rest_state state;

    (void)config;
    *ret_state = &state;
    state.writes = ath_host_->service(s, "athena.writes", 1);
    return dp_services(s, &state.catalog, &state.cache, e);
}

struct dp rest_dp(ath_req *r, ath_err *e)
{
    const struct rest_config *cfg = ath_config_of(r);
    const struct rest_state *s = ath_state_of(r);

    return (struct dp){ .arena = ath_arena_of(r),
                        .e = e,
                        .catalog = s->catalog,
                        .fold = cfg->fold_names,
                        .code = "invalid_fetch_condition",
                        .select_code = "undefined_column",
                        .table_code = "invalid_schema_table_selector" };
}

int rest_prefer(ath_req *r, struct dp *dp, struct dp_prefer *ret)
{
    const ath_pair *pair;
    uint32_t n = ath_host_->req->pairs(r, "header", &pair);
    int rc = 0;

    *ret = (struct dp_prefer){ 0 };
    for (uint32_t i = 0; i < n && rc == 0; i++)
        if (str_is(pair[i].name, "prefer"))
            rc = dp_read_prefer(dp, pair[i].value, ret);
    if (rc == 0 && ret->applied.n)
        ath_host_->req->set(r, "preference-applied", buf_view(&ret->applied));
    return rc;
}

void rest_named(ath_req *r, ath_str table)
{
    dp_note(r, "table_name", table, ATH_V_TEXT);
}

ATH_PLUGIN("routes-rest", "1.0.0", "athena.catalog@1 ?athena.cache@1 ?athena.writes@1", "",
           .summary = "Tables as resources: /rest/v1/{table}", ATH_ARRAY(field, fields),
           .config_size = sizeof(struct rest_config), .cap = caps, .init = rest_init);
