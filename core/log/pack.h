/* core/log/pack.h - events as bytes, in records that each stand for themselves.
 *
 * A record is a body and a list of kinds. A kind is what many events have in common: level, name,
 * source and the keys of the facts. The body has an event's kind, its time and its values; what is as
 * in the event before takes a byte, and of long texts only what differs is kept, so that what callers
 * send again and again (headers, paths, clients) costs little.
 *
 * It is no format for others: a record is read by the machine that wrote it.
 */
#ifndef CORE_LOG_PACK_H
#define CORE_LOG_PACK_H

#include <athena/plugin.h>

#include "lib/buf.h"

enum { PACK_KINDS = 200, PACK_MOST = 4 << 20 }; /* bytes of a body after which a record is closed */

struct log_pack_kind;

struct log_pack {                    /* zeroed at first; its room is used again */
    struct buf body, kinds;
    struct log_pack_kind *kind;
    uint32_t kind_count, events;
    ath_str request_id, trace_id; /* of the last event */
};

void log_pack_begin(struct log_pack *p);
/* False: the record is full, and the event is not in it. What it points to must stay until
 * log_pack_end(). */
bool log_pack_add(struct log_pack *p, const ath_event *ev);
void log_pack_end(struct log_pack *p);   /* body and kinds are whole */
void log_pack_free(struct log_pack *p);

struct log_pack_text {           /* texts that were put together */
    struct log_pack_text *next;
    size_t room, used;
    char at[];
};

/* Events of records, one after the other. Their texts point into the records, or live until the next
 * log_unpack_begin(); each has a NUL behind it. */
struct log_unpacked {            /* zeroed at first; its room is used again */
    size_t n;
    const ath_event **view;      /* by log_unpack_end(), as are the events' facts */
    ath_event *event;
    ath_fact *fact;
    size_t facts, event_room, fact_room;
    struct log_pack_text *text;
};

void log_unpack_begin(struct log_unpacked *u);
/* False: these are not bytes of log_pack_end(), and none of them is in it. */
bool log_unpack(struct log_unpacked *u, ath_str body, ath_str kinds, size_t events);
void log_unpack_end(struct log_unpacked *u);
void log_unpacked_free(struct log_unpacked *u);

/* How many events of each name the record has. */
void log_pack_count(ath_str kinds, void (*each)(void *arg, ath_str name, uint64_t n), void *arg);

#endif
