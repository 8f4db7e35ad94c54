/* plugins/routes/jobs/jobs.h - the jobs of every family for operators: how many wait, what became of
 * one, and what may be done about it.
 *
 * The families have routes of their own, with the words of their tables. These have the same words
 * for all of them: a job is waiting, running, done, dead or canceled.
 */
#ifndef ROUTES_JOBS_H
#define ROUTES_JOBS_H

#include "admin/admin.h"

ath_handler jobs_queues, jobs_list, jobs_show, jobs_events; /* look.c */
ath_handler jobs_cancel, jobs_retry;                        /* act.c */
ath_handler jobs_redrive;                                   /* redrive.c */

/* The queue that the path names, as long as the request; < 0: there is none, 404. look.c */
int jobs_queue(ath_req *r, const char **ret, ath_err *e);
int jobs_unknown(ath_req *r, ath_err *e); /* the 404 of a job */
/* An operation on jobs failed with `rc`: what that means to an operator. */
int jobs_refuse(ath_req *r, int rc, ath_err *e);

/* command.c */
extern const ath_command list_command, show_command, cancel_command, retry_command, follow_command;
extern const ath_command redrive_command; /* redrive.c */

extern const char openapi_yaml[]; /* openapi.yaml */

#endif
