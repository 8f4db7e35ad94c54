/* Reading what is known of a client's relations, in a task of its own:
 *
 *     read_all     how often anything has changed       (by Redis, or from memory)
 *     look         identity and stamps                  the same as before: that was it
 *     read         who depends on whom
 *
 * The count is read before the look, so a change in between makes what was read outdated and never
 * the other way round. When the look says that this is another database than was thought, it begins
 * anew with that one.
 */
#include "cache/place.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cache/listen.h"
#include "cache/remote.h"
#include "db/direct.h"
#include "db/query.h"
#include "lib/buf.h"
#include "log/log.h"

enum {
    CHECK_MS = 30000,
    APART_MIN_MS = 5,
    APART_MAX_MS = 1000,
    FAILED_MS = 200,
    UNHEARD_MS = 1000,
    TURNS_MOST = 4
};

struct cache_place {
    struct cache_place *next;
    struct db_client *client;
    ath_loop *home;
    pthread_mutex_t lock; /* guards what follows */
    struct moment now;
    struct list waiting;
    uint64_t begun_ms, over_ms, read_ms, failed_ms;
    uint32_t moved; /* of its target, when it was read */
    bool reading, owes;
    struct place_ear ear;
    atomic_uint_fast64_t unheard_ms; /* up to then what nobody heard of may take effect */
    struct deadline again;
    bool plain; /* its role may not see the cluster's identifier; the task's own */
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cache_place *places;

static void read_begin(struct cache_place *p);
static void unheard_again(struct deadline *d);

/* ---- who asks ---- */

static struct cache_place *place_new(struct db_client *c)
{
    struct cache_place *p = MEM_NEW(struct cache_place);

    p->client = c;
    p->home = task_work_loop();
    pthread_mutex_init(&p->lock, NULL);
    list_init(&p->waiting);
    atomic_store(&p->ear.losses, 1); /* it was never heard */
    deadline_init(&p->again, unheard_again);
    p->next = places;
    places = p;
    return p;
}

struct cache_place *place_of(struct db_client *c)
{
    struct cache_place *p = atomic_load_explicit(&c->cache, memory_order_acquire);

    if (likely(p != NULL))
        return p;
    pthread_mutex_lock(&list_lock);
    p = atomic_load(&c->cache);
    if (!p) {
        p = place_new(c);
        atomic_store_explicit(&c->cache, p, memory_order_release);
    }
    pthread_mutex_unlock(&list_lock);
    return p;
}

static bool hears(struct cache_place *p)
{
    return atomic_load(&p->ear.losses) == atomic_load(&p->ear.heard);
}

enum place_state place_now(struct cache_place *p, struct moment *ret)
{
    enum place_state state = PLACE_KNOWN;
    const struct relations *r;
    uint64_t age;

    pthread_mutex_lock(&p->lock);
    *ret = p->now;
    age = clock_ms() - p->read_ms;
    if (p->moved != atomic_load_explicit(&p->client->moved, memory_order_relaxed))
        ret->relations = NULL;
    if ((r = ret->relations))
        relations_ref(ret->relations);
    pthread_mutex_unlock(&p->lock);
    if (!r)
        return PLACE_UNKNOWN;
    if (unlikely(age > CHECK_MS)) {
        place_refresh(p);
        state = age > 2 * CHECK_MS ? PLACE_KEPT_OUT : state;
    }
    if (r->replica || (r->watched && !hears(p)))
        state = PLACE_KEPT_OUT;
    return state;
}

/* Reading takes a tenth of the time at most. */
static bool is_soon(const struct cache_place *p, uint64_t now)
{
    uint64_t apart = 10 * (p->over_ms - p->begun_ms);

    apart = apart < APART_MIN_MS ? APART_MIN_MS : apart > APART_MAX_MS ? APART_MAX_MS : apart;
    return p->over_ms && now - p->over_ms < apart;
}

/* Under the lock; true: the caller begins one when he has let go of it. */
static bool may_begin(struct cache_place *p, bool soon)
{
    uint64_t now = clock_ms();

    if (p->reading || (!soon && is_soon(p, now)))
        return false;
    p->begun_ms = now;
    p->reading = true;
    return true;
}

void place_refresh(struct cache_place *p)
{
    bool begin;

    pthread_mutex_lock(&p->lock);
    begin = may_begin(p, false);
    pthread_mutex_unlock(&p->lock);
    if (begin)
        read_begin(p);
}

bool place_wait(struct cache_place *p, struct place_wait *w, bool outdated)
{
    bool begin, wait;

    pthread_mutex_lock(&p->lock);
    wait = !p->failed_ms || clock_ms() - p->failed_ms >= FAILED_MS;
    begin = wait && may_begin(p, !outdated);
    wait = wait && p->reading;
    if (wait)
        list_push(&p->waiting, &w->node);
    pthread_mutex_unlock(&p->lock);
    if (begin)
        read_begin(p);
    return wait;
}

bool place_leave(struct cache_place *p, struct place_wait *w)
{
    bool waits;

    pthread_mutex_lock(&p->lock);
    waits = !list_empty(&w->node);
    list_unlink(&w->node);
    pthread_mutex_unlock(&p->lock);
    return waits;
}

/* ---- changes of anything ---- */

void place_owes(struct cache_place *p)
{
    pthread_mutex_lock(&p->lock);
    p->owes = true;
    pthread_mutex_unlock(&p->lock);
    place_refresh(p);
}

static void change_all(struct database *d, ath_loop *l)
{
    if (!remote_on())
        database_change(d, NULL, 0);
    else if (l)
        remote_change(l, d, NULL, 0, &(struct change_ask){ 0 });
}

static void change_anything(struct cache_place *p, ath_loop *l)
{
    struct database *d;

    pthread_mutex_lock(&p->lock);
    d = p->now.database;
    p->owes = p->owes || !d;
    pthread_mutex_unlock(&p->lock);
    if (d)
        change_all(d, l);
}

/* After a second, by when most of it is over, and when all of it must be. */
static void unheard_again(struct deadline *d)
{
    struct cache_place *p = container_of(d, struct cache_place, again);
    uint64_t end = atomic_load(&p->unheard_ms);

    change_anything(p, p->home);
    if (loop_now_ms(p->home) < end)
        deadline_set(p->home, &p->again, end);
}

static void unheard_home(void *arg)
{
    struct cache_place *p = arg;
    uint64_t soon = loop_now_ms(p->home) + UNHEARD_MS;

    if (!p->again.at_ms || p->again.at_ms > soon)
        deadline_set(p->home, &p->again, soon);
}

void place_unheard(struct cache_place *p, ath_loop *l, uint64_t within_ms)
{
    change_anything(p, l);
    if (p->client->direct)
        return; /* it may be gone by then */
    atomic_store(&p->unheard_ms, loop_now_ms(l) + within_ms);
    loop_post(p->home, unheard_home, p);
}

struct place_ear *place_ear(struct cache_place *p)
{
    return &p->ear;
}

struct db_client *place_client(const struct cache_place *p)
{
    return p->client;
}

ath_loop *place_home(const struct cache_place *p)
{
    return p->home;
}

/* ---- the end of a reading ---- */

struct reading { /* in its task's arena */
    struct cache_place *place;
    struct database *database;
    struct relations_head head;
    uint64_t all;
    uint32_t moved, turns;
    struct token_ask tokens;
    struct op *op; /* that waits for them */
    bool over;
};

static void take_now(struct cache_place *p, const struct reading *r, struct relations *fresh)
{
    if (fresh)
        p->now.relations = fresh;
    p->now.database = r->database;
    p->now.valid = r->all;
    p->moved = r->moved;
    p->read_ms = clock_ms();
    p->failed_ms = 0;
}

static void scope_of(struct cache_place *p, const struct relations *r, uint8_t ret[SHA256_BYTES])
{
    struct buf b = BUF_HEAP;
    uint8_t address[SHA256_BYTES];

    db_client_digest(p->client, address);
    buf_mem(&b, (const char *)address, sizeof(address));
    buf_str(&b, r->id);
    buf_char(&b, 0);
    buf_str(&b, r->stamp);
    crypto_sha256(buf_view(&b), ret);
    buf_free(&b);
}

/* rc 0: `fresh`, or what there was still holds. */
static void reading_over(struct reading *r, struct relations *fresh, int rc)
{
    struct cache_place *p = r->place;
    struct relations *before = fresh ? p->now.relations : NULL;
    uint8_t scope[SHA256_BYTES];
    struct list waiting, *node;
    bool owes;

    r->over = true;
    if (fresh)
        scope_of(p, fresh, scope);
    pthread_mutex_lock(&p->lock);
    if (rc == 0)
        take_now(p, r, fresh);
    else
        p->failed_ms = clock_ms();
    if (fresh)
        memcpy(p->now.scope, scope, sizeof(scope));
    owes = rc == 0 && p->owes;
    p->owes = p->owes && !owes;
    p->reading = false;
    p->over_ms = clock_ms();
    list_take(&waiting, &p->waiting);
    while ((node = list_pop(&waiting))) {
        struct place_wait *w = list_entry(node, struct place_wait, node);
        loop_post(w->loop, w->over, w->arg);
    }
    pthread_mutex_unlock(&p->lock);
    relations_unref(before);
    if (owes)
        change_all(r->database, p->home);
    if (fresh && fresh->watched && !p->client->direct)
        listen_begin(p); /* which would hold a caller's own for ever */
}

static void reading_gone(void *arg)
{
    struct reading *r = arg;

    if (!r->over)
        reading_over(r, NULL, ATH_E_CANCELED);
    client_unref(r->place->client);
}

static int reading_end(ath_task *t, struct reading *r, struct relations *fresh, int rc)
{
    reading_over(r, fresh, rc);
    task_done(t, &(ath_done){ .size = sizeof(ath_done) });
    return 0;
}

/* ---- its steps ---- */

static int read_all(ath_task *t, struct reading *r, ath_err *e);

static int whole_done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reading *r = d->arg;

    (void)e;
    return reading_end(t, r, d->rc == 0 ? relations_read(&r->head, d->rows) : NULL, d->rc);
}

static int read_whole(ath_task *t, struct reading *r, ath_err *e)
{
    ath_query q = relations_query;
    int rc;

    rc = db_query(t, &q, whole_done, r, e);
    return rc < 0 ? reading_end(t, r, NULL, rc) : 0;
}

/* An identity for those that may not see theirs: their address. */
static ath_str address_id(ath_task *t, struct cache_place *p)
{
    uint8_t address[SHA256_BYTES];
    uint64_t w[2];

    db_client_digest(p->client, address);
    memcpy(w, address, sizeof(w));
    return arena_printf(&t->arena, "%016llx%016llx", (unsigned long long)w[0],
                        (unsigned long long)w[1]);
}

static void take_head(ath_task *t, struct reading *r, const ath_rows *rows)
{
    struct relations_head head = relations_head_of(rows);

    r->head = (struct relations_head){
        .id = head.id.n ? arena_str(&t->arena, head.id) : address_id(t, r->place),
        .stamp = arena_str(&t->arena, head.stamp),
        .replica = head.replica,
    };
}

/* The place's own relations are only replaced by readings, of which this is the only one. */
static bool still_holds(const struct reading *r)
{
    const struct relations *now = r->place->now.relations;

    return now && r->moved == r->place->moved && str_eq(now->id, r->head.id) &&
           str_eq(now->stamp, r->head.stamp) && now->replica == r->head.replica;
}

static int look(ath_task *t, struct reading *r, ath_err *e);

static int look_done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reading *r = d->arg;
    struct cache_place *p = r->place;
    ath_str state = err_get(e, "sqlstate");

    if (d->rc < 0 && !p->plain && (str_is(state, "42501") || str_is(state, "42883"))) {
        p->plain = true;
        return look(t, r, e);
    }
    if (d->rc < 0)
        return reading_end(t, r, NULL, d->rc);
    take_head(t, r, d->rows);
    if (!r->database || !str_eq(database_id(r->database), r->head.id)) {
        r->database = database_of(r->head.id);
        return read_all(t, r, e);
    }
    return still_holds(r) ? reading_end(t, r, NULL, 0) : read_whole(t, r, e);
}

static int look(ath_task *t, struct reading *r, ath_err *e)
{
    ath_query q = r->place->plain ? relations_look_plain : relations_look;
    int rc;

    rc = db_query(t, &q, look_done, r, e);
    return rc < 0 ? reading_end(t, r, NULL, rc) : 0;
}

static int tokens_come(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reading *r = d->arg;

    r->all = r->tokens.token[0];
    return d->rc < 0 ? reading_end(t, r, NULL, d->rc) : look(t, r, e);
}

static void tokens_done(struct token_ask *a, int rc)
{
    struct reading *r = a->arg;

    if (rc < 0)
        err_fail(op_err(r->op), rc, "Redis does not answer");
    op_finish(r->op, rc);
}

static int read_all(ath_task *t, struct reading *r, ath_err *e)
{
    if (++r->turns > TURNS_MOST)
        return reading_end(t, r, NULL, ATH_E_UPSTREAM); /* it is another one each time */
    if (!r->database)
        return look(t, r, e);
    if (!remote_on()) {
        database_read(r->database, NULL, 0, &r->all);
        return look(t, r, e);
    }
    r->tokens = (struct token_ask){ .database = r->database, .done = tokens_done, .arg = r };
    if (remote_tokens(t->loop, &r->tokens) < 0)
        return reading_end(t, r, NULL, ATH_E_UPSTREAM);
    r->op = op_new(t, tokens_come, r);
    return 0;
}

static int read_run(ath_task *t, void *arg, ath_err *e)
{
    struct cache_place *p = arg;
    struct reading *r = ARENA_NEW(&t->arena, struct reading);

    t->client = p->client;
    r->place = p;
    r->moved = atomic_load(&p->client->moved);
    r->database = p->now.database;
    arena_own(&t->arena, r, reading_gone);
    return read_all(t, r, e);
}

/* The client is kept until its end. */
static void read_begin(struct cache_place *p)
{
    if (client_ref(p->client))
        task_begin(NULL, p->home,
                   &(ath_fork){ .size = sizeof(ath_fork), .run = read_run, .arg = p });
}

/* ---- life ---- */

static void place_free(struct cache_place *p)
{
    atomic_store(&p->client->cache, NULL);
    relations_unref(p->now.relations);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void place_end(struct db_client *c)
{
    struct cache_place *p = atomic_load(&c->cache), **at = &places;

    pthread_mutex_lock(&list_lock);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    pthread_mutex_unlock(&list_lock);
    place_free(p);
}

static void drain_home(void *arg)
{
    struct cache_place *p = arg;

    if (p->ear.task)
        task_cancel(p->ear.task);
}

void place_drain(void)
{
    pthread_mutex_lock(&list_lock);
    for (struct cache_place *p = places; p; p = p->next)
        if (!p->client->direct)
            loop_post(p->home, drain_home, p);
    pthread_mutex_unlock(&list_lock);
}

void place_stop(void)
{
    while (places) {
        struct cache_place *p = places;
        places = p->next;
        place_free(p);
    }
}
