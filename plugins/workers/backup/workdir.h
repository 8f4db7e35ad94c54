/* plugins/workers/backup/workdir.h - the private folder of a run: "<work_dir>/athena_backup_<uuid>".
 *
 * It is there for its owner alone (0700), who holds a lock in it as long as the run lasts. So what a
 * killed process left is known by the lock that nobody holds, whatever process has its number now, and
 * is removed by whoever next begins a run or a process. Folders without a lock (the published server's)
 * are removed when they are a day old.
 */
#ifndef WORKERS_BACKUP_WORKDIR_H
#define WORKERS_BACKUP_WORKDIR_H

#include <athena/plugin.h>

#include <stdbool.h>

struct workdir {
    ath_arena *arena;            /* whose end it does not outlive; NULL: the task's */
    ath_str path;                /* empty: not made, or removed */
    ath_str base;                /* that it lies in */
    int lock;
};

/* An operation: makes it for a run of a kind, "backup" or "restore". `w` lives as
 * long as its arena. */
int workdir_make(ath_task *t, const char *kind, struct workdir *w, ath_then *then, void *arg,
                 ath_err *e);

/* An operation: removes it and all that it holds. */
int workdir_remove(ath_task *t, struct workdir *w, ath_then *then, void *arg, ath_err *e);

/* An operation: d->count bytes lie in the folder `path`, by its files. */
int workdir_bytes(ath_task *t, ath_str path, ath_then *then, void *arg, ath_err *e);

/* "work folder "/tmp" is full: 1234 bytes were written, 0 are left" when its file system has less than
 * 1 MiB; false: it has more. */
bool workdir_is_full(const struct workdir *w, uint64_t written, ath_err *e);

/* Removes what others left in the folder of the configuration, in the background. */
void workdir_sweep(ath_str base);

#endif
