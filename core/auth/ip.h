/* core/auth/ip.h - addresses of callers: who is asking, and from where a key may be used.
 *
 * The address of a request is its socket's peer, unless that is a trusted proxy (a Unix socket is:
 * whoever connects to it is on this machine). Then it is X-Real-IP, if that is an address; else,
 * where X-Forwarded-For counts, that is walked from the right: each hop was written by the one
 * behind it, so it is believed as long as that one is trusted, and the first that is no trusted
 * proxy is the caller (D-8). A hop that is no address ends the walk: the last one that is known
 * stays. IPv4 stands mapped into IPv6, so ::ffff:10.1.2.3 is 10.1.2.3, and is written so.
 *
 * A header that comes more than once is one list; of X-Real-IP the last one counts, which the
 * nearest proxy has added. A request below another one has that one's address.
 */
#ifndef CORE_AUTH_IP_H
#define CORE_AUTH_IP_H

#include "http/req.h"
#include "lib/network.h"

struct ip_rules {
    ath_str trusted_proxies;     /* gateway.trusted_proxies */
    bool forwarded_in_logs;      /* gateway.logging_trust_x_forwarded_for */
    bool forwarded_in_rules;     /* gateway.rate_limit_trust_x_forwarded_for */
};

/* Once, before the first request; without it nobody is trusted. */
int ip_configure(const struct ip_rules *rules, ath_err *e);

/* Is the request's peer a trusted proxy? */
bool ip_peer_trusted(const struct req *r);

/* The caller by the rules for keys and limits: worked out once, kept in r->address and
 * r->address_bytes. Empty: not known (a Unix socket without a proxy's word). */
ath_str ip_of(struct req *r);
/* The caller by the rules for logs; text in the request's arena, or the peer's own. */
ath_str ip_of_for_logs(struct req *r);
/* ip_of() as 16 bytes; false: not known. */
bool ip_bytes_of(struct req *r, uint8_t ret[16]);

/* A list of networks; immutable, any thread. A look costs one probe for each different length of
 * prefix, whatever the number of networks. An IPv6 network that is wider than all of IPv4 (::/0)
 * does not hold IPv4's addresses (auth.md 7.1). */
struct ip_set;
struct ip_set *ip_set_new(const struct network *net, size_t n); /* NULL: empty */
void ip_set_free(struct ip_set *s);
bool ip_set_has(const struct ip_set *s, const uint8_t address[16]); /* s NULL: false */

struct ip_policy {               /* of a key, with what holds for every key of its client */
    const struct ip_set *white, *black;
    const struct ip_set *all_white[2], *all_black[2]; /* [0] everybody's, [1] the client's; NULL: none */
    bool learning;               /* virgin and not resolved: whitelists are not looked at */
    bool wanting;                /* a virgin key is resolved with an empty list: an error (D-10) */
};

/* 0, or the contract's refusal (auth.md 7.3). *ret_reason: "ip_blacklisted" ...; NULL when allowed. */
int ip_check(const struct ip_policy *p, struct req *r, const char **ret_reason, ath_err *e);
/* The same for an address in hand, in text and as bytes; NULL: it is not known. */
int ip_judge(const struct ip_policy *p, ath_str ip, const uint8_t *at, const char **ret_reason,
             ath_err *e);

/* The words for an address that is, or is not, on a list. */
enum ip_refusal { IP_ALL_BLACK, IP_BLACK, IP_NOT_ALL_WHITE, IP_NOT_WHITE };
int ip_refuse(enum ip_refusal which, ath_str ip, const char **ret_reason, ath_err *e);

/* The refusal where a policy cannot be told (D-10); scope: "key", "global", "virgin". */
int ip_unavailable(const char *scope, const char **ret_reason, ath_err *e);

#endif
