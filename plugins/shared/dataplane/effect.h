/* plugins/shared/dataplane/effect.h - a request that writes.
 *
 *     read, bind   as of every question (ask.h)
 *     the database does it, and it is committed
 *     say          the answer, from its rows
 *     the cache    learns what has changed; nobody is answered before
 *     the reply
 *
 * With an Idempotency-Key what is done and what is said are kept together (once.h); `say` then
 * comes before the commit.
 *
 * The struct lives in the request's arena, first member of what the route needs besides.
 */
#ifndef PLUGINS_SHARED_DATAPLANE_EFFECT_H
#define PLUGINS_SHARED_DATAPLANE_EFFECT_H

#include <athena/service/cache.h>
#include <athena/service/writes.h>

#include "dataplane/ask.h"
#include "dataplane/once.h"

struct dp_effect {
    struct dp_ask ask;      /* first; its `answer` and `send` are set by dp_effect_bound() */
    const ath_cache *cache; /* NULL: nobody keeps answers */
    const ath_writes *writes; /* NULL: none are deferred */
    int (*say)(ath_req *r, struct dp_effect *x, const ath_rows *rows, ath_err *e);
    int status;       /* set by `say`, and the next two; 0: 200 */
    const char *type; /* NULL: JSON */
    ath_str reply;
    /* set by `read` or `bind` */
    ath_str also; /* what must be the same besides the body when its key comes again */
    const ath_relation_name *changed; /* none: anything may have */
    uint32_t changes;
    bool harmless; /* nothing has changed */
    bool framed;   /* its first and last statements are BEGIN and COMMIT */
    struct dp_once once;
    dp_ask_step *after; /* inside: how it is sent when what was deferred is done */
};

/* In `bind`: which way its query goes. */
int dp_effect_bound(ath_req *r, struct dp_effect *x, ath_err *e);

/* Behind it: it is sent in another way. What others have deferred comes before it in any case. */
void dp_effect_send(struct dp_effect *x, dp_ask_step *send);

/* It is committed and `reply` is made: the cache and the caller are told. For what is sent in
 * another way. */
int dp_effect_done(ath_req *r, struct dp_effect *x, ath_err *e);

#endif
