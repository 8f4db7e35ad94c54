/* plugins/shared/statistics/statistics.h - the statistics of clients, kept without reading the logs
 * again.
 *
 * The fold counts each row of gateway_request_log and gateway_operation_log once, in tables of ours
 * (0001_counts.sql, the schema component "statistics"), and sets client_statistics and
 * client_table_statistics by them.
 *
 *   counted once    a fold goes by ids. It takes the highest id there is, waits until every
 *                   transaction that was writing to the logs by then is over, and counts the rows
 *                   between the mark of the last fold and that id; counts and mark move in one
 *                   transaction. It locks nothing that writers or autovacuum want.
 *   exact           durations are whole milliseconds: averages and percentiles are what avg() and
 *                   percentile_cont() give over the rows of the log.
 *   never lowered   totals are raised to what the log holds, so they outlive retention and
 *                   restarts, and a lost live delta comes back. Rows of the last seconds raise
 *                   nothing: their live deltas may still be under way, and would count twice.
 *   no inventions   a client appears that the catalogue knows, or that a request succeeded for;
 *                   not each name that somebody sent.
 *
 * Whoever deletes rows of the logs subtracts them, in the same transaction: see below. After
 * somebody else's deletes a rebuild counts anew.
 */
#ifndef PLUGINS_SHARED_STATISTICS_H
#define PLUGINS_SHARED_STATISTICS_H

#include <athena/plugin.h>

#include <stdbool.h>

/* The tables, to be listed among a plugin's capabilities. */
extern const ath_schema statistics_schema;

/* Counts what is new and sets the statistics. An operation: d->count is how many rows were counted;
 * ATH_E_RETRY: somebody has been writing to a log in one transaction for too long. Fails with what
 * the database says; what was counted until then stays counted. Safe to run anywhere and side by
 * side. `rebuild`: forgets all counts first, and counts the logs from the beginning. */
int statistics_fold(ath_task *t, bool rebuild, ath_then *then, void *arg, ath_err *e);

/* ---- retention ---- */

/* To be the first statement of every transaction that uses one of those below. */
extern const char statistics_lock_sql[];

enum statistics_kind { STATISTICS_REQUEST, STATISTICS_OPERATION, STATISTICS_KINDS };

/* Deletes rows of a log and subtracts what was counted of them. $1: older than this (timestamptz),
 * $2: at most so many, oldest first. One row: how many went. */
extern const char *const statistics_purge_sql[STATISTICS_KINDS];

/* Subtracts the rows from $1 on, before $2 (timestamptz), which then have to go in the same
 * transaction: with their partition. One row: how many were subtracted. */
extern const char *const statistics_forget_sql[STATISTICS_KINDS];

/* ---- statements, for fold.c ---- */

extern const char statistics_ends_sql[];    /* the highest id of each log */
extern const char statistics_writers_sql[]; /* who is writing to them: a text[] */
extern const char statistics_left_sql[];    /* $1: such; those of it that still are */
/* $1: the highest id to go to. Counts the next slice; the new mark, rows seen. */
extern const char *const statistics_slice_sql[STATISTICS_KINDS];
extern const char *const statistics_publish_sql[STATISTICS_KINDS];
extern const char *const statistics_clear_sql[], *const statistics_sweep_sql[];
enum { STATISTICS_CLEARS = 4, STATISTICS_SWEEPS = 4 };

#endif
