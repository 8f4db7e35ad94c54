/* core/auth/keys.h - the value that a request carries as its key, and the administrators' own keys.
 */
#ifndef CORE_AUTH_KEYS_H
#define CORE_AUTH_KEYS_H

#include "http/http.h"

struct key_rules {               /* texts live as long as the process */
    ath_str admin;               /* ATHENA_KEY_12, from the environment or a .env file */
    ath_str carriers;            /* gateway.key_carriers */
};

/* Once, before the first request; ATHENA_P12_KEY is an administrator's key, too. Refused: a carrier
 * that is no header. */
int keys_load(const struct key_rules *rules, ath_err *e);
bool keys_admin_short(void);     /* one of them is shorter than ADMIN_KEY_MIN */
enum { ADMIN_KEY_MIN = 16 };

/* The first of the carriers that is not blank, then `Authorization: Bearer ath_...`. Empty: none. */
ath_str keys_given(struct req *r);

bool keys_admin_set(void);
/* In time that depends on the length of `given` alone. */
bool keys_is_admin(ath_str given);

/* "ath_ID.SECRET" into its parts; the secret may hold dots. */
bool keys_split(ath_str given, ath_str *ret_id, ath_str *ret_secret);

#endif
