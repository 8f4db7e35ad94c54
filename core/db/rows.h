/* core/db/rows.h - results as plugins see them, over libpq's or over what wire.c read.
 *
 * A trip has one ath_rows per statement, in order, chained by next(). The structs live in a task's
 * arena; what they own goes with rows_clear(), unless keep() handed it to a task before.
 *
 * The columns of a prepared statement never change: PostgreSQL refuses to run it when they would.
 * So they are described once, in a shape that the statement and its results share.
 */
#ifndef CORE_DB_ROWS_H
#define CORE_DB_ROWS_H

#include <stdbool.h>

#include <libpq-fe.h>

#include <athena/plugin.h>

struct shape {                   /* of one loop, by references */
    uint32_t refs, columns;
    ath_column column[];
};

/* The rows of one answer as they came: per value its length and its bytes. tuples_close() finds the
 * values and ends each by a NUL. */
struct tuples {
    size_t n, cap;
    uint32_t rows, columns;
    ath_str *cell;               /* by row, then column; behind the data */
    char data[];
};

struct trip;

struct ath_rows {
    PGresult *res;               /* or */
    struct tuples *tuples;
    const ath_str *cell;         /* of tuples */
    ath_rows *next;
    struct shape *shape;         /* NULL: made of res when asked for */
    uint32_t rows, columns;
    uint64_t affected;
    uint64_t took_us;            /* of a caller's own SQL */
    struct trip *trip;           /* that more of them come from; NULL: these are all */
};

struct shape *shape_new(const PGresult *res);
struct shape *shape_ref(struct shape *s); /* accepts NULL */
void shape_unref(struct shape *s);        /* accepts NULL */

struct tuples *tuples_new(uint32_t columns);
/* Adds what a DataRow says behind its number of columns. It may move. False: it is not a row. */
bool tuples_add(struct tuples **t, const char *p, size_t n);
void tuples_add_result(struct tuples **t, const PGresult *res); /* all of its rows */
void tuples_close(struct tuples **t);

/* Both take the first over, and a reference to the shape. */
void rows_fill(ath_rows *rows, PGresult *res, struct shape *s);
void rows_fill_tuples(ath_rows *rows, struct tuples *t, struct shape *s, uint64_t affected);
void rows_clear(ath_rows *rows); /* it and those behind it; what keep() took is left alone */

#endif
