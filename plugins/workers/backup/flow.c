#include "flow.h"

#include <stdbool.h>

static int end(ath_task *t)
{
    ath_host_->task->done(t, NULL);
    return 0;
}

static void move(struct flow *f, bool on)
{
    f->step = f->jump ? f->jump : f->step + on;
    f->jump = NULL;
}

int flow_run(ath_task *t, struct flow *f, ath_err *e)
{
    for (; f->step->begin; move(f, true)) {
        int rc = f->step->begin(t, f, e);
        if (rc == FLOW_END)
            return end(t);
        if (rc != FLOW_NEXT)
            return rc;
    }
    return end(t);
}

int flow_then(ath_task *t, const ath_done *d, ath_err *e)
{
    struct flow *f = d->arg;
    int rc = f->step->took ? f->step->took(t, f, d, e) : d->rc;

    if (rc < 0)
        return rc;
    if (rc == FLOW_END)
        return end(t);
    move(f, rc != FLOW_AGAIN);
    return flow_run(t, f, e);
}
