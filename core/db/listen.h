/* core/db/listen.h - notifications of a database, fanned out to the tasks that asked for them.
 *
 * Per client and loop there is one connection, outside of the pool, that LISTENs on the channels
 * that somebody wants; it is opened with the first and closed with the last, and opened again at
 * growing intervals when it is lost. What a channel brings while its task does something else is
 * kept for its next call, up to LISTEN_KEPT bytes; beyond that, and whenever LISTEN takes effect
 * (the first time, and after each reconnect), the task is told by an empty array that some may be
 * missed.
 */
#ifndef CORE_DB_LISTEN_H
#define CORE_DB_LISTEN_H

#include "db/db_priv.h"

enum { LISTEN_KEPT = 262144, CHANNEL_ROOM = 64 };

/* ath_pg_api.listen on this client. */
int listen_start(struct db_client *c, ath_task *t, ath_str channel, ath_then *then, void *arg,
                 ath_err *e);
/* Of a task that has called it: counts on from now how often that channel stopped being heard, as soon
 * as that is known. It must live until the task's wish does: until the task is over. */
void listen_count_losses(struct db_client *c, ath_task *t, ath_str channel, atomic_uint *losses);
void listen_retarget(struct db_client *c, ath_loop *l); /* it has another target now; posted */
void listen_shut(struct db_client *c, ath_loop *l);     /* until it is retargeted; posted */
void listen_close_all(struct db_loop *on);

#endif
