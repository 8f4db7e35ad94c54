/* plugins/shared/backup/enqueue.h - putting a job into the backup queue: what routes, schedules and
 * drills have in common.
 *
 * Whoever puts a job has checked what it asks for. A URI never lies in the table as it was given:
 * pg_uri, in the row and in the payload, is for people, and the whole one is sealed in a column of its
 * own, which only the worker opens.
 */
#ifndef PLUGINS_SHARED_BACKUP_ENQUEUE_H
#define PLUGINS_SHARED_BACKUP_ENQUEUE_H

#include <athena/service/secrets.h>

#include "backup/payload.h"

struct backup_order {
    struct backup_payload what;  /* pg_uri as it was given; with `sealed`: the masked one */
    ath_str sealed;              /* the whole URI as a schedule's row keeps it; empty: seal what.pg_uri */
    int64_t max_attempts;        /* 1..10 */
    int64_t schedule;            /* the id of the schedule that it is a run of; 0: none */
    ath_str unique;              /* of those that wait or run no two have the same; empty: any number */
};

/* The statement that puts the job, for who has a transaction of his own; its row is BACKUP_ORDER_ID and
 * BACKUP_ORDER_NEW. Once it is committed the queue is woken: ath_host_->job->wake(BACKUP_QUEUE). */
enum { BACKUP_ORDER_PARAMS = 13 };
enum {
    BACKUP_ORDER_ID,
    BACKUP_ORDER_NEW             /* "f": it was there already, by its `unique` */
};
extern const char backup_order_sql[];
void backup_order_params(ath_arena *a, const ath_secrets *secrets, const struct backup_order *o,
                         ath_str param[BACKUP_ORDER_PARAMS]);

/* The usual way: puts it and wakes the queue. An operation; d->rows: as above. */
int backup_enqueue(ath_task *t, const ath_secrets *secrets, const struct backup_order *o,
                   ath_then *then, void *arg, ath_err *e);

#endif
