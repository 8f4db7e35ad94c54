/* routes-pipelines: rows of one table, changed a little, into another one. */
#include "pipelines.h"

#define T struct pipelines_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_INT(T, max_rows, "max_rows", "10000", "1..1000000",
            "Most rows of one run. A source without a limit that has more is refused, never cut short.",
            .flags = ATH_CF_RELOAD),
    ATH_BYTES(T, max_bytes, "max_bytes", "16m", "64k..256m",
              "Most bytes that one run reads; it holds a few times as much in memory.", .flags = ATH_CF_RELOAD),
};

static const ath_metric metrics[] = {
    [METRIC_LOST] = { "athena_pipeline_steps_lost_total", NULL, "Runs whose rows of pipeline_step_log could not be written.", ATH_M_COUNTER, 0 },
};

#define DATA(path_, handle_, summary_, ...) \
    { .method = "POST", .path = (path_), .handle = (handle_), .summary = (summary_), .auth = ATH_AUTH_GATEWAY, __VA_ARGS__ }
#define ADMIN(method_, path_, handle_, summary_) \
    { .method = (method_), .path = (path_), .handle = (handle_), .summary = (summary_), .auth = ATH_AUTH_ADMIN }

static const ath_route routes[] = {
    DATA("/pipelines", pipelines_run, "Runs a pipeline: rows of one table into another", .operation = "pipeline"),
    DATA("/pipelines/simulate", pipelines_simulate, "Shows what a pipeline would write", .operation = "pipeline"),
    DATA("/pipelines/sink", pipelines_sink, "May the caller write into a table? What a run asks first",
         .flags = ATH_RT_CLIENT | ATH_RT_ASKS),
    { .method = "GET", .path = "/pipelines/templates", .handle = templates_list, .summary = "Pipelines that have a name",
      .auth = ATH_AUTH_EITHER, .right = "gateway.read" },
    ADMIN("GET", "/admin/pipeline-templates", store_list, "Pipelines that have a name, and where they stand"),
    ADMIN("GET", "/admin/pipeline-templates/{template_name}", store_get, "One of them"),
    ADMIN("PUT", "/admin/pipeline-templates/{template_name}", store_put, "Stores one"),
    ADMIN("DELETE", "/admin/pipeline-templates/{template_name}", store_delete, "Removes one"),
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "pipelines"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap, &pipeline_command.cap, NULL };

ATH_PLUGIN("routes-pipelines", "1.0.0", "", "command.pipeline",
           .summary = "Rows of one table into another", ATH_ARRAY(field, fields),
           .config_size = sizeof(struct pipelines_config), ATH_ARRAY(metric, metrics), .cap = caps);
