/* core/log/event.h - an event in a block of memory that all sinks share.
 *
 * The block holds one or a few events, their facts and all their texts, each ended by NUL; the last
 * release gives it back. Private to the log layer.
 */
#ifndef CORE_LOG_EVENT_H
#define CORE_LOG_EVENT_H

#include <athena/plugin.h>

#include "log/thread.h"

struct event {
    ath_event e;                 /* what sinks see */
    struct block *block;
    uint64_t bytes;              /* its share of the block: what a queue counts */
};

enum { EVENT_MOST = 1 << 20, EVENT_FACTS = 256 };

struct log_draft;

/* A draft of one event, a copy. False when it is larger than EVENT_MOST, or memory is out. */
bool event_copy(struct log_draft *d, const ath_event *e);

#endif
