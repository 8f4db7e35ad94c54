/* COPY, step by step.
 *
 * The normal path: pgconn_run() sends what stands in front; when that is answered pgcopy_next()
 * asks for the COPY, pgcopy_take() hears that the server waits for data, pump() moves it from the
 * stream into libpq whenever libpq's buffer is empty, so no more than one piece waits in it. After
 * the stream's end pgcopy_take() hears the number of rows, and pgcopy_next() ends the transaction.
 *
 * How it fails: a refused statement or row only marks the trip as failed, a stream that breaks off
 * too; the last step then rolls back. When its caller has left, the copy is broken off and the
 * connection cleaned as always, or closed when that takes long.
 */
#include "db/pgcopy.h"

#include <poll.h>
#include <sys/socket.h>

#include "db/heard.h"
#include "db/pgconn_priv.h"
#include "io/stream.h"

enum {
    PIECE = 32768,     /* a quarter of a Unix socket's buffer at most */
    REFUSED_MS = 1000, /* the parts of a notice are not so far apart */
};

#define REFUSED "the server has refused it"

static struct trip *trip_on(struct pgconn *c)
{
    struct list *node = list_first(&c->trips);

    return node ? list_entry(node, struct trip, node) : NULL;
}

/* ---- sending ---- */

void pgcopy_let_go(struct pgconn *c, struct trip *t)
{
    if (c->copying == PGCOPY_DATA && t->from)
        stream_consume(t->from, NULL, NULL);
}

/* `why` NULL: it was all. What the server says to it may have been read by libpq already. */
static void end_data(struct pgconn *c, const char *why)
{
    struct trip *t = trip_on(c);

    if (t)
        pgcopy_let_go(c, t);
    c->copying = PGCOPY_DONE;
    c->odd = false;
    if (PQputCopyEnd(c->pg, why) != 1) {
        loop_defer(c->loop, &c->broken);
        return;
    }
    pgconn_listen_to(c, PQflush(c->pg) == 1 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
    loop_defer(c->loop, &c->resume);
}

void pgcopy_stop(struct pgconn *c, const char *why)
{
    if (c->copying == PGCOPY_DATA)
        end_data(c, why);
}

static void stream_over(struct pgconn *c, struct trip *t, int rc)
{
    if (rc < 0 && !t->failed) {
        t->failed = true;
        err_fail(trip_err(t), rc, "what was to be copied ended early");
    }
    end_data(c, rc < 0 ? "what was to be copied ended early" : NULL);
}

/* What has not been read yet begins with an ErrorResponse: its type, its length, the field S. No
 * text holds a zero, as the length does, so the middle of a notice does not look like it. Under TLS
 * nothing does.
 */
static bool refusal_shows(const struct pgconn *c)
{
    char head[6];

    return recv(c->fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT) == sizeof(head) &&
           head[0] == 'E' && head[1] == 0 && head[5] == 'S';
}

/* The call without bytes has libpq read its notices, which clear `odd`. */
static void hear(struct pgconn *c)
{
    bool refused = refusal_shows(c);

    c->odd = true;
    deadline_set(c->loop, &c->watch, loop_now_ms(c->loop) + REFUSED_MS);
    c->heard = socket_heard(c->fd);
    if (!PQconsumeInput(c->pg)) {
        end_data(c, "the connection was lost");
        return;
    }
    if (refused)
        end_data(c, REFUSED);
    else
        PQputCopyData(c->pg, "", 0);
}

/* What the socket would let us do now. */
static int ready_for(const struct pgconn *c)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN | POLLOUT };

    return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

/* False: there is nothing to send right now. */
static bool send_piece(struct pgconn *c, struct trip *t)
{
    ath_str b = stream_peek(t->from);
    int rc;

    if (!b.n) {
        if (stream_ended(t->from, &rc))
            stream_over(c, t, rc);
        return false;
    }
    if (b.n > PIECE)
        b.n = PIECE;
    if (PQputCopyData(c->pg, b.p, (int)b.n) != 1) {
        end_data(c, "the data could not be sent");
        return false;
    }
    c->progress_ms = loop_now_ms(c->loop);
    stream_take(t->from, b.n);
    return true;
}

static void pump(struct pgconn *c)
{
    struct trip *t = trip_on(c);

    while (c->copying == PGCOPY_DATA && !c->odd) {
        int events = ready_for(c);
        if (events & ~POLLOUT) {
            hear(c);
            continue;
        }
        if (!(events & POLLOUT) || PQflush(c->pg) == 1) {
            pgconn_listen_to(c, UV_READABLE | UV_WRITABLE);
            return;
        }
        if (!t || !send_piece(c, t))
            break;
        PQflush(c->pg);
        if (socket_heard(c->fd) != c->heard)
            hear(c);
    }
    if (c->copying == PGCOPY_DATA)
        pgconn_listen_to(c, UV_READABLE);
}

static void on_data(ath_stream *s, void *impl)
{
    (void)s;
    pump(impl);
}

static void begin_data(struct pgconn *c, struct trip *t)
{
    c->copying = PGCOPY_DATA;
    c->odd = false;
    c->heard = socket_heard(c->fd);
    if (t)
        stream_consume(t->from, on_data, c);
    else
        end_data(c, "its caller has left");
}

/* ---- what the server says meanwhile ---- */

void pgcopy_poll(struct pgconn *c, int events)
{
    if (events & UV_READABLE)
        hear(c);
    pump(c);
}

/* A loop that was held up finds the rest of a notice in the socket, behind the time for it. */
void pgcopy_watch(struct pgconn *c)
{
    if (c->odd && ready_for(c) & POLLIN)
        hear(c);
    else if (c->odd)
        end_data(c, REFUSED);
    else
        pump(c);
}

/* ---- steps ---- */

bool pgcopy_take(struct pgconn *c, struct sent *s, PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    struct trip *t = s->trip;

    if (status == PGRES_COMMAND_OK && c->copying == PGCOPY_DONE && t && !t->failed) {
        rows_fill(trip_answer(t), res, NULL);
        return true;
    }
    PQclear(res);
    if (status == PGRES_COPY_IN) {
        begin_data(c, t);
        return false;
    }
    if (t && !t->failed) {
        t->failed = true;
        err_fail(trip_err(t), ATH_E_BUG, "what was to copy a stream is no COPY FROM STDIN");
    }
    if (status != PGRES_COPY_OUT)
        return true;
    if (t) {
        pgconn_take_off(c, t);
        trip_finish(t, t->op->err->rc);
    }
    pgconn_too_late(c, "the connection was closed behind a COPY TO");
    return false;
}

static void ask(struct pgconn *c, struct trip *t)
{
    const struct trip_stmt *s = &t->stmt[t->count - 1];
    bool ok =
        PQexitPipelineMode(c->pg) && PQsendQueryParams(c->pg, s->sql, 0, NULL, NULL, NULL, NULL, 0);

    c->copying = PGCOPY_ASKED;
    if (ok)
        pgconn_put_entry(c, SENT_COPY, t);
    pgconn_leave(c, ok);
}

/* Nobody waits for it: what is open is rolled back, as behind any trip. */
static void left_alone(struct pgconn *c)
{
    c->copying = PGCOPY_NONE;
    pgconn_answered(c, PQtransactionStatus(c->pg) == PQTRANS_IDLE);
}

static void finish(struct pgconn *c)
{
    struct trip *t = trip_on(c);
    bool ok = PQenterPipelineMode(c->pg);

    if (ok && !t) {
        left_alone(c);
        return;
    }
    c->copying = PGCOPY_END;
    if (ok && c->own_tx) {
        t->undone = t->failed;
        ok = pgconn_put_text(c, t, t->failed ? "ROLLBACK" : "COMMIT");
    }
    pgconn_leave(c, ok && pgconn_put_sync(c, t, true));
}

void pgcopy_next(struct pgconn *c)
{
    struct trip *t = trip_on(c);

    if (c->copying == PGCOPY_END)
        left_alone(c);
    else if (c->copying == PGCOPY_BEFORE && t && !t->failed)
        ask(c, t);
    else
        finish(c);
}
