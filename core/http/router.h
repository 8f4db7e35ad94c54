/* core/http/router.h - method and path to route.
 *
 * Matching is exact and case-sensitive (contract routes.md 2): {name} takes one segment, {name...}
 * the rest with its slashes, or up to a last literal segment that follows it ({name...}/file), and may
 * be empty then. Literal segments win over {name}, {name} over {name...}. Inner routes
 * (ATH_RT_INNER) lie apart: no path that a caller sends leads to one. Filled before the loops serve,
 * read-only afterwards.
 */
#ifndef CORE_HTTP_ROUTER_H
#define CORE_HTTP_ROUTER_H

#include <stdbool.h>

#include "base/err.h"

enum { ROUTE_PARAMS = 8 };       /* most {name} in one path */

struct route {
    ath_route  def;              /* what the plugin wrote; copied size-aware */
    ath_self  *self;             /* whose it is */
    const char *plugin;          /* "routes-gateway" */
    const char *group;           /* metrics' route_group of the path */
    const char *label;           /* "POST /gateway/fetch" */
    const char *openapi;         /* the capability's fragment; NULL: none */
    const void *gate;            /* points at the BOOL config value; NULL: always open */
    uint32_t   id;               /* 0 .. count - 1 */
};

/* A closed gate is like no route. */
static inline bool route_is_open(const struct route *r)
{
    return !r->gate || *(const int32_t *)r->gate;
}

/* One that callers may know of: what is inner is in no list. */
static inline bool route_is_listed(const struct route *r)
{
    return route_is_open(r) && !(r->def.flags & ATH_RT_INNER);
}

struct route_match {
    const struct route *route;   /* NULL: see `allow` */
    ath_str param[ROUTE_PARAMS]; /* of each {name}, in order, percent-decoded into the arena */
    char allow[64];              /* path known, method not: "GET, HEAD"; else empty */
};

struct router;

struct router *router_new(void);
void router_free(struct router *r);

/* Copies `route`. The same method and path twice: ATH_E_CONFIG, naming both plugins. */
int router_add(struct router *r, const struct route *route, ath_err *e);

/* `path` is raw, without the query. HEAD finds GET. A closed gate is like no route. */
void router_find(const struct router *r, ath_str method, ath_str path, ath_arena *arena,
                 struct route_match *ret);
/* The same of a path that a hook or a call of ours gave: inner routes come first. */
void router_find_led(const struct router *r, ath_str method, ath_str path, ath_arena *arena,
                     struct route_match *ret);
size_t router_count(const struct router *r);
const struct route *router_at(const struct router *r, size_t i);

/* route_group(path) of contract observability.md 2.4. */
const char *route_group(ath_str path);

#endif
