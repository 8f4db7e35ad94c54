/* ath_job_api: what a job asks of the engine, and what routes do to jobs. */
#include "jobs/jobs.h"
#include "jobs/list.h"

#include "plugin/abi.h"
#include "plugin/host.h"

static int act(ath_task *t, const ath_act *a, ath_then *then, void *arg, ath_err *e)
{
    ath_act ours;

    abi_copy(&ours, sizeof(ours), a, a->size);
    return jobs_act(t, &ours, then, arg, e);
}

static int list(ath_task *t, const ath_job_page *p, ath_then *then, void *arg, ath_err *e)
{
    ath_job_page ours;

    abi_copy(&ours, sizeof(ours), p, p->size);
    return jobs_list(t, &ours, then, arg, e);
}

static int put(ath_task *t, const ath_put *p, ath_then *then, void *arg, ath_err *e)
{
    ath_put ours;

    abi_copy(&ours, sizeof(ours), p, p->size);
    return jobs_put(t, &ours, then, arg, e);
}

static int redrive(ath_task *t, const ath_redrive *r, ath_then *then, void *arg, ath_err *e)
{
    ath_redrive ours;

    abi_copy(&ours, sizeof(ours), r, r->size);
    return jobs_redrive(t, &ours, then, arg, e);
}

const ath_job_api host_job = {
    .size = sizeof(host_job),
    .key = job_key,
    .args = job_args,
    .attempt = job_attempt,
    .progress = job_progress,
    .wake = jobs_wake,
    .act = act,
    .list = list,
    .depth = jobs_depth,
    .put = put,
    .redrive = redrive,
};
