/* athena/err.h - results: 0, or a negative code whose words are in an ath_err.
 *
 * A function that can fail returns 0 (ATH_OK) or a class below and takes `ath_err *e` last. It
 * writes to `e` only when it fails. Messages are lower case, state the fact, quote the object and
 * have no full stop: could not open file "x": no such file. Advice is a hint, in whole sentences.
 * Plugins return failures, they do not log them: the host logs once, where the request is known.
 *
 * What a caller over HTTP sees is decided by a code of text ("client_frozen"): the server's own
 * table or the plugin's (ath_plugin.error) gives it a number, a status and a title. ath_raise()
 * takes such a code; after ath_fail() the class's own entry stands.
 */
#ifndef ATHENA_ERR_H
#define ATHENA_ERR_H

#include <athena/abi.h>

/* clang-format off */

enum {
    ATH_OK          = 0,
    ATH_E_INPUT     = -1,        /* the caller sent something wrong                     400 */
    ATH_E_AUTH      = -2,        /* who is it? no or wrong credentials                  401 */
    ATH_E_DENIED    = -3,        /* known, but may not                                  403 */
    ATH_E_MISSING   = -4,        /* there is no such thing                              404 */
    ATH_E_CONFLICT  = -5,        /* contradicts what is there                           409 */
    ATH_E_LIMIT     = -6,        /* a limit set by the operator was reached             422 */
    ATH_E_TOO_LARGE = -7,        /* larger than accepted                                413 */
    ATH_E_TIMEOUT   = -8,        /* the deadline passed first                           504 */
    ATH_E_CANCELED  = -9,        /* somebody no longer wants the answer                 499 */
    ATH_E_UPSTREAM  = -10,       /* a service that this needs did not answer            503 */
    ATH_E_RETRY     = -11,       /* may work next time; of a job: put it back           503 */
    ATH_E_LEASE     = -12,       /* of a job: its lease was lost, stop writing          409 */
    ATH_E_CONFIG    = -13,       /* the configuration does not allow it                 500 */
    ATH_E_ABI       = -14,       /* host and plugin do not fit                          500 */
    ATH_E_MEMORY    = -15,       /* out of memory                                       500 */
    ATH_E_BUG       = -16        /* a programming error                                 500 */
};

/* An error as callers see it: an entry of ath_plugin.error, raised by its code. Texts live as long
 * as the process. The code must not exist yet, in the server or in another plugin. */
typedef struct {
    const char *code;            /* "client_frozen" */
    const char *message;         /* title: "Client is frozen" */
    const char *hint;            /* whole sentences; NULL: none */
    int32_t     rc;              /* its class above: what ath_raise() returns */
    uint32_t    status;          /* HTTP status, 400 .. 599 */
    uint32_t    number;          /* in the published catalogue; 0: none */
    uint32_t    pad;
} ath_error;

/* Callable from any thread, on an `e` that the caller holds. Texts are copied and cut at the
 * bounds of `e` (message 1 KiB, hint 512 bytes, details 2 KiB together). */
typedef struct {
    uint32_t size, pad;
    /* Forgets what `e` held, writes the message and returns rc. */
    int     (*fail)(ath_err *e, int rc, const char *fmt, va_list ap);
    /* The same by code; sets the entry's hint and returns its class. A code that nobody declared is
     * ATH_E_BUG. */
    int     (*raise)(ath_err *e, const char *code, const char *fmt, va_list ap);
    /* Replaces the hint. After fail or raise. */
    void    (*hint)(ath_err *e, const char *fmt, va_list ap);
    /* Adds "key":json for those who may see details. `json` is a JSON text; dropped whole when it
     * does not fit. Three keys mean something: "title" replaces the entry's title, "retry_after" is
     * also sent as Retry-After (whole seconds), "body" replaces the whole error body. */
    void    (*detail)(ath_err *e, const char *key, ath_str json);
    /* "message", "hint", "code", "title", "sqlstate", or a detail by its key ("constraint",
     * "table", "column" of a database's error); "details": all of them, "key":json between commas.
     * Empty: there is none. Borrowed from `e`; a JSON string comes without its quotes, escapes
     * kept. */
    ath_str (*get)(const ath_err *e, const char *key);
} ath_err_api;

/* clang-format on */
#endif
