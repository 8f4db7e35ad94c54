/* plugins/routes/rest/rest.h - the REST shim: GET, POST, PATCH and DELETE of /rest/v1/{table}. */
#ifndef ROUTES_REST_H
#define ROUTES_REST_H

#include <athena/service/cache.h>
#include <athena/service/writes.h>

#include "dataplane/ask.h"
#include "dataplane/rest.h"
#include "dataplane/route.h"

struct rest_config {
    int64_t  max_rows;           /* most rows of one read; 0: any number */
    int64_t  pieces_above;       /* more rows than these are sent in pieces */
    uint64_t query_timeout_ms;
    int32_t  fold_names;
};

struct rest_state {
    const ath_catalog *catalog;
    const ath_cache *cache;      /* NULL: answers are not kept */
    const ath_writes *writes;    /* NULL: none are deferred */
};

int rest_init(ath_self *s, const void *config, void **ret_state, ath_err *e);

/* What the two files share, in plugin.c. */
struct dp rest_dp(ath_req *r, ath_err *e);
int  rest_prefer(ath_req *r, struct dp *dp, struct dp_prefer *ret);
void rest_named(ath_req *r, ath_str table); /* notes it */

/* read.c */
ath_handler rest_get;

/* write.c */
ath_handler rest_post, rest_patch, rest_delete;

extern const char openapi_yaml[]; /* openapi.yaml */

#endif
