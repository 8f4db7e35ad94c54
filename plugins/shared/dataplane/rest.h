/* plugins/shared/dataplane/rest.h - the words of the REST shim: query strings, Prefer, Range,
 * Content-Range (contract 25).
 *
 *     id=gte.5&name.like=a*&or=(kind.eq.1,kind.is.null)&select=id,name&order=id.desc&limit=20
 */
#ifndef PLUGINS_SHARED_DATAPLANE_REST_H
#define PLUGINS_SHARED_DATAPLANE_REST_H

#include "dataplane/dataplane.h"

enum dp_resolution { DP_RESOLVE_NONE, DP_RESOLVE_MERGE, DP_RESOLVE_IGNORE };

struct dp_prefer {
    enum dp_count count;
    enum dp_resolution resolution;
    bool minimal;                /* return=minimal or headers-only */
    bool nulls;                  /* missing=null */
    struct buf applied;          /* what Preference-Applied says */
};

/* Adds what one Prefer header says. Preferences that nobody knows are ignored, as HTTP wants it; a
 * value of a known one that nobody knows is refused. */
int dp_read_prefer(struct dp *dp, ath_str header, struct dp_prefer *to);

/* Range: items=0-9, or 0-9, or 5-. Returns 1: there was one; it takes the place of both. Ranges of
 * other units are none. */
int dp_read_range(struct dp *dp, ath_str header, int64_t *limit, int64_t *offset);

enum {                           /* what a query string may hold; `select` always */
    DP_REST_ROWS = 1,            /* filters, order, limit, offset */
    DP_REST_TARGET = 2           /* on_conflict */
};

/* Fills the node; *ret_target: on_conflict, empty when it is not given. */
int dp_read_rest_query(struct dp *dp, const ath_pair *pair, uint32_t n, unsigned takes,
                       struct dp_node *node, ath_str *ret_target);

/* "items 0-9/57"; total < 0: unknown. */
void dp_content_range(struct buf *b, int64_t offset, uint64_t rows, int64_t total);

#endif
