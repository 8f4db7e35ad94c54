/* athena/sink.h - where events go. */
#ifndef ATHENA_SINK_H
#define ATHENA_SINK_H

#include <athena/log.h>
#include <athena/task.h>

/* clang-format off */

/* Events come in batches from a bounded queue; its size, its policy when full (block, drop, spill)
 * and the longest wait are configuration that every sink has. `write` runs on the sink's own thread
 * and may block; `send` is the first step of a task on a work loop, for sinks that use the host's
 * clients; the next batch comes when that task is over. One of the two. A batch and its events are
 * borrowed for the call (of send: as long as its task lives).
 *
 * `write` returns, and the task of `send` ends with, 0 or `done` (all of it is kept), ATH_E_RETRY (the
 * same batch comes again, later) or another negative code (the batch is lost, counted and said once).
 * A task of `send` has a minute. When the server stops, what waits is sent within its drain time; what
 * is not sent by then is lost and counted.
 *
 * `open` that fails with ATH_E_MISSING when the server starts: there is nothing for this sink to do, and
 * it gets no events. */
/* Which events these are. What was taken at once is a piece; its number and its writer are the same
 * when it comes again, after the server was killed or the target was away, perhaps with other pieces
 * in one batch. So who keeps, beside its events, how far each writer's are there, knows what is. */
typedef struct {                 /* frozen */
    uint64_t number;             /* 1, 2, ... of its writer; a batch has them in this order */
    uint32_t events, pad;
} ath_piece;

enum { ATH_BATCH_AGAIN = 1,      /* its events were taken by an earlier process */
       ATH_PIECES_MOST = 256 };  /* of a batch */
typedef struct {
    uint32_t size, flags;        /* ATH_BATCH_* */
    ath_str  writer;             /* a UUID: the process that took its events */
    const ath_piece *piece;      /* borrowed for the call */
    uint32_t piece_count, pad;
} ath_batch;

typedef struct {
    ath_cap     cap;             /* cap.name: "file" */
    const char *events;          /* names between blanks, "request operation auth"; "*": all */
    int  (*open)(void *state, ath_err *e);   /* before the first batch; when reopening */
    int  (*write)(void *state, const ath_event *const *batch, size_t n, ath_err *e);
    void (*close)(void *state);              /* after the last batch; when reopening (USR1) */
    int  (*send)(ath_task *t, const ath_event *const *batch, size_t n, ath_err *e);
    /* `n` events of that name were dropped since last time: the queue was full, or a batch was given
     * up. On the sink's thread, before a batch is tried and after the last one. NULL: they are only
     * counted by the host. */
    void (*lost)(void *state, ath_str name, uint64_t n);
    /* On the sink's thread, before a batch is tried for the first time. */
    void (*begin)(void *state, const ath_batch *b);
    /* These events have just been taken, and will come in a batch, perhaps much later: for what is
     * added up and should not be late. `b` has one piece. On a thread of its own, while `write` or `send` may run. A sink
     * that has it gets an empty batch (n 0, without begin) now and then while others have to wait. */
    void (*taken)(void *state, const ath_batch *b, const ath_event *const *event, size_t n);
} ath_sink;

/* clang-format on */
#endif
