/* Streams.
 *
 * Bytes wait in one buffer. A plugin's read takes the whole buffer: it is lent to the continuation,
 * and what arrives meanwhile goes into the other one of two. A consumer in the core looks at the
 * bytes in place and takes as many as it likes.
 *
 * Calls only note what has changed; serve() then finishes operations (whose continuations run later
 * anyway) and calls the core's hooks, from the loop's deferred work, so that two hooked sides that
 * feed each other never recurse.
 */
#include "io/stream.h"

#include <stdlib.h>

#include "base/mem.h"
#include "io/io_priv.h"
#include "lib/text.h"

enum { LIMIT = 65536, MAGIC = 0x57e40001 };

/* One of the three ties between a stream and a task; in the task's list. */
struct tie {
    struct list node;
    ath_stream *stream; /* NULL: not tied */
    void (*over)(ath_stream *s, int rc);
};

struct owner {          /* in the arena of the task that owns the stream */
    ath_stream *stream; /* NULL: moved on */
    const ath_task *task;
};

struct piece {
    char *p;
    size_t cap;
};

struct ath_stream {
    uint32_t magic, refs; /* the owner's, and one per operation that still looks at it */
    ath_loop *loop;
    struct owner *owner;
    struct tie owned, read, written;
    struct piece at, other; /* `other` is lent to a continuation or empty */
    size_t head, n, limit;  /* what waits is at.p[head .. head + n) */
    uint64_t moved;
    struct op *reader, *writer;
    const struct stream_producer *producer;
    stream_data *data;
    void *producer_impl, *data_impl;
    struct deferred serve;
    int rc;
    bool ended, dropped, lent, stalled, tell;
};

static void stream_unref(ath_stream *s)
{
    if (--s->refs > 0)
        return;
    s->magic = 0;
    free(s->at.p);
    free(s->other.p);
    free(s);
}

/* ---- ties ---- */

static void untie(struct tie *tie)
{
    list_unlink(&tie->node);
    tie->stream = NULL;
}

static void tie_to(struct tie *tie, ath_task *t, ath_stream *s)
{
    list_unlink(&tie->node);
    tie->stream = s;
    list_push(&t->streams, &tie->node);
}

static void reader_over(ath_stream *s, int rc)
{
    (void)rc;
    stream_drop(s);
}

static void writer_over(ath_stream *s, int rc)
{
    if (rc < 0) /* one that ended well may have left the rest to somebody else */
        stream_end(s, rc);
}

static void tell_producer(ath_stream *s)
{
    const struct stream_producer *p = s->producer;

    s->producer = NULL;
    if (p && p->drop)
        p->drop(s, s->producer_impl);
}

static void owner_over(ath_stream *s, int rc)
{
    if (s->ended)
        return;
    stream_end(s, rc < 0 ? rc : ATH_E_CANCELED);
    tell_producer(s);
}

void stream_task_over(ath_task *t, int rc)
{
    struct list batch, *node;

    list_take(&batch, &t->streams);
    while ((node = list_pop(&batch))) {
        struct tie *tie = list_entry(node, struct tie, node);
        tie->over(tie->stream, rc);
    }
}

/* The owner's arena goes. */
static void stream_free(void *p)
{
    struct owner *own = p;
    ath_stream *s = own->stream;

    if (!s)
        return;
    owner_over(s, ATH_E_CANCELED);
    stream_drop(s);
    untie(&s->owned);
    untie(&s->read);
    untie(&s->written);
    deferred_cancel(&s->serve);
    s->producer = NULL;
    s->data = NULL;
    stream_unref(s);
}

static void own(ath_stream *s, ath_task *t)
{
    s->owner = ARENA_NEW(&t->arena, struct owner);
    s->owner->stream = s;
    s->owner->task = t;
    arena_own(&t->arena, s->owner, stream_free);
    tie_to(&s->owned, t, s);
}

/* ---- serving both sides ---- */

static void give(ath_stream *s, struct op *o)
{
    struct piece piece = s->at;

    o->done.bytes = (ath_str){ s->n ? piece.p + s->head : "", s->n };
    s->lent = true;
    s->moved += s->n;
    o->done.count = s->moved;
    if (s->n) {
        s->at = s->other;
        s->other = piece;
    }
    s->head = s->n = 0;
}

static void serve_reader(ath_stream *s)
{
    struct op *o = s->reader;
    bool piece = s->n > 0;

    if (!o || s->lent || (!piece && !s->ended))
        return;
    s->reader = NULL;
    o->stop = NULL;
    give(s, o);
    if (!piece && s->rc < 0 && s->rc != ATH_E_CANCELED)
        err_fail(op_err(o), s->rc, "the stream ended early");
    op_finish(o, piece ? 0 : s->rc);
}

static void serve_writer(ath_stream *s)
{
    struct op *o = s->writer;

    if (!o || (s->n >= s->limit && !s->dropped && !s->ended))
        return;
    s->writer = NULL;
    o->stop = NULL;
    op_finish(o, s->dropped ? ATH_E_CANCELED : s->ended && s->rc < 0 ? s->rc : 0);
}

static void serve(void *arg)
{
    ath_stream *s = arg;

    s->refs++; /* a hook may end the task that owns it */
    if (s->tell && s->data) {
        s->tell = false;
        s->data(s, s->data_impl);
    }
    if (s->stalled && s->n <= s->limit / 2 && !s->dropped && s->producer) {
        s->stalled = false;
        s->producer->room(s, s->producer_impl);
    }
    stream_unref(s);
}

static void changed(ath_stream *s)
{
    serve_reader(s);
    serve_writer(s);
    if ((s->tell && s->data) || (s->stalled && s->producer && s->n <= s->limit / 2))
        loop_defer(s->loop, &s->serve);
}

/* ---- operations ---- */

static void op_over(struct op *o)
{
    stream_unref(o->impl);
}

static void read_over(struct op *o)
{
    ath_stream *s = o->impl;

    s->lent = false;
    if (s->refs > 1) /* else its owner has gone */
        changed(s);
    stream_unref(s);
}

static void read_stop(struct op *o)
{
    ath_stream *s = o->impl;

    s->reader = NULL;
    o->stop = NULL;
    o->release = op_over;
    op_finish(o, ATH_E_CANCELED);
}

static void write_stop(struct op *o)
{
    ath_stream *s = o->impl;

    s->writer = NULL;
    o->stop = NULL;
    op_finish(o, ATH_E_CANCELED);
}

static int may_use(ath_task *t, ath_stream *s, ath_err *e)
{
    if (s->magic != MAGIC || s->loop != t->loop)
        return err_fail(e, ATH_E_BUG, "the stream belongs to another loop");
    return task_may_start(t, e);
}

int stream_read(ath_task *t, ath_stream *s, ath_then *then, void *arg, ath_err *e)
{
    int rc = may_use(t, s, e);

    if (rc < 0)
        return rc;
    if (s->reader || s->data)
        return err_fail(e, ATH_E_BUG, "the stream has a reader already");
    s->reader = op_new(t, then, arg);
    s->reader->impl = s;
    s->reader->stop = read_stop;
    s->reader->release = read_over;
    s->refs++;
    tie_to(&s->read, t, s);
    changed(s);
    return 0;
}

int stream_write(ath_task *t, ath_stream *s, ath_str b, ath_then *then, void *arg, ath_err *e)
{
    int rc = may_use(t, s, e);

    if (rc < 0)
        return rc;
    if (s->writer || s->producer)
        return err_fail(e, ATH_E_BUG, "the stream has a writer already");
    if (s->ended && !s->dropped)
        return err_fail(e, ATH_E_BUG, "the stream was ended before this write");
    s->writer = op_new(t, then, arg);
    s->writer->impl = s;
    s->writer->stop = write_stop;
    s->writer->release = op_over;
    s->writer->done.count = b.n;
    s->refs++;
    tie_to(&s->written, t, s);
    stream_push(s, b);
    return 0;
}

ath_stream *stream_open(ath_task *t, size_t limit)
{
    ath_stream *s = MEM_NEW(ath_stream);

    s->magic = MAGIC;
    s->refs = 1;
    s->loop = t->loop;
    s->limit = limit ? limit : LIMIT;
    deferred_init(&s->serve, serve, s);
    list_init(&s->owned.node);
    list_init(&s->read.node);
    list_init(&s->written.node);
    s->owned.over = owner_over;
    s->written.over = writer_over;
    s->read.over = reader_over;
    own(s, t);
    return s;
}

ath_stream *stream_of(ath_task *t, ath_str b)
{
    ath_stream *s = stream_open(t, b.n);

    stream_push(s, b);
    stream_end(s, 0);
    return s;
}

void stream_move(ath_stream *s, ath_task *to)
{
    s->owner->stream = NULL;
    untie(&s->owned);
    own(s, to);
}

void stream_end(ath_stream *s, int rc)
{
    if (s->ended)
        return;
    s->ended = true;
    s->rc = rc;
    s->tell = true;
    changed(s);
}

void stream_drop(ath_stream *s)
{
    if (s->dropped)
        return;
    s->dropped = true;
    s->head = s->n = 0;
    s->data = NULL;
    if (!s->ended) {
        s->ended = true;
        s->rc = ATH_E_CANCELED;
        tell_producer(s);
    }
    changed(s);
}

void stream_close(ath_stream *s, int rc)
{
    if (s->producer)
        stream_drop(s);
    else
        stream_end(s, rc);
}

/* ---- the core's sides ---- */

void stream_produce(ath_stream *s, const struct stream_producer *p, void *impl)
{
    s->producer = p;
    s->producer_impl = impl;
}

void stream_consume(ath_stream *s, stream_data *data, void *impl)
{
    s->data = data;
    s->data_impl = impl;
    s->tell = s->n > 0 || s->ended;
    changed(s);
}

bool stream_may_consume(const ath_stream *s, const ath_task *t)
{
    if (s->magic != MAGIC || s->loop != t->loop || s->reader || s->data)
        return false;
    while (t && t != s->owner->task)
        t = t->parent;
    return t != NULL;
}

static void make_room(ath_stream *s, size_t n)
{
    if (s->head && s->head + s->n + n > s->at.cap) {
        memmove(s->at.p, s->at.p + s->head, s->n);
        s->head = 0;
    }
    if (s->n + n <= s->at.cap)
        return;
    if (s->at.cap == 0)
        s->at.cap = 4096;
    while (s->at.cap < s->n + n)
        s->at.cap *= 2;
    s->at.p = mem_resize(s->at.p, s->at.cap);
}

void stream_push(ath_stream *s, ath_str b)
{
    if (!s->dropped && !s->ended && b.n) {
        make_room(s, b.n);
        memcpy(s->at.p + s->head + s->n, b.p, b.n);
        s->n += b.n;
        s->tell = true;
        if (s->n >= s->limit)
            s->stalled = true;
    }
    changed(s);
}

bool stream_full(const ath_stream *s)
{
    return s->n >= s->limit;
}

ath_str stream_peek(const ath_stream *s)
{
    return (ath_str){ s->n ? s->at.p + s->head : "", s->n };
}

void stream_take(ath_stream *s, size_t n)
{
    s->n -= n;
    s->head = s->n ? s->head + n : 0;
    s->moved += n;
    changed(s);
}

bool stream_ended(const ath_stream *s, int *ret_rc)
{
    if (!s->ended || s->n)
        return false;
    *ret_rc = s->rc;
    return true;
}

uint64_t stream_moved(const ath_stream *s)
{
    return s->moved;
}
