/* athena/service/rights.h - "athena.rights@1": would a key be let through, and why?
 *
 * Answered by the very parts that check requests, on what this process knows of the key store, so
 * nothing is decided twice. The document:
 *
 *     {"allowed":false,"enforced":true,"lines":[{"check":"active","verdict":"yes","why":"it is active"},
 *      ...],"required":"users.read","summary":"Missing required rights: users.read. ..."}
 *
 * `allowed`: what the key gets where keys are asked for; `enforced`: whether they are, null when it is
 * not known. Checks in the order in which a request meets them: store, enforced, active, expiry,
 * client, right, address. Verdicts: "yes", "no" (this one refuses), "note".
 */
#ifndef ATHENA_SERVICE_RIGHTS_H
#define ATHENA_SERVICE_RIGHTS_H

#include <athena/plugin.h>

typedef struct {
    uint32_t size, pad;
    ath_str  public_id;          /* of the key */
    ath_str  right;              /* "gateway.query"; with a table what is done to it: "read", "users.read" */
    ath_str  schema, table;      /* table empty: the right by its name alone */
    ath_str  client;             /* that the request is for; empty: none */
    ath_str  address;            /* where it comes from; empty: addresses are not asked about */
} ath_rights_ask;

typedef struct {
    uint32_t size, pad;
    /* Within a request. d->bytes: the document, as long as the task lives. ATH_E_MISSING: there is no
     * such key; ATH_E_INPUT: the address is none; another failure: the store could not be asked. */
    ATH_OP(can, const ath_rights_ask *ask);
} ath_rights;

#endif
