/* Keys in memory: shards by their ids, each behind a lock that is held for a look and nothing else.
 *
 * A shard has two lists, last used first. Keys whose secret was shown are kept and read again with
 * every round; what is missing, and keys whose secret nobody has shown, are forgotten after a
 * second: so both look the same to somebody who tries, and none of it pushes out keys in use
 * (D-23).
 *
 * A loop that knows a key from its last requests does not look here (known.h), so the order of a
 * list is a hint: what is pushed out is the one of a few at its end that was used longest ago.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "auth/store_priv.h"
#include "base/clock.h"
#include "base/mem.h"
#include "lib/json.h"
#include "lib/text.h"

enum { ENDS = 8 };

struct entry {
    struct list node;
    struct auth_key *key; /* NULL: there is none of that id */
    bool proven;          /* it is in that list */
    uint64_t seq;         /* of the reading that it comes from */
    uint64_t asked;       /* the last round that asked for it */
    uint64_t read_ms;
    uint32_t id_n;
    char id[];
};

static struct shard {
    pthread_mutex_t lock;
    struct map map;
    struct list proven, others;
    uint32_t proven_n, others_n;
} shards[SHARDS];

void shards_start(void)
{
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&shards[i].lock, NULL);
        list_init(&shards[i].proven);
        list_init(&shards[i].others);
    }
}

/* Whoever chooses ids for one shard fills its list of others, and nobody else's. */
static struct shard *shard_of(ath_str id)
{
    unsigned last = id.n ? (unsigned char)id.p[id.n - 1] : 0;
    unsigned middle = id.n ? (unsigned char)id.p[id.n / 2] : 0;

    return &shards[(last * 5 + middle) % SHARDS];
}

static void entry_unlink(struct shard *s, struct entry *e)
{
    list_unlink(&e->node);
    if (e->proven)
        s->proven_n--;
    else
        s->others_n--;
}

static void entry_link(struct shard *s, struct entry *e, bool proven)
{
    e->proven = proven;
    list_push_front(proven ? &s->proven : &s->others, &e->node);
    if (proven)
        s->proven_n++;
    else
        s->others_n++;
}

static bool is_proven(const struct auth_key *k)
{
    return k && atomic_load_explicit(&k->proven, memory_order_relaxed);
}

static void forget(struct shard *s, struct entry *e)
{
    entry_unlink(s, e);
    map_remove(&s->map, str_from(e->id, e->id_n));
    if (is_proven(e->key)) /* loops have seen it */
        store_moved();
    auth_key_release(e->key);
    free(e);
}

static void forget_list(struct shard *s, struct list *l)
{
    list_each (node, next, l)
        forget(s, list_entry(node, struct entry, node));
}

static void move_up(struct shard *s, struct entry *e)
{
    entry_unlink(s, e);
    entry_link(s, e, true);
}

/* Under the lock: its place in the lists, and whether it still counts. */
static bool touch(struct shard *s, struct entry *e)
{
    if (unlikely(!e->proven && !is_proven(e->key)))
        return clock_ms() - e->read_ms < OTHERS_MS;
    if (e->node.prev != &s->proven)
        move_up(s, e);
    return true;
}

const struct auth_key *store_find(ath_str public_id, bool *ret_missing)
{
    struct shard *s = shard_of(public_id);
    struct auth_key *k = NULL;
    struct entry *e;

    *ret_missing = public_id.n > ID_MOST;
    if (unlikely(*ret_missing || store_lost()))
        return NULL;
    pthread_mutex_lock(&s->lock);
    e = map_get(&s->map, public_id);
    if (likely(e && touch(s, e))) {
        k = e->key;
        *ret_missing = k == NULL;
        if (likely(k != NULL))
            auth_key_hold(k);
    }
    pthread_mutex_unlock(&s->lock);
    return k;
}

static uint64_t used_of(const struct entry *e)
{
    return e->key ? atomic_load_explicit(&e->key->used_ms, memory_order_relaxed) : 0;
}

/* Of a few at the end of the list. */
static struct entry *least_used(struct shard *s)
{
    struct list *at = s->proven.prev;
    struct entry *least = list_entry(at, struct entry, node);

    for (int i = 1; i < ENDS && (at = at->prev) != &s->proven; i++) {
        struct entry *e = list_entry(at, struct entry, node);
        if (used_of(e) < used_of(least))
            least = e;
    }
    return least;
}

/* One whose secret was just shown is still among the others. */
static void make_room(struct shard *s)
{
    struct entry *last = list_entry(s->others.prev, struct entry, node);

    if (s->others_n >= OTHERS_MOST / SHARDS && is_proven(last->key))
        move_up(s, last);
    else if (s->others_n >= OTHERS_MOST / SHARDS)
        forget(s, last);
    if (s->proven_n >= PROVEN_MOST / SHARDS)
        forget(s, least_used(s));
}

static struct entry *entry_new(struct shard *s, ath_str id)
{
    struct entry *e = mem_new(sizeof(*e) + id.n + 1);

    make_room(s);
    list_init(&e->node);
    memcpy(e->id, id.p, id.n);
    e->id_n = (uint32_t)id.n;
    entry_link(s, e, false);
    map_put(&s->map, str_from(e->id, e->id_n), e);
    return e;
}

/* What was known of the same secret goes on. */
static void take_over(struct auth_key *k, struct auth_key *before)
{
    if (!before)
        return;
    atomic_store(&k->used_ms, atomic_load(&before->used_ms));
    atomic_store(&k->written_ms, atomic_load(&before->written_ms));
    atomic_store(&k->doubted_ms, atomic_load(&before->doubted_ms));
    if (!str_eq(k->salt, before->salt) || !str_eq(k->hash, before->hash))
        return;
    atomic_store(&k->fits[0], atomic_load(&before->fits[0]));
    atomic_store(&k->fits[1], atomic_load(&before->fits[1]));
    atomic_store(&k->proven, atomic_load(&before->proven));
}

/* `k` NULL: there is none. A reading that began earlier than what is known says nothing. */
static void put(ath_str id, struct auth_key *k, uint64_t seq)
{
    struct shard *s = shard_of(id);
    struct auth_key *before = k;
    struct entry *e;

    pthread_mutex_lock(&s->lock);
    e = map_get(&s->map, id);
    if (!e)
        e = entry_new(s, id);
    if (e->seq < seq) {
        before = e->key;
        if (k)
            take_over(k, before);
        e->key = k;
        e->seq = seq;
        e->read_ms = clock_ms();
        entry_unlink(s, e);
        entry_link(s, e, is_proven(k));
    }
    pthread_mutex_unlock(&s->lock);
    if (before != k && is_proven(before))
        store_moved();
    auth_key_release(before);
}

void memory_key(struct auth_key *k, uint64_t seq)
{
    put(k->public_id, k, seq);
}

void memory_missing(ath_str public_id, uint64_t seq)
{
    put(public_id, NULL, seq);
}

bool memory_has(ath_str public_id, const uint64_t row[2], uint64_t seq)
{
    struct shard *s = shard_of(public_id);
    struct entry *e;
    bool same;

    pthread_mutex_lock(&s->lock);
    e = map_get(&s->map, public_id);
    same = e && e->key && memcmp(e->key->row, row, sizeof(e->key->row)) == 0;
    if (same && e->seq < seq) {
        e->seq = seq;
        e->read_ms = clock_ms();
    }
    pthread_mutex_unlock(&s->lock);
    return same;
}

/* ---- now and then ---- */

static bool is_idle(const struct entry *e, uint64_t now)
{
    return now - atomic_load_explicit(&e->key->used_ms, memory_order_relaxed) >= IDLE_MS;
}

static void add_id(struct buf *json, struct entry *e, uint64_t seq)
{
    if (json->n > 1)
        buf_char(json, ',');
    buf_json(json, str_from(e->id, e->id_n));
    e->asked = seq;
}

void memory_ids(struct buf *json, uint64_t seq)
{
    uint64_t now = clock_ms();

    buf_char(json, '[');
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &shards[i];
        pthread_mutex_lock(&s->lock);
        list_each (node, next, &s->others) {
            struct entry *e = list_entry(node, struct entry, node);
            if (!is_proven(e->key) && now - e->read_ms >= OTHERS_MS)
                forget(s, e);
            else if (e->key)
                add_id(json, e, seq);
        }
        list_each (node, next, &s->proven) {
            struct entry *e = list_entry(node, struct entry, node);
            if (!e->key || is_idle(e, now))
                forget(s, e);
            else
                add_id(json, e, seq);
        }
        pthread_mutex_unlock(&s->lock);
    }
    buf_char(json, ']');
}

static void forget_gone(struct shard *s, struct list *l, uint64_t seq)
{
    list_each (node, next, l) {
        struct entry *e = list_entry(node, struct entry, node);
        if (e->asked == seq && e->seq < seq)
            forget(s, e);
    }
}

void memory_gone(uint64_t seq)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &shards[i];
        pthread_mutex_lock(&s->lock);
        forget_gone(s, &s->proven, seq);
        forget_gone(s, &s->others, seq);
        pthread_mutex_unlock(&s->lock);
    }
}

void memory_drop_others(void)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &shards[i];
        pthread_mutex_lock(&s->lock);
        list_each (node, next, &s->others) {
            struct entry *e = list_entry(node, struct entry, node);
            if (!is_proven(e->key))
                forget(s, e);
        }
        pthread_mutex_unlock(&s->lock);
    }
}

static bool is_due(struct auth_key *k, uint64_t now, bool all)
{
    uint64_t used = atomic_load(&k->used_ms), written = atomic_load(&k->written_ms);

    return used > written && (all || written == 0 || now - written >= store_options.use_ms);
}

/* Those that were found once since their secret was shown are still among the others. */
static void move_proven(struct shard *s)
{
    list_each (node, next, &s->others) {
        struct entry *e = list_entry(node, struct entry, node);
        if (is_proven(e->key))
            move_up(s, e);
    }
}

uint32_t memory_uses(struct use *ret, uint32_t most, bool all)
{
    uint64_t now = clock_ms();
    uint32_t n = 0;

    for (size_t i = 0; i < SHARDS && n < most; i++) {
        struct shard *s = &shards[i];
        pthread_mutex_lock(&s->lock);
        move_proven(s);
        list_each (node, next, &s->proven) {
            struct auth_key *k = list_entry(node, struct entry, node)->key;
            if (n == most || !k || !is_due(k, now, all))
                continue;
            ret[n++] = (struct use){ k->internal, now - atomic_load(&k->used_ms) };
            atomic_store(&k->written_ms, now);
        }
        pthread_mutex_unlock(&s->lock);
    }
    return n;
}

void shards_stop(void)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &shards[i];
        if (!s->proven.next)
            continue;
        forget_list(s, &s->proven);
        forget_list(s, &s->others);
        map_free(&s->map);
        pthread_mutex_destroy(&s->lock);
        memset(s, 0, sizeof(*s));
    }
}
