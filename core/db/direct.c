/* A small table under a lock: a look-up is rare beside what a database costs.
 *
 * How a client ends: it leaves the table and is marked, so that nobody can refer to it any more;
 * each loop closes its pool (posted behind whatever was posted for it before); the last one frees
 * it.
 */
#include "db/direct.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "db/directuri.h"
#include "db/pgpool.h"
#include "io/crypto.h"

struct place {
    struct db_client *client; /* NULL: free */
    uint8_t key[SHA256_BYTES];
    uint64_t used_ms;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows, and references */
static struct place table[DIRECT_CLIENTS];
static struct db_client *ending;

/* ---- the end of one ---- */

struct closing {
    struct db_client *client;
    ath_loop *loop;
};

static void forget_ending(struct db_client *c)
{
    struct db_client **at = &ending;

    pthread_mutex_lock(&lock);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    pthread_mutex_unlock(&lock);
}

static void close_here(void *arg)
{
    struct closing *x = arg;
    struct db_client *c = x->client;

    if (db_loop_of(x->loop)) {
        pgpool_close_of(c, x->loop);
        db_catalog_halt(c, x->loop);
    }
    free(x);
    if (atomic_fetch_sub(&c->closing, 1) != 1)
        return;
    forget_ending(c);
    client_free(c);
}

/* Under the lock: out of the table. */
static struct db_client *take_out(struct place *at)
{
    struct db_client *c = at->client;

    at->client = NULL;
    c->retired = true;
    c->next = ending;
    ending = c;
    atomic_store(&c->closing, db_process.loop_count);
    return c;
}

static void end_client(struct db_client *c)
{
    for (uint32_t i = 0; c && i < db_process.loop_count; i++) {
        struct closing *x = MEM_NEW(struct closing);
        *x = (struct closing){ c, db_process.loops[i] };
        loop_post(x->loop, close_here, x);
    }
}

/* ---- references ---- */

bool client_ref(struct db_client *c)
{
    bool ok;

    if (!c->direct)
        return true;
    pthread_mutex_lock(&lock);
    ok = !c->retired;
    c->refs += ok;
    pthread_mutex_unlock(&lock);
    return ok;
}

void client_unref(struct db_client *c)
{
    if (!c->direct)
        return;
    pthread_mutex_lock(&lock);
    c->refs--;
    pthread_mutex_unlock(&lock);
}

static void unref(void *client)
{
    client_unref(client);
}

/* ---- the table ---- */

static struct place *find(const uint8_t key[SHA256_BYTES])
{
    for (size_t i = 0; i < DIRECT_CLIENTS; i++)
        if (table[i].client && memcmp(table[i].key, key, SHA256_BYTES) == 0)
            return &table[i];
    return NULL;
}

/* One that nobody refers to and that was not used for the longest time; `since`: for that long. */
static struct place *unused(uint64_t since)
{
    struct place *best = NULL;

    for (size_t i = 0; i < DIRECT_CLIENTS; i++) {
        struct place *at = &table[i];
        if (at->client && at->client->refs == 0 && clock_ms() - at->used_ms >= since &&
            (!best || at->used_ms < best->used_ms))
            best = at;
    }
    return best;
}

static struct place *free_place(void)
{
    for (size_t i = 0; i < DIRECT_CLIENTS; i++)
        if (!table[i].client)
            return &table[i];
    return NULL;
}

static struct db_client *use(struct place *at)
{
    at->used_ms = clock_ms();
    at->client->refs++;
    return at->client;
}

static void token_of(const uint8_t key[SHA256_BYTES], char ret[DIRECT_TOKEN])
{
    uint64_t head = 0;
    char hex[17] = { 0 };

    for (int i = 0; i < 8; i++)
        head = head << 8 | key[i];
    str_put_hex(hex, head);
    (void)snprintf(ret, DIRECT_TOKEN, "pg_direct_%s", hex);
}

static struct db_client *direct_new(const uint8_t key[SHA256_BYTES], struct db_target *target)
{
    char token[DIRECT_TOKEN];
    struct db_client *c;

    token_of(key, token);
    c = client_new(str_of(token), token, "direct", target);
    c->direct = true;
    c->pool_max = c->pool_max < DIRECT_CONNECTIONS ? c->pool_max : DIRECT_CONNECTIONS;
    c->idle_ms = c->idle_ms && c->idle_ms < DIRECT_IDLE_MS ? c->idle_ms : DIRECT_IDLE_MS;
    return c;
}

/* Two callers may come with the same new URI: the second one's target is given back. */
static struct db_client *enter(const uint8_t key[SHA256_BYTES], struct db_target *target,
                               struct db_client **ret_ended)
{
    struct place *at = find(key), *old;

    if (at) {
        target_unref(target);
        return use(at);
    }
    old = unused(DIRECT_KEEP_MS);
    if (!old && !free_place())
        old = unused(0);
    if (old)
        *ret_ended = take_out(old);
    at = free_place();
    if (!at) {
        target_unref(target);
        return NULL;
    }
    memcpy(at->key, key, SHA256_BYTES);
    at->client = direct_new(key, target);
    return use(at);
}

/* ---- the call ---- */

static struct direct_rules rules(void)
{
    return (struct direct_rules){ db_process.options.direct_private,
                                  db_process.options.direct_hosts };
}

static int check_on(ath_err *e)
{
    struct direct_rules r = rules();

    if (r.allow_private || (r.hosts && *r.hosts))
        return 0;
    err_raise(e, "feature_unavailable", "this server does not serve direct PostgreSQL URIs");
    err_hint(e, "An operator names the hosts that they may lead to in gateway.jdbc_allowed_hosts.");
    return e->rc;
}

static void wipe(struct buf *uri)
{
    if (uri->p)
        explicit_bzero(uri->p, uri->n);
    buf_free(uri);
}

bool db_direct_token(ath_str uri, char ret[DIRECT_TOKEN])
{
    struct buf b = BUF_HEAP;
    uint8_t key[SHA256_BYTES];
    bool ok = direct_normalise(uri, &b);

    if (ok) {
        crypto_sha256(buf_view(&b), key);
        token_of(key, ret);
    }
    wipe(&b);
    return ok;
}

static struct db_client *find_used(const uint8_t key[SHA256_BYTES])
{
    struct db_client *c = NULL;
    struct place *at;

    pthread_mutex_lock(&lock);
    at = find(key);
    if (at)
        c = use(at);
    pthread_mutex_unlock(&lock);
    return c;
}

static int client_by_key(const uint8_t key[SHA256_BYTES], struct db_target *target,
                         struct db_client **ret, ath_err *e)
{
    struct db_client *ended = NULL;

    pthread_mutex_lock(&lock);
    *ret = enter(key, target, &ended);
    pthread_mutex_unlock(&lock);
    end_client(ended);
    if (*ret)
        return 0;
    return err_raise(e, "server_busy", "all %d places for direct URIs are in use", DIRECT_CLIENTS);
}

static int client_of_caller(const char *uri, struct db_client **ret, ath_err *e)
{
    struct direct_rules r = rules();
    uint8_t key[SHA256_BYTES];
    struct db_target *target;
    int rc;

    crypto_sha256(str_of(uri), key);
    if ((*ret = find_used(key)) != NULL)
        return 0;
    rc = direct_parse(uri, &r, db_process.options.query_timeout_ms, &target, e);
    if (rc < 0)
        return rc;
    if (check_on(e) < 0) {
        target_unref(target);
        return e->rc;
    }
    return client_by_key(key, target, ret, e);
}

/* No URI of a caller's begins so, so its key is never one of theirs. */
#define BY_OPERATOR "operator "

static int client_of_operator(struct buf *marked, struct db_client **ret, ath_err *e)
{
    uint8_t key[SHA256_BYTES];
    struct db_target *target;
    int rc;

    crypto_sha256(buf_view(marked), key);
    if ((*ret = find_used(key)) != NULL)
        return 0;
    rc = target_parse(marked->p + strlen(BY_OPERATOR), 0, &target, e);
    return rc < 0 ? rc : client_by_key(key, target, ret, e);
}

static int no_uri(ath_err *e)
{
    return err_raise(e, "invalid_direct_uri",
                     "Provide x-pg-uri, x-athena-jdbc-url, or x-jdbc-url as "
                     "jdbc:postgresql://... or postgres://...");
}

int db_direct_client(ath_task *t, ath_str uri, bool by_operator, struct db_client **ret, ath_err *e)
{
    struct buf b = BUF_HEAP;
    int rc;

    if (by_operator) {
        buf_lit(&b, BY_OPERATOR);
        buf_str(&b, uri);
        rc = client_of_operator(&b, ret, e);
    } else {
        rc = direct_normalise(uri, &b) ? client_of_caller(b.p, ret, e) : no_uri(e);
    }
    wipe(&b);
    if (rc == 0)
        arena_own(&t->arena, *ret, unref);
    return rc;
}

uint32_t db_direct_count(void)
{
    uint32_t n = 0;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < DIRECT_CLIENTS; i++)
        n += table[i].client != NULL;
    pthread_mutex_unlock(&lock);
    return n;
}

void direct_halt(const ath_loop *l)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < DIRECT_CLIENTS; i++)
        if (table[i].client)
            db_catalog_halt(table[i].client, l);
    for (struct db_client *c = ending; c; c = c->next)
        db_catalog_halt(c, l);
    pthread_mutex_unlock(&lock);
}

void direct_stop(void)
{
    for (size_t i = 0; i < DIRECT_CLIENTS; i++) {
        if (table[i].client)
            client_free(table[i].client);
        table[i].client = NULL;
    }
    while (ending) {
        struct db_client *c = ending;
        ending = c->next;
        client_free(c);
    }
}
