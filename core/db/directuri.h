/* core/db/directuri.h - a connection URI that a caller brings, read with suspicion.
 *
 * What may be in it is listed; nothing of the process (its password files, its certificates, its
 * environment) goes to where it leads. Hosts are checked by name here, and each address that a name
 * resolves to before anything connects to it (db_target.guarded).
 */
#ifndef CORE_DB_DIRECTURI_H
#define CORE_DB_DIRECTURI_H

#include "db/target.h"
#include "lib/buf.h"

struct direct_rules {
    bool allow_private; /* private, loopback and link-local addresses too */
    const char *hosts;  /* comma list: these and their subdomains; NULL or empty: any */
};

/* "postgres://..." of the three accepted schemes, without `channel_binding`. False: it is none. A
 * secret: the caller wipes it. */
bool direct_normalise(ath_str uri, struct buf *ret);

/* Of a normalised one. Refused with invalid_direct_uri or invalid_target; never repeats the URI. */
int direct_parse(const char *uri, const struct direct_rules *rules, uint64_t statement_timeout_ms,
                 struct db_target **ret, ath_err *e);

#endif
