/* routes-jobs: /admin/jobs and `athena jobs`. */
#include "jobs.h"

/* clang-format off */
#define JOBS(method_, path_, handle_, summary_) \
    { .method = (method_), .path = (path_), .handle = (handle_), .summary = (summary_), .auth = ATH_AUTH_ADMIN, \
      .down = "Job queues unavailable" }

static const ath_route routes[] = {
    JOBS("GET", "/admin/jobs", jobs_queues, "The queues, and how many jobs are in which state"),
    JOBS("GET", "/admin/jobs/{queue}", jobs_list, "Jobs of a queue, the newest first"),
    JOBS("GET", "/admin/jobs/{queue}/{key}", jobs_show, "One job, with what happened to it"),
    JOBS("GET", "/admin/jobs/{queue}/{key}/events", jobs_events, "What happened to a job since an event"),
    JOBS("POST", "/admin/jobs/{queue}/redrive", jobs_redrive, "Let dead jobs wait again, many by a filter"),
    JOBS("POST", "/admin/jobs/{queue}/{key}/cancel", jobs_cancel, "Cancel a job, waiting or running"),
    JOBS("POST", "/admin/jobs/{queue}/{key}/retry", jobs_retry, "Let a job that is over wait again, with all attempts"),
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "jobs"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = {
    &group.cap,          &list_command.cap,  &show_command.cap,
    &cancel_command.cap, &retry_command.cap, &redrive_command.cap,
    &follow_command.cap, NULL,
};

ATH_PLUGIN("routes-jobs", "1.0.0", "", "command.jobs",
           .summary = "Jobs of all families: list, show, cancel, retry, redrive", .cap = caps);
