/* core/jobs/list.h - the jobs of a queue as operators read them (ath_job_api.list).
 *
 * One statement per page, made from the queue's description; what the description does not name is
 * null. A page follows the last one by its last key, so that none is seen twice while jobs come in.
 */
#ifndef CORE_JOBS_LIST_H
#define CORE_JOBS_LIST_H

#include "io/task.h"

struct buf;

/* The statement for a page, without its values; those are given in the order that `ret` says. */
struct list_sql {
    uint32_t params;
    ath_str param[5];
};
int list_make(struct buf *b, const ath_queue *q, const ath_job_page *p, struct list_sql *ret,
              ath_err *e);

void depth_make(struct buf *b, const ath_queue *q);

/* ath_job_api. < 0: there is no such queue, or the page asks for what it has not. */
int jobs_list(ath_task *t, const ath_job_page *p, ath_then *then, void *arg, ath_err *e);
int jobs_depth(ath_task *t, const char *queue, ath_then *then, void *arg, ath_err *e);

/* An array of one object per queue that is known here: queue, table. Any thread. */
void jobs_queues_json(struct buf *b);

#endif
