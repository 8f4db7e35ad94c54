/* core/db/rows.h - results as plugins see them, over libpq's.
 *
 * A trip has one ath_rows per statement, in order, chained by next(). The structs live in a task's
 * arena; what they own goes with rows_clear(), unless keep() handed it to a task before.
 */
#ifndef CORE_DB_ROWS_H
#define CORE_DB_ROWS_H

#include <libpq-fe.h>

#include <athena/plugin.h>

struct ath_rows {
    PGresult *res;
    ath_rows *next;
    ath_column *column;          /* on the heap; NULL until asked for */
    uint32_t rows, columns;
};

void rows_fill(ath_rows *rows, PGresult *res); /* takes `res` over */
void rows_clear(ath_rows *rows); /* it and those behind it; what keep() took is left alone */

#endif
