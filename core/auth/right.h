/* core/auth/right.h - what a key may do: names of rights, and whether they cover what is asked for.
 *
 * A right is "RESOURCE.ACTION", split at the first dot. A granted one covers a required one when it is
 * the same or `*`; when its resource is `*` and the actions are equal; when its action is `*` and the
 * resources are equal; and when its resource is `gateway` and the actions are equal or its action is
 * `*` (auth.md 5.2; not for management and billing where gateway.rights_strict is on, D-7).
 *
 * A relation is covered by
 *
 *     *                              always
 *     gateway.ACTION gateway.* *.ACTION   any relation; of a protected schema while strict is off
 *     TABLE.ACTION TABLE.*           that table in every schema that is not protected
 *     SCHEMA.TABLE.ACTION .*         that table in that schema
 *
 * so "users.read" never opens athena.users. Names that are no plain identifiers have no right of their
 * own (auth.md 5.1), and neither have tables called gateway, management or billing but with their
 * schema, as "management.read" is another right.
 */
#ifndef CORE_AUTH_RIGHT_H
#define CORE_AUTH_RIGHT_H

#include "lib/buf.h"

enum { RIGHTS_MOST = 4096 };     /* of one key; more of them are not granted */

struct right_rules {
    bool strict;                 /* gateway.rights_strict */
    ath_str protected_schemas;   /* "athena,pg_catalog"; lives as long as the process */
};

/* Once, before the first request. */
void right_configure(const struct right_rules *rules);

struct right_set;                /* immutable; any thread. NULL: no rights */

struct right_set *right_set_new(const ath_str *name, size_t n); /* copies; on the heap */
void right_set_free(struct right_set *s);
uint32_t right_set_names(const struct right_set *s, const ath_str **ret); /* sorted, each once */

/* The granted name that covers what is required, NULL: none does. Nothing is allocated; time grows
 * with the logarithm of the number of rights. */
const ath_str *right_covering(const struct right_set *s, ath_str required);
const ath_str *right_allowing(const struct right_set *s, const ath_right *right);

/* "gateway.query": a right that a route names. */
static inline bool right_covers(const struct right_set *s, ath_str required)
{
    return right_covering(s, required);
}

/* What a handler asks for. A schema says that it is a relation; without one it is the route's own
 * kind ("gateway", "read"), or a relation that nobody has found. */
static inline bool right_allows(const struct right_set *s, const ath_right *right)
{
    return right_allowing(s, right);
}

/* The name of it, as messages and logs show it: "users.read", "gateway.read", "athena.users.read". */
void right_name(struct buf *b, const ath_right *right);

/* What is done: "read" of "users.read", "athena.users.read" and "read". */
ath_str right_action(ath_str name);

/* Is it a name that a right may have: not blank, no blanks around it (D-45)? */
bool right_well_formed(ath_str name);

#endif
