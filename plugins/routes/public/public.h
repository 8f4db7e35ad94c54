/* plugins/routes/public/public.h - the names under which tenants reach the routes.
 *
 *     before.c   each request, before it is routed: tenant hosts, service prefixes, aliases
 *     host.c     host names of tenants; who may forward one
 *     service.c  /db/fetch and the like: service, path behind it, path of a route
 *     route.c    POST /public/{route_key}/{op}
 *     proxy.c    what is served elsewhere: /routed/...
 *     table.c    the rows of public_gateway_routes and public_service_routes, in memory
 *     refresh.c  reads them again every two seconds, and at NOTIFY athena_routes
 *
 * Requests never wait for the rows: each loop has the latest ones, and they are replaced as a
 * whole.
 */
#ifndef ROUTES_PUBLIC_H
#define ROUTES_PUBLIC_H

#include <athena/plugin.h>

#include <stdatomic.h>

#include "lib/buf.h"
#include "lib/network.h"

enum op { OP_QUERY = 1, OP_FETCH, OP_INSERT, OP_UPDATE, OP_DELETE };
enum service {
    SERVICE_NONE,
    SERVICE_DB,
    SERVICE_AUTH,
    SERVICE_STORAGE,
    SERVICE_REALTIME,
    SERVICES
};

struct public_config {
    ath_str trusted_proxies, precedence, host_pattern;
    ath_str target[SERVICES]; /* of services that no row mentions; empty: the built-in path */
    ath_str trusted_targets;  /* addresses that get credentials */
    int32_t host_routing;
    uint64_t refresh_ms, first_byte_ms, target_ms;
};

/* ---- table.c ---- */

struct route_row {
    ath_str key, client; /* key: lower case */
    ath_str target_url;  /* empty: none */
    uint32_t ops;        /* 1 << OP_* */
    bool active, ops_on_host, trusted; /* trusted: the target gets credentials */
};

struct service_row {
    ath_str key, service; /* lower case */
    ath_str prefix;       /* of a local path; p NULL: it is served elsewhere */
    ath_str target_url;   /* there */
    bool active, trusted;
};

struct table { /* immutable once it is published */
    atomic_uint refs;
    bool routes_there, services_there; /* false: no such table */
    struct route_row *route;           /* sorted by key */
    struct service_row *service;       /* sorted by key, then service */
    uint32_t route_count, service_count;
    struct buf text; /* all cells, each ended by NUL */
};

enum { ROWS_MOST = 100000 }; /* of either table */

/* `rows` as the statements in refresh.c give them; NULL: no such table. NULL is returned and `e`
 * has the words when they are too many. The same rows make the same text. */
struct table *table_new(const ath_rows *routes, const ath_rows *services, ath_err *e);
void table_unref(struct table *t); /* NULL: nothing */
const struct route_row *table_route(const struct table *t, ath_str key);
const struct service_row *table_service(const struct table *t, ath_str key, enum service service);

enum op op_of(ath_str word); /* in any case; 0: none */
const char *op_word(enum op op);

/* ---- host.c ---- */

enum { NETWORKS_MOST = 64, LABEL_MOST = 63 };

struct hosts {
    char suffix[256]; /* ".v3.athena-cluster.com", lower case */
    size_t suffix_n;  /* 0: host names mean nothing */
    size_t version_n; /* of "v3", its first label; 0: that is no version */
    struct network trusted[NETWORKS_MOST];
    uint32_t trusted_count;
};

struct tenant {
    ath_str key; /* the label, lower case */
    enum service service;
};

ath_str lowered(ath_str s, ath_arena *a); /* ASCII */
int hosts_fill(struct hosts *h, const struct public_config *cfg, ath_err *e);
bool hosts_trust(const struct hosts *h, ath_str peer);
bool host_parse(const struct hosts *h, ath_str host, ath_arena *a, struct tenant *ret);
/* The tenant whose host name was asked for; forwarded names count from trusted proxies alone. */
bool host_find(const struct hosts *h, ath_req *r, struct tenant *ret);

/* ---- service.c ---- */

/* SERVICE_NONE, or the service of the first segment; *ret_tail is what follows its slash. */
enum service service_of_path(ath_str path, ath_str *ret_tail);
enum service service_of_word(ath_str word);
const char *service_word(enum service s);
/* The path of a route; `prefix` empty: the built-in one. Empty: the service has none. */
ath_str service_path(enum service s, ath_str prefix, ath_str tail, ath_arena *a);
bool service_prefix_is_good(ath_str prefix);

/* ---- the plugin's state ---- */

struct public_local { /* of one loop */
    struct public_local *next;
    ath_loop *loop;
    struct table *table; /* NULL: not read yet */
};

struct public_state {
    const struct public_config *cfg;
    struct hosts hosts;
    _Atomic(struct public_local *) locals;
    atomic_uint_fast64_t read_ms; /* when the rows were last read, by the loops' clock; 0: never */
    /* Of refresh.c: the tasks that read them, their loop, and what was read last. */
    _Atomic(ath_loop *) ticker_loop;
    ath_task *ticker;
    struct table *last;
    uint32_t failures; /* since it last could */
    bool said;         /* that it cannot */
    atomic_bool stopping;
};

/* What is known of the rows right now. */
enum registry {
    REGISTRY_READY,
    REGISTRY_ABSENT,
    REGISTRY_DOWN
};                         /* ABSENT: there is no such table */
enum { STALE_MS = 30000 }; /* older rows than that decide nothing any more */
enum registry public_registry(ath_req *r, const struct table **ret);

int refresh_start(void *state, ath_err *e);
void refresh_stop(void *state);

ath_handler public_before, public_run;
ath_handler routed_fetch, routed_service; /* proxy.c */
/* Reads of a row that has a target; op: "fetch" or "data". */
int public_fetch_elsewhere(ath_req *r, const struct route_row *row, ath_str op, ath_err *e);
ATH_PRINTF(2, 3) void public_say(int level, const char *fmt, ...);

/* A fact for the log of routes; an empty one is none. */
void public_note(ath_req *r, const char *key, ath_str value);

extern const char *const direct_uri_headers[3];
extern const char openapi_yaml[]; /* openapi.yaml */

#endif
