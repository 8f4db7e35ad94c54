/* core/auth/store.h - the key store, followed: what lies in the tables of the auth database, in memory.
 *
 * One part in the background (see control.h) reads the switches, the global address lists, and every
 * key that is in use, in one trip: at the start, whenever NOTIFY athena_auth_changed comes, and every
 * gateway.auth_cache_ttl_ms. A key that nobody knows is looked up once, however many ask (and that
 * there is none is remembered for a second); everything else is answered from memory. What is in memory
 * holds for 30 s when the database is lost; then the store counts as lost.
 *
 * Any thread may look; what it gets is immutable and stays as long as it is held. Connections to the
 * database are the store's own ("@keys"), so it waits behind nobody (D-15).
 */
#ifndef CORE_AUTH_STORE_H
#define CORE_AUTH_STORE_H

#include <athena/service/auth.h>

#include "auth/ip.h"
#include "auth/right.h"

enum {
    KEY_ALLOWED = 8,
    KEY_SECRET = 64              /* digits of a secret, as they are made */
};
struct allowed;

struct auth_key {
    atomic_uint refs;
    ath_str public_id, id;       /* id: the uuid of the interface */
    int64_t internal;            /* api_keys.id */
    ath_str salt, hash;          /* as stored: lower-case hex of sha256("salt:secret") */
    bool active;
    int64_t expires_us;          /* wall clock; 0: never */
    ath_str client;              /* folded name that it is bound to; empty: any */
    ath_str client_shown;        /* as stored */
    struct right_set *rights;
    bool virgin, resolved;
    int64_t until_requests, whitelist_most;
    struct ip_set *white, *black;
    uint32_t white_count;
    bool unlisted;               /* its address lists cannot be read: a policy that cannot be told */
    bool anywhere;               /* it says nothing of addresses */
    /* private to the store */
    atomic_bool proven;          /* somebody has shown its secret */
    atomic_uint_fast64_t fits[2]; /* then: the digest of that, under a key of this process */
    atomic_uint_fast64_t used_ms, written_ms; /* by clock_ms(); 0: never */
    atomic_uint_fast64_t doubted_ms; /* the same */
    uint64_t row[2];             /* digest of the row that it was made from */
    uint64_t brake_id;           /* brake_id() of the public id */
    _Atomic(struct allowed *) allowed[KEY_ALLOWED]; /* what it was found to be allowed */
};

struct store_options {
    bool named;                  /* an auth client is configured */
    bool enforced;               /* gateway.enforce_api_keys */
    uint64_t ttl_ms;             /* 0: each look asks the database */
    uint64_t look_ms;            /* who looks waits so long at most */
    uint64_t use_ms;             /* a key's last use is written so often at most */
};
void store_start(const struct store_options *o); /* before the loops serve */
void store_drain(void);          /* last uses are written, in a task of their own */
void store_stop(void);           /* after the loops have stopped */
void store_loop_fini(void);      /* on each thread that has looked */

static inline bool auth_key_expired(const struct auth_key *k, int64_t now_us)
{
    return k->expires_us && k->expires_us < now_us;
}

/* Is it for this client (folded; empty: none)? */
static inline bool auth_key_is_for(const struct auth_key *k, ath_str client)
{
    return k->client.n == 0 || str_eq(k->client, client);
}

void auth_key_hold(const struct auth_key *k);
void auth_key_release(const struct auth_key *k); /* accepts NULL */

/* Is that its secret? Constant time; what was right once costs no SHA-256 again. Of NULL: no, in the
 * time that a wrong one takes (D-34). */
bool auth_key_fits(const struct auth_key *k, ath_str secret);
/* The same of a secret that has fitted before, and of no other: nothing is worked out. */
bool auth_key_is_known(const struct auth_key *k, ath_str secret);
/* A wrong secret came for it: is the database to be asked all the same? Once a second of a key in use,
 * as often as of an id that nobody has, so that the time tells neither from the other (D-34). */
bool auth_key_doubted(const struct auth_key *k);
/* May it do that? What it may is remembered beside it. */
bool auth_key_may(const struct auth_key *k, const ath_right *right);
/* It was used (by loop_now_ms()): told to the database in a while, together with others (D-18). */
void auth_key_used(const struct auth_key *k, uint64_t now_ms);

enum store_state {
    STORE_NONE,                  /* no auth client is configured */
    STORE_STARTING,              /* nothing was read yet */
    STORE_WELL,
    STORE_STALE,                 /* it can not be asked; what is known still holds */
    STORE_LOST                   /* for longer than that: the fail mode decides */
};
enum store_state store_state(void);
/* Of one that can not be asked: is there no connection (false: it does not answer as it should)? */
bool store_unreachable(void);
bool store_asks_always(void);    /* ttl_ms is 0: look before what is in memory counts */

/* Is a key asked for, of requests for this client (folded; empty: none)? auth.md 4.2: the row of the
 * client says so; without one that of all, which gateway.enforce_api_keys stands above: what the
 * configuration closes, a row that is there from the start does not open. Folds nothing, allocates
 * nothing. False: it is not known (STORE_STARTING; STORE_LOST once keys were enforced for
 * anybody, D-3). */
bool store_enforced(ath_str client, bool *ret);
/* Somebody is let in without a key: some client that has a switch, or all those that have none. */
bool store_open_somewhere(void);

/* Held until auth_key_release(). NULL: not in memory; *ret_missing: known not to exist. */
const struct auth_key *store_find(ath_str public_id, bool *ret_missing);
/* Then this, on the request's loop: `then` is called when it is in memory, or known to be missing, or
 * with the error of the store. An empty id waits until the switches are read. */
int store_look(ath_task *t, ath_str public_id, ath_then *then, void *arg, ath_err *e);

/* Is there anything in them? Nearly all databases have none. */
bool store_has_lists(void);
/* Fills the lists of p that hold for everybody, and for `client`. They live until the task of r ends.
 * False: there are tables for them that cannot be read. */
bool store_lists(struct req *r, ath_str client, struct ip_policy *p);

/* What this process changed is read again now; others are told by NOTIFY in the same transaction.
 * Who must not go on before that waits with the service "athena.auth@1". */
void store_changed(void);
extern const ath_auth store_service;

extern ath_run store_follow;     /* the control part "keys" */

#endif
