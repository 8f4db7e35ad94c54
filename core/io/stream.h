/* core/io/stream.h - bytes in order between two operations, bounded.
 *
 * A stream belongs to a task and is freed with it. Each end is either a plugin (stream_read,
 * stream_write) or a piece of the core (stream_produce, stream_consume). The slower side sets the
 * pace: never more than `limit` bytes wait in between, plus one write.
 *
 *     producer in the core  stream_push(); stop when stream_full(); `room` says when to go on;
 *                           `drop` says that the reader is gone
 *     consumer in the core  `data` is called when bytes or the end are there; it takes them with
 *                           stream_peek() and stream_take()
 *
 * `room` and `data` are called from the loop's deferred work, never inside a call of this file. When
 * the task that read a stream last is over, the stream is dropped; when the one that wrote last has
 * failed, or its owner is over, it ends with a failure unless it has ended.
 */
#ifndef CORE_IO_STREAM_H
#define CORE_IO_STREAM_H

#include "io/task.h"

/* A producer in the core. */
struct stream_producer {
    void (*room)(ath_stream *s, void *impl);
    void (*drop)(ath_stream *s, void *impl);
};

/* A consumer in the core. */
typedef void stream_data(ath_stream *s, void *impl);

ath_stream *stream_open(ath_task *t, size_t limit);      /* 0: 64 KiB */
ath_stream *stream_of(ath_task *t, ath_str b);           /* these bytes, copied, and no more */
int stream_read(ath_task *t, ath_stream *s, ath_then *then, void *arg, ath_err *e);
int stream_write(ath_task *t, ath_stream *s, ath_str b, ath_then *then, void *arg, ath_err *e);
void stream_end(ath_stream *s, int rc);
uint64_t stream_moved(const ath_stream *s);

/* The ABI's end(): by a plugin, on either side. Where the core produces, it means that nobody reads
 * on; else it is stream_end(). */
void stream_close(ath_stream *s, int rc);

/* One side each, so that the core may be on both (a child's output that is a reply's body). NULL: that
 * side lets go, which it must before its `impl` goes. */
void stream_produce(ath_stream *s, const struct stream_producer *p, void *impl);
void stream_consume(ath_stream *s, stream_data *data, void *impl);

/* Whether the core may read it for an operation of `t`: it lives for as long, and nobody reads it. */
bool stream_may_consume(const ath_stream *s, const ath_task *t);

void stream_push(ath_stream *s, ath_str b);              /* copies */
bool stream_full(const ath_stream *s);
ath_str stream_peek(const ath_stream *s);                /* the bytes that wait; until the next call */
void stream_take(ath_stream *s, size_t n);
bool stream_ended(const ath_stream *s, int *ret_rc);     /* and nothing waits */
void stream_drop(ath_stream *s);                         /* by the reader: the writer learns it */

/* A stream that another task of the same loop goes on with: it then lives as long as that one. */
void stream_move(ath_stream *s, ath_task *to);

#endif
