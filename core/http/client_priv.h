/* core/http/client_priv.h - private to client*.c: what a request is (client.c), what libcurl calls
 * (client_talk.c), what drives it on a loop (client_loop.c), a command's calls (client_remote.c). */
#ifndef CORE_HTTP_CLIENT_PRIV_H
#define CORE_HTTP_CLIENT_PRIV_H

#include <curl/curl.h>

#include "base/err.h"
#include "http/client.h"
#include "io/resolve.h"
#include "lib/buf.h"

/* A flag of our own beside ATH_HTTP_*: d->bytes lives as long as the task. */
#define CLIENT_KEEP (1u << 31)

/* A request under way, as its loop knows it. */
struct transfer {
    struct list node;            /* among the loop's, from client_loop_join() on */
    struct client_loop *on;
    CURL *easy;                  /* NULL: none was made yet */
    bool guarded;                /* only to public addresses: connections of its own */
    bool running;                /* libcurl has it */
};

/* Of client.c, called outside of libcurl's own callbacks. */
void transfer_ended(struct transfer *x, CURLcode code);
void transfer_cut(struct transfer *x); /* the loop goes */

void client_loop_join(ath_loop *l, struct transfer *x);
void client_loop_leave(struct transfer *x);
int client_loop_run(struct transfer *x, ath_err *e); /* gives it to libcurl */
void client_loop_pause(struct transfer *x);          /* takes it back */

/* Where a URL leads. */
struct origin {
    char *scheme, *host, *port;
    bool literal; /* its host is an address */
};

enum { FETCH_SKIPPED = 1 << 20 }; /* most of a redirect's body that is read */

struct fetch {
    struct transfer x; /* first */
    uint32_t refs;     /* one until it is over, one until the operation was delivered */
    uint32_t flags, redirects;
    ath_loop *loop;
    struct op *op; /* NULL: the caller has been told */
    struct deadline deadline, stall;
    uint64_t limit_ms, max_body;
    uint64_t stall_ms, moved_ms; /* 0: it may stand still; when the last byte moved */
    struct resolve ask;
    bool asking, over;

    char *method, *url;
    struct origin origin;
    struct buf given; /* header lines, each ended by a NUL */
    struct curl_slist *lines, *addresses;
    bool has_body, chunked;
    ath_str body;     /* when it is no stream */
    char *kept;       /* what was left of it when the caller was told */
    ath_stream *from; /* NULL: none, or done with */
    uint64_t length, sent;
    bool starved, choked; /* libcurl waits for a body's bytes; for room in the answer's stream */

    long status;
    bool head_done, redirecting, head_only, refused;
    struct buf head;  /* "name\nvalue\n" */
    ath_pair *pair;
    struct buf whole;
    uint64_t skipped; /* of a redirect's body */
    ath_stream *to;   /* NULL: not yet, or done with */
    int rc;           /* why a callback stopped it */
    ath_err *err;
};

extern struct client_options client_settings; /* of the process */

#define ORIGIN "%s://%.255s:%s"
#define ORIGIN_ARGS(f) (f)->origin.scheme, (f)->origin.host, (f)->origin.port

/* client.c */
void fetch_tell(struct fetch *f, int rc, const ath_err *e); /* the caller; once */
void fetch_over(struct fetch *f, int rc, const ath_err *e); /* nothing more comes of it */
bool client_owns(ath_str name);  /* a header that only the connection's owner may set */

/* client_talk.c */
int fetch_set_up(struct fetch *f, const struct addresses *a, ath_err *e);
void fetch_from_moved(ath_stream *s, void *impl); /* the body's stream has something */

#endif
