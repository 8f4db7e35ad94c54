/* athena/service/writes.h - "athena.writes@1": writes that were acknowledged and are still on their
 * way to a client's database (deferred_writes).
 *
 * Whoever writes at once asks for what is buffered to be written first, so that nothing is overtaken.
 */
#ifndef ATHENA_SERVICE_WRITES_H
#define ATHENA_SERVICE_WRITES_H

#include <athena/plugin.h>
#include <athena/service/cache.h>

typedef struct {
    uint32_t size, pad;
    /* What was buffered for these relations of the task's client (none: for any of them) before this
     * call has been tried. Returns 1: nothing is buffered; 0: `then` runs when it was, with d->rc < 0
     * when the database could not be reached; negative: as any operation. */
    int (*settle)(ath_task *t, const ath_relation_name *relation, uint32_t n, ath_then *then,
                  void *arg, ath_err *e);
} ath_writes;

#endif
