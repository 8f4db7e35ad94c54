/* athena/stream.h - bytes in order between two operations, bounded.
 *
 * Operations take streams (a body to send, a child's stdin, what COPY sends) or give them
 * (d->stream, a child's stdout, a request's body). Handing one on is the whole code of a download;
 * a transform reads one and writes another. One writer, one reader, and the slower of both sets the
 * pace: never more than the limit waits in between, plus one write.
 *
 * A stream belongs to the task that opened it and ends with it. When its reader goes, the writer
 * gets ATH_E_CANCELED; when its writer fails, the reader gets that code after the bytes before it.
 */
#ifndef ATHENA_STREAM_H
#define ATHENA_STREAM_H

#include <athena/task.h>

/* clang-format off */

typedef struct {
    uint32_t size, pad;
    ath_stream *(*open)(ath_task *t, size_t limit);         /* bytes that may wait; 0: 64 KiB */
    /* d->bytes is the next piece, borrowed until `then` returns; empty: the end. One at a time. */
    ATH_OP(read, ath_stream *s);
    /* `then` when `b` has been taken up; d->count its bytes. One at a time; b lives until then. */
    ATH_OP(write, ath_stream *s, ath_str b);
    /* By the writer: no more comes, rc 0 complete, < 0 failed. By the reader: no more is wanted.
     * Also ends one that another task reads, which is how a task waits for something. */
    void (*end)(ath_stream *s, int rc);
    uint64_t (*moved)(const ath_stream *s);                 /* bytes that the reader has taken */
    ath_stream *(*of)(ath_task *t, ath_str b);              /* these bytes, copied, and its end */
} ath_stream_api;

/* clang-format on */
#endif
