/* The key store as a whole: its small tables, and how it stands.
 *
 * The small tables (switches, global lists) are one immutable struct. Each thread holds the one
 * that it saw last and takes another when a counter says so: looking costs no lock. Keys are in
 * shards (shard.c).
 */
#include <pthread.h>
#include <string.h>

#include "auth/known.h"
#include "auth/store_priv.h"
#include "base/clock.h"
#include "lib/text.h"
#include "log/log.h"

struct store_options store_options;
atomic_uint_fast64_t store_changes = 1;

static struct {
    pthread_mutex_t lock; /* of `tables` */
    struct tables *tables;
    atomic_uint_fast64_t version; /* of it */
    atomic_int state;             /* enum store_state */
    atomic_bool unreachable;
    atomic_bool enforced_once; /* somebody was, ever (D-3) */
    uint64_t read_ms;          /* the follower's alone */
    bool failing;
} self = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local struct {
    struct tables *tables;
    uint64_t version;
} seen;

void store_start(const struct store_options *o)
{
    store_options = *o;
    key_start();
    shards_start();
    atomic_store(&self.state, o->named ? STORE_STARTING : STORE_NONE);
    atomic_store(&self.enforced_once, o->enforced);
    self.read_ms = 0;
    self.failing = false;
    store_moved();
}

/* ---- the small tables ---- */

static void tables_release(void *tables)
{
    struct tables *t = tables;

    if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        tables_free(t);
}

/* Another than this thread has seen. */
static __attribute__((noinline)) void tables_take(void)
{
    tables_release(seen.tables);
    pthread_mutex_lock(&self.lock);
    seen.tables = self.tables;
    seen.version = atomic_load(&self.version);
    if (seen.tables)
        atomic_fetch_add(&seen.tables->refs, 1);
    pthread_mutex_unlock(&self.lock);
}

static inline const struct tables *tables_now(void)
{
    if (unlikely(seen.version != atomic_load_explicit(&self.version, memory_order_acquire)))
        tables_take();
    return seen.tables;
}

void store_loop_fini(void)
{
    tables_release(seen.tables);
    seen.tables = NULL;
    seen.version = 0;
    known_loop_fini();
}

void memory_tables(struct tables *t)
{
    struct tables *before;

    if (t->any_on)
        atomic_store(&self.enforced_once, true);
    pthread_mutex_lock(&self.lock);
    before = self.tables;
    if (before && memcmp(before->digest, t->digest, sizeof(t->digest)) == 0) {
        before = t;
    } else {
        self.tables = t;
        atomic_fetch_add_explicit(&self.version, 1, memory_order_release);
        store_moved();
    }
    pthread_mutex_unlock(&self.lock);
    tables_release(before);
}

bool store_enforced(ath_str client, bool *ret)
{
    const struct switched *s;
    const struct tables *t;
    int state = atomic_load_explicit(&self.state, memory_order_relaxed);

    *ret = store_options.enforced;
    if (unlikely(state == STORE_NONE))
        return true;
    if (unlikely(state == STORE_LOST &&
                 atomic_load_explicit(&self.enforced_once, memory_order_relaxed)))
        return false;
    t = tables_now();
    if (unlikely(!t))
        return false;
    s = client.n ? map_get(&t->by_client, client) : NULL;
    *ret = s ? s->on : t->global || store_options.enforced;
    return true;
}

bool store_open_somewhere(void)
{
    const struct tables *t = tables_now();

    if (!t)
        return !store_options.enforced;
    return t->any_off || !(t->global || store_options.enforced);
}

bool store_has_lists(void)
{
    const struct tables *t = tables_now();

    return t && (t->lists.n || t->unlisted);
}

bool store_lists(struct req *r, ath_str client, struct ip_policy *p)
{
    const struct tables *t = tables_now();
    const struct listed *all, *own;

    if (likely(!t || t->lists.n == 0))
        return !t || !t->unlisted;
    all = map_get(&t->lists, (ath_str){ "", 0 });
    own = client.n ? map_get(&t->lists, client) : NULL;
    p->all_white[0] = all ? all->white : NULL;
    p->all_black[0] = all ? all->black : NULL;
    p->all_white[1] = own ? own->white : NULL;
    p->all_black[1] = own ? own->black : NULL;
    if (all || own) {
        atomic_fetch_add(&seen.tables->refs, 1);
        arena_own(&r->task.arena, seen.tables, tables_release);
    }
    return !t->unlisted;
}

/* ---- how it stands ---- */

void store_moved(void)
{
    atomic_fetch_add_explicit(&store_changes, 1, memory_order_release);
}

bool store_lost(void)
{
    return atomic_load_explicit(&self.state, memory_order_relaxed) == STORE_LOST;
}

enum store_state store_state(void)
{
    return (enum store_state)atomic_load(&self.state);
}

bool store_unreachable(void)
{
    return atomic_load(&self.unreachable);
}

bool store_asks_always(void)
{
    return store_options.ttl_ms == 0;
}

/* A reading that takes long is one that fails: it is not known what it will say. */
static enum store_state state_now(uint64_t now)
{
    uint64_t late = 2 * store_options.ttl_ms + 5000, age = now - self.read_ms;

    if (self.read_ms == 0)
        return self.failing ? STORE_LOST : STORE_STARTING;
    if (age >= store_options.ttl_ms + HOLD_MS)
        return STORE_LOST;
    return self.failing || age >= late ? STORE_STALE : STORE_WELL;
}

void memory_age(void)
{
    int now = (int)state_now(clock_ms()), before = atomic_exchange(&self.state, now);

    if (now != before)
        store_moved();
    if (now == STORE_LOST && before != STORE_LOST && self.read_ms)
        log_write(ATH_ERROR, "athena::keys", "the key store was not read for %d s: %s",
                  HOLD_MS / 1000,
                  atomic_load(&self.enforced_once)
                      ? "gateway.api_key_fail_mode decides, and no key counts any more"
                      : "keys were never enforced, so requests without one go on");
}

void memory_read(bool ok, bool unreachable)
{
    self.failing = !ok;
    atomic_store(&self.unreachable, unreachable);
    if (ok)
        self.read_ms = clock_ms();
    memory_age();
}

void store_stop(void)
{
    look_stop();
    shards_stop();
    store_loop_fini();
    tables_release(self.tables);
    self.tables = NULL;
    atomic_store(&self.state, STORE_NONE);
    store_moved();
}
