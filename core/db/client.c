/* The registry of databases.
 *
 * It is read by every request on every loop and changed a few times in a process's life: so a
 * change makes a new table and publishes it with one store; old tables stay until db_stop(),
 * because some loop may still read them. Clients themselves are never freed before that.
 */
#include "db/client.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "db/direct.h"
#include "db/listen.h"
#include "db/pgbudget.h"
#include "db/pgown.h"
#include "db/pgpool.h"
#include "io/crypto.h"
#include "lib/buf.h"
#include "log/log.h"

enum { NAME_MAX_BYTES = 256 };

struct registry {
    struct registry *older;
    struct map by_name;
    struct db_client **at;
    size_t n;
};

struct db_process db_process;

static _Atomic(struct registry *) registry;
static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* changes of the registry and of clients */

int db_start(const struct db_options *o, ath_loop *const *loops, uint32_t n, ath_err *e)
{
    if (n == 0 || o->pool_max == 0 || o->budget == 0)
        return err_fail(e, ATH_E_CONFIG, "no connections are allowed: pool of %llu, budget of %llu",
                        (unsigned long long)o->pool_max, (unsigned long long)o->budget);
    db_process = (struct db_process){ .options = *o, .loops = loops, .loop_count = n };
    pgbudget_init(o->budget);
    return 0;
}

static const struct db_watch *watch;

void client_free(struct db_client *c)
{
    if (watch && atomic_load(&c->cache))
        watch->freed(c);
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

    direct_stop();
    for (size_t i = 0; r && i < r->n; i++)
        client_free(r->at[i]);
    while (r) {
        struct registry *older = r->older;
        map_free(&r->by_name);
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

struct db_client *db_client_find(ath_str name)
{
    struct registry *r = atomic_load_explicit(&registry, memory_order_acquire);
    char folded[NAME_MAX_BYTES];
    ath_str key;

    if (!r || !fold(name, folded, &key))
        return NULL;
    return map_get(&r->by_name, key);
}

size_t db_client_count(void)
{
    const struct registry *r = atomic_load_explicit(&registry, memory_order_acquire);

    return r ? r->n : 0;
}

struct db_client *db_client_at(size_t i)
{
    const struct registry *r = atomic_load_explicit(&registry, memory_order_acquire);

    return r && i < r->n ? r->at[i] : NULL;
}

static void publish(struct db_client *added)
{
    struct registry *before = atomic_load(&registry), *now = MEM_NEW(struct registry);

    now->older = before;
    now->n = (before ? before->n : 0) + 1;
    now->at = mem_new(now->n * sizeof(struct db_client *));
    for (size_t i = 0; i + 1 < now->n; i++)
        now->at[i] = before->at[i];
    now->at[now->n - 1] = added;
    for (size_t i = 0; i < now->n; i++)
        map_put(&now->by_name, str_of(now->at[i]->name), now->at[i]);
    atomic_store_explicit(&registry, now, memory_order_release);
}

struct db_client *client_new(ath_str name, const char *shown, const char *source,
                             struct db_target *target)
{
    struct db_client *c = MEM_NEW(struct db_client);

    c->name = mem_dup_str(name);
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

struct retarget {
    struct db_client *client;
    ath_loop *loop;
};

static void retarget_here(void *arg)
{
    struct retarget *r = arg;

    if (db_loop_of(r->loop) && r->client->pool[r->loop->index])
        pgpool_retarget(r->client->pool[r->loop->index]);
    if (db_loop_of(r->loop))
        listen_retarget(r->client, r->loop);
    free(r);
}

static void replace_target(struct db_client *c, struct db_target *target)
{
    struct db_target *before;

    pthread_mutex_lock(&lock);
    before = c->target;
    c->target = target;
    atomic_fetch_add(&c->moved, 1);
    pthread_mutex_unlock(&lock);
    if (!before) { /* it could not even be tried until now */
        atomic_store(&c->down, false);
        atomic_store(&c->unusable, false);
    } else {
        target_unref(before);
    }
    for (uint32_t i = 0; i < db_process.loop_count; i++) {
        struct retarget *r = MEM_NEW(struct retarget);
        *r = (struct retarget){ c, db_process.loops[i] };
        loop_post(db_process.loops[i], retarget_here, r);
    }
    db_catalog_changed(c);
}

int db_client_put(const char *name, const char *uri, const char *source, ath_err *e)
{
    char folded[NAME_MAX_BYTES];
    struct db_target *target;
    struct db_client *c;
    ath_str key;

    if (!fold(str_of(name), folded, &key))
        return err_fail(e, ATH_E_CONFIG, "name of the client is empty or too long");
    if (target_parse(uri, db_process.options.query_timeout_ms, &target, e) < 0)
        return ATH_E_CONFIG;
    c = db_client_find(key);
    if (c)
        replace_target(c, target);
    else
        publish(client_new(key, name, source, target));
    return 0;
}

int db_client_put_unusable(const char *name, const char *source, const char *reason, ath_err *e)
{
    char folded[NAME_MAX_BYTES];
    struct db_client *c;
    ath_str key;

    if (!fold(str_of(name), folded, &key))
        return err_fail(e, ATH_E_CONFIG, "name of the client is empty or too long");
    if (db_client_find(key))
        return 0;
    c = client_new(key, name, source, NULL);
    c->down_reason = mem_dup_z(reason);
    atomic_store(&c->down, true);
    atomic_store(&c->unusable, true);
    publish(c);
    return 0;
}

struct db_target *client_target(struct db_client *c)
{
    struct db_target *t;

    pthread_mutex_lock(&lock);
    t = target_ref(c->target);
    pthread_mutex_unlock(&lock);
    return t;
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

    for (size_t i = 0; i < t->hosts; i++)
        buf_printf(&b, "%s\n%s\n%s\n", t->host[i].name, t->host[i].addr ? t->host[i].addr : "",
                   t->host[i].port);
    for (size_t i = 0; i < t->params; i++) {
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

void client_is_up(struct db_client *c, const ath_err *why)
{
    bool was_down = atomic_exchange(&c->down, why != NULL);
    bool was_up = atomic_exchange(&c->up, why == NULL);

    if (why ? was_down : was_up)
        return;
    if (!why) {
        log_write(c->direct ? ATH_DEBUG : ATH_INFO, "athena::pool", "client \"%s\" is connected",
                  c->shown);
        return;
    }
    pthread_mutex_lock(&lock);
    free(c->down_reason);
    c->down_reason = mem_dup_z(why->message);
    pthread_mutex_unlock(&lock);
    log_write(c->direct ? ATH_DEBUG : ATH_WARN, "athena::pool",
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
    refuse(e, "is configured but currently unavailable", c->shown);
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

int db_client_usable(const struct db_client *c, ath_err *e)
{
    if (!c)
        return err_raise(e, "client_unknown", "the client is not configured");
    if (!c->active) {
        err_raise(e, "client_inactive", "Postgres client is configured but inactive");
        return refuse(e, "is inactive", c->shown);
    }
    if (c->frozen) {
        err_raise(e, "client_frozen", "Postgres client '%s' is configured but frozen", c->shown);
        return refuse(e, "is frozen", c->shown);
    }
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
        .up = atomic_load(&c->up),
    };
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
        if (!atomic_load(&c->unusable))
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
        if (atomic_load(&c->unusable))
            warm_step(w);
        else
            db_catalog_warm(c, warm_step, w);
    }
    warm_step(w);
}
