/* plugins/shared/backup/keep.h - which backups of a client are kept: a function of what there is, without
 * clocks, tables or stores, as nothing else may decide that a backup is deleted.
 *
 * The rules are wishes to keep; what no rule keeps is deleted, and without a rule nothing is. Only what
 * is proven (decoded as a whole, or restored by a drill) counts: an archive that nobody has read keeps
 * none of the others from staying.
 *
 *     age       those that were made within this time before the newest proven one, so that neither a
 *               clock that jumps nor a schedule that stands still deletes anything
 *     count     so many of the newest proven ones
 *     daily ... the newest proven one of each of the last so many days, weeks and months that have one
 *               (UTC; weeks begin on Mondays)
 *
 * A schedule that has a count of its own is kept by that alone. Whatever the rules say, these stay: the
 * newest proven one; what is newer; what a job works with; what was made after the present. Nothing at all
 * is deleted when no backup is proven, or when two clocks do not agree.
 */
#ifndef PLUGINS_SHARED_BACKUP_KEEP_H
#define PLUGINS_SHARED_BACKUP_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEEP_CLOCKS_APART_S = 600 };

struct keep_rules {              /* 0: no such rule */
    uint64_t age_s;
    uint32_t count, daily, weekly, monthly;
};

enum keep_why {                  /* the first that holds */
    KEEP_NOT,                    /* it is to be deleted */
    KEEP_NO_RULE,                /* nothing says that it may go */
    KEEP_UNSURE,                 /* the clocks do not agree, or nothing is proven */
    KEEP_NEWEST,                 /* the newest proven one, or newer */
    KEEP_BUSY,
    KEEP_FUTURE,
    KEEP_AGE,
    KEEP_COUNT,
    KEEP_DAY,
    KEEP_WEEK,
    KEEP_MONTH
};

struct keep_item {
    int64_t id;                  /* of its job; among those of one second the higher is newer */
    int64_t made_s;              /* since 1970 */
    int64_t schedule;            /* its id; 0: none */
    uint32_t schedule_count;     /* of that schedule; 0: it has none */
    bool proven, busy;
    uint32_t row;                /* the caller's: which one it is to him */
    enum keep_why why;           /* the answer */
};

/* Two clocks that are not each other's: the control plane's and the process's. */
struct keep_clock {
    int64_t now_s, other_s;
};

/* Says of each item of one client why it is kept. The items are put in order, the newest first; returns
 * how many are to be deleted. */
size_t keep_decide(struct keep_item *item, size_t n, const struct keep_rules *rules,
                   const struct keep_clock *clock);

const char *keep_why_name(enum keep_why why);

#endif
