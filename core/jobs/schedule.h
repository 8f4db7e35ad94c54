/* core/jobs/schedule.h - looking at a table of schedules (ath_schedule): what a tick of such a worker
 * does.
 *
 *     turn     in a transaction of its own: one row that is due and that nobody else has locked
 *              -> a run of it, or none (overlap, missed): its next time is written with it, and
 *                 committed together
 *              -> it fails: rolled back; the row is put off, here, for a while that grows
 *     again    until nothing is due
 *
 * A row is due as long as its next time has not been committed, and the lock is as old as the
 * transaction. So a run is never lost and never made twice, whatever is killed in between.
 */
#ifndef CORE_JOBS_SCHEDULE_H
#define CORE_JOBS_SCHEDULE_H

#include <stdbool.h>

#include "io/task.h"
#include "lib/buf.h"

struct schedule;

struct schedule *schedule_new(const ath_worker *w);
void schedule_free(struct schedule *s); /* NULL too; after the loops have stopped */

/* A tick, on the loop that all of them are on: runs at once what is due. `period_ms` is when the next
 * one comes. */
int schedule_look(ath_task *t, struct schedule *s, uint64_t period_ms, ath_err *e);

/* Members of an object, each behind a comma: queue, fired, skipped, missed, failed, put_off,
 * last_fired_at, last_late_ms. Any thread. */
void schedule_json(struct buf *b, struct schedule *s);

/* Series of one schedule, of the family that schedule_metric_head() began; any thread. */
enum { SCHEDULE_RUNS, SCHEDULE_LATE, SCHEDULE_PUT_OFF, SCHEDULE_METRICS };
void schedule_metric_head(struct buf *b, int metric);
void schedule_metric(struct buf *b, int metric, struct schedule *s);

/* ---- what is decided about a row, without clocks; times in us since 1970 ---- */

enum schedule_move {
    SCHEDULE_FIRE,               /* a run, then its next time */
    SCHEDULE_SKIP,               /* no run, as the last job waits or runs */
    SCHEDULE_MISS,               /* no run, as it is too late for it */
    SCHEDULE_SET,                /* no run: it had no time yet */
    SCHEDULE_HOLD                /* nothing now: a run that may not be left out, nor be made yet */
};
struct schedule_row {
    const ath_rows *row;
    ath_str missed, overlap;     /* words */
    int64_t due_us, now_us, late_us;
    bool known, busy;            /* it has a time; its last job waits or runs */
};
/* < 0: the row's next time is none. */
int schedule_decide(const ath_schedule *s, const struct schedule_row *r, enum schedule_move *ret,
                    int64_t *ret_next_us, ath_err *e);

/* The statements, in the arena. pick: $1 text[] whose pins, $2 text[] keys that are put off; rows: the
 * plugin's columns, then key, due and now in us, missed, overlap, "t" when its last job waits or
 * runs. moved: $1 key, $2 int8 the next time in us; fired: $3 the job's key, too. */
struct schedule_sql {
    const char *pick, *moved, *fired;
};
enum { PICK_KEY, PICK_DUE, PICK_NOW, PICK_MISSED, PICK_OVERLAP, PICK_BUSY, PICK_OWN };
struct schedule_sql schedule_make(ath_arena *a, const ath_schedule *s);

#endif
