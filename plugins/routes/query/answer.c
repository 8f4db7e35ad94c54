/* What the answers of both SQL routes share. */
#include "query.h"

#include "lib/json.h"

static void statement(struct buf *b, const struct script *s, uint32_t i)
{
    const struct script_stmt *st = &s->stmt[i];

    buf_char(b, '{');
    buf_json_int(b, "duration_ms", (int64_t)(st->took_us / 1000));
    buf_json_int(b, "line_end", st->of.line_end);
    buf_json_int(b, "line_start", st->of.line_start);
    buf_lit(b, ",\"quoted_reserved_identifiers\":[]");
    buf_json_int(b, "returned_row_count", (int64_t)st->returned);
    buf_json_int(b, "rows_affected", (int64_t)st->affected);
    buf_json_str(b, "statement", st->of.text);
    buf_json_int(b, "statement_index", i + 1);
    buf_json_int(b, "total_statements", s->count);
    buf_char(b, '}');
}

void answer_statements(struct buf *b, const struct script *s)
{
    buf_json_key(b, "statements");
    buf_char(b, '[');
    for (uint32_t i = 0; i < s->count; i++) {
        if (i)
            buf_char(b, ',');
        statement(b, s, i);
    }
    buf_char(b, ']');
}

/* Statements go to the database as they are, so nothing is ever rewritten. */
void answer_preprocess(struct buf *b)
{
    buf_json_key(b, "preprocess");
    buf_lit(b, "{\"rewritten_reserved_identifier_count\":0,\"rewritten_reserved_identifiers\":[]}");
}

void answer_facts(ath_req *r, uint64_t statements, uint64_t returned, uint64_t affected)
{
    dp_note_number(r, "statement_count", statements);
    dp_note_number(r, "row_count", returned);
    dp_note_number(r, "returned_row_count", returned);
    dp_note_number(r, "rows_affected", affected);
}

/* There is one driver; who asked for the other one is told what the published server says. */
ath_str answer_backend(ath_req *r)
{
    bool on;

    return str_bool(ath_header(r, "x-athena-deadpool-enable"), &on) && on ? ATH_S("deadpool")
                                                                          : ATH_S("sqlx");
}
