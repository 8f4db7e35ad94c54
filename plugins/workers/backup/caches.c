/* Answers that were kept of a database are of the one that it was. Which clients lead to it is not
 * known here, so all are told; those that do not lose nothing but answers that are asked for again.
 */
#include "restore.h"

#include <athena/service/cache.h>

#include "lib/jsonread.h"

enum { NAMES = 100000 };

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)d, (void)e;
    ath_host_->task->done(t, NULL);
    return 0;
}

static int tell(ath_task *t, void *arg, ath_err *e)
{
    const ath_cache *cache = arg;

    return cache->changed(t, NULL, 0, told, NULL, e) == 0 ? 0 : told(t, NULL, e);
}

int caches_tell(ath_task *t, ath_then *then, void *arg, ath_err *e)
{
    const ath_cache *cache = backup_services.cache;
    struct json_error why;
    const struct json *names;
    ath_fork own = { .size = sizeof(own), .run = tell, .arg = (void *)(uintptr_t)cache };

    if (!cache)
        return FLOW_NEXT;
    names = json_read(backup_services.clients->names(ath_arena_of(t)), JSON_ARENA(ath_arena_of(t)),
                      NAMES, &why);
    for (const struct json *n = names ? names->first : NULL; n; n = n->next) {
        ath_fork f = own;
        f.client = json_text(n);
        ath_host_->task->begin(ath_self_, &f);
    }
    return ath_host_->task->fork(t, &own, then, arg, e);
}
