/* A look, step by step. Each step ends it (OVER) or waits for something that goes on with it:
 *
 *     learn     what is known of the client            waits for its first reading
 *     count     how often what is read has changed     waits for Redis
 *     find      in memory, among those under way       waits for who leads
 *     ask       Redis
 *
 * Whoever comes to the end without an answer gets a ticket, and leads if others may wait for him.
 * The ticket is dropped with the task's memory: then the next one leads.
 *
 * Nothing here outlives the task but what waits in Redis' line, which ends in its time and holds
 * the task's memory until then.
 */
#include "cache/cache_priv.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cache/flight.h"
#include "cache/place.h"
#include "cache/remote.h"
#include "lib/buf.h"
#include "log/log.h"
#include "log/metric.h"

enum {
    OVER = 1,
    WAITS = 0,
    TICKET_MAGIC = 0x71c4e701,
    UNHEARD_GRACE_MS = 5000,
    OUTDATED_WAIT_MS = 50
};

struct ticket {
    uint32_t magic;
    bool used;
    struct cache_key key;
    struct flight *flight; /* NULL: nobody waits for it */
};

struct look {
    ath_task *task;
    struct op *op; /* NULL: still inside the call */
    ath_then *then;
    void *arg;
    ath_cache_found *ret;
    ath_str question;
    const ath_relation_name *relation;
    uint32_t relations, flags;
    struct cache_place *place;
    struct moment moment;
    bool waited; /* for a reading */
    uint32_t unit[UNITS_MOST], units;
    struct cache_key key;
    struct flight *flight; /* that it leads */
    struct deadline limit; /* of waiting for another one */
    union {
        struct place_wait reading;
        struct token_ask tokens;
        struct flight_wait other;
        struct value_ask value;
    };
};

static struct {
    bool on;
    uint64_t ttl_ms, wait_ms, entry_bytes, unheard_ms;
} config;

static atomic_uint_fast64_t outcomes[CACHE_OUTCOMES], changes, changes_all, stored, shared;

/* ---- tickets ---- */

static void ticket_drop(void *arg)
{
    struct ticket *k = CHECKED(arg, struct ticket, TICKET_MAGIC);

    if (k->flight)
        flight_end(k->flight, NULL);
    k->flight = NULL;
}

static uint64_t ticket_new(struct look *l)
{
    struct ticket *k = ARENA_NEW(&l->task->arena, struct ticket);

    k->magic = TICKET_MAGIC;
    k->key = l->key;
    k->flight = l->flight;
    if (k->flight)
        arena_own(&l->task->arena, k, ticket_drop);
    return (uint64_t)(uintptr_t)k;
}

static void keep(ath_task *t, struct ticket *k, ath_str bytes)
{
    struct entry *e = entry_new(&k->key, bytes);

    if (e && bytes.n <= config.entry_bytes) {
        memory_put(e, config.ttl_ms);
        if (remote_on())
            remote_put(t->loop, e);
        atomic_fetch_add_explicit(&stored, 1, memory_order_relaxed);
    }
    if (k->flight)
        flight_end(k->flight, e);
    k->flight = NULL;
    entry_unref(e);
}

static void cache_store(ath_task *t, uint64_t ticket, ath_str bytes)
{
    struct ticket *k;

    if (!ticket)
        return;
    k = CHECKED((void *)(uintptr_t)ticket, struct ticket, TICKET_MAGIC);
    if (k->used)
        return;
    k->used = true;
    if (bytes.p) {
        keep(t, k, bytes);
    } else if (k->flight) {
        flight_dissolve(k->flight);
        k->flight = NULL;
    }
}

/* ---- the end of a look ---- */

static void answer(struct look *l, uint32_t outcome, struct entry *entry)
{
    atomic_fetch_add_explicit(&outcomes[outcome], 1, memory_order_relaxed);
    deadline_clear(&l->limit);
    l->ret->outcome = outcome;
    if (!entry)
        return;
    l->ret->bytes = str_from(entry->bytes, entry->n);
    arena_own(&l->task->arena, entry, entry_unref);
}

static int hit(struct look *l, uint32_t outcome, struct entry *entry)
{
    answer(l, outcome, entry);
    return OVER;
}

static int miss(struct look *l, uint32_t outcome)
{
    answer(l, outcome, NULL);
    l->ret->ticket = ticket_new(l);
    return OVER;
}

/* It would not be kept. */
static int without(struct look *l, uint32_t outcome)
{
    answer(l, l->flags & ATH_CACHE_FRESH ? ATH_CACHE_BYPASSED : outcome, NULL);
    return OVER;
}

static uint32_t missed_by(int rc)
{
    return rc == ATH_E_TIMEOUT ? ATH_CACHE_MISS_REDIS_TIMEOUT : ATH_CACHE_MISS_REDIS_ERROR;
}

static void go_on(struct look *l, int step)
{
    if (step == OVER)
        op_finish(l->op, 0);
}

/* What it waits for from here on is never called inside the call that began it. */
static void wait_begin(struct look *l, void (*stop)(struct op *o))
{
    if (!l->op) {
        l->op = op_new(l->task, l->then, l->arg);
        l->op->impl = l;
    }
    l->op->stop = stop;
}

/* ---- asking Redis ---- */

static void value_came(struct value_ask *a, struct entry *entry, int rc)
{
    struct look *l = a->arg;
    struct flight *flight = l->flight;

    if (!entry) {
        go_on(l, miss(l, rc < 0 ? missed_by(rc) : ATH_CACHE_MISS));
        return;
    }
    memory_put(entry, a->life_ms < config.ttl_ms ? a->life_ms : config.ttl_ms);
    l->flight = NULL;
    flight_end(flight, entry);
    go_on(l, hit(l, ATH_CACHE_HIT_REDIS, entry));
}

static int ask(struct look *l)
{
    if (!remote_on())
        return miss(l, ATH_CACHE_MISS);
    l->value = (struct value_ask){ .key = l->key, .done = value_came, .arg = l };
    if (remote_get(l->task->loop, &l->value) < 0)
        return miss(l, ATH_CACHE_MISS_REDIS_TIMEOUT);
    wait_begin(l, NULL);
    return WAITS;
}

/* ---- those who ask the same ---- */

static void other_came(void *arg)
{
    struct look *l = arg;

    l->flight = l->other.flight;
    if (l->other.entry) {
        atomic_fetch_add_explicit(&shared, 1, memory_order_relaxed);
        go_on(l, hit(l, ATH_CACHE_HIT_LOCAL, l->other.entry));
    } else {
        go_on(l, miss(l, ATH_CACHE_MISS));
    }
}

static void other_late(struct deadline *d)
{
    struct look *l = container_of(d, struct look, limit);

    if (flight_leave(&l->other))
        go_on(l, miss(l, ATH_CACHE_MISS));
}

static void other_stop(struct op *o)
{
    struct look *l = o->impl;

    if (o->finished || !flight_leave(&l->other))
        return;
    deadline_clear(&l->limit);
    op_finish(o, ATH_E_CANCELED);
}

static int find(struct look *l)
{
    struct entry *e = memory_get(&l->key);

    if (e)
        return hit(l, ATH_CACHE_HIT_LOCAL, e);
    l->other = (struct flight_wait){ .loop = l->task->loop, .woken = other_came, .arg = l };
    l->flight = flight_join(&l->key, &l->other);
    if (!l->flight) {
        wait_begin(l, other_stop);
        l->limit.fire = other_late;
        deadline_set(l->task->loop, &l->limit, loop_now_ms(l->task->loop) + config.wait_ms);
        return WAITS;
    }
    if (!(e = memory_get(&l->key))) /* it may have come in between */
        return ask(l);
    flight_end(l->flight, e);
    l->flight = NULL;
    return hit(l, ATH_CACHE_HIT_LOCAL, e);
}

/* ---- how often what is read has changed ---- */

static int learn_again(struct look *l, bool outdated);

/* What a key depends on besides the question. */
static struct cache_key key_of(const struct look *l, const uint64_t *change)
{
    char room[SHA256_BYTES + (1 + UNITS_MOST) * sizeof(*change) + UNITS_MOST * sizeof(*l->unit)];
    size_t n = l->units;
    char *at = room;

    memcpy(at, l->moment.scope, SHA256_BYTES);
    at += SHA256_BYTES;
    memcpy(at, change, (n + 1) * sizeof(*change));
    at += (n + 1) * sizeof(*change);
    memcpy(at, l->unit, n * sizeof(*l->unit));
    at += n * sizeof(*l->unit);
    return cache_key_of(l->question, str_from(room, (size_t)(at - room)));
}

static int counted(struct look *l, const uint64_t *change)
{
    if (change[0] != l->moment.valid)
        return learn_again(l, true);
    l->key = key_of(l, change);
    return l->flags & ATH_CACHE_FRESH ? miss(l, ATH_CACHE_BYPASSED) : find(l);
}

static void tokens_came(struct token_ask *a, int rc)
{
    struct look *l = a->arg;
    uint64_t change[1 + UNITS_MOST];

    if (rc < 0) {
        go_on(l, without(l, missed_by(rc)));
        return;
    }
    memcpy(change, a->token, (l->units + 1) * sizeof(*change));
    go_on(l, counted(l, change));
}

static int count(struct look *l)
{
    uint64_t change[1 + UNITS_MOST];

    if (!remote_on()) {
        database_read(l->moment.database, l->unit, l->units, change);
        return counted(l, change);
    }
    l->tokens = (struct token_ask){ .database = l->moment.database,
                                    .unit = l->unit,
                                    .n = l->units,
                                    .done = tokens_came,
                                    .arg = l };
    if (remote_tokens(l->task->loop, &l->tokens) < 0)
        return without(l, ATH_CACHE_MISS_REDIS_TIMEOUT);
    wait_begin(l, NULL);
    return WAITS;
}

/* ---- what is known ---- */

static int learn(struct look *l);

static void reading_came(void *arg)
{
    struct look *l = arg;

    deadline_clear(&l->limit);
    go_on(l, learn(l));
}

static void reading_stop(struct op *o)
{
    struct look *l = o->impl;

    if (o->finished || !place_leave(l->place, &l->reading))
        return;
    deadline_clear(&l->limit);
    op_finish(o, ATH_E_CANCELED);
}

/* It takes long: this one is not kept. */
static void reading_late(struct deadline *d)
{
    struct look *l = container_of(d, struct look, limit);

    if (place_leave(l->place, &l->reading))
        go_on(l, without(l, ATH_CACHE_MISS));
}

static int learn_again(struct look *l, bool outdated)
{
    l->reading = (struct place_wait){ .loop = l->task->loop, .over = reading_came, .arg = l };
    if (l->flags & ATH_CACHE_FRESH) {
        place_refresh(l->place);
        return without(l, ATH_CACHE_MISS);
    }
    if (l->waited || !place_wait(l->place, &l->reading, outdated))
        return without(l, ATH_CACHE_MISS);
    l->waited = true;
    wait_begin(l, reading_stop);
    if (outdated) {
        l->limit.fire = reading_late;
        deadline_set(l->task->loop, &l->limit, loop_now_ms(l->task->loop) + OUTDATED_WAIT_MS);
    }
    return WAITS;
}

static int learn(struct look *l)
{
    enum place_state state = place_now(l->place, &l->moment);
    struct relations *r = l->moment.relations;
    bool follows, all = true;

    if (state == PLACE_UNKNOWN)
        return learn_again(l, false);
    follows = relations_reads(r, l->relation, l->relations, l->unit, &l->units);
    for (uint32_t i = 0; !follows && i < l->relations; i++)
        all = all && relations_find(r, l->relation[i].schema, l->relation[i].name);
    relations_unref(r);
    if (!all)
        place_refresh(l->place);
    if (!follows || state == PLACE_KEPT_OUT)
        return without(l, ATH_CACHE_MISS);
    return count(l);
}

/* ---- the call ---- */

static const ath_relation_name *copy_names(ath_arena *a, const ath_relation_name *from, uint32_t n)
{
    ath_relation_name *to = arena_raw(a, n * sizeof(*to));

    if (n)
        if (n) /* none: anything */
            memcpy(to, from, n * sizeof(*to));
    return to;
}

static int cache_look(ath_task *t, const ath_cache_ask *ask, ath_cache_found *ret, ath_then *then,
                      void *arg, ath_err *e)
{
    struct look *l;
    int rc = task_may_start(t, e);

    if (rc < 0)
        return rc;
    ret->outcome = ATH_CACHE_OFF;
    ret->bytes = (ath_str){ 0 };
    ret->ticket = 0;
    if (!config.on || !t->client || !ask->relation_count)
        return OVER;
    l = ARENA_NEW(&t->arena, struct look);
    l->task = t;
    l->then = then;
    l->arg = arg;
    l->ret = ret;
    l->question = ask->question;
    l->flags = ask->flags;
    l->relation = copy_names(&t->arena, ask->relation, ask->relation_count);
    l->relations = ask->relation_count;
    l->place = place_of(t->client);
    deadline_init(&l->limit, NULL);
    return learn(l);
}

/* ---- changes ---- */

struct telling {
    ath_task *task;
    struct op *op;
    ath_then *then;
    void *arg;
    struct cache_place *place;
    const ath_relation_name *relation;
    uint32_t relations;
    bool waited;
    struct place_wait reading;
};

static int tell(struct telling *g);

static void tell_over(struct change_ask *a, bool outdated)
{
    struct telling *g = a->arg;

    if (outdated)
        place_refresh(g->place);
    op_finish(g->op, 0);
}

static void tell_begin(struct telling *g)
{
    if (!g->op)
        g->op = op_new(g->task, g->then, g->arg);
}

static int tell_here(struct telling *g, const struct moment *m, const uint32_t *unit, uint32_t n)
{
    uint64_t all;

    database_read(m->database, NULL, 0, &all);
    if (n && all != m->valid) { /* the units were chosen from what is outdated */
        place_refresh(g->place);
        n = 0;
    }
    database_change(m->database, unit, n);
    return OVER;
}

static int tell_redis(struct telling *g, const struct moment *m, const uint32_t *unit, uint32_t n)
{
    struct change_ask a = { .known = n ? m->valid : 0, .done = tell_over, .arg = g };

    if (remote_change(g->task->loop, m->database, unit, n, &a) == 1)
        return OVER;
    tell_begin(g);
    return WAITS;
}

static void tell_read(void *arg)
{
    struct telling *g = arg;

    if (tell(g) == OVER)
        op_finish(g->op, 0);
}

/* It is not even known yet which database it is. */
static int tell_later(struct telling *g)
{
    g->reading = (struct place_wait){ .loop = g->task->loop, .over = tell_read, .arg = g };
    if (g->waited || !place_wait(g->place, &g->reading, false)) {
        place_owes(g->place);
        return OVER;
    }
    g->waited = true;
    tell_begin(g);
    return WAITS;
}

static int tell(struct telling *g)
{
    uint32_t unit[UNITS_MOST], n = 0;
    struct moment m;

    if (place_now(g->place, &m) == PLACE_UNKNOWN)
        return tell_later(g);
    if (!relations_changes(m.relations, g->relation, g->relations, unit, &n))
        n = 0;
    relations_unref(m.relations);
    atomic_fetch_add_explicit(n ? &changes : &changes_all, 1, memory_order_relaxed);
    return remote_on() ? tell_redis(g, &m, unit, n) : tell_here(g, &m, unit, n);
}

static int cache_changed(ath_task *t, const ath_relation_name *relation, uint32_t n, ath_then *then,
                         void *arg, ath_err *e)
{
    struct telling *g;

    (void)e;
    if (!config.on || !t->client)
        return OVER;
    g = ARENA_NEW(&t->arena, struct telling);
    *g = (struct telling){ .task = t,
                           .then = then,
                           .arg = arg,
                           .place = place_of(t->client),
                           .relation = copy_names(&t->arena, relation, n),
                           .relations = n };
    return tell(g);
}

const ath_cache cache_service = {
    .size = sizeof(ath_cache),
    .look = cache_look,
    .store = cache_store,
    .changed = cache_changed,
};

/* ---- life ---- */

static void redis_start(const struct cache_options *o)
{
    struct remote_options r = { .url = o->redis_url,
                                .command_ms = o->redis_command_ms,
                                .cooldown_ms = o->redis_cooldown_ms,
                                .ttl_ms = o->ttl_ms,
                                .loops = o->loops,
                                .loop_count = o->loop_count };
    ath_err e;

    err_reset(&e);
    if (remote_start(&r, &e) < 0)
        log_write(ATH_WARN, "athena::cache",
                  "the Redis URL cannot be used, so there is no Redis: %s", e.message);
}

static void unheard(struct db_client *c, ath_loop *l)
{
    place_unheard(place_of(c), l, config.unheard_ms);
}

static const struct db_watch watch = { unheard, place_end };

void cache_start(const struct cache_options *o)
{
    struct memory_limits limits = { o->entries, o->bytes, o->entry_bytes };

    config.ttl_ms = o->ttl_ms;
    config.wait_ms = o->wait_ms;
    config.unheard_ms = o->query_ms + UNHEARD_GRACE_MS;
    config.entry_bytes = o->entry_bytes;
    redis_start(o);
    cache_key_start(remote_on());
    memory_start(&limits);
    flight_start();
    db_watch(&watch);
    metric_source(cache_metrics, NULL);
    config.on = true;
}

void cache_drain(void)
{
    if (config.on)
        place_drain();
}

void cache_stop(void)
{
    if (!config.on)
        return;
    config.on = false;
    db_watch(NULL);
    place_stop();
    flight_stop();
    memory_stop();
    remote_stop();
    database_stop();
}

void cache_loop_init(ath_loop *l)
{
    if (config.on)
        remote_loop_init(l);
}

void cache_loop_fini(ath_loop *l)
{
    if (config.on)
        remote_loop_fini(l);
}

void cache_read_counts(struct cache_counts *ret)
{
    for (size_t i = 0; i < CACHE_OUTCOMES; i++)
        ret->outcome[i] = atomic_load(&outcomes[i]);
    ret->changes = atomic_load(&changes);
    ret->changes_all = atomic_load(&changes_all);
    ret->stored = atomic_load(&stored);
    ret->shared = atomic_load(&shared);
}

void cache_warm(void)
{
    for (size_t i = 0; config.on && i < db_client_count(); i++) {
        struct db_client *c = db_client_at(i);
        if (atomic_load(&c->gate) != DB_SHUT)
            place_refresh(place_of(c));
    }
}
