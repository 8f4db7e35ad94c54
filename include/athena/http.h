/* athena/http.h - requests to us, and requests of ours to others. */
#ifndef ATHENA_HTTP_H
#define ATHENA_HTTP_H

#include <athena/log.h>
#include <athena/task.h>

/* clang-format off */

/* The code of a route. Returns 0 (answered, or waiting for an operation) or a negative code, which
 * becomes the error reply. On an HTTP loop: it may not block. */
typedef int  ath_handler(ath_req *r, ath_err *e);

enum {
    ATH_HTTP_STREAM = 1,         /* the answer's body as d->stream; else whole, as d->bytes */
    ATH_HTTP_PUBLIC = 2,         /* refuse private and link-local addresses */
    ATH_HTTP_FOLLOW = 4,         /* follow redirects, each checked again */
    ATH_HTTP_SELF   = 8          /* of call, by a task that is below no request: with the rights of the
                                  * administrators' key */
};

typedef struct {                 /* a request to somebody (fetch) or to our own routes (call) */
    uint32_t size, flags;        /* ATH_HTTP_* */
    const char *method;          /* "GET" */
    ath_str  url;                /* of call: path and query */
    ath_str  body;
    ath_stream *from;            /* the body as a stream, instead */
    uint64_t from_length;        /* its bytes; 0: unknown, sent in chunks */
    uint64_t max_body;           /* limit of an answer that is no stream, in bytes; 0: 1 MiB */
    const ath_pair *header;
    uint32_t header_count;
    uint32_t timeout_ms;         /* 0: what is left of the task's deadline */
    ath_str  as;                 /* of call: with the rights of this key (its public id); see there */
    uint32_t stall_ms;           /* of fetch: ATH_E_TIMEOUT when for so long no byte moves either way,
                                  * though neither the body's stream nor the answer's is what it waits
                                  * for; 0: never */
    uint32_t pad;
} ath_fetch;

enum {                           /* what is known about the caller */
    ATH_WHO_ADMIN     = 1,       /* the static admin key */
    ATH_WHO_KEY       = 2,       /* a key of the key store */
    ATH_WHO_ENFORCED  = 4,       /* keys are enforced for this client */
    ATH_WHO_UNCHECKED = 8        /* the key store could not be asked, and the policy is open */
};
typedef struct {                 /* borrowed from the request */
    uint32_t size, flags;        /* ATH_WHO_* */
    ath_str  key_id, public_id;  /* of the key; empty: none */
    ath_str  client;             /* that the key is bound to; empty: any */
} ath_who;

/* All of it may be used by the request and by the tasks that it forked on its loop. Texts are
 * borrowed and live as long as the request. */
typedef struct {
    uint32_t size, pad;
    /* "method", "target" (as sent), "path" (of it, not decoded), "query" (of it), "route"
     * ("/rpc/{function}"), "label" ("POST /rpc/{function}"), "client" (trimmed; empty: none), "id"
     * (a UUID of ours), "given_id" (the caller's x-request-id), "trace_id", "span_id", "parent_id",
     * "peer" (address without port), "host", "version" ("1.1"). Unknown or absent: empty. */
    ath_str     (*info)(ath_req *r, const char *what);
    ath_str     (*param)(ath_req *r, const char *name);     /* {function}, else ?limit=; decoded */
    ath_str     (*header)(ath_req *r, const char *name);    /* name in lower case; empty: absent */
    /* All of "query", "header" or "form" (a url-encoded body), in order; returns how many. */
    uint32_t    (*pairs)(ath_req *r, const char *where, const ath_pair **ret);
    ath_str     (*body)(ath_req *r);     /* whole, decompressed; empty with ATH_RT_BODY */
    ath_stream *(*from)(ath_req *r);     /* with ATH_RT_BODY: the body as it comes */
    void        (*who)(ath_req *r, ath_who *ret);           /* ret->size set by the caller */
    /* May the caller do all of these? With ATH_RT_ASKS no query runs before it was called with
     * every relation that the query touches. ATH_E_DENIED: the words are in `e`, return it. */
    int  (*allow)(ath_req *r, const ath_right *right, uint32_t n, ath_err *e);
    /* Adds a fact ("table_name", "row_count") to the request's one event, which trace, metrics and
     * log rows come from; the same key again replaces. Copied. */
    void (*note)(ath_req *r, const ath_fact *f);
    /* A header of the reply, copied; the same name again adds another. Those set so far go out with
     * errors too. Bytes that a header may not hold are dropped. */
    void (*set)(ath_req *r, const char *name, ath_str value);
    /* In ath_routes.before only: what is "path", "query" or "client"; or "without", and value is the
     * name of a header that is as if it had not come. "target" stays as it was sent. */
    void (*rewrite)(ath_req *r, const char *what, ath_str value);
    /* Ends the request. The bytes of the body must live as long as the request (its arena, kept
     * rows, static text). type NULL: no Content-Type. A second answer is ATH_E_BUG. */
    int  (*reply)(ath_req *r, int status, const char *type, ath_str body);
    int  (*send)(ath_req *r, int status, const char *type, ath_stream *body);
    /* Runs one of our routes through all phases but `before`, with the caller's identity or with
     * f->as: d->status, d->header, d->bytes or d->stream. Of a request's headers those go along that
     * say who asks (keys, client, addresses, ids, host), unless f->header has them; all others must
     * be given. d->bytes lives as long as `t`; with ATH_HTTP_STREAM an answer that is whole anyway
     * comes as d->bytes, too.
     *   Any task may call, on any loop; where nothing listens the routes of the loaded plugins are
     * there all the same. A task below no request (a job, a tick) is nobody: its call passes where
     * nobody needs a key. With f->as it is whoever has that key, as the key store knows it now: an
     * unknown, revoked or expired one is refused as it would be of a request, what the headers say
     * of keys and sessions is not looked at, and lists of addresses do not apply, since the caller is
     * not there. With ATH_HTTP_SELF it is an administrator: for what the server does of its own
     * accord, never on behalf of somebody. Such calls spend no rate limits and no budgets.
     *   In a command it goes over HTTP to --url (else ATHENA_URL, else localhost
     * and the configured port), with --admin-key (else ATHENA_ADMIN_KEY, else the configured key) as
     * X-Athena-Key unless f->header has one. */
    ATH_OP(call, const ath_fetch *f);
    /* In ath_routes.before only: who passes the key check of the request's route is refused with what
     * is in `e` (copied); who does not learns nothing of it. */
    void (*refuse)(ath_req *r, const ath_err *e);
} ath_req_api;

/* clang-format on */
#endif
