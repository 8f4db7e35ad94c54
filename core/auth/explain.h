/* core/auth/explain.h - why a key would be let through or refused: the parts of the check, asked one by
 * one for a request that nobody has sent. The document is that of athena/service/rights.h.
 */
#ifndef CORE_AUTH_EXPLAIN_H
#define CORE_AUTH_EXPLAIN_H

#include "auth/store.h"

struct explain_ask {
    ath_right right;             /* with a schema: a relation */
    ath_str name;                /* without one: the right by its name */
    ath_str client;              /* folded; empty: none */
    ath_str address;             /* text; p NULL: not asked about */
    uint8_t bytes[16];
};

struct explain_facts {           /* what holds beside the key */
    enum store_state store;
    int enforced;                /* -1: not known */
    int64_t now_us;              /* wall clock */
    const struct ip_policy *policy;
    const char *untold;          /* what of the lists cannot be read: "key", "global"; NULL: nothing */
};

/* Appends the document. */
void explain(const struct explain_ask *ask, const struct auth_key *k, const struct explain_facts *f,
             struct buf *b);

#endif
