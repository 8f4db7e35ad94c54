/* An ath_err is the host's and lasts as long as one call; what can be read of it can be said again.
 */
#include "said.h"

/* What errors of databases and of scripts carry. Texts come without their quotes. */
static const struct {
    const char *key;
    bool text;
} keys[] = {
    { "title", true },       { "category", true },         { "sql_state", true },
    { "constraint", true },  { "schema", true },           { "table", true },
    { "column", true },      { "position", true },         { "lhs_type", true },
    { "rhs_type", true },    { "operator", true },         { "retry_after", false },
    { "detail", true },      { "statement_index", false }, { "total_statements", false },
    { "line_start", false }, { "line_end", false },        { "preprocess", false },
    { "statement", true },
};

struct said {
    ath_str code, message, hint, detail[ATH_COUNT(keys)];
};

static ath_str copy(ath_arena *a, ath_str s)
{
    char *p = ath_new(a, s.n + 1);

    if (s.n)
        memcpy(p, s.p, s.n);
    return str_from(p, s.n);
}

struct said *said_keep(ath_arena *a, const ath_err *e)
{
    struct said *s = ath_new(a, sizeof(*s));

    s->code = copy(a, ath_host_->err->get(e, "code"));
    s->message = copy(a, ath_host_->err->get(e, "message"));
    s->hint = copy(a, ath_host_->err->get(e, "hint"));
    for (size_t i = 0; i < ATH_COUNT(keys); i++)
        s->detail[i] = copy(a, ath_host_->err->get(e, keys[i].key));
    return s;
}

static void hint(ath_err *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->err->hint(e, fmt, ap);
    va_end(ap);
}

int said_again(const struct said *s, ath_err *e)
{
    int rc = ath_raise(e, s->code.p, "%.*s", STR_ARG(s->message));

    hint(e, "%s", s->hint.p);
    for (size_t i = 0; i < ATH_COUNT(keys); i++) {
        struct buf b = BUF_HEAP;
        if (!s->detail[i].n)
            continue;
        buf_printf(&b, keys[i].text ? "\"%s\"" : "%s", s->detail[i].p);
        ath_host_->err->detail(e, keys[i].key, buf_view(&b));
        buf_free(&b);
    }
    return rc;
}
