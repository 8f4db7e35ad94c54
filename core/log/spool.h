/* core/log/spool.h - records of events on disk, between the thread that takes a sink's events and
 * the thread that sends them.
 *
 * Records are appended to segment files, "FOLDER/<time>-<writer>.spool", and read oldest first. A
 * segment goes when its last record is done. Processes share a folder: each holds a lock on its own
 * segments, and takes over those whose process has gone (spool_adopt).
 *
 * What is kept: a record that spool_put() took is there after the process was killed. Nothing is
 * forced to the disk (no fsync), so a machine that fails may lose the last half minute. Each record
 * has a checksum; a torn one costs itself and what stands behind it in its segment, and is said.
 *
 * Bounds: all segments together hold at most `bytes`. When there is no room the oldest segment is
 * let go, and its events are counted. While a file cannot be written (the disk is full, the folder
 * is gone) segments are kept in memory, SPOOL_MEMORY of them at most; that is said once, and again
 * when it is over.
 *
 * One thread puts, one takes; they may be two. spool_stats() is for any thread and never waits.
 */
#ifndef CORE_LOG_SPOOL_H
#define CORE_LOG_SPOOL_H

#include <athena/plugin.h>

#include "lib/buf.h"

enum { SPOOL_SEGMENTS = 32, SPOOL_MEMORY = 16 << 20, SPOOL_LEAST = 16 << 20 };

struct spool;

struct spool_options {
    const char *name;            /* of the sink, for what is said */
    const char *folder;          /* is made; the one that it is in has to be there */
    uint64_t bytes;              /* SPOOL_LEAST at least */
    uint64_t target;             /* segments for another one are left alone */
    /* A record of `events` was let go, that may have been sent or not. Any of the two threads. */
    void (*lost)(void *arg, ath_str kinds);
    void *arg;
};

struct spool_record {
    ath_str body, kinds;         /* of pack.h */
    uint32_t events;
    uint64_t number;             /* its writer's: 1, 2, ... */
};

struct spool_hand {              /* records that were taken together; zeroed at first */
    struct spool_record record[ATH_PIECES_MOST];
    uint32_t count;
    uint64_t events;             /* of all of them */
    const char *writer;          /* a UUID: the spool_open() of the process that put them */
    bool again;                  /* that was another one */
    struct buf bytes;            /* its room is used again */
    struct segment *segment;
    uint64_t end;
};

struct spool_stats {
    uint64_t bytes, events;      /* that wait */
    uint64_t put, done;          /* events, since the start */
    uint64_t adopted;            /* of earlier runs, found */
    uint64_t dropped_full, dropped_disk, dropped_torn;
    uint64_t most;               /* bytes that there is room for */
    bool in_memory;              /* it cannot write files at the moment */
};

/* Fails when the folder cannot be written. */
int spool_open(const struct spool_options *o, struct spool **ret, ath_err *e);
/* Files stay; what was in memory is lost. */
void spool_close(struct spool *s);
const char *spool_writer(const struct spool *s);

/* < 0: it was not kept, and is counted. */
int spool_put(struct spool *s, uint64_t number, uint32_t events, ath_str body, ath_str kinds);

/* The oldest records that are not done: one, and more of the same writer as long as they are at most
 * `events` together. False: there is none. The same ones until spool_done(). */
bool spool_next(struct spool *s, uint64_t events, struct spool_hand *h);
void spool_done(struct spool *s, struct spool_hand *h);
void spool_hand_free(struct spool_hand *h);

/* Looks for segments that belonged to processes which have gone. By the thread that takes. */
void spool_adopt(struct spool *s);

void spool_stats(const struct spool *s, struct spool_stats *ret);

#endif
