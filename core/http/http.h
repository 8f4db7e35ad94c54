/* core/http/http.h - the HTTP/1.1 server: phases, limits, connections.
 *
 * The server fills one struct http and hands sockets to the loops' conn_accept(). Phases run in
 * order; each returns PHASE_NEXT, PHASE_WAIT (it calls req_resume() later), PHASE_DONE (the request
 * is answered) or a negative code. Only here does an ath_err become a status, an envelope and
 * the header fields that go with it.
 */
#ifndef CORE_HTTP_HTTP_H
#define CORE_HTTP_HTTP_H

#include "http/req.h"

#define HTTP_DOCS_URL "https://docs.athena-cluster.com" /* of the published error pages */

enum { PHASE_NEXT = 0, PHASE_WAIT = 1, PHASE_DONE = 2 };

struct phase {
    const char *name;            /* "before", "route", "cors", "auth", "body", "ready", "handler" */
    int (*run)(struct req *r, ath_err *e);
};

struct http_limits {             /* times in ms, sizes in bytes; 0: none */
    uint64_t head_bytes, head_fields, target_bytes, body_bytes;
    uint64_t head_ms;            /* from the first byte of a request to the end of its head: 408 */
    uint64_t body_ms;            /* without a byte of an expected body: 408 */
    uint64_t idle_ms;            /* between requests: closed */
    uint64_t write_ms;           /* without progress of a reader: cut */
    uint64_t request_ms;         /* deadline of a request whose route has no other */
    uint64_t connections;        /* per loop */
    uint64_t pipeline;           /* requests of one connection that may wait behind the first */
    uint64_t buffered;           /* reply bytes of one connection that wait in memory before streams stop */
    uint64_t pack_min;           /* shorter answers are not packed */
    int pack_level;              /* 1 to 9; 0: no answer is */
};

/* Which pages of other origins may use the answers. */
struct http_cors {
    bool enforce;                /* false: any origin, and `origins` is not looked at */
    ath_str origins;             /* "https://a.example, https://b.example"; lives as long as the server */
    uint64_t max_age_s;          /* how long a preflight's answer holds; 0: not said */
};

/* Who is told by Server-Timing how long its request took, on routes that have a client. */
enum http_timing { TIMING_ASKED, TIMING_ALWAYS, TIMING_NEVER };

/* What a plugin does to a request before it is routed (ath_routes.before). */
struct http_hook {
    ath_handler *run;
    ath_self *self;
    const int32_t *open;         /* its group's gate; NULL: always open */
};

struct http {
    struct router *router;
    const struct http_hook *hook;
    uint32_t hook_count;
    const struct phase *phase;
    uint32_t phase_count;
    struct http_limits limits;
    struct http_cors cors;
    bool strict_methods;
    bool routed_later;           /* a path that is no route goes on, up to phase_routed */
    enum http_timing timing;
    /* Rights, on behalf of allow(); NULL: everything is allowed. */
    int (*allow)(struct req *r, const ath_right *right, uint32_t n, ath_err *e);
    /* Adds header lines to an answer while its head is written; NULL: there are none. */
    void (*head)(struct req *r, struct buf *b);
    /* Called once per request, after its answer is with the socket or its client has left. */
    void (*account)(struct req *r);
    atomic_uint in_flight, open;
    atomic_ullong cut;           /* answers that did not go out whole */
    atomic_bool draining;
};

/* The phases that are http's own; the server lists them among its own. */
int phase_before(struct req *r, ath_err *e);  /* the hooks */
int phase_route(struct req *r, ath_err *e);   /* 404, 405 */
int phase_routed(struct req *r, ath_err *e);  /* 404, 405 of what went on */
int phase_cors(struct req *r, ath_err *e);    /* answers a preflight */
int phase_body(struct req *r, ath_err *e);    /* waits until it is there: 413, 400 */
int phase_handler(struct req *r, ath_err *e); /* plugin code */

/* Goes on with a request whose phase said PHASE_WAIT; rc < 0: `e` has the words. */
void req_resume(struct req *r, int rc, const ath_err *e);

int http_loop_init(ath_loop *l, struct http *h, ath_err *e);
void http_loop_fini(ath_loop *l);
void http_loop_drain(ath_loop *l);            /* idle connections close, others after their answer */
void http_loop_cut(ath_loop *l);              /* what is left is ended now */

/* The listening sockets; runs on the control loop and hands accepted ones to `loops` in turn. */
struct acceptor;
struct acceptor_options {
    const char *host;            /* "0.0.0.0" */
    uint16_t port;               /* 0: a free one */
    const char *unix_path;       /* NULL: none */
    uint32_t backlog;
    bool inherited;              /* take LISTEN_FDS of systemd instead */
};
int acceptor_start(ath_loop *control, ath_loop *const *loops, uint32_t n,
                   const struct acceptor_options *o, struct acceptor **ret, ath_err *e);
uint16_t acceptor_port(const struct acceptor *a);
void acceptor_stop(struct acceptor *a);

#endif
