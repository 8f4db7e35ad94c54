/* core/log/log.h - events on their way to the sinks.
 *
 * An event stands in one block of memory that all sinks share, and is handed to each sink's bounded
 * queue; a full queue counts a drop. No call here waits, except log_sink_stop(). Any thread.
 *
 * Without any sink (start, check-config) lines go to standard error.
 */
#ifndef CORE_LOG_LOG_H
#define CORE_LOG_LOG_H

#include <stdatomic.h>
#include <stdbool.h>

#include "lib/text.h"
#include "log/spool.h"

struct block;
struct log_sink;

struct log_queue_options {       /* config keys that every sink has */
    uint64_t queue_events;       /* capacity; 0: 128000 */
    uint64_t queue_bytes;        /* of memory that waiting events hold; 0: 64 MiB */
    uint64_t batch;              /* most events per write; 0: 1024 */
    uint64_t flush_ms;           /* an event waits at most this long; 0: 50 */
    uint64_t wake_events;        /* so many that wait end that; 0: half of the capacity */
    uint64_t spill_bytes;        /* of a spool on disk; 0: none */
    /* No key, but the server's: where that is; NULL: nowhere, so there is none. And for what its
     * events are: events for another target are not this sink's. */
    const char *spill_folder;
    uint64_t spill_target;
};

/* Reads the keys queue_events, queue_bytes, batch, flush_ms, wake_events and spill_bytes out of a plugin's filled config,
 * where its table has them: how the keys that every sink has reach the sink's thread. `stride` is
 * field_size. */
void log_queue_options_of(const ath_field *field, size_t stride, size_t count, const void *config,
                          struct log_queue_options *ret);

/* Opens the sink here, so that its refusal stops a start; then a thread of its own writes. `sink`
 * and `state` must outlive it. A sink without `write` is refused: what has `send` is a task and not
 * for this layer.
 *
 * When a write fails with ATH_E_RETRY the same batch is given again, after 100 ms to 5 s; any other
 * failure gives the batch up. Both are said once, and once again when writing works again.
 *
 * With a spool (spool.h) the thread only puts what it takes there, and a second one writes (drain.c);
 * `taken` then runs beside `write`. A spool that cannot be made is said, and the sink goes on without. */
int log_sink_start(const char *name, const ath_sink *sink, void *state,
                   const struct log_queue_options *o, struct log_sink **ret, ath_err *e);
/* It gets no more events; its thread writes those that wait, once each, and ends. */
void log_sink_finish(struct log_sink *s);
bool log_sink_finished(const struct log_sink *s);
void log_sink_stop(struct log_sink *s);  /* writes what waits, closes, joins, frees */
void log_sinks_reopen(void);             /* USR1: each sink's close, then open, on its thread */

struct log_sink_stats {
    const char *name;
    uint64_t written, dropped, failed, waiting;
    bool paused;                 /* its write fails at the moment */
    bool spools;
    struct spool_stats spool;
};
/* `failed`: events of batches that the sink gave up. The names live as long as their sinks. */
size_t log_sink_stats(struct log_sink_stats *ret, size_t most);

/* How long all HTTP loops together have waited for a processor since the start, in ns, and how many
 * they are: what lies in spools is sent while there are processors for both. Before the first sink;
 * without it sending never rests. */
void log_pressure(uint64_t (*fn)(void *arg, uint32_t *ret_loops), void *arg);

/* Directives of RUST_LOG: "info", "target=level", a comma list; the longest target that a source
 * begins with decides, and what none names has the bare level, else only errors ("" too). What
 * cannot be parsed is refused with ATH_E_CONFIG and leaves the filter unchanged. The default is
 * "info". */
int log_filter(const char *directives, ath_err *e);
bool log_wants(int level, ath_str source);

/* The filter is for sinks that take every event ("*"); a sink that names its events gets those
 * whatever the filter says. log_takes(): is anybody there for such an event? */
bool log_takes(int level, ath_str source, ath_str name);

/* The same for a row (ATH_EV_ROW). log_rows_wanted() is one look: does any sink name events? */
bool log_takes_row(ath_str name);

extern atomic_uint log_sinks_named;
static inline bool log_rows_wanted(void)
{
    return atomic_load_explicit(&log_sinks_named, memory_order_relaxed) != 0;
}

/* 0, or ATH_E_LIMIT when a sink's queue was full and it was not kept there. */
int log_event(const ath_event *ev);

/* ---- drafts: events that are written where they stay, for who writes many ----
 *
 *     log_draft_begin(&d, 1, FACTS, text)      room for the facts and for that many bytes of texts
 *     fact = log_draft_event(&d, &event, 0)    the event, its facts copied
 *     fact[0].value = log_draft_text(&d, s)    what this event has of its own
 *     log_draft_send(&d)
 *
 * A draft that began is sent. Texts that are not put into it live as long as the process. Events of
 * one draft share what was put into it; they come in that order. */
enum { LOG_DRAFT_EVENTS = 2 };

struct log_draft {               /* private, but for log_draft_text() */
    struct block *block;
    ath_fact *fact;              /* the next event's */
    char *at, *end;              /* room for texts */
    uint32_t count, most;        /* events */
};

/* `facts`: of all its events; `text`: with a NUL for each. False: memory is out. */
bool log_draft_begin(struct log_draft *d, uint32_t events, uint32_t facts, size_t text);
/* Of its facts the first `hidden` may be filled, but nobody sees them. With ATH_EV_KEYS the facts
 * given live as long as the process, and the values (and `pad`) in what is returned may be those of
 * an earlier event: all are to be filled. */
ath_fact *log_draft_event(struct log_draft *d, const ath_event *ev, uint32_t hidden);
int log_draft_send(struct log_draft *d); /* as log_event() */

/* Empty when there is no room left. */
static inline ath_str log_draft_text(struct log_draft *d, ath_str s)
{
    char *from = d->at;

    if (s.n == 0 || s.n >= (size_t)(d->end - from))
        return ATH_S("");
    d->at = str_put(from, s);
    *d->at++ = 0;
    return str_from(from, s.n);
}

/* One line of ours, redacted: `source` as operators filter it ("athena::server"). */
ATH_PRINTF(3, 4) void log_write(int level, const char *source, const char *fmt, ...);
ATH_PRINTF(3, 0) void log_write_v(int level, const char *source, const char *fmt, va_list ap);

/* Facts whose key begins with "span." belong to the request that an event was written in; they
 * come before all others. The line format shows them as the prefix http.request{...}, JSON as
 * members. */
#define LOG_SPAN "span."

/* Appends `text` with "***" in place of the passwords of connection URIs and of the values of
 * password=, "token":, Authorization: and their like; log_write() does so by itself, events of
 * others bring redacted texts. */
struct buf;
void log_redact(struct buf *b, ath_str text);

/* Is the value behind such a name (of a header, a member, a parameter) a secret? */
bool log_secret_name(ath_str name);

#endif
