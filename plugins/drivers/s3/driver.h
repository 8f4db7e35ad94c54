/* plugins/drivers/s3/driver.h - the service storage.s3@1, over HTTP of the host's.
 *
 *     place.c      where a bucket and a key are: host, path, query
 *     keys.c       whose requests they are: configured keys, the environment's, a file's, a role's
 *     call.c       one request with its tries: signed, sent, judged
 *     answer.c     what an answer says that is none
 *     part.c       a piece of an object on its way: its bytes and what proves them
 *     put.c        an object in one piece or in parts; cleanup.c takes parts back
 *     get.c        an object as a stream that goes on where a connection broke
 *     list.c       what there is, what is unfinished
 *     object.c     remove, abort, links
 *
 * An operation runs in the caller's task, its continuations one after the other; `put` runs below it,
 * so that its parts go with it.
 */
#ifndef DRIVERS_S3_DRIVER_H
#define DRIVERS_S3_DRIVER_H

#include <stdatomic.h>
#include <stdbool.h>

#include <athena/service/s3.h>

#include "lib/buf.h"
#include "s3/sign.h"

struct s3_config {
    ath_str bucket, region, prefix, endpoint, access_key, secret_key;
    ath_str addressing;
    uint64_t part_bytes, stall_ms, retry_ms, retry_most_ms;
    int64_t tries;
    int32_t unsigned_payload, metadata_off;
    ath_str aws_access_key, aws_secret_key, aws_token, aws_profile, aws_file;
    ath_str container_uri, container_path, container_token, container_token_file, metadata;
};

enum { S3_REQUESTS, S3_RETRIES, S3_BYTES, S3_SECONDS };

/* ---- place.c ---- */

struct place {                   /* what the configuration says; lives as long as the process */
    ath_str bucket, region, prefix, endpoint;
    ath_str scheme;              /* "https" */
    ath_str host;                /* with its port, unless that is the scheme's */
    ath_str path;                /* in front of all; empty: none */
    bool    virtual_host;        /* the bucket is part of the host's name */
};

/* ATH_E_CONFIG: no endpoint could be read from it. Texts are in `keep`, of the heap. */
int place_read(const struct s3_config *cfg, struct buf *keep, struct place *ret, ath_err *e);

/* Host and path of a bucket, or of a key of it. */
void place_host(const struct place *p, ath_str bucket, struct buf *b);
void place_path(const struct place *p, ath_str bucket, ath_str key, struct buf *b);

/* ---- the process ---- */

enum dialect {                   /* how a body's digest is told besides the signature */
    DIALECT_UNKNOWN,
    DIALECT_CRC32,               /* x-amz-checksum-crc32 */
    DIALECT_MD5,                 /* Content-MD5 */
    DIALECT_NONE
};

struct s3 {
    const struct s3_config *cfg;
    struct place place;
    struct buf place_texts;
    ath_str access, secret, token; /* keys that never change; empty: they are looked for */
    _Atomic int dialect;         /* enum dialect; what the endpoint was found to know */
    _Atomic int64_t skew_s;      /* the store's clock minus ours */
};

extern struct s3 s3;             /* set by init, then read alone but for what is atomic */

/* 0, or ATH_E_CONFIG with code s3_not_configured. */
int s3_need_on(ath_err *e);

/* ---- keys.c ---- */

struct keys {
    ath_str access, secret, token; /* token: empty, or of keys that are lent */
};

struct keys_local;               /* of a loop: keys that were lent to this machine */
int keys_loop_init(ath_loop *l, void *state, void **local, ath_err *e);
void keys_loop_fini(ath_loop *l, void *state, void *local);

/* True: they are here, valid until the task's code returns. */
bool keys_ready(ath_task *t, struct keys *ret);

/* Asks for them; then keys_ready() is true, or d->rc < 0. */
int keys_ask(ath_task *t, ath_then *then, void *arg, ath_err *e);

/* They were refused as too old: the next keys_ready() looks again. */
void keys_forget(ath_task *t);

/* ---- call.c ---- */

enum { CALL_HEADERS = 16 };

enum {
    CALL_STREAM = 1,             /* a good answer's body as d->stream */
    CALL_UNSIGNED = 2,           /* the body is not part of the signature, if the configuration allows it */
    CALL_SLOW = 4                /* the store may take minutes without a word */
};

/* One request with its tries. Who has it keeps it, and all it points to, until `then`; one struct can
 * be used for one request after the other. */
struct call {
    const char *operation;       /* "PutObject": of metrics and debug lines */
    const char *doing;           /* "put object": of messages */
    const char *method;
    ath_str bucket, key;         /* bucket: never empty */
    struct buf query;            /* encoded, by name; see call_ask() */
    ath_pair header[CALL_HEADERS]; /* names in lower case */
    uint32_t header_count;
    uint32_t flags;              /* CALL_* */
    ath_str body;
    ath_str digest;              /* of the body in hexadecimal; empty: it is worked out */
    uint64_t max_body;           /* of an answer; 0: 1 MiB */
    ath_then *then;              /* d: a good answer, or d->rc < 0 and `e` has the words */
    void *arg;
    /* May refuse a good answer, so that it is tried again: < 0 with the words. NULL: all are taken. */
    int (*judge)(struct call *c, const ath_done *d, ath_err *e);
    uint32_t tries;              /* so far */
    uint32_t lost;               /* of them without an answer: they may have been carried out */
    /* private */
    struct buf url, text;
    char time[SIGN_TIME], hex[SIGN_HEX];
    uint64_t began_ms;
    bool renewed, skewed;        /* keys were asked for again, the clock was set, once */
    ath_stream *refusal;         /* an answer that is none, being read */
    struct buf refused;
    int32_t status;
    int64_t store_s;             /* the store's clock, seconds since 1970; 0: it did not say */
    uint64_t retry_ms;           /* what the store asked for */
};

void call_init(struct call *c, const char *operation, const char *doing, const char *method);
void call_of(struct call *c, const ath_s3_object *o);    /* its bucket and key */
void call_free(struct call *c);
void call_ask(struct call *c, const char *name, ath_str value); /* adds to the query, in order */
void call_header(struct call *c, const char *name, ath_str value);

/* `arg` is c->arg; errors of its own come as an operation's do. */
int call_start(ath_task *t, struct call *c, ath_err *e);

/* Before the next try, when so many have failed: half of it by chance. */
uint64_t call_delay(uint32_t failed);

ath_str call_answer_header(const ath_done *d, const char *name);

/* ---- answer.c ---- */

struct refusal {                 /* what the store says; texts in the call's memory */
    int32_t status;
    ath_str code, message;
    bool again;                  /* worth another try */
};

void refusal_read(struct refusal *r, int32_t status, ath_str body, struct buf *scratch);
int refusal_fail(const struct call *c, const struct refusal *r, ath_err *e);

/* ---- the operations ---- */

int s3_put(ath_task *t, const ath_s3_put *p, ath_then *then, void *arg, ath_err *e);
int s3_get(ath_task *t, const ath_s3_object *o, ath_then *then, void *arg, ath_err *e);
int s3_head(ath_task *t, const ath_s3_object *o, ath_then *then, void *arg, ath_err *e);
int s3_remove(ath_task *t, const ath_s3_object *o, ath_then *then, void *arg, ath_err *e);
int s3_list(ath_task *t, const ath_s3_list *l, ath_then *then, void *arg, ath_err *e);
int s3_uploads(ath_task *t, const ath_s3_list *l, ath_then *then, void *arg, ath_err *e);
int s3_abort(ath_task *t, const ath_s3_object *o, ath_str upload_id, ath_then *then, void *arg,
             ath_err *e);
int s3_presign(ath_task *t, const ath_s3_object *o, uint32_t seconds, ath_then *then, void *arg,
               ath_err *e);

#endif
