/* core/server/keys.h - who may: the static admin key and the classes of routes.
 *
 * The key store (API keys with rights) is a room of its own and is not built yet, so there are two
 * kinds of callers: the administrator, who passes every class, and everybody else. While keys are
 * enforced everybody else is refused on GATEWAY and EITHER routes: 401 without a key, 503 with one
 * that nobody here can check. While they are not, GATEWAY routes are open, but not for databases that
 * the caller names by a URI of his own: those take a key that was checked (auth.md D-12).
 */
#ifndef CORE_SERVER_KEYS_H
#define CORE_SERVER_KEYS_H

#include "http/http.h"

struct keys {
    ath_str admin[2];            /* ATHENA_KEY_12 and ATHENA_P12_KEY; n 0: unset */
    bool enforced;               /* gateway.enforce_api_keys */
    bool store;                  /* an auth client is configured */
};

/* Takes the admin keys: `configured` is ATHENA_KEY_12, from the environment or a .env file. They must
 * live as long as the process. */
void keys_load(struct keys *k, ath_str configured);

/* The key that the request carries: x-athena-key, x-api-key, apikey, then `Authorization: Bearer
 * ath_...`; the first that is not blank. Empty: none. */
ath_str keys_given(struct req *r);

/* Fills r->who, or refuses with the contract's answers (auth.md 2.3, 2.4, 4). */
int keys_check(const struct keys *k, struct req *r, ath_err *e);

/* ath_req_api.allow: the administrator and open gateways may do everything. */
int keys_allow(struct req *r, const ath_right *right, uint32_t n, ath_err *e);

#endif
