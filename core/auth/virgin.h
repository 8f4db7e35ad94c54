/* core/auth/virgin.h - virgin keys: they learn where they are used from, and then stay there.
 *
 * A request counts when its key was found valid, its client and its route's right fit and no blacklist
 * holds its address; that is before its body is read, so a request that is refused later (for a right
 * on a table, or for what it says) has counted as well. A request below another one does not count.
 *
 * While the request waits, one transaction locks the key's row, counts the request and its address, and
 * where that reaches virgin_until_n_requests, or as many addresses as max_whitelist_ips, puts the
 * addresses that came first into the whitelist, never more than max_whitelist_ips, and marks the key as
 * resolved (auth.md 7.2). So a key is either learning or has its list (D-10), however many ask at once in
 * however many processes (21.11). The request that reaches the limit passes.
 *
 * What the row says under the lock is what holds: a key that another process has resolved meanwhile is
 * judged by the list that it has now, whatever this process has in memory.
 */
#ifndef CORE_AUTH_VIRGIN_H
#define CORE_AUTH_VIRGIN_H

#include "auth/store.h"

/* For a request that ip_check() let pass by `p`, with p->learning; `p` lives until `then`. `then` is
 * told 0, or the refusal, whose code is the reason: "ip_not_whitelisted", "ip_not_in_global_whitelist",
 * "ip_blacklisted", or "ip_policy_unavailable" when it could not be learned. */
int virgin_learn(struct req *r, const struct auth_key *k, const struct ip_policy *p, ath_then *then,
                 void *arg, ath_err *e);

#endif
