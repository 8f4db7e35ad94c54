/* core/db/target.h - where and how to connect: a parsed connection URI.
 *
 * The URI (postgres://, postgresql:// or athena://) is read by libpq itself, so that every
 * parameter that libpq knows means the same here. Host names stay names until a connection is
 * opened: they are resolved without blocking and passed on together with the name, which TLS
 * checks.
 *
 * A target never changes and is shared by counting references, from any thread. Its password goes
 * nowhere but into libpq, and no message here repeats any part of the URI.
 */
#ifndef CORE_DB_TARGET_H
#define CORE_DB_TARGET_H

#include <stdatomic.h>
#include <stdbool.h>

#include <athena/plugin.h>

enum { TARGET_HOSTS = 32, TARGET_PARAMS = 64 };

struct db_host {
    char *name;                  /* host name, address or socket folder; "" : libpq's default */
    char *addr;                  /* its address when it is known already, else NULL */
    char *port;                  /* "" : libpq's default */
    bool lookup;                 /* the name has to be resolved first */
};

struct db_target {
    atomic_uint refs;
    char *key[TARGET_PARAMS], *value[TARGET_PARAMS]; /* all but hosts and ports */
    size_t params;
    struct db_host host[TARGET_HOSTS];
    size_t hosts;
    bool writable;               /* wants a server that accepts writes */
    bool guarded;                /* of a caller: goes to no private address */
};

/* `statement_timeout_ms` 0: none. Refused with ATH_E_CONFIG. */
int target_parse(const char *uri, uint64_t statement_timeout_ms, struct db_target **ret,
                 ath_err *e);
void target_param(struct db_target *t, const char *key, const char *value); /* before its first use */
struct db_target *target_ref(struct db_target *t);
void target_unref(struct db_target *t); /* accepts NULL */

#endif
