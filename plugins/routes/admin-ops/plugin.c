/* routes-admin-ops: pools, vacuum, admission, the audit log, the control plane's schema, and the doctor. */
#include "admin_ops.h"

/* clang-format off */
#define ADMIN(path_, handle_, summary_) \
    { .method = "GET", .path = (path_), .handle = (handle_), .summary = (summary_), .auth = ATH_AUTH_ADMIN }

static const ath_route routes[] = {
    ADMIN("/admin/pools", pools_list, "Pools of this process: sizes, ages, roles, requests"),
    ADMIN("/admin/vacuum-health", vacuum_list, "The latest vacuum snapshot of each client"),
    ADMIN("/admin/vacuum-health/{client_name}", vacuum_detail, "A client's latest vacuum snapshot with its tables"),
    ADMIN("/admin/admission-events", admission_list, "What the admission limiter refused"),
    ADMIN("/admin/audit", audit_list, "What was changed by routes of administrators, and by whom"),
    ADMIN("/admin/doctor", doctor_show, "The operator's checklist, one verdict each"),
    { .method = "GET", .path = "/debug/schema", .handle = schema_debug, .auth = ATH_AUTH_EITHER, .right = "gateway.read",
      .limit = "schema", .summary = "Tables of the control plane, and what is missing" },
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "admin-ops"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap, &pools_command.cap, &audit_command.cap, NULL };

ATH_PLUGIN("routes-admin-ops", "1.0.0", "?athena.doctor@1",
           "command.pools command.audit",
           .summary = "Pools, vacuum health, admission, the audit log and the doctor", .cap = caps);
