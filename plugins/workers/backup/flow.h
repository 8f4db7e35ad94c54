/* plugins/workers/backup/flow.h - a job as a row of steps, each of one operation.
 *
 *     static const struct flow_step steps[] = { { ask_target, took_target }, { make }, { NULL } };
 *
 * `begin` starts an operation with flow_then and the flow as its argument, or says FLOW_NEXT: there is
 * nothing to do. `took` is given how it ended, failed or not; without one a failure ends the flow.
 * Behind the last step the flow's task is done.
 */
#ifndef WORKERS_BACKUP_FLOW_H
#define WORKERS_BACKUP_FLOW_H

#include <athena/plugin.h>

struct flow;

enum {
    FLOW_NEXT = 1,               /* the next step, or the jump */
    FLOW_AGAIN = 2,              /* of `took`: this step once more */
    FLOW_END = 3                 /* the steps behind it are not needed */
};

struct flow_step {
    int (*begin)(ath_task *t, struct flow *f, ath_err *e);
    int (*took)(ath_task *t, struct flow *f, const ath_done *d, ath_err *e); /* 0: the next step */
};

struct flow {                    /* first member of what the steps share */
    const struct flow_step *step;
    const struct flow_step *jump; /* set by begin or took: the steps to go on with, from their first */
};

int flow_run(ath_task *t, struct flow *f, ath_err *e);
ath_then flow_then;

#endif
