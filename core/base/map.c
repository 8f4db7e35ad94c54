/* Open addressing with linear probing; removal shifts the run back, so there are no tombstones. */
#include "base/map.h"

#include <stdlib.h>

#include "base/mem.h"
#include "lib/text.h"

static struct map_slot *slot_of(const struct map *m, ath_str key, uint32_t hash)
{
    size_t i = hash & (m->cap - 1);

    while (m->slot[i].value && !(m->slot[i].hash == hash && str_eq(m->slot[i].key, key)))
        i = (i + 1) & (m->cap - 1);
    return &m->slot[i];
}

void *map_get(const struct map *m, ath_str key)
{
    return m->n ? slot_of(m, key, str_hash(key))->value : NULL;
}

static void grow(struct map *m)
{
    struct map bigger = { .cap = m->cap ? m->cap * 2 : 16 };

    bigger.slot = mem_new(bigger.cap * sizeof(*bigger.slot));
    for (size_t i = 0; i < m->cap; i++)
        if (m->slot[i].value)
            *slot_of(&bigger, m->slot[i].key, m->slot[i].hash) = m->slot[i];
    bigger.n = m->n;
    free(m->slot);
    *m = bigger;
}

void *map_put(struct map *m, ath_str key, void *value)
{
    uint32_t hash = str_hash(key);
    struct map_slot *s;
    void *before;

    if (m->n * 4 >= m->cap * 3)
        grow(m);
    s = slot_of(m, key, hash);
    before = s->value;
    *s = (struct map_slot){ .key = key, .value = value, .hash = hash };
    m->n += before == NULL;
    return before;
}

void *map_remove(struct map *m, ath_str key)
{
    struct map_slot *s = m->n ? slot_of(m, key, str_hash(key)) : NULL;
    void *before = s ? s->value : NULL;
    size_t hole, i;

    if (!before)
        return NULL;
    hole = i = (size_t)(s - m->slot);
    for (;;) {
        size_t home;
        i = (i + 1) & (m->cap - 1);
        if (!m->slot[i].value)
            break;
        home = m->slot[i].hash & (m->cap - 1);
        if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
            m->slot[hole] = m->slot[i];
            hole = i;
        }
    }
    m->slot[hole] = (struct map_slot){ .value = NULL };
    m->n--;
    return before;
}

void map_free(struct map *m)
{
    free(m->slot);
    *m = MAP_EMPTY;
}

void *map_next(const struct map *m, size_t *at)
{
    while (*at < m->cap) {
        void *value = m->slot[(*at)++].value;
        if (value)
            return value;
    }
    return NULL;
}
