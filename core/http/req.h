/* core/http/req.h - one request, from its first byte to its account.
 *
 * A request is a task (its first member), so an ath_req * of the ABI is a struct req *. It is driven
 * through a table of phases (phase.h) that the server fills; http itself knows neither keys nor
 * databases.
 */
#ifndef CORE_HTTP_REQ_H
#define CORE_HTTP_REQ_H

#include "base/rand.h"
#include "http/router.h"
#include "io/stream.h"
#include "lib/buf.h"
#include "lib/network.h"

struct auth;
struct conn;
struct call;

/* How a request ended, for the one event. */
enum req_ending {
    REQ_ANSWERED = 1,            /* the whole answer was handed to the socket */
    REQ_FAILED,                  /* answered with an error */
    REQ_CLIENT_LEFT,             /* the peer closed before the answer */
    REQ_TIMED_OUT,               /* its deadline passed */
    REQ_CUT,                     /* the answer was cut: slow reader, broken stream, drain */
};

/* When each part began (loop time in ns, 0: never): differences are the event's times per phase.
 * Between MARK_HANDLER and MARK_REPLY there are the task's db_sent_ns and db_done_ns. */
enum req_mark { MARK_FIRST_BYTE, MARK_HEAD, MARK_BODY, MARK_HANDLER, MARK_REPLY, MARK_END, MARKS };

/* Who is at the other end of a connection. */
struct peer {
    uint8_t address[16];         /* IPv4 stands mapped into IPv6 */
    bool known;                  /* false: a Unix socket; the rest is empty */
    uint8_t n;                   /* bytes of `text` */
    char text[ADDRESS_ROOM];     /* without port */
};

/* One of 64 for each name of a header, by its length and its last letter: those that are asked for
 * and those that nearly every request has differ in it. */
static inline uint64_t name_bit(ath_str name)
{
    return (uint64_t)1 << ((9 * name.n + (name.n ? (unsigned char)name.p[name.n - 1] : 0)) & 63);
}

struct req {
    ath_task task;               /* first */
    struct conn *conn;           /* NULL: it came by `call`, or the client has left */
    struct call *call;           /* it came by `call` (call.h); NULL: from a client */
    struct list node;            /* among the connection's, in order */
    const struct http *http;
    /* what came; lives as long as the request, each text ended by NUL */
    ath_str method, target, path, query, body;
    ath_pair *header;            /* names in lower case */
    uint32_t header_count;
    uint64_t header_bits;        /* name_bit() of each: most that are asked for are not there */
    uint8_t  minor;              /* HTTP/1.minor */
    bool     keep_alive, head;   /* head: HEAD, no body goes out */
    bool     body_complete;
    uint64_t body_bytes;
    ath_stream *from;            /* ATH_RT_BODY */
    ath_pair *args;              /* of the query string, decoded; see req_args() */
    uint32_t args_count;
    ath_str  peer;               /* the peer's address, without port */
    const uint8_t *peer_address; /* the same as 16 bytes; NULL: a Unix socket */
    /* what it means */
    uint32_t phase;              /* the next one */
    bool     waits;              /* a phase said PHASE_WAIT */
    ath_str  given_id;           /* a valid inbound x-request-id */
    ath_str  trace_id, parent_id; /* of a valid traceparent, else made here */
    ath_str  client_name;        /* trimmed, case kept; empty: none */
    ath_str  direct_uri;         /* instead: the database's own URI; a secret. client_name is then
                                  * what stands for it */
    ath_who  who;
    struct auth *auth;           /* what the key check found; the layer above knows. NULL: nothing */
    ath_str  address;            /* the caller's, by what trusted proxies say (auth/ip.h); p NULL:
                                  * nobody asked yet */
    const uint8_t *address_bytes; /* the same as 16 bytes; NULL: not known */
    bool     asked;              /* allow() was called */
    bool     looked;             /* the catalogue of clients was asked for its name */
    bool     before;             /* the hooks run right now: it may be rewritten */
    bool     led;                /* a hook chose the path: inner routes are open to it */
    bool     rewritten;          /* path and query are not those of `target` any more */
    ath_err *refusal;            /* for who passes the key check; NULL: none */
    /* the answer */
    int      status;
    ath_str  type;
    ath_str  reply;              /* body bytes, in the arena or kept by it */
    ath_stream *sending;         /* or a pulled stream */
    struct buf extra;            /* header lines set so far */
    bool     answered;           /* reply() or send() was called, or the error envelope written */
    bool     sent;
    uint64_t sent_bytes;
    /* the account */
    struct metric_flight *flight; /* log/metric.h; NULL: not counted */
    uint64_t mark[MARKS];
    enum req_ending ending;
    ath_fact *fact;
    uint32_t fact_count, fact_room;
    /* what is filled before it is read: not cleared for the next request in this place */
    ath_err  err;                /* of what failed */
    struct route_match match;    /* route: NULL until it is found */
    char     id[UUID_TEXT];
    char     span_id[17];
};

extern const struct task_type request_type;

/* Is `t` a request, or below one? */
static inline bool req_is(ath_task *t)
{
    return task_root(t)->type == &request_type;
}

static inline struct req *req_of(ath_task *t)
{
    return (struct req *)task_root(t);
}

/* The ABI's request calls (ath_req_api); any task below a request may be given. */
ath_str req_info(ath_req *r, const char *what);
ath_str req_param(ath_req *r, const char *name);
ath_str req_header(ath_req *r, const char *name);        /* lower-case name; empty: absent */
uint32_t req_pairs(ath_req *r, const char *where, const ath_pair **ret); /* "query", "header", "form" */
ath_str req_body(ath_req *r);
ath_stream *req_from(ath_req *r);
void req_who(ath_req *r, ath_who *ret);
void req_note(ath_req *r, const ath_fact *f);
void req_set(ath_req *r, const char *name, ath_str value);
int req_reply(ath_req *r, int status, const char *type, ath_str body);
int req_send(ath_req *r, int status, const char *type, ath_stream *body);

/* In a hook before routing alone: "path", "query", "client", "without" (a header). */
void req_rewrite(ath_req *r, const char *what, ath_str value);
void req_refuse(ath_req *r, const ath_err *e);

/* The path as the client sent it. */
ath_str req_sent_path(const struct req *r);       /* of one that was rewritten */
static inline ath_str req_asked_path(const struct req *r)
{
    return likely(!r->rewritten) ? r->path : req_sent_path(r);
}

/* req_header() for a name of known length; most that are asked for are not there. */
ath_str req_find_among(const struct req *r, ath_str name);
static inline ath_str req_find(const struct req *r, ath_str name)
{
    return unlikely(r->header_bits & name_bit(name)) ? req_find_among(r, name)
                                                     : (ath_str){ "", 0 };
}

/* A fact by its key; empty value: none. */
const ath_fact *req_fact(const struct req *r, const char *key);

#endif
