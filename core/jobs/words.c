/* Writing the pieces. */
#include "jobs/words.h"

#include <string.h>

#include "base/arena.h"
#include "db/query.h"
#include "lib/sqlname.h"

void sql_id(struct buf *b, const char *name)
{
    buf_ident(b, str_of(name));
}

void sql_col(struct buf *b, const char *name)
{
    buf_lit(b, "q.");
    sql_id(b, name);
}

void sql_word(struct buf *b, const char *text)
{
    buf_literal(b, str_of(text));
}

int sql_column_row(const struct maker *m, const char *name)
{
    for (uint32_t i = 0; i < db_rows_count(m->columns); i++)
        if (str_is(db_rows_text(m->columns, i, 0), name))
            return (int)i;
    return -1;
}

const char *sql_type_of(const struct maker *m, const char *name)
{
    return db_rows_text(m->columns, (uint32_t)sql_column_row(m, name), 1).p;
}

bool sql_not_null(const struct maker *m, const char *name)
{
    return str_is(db_rows_text(m->columns, (uint32_t)sql_column_row(m, name), 2), "t");
}

static void words(struct buf *b, const char *const *list, size_t n)
{
    size_t first = b->n;

    for (size_t i = 0; i < n; i++) {
        if (!list[i])
            continue;
        if (b->n > first)
            buf_lit(b, ", ");
        sql_word(b, list[i]);
    }
}

void sql_status_in(struct buf *b, const ath_queue *q, const char *const *list, size_t n)
{
    size_t said = 0;

    for (size_t i = 0; i < n; i++)
        said += list[i] != NULL;
    sql_col(b, q->status);
    buf_z(b, said == 1 ? " = " : " IN (");
    words(b, list, n);
    if (said != 1)
        buf_char(b, ')');
}

void sql_is_waiting(struct buf *b, const ath_queue *q)
{
    const char *const list[] = { q->waiting, q->again };

    sql_status_in(b, q, list, ATH_COUNT(list));
}

void sql_is_held(struct buf *b, const ath_queue *q)
{
    const char *const list[] = { q->claimed, q->active, q->canceling };

    sql_status_in(b, q, list, ATH_COUNT(list));
}

void sql_is_over(struct buf *b, const ath_queue *q)
{
    const char *const list[] = { q->done, q->dead, q->canceled };

    sql_status_in(b, q, list, ATH_COUNT(list));
}

void sql_set(struct buf *b, const char *column, const char *value)
{
    if (!column)
        return;
    buf_lit(b, ", ");
    sql_id(b, column);
    buf_printf(b, " = %s", value);
}

void sql_set_or_keep(struct buf *b, const struct maker *m, const char *column, const char *value)
{
    if (!column)
        return;
    buf_lit(b, ", ");
    sql_id(b, column);
    if (!sql_not_null(m, column)) {
        buf_printf(b, " = %s", value);
        return;
    }
    buf_printf(b, " = coalesce(%s, ", value);
    sql_col(b, column);
    buf_char(b, ')');
}

void sql_live_words(struct buf *b, const ath_queue *q)
{
    const char *const list[] = { q->waiting, q->again, q->claimed, q->active, q->canceling };

    words(b, list, ATH_COUNT(list));
}

/* An error's text in a column that may be JSON. */
const char *sql_error_value(const struct maker *m, const char *text)
{
    const char *type = m->q->error ? sql_type_of(m, m->q->error) : "text";
    bool json = strcmp(type, "jsonb") == 0 || strcmp(type, "json") == 0;

    return json ? arena_printf(m->arena, "pg_catalog.to_jsonb((%s)::text)::%s", text, type).p
                : text;
}

bool sql_cancel_is_bool(const struct maker *m)
{
    return strcmp(sql_type_of(m, m->q->cancel), "boolean") == 0;
}

void sql_cancel_asked(struct buf *b, const struct maker *m, bool asked)
{
    sql_col(b, m->q->cancel);
    if (sql_cancel_is_bool(m))
        buf_z(b, asked ? " IS TRUE" : " IS NOT TRUE");
    else
        buf_z(b, asked ? " IS NOT NULL" : " IS NULL");
}

void sql_from_table(struct buf *b, const ath_queue *q)
{
    buf_lit(b, " FROM ");
    sql_id(b, q->table);
    buf_lit(b, " q WHERE ");
}

void sql_update_table(struct buf *b, const ath_queue *q)
{
    buf_lit(b, "UPDATE ");
    sql_id(b, q->table);
    buf_lit(b, " q SET ");
    sql_id(b, q->status);
    buf_lit(b, " = ");
}

const char *sql_place_of(const ath_queue *q)
{
    return q->created ? q->created : q->due ? q->due : NULL;
}

void sql_set_due(struct buf *b, const struct maker *m, const char *when)
{
    if (!m->q->due)
        return;
    if (sql_not_null(m, m->q->due))
        when = arena_printf(m->arena, "coalesce(%s, clock_timestamp())", when).p;
    sql_set(b, m->q->due, when);
}

void sql_set_free(struct buf *b, const ath_queue *q)
{
    sql_set(b, q->token, "NULL");
    sql_set(b, q->until, "NULL");
    sql_set(b, q->touched, "clock_timestamp()");
}
