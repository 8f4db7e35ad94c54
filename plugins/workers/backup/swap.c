/* The swap.
 *
 * RENAME takes the lock of the database first, so that nobody new gets in, and then waits up to
 * five seconds for those who are there to leave. A second connection tells them to, again and
 * again, until the transaction is over: whoever slipped in between the first telling and the lock
 * would hold up all others for these five seconds. A try that failed for that is made again, for
 * half a minute.
 */
#include <stdlib.h>

#include "lib/sqlname.h"
#include "spare.h"

enum { TRY_MS = 30000, TELL_MS = 100, STMTS = 6 };

static const char tell_sql[] = "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                               " where datname in ($1, $2) and pid <> pg_backend_pid()"
                               " and backend_type not in ('autovacuum worker', 'parallel worker')";

/* Fails unless both are the databases that they were: nobody renames what he did not look at. */
static const char same_sql[] = "select 1 / (count(*) = $5::int4)::int4 from pg_database"
                               " where (datname = $1 and oid = $2::oid)"
                               " or (datname = $3 and oid = $4::oid)";

struct swapping {
    struct swap *s;
    ath_str name[2], same[5];
    uint64_t until_ms;
    bool over; /* the renames are done, or given up */
    uint32_t running;
    int rc;
    ath_str why;
};

static ath_stmt tell(struct swapping *x)
{
    return (ath_stmt){ .sql = tell_sql, .param = x->name, .param_count = 2 };
}

/* ---- telling ---- */

static int tell_again(ath_task *t, const ath_done *d, ath_err *e);

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    struct swapping *x = d->arg;

    if (d->rc < 0)
        return d->rc;
    return ath_host_->task->after(t, TELL_MS, tell_again, x, e);
}

static int tell_again(ath_task *t, const ath_done *d, ath_err *e)
{
    struct swapping *x = d->arg;
    ath_stmt stmt = tell(x);

    if (d->rc < 0)
        return d->rc;
    if (x->over) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    return site_ask(t, x->s->site, ATH_S(""), &stmt, 1, 0, told, x, e);
}

static int tell_run(ath_task *t, void *arg, ath_err *e)
{
    return ath_host_->task->after(t, TELL_MS, tell_again, arg, e);
}

/* ---- renaming ---- */

static char *sql(ath_arena *a, const char *before, ath_str name, const char *between, ath_str other)
{
    struct buf b = BUF_ARENA(a);

    buf_z(&b, before);
    buf_ident(&b, name);
    buf_z(&b, between);
    if (other.n)
        buf_ident(&b, other);
    return b.p;
}

static uint32_t statements(ath_arena *a, struct swapping *x, ath_stmt *ret)
{
    const struct swap *s = x->s;
    uint32_t n = 0;

    ret[n++] = tell(x);
    ret[n++] = (ath_stmt){ .sql = same_sql, .param = x->same, .param_count = 5 };
    if (s->live_oid.n) {
        ret[n++].sql = sql(a, "alter database ", s->live, " rename to ", s->aside);
        ret[n++].sql = sql(a, "alter database ", s->aside, " allow_connections false", ATH_S(""));
    }
    ret[n++].sql = sql(a, "alter database ", s->spare, " rename to ", s->live);
    if (s->closed)
        ret[n++].sql = sql(a, "alter database ", s->live, " allow_connections true", ATH_S(""));
    return n;
}

static int rename_run(ath_task *t, void *arg, ath_err *e);

/* Somebody was there until PostgreSQL waited no longer, or until the lease had to be renewed first.
 */
static bool again(ath_task *t, const struct swapping *x, int rc, ath_str state)
{
    uint64_t now = ath_host_->loop->now_ms(ath_host_->task->loop(t));

    return (str_is(state, "55006") || (rc == ATH_E_TIMEOUT && ath_host_->task->left_ms(t))) &&
           now < x->until_ms;
}

static int renamed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct swapping *x = d->arg;
    ath_str state = d->rc < 0 ? ath_host_->err->get(e, "sqlstate") : ATH_S("");

    if (d->rc == 0) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    if (str_is(state, "22012"))
        return ath_fail(e, ATH_E_CONFLICT,
                        "database \"%.*s\" was replaced by somebody else meanwhile",
                        STR_ARG(x->s->live));
    if (again(t, x, d->rc, state))
        return rename_run(t, x, e);
    return d->rc;
}

static int rename_run(ath_task *t, void *arg, ath_err *e)
{
    struct swapping *x = arg;
    ath_stmt stmt[STMTS] = { 0 };
    uint32_t n = statements(ath_arena_of(t), x, stmt);

    return site_ask(t, x->s->site, ATH_S(""), stmt, n, ATH_PG_FENCED, renamed, x, e);
}

/* ---- both ---- */

static int one_over(ath_task *t, struct swapping *x, ath_err *e)
{
    if (--x->running)
        return 0;
    if (x->rc < 0)
        return ath_fail(e, x->rc, "%.*s", STR_ARG(x->why));
    ath_host_->task->done(t, NULL);
    return 0;
}

static int rename_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct swapping *x = d->arg;
    struct buf b = BUF_ARENA(ath_arena_of(t));

    x->over = true;
    x->rc = d->rc;
    if (d->rc < 0)
        buf_str(&b, ath_host_->err->get(e, "message"));
    x->why = buf_view(&b);
    return one_over(t, x, e);
}

/* That it fails is no failure of the swap: the renames say what came of it. */
static int tell_over(ath_task *t, const ath_done *d, ath_err *e)
{
    return one_over(t, d->arg, e);
}

static int both(ath_task *t, void *arg, ath_err *e)
{
    struct swapping *x = ath_new(ath_arena_of(t), sizeof(*x));
    struct swap *s = arg;
    ath_fork rename = { .size = sizeof(rename), .run = rename_run, .arg = x },
             telling = { .size = sizeof(telling), .run = tell_run, .arg = x };
    int rc;

    *x = (struct swapping){ .s = s, .name = { s->live, s->spare } };
    x->same[0] = s->spare;
    x->same[1] = s->spare_oid;
    x->same[2] = s->live;
    x->same[3] = s->live_oid.n ? s->live_oid : ATH_S("0");
    x->same[4] = s->live_oid.n ? ATH_S("2") : ATH_S("1");
    x->running = 2;
    x->until_ms = ath_host_->loop->now_ms(ath_host_->task->loop(t)) + TRY_MS;
    if ((rc = ath_host_->task->fork(t, &rename, rename_over, x, e)) < 0)
        return rc;
    return ath_host_->task->fork(t, &telling, tell_over, x, e);
}

int swap_run(ath_task *t, struct swap *s, ath_then *then, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = both, .arg = s };

    return ath_host_->task->fork(t, &f, then, arg, e);
}
