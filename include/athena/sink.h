/* athena/sink.h - where events go. */
#ifndef ATHENA_SINK_H
#define ATHENA_SINK_H

#include <athena/log.h>
#include <athena/task.h>

/* clang-format off */

/* Events come in batches from a bounded queue; its size, its policy when full (block, drop, spill)
 * and the longest wait are configuration that every sink has. `write` runs on the sink's own thread
 * and may block; `send` is a task on a work loop, for sinks that use the host's clients. One of the
 * two. A batch and its events are borrowed for the call (of send: until its task ends).
 *
 * Both return 0 (all of it is kept), ATH_E_RETRY (the same batch comes again, later) or another
 * negative code (the batch is lost, counted and said once). */
typedef struct {
    ath_cap     cap;             /* cap.name: "file" */
    const char *events;          /* names between blanks, "request operation auth"; "*": all */
    int  (*open)(void *state, ath_err *e);   /* before the first batch; when reopening */
    int  (*write)(void *state, const ath_event *const *batch, size_t n, ath_err *e);
    void (*close)(void *state);              /* after the last batch; when reopening (USR1) */
    int  (*send)(ath_task *t, const ath_event *const *batch, size_t n, ath_err *e);
} ath_sink;

/* clang-format on */
#endif
