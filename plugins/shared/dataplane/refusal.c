#include "dataplane/refusal.h"

#include "lib/json.h"
#include "lib/jsonread.h"

enum { VALUES = 64 };

bool dp_is_definite(int rc, const ath_err *e)
{
    if (rc == ATH_E_CONFLICT)
        return str_starts(ath_host_->err->get(e, "sql_state"), "23");
    return rc == ATH_E_INPUT || rc == ATH_E_DENIED || rc == ATH_E_MISSING;
}

ath_str dp_refusal(ath_arena *a, const ath_err *e)
{
    struct buf b = BUF_ARENA(a);

    buf_char(&b, '{');
    buf_json_str(&b, "code", ath_host_->err->get(e, "code"));
    buf_json_str(&b, "message", ath_host_->err->get(e, "message"));
    buf_json_str(&b, "hint", ath_host_->err->get(e, "hint"));
    buf_lit(&b, ",\"details\":{");
    buf_str(&b, ath_host_->err->get(e, "details"));
    buf_lit(&b, "}}");
    return buf_view(&b);
}

void dp_hint(ath_err *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->err->hint(e, fmt, ap);
    va_end(ap);
}

/* The host's functions take texts that end in NUL. */
static const char *ended(ath_arena *a, ath_str s)
{
    char *p = ath_new(a, s.n + 1);

    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

int dp_refuse_again(ath_req *r, ath_str text, ath_err *e)
{
    ath_arena *a = ath_arena_of(r);
    struct json_error why;
    const struct json *said = json_read(text, JSON_ARENA(a), VALUES, &why);
    const struct json *details = json_given(said, "details");
    int rc;

    if (!said)
        return ath_fail(e, ATH_E_BUG, "the kept refusal cannot be read");
    rc = ath_raise(e, ended(a, json_text(json_get(said, "code"))), "%.*s",
                   STR_ARG(json_text(json_get(said, "message"))));
    if (json_text(json_get(said, "hint")).n)
        dp_hint(e, "%s", ended(a, json_text(json_get(said, "hint"))));
    for (const struct json *v = details ? details->first : NULL; v; v = v->next)
        ath_host_->err->detail(e, ended(a, v->key), v->raw);
    return rc;
}
