/* core/log/log.h - events on their way to the sinks.
 *
 * An event is copied once into one block that all sinks share, and handed to each sink's bounded
 * queue; a full queue counts a drop (or spills what ATH_EV_KEEP marks). No call here waits, except
 * log_close(). Any thread.
 *
 * Without any sink (start, check-config) lines go to standard error.
 */
#ifndef CORE_LOG_LOG_H
#define CORE_LOG_LOG_H

#include <stdbool.h>

#include <athena/plugin.h>

struct log_sink;

struct log_queue_options {       /* config keys that every sink has */
    uint64_t queue_events;       /* capacity; 0: 128000 */
    uint64_t batch;              /* most events per write; 0: 1024 */
    uint64_t flush_ms;           /* an event waits at most this long; 0: 50 */
};

/* A sink's own thread starts; `sink` and `state` must outlive it. */
int log_sink_start(const char *name, const ath_sink *sink, void *state,
                   const struct log_queue_options *o, struct log_sink **ret, ath_err *e);
void log_sink_stop(struct log_sink *s);  /* writes what waits, closes, joins, frees */
void log_sinks_reopen(void);             /* USR1: each sink's close, then open, on its thread */

struct log_sink_stats {
    const char *name;
    uint64_t written, dropped, failed, waiting;
    bool paused;                 /* its write fails at the moment */
};
size_t log_sink_stats(struct log_sink_stats *ret, size_t most);

/* Directives of RUST_LOG: "info", "target=level", a comma list; what cannot be parsed is refused
 * with ATH_E_CONFIG and leaves the filter unchanged. The default is "info". */
int log_filter(const char *directives, ath_err *e);
bool log_wants(int level, ath_str source);

void log_event(const ath_event *ev);

/* One line of ours: `source` as operators filter it ("athena::server"). */
ATH_PRINTF(3, 4) void log_write(int level, const char *source, const char *fmt, ...);
ATH_PRINTF(3, 0) void log_write_v(int level, const char *source, const char *fmt, va_list ap);

/* Facts whose key begins with "span." belong to the request that an event was written in; the line
 * format shows them as the prefix http.request{...}, JSON as members. */
#define LOG_SPAN "span."

/* Replaces the passwords of connection URIs and the values of password=, token=, secret= in place
 * of `text` by "***"; used for whatever comes from outside before it is logged. */
struct buf;
void log_redact(struct buf *b, ath_str text);

#endif
