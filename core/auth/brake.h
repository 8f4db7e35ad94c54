/* core/auth/brake.h - the brake against guessing: failed credentials per address (D-22, D-30).
 *
 * What counts is a refusal because of a value that was presented: a wrong admin key, a key that is
 * malformed, unknown or has the wrong secret. No value at all does not count, nor does what is no guess
 * (expired, disabled, another client's, without the right). An IPv6 caller is its /64.
 *
 * Where no key is asked for a wrong value may still be a guess at the administrators' key, whom such a
 * route may show more. Those are counted apart: when they are used up, values from there are not looked
 * at on routes that are open, and the request goes on as nobody's. So whoever sends what nobody asked
 * for is neither refused nor shuts anybody out.
 *
 * An address has gateway.auth_failures_burst failures, and gets back gateway.auth_failures_per_minute.
 * When they are used up its requests with a credential are answered 429 before the credential is looked
 * at, right or wrong, so the answer tells a guesser nothing; Retry-After is when the next may be tried.
 * A success takes nothing back: else whoever has one key could guess others without end.
 *
 * Behind one address there may be many callers. So a stored key that worked from there within the last
 * quarter of an hour is checked all the same: what it takes to be let through is its public id, and
 * behind that stand 256 random bits, which nobody guesses at any speed. The admin key is not let through
 * so: it may be a word that somebody chose, and then the exception would be the way to try them all.
 * Administrators behind such an address wait for Retry-After, or have it in gateway.auth_failures_exempt.
 *
 * By default that is loopback alone: behind a proxy on this machine that does not say who asks, one
 * guesser would shut out everybody. Callers whose address is not known (a Unix socket) are not braked.
 *
 * Memory is bounded: 65536 addresses, of which those go first that have least to wait for. Counts are of
 * this process.
 */
#ifndef CORE_AUTH_BRAKE_H
#define CORE_AUTH_BRAKE_H

#include <stdatomic.h>

#include "auth/ip.h"

struct brake_rules {
    uint32_t per_minute;         /* failures; 0: off */
    uint32_t burst;              /* at once; at least 1 */
    ath_str exempt;              /* networks between commas */
};

/* Once, before the first request; without it nobody is braked. */
int brake_configure(const struct brake_rules *rules, ath_err *e);
void brake_stop(void);

extern _Atomic uint64_t brake_until_us; /* until when some address is braked; 0: none is */
enum brake_door { BRAKE_ASKED, BRAKE_OPEN }; /* is a key asked for? */
int brake_look(struct req *r, ath_str given, enum brake_door door, ath_err *e);

static inline bool brake_on(void)
{
    return unlikely(atomic_load_explicit(&brake_until_us, memory_order_relaxed) != 0);
}

/* Where a credential decides and one was `given`, before any work on it: 0, or the refusal. */
static inline int brake_check(struct req *r, ath_str given, enum brake_door door, ath_err *e)
{
    return brake_on() ? brake_look(r, given, door, e) : 0;
}

/* A credential was refused, as said above. */
void brake_failed(struct req *r, enum brake_door door);

/* A stored key was found valid, at loop_now_ms(). */
void brake_passed(struct req *r, uint64_t brake_id, uint64_t now_ms);
uint64_t brake_id(ath_str public_id); /* what stands for it there; after brake_configure() */

#endif
