/* Cancel requests, both ways. A request that cannot be made is dropped: the server then notices at
 * its next write that nobody listens.
 */
#include "db/pgcancel.h"

#include <stdlib.h>

#include "base/mem.h"

#ifdef LIBPQ_HAS_ASYNC_CANCEL

enum { CANCEL_MS = 10000 };

struct cancel {
    ath_loop *loop;
    PGcancelConn *cc;
    uv_poll_t poll;
    struct deadline limit;
};

static void cancel_closed(uv_handle_t *h)
{
    struct cancel *c = container_of(h, struct cancel, poll);

    PQcancelFinish(c->cc);
    free(c);
}

static void cancel_end(struct cancel *c)
{
    deadline_clear(&c->limit);
    if (!uv_is_closing((uv_handle_t *)&c->poll))
        uv_close((uv_handle_t *)&c->poll, cancel_closed);
}

static void cancel_late(struct deadline *d)
{
    cancel_end(container_of(d, struct cancel, limit));
}

static void cancel_step(uv_poll_t *h, int status, int events)
{
    struct cancel *c = container_of(h, struct cancel, poll);

    (void)events;
    if (status < 0) {
        cancel_end(c);
        return;
    }
    uv_poll_stop(h);
    switch (PQcancelPoll(c->cc)) {
    case PGRES_POLLING_READING:
        uv_poll_start(h, UV_READABLE, cancel_step);
        break;
    case PGRES_POLLING_WRITING:
        uv_poll_start(h, UV_WRITABLE, cancel_step);
        break;
    default:
        cancel_end(c);
    }
}

void pgcancel_start(ath_loop *l, PGconn *pg)
{
    PGcancelConn *cc = PQcancelCreate(pg);
    struct cancel *c;

    if (!cc || !PQcancelStart(cc) || PQcancelSocket(cc) < 0) {
        PQcancelFinish(cc);
        return;
    }
    c = MEM_NEW(struct cancel);
    c->loop = l;
    c->cc = cc;
    deadline_init(&c->limit, cancel_late);
    if (uv_poll_init(&l->uv, &c->poll, PQcancelSocket(cc)) < 0) {
        PQcancelFinish(cc);
        free(c);
        return;
    }
    uv_poll_start(&c->poll, UV_WRITABLE, cancel_step);
    deadline_set(l, &c->limit, loop_now_ms(l) + CANCEL_MS);
}

#else

enum { CANCELS_AT_ONCE = 64 }; /* of the process; each holds a thread of libuv's pool in turn */

static atomic_uint running;

struct cancel {
    uv_work_t work;
    PGcancel *handle;
};

static void cancel_run(uv_work_t *w)
{
    char why[256];

    PQcancel(container_of(w, struct cancel, work)->handle, why, sizeof(why));
}

static void cancel_over(uv_work_t *w, int status)
{
    struct cancel *c = container_of(w, struct cancel, work);

    (void)status;
    PQfreeCancel(c->handle);
    free(c);
    atomic_fetch_sub(&running, 1);
}

void pgcancel_start(ath_loop *l, PGconn *pg)
{
    struct cancel *c;

    if (atomic_fetch_add(&running, 1) >= CANCELS_AT_ONCE) {
        atomic_fetch_sub(&running, 1);
        return;
    }
    c = MEM_NEW(struct cancel);
    c->handle = PQgetCancel(pg);
    if (c->handle && uv_queue_work(&l->uv, &c->work, cancel_run, cancel_over) == 0)
        return;
    PQfreeCancel(c->handle);
    free(c);
    atomic_fetch_sub(&running, 1);
}

#endif
