/* What a connection hears, given to the trips it belongs to.
 *
 * Each result goes to the entry at the head of the ring, be it libpq's (drain() and take()) or read
 * past it (direct_receive(), see wire.h). When the ring is empty pgconn_answered() takes over.
 *
 * How it fails: a failed statement only fails its trip (see failed()); what stood behind it in the
 * same Sync was not run, comes back as PGRES_PIPELINE_ABORTED or not at all, and is handed back to
 * be run again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "db/pgconn_priv.h"
#include "db/pgcopy.h"
#include "db/pieces.h"
#include "db/query.h"

/* ---- what an answer means ---- */

static struct db_failure failure_of(const PGresult *res)
{
    return (struct db_failure){
        .sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE),
        .message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY),
        .detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL),
        .hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT),
        .position = PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION),
        .constraint = PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME),
        .table = PQresultErrorField(res, PG_DIAG_TABLE_NAME),
        .schema = PQresultErrorField(res, PG_DIAG_SCHEMA_NAME),
        .column = PQresultErrorField(res, PG_DIAG_COLUMN_NAME),
        .function = PQresultErrorField(res, PG_DIAG_SOURCE_FUNCTION),
        .context = PQresultErrorField(res, PG_DIAG_CONTEXT),
    };
}

static bool is_lost(const struct db_failure *f)
{
    return !f->sqlstate || strcmp(f->sqlstate, "57P01") == 0 || strcmp(f->sqlstate, "57P02") == 0 ||
           strcmp(f->sqlstate, "57P03") == 0;
}

/* A prepared statement that is not there, there already, or whose result has changed: forgotten,
 * and what needed it is run again, once. */
static bool is_stale(const struct db_failure *f)
{
    if (strcmp(f->sqlstate, "26000") == 0 || strcmp(f->sqlstate, "42P05") == 0)
        return true;
    return strcmp(f->sqlstate, "0A000") == 0 && f->function &&
           strcmp(f->function, "RevalidateCachedQuery") == 0;
}

static bool wants_writes(const struct pgconn *c, const struct db_failure *f)
{
    return c->target->writable && strcmp(f->sqlstate, "25006") == 0;
}

void pgconn_run_again(struct pgconn *c, struct trip *t)
{
    pgconn_take_off(c, t);
    c->on->again(c, t);
}

/* Its other statements, and those of other connections, may be as old as the one that failed. */
static void run_fresh(struct pgconn *c, struct trip *t)
{
    t->tries++;
    t->fresh = true;
    pgconn_run_again(c, t);
}

/* Of a trip that is fenced by a lease, the fence says so with a word that only it has. */
static __attribute__((noinline)) void query_failed(struct trip *t, const struct db_failure *f)
{
    if (t->fence && strstr(f->message, DB_LEASE_LOST))
        err_raise(trip_err(t), "lease_lost", "the lease of the job is not held any more");
    else
        db_fail(f, trip_err(t));
}

/* Entry `s` failed. Reads in front of a shared Sync end here; all others at their Sync, when it is
 * known that the transaction is over. */
static void failed(struct pgconn *c, struct sent *s, const struct db_failure *f)
{
    struct trip *t = s->trip;
    bool stale = s->prep && is_stale(f);

    if (wants_writes(c, f))
        c->retire = true;
    if (s->prep && (stale || s->kind == SENT_PARSE))
        prep_forget(&c->prep, s->prep);
    if (!t || t->failed)
        return;
    t->redo = stale && t->tries == 0 && !(t->flags & ATH_PG_EACH);
    t->failed = true;
    if (!t->redo)
        query_failed(t, f);
    if (!t->plain)
        return;
    if (t->redo) {
        run_fresh(c, t);
        return;
    }
    pgconn_take_off(c, t);
    trip_finish(t, t->op->err->rc);
}

/* The transaction was broken before this entry was reached. */
static void skipped(struct pgconn *c, struct sent *s)
{
    if (s->kind == SENT_PARSE && s->prep)
        prep_forget(&c->prep, s->prep);
    if (s->trip && s->trip->plain) {
        s->trip->alone = true;
        pgconn_run_again(c, s->trip);
    }
}

/* The same for a trip whose only entry left is `s`. */
static void take_off_last(struct sent *s)
{
    list_unlink(&s->trip->node);
    s->trip->conn = NULL;
    s->trip = NULL;
}

/* The result of its entry was filled in. */
static void answered(struct pgconn *c, struct sent *s)
{
    struct trip *t = s->trip;

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
    if (t->redo && t->session && !c->own_tx && PQtransactionStatus(c->pg) != PQTRANS_IDLE) {
        err_raise(trip_err(t), "serialization_failure",
                  "a table was altered since its statement was prepared; the transaction is over");
    } else if (t->redo) {
        run_fresh(c, t);
        return;
    }
    take_off_last(s);
    trip_finish(t, t->failed ? t->op->err->rc : 0);
}

static void lost_by(struct pgconn *c, const struct db_failure *f)
{
    ath_err e;

    err_raise(&e, "connection_error", "%s", f->message ? f->message : "the connection was lost");
    pgconn_broke(c, &e);
}

static void refuse_copy(struct pgconn *c, struct sent *s, PGresult *res)
{
    struct trip *t = s->trip;
    ath_err e;

    PQclear(res);
    if (t) {
        pgconn_take_off(c, t);
        trip_finish(t, err_raise(trip_err(t), "query_syntax", "COPY cannot run as a query"));
    }
    err_raise(&e, "connection_error", "the connection was closed behind a COPY");
    pgconn_broke(c, &e);
}

static void drop_tuples(struct pgconn *c)
{
    free(c->tuples);
    c->tuples = NULL;
}

/* Some rows of a result that comes in pieces. */
static void piece(struct pgconn *c, struct sent *s, PGresult *res)
{
    struct trip *t = s->trip;

    if (!t) {
        drop_tuples(c);
        PQclear(res);
        return;
    }
    if (!t->pieces->shape)
        t->pieces->shape = s->prep && s->prep->shape ? shape_ref(s->prep->shape) : shape_new(res);
    if (s->prep && !s->prep->shape)
        s->prep->shape = shape_ref(t->pieces->shape);
    c->progress_ms = loop_now_ms(c->loop);
    if (!c->tuples)
        c->tuples = tuples_new((uint32_t)PQnfields(res));
    tuples_add_result(&c->tuples, res);
    PQclear(res);
    if (c->tuples->n < PIECE_BYTES)
        return;
    pieces_give(t, c->tuples);
    c->tuples = NULL;
}

/* Its result is complete; these are the last rows, if any. */
static void last_piece(struct pgconn *c, struct sent *s, PGresult *res)
{
    uint64_t affected = strtoull(PQcmdTuples(res), NULL, 10);
    struct tuples *rest;

    if (PQnfields(res))
        piece(c, s, res);
    else
        PQclear(res);
    rest = c->tuples ? c->tuples : tuples_new(0);
    c->tuples = NULL;
    pieces_last(s->trip, rest, affected);
}

static void filled(struct pgconn *c, struct sent *s, PGresult *res)
{
    ath_rows *rows;

    if (s->prep && !s->prep->shape && PQnfields(res))
        s->prep->shape = shape_new(res);
    rows = trip_answer(s->trip);
    rows_fill(rows, res, s->prep ? s->prep->shape : NULL);
    if (c->raw) {
        rows->took_us = (c->read_ns - c->answered_ns) / 1000;
        c->answered_ns = c->read_ns;
    }
    answered(c, s);
}

/* An entry failed; takes `res`. False: the connection is gone. */
static bool refused(struct pgconn *c, struct sent *s, PGresult *res)
{
    struct db_failure f = failure_of(res);
    bool lost = is_lost(&f);

    if (lost) {
        lost_by(c, &f);
    } else {
        if (s->kind == SENT_CLEAN)
            c->retire = true;
        drop_tuples(c);
        failed(c, s, &f);
    }
    PQclear(res);
    return !lost;
}

/* Gives a result to the entry at the head. False: the connection is gone, or waits for data. */
static bool take(struct pgconn *c, struct sent *s, PGresult *res)
{
    if (unlikely(s->kind == SENT_COPY) && PQresultStatus(res) != PGRES_FATAL_ERROR)
        return pgcopy_take(c, s, res);
    switch (PQresultStatus(res)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        if (s->kind == SENT_STMT && s->trip && s->pieces) {
            last_piece(c, s, res);
            return true;
        }
        if (s->kind == SENT_STMT && s->trip) {
            filled(c, s, res);
            return true;
        }
        break;
    case PGRES_SINGLE_TUPLE:
#ifdef LIBPQ_HAS_CHUNK_MODE
    case PGRES_TUPLES_CHUNK:
#endif
        piece(c, s, res);
        return true;
    case PGRES_PIPELINE_ABORTED:
        skipped(c, s);
        break;
    case PGRES_PIPELINE_SYNC:
        synced(c, s);
        break;
    case PGRES_FATAL_ERROR:
        return refused(c, s, res);
    default: /* COPY, which has no place in a pipeline: its data would follow */
        refuse_copy(c, s, res);
        return false;
    }
    PQclear(res);
    return true;
}

/* The entry at the head is libpq's current one: now it can be told how its rows are wanted. */
static void ask_pieces(struct pgconn *c, struct sent *s)
{
    s->asked = true;
#ifdef LIBPQ_HAS_CHUNK_MODE
    PQsetChunkedRowsMode(c->pg, 128);
#else
    PQsetSingleRowMode(c->pg);
#endif
}

static bool may_take(struct pgconn *c)
{
    struct sent *s = ring_at(c, 0);

    if (c->count == 0 || c->paused)
        return false;
    if (unlikely(s->pieces && !s->asked))
        ask_pieces(c, s);
    return !PQisBusy(c->pg);
}

/* Everything that libpq has read so far. False: the connection is gone, or waits for data. */
static bool drain(struct pgconn *c)
{
    bool nothing = false;

    while (may_take(c)) {
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
    if (c->count == 0 && c->state == PGCONN_BUSY && unlikely(c->copying != PGCOPY_NONE))
        pgcopy_next(c);
    else if (c->count == 0 && c->state == PGCONN_BUSY)
        pgconn_answered(c, PQtransactionStatus(c->pg) == PQTRANS_IDLE);
    return c->state != PGCONN_CLOSED;
}

/* Idle connections get messages too: parameters, notices, the server's good-bye. */
static void idle_messages(struct pgconn *c)
{
    PGnotify *n;

    if (PQisBusy(c->pg))
        return;
    while (c->pg && (n = PQnotifies(c->pg)) != NULL) {
        if (c->on->notified)
            c->on->notified(c, n->relname, n->extra);
        PQfreemem(n);
    }
}

/* ---- reading answers of what went past libpq ---- */

static void direct_pop(struct pgconn *c)
{
    ring_pop(c);
    c->progress_ms = loop_now_ms(c->loop);
}

static bool direct_row(struct pgconn *c, const struct sent *s, const struct wire_msg *m)
{
    uint16_t columns;

    if (s->kind != SENT_STMT || m->n < sizeof(columns))
        return false;
    memcpy(&columns, m->p, sizeof(columns));
    if (ntohs(columns) != s->prep->shape->columns)
        return false;
    if (!c->tuples)
        c->tuples = tuples_new(s->prep->shape->columns);
    return tuples_add(&c->tuples, m->p + sizeof(columns), m->n - sizeof(columns));
}

static bool direct_complete(struct pgconn *c, struct sent *s, const struct wire_msg *m)
{
    struct tuples *t = c->tuples ? c->tuples : tuples_new(s->prep->shape->columns);

    if (s->kind != SENT_STMT)
        return false;
    c->tuples = NULL;
    if (s->trip) {
        tuples_close(&t);
        rows_fill_tuples(trip_answer(s->trip), t, s->prep->shape, wire_affected(m));
        answered(c, s);
    } else {
        free(t);
    }
    direct_pop(c);
    return true;
}

/* An error with the commit comes when all entries but the Sync's have been answered. */
static bool direct_error(struct pgconn *c, struct sent *s, const struct wire_msg *m)
{
    struct db_failure f;

    if (!wire_error(m, &f))
        return false;
    free(c->tuples);
    c->tuples = NULL;
    if (is_lost(&f)) {
        lost_by(c, &f);
        return true;
    }
    failed(c, s, &f);
    if (s->kind == SENT_STMT)
        direct_pop(c);
    return true;
}

/* What stands in front of the Sync still was skipped behind a failure. */
static bool direct_ready(struct pgconn *c, const struct wire_msg *m)
{
    bool idle = m->n == 1 && *m->p == 'I';

    if (m->n != 1)
        return false;
    for (; ring_at(c, 0)->kind == SENT_STMT; ring_pop(c))
        skipped(c, ring_at(c, 0));
    direct_pop(c);
    c->direct = false;
    if (!wire_settle(&c->wire))
        c->retire = true;
    pgconn_answered(c, idle);
    return true;
}

/* False: the server has left the protocol. */
static bool direct_take(struct pgconn *c, const struct wire_msg *m)
{
    struct sent *s = ring_at(c, 0);

    switch (m->type) {
    case '2':
        return m->n == 0 && s->kind == SENT_STMT;
    case 'D':
        return direct_row(c, s, m);
    case 'C':
        return direct_complete(c, s, m);
    case 'E':
        return direct_error(c, s, m);
    case 'Z':
        return direct_ready(c, m);
    default:
        return m->type == 'N' || m->type == 'S' || m->type == 'A';
    }
}

static void direct_receive(struct pgconn *c)
{
    enum wire_io io = WIRE_MORE;

    for (int reads = 0; reads < 8 && io == WIRE_MORE; reads++) {
        struct wire_msg m;
        int got;
        io = wire_fill(&c->wire, c->fd);
        while (c->direct && (got = wire_next(&c->wire, &m)) != 0) {
            if (got < 0 || !direct_take(c, &m))
                pgconn_too_late(c, "the server's answer is not of the protocol");
            if (c->state != PGCONN_BUSY)
                return;
        }
        if (!c->direct)
            return;
    }
    if (io == WIRE_LOST)
        pgconn_too_late(c, errno ? strerror(errno) : "server closed the connection unexpectedly");
}

/* ---- reading ---- */

/* A TLS record may wait inside the library with nothing left on the socket, so there is asked more
 * than once: three reads empty the largest. */
void pgconn_receive(struct pgconn *c)
{
    int reads = c->tls ? 3 : 1;

    if (unlikely(c->paused))
        return;
    c->read_ns = uv_hrtime();
    if (c->direct) {
        direct_receive(c);
        return;
    }
    for (int i = 0; i < reads; i++) {
        bool open = PQconsumeInput(c->pg) == 1;
        if (!drain(c))
            return;
        if (c->state == PGCONN_IDLE || c->state == PGCONN_HELD)
            idle_messages(c);
        if (!open || PQstatus(c->pg) == CONNECTION_BAD) {
            pgconn_broke_libpq(c);
            return;
        }
        if (c->paused)
            return;
    }
}
