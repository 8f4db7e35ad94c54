/* core/http/http_priv.h - what the files of http share: connections, exchanges, and who calls whom.
 *
 *     acceptor.c --fd--> conn.c   sockets, limits, the two directions of a connection
 *                        parse.c  bytes -> llhttp -> exchange; what we refuse beyond llhttp
 *                        before.c what plugins do to a request before it is routed
 *                        phase.c  exchange -> phases -> handler; bodies
 *                        reply.c  answer -> head, envelope
 *                        coding.c bodies and answers that are packed
 *                        out.c    answers -> socket, in order
 *                        name.c   names of header fields, targets
 *     call.c   --fetch-> phase.c  requests of our own
 *
 * An exchange is a request with what its connection keeps about it. It stands in conn.queue from
 * the end of its head until its answer was written out, then in conn.leaving until the socket has
 * taken the bytes.
 */
#ifndef CORE_HTTP_HTTP_PRIV_H
#define CORE_HTTP_HTTP_PRIV_H

#include <llhttp.h>
#include <netinet/in.h>

#include "http/http.h"

enum {
    CONN_MAGIC = 0x0c0220a1,
    READ_ROOM = 64 * 1024,       /* bytes of one read; one buffer per loop */
    OUT_ROOM = 64 * 1024,        /* bytes of one write, large bodies aside; one buffer per loop */
    COPY_MOST = 16 * 1024,       /* a larger body is written from where it lies */
    SPARE_MOST = 256,            /* exchanges that a loop keeps for the next requests */
    SPARE_ROOM = 8 * 1024,       /* of their buffers, each */
    GRACE_MS = 500,              /* to a client that has ended its side and waits for its answer */
    LINGER_MS = 1000,            /* for a client to read the last answer, after our side ended */
};

struct http_loop {
    ath_loop *loop;
    struct http *http;
    struct list conns;
    uint32_t open, handles;      /* handles: not closed yet */
    bool draining, closing;
    char *room;                  /* READ_ROOM bytes */
    struct buf out;              /* what the next write takes */
    struct list spare;           /* exchanges not in use */
    uint32_t spares;
    uint64_t now_ns;             /* when what is at work began: of this read, of this flush */
    struct buf common;           /* header lines that all answers share, Date among them */
    uint64_t common_until_ms;
    struct pack_whole *whole;    /* coding.c; NULL: not needed yet */
    uint32_t always;             /* SET_* that every answer has */
};

enum body_mode {
    BODY_HOLD,                   /* nobody has said what to do with it: not read further */
    BODY_KEEP,                   /* collected in req.body */
    BODY_STREAM,                 /* into req.from */
    BODY_DROP,                   /* the answer does not need it */
};

struct span {                    /* a header line inside exchange.head */
    uint32_t name, name_n, value, value_n;
};

/* What the writer must know about: reply headers that were set, what was asked for. */
enum {
    SET_CACHED = 1, SET_CACHE_ID = 2, SET_CACHE_KEY = 4, SET_TRACE_ID = 8, SET_LENGTH = 16,
    SET_CODED = 32,              /* the handler has set Content-Encoding */
    SET_STREAM = 64,             /* the answer's length is not known when its head is written */
    SET_ACCEPTS = 128,           /* the request has Accept-Encoding */
    SET_GZIP = 256,              /* the answer goes out packed */
    SET_VARY = 512,              /* or would, had another client asked */
    SET_TIMED = 1024,            /* the request asks for Server-Timing */
    SET_HEAD = 4096,             /* http.head adds to the head */
    SET_VARY_BY = 2048,          /* `vary` has more names */
};

struct exchange {
    struct req req;              /* first */
    struct list spare;
    /* coming in */
    uint32_t spans, target_at, target_n; /* target_at: in `head` */
    uint32_t trailer_n;
    bool head_done;
    bool safe;                   /* GET, HEAD, OPTIONS: may run beside others of its connection */
    bool started;                /* its phases run */
    bool has_body, chunked, wants_continue;
    uint64_t length;             /* Content-Length */
    enum body_mode mode;
    uint64_t body_most;          /* as it comes, packed or not; 0: any */
    struct unpack *unpack;       /* coding.c; NULL: it comes as it is */
    ath_str origin, asked_method, asked_headers;
    uint8_t trace_flags;
    uint64_t began_ms;
    /* going out */
    int refused;                 /* the parser's own answer: a status without body */
    uint32_t set;                /* SET_* */
    ath_str cache_id, cache_key, vary;
    uint64_t declared;           /* SET_LENGTH: bytes that the stream must bring */
    size_t reply_at;             /* bytes of req.reply that were written */
    uint64_t taken;              /* bytes of the stream that were */
    struct pack *pack;           /* coding.c; NULL: it goes as it is */
    bool head_written, framed;   /* framed: chunked */
    bool broken;                 /* the rest of the answer cannot come */
    uint64_t out_end;            /* conn.out_total when all of it was written */
    /* Not cleared for the next request in this place. */
    struct peer peer;
    char trace_id[33];
    /* Memory that the next request in this place uses again, unless it has grown large. */
    struct buf head;             /* as it came; then cut into texts, each ended by NUL */
    struct buf body;
    struct span *span;
    ath_pair *pair;
    uint32_t span_room, pair_room;
};

struct conn {
    uint32_t magic;
    int fd;                      /* -1: no socket, see conn_open_captured() */
    struct http_loop *hl;
    struct list node;
    uv_poll_t poll;
    int events;                  /* what `poll` waits for */
    llhttp_t parser;
    struct exchange *reading;    /* whose head or body comes in */
    const char *piece;           /* what is parsed right now */
    struct list queue, leaving;  /* struct req.node */
    uint32_t queued;
    struct buf rest;             /* read, but it may not be parsed yet */
    size_t rest_at;
    struct buf held;             /* written, but the socket has not taken it yet */
    size_t held_at;
    struct buf *capture;         /* without a socket: where the output goes */
    uint64_t out_total, out_sent;
    struct deadline limit, write_limit;
    struct deferred flush;
    uint64_t idle_ms, read_ms, write_ms; /* since when idle; when a byte last came, last went */
    uint64_t until_ms;           /* of `lingering`, `eof` and `hup` */
    int refuse;                  /* status that a parser callback asks for */
    bool eof;                    /* the client has ended its side, and all it sent was read */
    bool hup;                    /* it has ended its side while nothing was read */
    bool deaf;                   /* nothing more is parsed: what comes is dropped */
    bool last;                   /* the answer that is written is the last one */
    bool said;                   /* and all of it was written */
    bool blocked;                /* the socket takes no more for now */
    bool dead;                   /* it cannot be written to; conn_flush() ends the connection */
    bool lingering, closed, event_head, event_end;
    uint32_t head_n;             /* bytes of the head so far */
    struct peer peer;
};

static inline struct exchange *exchange_of(struct req *r)
{
    return (struct exchange *)r;
}

static inline struct exchange *exchange_at(struct list *node)
{
    return (struct exchange *)list_entry(node, struct req, node);
}

static inline bool is_preflight(const struct exchange *x)
{
    return x->asked_method.n && str_is(x->req.method, "OPTIONS");
}

static inline const struct http_limits *conn_limits(const struct conn *c)
{
    return &c->hl->http->limits;
}

/* conn.c */
struct exchange *exchange_new(struct conn *c);
void exchange_free(struct exchange *x);                   /* by its task: into the spare ones */
void exchange_done(struct exchange *x, enum req_ending ending); /* unlinks, accounts, lets go */
void conn_accept(struct http_loop *hl, int fd, const struct peer *peer);
struct conn *conn_open_captured(struct http_loop *hl, struct buf *capture);
void conn_close_captured(struct conn *c);
void conn_feed(struct conn *c, const char *p, size_t n);  /* bytes that were read */
void conn_eof(struct conn *c);
void conn_lost(struct conn *c, enum req_ending ending);   /* ends it and what it waits for, now */
void conn_update(struct conn *c);                         /* what to wait for, and how long */
void conn_linger(struct conn *c);                         /* all was said */

/* parse.c */
extern const llhttp_settings_t parse_settings;
size_t parse_bytes(struct conn *c, const char *p, size_t n); /* how many were used */
bool parse_may(const struct conn *c);
void parse_refuse(struct conn *c, int status);
bool parse_traceparent(ath_str text, struct exchange *x);

/* name.c */
void name_lower(char *p, size_t n);                       /* ASCII */
bool name_is_good(ath_str s);                             /* visible ASCII, no capital, no colon */
bool target_is_good(ath_str s, const char *but);          /* printable, none of `but` */

/* phase.c */
void exchange_enter(struct exchange *x);                  /* its head is complete and sound */
void request_ids(struct exchange *x);
void request_from(struct exchange *x, const struct peer *peer);
void request_run(struct req *r);                          /* its phases, from where it is */
void conn_start_some(struct conn *c);                     /* those whose turn it is */
void body_bytes(struct exchange *x, ath_str bytes);
void body_end(struct exchange *x);
void body_broken(struct exchange *x, int rc, const ath_err *e);
bool body_waits(const struct exchange *x);                /* BODY_STREAM: no more of it may come now */
void body_add(struct exchange *x, ath_str bytes);         /* unpacked */
void body_done(struct exchange *x);
void body_over(struct exchange *x, uint64_t most);

/* call.c: what a connection does for its requests */
void call_answered(struct req *r);
void call_wants_body(struct req *r);                      /* a phase has said what becomes of it */
bool call_take_body(struct req *r);                       /* as it lies; false: it comes in pieces */
void call_report(ath_task *t);
void call_free(struct req *r);

/* req.c */
void args_decode(ath_arena *a, ath_str text, ath_pair **ret, uint32_t *ret_n);

/* reply.c */
bool reply_origin(const struct exchange *x);              /* may its origin see the answer? */
void reply_common(struct http_loop *hl);
void reply_head(struct buf *b, struct exchange *x, bool keep);
void reply_refused(struct buf *b, struct exchange *x);
void reply_error(struct req *r, const ath_err *e);

/* out.c */
void conn_flush(void *conn);                              /* deferred; when it can be written to */
void conn_answered(struct conn *c);                       /* an answer, or more of one, is there */

#endif
