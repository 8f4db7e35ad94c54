/* Errors: filling one, finding its code, reading it back. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/map.h"
#include "lib/buf.h"
#include "lib/json.h"

static struct map by_code; /* filled at first use, on the main thread, and by err_register() */

static void table_fill(void)
{
    if (by_code.n)
        return;
    for (size_t i = 0; i < err_table_count; i++)
        map_put(&by_code, str_of(err_table[i].code), (void *)(uintptr_t)&err_table[i]);
}

__attribute__((constructor)) static void table_fill_early(void)
{
    table_fill();
}

__attribute__((destructor)) static void table_drop(void)
{
    map_free(&by_code);
}

void err_reset(ath_err *e)
{
    e->rc = 0;
    e->error = NULL;
    e->sqlstate[0] = 0;
    e->message_n = e->hint_n = e->details_n = 0;
    e->message[0] = e->hint[0] = e->details[0] = 0;
}

static uint16_t fill(char *at, size_t cap, const char *fmt, va_list ap)
{
    int n = vsnprintf(at, cap, fmt, ap);

    if (n < 0)
        n = 0;
    if ((size_t)n < cap)
        return (uint16_t)n;
    n = (int)cap - 1;
    while (n > 0 && ((unsigned char)at[n] & 0xC0) == 0x80) /* not inside a UTF-8 sequence */
        n--;
    at[n] = 0;
    return (uint16_t)n;
}

int err_fail_v(ath_err *e, int rc, const char *fmt, va_list ap)
{
    err_reset(e);
    e->rc = rc;
    e->message_n = fill(e->message, sizeof(e->message), fmt, ap);
    return rc;
}

int err_raise_v(ath_err *e, const char *code, const char *fmt, va_list ap)
{
    const ath_error *error = err_lookup(code);

    err_fail_v(e, error ? error->rc : ATH_E_BUG, fmt, ap);
    e->error = error;
    if (error && error->hint && error->hint[0])
        err_hint(e, "%s", error->hint);
    return e->rc;
}

void err_hint_v(ath_err *e, const char *fmt, va_list ap)
{
    e->hint_n = fill(e->hint, sizeof(e->hint), fmt, ap);
}

int err_fail(ath_err *e, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    err_fail_v(e, rc, fmt, ap);
    va_end(ap);
    return rc;
}

int err_raise(ath_err *e, const char *code, const char *fmt, ...)
{
    va_list ap;
    int rc;

    va_start(ap, fmt);
    rc = err_raise_v(e, code, fmt, ap);
    va_end(ap);
    return rc;
}

void err_hint(ath_err *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    err_hint_v(e, fmt, ap);
    va_end(ap);
}

void err_detail(ath_err *e, const char *key, ath_str json)
{
    size_t n = strlen(key) + json.n + 3 + (e->details_n ? 1 : 0);
    int got;

    if (e->details_n + n >= sizeof(e->details))
        return;
    got = snprintf(e->details + e->details_n, sizeof(e->details) - e->details_n, "%s\"%s\":%.*s",
                   e->details_n ? "," : "", key, STR_ARG(json));
    e->details_n = (uint16_t)(e->details_n + got);
}

void err_detail_str(ath_err *e, const char *key, ath_str text)
{
    struct buf b = BUF_HEAP;

    buf_json(&b, text);
    err_detail(e, key, buf_view(&b));
    buf_free(&b);
}

/* The end of the JSON value at `p`: details are written by us, so brackets and quotes match. */
static size_t value_end(const char *p, size_t n)
{
    int depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < n; i++) {
        if (quoted) {
            if (p[i] == '\\')
                i++;
            else if (p[i] == '"')
                quoted = false;
        } else if (p[i] == '"') {
            quoted = true;
        } else if (p[i] == '{' || p[i] == '[') {
            depth++;
        } else if (p[i] == '}' || p[i] == ']') {
            depth--;
        } else if (p[i] == ',' && depth == 0) {
            return i;
        }
    }
    return n;
}

static ath_str detail_of(const ath_err *e, const char *key)
{
    size_t at = 0, key_n = strlen(key);

    while (at < e->details_n) {
        const char *p = e->details + at;
        size_t left = e->details_n - at, end = value_end(p, left);
        if (left > key_n + 3 && p[0] == '"' && memcmp(p + 1, key, key_n) == 0 &&
            p[key_n + 1] == '"') {
            ath_str v = { p + key_n + 3, end - key_n - 3 };
            if (v.n >= 2 && v.p[0] == '"')
                v = (ath_str){ v.p + 1, v.n - 2 };
            return v;
        }
        at += end + 1;
    }
    return (ath_str){ "", 0 };
}

ath_str err_get(const ath_err *e, const char *key)
{
    if (strcmp(key, "message") == 0)
        return (ath_str){ e->message, e->message_n };
    if (strcmp(key, "hint") == 0)
        return (ath_str){ e->hint, e->hint_n };
    if (strcmp(key, "sqlstate") == 0)
        return str_of(e->sqlstate);
    if (strcmp(key, "code") == 0)
        return str_of(err_entry(e)->code);
    if (strcmp(key, "details") == 0)
        return (ath_str){ e->details, e->details_n };
    if (strcmp(key, "title") == 0) {
        ath_str title = detail_of(e, key);
        return title.n ? title : str_of(err_entry(e)->message);
    }
    return detail_of(e, key);
}

void err_copy(ath_err *to, const ath_err *from)
{
    to->rc = from->rc;
    to->error = from->error;
    memcpy(to->sqlstate, from->sqlstate, sizeof(to->sqlstate));
    to->message_n = from->message_n;
    to->hint_n = from->hint_n;
    to->details_n = from->details_n;
    memcpy(to->message, from->message, from->message_n + 1u);
    memcpy(to->hint, from->hint, from->hint_n + 1u);
    memcpy(to->details, from->details, from->details_n + 1u);
}

const ath_error *err_lookup(const char *code)
{
    return map_get(&by_code, str_of(code));
}

const ath_error *err_class(int rc)
{
    static const char *const code[] = {
        [-ATH_E_INPUT] = "VALIDATION_FAILED",    [-ATH_E_AUTH] = "unauthorized",
        [-ATH_E_DENIED] = "forbidden",           [-ATH_E_MISSING] = "not_found",
        [-ATH_E_CONFLICT] = "conflict",          [-ATH_E_LIMIT] = "limit_reached",
        [-ATH_E_TOO_LARGE] = "payload_too_large", [-ATH_E_TIMEOUT] = "query_timeout",
        [-ATH_E_CANCELED] = "canceled",          [-ATH_E_UPSTREAM] = "SERVICE_UNAVAILABLE",
        [-ATH_E_RETRY] = "SERVICE_UNAVAILABLE",  [-ATH_E_LEASE] = "conflict",
        [-ATH_E_CONFIG] = "INTERNAL_ERROR",      [-ATH_E_ABI] = "INTERNAL_ERROR",
        [-ATH_E_MEMORY] = "INTERNAL_ERROR",      [-ATH_E_BUG] = "INTERNAL_ERROR",
    };
    const char *found = rc < 0 && -rc < (int)ATH_COUNT(code) ? code[-rc] : NULL;

    return err_lookup(found ? found : "INTERNAL_ERROR");
}

const ath_error *err_entry(const ath_err *e)
{
    return e->error ? e->error : err_class(e->rc);
}

int err_register(const ath_error *error, ath_err *e)
{
    if (map_get(&by_code, str_of(error->code)))
        return err_fail(e, ATH_E_CONFIG, "error code \"%s\" exists already", error->code);
    map_put(&by_code, str_of(error->code), (void *)(uintptr_t)error);
    return 0;
}
