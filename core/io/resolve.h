/* core/io/resolve.h - host names to addresses, with a small cache per loop, and what kind of address
 * one is.
 *
 * A look-up runs on libuv's pool; several for one name share it. Answers are kept for 5 s, failures
 * for 1 s: enough to spare a busy loop, too short to hide a change. An address in text is its own
 * answer. For the loop's own thread.
 *
 *     struct resolve r = { .done = my_done };       embedded in whoever asks
 *     resolve_start(l, &r, host);                   my_done() comes exactly once, later
 *     resolve_cancel(&r);                           or never
 */
#ifndef CORE_IO_RESOLVE_H
#define CORE_IO_RESOLVE_H

#include <netinet/in.h>

#include "io/loop.h"

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

enum { RESOLVE_MOST = 16, ADDRESS_TEXT = INET6_ADDRSTRLEN };

struct addresses {               /* in the order of preference of the system */
    size_t n;
    union address at[RESOLVE_MOST];
};

struct resolve {
    struct list node;
    /* rc 0: `a` has one at least; rc < 0: `e` has the words. Both are borrowed for the call. */
    void (*done)(struct resolve *r, int rc, const struct addresses *a, const ath_err *e);
};

void resolve_start(ath_loop *l, struct resolve *r, ath_str host);
void resolve_cancel(struct resolve *r);

/* What may be reached at an address. Those written as IPv6 around an IPv4 address (mapped, NAT64,
 * 6to4) are what that one is. */
enum address_class {
    ADDRESS_PUBLIC,
    ADDRESS_LOOPBACK,            /* this machine, "any" included */
    ADDRESS_PRIVATE,             /* 10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7 */
    ADDRESS_LINK_LOCAL,          /* 169.254/16 (cloud metadata!), fe80::/10 */
    ADDRESS_SPECIAL              /* multicast, documentation, benchmarks, reserved */
};
enum address_class address_class(const union address *a);

/* "192.0.2.1" or "2001:db8::1", [brackets] allowed; false: it is a name or nothing at all. */
bool address_parse(ath_str text, union address *ret);
void address_text(const union address *a, char ret[ADDRESS_TEXT]);

#endif
