/* Sessions. What one is waiting for can be read off its pointers: `trip` is its open or its query,
 * `conn` its connection once it has one.
 *
 * How it fails: a lost connection, a stopped or late query leave the session without connection and
 * with the reason in `why`, which every later use is told.
 */
#include "db/session.h"

#include "base/check.h"
#include "db/pgown.h"
#include "db/pgpool.h"

enum { SESSION_MAGIC = 0x5e550001 };

struct ath_session {
    uint32_t magic;
    bool own, closed;
    ath_task *task;
    struct task_hold hold;
    struct db_client *client;
    struct pgconn *conn; /* NULL: none yet, or no more */
    struct trip *trip;   /* NULL: it is free */
    const char *why;     /* it has lost its connection */
};

/* ---- giving back ---- */

/* A busy one is left to itself: it is rolled back when its answer comes, or cancelled. */
static void give_back(ath_session *s)
{
    struct pgconn *c = s->conn;

    s->conn = NULL;
    if (!c)
        return;
    if (s->own && c->state != PGCONN_BUSY) {
        c->session = NULL;
        pgown_close(c);
    } else if (c->state == PGCONN_HELD) {
        pgconn_release(c);
    } else {
        c->session = NULL;
    }
}

static void close_now(ath_session *s)
{
    struct trip *t = s->trip;

    if (s->closed)
        return;
    if (t) {
        session_leave(t, "it was closed");
        trip_finish(t, ATH_E_CANCELED);
    }
    s->closed = true;
    task_let_go(&s->hold);
    give_back(s);
}

void db_close(ath_session *s)
{
    if (s)
        close_now(CHECKED(s, ath_session, SESSION_MAGIC));
}

static void task_over(struct task_hold *h)
{
    close_now(container_of(h, ath_session, hold));
}

/* ---- a connection of its own ---- */

static void own_ready(struct pgconn *c)
{
    ath_session *s = c->session;

    if (!s)
        pgown_close(c);
    else if (c->served)
        session_ready(c);
    else
        session_given(s->trip, c);
    c->served = true;
}

static void own_again(struct pgconn *c, struct trip *t)
{
    (void)c;
    session_again(t);
}

static void own_answered(struct pgconn *c, const struct trip *t, uint64_t us)
{
    (void)c, (void)t, (void)us;
}

static void own_stuck(struct pgconn *c)
{
    (void)c;
}

static void own_lost(struct pgconn *c, const ath_err *why)
{
    ath_session *s = c->session;
    struct trip *t = s ? s->trip : NULL;

    pgown_forget(c);
    if (s)
        session_lost(c);
    if (t && t->conn) {
        pgconn_detach(t);
        pgpool_trip_lost(t, s->client->direct ? NULL : why);
    } else if (t) { /* it could not be opened */
        trip_finish(t, client_unavailable(s->client, 0, trip_err(t)));
    }
}

static const struct pgconn_hooks own_hooks = {
    .ready = own_ready,
    .again = own_again,
    .stuck = own_stuck,
    .answered = own_answered,
    .lost = own_lost,
};

/* ---- opening ---- */

static int open_own(ath_session *s, ath_loop *l, ath_err *e)
{
    s->conn = pgown_open(s->client, l, &own_hooks, NULL);
    if (!s->conn) {
        err_raise(e, "pool_timeout", "the process may open no more connections");
        err_detail(e, "retry_after", str_of("1"));
        return e->rc;
    }
    s->conn->session = s;
    return 0;
}

int session_open(struct db_client *c, struct trip *t, ath_task *task, ath_err *e)
{
    ath_session *s = ARENA_NEW(&task->arena, ath_session);

    *s = (ath_session){ .magic = SESSION_MAGIC, .task = task, .client = c, .trip = t };
    s->own = t->flags & ATH_PG_OWN;
    s->hold.over = task_over;
    t->session = s;
    t->opens = t->holds = true;
    if (s->own && open_own(s, task->loop, e) < 0)
        return e->rc;
    task_hold(task, &s->hold);
    return 0;
}

void session_given(struct trip *t, struct pgconn *c)
{
    ath_session *s = t->session;

    s->conn = c;
    pgconn_hold(c, s);
    if (t->count || t->set.sql || (t->flags & TRIP_TX))
        pgconn_run(c, t);
    else
        trip_finish(t, 0);
}

/* ---- running ---- */

static bool is_below(const ath_task *t, const ath_task *of)
{
    for (; t; t = t->parent)
        if (t == of)
            return true;
    return false;
}

int session_admit(const ath_session *s, ath_task *task, const ath_query *q, ath_err *e)
{
    if (s->magic != SESSION_MAGIC || !is_below(task, s->task) || task->loop != s->task->loop)
        return err_fail(e, ATH_E_BUG, "the session is not of this task");
    if (s->closed)
        return err_fail(e, ATH_E_BUG, "the session was closed before this query");
    if (s->trip)
        return err_fail(e, ATH_E_BUG, "the session runs another query; it takes one at a time");
    if (s->why)
        return err_raise(e, "connection_error", "the session has no connection any more: %s",
                         s->why);
    if (q->flags & ATH_PG_OWN)
        return err_fail(e, ATH_E_BUG, "ATH_PG_OWN is said when a session is opened");
    if ((q->flags & TRIP_TX) && s->conn->tx)
        return err_fail(e, ATH_E_BUG,
                        "the session's transaction is open and cannot be given an isolation");
    return 0;
}

void session_run(ath_session *s, struct trip *t)
{
    t->session = s;
    s->trip = t;
    if (s->conn->state == PGCONN_HELD)
        pgconn_run(s->conn, t);
}

void session_leave(struct trip *t, const char *why)
{
    ath_session *s = t->session;

    s->why = why;
    if (t->conn)
        pgconn_drop(t);
    else if (!s->conn) /* it waits in its pool's line */
        pgpool_leave(t);
    give_back(s);
}

/* An open that failed has opened nothing. */
void session_finished(struct trip *t, int rc)
{
    ath_session *s = t->session;

    s->trip = NULL;
    if (!t->opens)
        return;
    t->op->done.session = rc < 0 ? NULL : s;
    if (rc < 0)
        close_now(s);
}

void session_ready(struct pgconn *c)
{
    ath_session *s = c->session;

    if (s->trip && !s->trip->conn)
        pgconn_run(c, s->trip);
}

/* It runs when its connection is ready. */
void session_again(struct trip *t)
{
    trip_restart(t);
}

void session_lost(struct pgconn *c)
{
    ath_session *s = c->session;

    c->session = NULL;
    s->conn = NULL;
    if (!s->why)
        s->why = "it was lost";
}

struct db_client *session_client(const ath_session *s)
{
    return s->client;
}
