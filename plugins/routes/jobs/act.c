/* What an operator may do to a job. */
#include "jobs.h"

struct act {
    ath_act a;
    const char *word;  /* for the audit log */
    const char *said;  /* message of the answer */
    const char *wrong; /* why it was not done */
};

static int acted(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct act *x = d->arg;
    struct buf b;

    if (d->rc < 0)
        return jobs_refuse(t, d->rc, e);
    if (d->count == 0)
        return admin_fail(e, "conflict", "Job not in a state for this", "job \"%.*s\" of \"%s\" %s",
                          STR_ARG(x->a.key), x->a.queue, x->wrong);
    admin_changed(t, x->word, x->a.key);
    b = admin_answer(t, x->said);
    buf_json_str(&b, "queue", str_of(x->a.queue));
    buf_json_str(&b, "key", x->a.key);
    return admin_reply(t, 200, &b);
}

static int start(ath_task *t, struct act *x, ath_err *e)
{
    int rc = ath_host_->job->act(t, &x->a, acted, x, e);

    return rc < 0 ? jobs_refuse(t, rc, e) : 0;
}

/* A job that is not there is 404, one that is over already is 409: so it is looked for first. */
static int found(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return jobs_refuse(t, d->rc, e);
    if (ath_host_->pg->count(d->rows) == 0)
        return jobs_unknown(t, e);
    return start(t, d->arg, e);
}

static int act(ath_req *r, int what, const char *word, const char *said, const char *wrong,
               ath_err *e)
{
    struct act *x = ath_new(ath_arena_of(r), sizeof(*x));
    ath_job_page p = { .size = sizeof(p), .limit = 1, .key = ath_param(r, "key") };

    int rc = jobs_queue(r, &p.queue, e);

    if (rc < 0)
        return rc;
    *x = (struct act){ .a = { .size = sizeof(x->a), .what = what, .queue = p.queue, .key = p.key },
                       .word = word,
                       .said = said,
                       .wrong = wrong };
    rc = ath_host_->job->list(r, &p, found, x, e);
    return rc < 0 ? jobs_refuse(r, rc, e) : 0;
}

/* POST /admin/jobs/{queue}/{key}/cancel */
int jobs_cancel(ath_req *r, ath_err *e)
{
    return act(r, ATH_JOB_CANCEL, "cancel_job", "Job is being canceled",
               "is over, or its queue cancels nothing", e);
}

/* POST /admin/jobs/{queue}/{key}/retry */
int jobs_retry(ath_req *r, ath_err *e)
{
    return act(r, ATH_JOB_RETRY, "retry_job", "Job waits again", "waits or runs", e);
}
