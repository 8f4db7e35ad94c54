/* core/auth/limit.h - limits of who passed the key check: rates of addresses and keys, budgets of keys.
 *
 *     a rate group     routes that name one (ath_route.limit): tokens per address, IPv6 by /64
 *     a key's rate     gateway.rate_limit_per_key_*: tokens per key, over all routes
 *     a key's budget   gateway.budget_per_key_ms_per_minute: time that its queries took
 *
 * All off by default; the phase "limit" is left out of the table then. A budget is charged when a
 * request is over, so what runs at the moment may exceed it. Requests of our own (http/call.h) are part
 * of the one that they came from: they are asked for another group's token only. Everything is kept in
 * this process, in bounded tables.
 */
#ifndef CORE_AUTH_LIMIT_H
#define CORE_AUTH_LIMIT_H

#include "config/core_fields.h"
#include "http/http.h"

/* After the routes are known, before the loops serve. */
void limit_configure(const struct gateway_config *g, const struct router *router);
void limit_stop(void);

bool limit_on(void);             /* is the phase needed? */
int limit_check(struct req *r, ath_err *e);

/* The request is over: what it took is charged to its key. */
bool limit_charges(void);
void limit_over(const struct req *r);

/* http.head: "X-Athena-Cost: 1.234;remaining=58765.500", milliseconds. */
bool limit_tells(void);
void limit_head(struct req *r, struct buf *b);

#endif
