/* A task without end, on the place's home loop: waits for notifications, tells what they mean, and
 * waits again. It ends when the server drains.
 */
#include "cache/listen.h"

#include <stdlib.h>

#include "cache/remote.h"
#include "db/listen.h"
#include "db/query.h"
#include "lib/jsonread.h"

enum { PAYLOADS = 100000 };

#define CHANNEL "athena_cache"

struct hearing { /* in its task's arena */
    struct cache_place *place;
    struct place_ear *ear;
    ath_task *task;
    struct op *op; /* while Redis is told */
    bool missed;   /* what is being told makes up for everything up to `losses` */
    unsigned losses;
};

static int wait_next(ath_task *t, struct hearing *h, ath_err *e);

/* Everything that was heard of has been told. */
static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    struct hearing *h = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (h->missed)
        atomic_store(&h->ear->heard, h->losses);
    return wait_next(t, h, e);
}

static void redis_told(struct change_ask *a, bool outdated)
{
    struct hearing *h = a->arg;

    if (outdated)
        place_refresh(h->place);
    op_finish(h->op, 0);
}

static void tell(struct hearing *h, const struct moment *m, const uint32_t *unit, uint32_t n)
{
    struct change_ask a = { .known = n ? m->valid : 0, .done = redis_told, .arg = h };

    h->op = op_new(h->task, told, h);
    if (!remote_on()) {
        database_change(m->database, unit, n);
        op_finish(h->op, 0);
    } else if (remote_change(h->task->loop, m->database, unit, n, &a) == 1) {
        op_finish(h->op, 0);
    }
}

/* "16385 public.item" and the like: the units that changed. False: anything may have. */
static bool units_of(const struct relations *r, const struct json *list, uint32_t unit[UNITS_MOST],
                     uint32_t *ret_n)
{
    ath_relation_name name[UNITS_MOST];
    uint32_t n = 0;

    json_each(v, list)
    {
        const struct relation *rel;
        if (n == UNITS_MOST)
            return false;
        rel = relations_by_oid(r, (uint32_t)strtoul(json_text(v).p, NULL, 10));
        if (!rel)
            return false;
        name[n++] = (ath_relation_name){ rel->schema, rel->name };
    }
    return relations_changes(r, name, n, unit, ret_n);
}

/* The list has memory of its own, as the task has no end. False: anything may have changed. */
static bool read_list(struct hearing *h, const struct moment *m, ath_str text,
                      uint32_t unit[UNITS_MOST], uint32_t *ret_n)
{
    const struct json *list;
    struct json_error why;
    ath_arena a;
    bool ok;

    arena_init(&a);
    list = json_read(text, (struct json_memory){ arena_alloc, &a }, PAYLOADS, &why);
    h->missed = !list || !list->count;
    ok = !h->missed && m->relations && units_of(m->relations, list, unit, ret_n);
    arena_free(&a);
    return ok;
}

static int heard(ath_task *t, const ath_done *d, ath_err *e)
{
    struct hearing *h = d->arg;
    struct moment m;
    uint32_t unit[UNITS_MOST], n = 0;

    if (d->rc < 0)
        return d->rc;
    h->losses = atomic_load(&h->ear->losses);
    place_now(h->place, &m);
    if (!m.database)
        return wait_next(t, h, e);
    if (!read_list(h, &m, d->bytes, unit, &n))
        n = 0;
    relations_unref(m.relations);
    tell(h, &m, unit, n);
    return 0;
}

static int wait_next(ath_task *t, struct hearing *h, ath_err *e)
{
    struct db_client *c = place_client(h->place);
    ath_stmt channel = { .sql = CHANNEL };
    ath_query q = { .size = sizeof(q),
                    .client = str_of(c->name),
                    .stmt = &channel,
                    .stmt_size = sizeof(channel),
                    .stmt_count = 1 };
    int rc = db_listen(t, &q, heard, h, e);

    if (rc == 0)
        listen_count_losses(c, t, str_of(CHANNEL), &h->ear->losses);
    return rc;
}

static void deaf(void *arg)
{
    struct hearing *h = arg;

    h->ear->task = NULL;
    atomic_fetch_add(&h->ear->losses, 1);
}

static int run(ath_task *t, void *arg, ath_err *e)
{
    struct cache_place *p = arg;
    struct hearing *h = ARENA_NEW(&t->arena, struct hearing);

    h->place = p;
    h->ear = place_ear(p);
    h->task = t;
    if (h->ear->task) { /* two readings asked for it */
        task_done(t, &(ath_done){ .size = sizeof(ath_done) });
        return 0;
    }
    h->ear->task = t;
    arena_own(&t->arena, h, deaf);
    return wait_next(t, h, e);
}

void listen_begin(struct cache_place *p)
{
    if (!place_ear(p)->task)
        task_begin(NULL, place_home(p),
                   &(ath_fork){ .size = sizeof(ath_fork), .run = run, .arg = p });
}
