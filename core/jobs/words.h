/* core/jobs/words.h - pieces of statements: the words of a description, quoted here and nowhere else.
 *
 * The table of a queue is "q" in all of them. What the description does not name adds nothing.
 */
#ifndef CORE_JOBS_WORDS_H
#define CORE_JOBS_WORDS_H

#include <stdbool.h>

#include "io/task.h"
#include "lib/buf.h"

/* A description with what the database says of its columns. */
struct maker {
    const ath_queue *q;
    const ath_rows *columns;
    ath_arena *arena;
};

void sql_id(struct buf *b, const char *name);
void sql_col(struct buf *b, const char *name); /* of the row in question */
void sql_word(struct buf *b, const char *text);

/* Of a column that the table has: its type, as format_type() writes it, which is SQL. */
int sql_column_row(const struct maker *m, const char *name); /* < 0: there is none */
const char *sql_type_of(const struct maker *m, const char *name);
bool sql_not_null(const struct maker *m, const char *name);

/* The state of the row; NULL words are left out. */
void sql_status_in(struct buf *b, const ath_queue *q, const char *const *list, size_t n);
void sql_is_waiting(struct buf *b, const ath_queue *q);
void sql_is_held(struct buf *b, const ath_queue *q);
void sql_is_over(struct buf *b, const ath_queue *q);
/* The words of those that wait or run, between commas. */
void sql_live_words(struct buf *b, const ath_queue *q);

/* , "column" = value */
void sql_set(struct buf *b, const char *column, const char *value);
/* The same for a column that may have to keep what it has when the value is null. */
void sql_set_or_keep(struct buf *b, const struct maker *m, const char *column, const char *value);
/* When it may run again, in a column that may have to have a time. */
void sql_set_due(struct buf *b, const struct maker *m, const char *when);
void sql_set_free(struct buf *b, const ath_queue *q); /* of its lease */

const char *sql_error_value(const struct maker *m, const char *text);
bool sql_cancel_is_bool(const struct maker *m);
void sql_cancel_asked(struct buf *b, const struct maker *m, bool asked);

void sql_from_table(struct buf *b, const ath_queue *q);   /* FROM ... WHERE */
void sql_update_table(struct buf *b, const ath_queue *q); /* UPDATE ... SET state = */
const char *sql_place_of(const ath_queue *q); /* the timestamp that jobs are ordered by; NULL: none */

#endif
