/* The registry of databases.
 *
 * It is read by every request on every loop, without a lock, and clients are only ever added to it:
 * a slot of its table is filled by one store, once. A table that gets full is replaced by one twice
 * as large; old ones stay until db_stop(), because some loop may still read them (together they are
 * smaller than the last). One lock is for all who change something.
 */
#include "db/client.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "db/direct.h"
#include "db/listen.h"
#include "db/fair.h"
#include "db/pgown.h"
#include "db/pgpool_priv.h"
#include "io/crypto.h"
#include "lib/buf.h"
#include "log/log.h"

enum { NAME_MAX_BYTES = 256, REGISTRY_MIN = 32 };

struct registry {
    struct registry *older;
    size_t cap;                        /* of `slot`, a power of two; half as many clients fit */
    _Atomic(struct db_client *) *slot; /* by their names' hashes, with linear probing */
    _Atomic(struct db_client *) *at;   /* in order of adding */
};

struct db_process db_process;

static _Atomic(struct registry *) registry;
static atomic_size_t registered;
static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* changes of the registry and of clients */

int db_start(const struct db_options *o, ath_loop *const *loops, uint32_t n, ath_err *e)
{
    if (n == 0 || o->pool_max == 0 || o->budget == 0)
        return err_fail(e, ATH_E_CONFIG, "no connections are allowed: pool of %llu, budget of %llu",
                        (unsigned long long)o->pool_max, (unsigned long long)o->budget);
    db_process = (struct db_process){ .options = *o, .loops = loops, .loop_count = n };
    fair_start(o, n, pgshare_granted);
    return 0;
}

static const struct db_watch *watch;

void client_free(struct db_client *c)
{
    if (watch && atomic_load(&c->cache))
        watch->freed(c);
    if (c->beside)
        client_free(c->beside);
    db_catalog_free(c->catalog);
    if (c->target)
        target_unref(c->target);
    free(c->pool);
    free(c->name);
    free(c->shown);
    free(c->down_reason);
    free(c);
}

void db_stop(void)
{
    struct registry *r = atomic_exchange(&registry, NULL);
    size_t n = atomic_exchange(&registered, 0);

    direct_stop();
    for (size_t i = 0; i < n; i++)
        client_free(atomic_load(&r->at[i]));
    while (r) {
        struct registry *older = r->older;
        free(r->slot);
        free(r->at);
        free(r);
        r = older;
    }
}

int db_loop_init(ath_loop *l, ath_err *e)
{
    struct db_loop *on = MEM_NEW(struct db_loop);

    (void)e;
    on->loop = l;
    list_init(&on->pools);
    list_init(&on->own);
    list_init(&on->listeners);
    l->slot[LOOP_SLOT_DB] = on;
    return 0;
}

void db_loop_fini(ath_loop *l)
{
    struct db_loop *on = db_loop_of(l);

    if (!on)
        return;
    for (size_t i = 0; i < db_client_count(); i++)
        db_catalog_halt(db_client_at(i), l);
    direct_halt(l);
    listen_close_all(on);
    pgown_close_all(on);
    pgpool_close_all(on);
    l->slot[LOOP_SLOT_DB] = NULL;
    free(on);
}

/* ---- the table ---- */

static bool fold(ath_str name, char ret[NAME_MAX_BYTES], ath_str *ret_name)
{
    name = str_trim(name);
    if (name.n == 0 || name.n >= NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < name.n; i++)
        ret[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
    ret[name.n] = 0;
    *ret_name = str_from(ret, name.n);
    return true;
}

/* The slot of that name, or the free one where it belongs. */
static inline _Atomic(struct db_client *) *slot_of(const struct registry *r, ath_str key,
                                                   uint32_t hash)
{
    size_t i = hash & (r->cap - 1);
    const struct db_client *c;

    while ((c = atomic_load_explicit(&r->slot[i], memory_order_acquire)) != NULL &&
           !(c->hash == hash && str_same(key, str_from(c->name, c->name_n))))
        i = (i + 1) & (r->cap - 1);
    return &r->slot[i];
}

/* One that was removed, too. */
static struct db_client *known(ath_str key)
{
    struct registry *r = atomic_load_explicit(&registry, memory_order_acquire);

    if (!r)
        return NULL;
    return atomic_load_explicit(slot_of(r, key, str_hash(key)), memory_order_relaxed);
}

struct db_client *db_client_find(ath_str name)
{
    char folded[NAME_MAX_BYTES];
    struct db_client *c;
    ath_str key;

    if (!fold(name, folded, &key))
        return NULL;
    c = known(key);
    return likely(c && !atomic_load_explicit(&c->gone, memory_order_relaxed)) ? c : NULL;
}

size_t db_client_count(void)
{
    return atomic_load_explicit(&registered, memory_order_acquire);
}

struct db_client *db_client_at(size_t i)
{
    const struct registry *r = atomic_load_explicit(&registry, memory_order_acquire);

    return i < db_client_count() ? atomic_load_explicit(&r->at[i], memory_order_acquire) : NULL;
}

static void enter(struct registry *r, struct db_client *c)
{
    atomic_store_explicit(slot_of(r, str_from(c->name, c->name_n), c->hash), c,
                          memory_order_release);
}

static struct registry *grow(struct registry *before, size_t n)
{
    struct registry *now = MEM_NEW(struct registry);

    now->older = before;
    now->cap = before ? before->cap * 2 : REGISTRY_MIN;
    now->slot = mem_new(now->cap * sizeof(*now->slot));
    now->at = mem_new(now->cap / 2 * sizeof(*now->at));
    for (size_t i = 0; i < n; i++) {
        struct db_client *c = atomic_load(&before->at[i]);
        atomic_store(&now->at[i], c);
        enter(now, c);
    }
    return now;
}

/* Under the lock. */
static void publish(struct db_client *added)
{
    struct registry *r = atomic_load(&registry);
    size_t n = atomic_load(&registered);

    if (!r || n == r->cap / 2) {
        r = grow(r, n);
        atomic_store_explicit(&registry, r, memory_order_release);
    }
    atomic_store(&r->at[n], added);
    enter(r, added);
    atomic_store_explicit(&registered, n + 1, memory_order_release);
}

struct db_client *client_new(ath_str name, const char *shown, const char *source,
                             struct db_target *target)
{
    struct db_client *c = MEM_NEW(struct db_client);

    c->name = mem_dup_str(name);
    c->name_n = (uint32_t)name.n;
    c->hash = str_hash(name);
    c->shown = mem_dup_z(shown);
    c->source = source;
    c->active = true;
    c->target = target;
    c->pool_max = db_process.options.pool_max;
    c->idle_ms = db_process.options.idle_timeout_ms;
    c->pool = mem_new(db_process.loop_count * sizeof(struct pgpool *));
    c->catalog = db_catalog_new(c);
    return c;
}

/* ---- adding and replacing ---- */

struct adjust {
    struct db_client *client;
    ath_loop *loop;
};

static void adjust_pool(struct pgpool *p, bool shut)
{
    if (p && shut)
        pgpool_shut(p);
    else if (p)
        pgpool_retarget(p);
}

static struct db_client *beside_of(struct db_client *c)
{
    struct db_client *beside;

    pthread_mutex_lock(&lock);
    beside = c->beside;
    pthread_mutex_unlock(&lock);
    return beside;
}

/* A loop does what has become of the client since; what is posted for the last change does it last.
 */
static void adjust_here(void *arg)
{
    struct adjust *a = arg;
    struct db_client *c = a->client, *beside = beside_of(c);
    bool shut = atomic_load(&c->gate) == DB_SHUT;

    if (db_loop_of(a->loop)) {
        adjust_pool(c->pool[a->loop->index], shut);
        if (beside)
            adjust_pool(beside->pool[a->loop->index], shut);
        if (shut)
            listen_shut(c, a->loop);
        else
            listen_retarget(c, a->loop);
    }
    free(a);
}

static void adjust_loops(struct db_client *c)
{
    for (uint32_t i = 0; i < db_process.loop_count; i++) {
        struct adjust *a = MEM_NEW(struct adjust);
        *a = (struct adjust){ c, db_process.loops[i] };
        loop_post(db_process.loops[i], adjust_here, a);
    }
}

static bool is_name(const struct db_client *c, const char *name)
{
    char folded[NAME_MAX_BYTES];
    ath_str key;

    return name && fold(str_of(name), folded, &key) && str_is(key, c->name);
}

/* The process itself needs it. */
static bool is_needed(const struct db_client *c)
{
    return is_name(c, db_process.options.control_client) ||
           is_name(c, db_process.options.auth_client);
}

static enum db_gate gate_of(const struct db_client *c)
{
    bool stopped = !c->active || (c->frozen && !c->draining);

    if (c->gone || c->unusable)
        return DB_SHUT;
    if (stopped && !is_needed(c))
        return DB_SHUT;
    return stopped || c->frozen || c->pending ? DB_CLOSED : DB_OPEN;
}

/* Under the lock. Returns whether the loops have to hear of it. */
static bool gate_set(struct db_client *c)
{
    enum db_gate now = gate_of(c), before = atomic_exchange(&c->gate, now);

    if (now == DB_SHUT && before != DB_SHUT && !c->unusable) {
        atomic_store(&c->up, false);
        atomic_store(&c->down, false);
    }
    return (now == DB_SHUT) != (before == DB_SHUT);
}

/* Under the lock; the one before is the caller's. */
static struct db_target *take_target(struct db_client *c, struct db_target *target, const char *uri)
{
    struct db_target *before = c->target;

    c->target = target;
    crypto_sha256(str_of(uri), c->uri_digest);
    atomic_fetch_add(&c->moved, 1);
    atomic_store(&c->up, false);
    atomic_store(&c->down, false);
    atomic_store(&c->unusable, false);
    atomic_store(&c->gone, false);
    gate_set(c);
    return before;
}

/* It leads there already, and works as far as the URI goes. */
static bool is_same(const struct db_client *c, const char *uri)
{
    uint8_t digest[SHA256_BYTES];

    crypto_sha256(str_of(uri), digest);
    return c->target && !c->gone && !c->unusable &&
           memcmp(digest, c->uri_digest, sizeof(digest)) == 0;
}

static struct db_client *add(ath_str key, const char *shown, const char *source,
                             struct db_target *target)
{
    struct db_client *c = client_new(key, shown, source, target);

    publish(c);
    return c;
}

int db_client_put(const char *name, const char *uri, const char *source, ath_err *e)
{
    char folded[NAME_MAX_BYTES];
    struct db_target *target, *before = NULL;
    struct db_client *c;
    bool moved = false;
    ath_str key;

    if (!fold(str_of(name), folded, &key))
        return err_fail(e, ATH_E_CONFIG, "name of the client is empty or too long");
    if (target_parse(uri, db_process.options.query_timeout_ms, &target, e) < 0)
        return ATH_E_CONFIG;
    pthread_mutex_lock(&lock);
    c = known(key);
    if (!c) {
        c = add(key, name, source, target);
        crypto_sha256(str_of(uri), c->uri_digest);
    } else if (is_same(c, uri)) {
        before = target;
    } else {
        moved = true;
        before = take_target(c, target, uri);
    }
    atomic_store(&c->source, source);
    pthread_mutex_unlock(&lock);
    target_unref(before);
    if (moved) {
        adjust_loops(c);
        db_catalog_changed(c);
    }
    return 0;
}

int db_client_put_unusable(const char *name, const char *source, const char *reason, ath_err *e)
{
    char folded[NAME_MAX_BYTES];
    struct db_client *c;
    bool tell;
    ath_str key;

    if (!fold(str_of(name), folded, &key))
        return err_fail(e, ATH_E_CONFIG, "name of the client is empty or too long");
    pthread_mutex_lock(&lock);
    c = known(key);
    if (!c)
        c = add(key, name, source, NULL);
    free(c->down_reason);
    c->down_reason = mem_dup_z(reason);
    atomic_store(&c->source, source);
    atomic_store(&c->up, false);
    atomic_store(&c->down, true);
    atomic_store(&c->unusable, true);
    atomic_store(&c->gone, false);
    tell = gate_set(c);
    pthread_mutex_unlock(&lock);
    if (tell)
        adjust_loops(c);
    return 0;
}

void db_client_stand(struct db_client *c, const struct db_stand *s)
{
    bool tell;

    pthread_mutex_lock(&lock);
    atomic_store(&c->active, s->active);
    atomic_store(&c->frozen, s->frozen);
    atomic_store(&c->draining, s->draining);
    atomic_store(&c->pending, s->pending);
    tell = gate_set(c);
    pthread_mutex_unlock(&lock);
    if (tell)
        adjust_loops(c);
}

void db_client_remove(struct db_client *c)
{
    struct db_target *before = NULL;

    pthread_mutex_lock(&lock);
    if (!c->gone && !is_needed(c)) {
        atomic_store(&c->gone, true);
        before = c->target;
        c->target = NULL;
        gate_set(c);
    }
    pthread_mutex_unlock(&lock);
    if (!before)
        return;
    target_unref(before);
    adjust_loops(c);
    db_catalog_drop(c);
}

struct db_target *client_target(struct db_client *c)
{
    struct db_target *t;

    if (c->of)
        c = c->of;
    pthread_mutex_lock(&lock);
    t = c->target ? target_ref(c->target) : NULL;
    pthread_mutex_unlock(&lock);
    return t;
}

struct db_client *client_beside(struct db_client *c)
{
    struct db_client *now;

    pthread_mutex_lock(&lock);
    if (!c->beside) {
        now = client_new(str_of(c->name), c->shown, "beside", NULL);
        now->of = c;
        now->pool_max = BESIDE_CONNECTIONS;
        c->beside = now;
    }
    now = c->beside;
    pthread_mutex_unlock(&lock);
    return now;
}

void db_watch(const struct db_watch *w)
{
    watch = w;
}

void client_unheard(struct db_client *c, ath_loop *l)
{
    if (watch)
        watch->unheard(c, l);
}

void db_client_digest(struct db_client *c, uint8_t ret[32])
{
    static const char *const left_out[] = { "password", "passfile", "sslpassword", "sslkey" };
    struct db_target *t = client_target(c);
    struct buf b = BUF_HEAP;

    for (size_t i = 0; t && i < t->hosts; i++)
        buf_printf(&b, "%s\n%s\n%s\n", t->host[i].name, t->host[i].addr ? t->host[i].addr : "",
                   t->host[i].port);
    for (size_t i = 0; t && i < t->params; i++) {
        bool keep = true;
        for (size_t k = 0; k < ATH_COUNT(left_out); k++)
            keep = keep && strcmp(t->key[i], left_out[k]) != 0;
        if (keep)
            buf_printf(&b, "%s=%s\n", t->key[i], t->value[i]);
    }
    target_unref(t);
    crypto_sha256(buf_view(&b), ret);
    buf_free(&b);
}

/* ---- up or down ---- */

/* An attempt at what the client led to before says nothing of where it leads to now. */
static bool set_up(struct db_client *c, const struct db_target *through, const ath_err *why)
{
    const struct db_client *owner = c->of ? c->of : c;
    bool was_down, was_up, news = false;

    pthread_mutex_lock(&lock);
    if (owner->target == through && atomic_load(&c->gate) != DB_SHUT) {
        was_down = atomic_exchange(&c->down, why != NULL);
        was_up = atomic_exchange(&c->up, why == NULL);
        news = why ? !was_down : !was_up;
    }
    if (news && why) {
        free(c->down_reason);
        c->down_reason = mem_dup_z(why->message);
    }
    pthread_mutex_unlock(&lock);
    return news;
}

void client_is_up(struct db_client *c, const struct db_target *through, const ath_err *why)
{
    if (!set_up(c, through, why))
        return;
    if (!why) {
        atomic_store(&c->since_ns, clock_wall_ns());
        log_write(c->direct || c->of ? ATH_DEBUG : ATH_INFO, "athena::pool",
                  "client \"%s\" is connected", c->shown);
        return;
    }
    log_write(c->direct || c->of ? ATH_DEBUG : ATH_WARN, "athena::pool",
              "could not connect to client \"%s\": %s", c->shown, why->message);
}

static int refuse(ath_err *e, const char *title, const char *shown)
{
    struct buf b = BUF_HEAP;

    buf_printf(&b, "Client '%s' %s", shown, title);
    err_detail_str(e, "title", buf_view(&b));
    buf_free(&b);
    return e->rc;
}

int client_unavailable(const struct db_client *c, uint64_t retry_ms, ath_err *e)
{
    uint64_t seconds = retry_ms / 1000 + 1;
    struct buf b = BUF_HEAP;

    if (c->direct) /* and not a word about what is there: this is no port scanner */
        return err_raise(e, "postgres_driver_error", "the database of the URI cannot be reached");
    err_raise(e, "client_unavailable",
              "Postgres client is configured but has no active connection pool");
    refuse(e, "is configured but currently unavailable", c->name);
    if (atomic_load(&c->unusable)) { /* waiting does not help, and the reason is the operator's */
        err_hint(e, "An operator has to correct the connection URI of this client.");
        return e->rc;
    }
    buf_u64(&b, seconds);
    err_detail(e, "retry_after", buf_view(&b));
    buf_free(&b);
    pthread_mutex_lock(&lock);
    if (c->down_reason)
        err_detail_str(e, "reason", str_of(c->down_reason)); /* names hosts: for administrators */
    pthread_mutex_unlock(&lock);
    return e->rc;
}

int client_unknown(ath_str name, ath_err *e)
{
    struct buf b = BUF_HEAP;

    err_raise(e, "client_unknown", "Postgres client '%.*s' is not configured", STR_ARG(name));
    buf_printf(&b, "Client '%.*s' is not available in the registry", STR_ARG(name));
    err_detail_str(e, "title", buf_view(&b));
    buf_free(&b);
    return e->rc;
}

/* Why the gate is not open, in the contract's words. */
static int not_open(const struct db_client *c, ath_err *e)
{
    if (c->gone)
        return client_unknown(str_of(c->name), e);
    if (!c->active) {
        err_raise(e, "client_inactive", "Postgres client is configured but inactive");
        return refuse(e, "is inactive", c->name);
    }
    if (c->frozen) {
        err_raise(e, "client_frozen", "Postgres client '%s' is configured but frozen", c->name);
        return refuse(e, "is frozen", c->name);
    }
    return client_unavailable(c, 0, e);
}

int client_shut(const struct db_client *c, ath_err *e)
{
    return atomic_load(&c->gate) == DB_SHUT ? not_open(c, e) : client_unavailable(c, 0, e);
}

int db_client_usable(const struct db_client *c, ath_err *e)
{
    if (unlikely(!c))
        return err_raise(e, "client_unknown", "the client is not configured");
    if (unlikely(atomic_load_explicit(&c->gate, memory_order_relaxed) != DB_OPEN))
        return not_open(c, e);
    if (!c->direct && atomic_load_explicit(&c->down, memory_order_relaxed) &&
        atomic_load_explicit(&c->connections, memory_order_relaxed) == 0)
        return client_unavailable(c, 0, e);
    return 0;
}

void db_client_stats(const struct db_client *c, struct db_pool_stats *ret)
{
    *ret = (struct db_pool_stats){
        .size = atomic_load(&c->connections),
        .idle = atomic_load(&c->idle),
        .waiting = atomic_load(&c->waiting),
        .max = atomic_load(&c->unusable) ? 0 : c->pool_max,
        .served = atomic_load(&c->served),
        .used_ns = atomic_load(&c->used_ns),
        .since_ns = atomic_load(&c->since_ns),
        .up = atomic_load(&c->up),
    };
}

void db_client_uncount(struct db_client *c, ath_loop *l)
{
    pgpool_uncount(c, l);
}

/* ---- warming ---- */

struct warm {
    ath_loop *control;
    ath_fn *ready;
    void *arg;
    atomic_size_t left;
};

static void warm_step(void *arg)
{
    struct warm *w = arg;

    if (atomic_fetch_sub(&w->left, 1) != 1)
        return;
    loop_post(w->control, w->ready, w->arg);
    free(w);
}

static void warm_pools(void *arg)
{
    ath_loop *l = arg;

    if (!db_loop_of(l))
        return;
    for (size_t i = 0; i < db_client_count(); i++) {
        struct db_client *c = db_client_at(i);
        if (atomic_load(&c->gate) != DB_SHUT)
            pgpool_warm(pgpool_of(c, l));
    }
}

void db_warm(ath_loop *control, ath_fn *ready, void *arg)
{
    struct warm *w = MEM_NEW(struct warm);
    size_t n = db_client_count();

    *w = (struct warm){ .control = control, .ready = ready, .arg = arg };
    atomic_store(&w->left, n + 1);
    for (uint32_t i = 0; i < db_process.loop_count && db_process.options.pool_min; i++)
        loop_post(db_process.loops[i], warm_pools, db_process.loops[i]);
    for (size_t i = 0; i < n; i++) {
        struct db_client *c = db_client_at(i);
        if (atomic_load(&c->gate) == DB_SHUT)
            warm_step(w);
        else
            db_catalog_warm(c, warm_step, w);
    }
    warm_step(w);
}

static void warmed(void *arg)
{
    (void)arg;
}

void db_client_warm(struct db_client *c)
{
    if (atomic_load(&c->gate) == DB_SHUT)
        return;
    db_catalog_changed(c); /* it may have, and only asking tells whether it can be reached */
    db_catalog_warm(c, warmed, NULL);
}
