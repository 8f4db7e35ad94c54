/* plugins/shared/dataplane/writer.h - rows as bytes, in the format that was asked for, at once or
 * piece by piece.
 *
 *     dp_writer_begin(&w, dp, f, q, first, a, &b)     what comes before the rows
 *     dp_writer_rows(&w, rows, &b)                    any number of times
 *     dp_writer_end(&w, &b)                           what comes behind them
 *
 * A result that is whole is one piece. dp_fetch_rows() does the same with it for a fetch, and groups
 * it: what both write of the same rows is the same, byte by byte. Only an estimated count stands behind the rows when they come in pieces,
 * because it depends on how many there are.
 */
#ifndef PLUGINS_SHARED_WRITER_H
#define PLUGINS_SHARED_WRITER_H

#include "dataplane/dataplane.h"

struct dp_column {
    ath_str key;
    ath_str prefix;              /* ,"key": */
    struct typed type;
};

struct dp_writer {
    const struct dp_fetch *f;
    struct dp_column *column;
    uint32_t columns;            /* that are shown */
    uint32_t skip;               /* before them in each row: the count, and "is a row" */
    enum dp_format format;
    enum dp_body body;
    bool strip, bare, values;
    uint64_t rows;               /* written so far */
    int64_t planned;             /* of an estimated count */
};

/* The format that this Accept prefers of those that are named in it; JSON where it names none, or
 * takes anything. */
enum dp_format dp_format_of(ath_str accept);
const char *dp_format_type(enum dp_format format); /* Content-Type */

/* `first` is a result of the statement, for its columns and its exact count. What `a` asks for is
 * said, a->count is set. */
void dp_writer_begin(struct dp_writer *w, struct dp *dp, const struct dp_fetch *f,
                     const struct dp_query *q, const ath_rows *first, struct dp_answer *a,
                     struct buf *b);
void dp_writer_rows(struct dp_writer *w, const ath_rows *rows, struct buf *b);
void dp_writer_end(struct dp_writer *w, struct buf *b);

/* What EXPLAIN's answer says how many rows there will be. */
int64_t dp_planned_rows(const ath_rows *plan);

#endif
