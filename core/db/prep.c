/* A hash table of what one connection has prepared, and the order of use. */
#include "db/prep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/rows.h"
#include "lib/banned.h"

static uint64_t mix(uint64_t h, uint64_t v)
{
    __uint128_t m = (__uint128_t)(h ^ v) * 0x9e3779b97f4a7c15u;

    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Sixteen bytes a step; statement texts have some hundred. */
static uint64_t mix_bytes(uint64_t h, const char *p, size_t n)
{
    uint64_t v[2];

    for (; n >= 16; p += 16, n -= 16) {
        __uint128_t m;
        memcpy(v, p, 16);
        m = (__uint128_t)(h ^ v[0]) * (v[1] ^ 0x9e3779b97f4a7c15u);
        h = (uint64_t)m ^ (uint64_t)(m >> 64);
    }
    v[0] = v[1] = 0;
    memcpy(v, p, n);
    return mix(mix(h, v[0]), v[1] ^ (uint64_t)n << 56);
}

uint64_t prep_hash(const struct trip_stmt *s, uint64_t seed)
{
    uint64_t h = mix_bytes(seed ^ 0x61746865u, s->sql, s->sql_n);

    h = mix(h, s->n | (uint64_t)(s->type != NULL) << 32);
    return s->type ? mix_bytes(h, (const char *)s->type, s->n * sizeof(*s->type)) : h;
}

void prep_init(struct prep_table *t, uint64_t max)
{
    uint32_t buckets = 16;

    *t = (struct prep_table){ .max = max > 65536 ? 65536 : (uint32_t)max };
    while (buckets < t->max)
        buckets *= 2;
    t->bucket = mem_new(buckets * sizeof(struct prep *));
    t->mask = buckets - 1;
    list_init(&t->lru);
}

static bool same(const struct prep *p, const struct trip_stmt *s)
{
    return p->hash == s->hash && p->n == s->n && (p->type != NULL) == (s->type != NULL) &&
           strcmp(p->sql, s->sql) == 0 &&
           (!p->type || memcmp(p->type, s->type, s->n * sizeof(*s->type)) == 0);
}

struct prep *prep_find(struct prep_table *t, const struct trip_stmt *s)
{
    for (struct prep *p = t->bucket[s->hash & t->mask]; p; p = p->next)
        if (same(p, s)) {
            if (t->lru.prev != &p->lru) {
                list_unlink(&p->lru);
                list_push(&t->lru, &p->lru);
            }
            return p;
        }
    return NULL;
}

struct prep *prep_add(struct prep_table *t, const struct trip_stmt *s)
{
    size_t sql_n = s->sql_n + 1, type_n = s->type ? s->n * sizeof(*s->type) : 0;
    struct prep *p = mem_new(sizeof(*p) + sql_n + type_n + _Alignof(uint32_t)), **at;

    p->hash = s->hash;
    p->n = s->n;
    memcpy(p->sql, s->sql, sql_n);
    if (s->type) {
        size_t from = (sql_n + _Alignof(uint32_t) - 1) & ~(_Alignof(uint32_t) - 1);
        p->type = (uint32_t *)(void *)(p->sql + from);
        memcpy(p->type, s->type, type_n);
    }
    (void)snprintf(p->name, sizeof(p->name), "a%016llx_%x", (unsigned long long)s->hash,
                   t->serial++);
    at = &t->bucket[s->hash & t->mask];
    p->next = *at;
    *at = p;
    list_push(&t->lru, &p->lru);
    t->count++;
    return p;
}

static void prep_delete(struct prep *p)
{
    shape_unref(p->shape);
    free(p);
}

void prep_forget(struct prep_table *t, struct prep *p)
{
    struct prep **at = &t->bucket[p->hash & t->mask];

    if (p->forgotten)
        return;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    list_unlink(&p->lru);
    t->count--;
    p->forgotten = true;
    if (p->uses == 0)
        prep_delete(p);
}

void prep_unuse(struct prep *p)
{
    if (--p->uses == 0 && p->forgotten)
        prep_delete(p);
}

struct prep *prep_spare(struct prep_table *t)
{
    t->sparing = t->count >= t->max || (t->sparing && t->count > t->max - t->max / 8);
    if (!t->sparing || t->count == 0)
        return NULL;
    list_each (node, next, &t->lru) {
        struct prep *p = list_entry(node, struct prep, lru);
        if (p->uses == 0) {
            prep_use(p);
            prep_forget(t, p);
            return p;
        }
    }
    return NULL;
}

void prep_forget_all(struct prep_table *t)
{
    while (!list_empty(&t->lru))
        prep_forget(t, list_entry(t->lru.next, struct prep, lru));
}

void prep_free(struct prep_table *t)
{
    if (!t->bucket)
        return;
    prep_forget_all(t);
    free(t->bucket);
    t->bucket = NULL;
}
