/* core/base/map.h - text to pointer, by open addressing; keys are borrowed from the values. */
#ifndef CORE_BASE_MAP_H
#define CORE_BASE_MAP_H

#include <stddef.h>

#include <athena/plugin.h>

struct map_slot {
    ath_str key;
    void *value;         /* NULL: free */
    uint32_t hash, pad;
};

struct map {
    struct map_slot *slot; /* a power of two of them */
    size_t cap, n;
};

#define MAP_EMPTY ((struct map){ 0 })

void *map_get(const struct map *m, ath_str key);            /* NULL: not there */
void *map_put(struct map *m, ath_str key, void *value);     /* what was there before, or NULL */
void *map_remove(struct map *m, ath_str key);               /* what was there, or NULL */
void map_free(struct map *m);                               /* the table, not the values */

/* The next value at or after *at, which it moves on; NULL at the end. Begin with *at = 0. */
void *map_next(const struct map *m, size_t *at);

#endif
