/* Tables of meters: chains by the hash of the caller, and a line by last use, both by index into
 * one piece of memory per shard that never grows. The hash is seeded, so callers who choose their
 * addresses do not choose their chains. */
#include "auth/meter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"

enum { SHARDS = 16 };
enum { NONE = UINT32_MAX };

/* ---- rates ---- */

struct rate rate_of(uint64_t per_second, uint64_t burst)
{
    uint64_t token = per_second < 1000000000u ? 1000000000u / (per_second ? per_second : 1) : 1;

    return (struct rate){ .token_ns = token, .burst_ns = token * (burst ? burst : 1) };
}

bool rate_take(uint64_t *full_ns, const struct rate *r, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    uint64_t full = (*full_ns > now_ns ? *full_ns : now_ns) + r->token_ns;

    if (full - now_ns > r->burst_ns) {
        *ret_wait_ns = full - now_ns - r->burst_ns;
        return false;
    }
    *full_ns = full;
    return true;
}

/* ---- budgets ---- */

static void spent_roll(struct spent *s, uint64_t minute)
{
    if (minute <= s->minute)
        return;
    s->before_us = minute == s->minute + 1 ? s->now_us : 0;
    s->now_us = 0;
    s->minute = minute;
}

/* The share of the last minute that is not over yet. */
static uint64_t share_us(uint64_t us, uint64_t now_ms)
{
    return us * (BUDGET_MS - now_ms % BUDGET_MS) / BUDGET_MS;
}

uint64_t spent_by_now(const struct spent *s, uint64_t now_ms)
{
    struct spent rolled = *s;

    spent_roll(&rolled, now_ms / BUDGET_MS);
    return rolled.now_us + share_us(rolled.before_us, now_ms);
}

void spent_add(struct spent *s, uint64_t now_ms, uint64_t us)
{
    spent_roll(s, now_ms / BUDGET_MS);
    s->now_us += us;
}

/* How far into a minute the share of `us`, which is of the one before, is less than `room`, which
 * is no more than `us` and not 0. */
static uint64_t falls_below_ms(uint64_t us, uint64_t room)
{
    return BUDGET_MS + 1 - (room * BUDGET_MS + us - 1) / us;
}

uint64_t spent_wait_ms(const struct spent *s, uint64_t now_ms, uint64_t budget_us)
{
    struct spent rolled = *s;
    uint64_t at = now_ms % BUDGET_MS;

    if (spent_by_now(s, now_ms) < budget_us)
        return 0;
    spent_roll(&rolled, now_ms / BUDGET_MS);
    if (rolled.now_us >= budget_us) /* it must become the last minute, and pass */
        return BUDGET_MS - at + falls_below_ms(rolled.now_us, budget_us);
    return falls_below_ms(rolled.before_us, budget_us - rolled.now_us) - at;
}

/* ---- the table ---- */

struct meter {
    struct meter_key key;
    uint32_t chain;        /* the next of the same hash */
    uint32_t newer, older; /* in the line by last use */
    uint64_t full_ns;
    struct spent spent;
};

struct shard {
    pthread_mutex_t lock;
    struct meter *meter;
    uint32_t *bucket;
    uint32_t most, used, newest, oldest;
    char apart[64];
};

struct meters {
    uint64_t seed[2];
    uint32_t mask;
    atomic_uint_fast64_t used, pushed_out;
    struct shard shard[SHARDS];
};

static void shard_init(struct shard *s, uint32_t most, uint32_t buckets)
{
    pthread_mutex_init(&s->lock, NULL);
    s->most = most;
    s->newest = s->oldest = NONE;
    s->meter = mem_new(most * sizeof(*s->meter));
    s->bucket = mem_new(buckets * sizeof(*s->bucket));
    memset(s->bucket, 0xff, buckets * sizeof(*s->bucket));
}

struct meters *meters_new(size_t most)
{
    struct meters *m = MEM_NEW(struct meters);
    uint32_t each = (uint32_t)((most + SHARDS - 1) / SHARDS), buckets = 16;

    while (buckets < each)
        buckets *= 2;
    m->mask = buckets - 1;
    rand_secret(m->seed, sizeof(m->seed));
    for (size_t i = 0; i < SHARDS; i++)
        shard_init(&m->shard[i], each, buckets);
    return m;
}

void meters_free(struct meters *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&m->shard[i].lock);
        free(m->shard[i].meter);
        free(m->shard[i].bucket);
    }
    free(m);
}

static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 32) * 0xd6e8feb86659fd93u;
    v = (v ^ v >> 32) * 0xd6e8feb86659fd93u;
    return v ^ v >> 32;
}

static uint64_t hash_of(const struct meters *m, const struct meter_key *k)
{
    return mix(mix(mix(k->high ^ m->seed[0]) ^ k->low) ^ k->kind ^ m->seed[1]);
}

static bool same(const struct meter_key *a, const struct meter_key *b)
{
    return a->high == b->high && a->low == b->low && a->kind == b->kind;
}

static void line_leave(struct shard *s, struct meter *e)
{
    if (e->newer == NONE)
        s->newest = e->older;
    else
        s->meter[e->newer].older = e->older;
    if (e->older == NONE)
        s->oldest = e->newer;
    else
        s->meter[e->older].newer = e->newer;
}

static void line_enter(struct shard *s, uint32_t at)
{
    struct meter *e = &s->meter[at];

    e->newer = NONE;
    e->older = s->newest;
    if (s->newest == NONE)
        s->oldest = at;
    else
        s->meter[s->newest].newer = at;
    s->newest = at;
}

static void chain_leave(struct meters *m, struct shard *s, uint32_t at)
{
    uint32_t *place = &s->bucket[hash_of(m, &s->meter[at].key) / SHARDS & m->mask];

    while (*place != at)
        place = &s->meter[*place].chain;
    *place = s->meter[at].chain;
}

/* A free place, or that of who was not seen for longest. */
static uint32_t place_new(struct meters *m, struct shard *s)
{
    uint32_t at = s->oldest;

    if (s->used < s->most) {
        atomic_fetch_add_explicit(&m->used, 1, memory_order_relaxed);
        return s->used++;
    }
    line_leave(s, &s->meter[at]);
    chain_leave(m, s, at);
    atomic_fetch_add_explicit(&m->pushed_out, 1, memory_order_relaxed);
    return at;
}

/* The caller's meter, locked; `make`: a new one when there is none. NULL: there is none, and
 * nothing is locked. */
static struct meter *hold(struct meters *m, const struct meter_key *k, bool make,
                          struct shard **ret_shard)
{
    uint64_t hash = hash_of(m, k);
    struct shard *s = *ret_shard = &m->shard[hash % SHARDS];
    uint32_t *bucket = &s->bucket[hash / SHARDS & m->mask], at;

    pthread_mutex_lock(&s->lock);
    for (at = *bucket; at != NONE && !same(&s->meter[at].key, k);)
        at = s->meter[at].chain;
    if (at != NONE) {
        line_leave(s, &s->meter[at]);
    } else if (make) {
        at = place_new(m, s);
        s->meter[at] = (struct meter){ .key = *k, .chain = *bucket };
        *bucket = at;
    } else {
        pthread_mutex_unlock(&s->lock);
        return NULL;
    }
    line_enter(s, at);
    return &s->meter[at];
}

bool meters_rate(struct meters *m, const struct meter_key *k, const struct rate *r, uint64_t now_ns,
                 uint64_t *ret_wait_ns)
{
    struct shard *s;
    struct meter *e = hold(m, k, true, &s);
    bool taken = rate_take(&e->full_ns, r, now_ns, ret_wait_ns);

    pthread_mutex_unlock(&s->lock);
    return taken;
}

uint64_t meters_spent(struct meters *m, const struct meter_key *k, uint64_t now_ms,
                      uint64_t budget_us, uint64_t *ret_wait_ms)
{
    struct shard *s;
    struct meter *e = hold(m, k, false, &s);
    struct spent spent = { 0 };

    if (e) {
        spent = e->spent;
        pthread_mutex_unlock(&s->lock);
    }
    if (ret_wait_ms)
        *ret_wait_ms = spent_wait_ms(&spent, now_ms, budget_us);
    return spent_by_now(&spent, now_ms);
}

void meters_spend(struct meters *m, const struct meter_key *k, uint64_t now_ms, uint64_t us)
{
    struct shard *s;
    struct meter *e = hold(m, k, true, &s);

    spent_add(&e->spent, now_ms, us);
    pthread_mutex_unlock(&s->lock);
}

void meters_read(const struct meters *m, uint64_t *ret_used, uint64_t *ret_pushed_out)
{
    *ret_used = atomic_load_explicit(&m->used, memory_order_relaxed);
    *ret_pushed_out = atomic_load_explicit(&m->pushed_out, memory_order_relaxed);
}
