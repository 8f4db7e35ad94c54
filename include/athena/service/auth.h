/* athena/service/auth.h - "athena.auth@1": what this process holds of the key store, for whoever
 * changes it (the tables of keys, rights, addresses and switches in the auth database).
 *
 * Every process follows the key store by itself: a change in it, told by NOTIFY athena_auth_changed
 * in the same transaction, is acted by within a second. `refresh` is for the process that made the
 * change, whose caller may rely on it with the next request.
 */
#ifndef ATHENA_SERVICE_AUTH_H
#define ATHENA_SERVICE_AUTH_H

#include <athena/plugin.h>

typedef struct {
    uint32_t size, pad;
    /* Ends when this process acts by what lies in the key store now, or when wait_ms have passed:
     * d->status is 1 when it was read, else 0. Never a failure of its own. */
    int (*refresh)(ath_task *t, uint32_t wait_ms, ath_then *then, void *arg, ath_err *e);
} ath_auth;

#endif
