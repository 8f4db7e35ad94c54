/* A connection, from names to answers.
 *
 * The normal path: pgconn_open() resolves and connects (on_connect steps PQconnectPoll); then
 * pgconn_add() and pgconn_sync(), or pgconn_run(), put messages into libpq's buffer and one entry
 * per message into the ring; on_poll() reads, and take() gives each result to the entry at the head.
 * When the ring is empty the connection is cleaned if it has to be, and is idle again.
 *
 * How it fails: a lost connection, wherever it is noticed, ends in broke(), which tells the pool
 * and closes. A failed statement only fails its trip (see failed()); what stood behind it in the
 * same Sync comes back as PGRES_PIPELINE_ABORTED and is handed back to be run again.
 */
#include "db/pgconn.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "db/pgaddr.h"
#include "db/pgcancel.h"
#include "db/query.h"

enum { PGCONN_MAGIC = 0x9c0e0001, RING = 64, CLEAN_MS = 5000 };

enum sent_kind {
    SENT_PARSE = 1,
    SENT_STMT,  /* its result is the trip's */
    SENT_INNER, /* BEGIN, settings, COMMIT: only a failure counts */
    SENT_CLEAN, /* ours: ROLLBACK, DISCARD ALL, DEALLOCATE */
    SENT_SYNC,
};

struct sent {
    struct trip *trip; /* NULL: nobody waits for it any more */
    struct prep *prep;
    uint8_t kind;
    bool got;  /* its result came; the NULL behind it has not */
    bool last; /* with it the trip is finished */
};

/* ---- the ring of what was sent ---- */

static struct sent *ring_at(struct pgconn *c, uint32_t i)
{
    return &c->sent[(c->head + i) & (c->cap - 1)];
}

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

static void ring_pop(struct pgconn *c)
{
    struct sent *s = ring_at(c, 0);

    if (s->prep)
        prep_unuse(s->prep);
    c->head = (c->head + 1) & (c->cap - 1);
    c->count--;
}

/* The trip is on the connection no more; entries that are still awaited belong to nobody. */
static void take_off(struct pgconn *c, struct trip *t)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (ring_at(c, i)->trip == t)
            ring_at(c, i)->trip = NULL;
    list_unlink(&t->node);
    t->conn = NULL;
}

/* ---- closing ---- */

static void poll_closed(uv_handle_t *h)
{
    free(h);
}

static void poll_close(struct pgconn *c)
{
    if (c->poll)
        uv_close((uv_handle_t *)c->poll, poll_closed);
    c->poll = NULL;
}

static void conn_free(void *arg)
{
    struct pgconn *c = arg;

    c->magic = 0;
    free(c->why);
    free(c);
}

void pgconn_close(struct pgconn *c)
{
    bool running;

    if (c->state == PGCONN_CLOSED)
        return;
    running = c->state == PGCONN_BUSY && PQstatus(c->pg) == CONNECTION_OK;
    c->state = PGCONN_CLOSED;
    deadline_clear(&c->watch);
    deferred_cancel(&c->broken);
    if (c->addr)
        pgaddr_cancel(c->addr);
    if (running)
        pgcancel_start(c->loop, c->pg);
    poll_close(c); /* before PQfinish(), which closes the descriptor */
    PQfinish(c->pg);
    c->pg = NULL;
    while (c->count)
        ring_pop(c);
    prep_free(&c->prep);
    free(c->sent);
    target_unref(c->target);
    /* A caller up the stack may still look at the state: freed from the loop's deferred work. */
    deferred_init(&c->broken, conn_free, c);
    loop_defer(c->loop, &c->broken);
}

static void broke(struct pgconn *c, const ath_err *why)
{
    if (c->state == PGCONN_CLOSED)
        return;
    c->on->lost(c, why);
    pgconn_close(c);
}

/* What libpq says, in one line: it names host and user, never a password. */
static void broke_libpq(struct pgconn *c)
{
    ath_str why = str_trim(str_of(c->why ? c->why : PQerrorMessage(c->pg)));
    ath_err e;

    why.n = str_find(why, '\n');
    err_raise(&e, "connection_error", "%.*s", STR_ARG(why));
    broke(c, &e);
}

static void on_broken(void *arg)
{
    broke_libpq(CHECKED(arg, struct pgconn, PGCONN_MAGIC));
}

/* Noticed inside a call from the pool: told later. */
static void break_later(struct pgconn *c)
{
    loop_defer(c->loop, &c->broken);
}

/* ---- reading answers ---- */

static bool is_lost(const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    return !state || strcmp(state, "57P01") == 0 || strcmp(state, "57P02") == 0 ||
           strcmp(state, "57P03") == 0;
}

/* A prepared statement that is not there, there already, or whose result has changed: forgotten,
 * and what needed it is run again, once. */
static bool is_stale(const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *where = PQresultErrorField(res, PG_DIAG_SOURCE_FUNCTION);

    if (!state)
        return false;
    if (strcmp(state, "26000") == 0 || strcmp(state, "42P05") == 0)
        return true;
    return strcmp(state, "0A000") == 0 && where && strcmp(where, "RevalidateCachedQuery") == 0;
}

static bool wants_writes(const struct pgconn *c, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    return c->target->writable && state && strcmp(state, "25006") == 0;
}

static void run_again(struct pgconn *c, struct trip *t)
{
    take_off(c, t);
    c->on->again(c, t);
}

/* Entry `s` failed. Reads in front of a shared Sync end here; all others at their Sync, when it is
 * known that the transaction is over. */
static void failed(struct pgconn *c, struct sent *s, const PGresult *res)
{
    struct trip *t = s->trip;
    bool stale = s->prep && is_stale(res);

    if (wants_writes(c, res))
        c->retire = true;
    if (s->prep && (stale || s->kind == SENT_PARSE))
        prep_forget(&c->prep, s->prep);
    if (!t || t->failed)
        return;
    t->redo = stale && t->tries == 0 && !(t->flags & ATH_PG_EACH);
    t->failed = true;
    if (!t->redo)
        trip_fail(t, res);
    if (!t->plain)
        return;
    if (t->redo) {
        t->tries++;
        run_again(c, t);
        return;
    }
    take_off(c, t);
    trip_finish(t, t->op->err->rc);
}

/* The transaction was broken before this entry was reached. */
static void skipped(struct pgconn *c, struct sent *s)
{
    if (s->kind == SENT_PARSE && s->prep)
        prep_forget(&c->prep, s->prep);
    if (s->trip && s->trip->plain) {
        s->trip->alone = true;
        run_again(c, s->trip);
    }
}

/* The same for a trip whose only entry left is `s`. */
static void take_off_last(struct sent *s)
{
    list_unlink(&s->trip->node);
    s->trip->conn = NULL;
    s->trip = NULL;
}

static void answered(struct pgconn *c, struct sent *s, PGresult *res)
{
    struct trip *t = s->trip;

    trip_answer(t, res);
    if (!s->last)
        return;
    c->on->answered(c, t, (c->read_ns - c->answered_ns) / 1000);
    c->answered_ns = c->read_ns;
    take_off_last(s);
    trip_finish(t, 0);
}

/* A Sync came back: the transaction is over, well or not. */
static void synced(struct pgconn *c, struct sent *s)
{
    struct trip *t = s->trip;

    if (!t || !s->last)
        return;
    if (t->redo) {
        t->tries++;
        run_again(c, t);
        return;
    }
    take_off_last(s);
    trip_finish(t, t->failed ? t->op->err->rc : 0);
}

static void lost_by(struct pgconn *c, PGresult *res)
{
    ath_err e;

    err_raise(&e, "connection_error", "%s",
              PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)
                  ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)
                  : "the connection was lost");
    PQclear(res);
    broke(c, &e);
}

static void refuse_copy(struct pgconn *c, struct sent *s, PGresult *res)
{
    struct trip *t = s->trip;
    ath_err e;

    PQclear(res);
    if (t) {
        take_off(c, t);
        trip_finish(t, err_raise(op_err(t->op), "query_syntax", "COPY cannot run as a query"));
    }
    err_raise(&e, "connection_error", "the connection was closed behind a COPY");
    broke(c, &e);
}

/* Gives a result to the entry at the head. False: the connection is gone. */
static bool take(struct pgconn *c, struct sent *s, PGresult *res)
{
    switch (PQresultStatus(res)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        if (s->kind == SENT_STMT && s->trip) {
            answered(c, s, res);
            return true;
        }
        break;
    case PGRES_PIPELINE_ABORTED:
        skipped(c, s);
        break;
    case PGRES_PIPELINE_SYNC:
        synced(c, s);
        break;
    case PGRES_FATAL_ERROR:
        if (is_lost(res)) {
            lost_by(c, res);
            return false;
        }
        if (s->kind == SENT_CLEAN)
            c->retire = true;
        failed(c, s, res);
        break;
    default: /* COPY, which has no place in a pipeline: its data would follow */
        refuse_copy(c, s, res);
        return false;
    }
    PQclear(res);
    return true;
}

static void cleaned_or_idle(struct pgconn *c);

/* Everything that libpq has read so far. False: the connection is gone. */
static bool drain(struct pgconn *c)
{
    bool nothing = false;

    while (c->count && !PQisBusy(c->pg)) {
        struct sent *s = ring_at(c, 0);
        PGresult *res = PQgetResult(c->pg);
        if (res) {
            bool sync = PQresultStatus(res) == PGRES_PIPELINE_SYNC;
            nothing = false;
            s->got = true;
            if (!take(c, s, res))
                return false;
            if (!sync)
                continue;
        } else if (!s->got || s->kind == SENT_SYNC) {
            /* It ends no entry: libpq's habit between two of them, and behind an error that came
             * with the commit, in front of the Sync's own answer. */
            if (nothing)
                break;
            nothing = true;
            continue;
        }
        ring_pop(c);
        c->progress_ms = loop_now_ms(c->loop);
    }
    if (c->count == 0 && c->state == PGCONN_BUSY)
        cleaned_or_idle(c);
    return c->state != PGCONN_CLOSED;
}

/* Idle connections get messages too: parameters, notices, the server's good-bye. */
static void idle_messages(struct pgconn *c)
{
    PGnotify *n;

    if (PQisBusy(c->pg))
        return;
    while ((n = PQnotifies(c->pg)) != NULL)
        PQfreemem(n);
}

static void listen_to(struct pgconn *c, int events);

static void flush(struct pgconn *c)
{
    int rc = PQflush(c->pg);

    /* After a failed write the server's last words may still be there to read. */
    listen_to(c, rc == 1 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

/* A TLS record may wait inside the library with nothing left on the socket, so there is asked more
 * than once: three reads empty the largest. */
static void receive(struct pgconn *c)
{
    int reads = c->tls ? 3 : 1;

    c->read_ns = uv_hrtime();
    for (int i = 0; i < reads; i++) {
        bool open = PQconsumeInput(c->pg) == 1;
        if (!drain(c))
            return;
        if (c->state == PGCONN_IDLE)
            idle_messages(c);
        if (!open || PQstatus(c->pg) == CONNECTION_BAD) {
            broke_libpq(c);
            return;
        }
    }
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
    receive(c);
    err_raise(&e, "connection_error", "the connection failed: %s", uv_strerror(status));
    broke(c, &e);
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
    if (events & UV_WRITABLE)
        flush(c);
    if (events & UV_READABLE)
        receive(c);
}

static void listen_to(struct pgconn *c, int events)
{
    int fd = PQsocket(c->pg);

    if (c->poll && fd != c->fd)
        poll_close(c);
    if (!c->poll) {
        uv_poll_t *poll = MEM_NEW(uv_poll_t);
        if (fd < 0 || uv_poll_init(&c->loop->uv, poll, fd) < 0) {
            free(poll);
            break_later(c);
            return;
        }
        poll->data = c;
        c->poll = poll;
        c->fd = fd;
        c->events = 0;
    }
    if (events != c->events)
        uv_poll_start(c->poll, events, on_poll);
    c->events = events;
}

static void no_notices(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

static void connected(struct pgconn *c)
{
    if (PQsetnonblocking(c->pg, 1) != 0 || !PQenterPipelineMode(c->pg)) {
        broke_libpq(c);
        return;
    }
    deadline_clear(&c->watch);
    c->tls = PQsslInUse(c->pg) != 0;
    c->state = PGCONN_IDLE;
    c->opened_ms = c->idle_since_ms = loop_now_ms(c->loop);
    listen_to(c, UV_READABLE);
    c->on->ready(c);
}

/* The socket may be closed and another opened in here, with the same number even: so nothing is
 * watched meanwhile. */
static void connect_step(struct pgconn *c)
{
    if (c->poll)
        uv_poll_stop(c->poll);
    c->events = 0;
    switch (PQconnectPoll(c->pg)) {
    case PGRES_POLLING_OK:
        connected(c);
        break;
    case PGRES_POLLING_FAILED:
        broke_libpq(c);
        break;
    case PGRES_POLLING_WRITING:
        listen_to(c, UV_WRITABLE);
        break;
    default:
        listen_to(c, UV_READABLE);
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
    PQsetNoticeReceiver(c->pg, no_notices, NULL);
    c->state = PGCONN_CONNECTING;
    listen_to(c, UV_WRITABLE);
}

static void on_watch(struct deadline *d);

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

static bool send_sync(struct pgconn *c, struct trip *t, bool last)
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
    return ok && send_sync(c, NULL, false);
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
    if (!(t->flags & (ATH_PG_RAW | ATH_PG_ALONE)) && s->sql_n <= PREP_SQL_MAX)
        return send_prepared(c, t, s, kind);
    if (!PQsendQueryParams(c->pg, s->sql, (int)s->n, s->type, s->value, NULL, NULL, 0))
        return false;
    ring_push(c, kind, t, NULL);
    return true;
}

static bool send_text(struct pgconn *c, struct trip *t, const char *sql)
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
    return ro ? "BEGIN READ ONLY" : NULL;
}

static bool send_all(struct pgconn *c, struct trip *t)
{
    const char *begin = begin_text(t->flags);
    bool ok = !begin || send_text(c, t, begin);

    if (ok && t->set.sql)
        ok = send_stmt(c, t, &t->set, SENT_INNER);
    for (uint32_t i = 0; ok && i < t->count; i++) {
        ok = send_stmt(c, t, &t->stmt[i], SENT_STMT);
        if (ok && (t->flags & ATH_PG_EACH) && i + 1 < t->count)
            ok = send_sync(c, t, false);
    }
    if (ok && begin)
        ok = send_text(c, t, "COMMIT");
    return ok && send_sync(c, t, true);
}

static uint64_t watch_next(const struct pgconn *c, uint64_t now)
{
    if (c->left_ms)
        return c->left_ms + PGCONN_GRACE_MS;
    if (c->shared && !c->slow)
        return c->progress_ms + PGCONN_STUCK_MS;
    return now + 1000;
}

/* What was put together leaves in one write. */
static void leave(struct pgconn *c, bool sent)
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
}

void pgconn_add(struct pgconn *c, struct trip *t)
{
    if (c->count == 0)
        c->sending = send_spare(c);
    attach(c, t);
    c->sending = c->sending && send_stmt(c, t, t->stmt, SENT_STMT);
    if (c->sending)
        ring_at(c, c->count - 1)->last = true;
}

void pgconn_sync(struct pgconn *c)
{
    c->shared = c->trips.next != c->trips.prev;
    leave(c, c->sending && send_sync(c, NULL, false));
}

void pgconn_run(struct pgconn *c, struct trip *t)
{
    attach(c, t);
    c->shared = false;
    c->raw = t->flags & ATH_PG_RAW;
    leave(c, send_spare(c) && send_all(c, t));
}

/* A broken transaction is rolled back, what a caller's own SQL may have left in the session is
 * discarded, and only then is the connection idle. */
static void cleaned_or_idle(struct pgconn *c)
{
    PGTransactionStatusType tx = PQtransactionStatus(c->pg);
    bool ok = true;

    if (!c->retire && (tx != PQTRANS_IDLE || c->raw)) {
        if (tx != PQTRANS_IDLE)
            ok = send_clean(c, "ROLLBACK") && send_sync(c, NULL, false);
        if (c->raw) {
            prep_forget_all(&c->prep);
            ok = ok && send_clean(c, "DISCARD ALL") && send_sync(c, NULL, false);
        }
        c->retire = c->cleaning && tx != PQTRANS_IDLE;
        c->cleaning = true;
        c->shared = c->raw = false;
        leave(c, ok);
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
    take_off(t->conn, t);
}

void pgconn_drop(struct trip *t)
{
    struct pgconn *c = t->conn;
    uint64_t us = (uv_hrtime() - c->answered_ns) / 1000;

    if (t->plain && !c->shared && us > PGCONN_STUCK_MS * 1000)
        c->on->answered(c, t, us); /* at least so long */
    take_off(c, t);
    if (c->state != PGCONN_BUSY || !list_empty(&c->trips))
        return;
    c->left_ms = loop_now_ms(c->loop);
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
        run_again(c, t);
    }
    c->left_ms = loop_now_ms(c->loop);
    c->on->stuck(c);
}

static void too_late(struct pgconn *c, const char *what)
{
    ath_err e;

    err_raise(&e, "connection_error", "%s", what);
    broke(c, &e);
}

static void watch_busy(struct pgconn *c)
{
    uint64_t now = loop_now_ms(c->loop), quiet = now - c->progress_ms;
    uint64_t most = c->cleaning ? CLEAN_MS : c->options.answer_ms;

    if (c->left_ms && now - c->left_ms >= PGCONN_GRACE_MS) {
        broke(c, NULL); /* closing a busy connection cancels what runs on it */
        return;
    }
    if (most && quiet >= most) {
        too_late(c, "the server did not answer in time");
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
        too_late(c, "connecting took too long");
        return;
    }
    if (c->state == PGCONN_BUSY)
        receive(c); /* it may have answered while the loop was busy */
    if (c->state == PGCONN_BUSY)
        watch_busy(c);
}
