/* core/cache/cache_priv.h - what the files of this room tell each other. */
#ifndef CORE_CACHE_CACHE_PRIV_H
#define CORE_CACHE_CACHE_PRIV_H

#include "cache/cache.h"

struct buf;

enum { CACHE_OUTCOMES = ATH_CACHE_BYPASSED + 1 };

struct cache_counts {            /* since the start */
    uint64_t outcome[CACHE_OUTCOMES], changes, changes_all, stored, shared;
};
void cache_read_counts(struct cache_counts *ret);

void cache_metrics(struct buf *b, void *arg); /* a metric_writer */

#endif
