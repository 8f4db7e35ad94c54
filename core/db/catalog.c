/* Keeping snapshots of the databases' catalogues: when to read, and who has which.
 *
 * Reading happens in a task of its own on a work loop (the catalogue's home), whose pool is not the
 * requests'. One reading at a time: a stamp first, which costs little, and the whole only when that
 * has moved. Callers who wait for something newer share it. A reading is begun by refresh(), by
 * db_catalog_warm(), and every CHECK_MS while the catalogue is in use.
 *
 * Each loop holds the current snapshot for its tasks, counted without atomics (struct held); a new
 * one is brought to it by a post, so asking for it takes no lock.
 */
#include "db/catalog.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "db/db_priv.h"
#include "db/direct.h"
#include "db/pgpool.h"
#include "db/query.h"
#include "db/snapshot.h"
#include "lib/text.h"
#include "log/log.h"

enum { CHECK_MS = 30000, READ_APART_MS = 1000, STAMP_APART_MS = 50 };

struct held { /* a snapshot in the hands of one loop */
    ath_snapshot *snapshot;
    uint32_t refs;
};

struct seat { /* a catalogue as one loop sees it */
    struct db_catalog *catalog;
    ath_loop *loop;
    struct held *held;
    atomic_bool used; /* since the last look */
    char apart[64];   /* other loops write to the neighbours */
};

struct db_catalog {
    struct db_client *client;
    ath_loop *home;
    struct seat *seat;    /* by loop index */
    pthread_mutex_t lock; /* guards what follows */
    ath_snapshot *now;
    struct list waiting;
    bool reading;
    bool stale; /* the stamp says nothing: another database */
    /* of the home loop alone */
    uint64_t read_ms, stamp_ms;
    struct deadline timer;
};

struct wait {
    struct list node;
    ath_loop *loop;
    struct op *op; /* its loop's alone; NULL: stopped, or a function waits */
    ath_fn *fn;
    void *arg;
    bool late; /* came when the reading had begun, which may not have seen what it looks for */
    int rc;
    ath_err err;
};

/* ---- who has which ---- */

static void held_unref(void *arg)
{
    struct held *h = arg;

    if (--h->refs > 0)
        return;
    snapshot_unref(h->snapshot);
    free(h);
}

/* On the seat's loop. */
static void seat_update(void *arg)
{
    struct seat *s = arg;
    struct db_catalog *k = s->catalog;
    struct held *h = MEM_NEW(struct held);

    pthread_mutex_lock(&k->lock);
    h->snapshot = k->now;
    if (h->snapshot)
        atomic_fetch_add_explicit(&h->snapshot->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&k->lock);
    h->refs = 1;
    if (s->held)
        held_unref(s->held);
    s->held = h;
}

static const ath_snapshot *catalog_get(ath_task *t)
{
    struct db_catalog *k = t->client ? t->client->catalog : NULL;
    struct seat *s;

    if (!k)
        return NULL;
    s = &k->seat[t->loop->index];
    if (!s->held || !s->held->snapshot)
        seat_update(s);
    if (!atomic_load_explicit(&s->used, memory_order_relaxed))
        atomic_store_explicit(&s->used, true, memory_order_relaxed);
    if (!s->held->snapshot)
        return NULL;
    s->held->refs++;
    arena_own(&t->arena, s->held, held_unref);
    return s->held->snapshot;
}

/* ---- the end of a reading ---- */

static void wait_over(void *arg)
{
    struct wait *w = arg;

    if (w->fn)
        w->fn(w->arg);
    if (w->op) {
        if (w->rc < 0)
            err_copy(op_err(w->op), &w->err);
        op_finish(w->op, w->rc);
    }
    free(w);
}

/* Everybody who waits learns it, on his own loop. */
static void tell(struct list *waiting, int rc, const ath_err *e)
{
    struct list *node;

    while ((node = list_pop(waiting)) != NULL) {
        struct wait *w = list_entry(node, struct wait, node);
        w->rc = rc;
        if (rc < 0)
            err_copy(&w->err, e);
        loop_post(w->loop, wait_over, w);
    }
}

/* Nobody asks for it any more; those who have it keep it. On its home loop, while nothing is read. */
static void forget(struct db_catalog *k)
{
    ath_snapshot *before;

    pthread_mutex_lock(&k->lock);
    before = k->reading ? NULL : k->now;
    if (before)
        k->now = NULL;
    pthread_mutex_unlock(&k->lock);
    if (!before)
        return;
    snapshot_unref(before);
    deadline_clear(&k->timer);
    for (uint32_t i = 0; i < db_process.loop_count; i++)
        loop_post(k->seat[i].loop, seat_update, &k->seat[i]);
}

static void drop_here(void *arg)
{
    struct db_catalog *k = arg;

    if (atomic_load(&k->client->gone) && db_loop_of(k->home))
        forget(k);
}

void db_catalog_drop(struct db_client *c)
{
    loop_post(c->catalog->home, drop_here, c->catalog);
}

static void read_begin(struct db_catalog *k);

static void reading_over(struct db_catalog *k, ath_snapshot *fresh, int rc, const ath_err *e)
{
    ath_snapshot *before = NULL;
    struct list waiting, late, *node;
    bool again;

    pthread_mutex_lock(&k->lock);
    if (fresh) {
        fresh->version = atomic_fetch_add(&db_process.versions, 1) + 1;
        before = k->now;
        k->now = fresh;
        k->stale = false;
    }
    list_init(&waiting);
    list_init(&late);
    while ((node = list_pop(&k->waiting)) != NULL) {
        struct wait *w = list_entry(node, struct wait, node);
        list_push(rc == 0 && w->late ? &late : &waiting, node);
        w->late = false;
    }
    k->reading = again = !list_empty(&late) && client_ref(k->client);
    while ((node = list_pop(&late)) != NULL)
        list_push(again ? &k->waiting : &waiting, node);
    pthread_mutex_unlock(&k->lock);
    snapshot_unref(before);
    /* In this order: a seat is posted to before those who will look at it. */
    for (uint32_t i = 0; fresh && i < db_process.loop_count; i++)
        loop_post(k->seat[i].loop, seat_update, &k->seat[i]);
    tell(&waiting, rc, e);
    if (again)
        read_begin(k);
    deadline_set(k->home, &k->timer, loop_now_ms(k->home) + CHECK_MS);
    if (unlikely(atomic_load(&k->client->gone)))
        forget(k);
}

/* ---- reading ---- */

struct reading { /* in its task's arena */
    struct db_catalog *catalog;
    bool over;
};

static void reading_end(struct reading *r, ath_snapshot *fresh, int rc, const ath_err *e)
{
    r->over = true;
    reading_over(r->catalog, fresh, rc, e);
}

static void reading_gone(void *arg)
{
    struct reading *r = arg;
    ath_err e;

    if (!r->over)
        reading_end(r, NULL, err_fail(&e, ATH_E_CANCELED, "reading the catalogue was stopped"), &e);
    client_unref(r->catalog->client);
}

static int end_task(ath_task *t)
{
    task_done(t, &(ath_done){ .size = sizeof(ath_done) });
    return 0;
}

static int read_whole(ath_task *t, struct reading *r, ath_err *e);

static int whole_done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reading *r = d->arg;
    struct db_catalog *k = r->catalog;
    ath_snapshot *fresh = NULL;

    if (d->rc == 0) {
        pgpool_uncount(k->client, t->loop); /* it was nobody's request */
        fresh = snapshot_read(d->rows);
        k->read_ms = k->stamp_ms = clock_ms();
        if (fresh->cut)
            log_write(ATH_WARN, "athena::catalog",
                      "catalogue of client \"%s\" is too large: only %u "
                      "relations are known",
                      k->client->shown, fresh->relations);
    }
    reading_end(r, fresh, d->rc, e);
    return end_task(t);
}

static int whole_later(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : read_whole(t, d->arg, e);
}

static int read_whole(ath_task *t, struct reading *r, ath_err *e)
{
    ath_query q = snapshot_query;
    int rc;

    rc = db_query(t, &q, whole_done, r, e);
    if (rc == 0)
        return 0;
    reading_end(r, NULL, rc, e);
    return end_task(t);
}

static int stamp_done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reading *r = d->arg;
    struct db_catalog *k = r->catalog;
    uint64_t now = clock_ms(), since = now - k->read_ms;

    k->stamp_ms = now;
    if (d->rc == 0)
        pgpool_uncount(k->client, t->loop);
    if (d->rc < 0 || str_eq(db_rows_text(d->rows, 0, 0), k->now->stamp)) {
        reading_end(r, NULL, d->rc, e);
        return end_task(t);
    }
    if (since < READ_APART_MS)
        return task_after(t, READ_APART_MS - since, whole_later, r, e);
    return read_whole(t, r, e);
}

static int read_stamp(ath_task *t, struct reading *r, ath_err *e)
{
    ath_query q = stamp_query;
    int rc;

    rc = db_query(t, &q, stamp_done, r, e);
    if (rc == 0)
        return 0;
    reading_end(r, NULL, rc, e);
    return end_task(t);
}

static int stamp_later(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : read_stamp(t, d->arg, e);
}

/* k->now is only replaced by readings, of which this is the only one: no lock to look at it. */
static int read_run(ath_task *t, void *arg, ath_err *e)
{
    struct db_catalog *k = arg;
    struct reading *r = ARENA_NEW(&t->arena, struct reading);
    uint64_t since = clock_ms() - k->stamp_ms;
    bool whole;

    r->catalog = k;
    t->client = k->client;
    arena_own(&t->arena, r, reading_gone);
    pthread_mutex_lock(&k->lock);
    whole = !k->now || k->stale;
    pthread_mutex_unlock(&k->lock);
    if (whole)
        return read_whole(t, r, e);
    if (since < STAMP_APART_MS)
        return task_after(t, STAMP_APART_MS - since, stamp_later, r, e);
    return read_stamp(t, r, e);
}

static void read_begin(struct db_catalog *k)
{
    task_begin(NULL, k->home, &(ath_fork){ .size = sizeof(ath_fork), .run = read_run, .arg = k });
}

static void on_timer(struct deadline *d)
{
    struct db_catalog *k = container_of(d, struct db_catalog, timer);
    bool used = false, begin;

    for (uint32_t i = 0; i < db_process.loop_count; i++)
        used = atomic_exchange(&k->seat[i].used, false) || used;
    deadline_set(k->home, &k->timer, loop_now_ms(k->home) + CHECK_MS);
    pthread_mutex_lock(&k->lock);
    begin = used && !k->reading && client_ref(k->client);
    k->reading = k->reading || begin;
    pthread_mutex_unlock(&k->lock);
    if (begin)
        read_begin(k);
}

/* ---- waiting for one ---- */

/* Puts `w` into the line unless there is one already that is newer than `known`. */
static bool wait_begin(struct db_catalog *k, struct wait *w, uint64_t known)
{
    bool there, begin = false;

    pthread_mutex_lock(&k->lock);
    there = k->now && k->now->version > known && !k->stale;
    if (!there) {
        list_push(&k->waiting, &w->node);
        w->late = known && k->reading;
        begin = !k->reading && client_ref(k->client);
        k->reading = true;
    }
    pthread_mutex_unlock(&k->lock);
    if (begin)
        read_begin(k);
    return !there;
}

static void wait_stop(struct op *o)
{
    struct wait *w = o->impl;
    struct db_catalog *k = o->task->client->catalog;
    bool mine;

    if (o->finished)
        return;
    pthread_mutex_lock(&k->lock);
    mine = !list_empty(&w->node); /* else it is on its way to wait_over() */
    list_unlink(&w->node);
    pthread_mutex_unlock(&k->lock);
    w->op = NULL;
    if (mine)
        free(w);
    op_finish(o, ATH_E_CANCELED);
}

static int catalog_refresh(ath_task *t, uint64_t known, ath_then *then, void *arg, ath_err *e)
{
    struct wait *w;
    struct op *o;
    int rc = task_may_start(t, e);

    if (rc < 0)
        return rc;
    if (!t->client)
        return err_fail(e, ATH_E_BUG, "a catalogue was asked for in a task without a client");
    w = MEM_NEW(struct wait);
    list_init(&w->node);
    w->loop = t->loop;
    w->op = o = op_new(t, then, arg);
    o->impl = w;
    if (wait_begin(t->client->catalog, w, known)) {
        o->stop = wait_stop;
        return 0;
    }
    seat_update(&t->client->catalog->seat[t->loop->index]); /* its post may still be under way */
    free(w);
    op_finish(o, 0);
    return 0;
}

void db_catalog_warm(struct db_client *c, ath_fn *done, void *arg)
{
    struct wait *w = MEM_NEW(struct wait);

    list_init(&w->node);
    w->loop = c->catalog->home;
    w->fn = done;
    w->arg = arg;
    if (!wait_begin(c->catalog, w, 0))
        loop_post(w->loop, wait_over, w);
}

void db_catalog_changed(struct db_client *c)
{
    struct db_catalog *k = c->catalog;
    bool begin;

    pthread_mutex_lock(&k->lock);
    begin = k->now && !k->reading && client_ref(k->client);
    k->stale = k->now != NULL;
    k->reading = k->reading || begin;
    pthread_mutex_unlock(&k->lock);
    if (begin)
        read_begin(k);
}

/* ---- life ---- */

static ath_loop *home_of(void)
{
    ath_loop *home = db_process.loops[0];

    for (uint32_t i = 0; i < db_process.loop_count; i++) {
        ath_loop *l = db_process.loops[i];
        if (l->kind == LOOP_WORK)
            return l;
        if (l->kind == LOOP_CONTROL)
            home = l;
    }
    return home;
}

struct db_catalog *db_catalog_new(struct db_client *c)
{
    struct db_catalog *k = MEM_NEW(struct db_catalog);

    k->client = c;
    k->home = home_of();
    pthread_mutex_init(&k->lock, NULL);
    list_init(&k->waiting);
    deadline_init(&k->timer, on_timer);
    k->seat = mem_new(db_process.loop_count * sizeof(*k->seat));
    for (uint32_t i = 0; i < db_process.loop_count; i++) {
        k->seat[i].catalog = k;
        k->seat[i].loop = db_process.loops[i];
    }
    return k;
}

void db_catalog_halt(struct db_client *c, const ath_loop *l)
{
    if (c->catalog->home == l)
        deadline_clear(&c->catalog->timer);
}

void db_catalog_free(struct db_catalog *k)
{
    for (uint32_t i = 0; i < db_process.loop_count; i++)
        if (k->seat[i].held)
            held_unref(k->seat[i].held);
    snapshot_unref(k->now);
    pthread_mutex_destroy(&k->lock);
    free(k->seat);
    free(k);
}

/* ---- the service ---- */

static uint64_t catalog_version(const ath_snapshot *s)
{
    return s->version;
}

static const ath_attribute *catalog_column(const ath_relation *r, ath_str name)
{
    for (uint32_t i = 0; i < r->column_count; i++)
        if (str_eq(r->column[i].name, name))
            return &r->column[i];
    return NULL;
}

static const ath_relation *catalog_at(const ath_snapshot *s, uint32_t i)
{
    return i < s->relations ? &s->relation[i] : NULL;
}

static ath_str catalog_type_name(const ath_snapshot *s, uint32_t oid)
{
    const struct snapshot_type *t = snapshot_type(s, oid);

    return t ? t->name : ATH_S("");
}

const ath_catalog catalog_service = {
    .size = sizeof(ath_catalog),
    .get = catalog_get,
    .version = catalog_version,
    .refresh = catalog_refresh,
    .relation = snapshot_relation,
    .column = catalog_column,
    .at = catalog_at,
    .type_name = catalog_type_name,
    .function = snapshot_function,
    .row_type = snapshot_row_type,
};
