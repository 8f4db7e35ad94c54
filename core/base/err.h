/* core/base/err.h - a failure, described for whoever asked.
 *
 * Functions return 0 or a negative ATH_E_* and put the words into the ath_err passed last. An
 * ath_err is plain memory without pointers to free: it may live on the stack, be copied and be
 * forgotten. Texts are cut at their bounds, never overrun.
 *
 *     message   what happened, by the grammar of STYLE habit 9
 *     hint      advice in whole sentences, or empty
 *     error     the entry of errors.yaml (or of a plugin's table) that was raised; NULL after
 *               err_fail(): then the class decides
 *     details   JSON members without braces: "key":value,"key":value
 *
 * Three detail keys have a meaning of their own: "title" replaces the entry's own message (the
 * envelope's `message`), "retry_after" becomes the header Retry-After (whole seconds), and
 * "body" replaces the whole envelope. Two are not shown to everybody: "detail" (row values: to those
 * who hold a right on the data) and "reason" (why a service is away, with hosts: to administrators).
 */
#ifndef CORE_BASE_ERR_H
#define CORE_BASE_ERR_H

#include <athena/plugin.h>

struct ath_err {
    int rc;
    const ath_error *error;
    char sqlstate[6];
    uint16_t message_n, hint_n, details_n;
    char message[1024];
    char hint[512];
    char details[2048];
};

/* An empty one: struct ath_err e; err_reset(&e); the texts are not cleared, only their lengths. */
void err_reset(ath_err *e);

int err_fail_v(ath_err *e, int rc, const char *fmt, va_list ap);
int err_raise_v(ath_err *e, const char *code, const char *fmt, va_list ap);
void err_hint_v(ath_err *e, const char *fmt, va_list ap);

ATH_PRINTF(3, 4) int err_fail(ath_err *e, int rc, const char *fmt, ...);  /* returns rc */
ATH_PRINTF(3, 4) int err_raise(ath_err *e, const char *code, const char *fmt, ...);
ATH_PRINTF(2, 3) void err_hint(ath_err *e, const char *fmt, ...);

/* Adds "key":json; `json` is a JSON text. Dropped whole when it does not fit. */
void err_detail(ath_err *e, const char *key, ath_str json);
void err_detail_str(ath_err *e, const char *key, ath_str text); /* "key":"text" */

/* "message", "hint", "code", "title", "sqlstate", or the text of a detail ("constraint"); empty
 * when there is none. Borrowed from `e`; a JSON string is given without its quotes, escapes kept. */
ath_str err_get(const ath_err *e, const char *key);

/* Moves one error to another place; only what is used is copied. */
void err_copy(ath_err *to, const ath_err *from);

/* The entry of the built-in table or of a registered one, NULL: no such code. */
const ath_error *err_lookup(const char *code);

/* The entry that stands for a class when nothing more exact was raised. Never NULL. */
const ath_error *err_class(int rc);

/* What envelope and logs show of an error: the raised entry, else its class's. */
const ath_error *err_entry(const ath_err *e);

/* A plugin's own codes; before any request is served. `error` must outlive the process. A code
 * that exists already is refused (ATH_E_CONFIG). */
int err_register(const ath_error *error, ath_err *e);

/* All entries of errors.yaml in its order. */
extern const ath_error err_table[];
extern const size_t err_table_count;

#endif
