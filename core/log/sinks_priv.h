/* core/log/sinks_priv.h - between log.c, which hands events out, and sinks.c and its threads. */
#ifndef CORE_LOG_SINKS_PRIV_H
#define CORE_LOG_SINKS_PRIV_H

#include "log/event.h"
#include "log/log.h"

enum { SINKS_MOST = 16 };

/* The sinks of the moment; any may be NULL. Read only between log_enter() and log_leave(). */
extern _Atomic(struct log_sink *) log_sinks[SINKS_MOST];
extern atomic_uint log_sinks_used; /* slots ever used: how far to look */

bool log_sink_takes_all(const struct log_sink *s); /* whatever the name */
bool log_sink_takes(const struct log_sink *s, bool wanted, ath_str name);

/* The sink has one of the block's references from then on. False: the queue is full, the drop is
 * counted, and the reference is still the caller's. */
bool log_sink_push(struct log_sink *s, struct event *ev);

/* One line on standard error: time, level, source, message, facts. */
void log_stderr(const ath_event *e);

#endif
