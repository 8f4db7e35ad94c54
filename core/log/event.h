/* core/log/event.h - an event in one block of memory that all sinks share.
 *
 * The block holds the public struct, its facts and all texts, each ended by NUL; the last
 * event_release() frees it. Private to the log layer.
 */
#ifndef CORE_LOG_EVENT_H
#define CORE_LOG_EVENT_H

#include <stdatomic.h>

#include <athena/plugin.h>

struct event {
    atomic_uint refs;
    uint32_t pad;
    ath_event e;                 /* what sinks see */
    ath_fact fact[];
};

/* A copy with one reference. NULL when it is larger than EVENT_MOST, or memory is out. */
enum { EVENT_MOST = 1 << 20, EVENT_FACTS = 256 };
struct event *event_copy(const ath_event *e);

/* The same for log_event_block(). */
struct event *event_copy_block(const ath_event *e, const char *text, size_t n);

static inline void event_keep(struct event *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
}

void event_release(struct event *e);

#endif
