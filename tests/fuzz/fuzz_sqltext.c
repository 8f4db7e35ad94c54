/* Scripts through the scanner. What must hold: tokens stand one behind the other with only blanks
 * and comments between them; statements begin and end with a token; and a statement that is read
 * alone is that one statement again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sqltext/sqltext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

static uint32_t lines(const char *from, const char *to)
{
    uint32_t n = 0;

    for (; from < to; from++)
        n += *from == '\n';
    return n;
}

static void tokens(ath_str text)
{
    struct sql_scan s = { .text = text, .line = 1 };
    const char *end = text.p;
    struct sql_token t;

    while (sql_next(&s, &t)) {
        must(t.text.n > 0 && t.text.p >= end, "a token is behind the one before it");
        must(t.text.p + t.text.n == text.p + s.at && s.at <= text.n,
             "a token ends where reading goes on");
        must(t.line == 1 + lines(text.p, t.text.p), "the line is counted");
        must(t.line_end == t.line + lines(t.text.p, t.text.p + t.text.n), "so is its last");
        must(t.kind != SQL_BROKEN || s.at == text.n, "a broken token goes to the end");
        end = t.text.p + t.text.n;
    }
}

static void alone(const struct sql_statement *st)
{
    struct sql_scan s = { .text = st->text, .line = st->line_start };
    struct sql_statement again, more;

    must(sql_statement(&s, &again), "a statement alone is one");
    must(str_eq(again.text, st->text) && again.line_end == st->line_end, "and the same");
    must(again.control == st->control && again.broken == st->broken, "and means the same");
    must(!sql_statement(&s, &more), "and no second");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ath_str text = { (const char *)data, size };
    struct sql_scan s = { .text = text, .line = 1 };
    struct sql_statement st;
    const char *end = text.p;

    tokens(text);
    while (sql_statement(&s, &st)) {
        must(st.text.n > 0 && st.text.p >= end, "a statement is behind the one before it");
        must(st.text.p + st.text.n <= text.p + text.n, "a statement ends in the script");
        must(st.line_start <= st.line_end, "lines are in order");
        end = st.text.p + st.text.n;
        alone(&st);
    }
    return 0;
}
