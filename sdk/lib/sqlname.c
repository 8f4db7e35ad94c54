/* Quoting by PostgreSQL's rules: "SQL Syntax", 4.1.1 and 4.1.2. */
#include "lib/sqlname.h"

static void quoted(struct buf *b, ath_str s, char quote)
{
    s.n = str_find(s, 0);
    buf_grow(b, s.n + 2);
    buf_char(b, quote);
    if (str_find(s, quote) == s.n) { /* nearly always */
        buf_str(b, s);
        s.n = 0;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == quote)
            buf_char(b, quote);
        buf_char(b, s.p[i]);
    }
    buf_char(b, quote);
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
