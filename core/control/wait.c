/* Waiting for the follower, for connections and for requests: children of who asks, which look
 * again after a moment. All of it is rare. */
#include <ctype.h>
#include <pthread.h>

#include "base/clock.h"
#include "control/clients_priv.h"

enum {
    STEP_MS = 3,
    DRAIN_STEP_MS = 20,
    LOOK_MS = 3000,
    MISSING_MOST = 256,
    MISSING_MS = 5000,
    MISSING_ROOM = 128
};

struct wait { /* in its parent's arena */
    ath_str name;
    ath_str uri;               /* that it is to lead to; empty: where the catalogue says */
    uint64_t until_ms, ticket; /* ticket 0: nothing was wished for yet */
};

static struct wait *wait_new(ath_task *t, ath_str name, uint64_t ms)
{
    struct wait *w = ARENA_NEW(&t->arena, struct wait);

    w->name = arena_str(&t->arena, str_trim(name));
    w->until_ms = clock_ms() + ms;
    return w;
}

static bool is_late(const struct wait *w)
{
    return clock_ms() >= w->until_ms;
}

static int wait_end(ath_task *t, uint64_t count, int status)
{
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .count = count, .status = status });
    return 0;
}

static int begin(ath_task *t, struct wait *w, ath_run *run, ath_then *then, void *arg, ath_err *e)
{
    return task_fork(t, &(ath_fork){ .size = sizeof(ath_fork), .run = run, .arg = w }, then, arg,
                     e);
}

/* ---- a request's look ---- */

static int look_again(ath_task *t, const ath_done *d, ath_err *e);

/* The first reading may bring it. */
static bool look_is_over(struct wait *w)
{
    if (!follow_tried() && !known_is_settled())
        return false;
    if (!w->ticket && db_client_find(w->name))
        return true;
    if (!w->ticket)
        w->ticket = follow_want(w->name);
    return follow_answered() >= w->ticket;
}

static int look_step(ath_task *t, struct wait *w, ath_err *e)
{
    if (look_is_over(w) || is_late(w))
        return wait_end(t, 0, 1);
    return task_after(t, STEP_MS, look_again, w, e);
}

static int look_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : look_step(t, d->arg, e);
}

static int look_run(ath_task *t, void *arg, ath_err *e)
{
    return look_step(t, arg, e);
}

int clients_look(ath_task *t, ath_str name, ath_then *then, void *arg, ath_err *e)
{
    return begin(t, wait_new(t, name, LOOK_MS), look_run, then, arg, e);
}

/* ---- names that the catalogue did not have ---- */

static struct {
    uint64_t until_ms;
    char name[MISSING_ROOM];
} missing[MISSING_MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Its only place: a newcomer takes it over. */
static size_t place_of(ath_str name)
{
    uint32_t hash = 5381;

    for (size_t i = 0; i < name.n; i++)
        hash = hash * 33 + (uint32_t)tolower((unsigned char)name.p[i]);
    return hash % MISSING_MOST;
}

static void missing_set(ath_str name, uint64_t until_ms)
{
    size_t i = place_of(name);

    if (name.n >= MISSING_ROOM)
        return;
    pthread_mutex_lock(&lock);
    if (until_ms || str_ieq(name, str_of(missing[i].name))) {
        snprintf(missing[i].name, MISSING_ROOM, "%.*s", STR_ARG(name));
        missing[i].until_ms = until_ms;
    }
    pthread_mutex_unlock(&lock);
}

bool wait_is_missing(ath_str name)
{
    size_t i = place_of(name);
    bool yes;

    pthread_mutex_lock(&lock);
    yes = missing[i].until_ms > clock_ms() && str_ieq(name, str_of(missing[i].name));
    pthread_mutex_unlock(&lock);
    return yes;
}

void wait_is_there(ath_str name)
{
    missing_set(name, 0);
}

int clients_refuse(ath_str name, ath_err *e)
{
    struct buf title = BUF_HEAP;

    if (clients_options.control.n && clients_options.loading && follow_fails())
        return err_raise(e, "client_catalog_unavailable",
                         "the catalogue of clients cannot be read");
    missing_set(name, clock_ms() + MISSING_MS);
    err_raise(e, "client_unknown", "Postgres client '%.*s' is not configured", STR_ARG(name));
    buf_printf(&title, "Client '%.*s' is not available in the registry", STR_ARG(name));
    err_detail_str(e, "title", buf_view(&title));
    buf_free(&title);
    return e->rc;
}

/* ---- after a change ---- */

static int reach_again(ath_task *t, const ath_done *d, ath_err *e);

static int reach_step(ath_task *t, struct wait *w, ath_err *e)
{
    const struct db_client *c = db_client_find(w->name);

    if (!c || c->gate != DB_OPEN || c->up || c->down || is_late(w))
        return wait_end(t, 0, 1);
    return task_after(t, STEP_MS, reach_again, w, e);
}

static int reach_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : reach_step(t, d->arg, e);
}

static int refresh_again(ath_task *t, const ath_done *d, ath_err *e);

static int refresh_step(ath_task *t, struct wait *w, ath_err *e)
{
    if (follow_answered() >= w->ticket)
        return follow_fails() ? wait_end(t, 0, 0) : reach_step(t, w, e);
    if (is_late(w))
        return wait_end(t, 0, 0);
    return task_after(t, STEP_MS, refresh_again, w, e);
}

static int refresh_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : refresh_step(t, d->arg, e);
}

static int refresh_run(ath_task *t, void *arg, ath_err *e)
{
    struct wait *w = arg;

    w->ticket = w->uri.n ? follow_adopt(w->name, w->uri) : follow_want(w->name);
    return refresh_step(t, w, e);
}

static int refresh(ath_task *t, ath_str name, uint32_t wait_ms, ath_then *then, void *arg,
                   ath_err *e)
{
    return begin(t, wait_new(t, name, wait_ms), refresh_run, then, arg, e);
}

static int adopt(ath_task *t, ath_str name, ath_str uri, uint32_t wait_ms, ath_then *then, void *arg,
                 ath_err *e)
{
    struct wait *w = wait_new(t, name, wait_ms);

    w->uri = arena_str(&t->arena, uri);
    if (known_is_another(w->name, w->uri))
        return err_raise(e, "client_not_yours", "client '%.*s' belongs to somebody else",
                         STR_ARG(w->name));
    return begin(t, w, refresh_run, then, arg, e);
}

/* ---- draining ---- */

static int counted(ath_task *t, const ath_done *d, ath_err *e);

static int drain_step(ath_task *t, struct wait *w, ath_err *e)
{
    struct db_client *c = db_client_find(w->name);

    return c ? db_client_running(t, c, counted, w, e) : wait_end(t, 0, 1);
}

static int drain_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : drain_step(t, d->arg, e);
}

static int counted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct wait *w = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (d->count == 0 || is_late(w))
        return wait_end(t, d->count, 1);
    return task_after(t, DRAIN_STEP_MS, drain_again, w, e);
}

static int drain_run(ath_task *t, void *arg, ath_err *e)
{
    return drain_step(t, arg, e);
}

static int drain(ath_task *t, ath_str name, uint32_t wait_ms, ath_then *then, void *arg, ath_err *e)
{
    return begin(t, wait_new(t, name, wait_ms), drain_run, then, arg, e);
}

/* ---- the service ---- */

static ath_str runtime(ath_arena *a, ath_str name, uint32_t flags)
{
    struct buf b = ARENA_BUF(a);

    clients_runtime(&b, name, flags & ATH_CLIENTS_REVEAL);
    return buf_view(&b);
}

static ath_str names(ath_arena *a)
{
    struct buf b = ARENA_BUF(a);

    clients_names(&b);
    return buf_view(&b);
}

static int uri(ath_arena *a, ath_str name, ath_str *ret, ath_err *e)
{
    return clients_uri(a, name, ret, e);
}

const ath_clients clients_service = {
    .size = sizeof(ath_clients),
    .refresh = refresh,
    .drain = drain,
    .runtime = runtime,
    .names = names,
    .uri = uri,
    .adopt = adopt,
};
