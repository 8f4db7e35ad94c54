/* plugins/routes/query/query.h - SQL of callers: POST /gateway/query, /query/sql, /gateway/sql and
 * /query/count.
 *
 * A new file adds its handlers here, its routes to the table in plugin.c, and its bodies to
 * openapi.yaml.
 */
#ifndef ROUTES_QUERY_H
#define ROUTES_QUERY_H

#include "dataplane/dataplane.h"

struct query_config {
    uint64_t timeout_ms;         /* of one statement */
};

struct query_state {
    const ath_catalog *catalog;
};

/* query.c */
int query_init(ath_self *s, const void *config, void **ret_state, ath_err *e);
ath_handler query_gateway;

/* sql.c */
ath_handler query_sql;

/* count.c */
ath_handler query_count;

extern const char openapi_yaml[]; /* openapi.yaml */

#endif
