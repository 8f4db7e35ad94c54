/* athena/route.h - HTTP routes that a plugin brings. */
#ifndef ATHENA_ROUTE_H
#define ATHENA_ROUTE_H

#include <athena/http.h>

/* clang-format off */

/* Who may call. Checked before the body is read; 0 is refused at load. */
enum {
    ATH_AUTH_NONE = 1,           /* anybody */
    ATH_AUTH_ADMIN,              /* the admin key */
    ATH_AUTH_GATEWAY,            /* a key with `right`, where enforced; the admin key too */
    ATH_AUTH_EITHER,             /* the admin key, or a key with `right` */
    ATH_AUTH_MANAGEMENT,         /* a key with a management right, or the admin key */
    ATH_AUTH_OWN                 /* the handler checks a secret itself */
};

enum {
    ATH_RT_CLIENT = 1,           /* needs the client's database: 400 or 503 without the handler */
    ATH_RT_ASKS   = 2,           /* the handler asks for rights; no query before that */
    ATH_RT_BODY   = 4,           /* starts before its body: read that with ath_req_api.from */
    ATH_RT_LONG   = 8,           /* no deadline; drain ends it */
    ATH_RT_DIRECT = 16,          /* with ATH_RT_CLIENT: a header may name the database by a
                                  * connection URI, where the server allows that */
    ATH_RT_COMMON = 32,          /* shows nothing of any client: a key that is bound to one need not
                                  * name it */
    ATH_RT_INNER  = 64,          /* reached by the path that a hook (ath_routes.before) gave a request
                                  * and by ath_req_api.call, never by a caller's own; in no list */
    ATH_RT_AWAY   = 128          /* with ATH_RT_CLIENT: also while its database does not answer, which a
                                  * query then says */
};

/* An entry of ath_routes.route. Texts live as long as the plugin. */
typedef struct {
    const char  *method;         /* "POST"; "GET" answers HEAD too */
    const char  *path;           /* "/gateway/fetch", "/rpc/{function}", "/files/{rest...}",
                                  * "/files/{rest...}/info": literal segments win over {name}, {name}
                                  * over {name...} */
    ath_handler *handle;
    const char  *right;          /* "gateway.query", "{table}.read"; NULL: any key. With ATH_AUTH_NONE:
                                  * who has it may be shown more, see ath_req_api.who */
    const char  *operation;      /* "fetch": one operation event per request; NULL: none */
    const char  *limit;          /* rate group: "raw_sql"; NULL: none */
    const char  *down;           /* needs the control plane: message of its 503; NULL: does not */
    const char  *summary;        /* one line; feeds GET / and the OpenAPI document */
    uint64_t     max_body;       /* bytes; 0: the server's default */
    uint32_t     auth, flags;    /* ATH_AUTH_* (0 is refused at load), ATH_RT_* */
    /* Instead of `handle`, when the key store cannot be asked and gateway.api_key_fail_mode says that
     * such requests are kept until it can: puts it into a queue, without asking whether the client is
     * there, and never runs it. The header x-athena-unchecked then is the reason, x-athena-key what
     * was presented, not checked. NULL: it is refused. */
    ath_handler *defer;
} ath_route;

/* cap.name: the group, unique in the plugin. Refused at load: an auth class that is missing or
 * unknown, a method and path that exist already, a gate that is no BOOL key. */
typedef struct {
    ath_cap          cap;
    const char      *gate;       /* BOOL key of this plugin; false: all are 404. NULL: open */
    const char      *openapi;    /* YAML: bodies and schemas of these routes; NULL: none */
    const ath_route *route;
    uint32_t         route_size, route_count;
    /* Sees each request before routing and returns 0 to go on; from memory alone: it may not wait.
     * It may rewrite path and client, or reply. NULL: none. */
    ath_handler     *before;
} ath_routes;

/* clang-format on */
#endif
