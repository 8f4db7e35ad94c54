/* athena/service/cluster.h - "athena.cluster@1": how the servers beside this one are.
 *
 * Mirrors are what `cluster.mirrors` and the active rows of the control plane's cluster_mirrors name;
 * none is ever assumed. They are probed in the background while somebody asks, in rounds that
 * everybody shares, so an answer is from memory. Only who asks when there was no round for a while (the first
 * caller after the start) waits for one, which takes 5 s at most.
 */
#ifndef ATHENA_SERVICE_CLUSTER_H
#define ATHENA_SERVICE_CLUSTER_H

#include <athena/task.h>

/* clang-format off */

typedef struct {
    uint32_t size, pad;
    /* d->bytes: an array of one object per mirror, in their order, as GET /health/cluster shows them.
     * `flags` is 0. */
    ATH_OP(mirrors, uint32_t flags);
} ath_cluster_api;

/* clang-format on */
#endif
