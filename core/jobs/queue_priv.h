/* core/jobs/queue_priv.h - statements of a queue that are made elsewhere than in queue.c. */
#ifndef CORE_JOBS_QUEUE_PRIV_H
#define CORE_JOBS_QUEUE_PRIV_H

#include "jobs/queue.h"
#include "jobs/words.h"

/* queueact.c: what operators do. */
const char *queue_make_cancel(const struct maker *m);
const char *queue_make_revive(const struct maker *m);
const char *queue_make_retry(const struct maker *m, const char *revive);

#endif
