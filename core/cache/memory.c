/* A table of chains, cut into shards that each have a lock and a line of their entries by last use.
 *
 * What the bounds count is counted for the whole store. Whoever puts something in makes room for
 * it, from his own shard first, in one lock at a time.
 */
#include "cache/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum { SHARDS = 16, FIRST_BUCKETS = 64 };

struct shard {
    pthread_mutex_t lock;
    struct entry **bucket;
    size_t buckets, n;
    struct list used; /* the one used last is the last */
    char apart[64];
};

static struct shard shard[SHARDS];
static struct memory_limits limits;
static atomic_uint_fast64_t entries, bytes, evicted;

static uint64_t weight(const struct entry *e)
{
    return sizeof(*e) + e->n;
}

void memory_start(const struct memory_limits *l)
{
    limits = *l;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&shard[i].lock, NULL);
        shard[i].buckets = FIRST_BUCKETS;
        shard[i].bucket = mem_new(FIRST_BUCKETS * sizeof(struct entry *));
        list_init(&shard[i].used);
    }
}

static struct shard *shard_of(const struct cache_key *k)
{
    return &shard[k->w[1] % SHARDS];
}

static struct entry **place_of(struct shard *s, const struct cache_key *k)
{
    struct entry **at = &s->bucket[k->w[0] & (s->buckets - 1)];

    while (*at && !cache_key_same(&(*at)->key, k))
        at = &(*at)->next;
    return at;
}

/* Its reference goes to the caller. */
static struct entry *take_out(struct shard *s, struct entry **at)
{
    struct entry *e = *at;

    *at = e->next;
    e->next = NULL;
    list_unlink(&e->used);
    s->n--;
    atomic_fetch_sub_explicit(&entries, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&bytes, weight(e), memory_order_relaxed);
    return e;
}

static void grow(struct shard *s)
{
    size_t before = s->buckets;
    struct entry **old = s->bucket;

    s->buckets = before * 2;
    s->bucket = mem_new(s->buckets * sizeof(struct entry *));
    for (size_t i = 0; i < before; i++) {
        struct entry *next;
        for (struct entry *e = old[i]; e; e = next) {
            struct entry **at = &s->bucket[e->key.w[0] & (s->buckets - 1)];
            next = e->next;
            e->next = *at;
            *at = e;
        }
    }
    free(old);
}

struct entry *entry_new(const struct cache_key *key, ath_str text)
{
    struct entry *e = mem_try(sizeof(*e) + text.n);

    if (!e)
        return NULL;
    atomic_init(&e->refs, 1);
    e->key = *key;
    list_init(&e->used);
    e->n = text.n;
    if (text.n)
        memcpy(e->bytes, text.p, text.n);
    return e;
}

struct entry *entry_ref(struct entry *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

void entry_unref(void *arg)
{
    struct entry *e = arg;

    if (e && atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1)
        free(e);
}

struct entry *memory_get(const struct cache_key *key)
{
    struct shard *s = shard_of(key);
    struct entry *e, *dead = NULL, **at;

    pthread_mutex_lock(&s->lock);
    at = place_of(s, key);
    e = *at;
    if (e && e->dies_ms <= clock_ms()) {
        dead = take_out(s, at);
        e = NULL;
    } else if (e) {
        list_unlink(&e->used);
        list_push(&s->used, &e->used);
        entry_ref(e);
    }
    pthread_mutex_unlock(&s->lock);
    entry_unref(dead);
    return e;
}

static bool over(void)
{
    return atomic_load_explicit(&entries, memory_order_relaxed) > limits.entries ||
           atomic_load_explicit(&bytes, memory_order_relaxed) > limits.bytes;
}

static void make_room(struct shard *from)
{
    size_t first = (size_t)(from - shard);

    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &shard[(first + i) % SHARDS];
        while (over()) {
            struct entry *out = NULL;
            struct list *oldest;
            pthread_mutex_lock(&s->lock);
            if ((oldest = list_first(&s->used)))
                out = take_out(s, place_of(s, &list_entry(oldest, struct entry, used)->key));
            pthread_mutex_unlock(&s->lock);
            if (!out)
                break;
            entry_unref(out);
            atomic_fetch_add_explicit(&evicted, 1, memory_order_relaxed);
        }
    }
}

void memory_put(struct entry *e, uint64_t life_ms)
{
    struct shard *s = shard_of(&e->key);
    struct entry **at, *before = NULL;

    if (e->n > limits.entry_bytes || weight(e) > limits.bytes || limits.entries == 0)
        return;
    e->dies_ms = clock_ms() + life_ms;
    entry_ref(e);
    pthread_mutex_lock(&s->lock);
    at = place_of(s, &e->key);
    if (*at)
        before = take_out(s, at);
    if (s->n >= s->buckets)
        grow(s);
    at = &s->bucket[e->key.w[0] & (s->buckets - 1)];
    e->next = *at;
    *at = e;
    list_push(&s->used, &e->used);
    s->n++;
    atomic_fetch_add_explicit(&entries, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&bytes, weight(e), memory_order_relaxed);
    pthread_mutex_unlock(&s->lock);
    entry_unref(before);
    make_room(s);
}

void memory_stop(void)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct list *oldest;
        while ((oldest = list_first(&shard[i].used))) {
            const struct entry *e = list_entry(oldest, struct entry, used);
            entry_unref(take_out(&shard[i], place_of(&shard[i], &e->key)));
        }
        free(shard[i].bucket);
        shard[i].bucket = NULL;
        pthread_mutex_destroy(&shard[i].lock);
    }
}

void memory_read_stats(struct memory_stats *ret)
{
    ret->entries = atomic_load(&entries);
    ret->bytes = atomic_load(&bytes);
    ret->evicted = atomic_load(&evicted);
}
