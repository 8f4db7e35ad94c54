/* Tasks in tasks, so that memory goes as it comes: the root lives as long as the process serves; a
 * life of it holds the connection; a look is one query on it, which asks for the locks that are
 * missing and thereby shows that the connection stands.
 *
 * How it fails: a look that fails ends its life. The connection closes with it, so no lock is held
 * that nobody knows of; all are lost, and after a pause there is another life.
 */
#include "jobs/locks.h"

#include <stdatomic.h>
#include <string.h>

#include "base/rand.h"
#include "db/query.h"
#include "lib/buf.h"
#include "log/log.h"

enum {
    LOOK_MS = 1000, /* and up to as much again */
    LOOK_LIMIT_MS = 5000,
    PAUSE_FIRST_MS = 250,
    PAUSE_MOST_MS = 5000,
    FIRST_HASHED = 1000
};

static struct {
    ath_loop *home;
    struct lock *lock;
    size_t n;
    void (*lost)(void);
    ath_task *root;
    uint64_t pause_ms;
    bool stopping, failing; /* failing: it has been said */
} locks;

int32_t lock_key(const char *name)
{
    static const struct {
        const char *name;
        int32_t key;
    } fixed[] = {
        { "retention_worker", 2 },
        { "client_pressure_worker", 4 },
        { "vacuum_health_collector", 5 },
        { "lease_reaper",
          6 }, /* 1 is the migrations', 3 the statistics', in their own transactions */
    };

    for (size_t i = 0; i < ATH_COUNT(fixed); i++)
        if (strcmp(fixed[i].name, name) == 0)
            return fixed[i].key;
    return FIRST_HASHED + (int32_t)(str_hash(str_of(name)) % (INT32_MAX - FIRST_HASHED));
}

static void lose_all(void)
{
    bool any = false;

    for (size_t i = 0; i < locks.n; i++) {
        any |= locks.lock[i].held;
        locks.lock[i].held = false;
    }
    if (any)
        locks.lost();
}

/* ---- a look ---- */

/* The keys of locks that are held or not, and wanted or not, as an array of PostgreSQL's. */
static ath_str keys(ath_arena *a, bool held, bool wanted)
{
    struct buf b = ARENA_BUF(a);

    buf_char(&b, '{');
    for (size_t i = 0; i < locks.n; i++)
        if (locks.lock[i].held == held && locks.lock[i].wanted == wanted)
            buf_printf(&b, "%s%d", b.n > 1 ? "," : "", locks.lock[i].key);
    buf_char(&b, '}');
    return buf_view(&b);
}

static void take(const ath_rows *rows, bool held)
{
    for (uint32_t i = 0; i < db_rows_count(rows); i++) {
        int64_t key = 0;
        str_i64(db_rows_text(rows, i, 0), &key);
        for (size_t k = 0; k < locks.n; k++)
            if (locks.lock[k].key == key)
                locks.lock[k].held = held;
    }
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    take(d->rows, false);
    take(db_rows_next(d->rows), true);
    task_done(t, NULL);
    return 0;
}

static int look(ath_task *t, void *arg, ath_err *e)
{
    ath_str given_back = keys(&t->arena, true, false), missing = keys(&t->arena, false, true);
    const ath_stmt stmt[] = {
        { .sql = "SELECT k FROM pg_catalog.unnest($1::int4[]) k "
                 "WHERE pg_catalog.pg_advisory_unlock(1096042565, k)",
          .param = &given_back,
          .param_count = 1 },
        { .sql = "SELECT k FROM pg_catalog.unnest($1::int4[]) k "
                 "WHERE pg_catalog.pg_try_advisory_lock(1096042565, k)",
          .param = &missing,
          .param_count = 1 },
    };
    ath_query q = {
        .size = sizeof(q), .session = arg, .timeout_ms = LOOK_LIMIT_MS, ATH_ARRAY(stmt, stmt)
    };

    _Static_assert(LOCK_CLASS == 1096042565, "as the statements say");
    return db_query(t, &q, looked, NULL, e);
}

/* ---- a life ---- */

static int look_later(ath_task *t, const ath_done *d, ath_err *e);

static int look_again(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = look, .arg = d->arg };

    return d->rc < 0 ? d->rc : task_fork(t, &f, look_later, d->arg, e);
}

static int look_later(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    locks.pause_ms = PAUSE_FIRST_MS;
    if (locks.failing)
        log_write(ATH_INFO, "athena::workers", "the locks of the workers can be asked for again");
    locks.failing = false;
    return task_after(t, LOOK_MS + rand_u64() % LOOK_MS, look_again, d->arg, e);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done first = { .size = sizeof(first), .arg = d->session };

    return d->rc < 0 ? d->rc : look_again(t, &first, e);
}

/* What PostgreSQL does with a connection whose other end has gone without a word: it must notice
 * within half a minute, or nobody takes over. */
static int live(ath_task *t, void *arg, ath_err *e)
{
    static const char settings[] =
        "SELECT pg_catalog.set_config(k, v, false) FROM (VALUES "
        "('application_name', 'athena: locks of workers'), ('tcp_keepalives_idle', '10'), "
        "('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'), "
        "('tcp_user_timeout', '25000'), ('idle_session_timeout', '0')) s(k, v)";
    ath_stmt stmt = { .sql = settings };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .flags = ATH_PG_OWN,
                    .timeout_ms = LOOK_LIMIT_MS,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    (void)arg;
    return db_open(t, &q, opened, NULL, e);
}

/* ---- the root ---- */

static int begin_life(ath_task *t, const ath_done *d, ath_err *e);

static int life_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)d;
    lose_all();
    if (locks.stopping) {
        task_done(t, NULL);
        return 0;
    }
    if (!locks.failing)
        log_write(ATH_WARN, "athena::workers", "the locks of the workers cannot be held: %.*s",
                  (int)e->message_n, e->message);
    locks.failing = true;
    locks.pause_ms = locks.pause_ms < PAUSE_MOST_MS / 2 ? locks.pause_ms * 2 : PAUSE_MOST_MS;
    return task_after(t, locks.pause_ms + rand_u64() % locks.pause_ms, begin_life, NULL, e);
}

static int begin_life(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = live };

    (void)d;
    if (!locks.stopping)
        return task_fork(t, &f, life_over, NULL, e);
    task_done(t, NULL);
    return 0;
}

static void root_gone(void *arg)
{
    (void)arg;
    locks.root = NULL;
}

static int root(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    locks.root = t;
    arena_own(&t->arena, &locks, root_gone);
    return begin_life(t, NULL, e);
}

void locks_start(ath_loop *home, struct lock *lock, size_t n, void (*lost)(void))
{
    locks.home = home;
    locks.lock = lock;
    locks.n = n;
    locks.lost = lost;
    locks.root = NULL;
    locks.pause_ms = PAUSE_FIRST_MS;
    locks.stopping = locks.failing = false;
    task_begin(NULL, home, &(ath_fork){ .size = sizeof(ath_fork), .run = root });
}

void locks_drain(void)
{
    locks.stopping = true;
    if (locks.root)
        task_cancel(locks.root);
}
