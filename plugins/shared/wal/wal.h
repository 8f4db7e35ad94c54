/* plugins/shared/wal/wal.h - what was promised and is not done yet, in files.
 *
 *     wal_add(w, entry)      has its number and waits to be written        any thread, never blocks
 *     wal_commit(w, group)   it is on the disk, or it is not: one write and one fdatasync for all
 *                            that were added since the last one             blocks
 *     wal_done(w, ...)       these are done: never found again              blocks
 *
 * Whoever commits first does it for all who wait; those come and find it done. When a commit fails
 * nothing of it is in the log, and those who waited do what they promised at once instead.
 *
 * Segment files, "FOLDER/<number>.wal", hold entries and notes of which are done. One goes when all
 * of its entries are done and those before it have gone. When one old entry would keep many segments, it is
 * written again, with its number, behind the others.
 *
 * One process owns the folder, by a lock on FOLDER/lock. At its opening all entries that are not done
 * are found, in their order. A torn tail (a process was killed, a disk was full) is no error; bytes
 * that are wrong in the middle cost the records that they are in, are said as an error, and a link
 * "<number>.damaged" keeps them for an operator.
 *
 * The log has an identity, a UUID that lasts as long as there is a segment: with an entry's number it
 * names that entry for ever.
 */
#ifndef PLUGINS_SHARED_WAL_H
#define PLUGINS_SHARED_WAL_H

#include <stdbool.h>

#include <athena/plugin.h>

#include "lib/uuid.h"

enum { WAL_SEGMENT = 4 << 20,     /* bytes of a segment, but for one entry that is larger */
       WAL_ENTRY = 128 << 20 };   /* most bytes of an entry */

struct wal;
struct wal_segment;
struct wal_group;

struct wal_entry {               /* inside of what its owner has; `text` is its owner's to set */
    struct wal_entry *next;      /* added with it, behind it */
    uint64_t seq;
    ath_str text;                /* stays as it is until the entry is done */
    struct wal_segment *segment; /* these three are the log's; NULL: done */
    struct wal_entry *older, *newer;
};

struct wal_options {
    const char *folder;          /* is made, and those above it */
    uint64_t segment;            /* bytes; 0: WAL_SEGMENT */
    /* An entry that is not done, at the opening, in the order of numbers. Its text lives during the
     * call. Returns what holds it from now on, with a text of its own; NULL: it is done. */
    struct wal_entry *(*found)(void *arg, uint64_t seq, ath_str text);
    /* These were added and are on the disk, or are not in the log. By the thread that commits. */
    void (*kept)(void *arg, struct wal_entry *first);
    void (*failed)(void *arg, struct wal_entry *first);
    void (*say)(void *arg, int level, const char *text);
    void *arg;
};

struct wal_stats {
    uint64_t commits, segments, bytes; /* commits: each is one fdatasync */
    uint64_t torn, damaged;      /* bytes, at the opening */
};

/* Fails when the folder cannot be written or another process owns it. */
int wal_open(const struct wal_options *o, struct wal **ret, ath_err *e);
/* Files stay, unless everything is done. Nobody may wait for a commit any more. Accepts NULL. */
void wal_close(struct wal *w);

/* What was added must be committed by somebody: a group that nobody waits for any more is committed
 * with the next one, or by wal_commit(w, NULL). */
struct wal_group *wal_add(struct wal *w, struct wal_entry *entry);
int wal_commit(struct wal *w, struct wal_group *g); /* 0, or -errno */
void wal_leave(struct wal *w, struct wal_group *g); /* once for each wal_add() */

/* Entries that are done may be freed behind it. 0: it is on the disk; -errno: they may be found again
 * after a crash, unless a later call succeeds. */
int wal_done(struct wal *w, struct wal_entry *const *entry, uint32_t n);

const char *wal_id(const struct wal *w);
void wal_stats(struct wal *w, struct wal_stats *ret);

/* ---- inside: reading (walread.c) ---- */

enum { WAL_MARK = 0x6c617774 };   /* "twal" */
enum wal_kind { WAL_IS_ENTRY = 1, WAL_IS_DONE = 2 };

struct wal_head {                /* of a segment */
    char magic[8];
    char id[40];
    uint64_t check;              /* of all above */
};

struct wal_record {              /* before its bytes, which are filled up to a multiple of 8 */
    uint32_t mark, kind;
    uint64_t seq;                /* of an entry; else 0 */
    uint32_t n, zero;
    uint64_t check;              /* of all above and the bytes */
};

/* One segment's bytes. False: it is none. `each` is called for every record that is whole. */
struct wal_read {
    char id[UUID_TEXT];
    uint64_t torn, damaged;      /* bytes behind the last whole record; between whole records */
};
typedef void wal_each(void *arg, const struct wal_record *r, const char *bytes);
bool wal_read(const char *bytes, size_t n, struct wal_read *ret, wal_each *each, void *arg);

void wal_head_make(struct wal_head *h, const char *id);
void wal_record_make(struct wal_record *r, enum wal_kind kind, uint64_t seq, ath_str bytes);

static inline size_t wal_padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

#endif
