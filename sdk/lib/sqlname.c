/* Quoting by PostgreSQL's rules: "SQL Syntax", 4.1.1 and 4.1.2. */
#include "lib/sqlname.h"

static void quoted(struct buf *b, ath_str s, char quote)
{
    char *to;

    if (b->cap < b->n + 2 * s.n + 3)
        buf_grow(b, 2 * s.n + 2);
    to = b->p + b->n;
    *to++ = quote;
    for (size_t i = 0; i < s.n && s.p[i]; i++) {
        if (s.p[i] == quote)
            *to++ = quote;
        *to++ = s.p[i];
    }
    *to++ = quote;
    *to = 0;
    b->n = (size_t)(to - b->p);
}

void buf_ident(struct buf *b, ath_str name)
{
    quoted(b, name, '"');
}

void buf_ident2(struct buf *b, ath_str schema, ath_str name)
{
    if (schema.n) {
        buf_ident(b, schema);
        buf_char(b, '.');
    }
    buf_ident(b, name);
}

void buf_literal(struct buf *b, ath_str text)
{
    if (str_find(text, '\\') < text.n) {
        buf_lit(b, " E'");
        for (size_t i = 0; i < text.n && text.p[i]; i++) {
            if (text.p[i] == '\'' || text.p[i] == '\\')
                buf_char(b, text.p[i]);
            buf_char(b, text.p[i]);
        }
        buf_char(b, '\'');
    } else {
        quoted(b, text, '\'');
    }
}
