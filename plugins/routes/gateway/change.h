/* plugins/routes/gateway/change.h - one insert, update or delete, as the single routes and the
 * operations of a transaction know it.
 */
#ifndef ROUTES_GATEWAY_CHANGE_H
#define ROUTES_GATEWAY_CHANGE_H

#include "dataplane/write.h"
#include "gateway.h"

struct change {
    enum dp_kind kind;
    struct dp dp;                /* between reading and binding */
    struct dp_write w;
    struct dp_change sql;
    ath_relation_name relation;  /* that is written, as the database has it */
};

/* Each raises into `e` and returns what the other steps do. */
int change_read(ath_req *r, struct change *c, enum dp_kind kind, const struct json *body, ath_err *e);
/* Asks for its right too. *ret_unknown: its failure may be the snapshot's. */
int change_bind(ath_req *r, struct change *c, const ath_snapshot *s, bool *ret_unknown, ath_err *e);
/* The same for what was allowed before, in a task of its own: `right` is what it would ask for. */
int change_rebind(struct change *c, const ath_snapshot *s, const ath_right **ret_right,
                  bool *ret_unknown, ath_err *e);
int change_failed(struct change *c, int rc, ath_err *e);

/* write.c: what is wrong with a request's body, without a database. */
int gateway_write_check(ath_req *r, enum dp_kind kind, const struct dp_write **ret, ath_err *e);

/* "public.items" or "items", as it was asked for. */
ath_str change_table(ath_req *r, const struct change *c);

#endif
