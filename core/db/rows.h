/* core/db/rows.h - results as plugins see them, over libpq's.
 *
 * A trip has one ath_rows per statement, in order, chained by next(). They live in the task's arena
 * and own their PGresult until rows_clear(), or until keep() hands it to a task.
 */
#ifndef CORE_DB_ROWS_H
#define CORE_DB_ROWS_H

#include <libpq-fe.h>

#include "base/arena.h"

struct ath_rows {
    PGresult *res;
    ath_rows *next;
    ath_arena *arena;            /* where columns are computed into */
    ath_column *column;          /* NULL until asked for */
    uint32_t rows, columns;
};

void rows_fill(ath_rows *rows, PGresult *res, ath_arena *arena);
void rows_clear(ath_rows *rows); /* it and those behind it; what keep() took is left alone */

#endif
