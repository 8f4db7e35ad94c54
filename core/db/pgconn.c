/* A connection, from names to what is sent; pgread.c hears the answers.
 *
 * The normal path: pgconn_open() resolves and connects (connect_step() steps PQconnectPoll); then
 * pgconn_add() and pgconn_sync(), or pgconn_run(), put messages into libpq's buffer, or into our
 * own (wire.h), and one entry per message into the ring. When all of them are answered the
 * connection is cleaned if it has to be, and is idle again.
 *
 * How it fails: a lost connection, wherever it is noticed, ends in pgconn_broke(), which tells the
 * pool and closes.
 */
#include "db/pgconn.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "db/pgaddr.h"
#include "db/pgcancel.h"
#include "db/pgconn_priv.h"
#include "db/pgcopy.h"

enum { PGCONN_MAGIC = 0x9c0e0001, RING = 64, CLEAN_MS = 5000 };

/* ---- the ring of what was sent ---- */

static void ring_grow(struct pgconn *c)
{
    struct sent *bigger = mem_new(2 * c->cap * sizeof(*bigger));

    for (uint32_t i = 0; i < c->count; i++)
        bigger[i] = *ring_at(c, i);
    free(c->sent);
    c->sent = bigger;
    c->cap *= 2;
    c->head = 0;
}

static void ring_push(struct pgconn *c, enum sent_kind kind, struct trip *t, struct prep *p)
{
    if (c->count == c->cap)
        ring_grow(c);
    *ring_at(c, c->count++) =
        (struct sent){ .trip = t, .prep = p ? prep_use(p) : NULL, .kind = (uint8_t)kind };
}

void pgconn_take_off(struct pgconn *c, struct trip *t)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (ring_at(c, i)->trip == t)
            ring_at(c, i)->trip = NULL;
    pgcopy_let_go(c, t);
    list_unlink(&t->node);
    t->conn = NULL;
}

void pgconn_put_entry(struct pgconn *c, enum sent_kind kind, struct trip *t)
{
    ring_push(c, kind, t, NULL);
}

/* ---- closing ---- */

static void poll_closed(uv_handle_t *h)
{
    free(h);
}

static void poll_close(struct pgconn *c)
{
    if (!c->poll)
        return;
    uv_close((uv_handle_t *)c->poll, poll_closed);
    close(c->fd);
    c->poll = NULL;
}

/* libpq closes its descriptor by itself, when it reads the end or goes on with the next host, and any
 * thread may get the number again. So we use a duplicate, which is nobody's but ours. */
static int poll_open(struct pgconn *c)
{
    uv_poll_t *poll = MEM_NEW(uv_poll_t);
    int fd = fcntl(PQsocket(c->pg), F_DUPFD_CLOEXEC, 0);

    if (fd < 0 || uv_poll_init(&c->loop->uv, poll, fd) < 0) {
        if (fd >= 0)
            close(fd);
        free(poll);
        return -1;
    }
    poll->data = c;
    c->poll = poll;
    c->fd = fd;
    c->events = 0;
    return 0;
}

static void release(void *arg)
{
    struct pgconn *c = arg;

    c->magic = 0;
    free(c->why);
    free(c);
}

void pgconn_hang_up(struct pgconn *c)
{
    if (c->state == PGCONN_BUSY && PQstatus(c->pg) == CONNECTION_OK)
        pgcancel_start(c->loop, c->pg);
    poll_close(c);
    PQfinish(c->pg);
    c->pg = NULL;
}

void pgconn_close(struct pgconn *c)
{
    if (c->state == PGCONN_CLOSED)
        return;
    pgconn_hang_up(c);
    c->state = PGCONN_CLOSED;
    deadline_clear(&c->watch);
    deferred_cancel(&c->broken);
    deferred_cancel(&c->resume);
    if (c->addr)
        pgaddr_cancel(c->addr);
    while (c->count)
        ring_pop(c);
    prep_free(&c->prep);
    wire_free(&c->wire);
    free(c->tuples);
    free(c->sent);
    target_unref(c->target);
    /* A caller up the stack may still look at the state: freed from the loop's deferred work. */
    deferred_init(&c->broken, release, c);
    loop_defer(c->loop, &c->broken);
}

void pgconn_broke(struct pgconn *c, const ath_err *why)
{
    if (c->state == PGCONN_CLOSED)
        return;
    c->on->lost(c, why);
    pgconn_close(c);
}

void pgconn_broke_libpq(struct pgconn *c)
{
    ath_str why = str_trim(str_of(c->why ? c->why : PQerrorMessage(c->pg)));
    ath_err e;

    why.n = str_find(why, '\n');
    err_raise(&e, "connection_error", "%.*s", STR_ARG(why));
    pgconn_broke(c, &e);
}

void pgconn_too_late(struct pgconn *c, const char *what)
{
    ath_err e;

    err_raise(&e, "connection_error", "%s", what);
    pgconn_broke(c, &e);
}

static void on_broken(void *arg)
{
    pgconn_broke_libpq(CHECKED(arg, struct pgconn, PGCONN_MAGIC));
}

/* Noticed inside a call from the pool: told later. */
static void break_later(struct pgconn *c)
{
    loop_defer(c->loop, &c->broken);
}

static void flush(struct pgconn *c)
{
    int rc = c->direct ? (int)wire_flush(&c->wire, c->fd) : PQflush(c->pg);

    /* After a failed write the server's last words may still be there to read. */
    pgconn_listen_to(c, rc == 1 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

/* ---- connecting ---- */

static void connect_step(struct pgconn *c);

/* libuv gives a socket's error as a status, without events and with the watcher stopped. While it
 * connects libpq looks for itself, and goes on with the next host; else what the server said last
 * may still be there to read. */
static void on_error(struct pgconn *c, int status)
{
    ath_err e;

    c->events = 0;
    if (c->state == PGCONN_CONNECTING) {
        connect_step(c);
        return;
    }
    pgcopy_stop(c, "the connection was lost");
    pgconn_receive(c);
    err_raise(&e, "connection_error", "the connection failed: %s", uv_strerror(status));
    pgconn_broke(c, &e);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct pgconn *c = CHECKED(h->data, struct pgconn, PGCONN_MAGIC);

    if (status < 0) {
        on_error(c, status);
        return;
    }
    if (c->state == PGCONN_CONNECTING) {
        connect_step(c);
        return;
    }
    if (unlikely(c->copying == PGCOPY_DATA)) {
        pgcopy_poll(c, events);
        return;
    }
    if (events & UV_WRITABLE)
        flush(c);
    if (events & UV_READABLE)
        pgconn_receive(c);
}

void pgconn_listen_to(struct pgconn *c, int events)
{
    if (unlikely(c->paused))
        events &= ~UV_READABLE;
    if (!c->poll && poll_open(c) < 0) {
        break_later(c);
        return;
    }
    if (events != c->events)
        uv_poll_start(c->poll, events, on_poll);
    c->events = events;
}

static void on_notice(void *arg, const PGresult *res)
{
    struct pgconn *c = arg;

    (void)res;
    c->odd = false;
}

static void connected(struct pgconn *c)
{
    if (PQsetnonblocking(c->pg, 1) != 0 || !PQenterPipelineMode(c->pg)) {
        pgconn_broke_libpq(c);
        return;
    }
    deadline_clear(&c->watch);
    c->tls = PQsslInUse(c->pg) || PQgssEncInUse(c->pg);
    c->state = PGCONN_IDLE;
    c->opened_ms = c->idle_since_ms = loop_now_ms(c->loop);
    pgconn_listen_to(c, UV_READABLE);
    c->on->ready(c);
}

/* The socket may be closed and another opened in here, with the same number even: so what is watched
 * is opened anew after each step. */
static void connect_step(struct pgconn *c)
{
    poll_close(c);
    switch (PQconnectPoll(c->pg)) {
    case PGRES_POLLING_OK:
        connected(c);
        break;
    case PGRES_POLLING_FAILED:
        pgconn_broke_libpq(c);
        break;
    case PGRES_POLLING_WRITING:
        pgconn_listen_to(c, UV_WRITABLE);
        break;
    default:
        pgconn_listen_to(c, UV_READABLE);
        break;
    }
}

static void connect_with(void *arg, const struct pgaddr *a, const char *why)
{
    struct pgconn *c = CHECKED(arg, struct pgconn, PGCONN_MAGIC);
    const char *key[TARGET_PARAMS + 4], *value[TARGET_PARAMS + 4];
    const struct db_target *t = c->target;
    size_t n = t->params;

    c->addr = NULL;
    if (why) {
        c->why = mem_dup_z(why);
        break_later(c);
        return;
    }
    memcpy(key, t->key, n * sizeof(*key));
    memcpy(value, t->value, n * sizeof(*value));
    if (t->hosts) {
        key[n] = "host", value[n++] = a->host.p;
        key[n] = "hostaddr", value[n++] = a->addr.p;
        key[n] = "port", value[n++] = a->port.p;
    }
    key[n] = value[n] = NULL;
    c->pg = PQconnectStartParams(key, value, 0);
    if (!c->pg || PQstatus(c->pg) == CONNECTION_BAD) {
        break_later(c);
        return;
    }
    PQsetNoticeReceiver(c->pg, on_notice, c);
    c->state = PGCONN_CONNECTING;
    pgconn_listen_to(c, UV_WRITABLE);
}

static void on_watch(struct deadline *d);

/* ---- reading at somebody's pace ---- */

void pgconn_pause(struct pgconn *c)
{
    c->paused = true;
    pgconn_listen_to(c, c->events);
}

void pgconn_resume(struct pgconn *c)
{
    c->paused = false;
    c->progress_ms = loop_now_ms(c->loop);
    loop_defer(c->loop, &c->resume);
}

/* What libpq has read already makes no descriptor readable. */
static void on_resume(void *arg)
{
    struct pgconn *c = CHECKED(arg, struct pgconn, PGCONN_MAGIC);

    pgconn_listen_to(c, c->events | UV_READABLE);
    pgconn_receive(c);
}

/* ---- opening ---- */

struct pgconn *pgconn_open(ath_loop *l, struct db_target *t, const struct pgconn_options *o,
                           const struct pgconn_hooks *on, void *owner)
{
    struct pgconn *c = MEM_NEW(struct pgconn);

    c->magic = PGCONN_MAGIC;
    c->state = PGCONN_RESOLVING;
    c->loop = l;
    c->owner = owner;
    c->on = on;
    c->target = target_ref(t);
    c->options = *o;
    c->cap = RING;
    c->sent = mem_new(RING * sizeof(*c->sent));
    list_init(&c->node);
    list_init(&c->trips);
    prep_init(&c->prep, o->prepared_max);
    deadline_init(&c->watch, on_watch);
    deadline_set(l, &c->watch, loop_now_ms(l) + o->connect_ms);
    deferred_init(&c->broken, on_broken, c);
    deferred_init(&c->resume, on_resume, c);
    pgaddr_start(l, t, o->rotate, connect_with, c, &c->addr);
    return c;
}

/* ---- sending ---- */

static bool send_clean(struct pgconn *c, const char *sql)
{
    if (!PQsendQueryParams(c->pg, sql, 0, NULL, NULL, NULL, NULL, 0))
        return false;
    ring_push(c, SENT_CLEAN, NULL, NULL);
    return true;
}

bool pgconn_put_sync(struct pgconn *c, struct trip *t, bool last)
{
    if (!PQpipelineSync(c->pg))
        return false;
    ring_push(c, SENT_SYNC, t, NULL);
    ring_at(c, c->count - 1)->last = last;
    return true;
}

/* Gives back what fell out of the prepared statements, in a Sync of its own: DEALLOCATE takes a
 * snapshot, in front of which no isolation level could be chosen any more. */
static bool send_spare(struct pgconn *c)
{
    struct prep *p = prep_spare(&c->prep);
    bool ok = true;

    if (!p)
        return true;
    for (; p; p = prep_spare(&c->prep)) {
        char sql[64];
        (void)snprintf(sql, sizeof(sql), "DEALLOCATE %s", p->name);
        ok = ok && send_clean(c, sql);
        prep_unuse(p);
    }
    return ok && pgconn_put_sync(c, NULL, false);
}

static bool send_prepared(struct pgconn *c, struct trip *t, const struct trip_stmt *s,
                          enum sent_kind kind)
{
    struct prep *p = prep_find(&c->prep, s);

    if (!p) {
        p = prep_add(&c->prep, s);
        if (!PQsendPrepare(c->pg, p->name, s->sql, s->type ? (int)s->n : 0, s->type))
            return false;
        ring_push(c, SENT_PARSE, t, p);
    }
    if (!PQsendQueryPrepared(c->pg, p->name, (int)s->n, s->value, NULL, NULL, 0))
        return false;
    ring_push(c, kind, t, p);
    return true;
}

static bool send_stmt(struct pgconn *c, struct trip *t, const struct trip_stmt *s,
                      enum sent_kind kind)
{
    if (!(t->flags & (ATH_PG_RAW | ATH_PG_ALONE)) && !t->fresh && s->sql_n <= PREP_SQL_MAX)
        return send_prepared(c, t, s, kind);
    if (!PQsendQueryParams(c->pg, s->sql, (int)s->n, s->type, s->value, NULL, NULL, 0))
        return false;
    ring_push(c, kind, t, NULL);
    return true;
}

bool pgconn_put_text(struct pgconn *c, struct trip *t, const char *sql)
{
    struct trip_stmt s = { .sql = sql, .sql_n = strlen(sql) };

    s.hash = prep_hash(&s, 0);
    return send_stmt(c, t, &s, SENT_INNER);
}

/* NULL: the statements run in the transaction that their Sync ends. */
static const char *begin_text(uint32_t flags)
{
    bool ro = flags & ATH_PG_READ_ONLY;

    if (flags & ATH_PG_SERIALIZABLE)
        return ro ? "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"
                  : "BEGIN ISOLATION LEVEL SERIALIZABLE";
    if (flags & ATH_PG_REPEATABLE)
        return ro ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                  : "BEGIN ISOLATION LEVEL REPEATABLE READ";
    if (flags & ATH_PG_COMMITTED)
        return ro ? "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
                  : "BEGIN ISOLATION LEVEL READ COMMITTED";
    return ro ? "BEGIN READ ONLY" : NULL;
}

#define LIMIT "SELECT pg_catalog.set_config('statement_timeout', $1, true)"
#define QUIET ", pg_catalog.set_config('client_min_messages', 'error', true)"

/* Nobody is told of notices, and a COPY is disturbed by them. */
static bool send_limit(struct pgconn *c, struct trip *t, uint64_t ms)
{
    char text[STR_U64_ROOM + 1];
    const char *value[] = { text };
    struct trip_stmt s = { .sql = t->from ? LIMIT QUIET : LIMIT, .value = value, .n = 1 };

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
    s.sql_n = strlen(s.sql);
    s.hash = prep_hash(&s, 0);
    c->limited = true;
    return send_stmt(c, t, &s, SENT_INNER);
}

/* What the server is told of the time that is left. A write is to be ended by the server, which
 * then knows that it was not done, a little before its caller stops waiting; reads are just
 * cancelled. Rows in pieces take as long as their reader. A session's BEGIN may be on its way: no
 * statement can stand in front of it. */
static bool send_time(struct pgconn *c, struct trip *t, bool tx)
{
    uint64_t usual = c->options.statement_ms, left;

    if ((t->flags & ATH_PG_ALONE) || PQtransactionStatus(c->pg) == PQTRANS_INERROR)
        return true;
    if (t->pieces)
        return usual == 0 || send_limit(c, t, 0);
    if (c->session && !tx)
        return true;
    if (t->from) {
        left = trip_left_ms(t);
        return send_limit(c, t, left == UINT64_MAX ? 0 : left > 20 ? left - left / 20 : 20);
    }
    left = t->flags & (ATH_PG_READ | ATH_PG_READ_ONLY) ? UINT64_MAX : trip_left_ms(t);
    if (left != UINT64_MAX && (usual == 0 || left < usual))
        return send_limit(c, t, left > 20 ? left - left / 20 : 20);
    return !c->limited || send_limit(c, t, usual);
}

/* All of these end with the transaction. */
static bool send_settings(struct pgconn *c, struct trip *t, bool tx)
{
    return (!t->set.sql || send_stmt(c, t, &t->set, SENT_INNER)) &&
           (likely(!t->fence) || send_stmt(c, t, t->fence, SENT_INNER)) && send_time(c, t, tx);
}

/* What begins a transaction that does not end with the trip's first Sync. */
static const char *begin_of(const struct pgconn *c, const struct trip *t)
{
    const char *begin = begin_text(t->flags);

    if (!begin && ((t->opens && t->set.sql) || (t->from && !c->tx)))
        return "BEGIN";
    return begin;
}

static bool send_all(struct pgconn *c, struct trip *t)
{
    const char *begin = begin_of(c, t);
    uint32_t count = t->count - (t->from != NULL);
    bool ok = !begin || pgconn_put_text(c, t, begin);

    c->own_tx = begin && !t->opens;
    ok = ok && send_settings(c, t, c->tx || begin);
    for (uint32_t i = 0; ok && i < count; i++) {
        ok = send_stmt(c, t, &t->stmt[i], SENT_STMT);
        ring_at(c, c->count - 1)->pieces = t->pieces && i + 1 == t->count;
        if (ok && (t->flags & ATH_PG_RAW)) /* each answer as soon as it is there: it is timed */
            ok = PQsendFlushRequest(c->pg);
        if (ok && (t->flags & ATH_PG_EACH) && i + 1 < t->count)
            ok = pgconn_put_sync(c, t, false) && send_settings(c, t, c->tx);
    }
    if (t->from) {
        c->copying = PGCOPY_BEFORE;
        return ok && pgconn_put_sync(c, t, false);
    }
    if (ok && c->own_tx)
        ok = pgconn_put_text(c, t, "COMMIT");
    return ok && pgconn_put_sync(c, t, true);
}

static uint64_t watch_next(const struct pgconn *c, uint64_t now)
{
    if (c->left_ms)
        return c->left_ms + PGCONN_GRACE_MS;
    if (c->shared && !c->slow)
        return c->progress_ms + PGCONN_STUCK_MS;
    return now + 1000;
}

void pgconn_leave(struct pgconn *c, bool sent)
{
    uint64_t now = loop_now_ms(c->loop);

    c->state = PGCONN_BUSY;
    c->progress_ms = now;
    c->left_ms = 0;
    c->slow = false;
    c->answered_ns = uv_hrtime();
    if (!sent) {
        break_later(c);
        return;
    }
    deadline_set(c->loop, &c->watch, watch_next(c, now));
    flush(c);
}

static void attach(struct pgconn *c, struct trip *t)
{
    t->conn = c;
    list_push(&c->trips, &t->node);
    trip_sent(t);
}

void pgconn_add(struct pgconn *c, struct trip *t)
{
    attach(c, t);
}

/* Whether all of the group may go past libpq. */
static bool is_direct(struct pgconn *c)
{
    if (c->tls || c->count)
        return false;
    list_each (node, next, &c->trips) {
        struct trip *t = list_entry(node, struct trip, node);
        t->prep = prep_find(&c->prep, t->stmt);
        if (!t->prep || !t->prep->shape || t->fresh)
            return false;
    }
    return true;
}

static void send_direct(struct pgconn *c)
{
    list_each (node, next, &c->trips) {
        struct trip *t = list_entry(node, struct trip, node);
        wire_run(&c->wire, t->prep, t->stmt);
        ring_push(c, SENT_STMT, t, t->prep);
        ring_at(c, c->count - 1)->last = true;
    }
    wire_sync(&c->wire);
    ring_push(c, SENT_SYNC, NULL, NULL);
    c->direct = true;
}

static bool send_group(struct pgconn *c)
{
    list_each (node, next, &c->trips) {
        struct trip *t = list_entry(node, struct trip, node);
        if (!send_stmt(c, t, t->stmt, SENT_STMT))
            return false;
        ring_at(c, c->count - 1)->last = true;
    }
    return pgconn_put_sync(c, NULL, false);
}

void pgconn_sync(struct pgconn *c)
{
    bool ok = send_spare(c);

    c->shared = c->trips.next != c->trips.prev;
    if (ok && is_direct(c))
        send_direct(c);
    else
        ok = ok && send_group(c);
    pgconn_leave(c, ok);
}

void pgconn_run(struct pgconn *c, struct trip *t)
{
    attach(c, t);
    c->shared = false;
    c->raw = c->raw || (t->flags & ATH_PG_RAW);
    pgconn_leave(c, (c->tx || send_spare(c)) && send_all(c, t));
}

void pgconn_say(struct pgconn *c, const char *sql)
{
    pgconn_leave(c, send_clean(c, sql) && pgconn_put_sync(c, NULL, true));
}

void pgconn_hold(struct pgconn *c, struct ath_session *s)
{
    c->session = s;
    c->state = PGCONN_HELD;
}

void pgconn_release(struct pgconn *c)
{
    c->session = NULL;
    pgconn_answered(c, !c->tx);
}

/* Between the queries of a session. A transaction that a trip of its own began and that failed is
 * not the session's business. */
static void held(struct pgconn *c, bool idle)
{
    c->tx = !idle;
    c->limited = c->limited && c->tx;
    if (c->tx && c->own_tx) {
        c->own_tx = c->tx = false;
        pgconn_leave(c, send_clean(c, "ROLLBACK") && pgconn_put_sync(c, NULL, false));
        return;
    }
    deadline_clear(&c->watch);
    c->state = PGCONN_HELD;
    c->on->ready(c);
}

/* A broken transaction is rolled back, what a caller's own SQL may have left in the session is
 * discarded, and only then is the connection idle. */
void pgconn_answered(struct pgconn *c, bool idle)
{
    bool ok = true;

    if (unlikely(c->session != NULL)) {
        held(c, idle);
        return;
    }
    c->tx = c->limited = false;
    if (!c->retire && (!idle || c->raw)) {
        if (!idle)
            ok = send_clean(c, "ROLLBACK") && pgconn_put_sync(c, NULL, false);
        if (c->raw) {
            prep_forget_all(&c->prep);
            ok = ok && send_clean(c, "DISCARD ALL") && pgconn_put_sync(c, NULL, false);
        }
        c->retire = c->cleaning && !idle;
        c->cleaning = true;
        c->shared = c->raw = false;
        pgconn_leave(c, ok);
        return;
    }
    deadline_clear(&c->watch);
    c->cleaning = c->raw = false;
    c->state = PGCONN_IDLE;
    c->idle_since_ms = loop_now_ms(c->loop);
    c->on->ready(c);
}

/* ---- trips that end early ---- */

void pgconn_detach(struct trip *t)
{
    pgconn_take_off(t->conn, t);
}

void pgconn_drop(struct trip *t)
{
    struct pgconn *c = t->conn;
    uint64_t us = (uv_hrtime() - c->answered_ns) / 1000;

    if (t->plain && !c->shared && us > PGCONN_STUCK_MS * 1000)
        c->on->answered(c, t, us); /* at least so long */
    pgcopy_stop(c, "its caller has left");
    pgconn_take_off(c, t);
    if (c->state != PGCONN_BUSY || !list_empty(&c->trips))
        return;
    c->left_ms = loop_now_ms(c->loop) - (c->paused ? PGCONN_GRACE_MS : 0);
    deadline_set(c->loop, &c->watch, watch_next(c, c->left_ms));
}

/* One of them takes long. Which one is not known: the server sends what it has with the Sync. So
 * all are run again, each alone, and this connection is given up. */
static void hand_back(struct pgconn *c)
{
    c->slow = true;
    while (!list_empty(&c->trips)) { /* from the last: each goes to the front of the line */
        struct trip *t = list_entry(c->trips.prev, struct trip, node);
        t->alone = true;
        pgconn_run_again(c, t);
    }
    c->left_ms = loop_now_ms(c->loop);
    c->on->stuck(c);
}

static void watch_busy(struct pgconn *c)
{
    uint64_t now = loop_now_ms(c->loop), quiet = now - c->progress_ms;
    uint64_t most = c->cleaning ? CLEAN_MS : c->options.answer_ms;

    if (c->left_ms && now - c->left_ms >= PGCONN_GRACE_MS) {
        pgconn_broke(c, NULL); /* closing a busy connection cancels what runs on it */
        return;
    }
    if (most && quiet >= most && !c->paused && !pgcopy_runs(c)) {
        pgconn_too_late(c, "the server did not answer in time");
        return;
    }
    if (c->shared && !c->slow && quiet >= PGCONN_STUCK_MS)
        hand_back(c);
    deadline_set(c->loop, &c->watch, watch_next(c, now));
}

static void on_watch(struct deadline *d)
{
    struct pgconn *c = container_of(d, struct pgconn, watch);

    if (c->state == PGCONN_RESOLVING || c->state == PGCONN_CONNECTING) {
        pgconn_too_late(c, "connecting took too long");
        return;
    }
    if (c->copying == PGCOPY_DATA)
        pgcopy_watch(c);
    else if (c->state == PGCONN_BUSY)
        pgconn_receive(c); /* it may have answered while the loop was busy */
    if (c->state == PGCONN_BUSY)
        watch_busy(c);
}
