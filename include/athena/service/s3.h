/* athena/service/s3.h - "storage.s3@1": objects of an S3 store, streamed.
 *
 * Requests are signed (signature version 4) with the keys of the driver's configuration, which no
 * table, log, error or URL shows, except that a link made by `presign` holds a signature. All
 * operations go on with delays of their own after 5xx, 429 and broken connections, and within the
 * task's deadline.
 *
 * Errors: ATH_E_MISSING no such object or bucket; ATH_E_DENIED refused by the store, or there are no
 * keys; ATH_E_CONFLICT the object is another one by now; ATH_E_INPUT the store takes the request for
 * wrong; ATH_E_UPSTREAM no answer, or 5xx to the end; ATH_E_TIMEOUT an answer that stood still;
 * ATH_E_CONFIG nothing is configured ("code" s3_not_configured), or for another region. err "status"
 * is the HTTP status, "s3_code" the store's own word ("NoSuchKey"). Messages name operation, bucket,
 * key and status.
 */
#ifndef ATHENA_SERVICE_S3_H
#define ATHENA_SERVICE_S3_H

#include <athena/plugin.h>

/* clang-format off */

/* What the driver is configured with; texts live as long as the process. */
typedef struct {
    uint32_t size;
    uint32_t on;                 /* 0: no bucket is configured */
    ath_str  bucket, region;
    ath_str  prefix;             /* without a slash at its ends: "backups"; empty: none */
    ath_str  endpoint;           /* empty: Amazon's own */
} ath_s3_config;

/* An object, or a range of it. Texts live until `then`. */
typedef struct {
    uint32_t size, pad;
    ath_str  bucket;             /* empty: the configured one */
    ath_str  key;                /* not encoded */
    uint64_t from, length;       /* get: these bytes; length 0: to the end */
    ath_str  etag;               /* get: only while it is this one, else ATH_E_CONFLICT; empty: any */
} ath_s3_object;

typedef struct {
    uint32_t size, pad;
    ath_str  bucket, key;        /* as above */
    const char *type;            /* Content-Type; NULL: application/octet-stream */
    const ath_pair *meta;        /* x-amz-meta-NAME, names without that */
    uint32_t meta_count, pad2;
    ath_stream *from;            /* of any length, read to its end */
    ath_str  body;               /* instead */
    /* Called on the task's loop as bytes become safe in the store, with their sum so far and the
     * operation's arg; NULL: nobody asks. */
    void   (*moved)(ath_task *t, void *arg, uint64_t bytes);
    uint64_t expect;             /* about how many bytes there will be, which makes parts of a size that
                                  * fits from the first on; 0: unknown */
} ath_s3_put;

typedef struct {                 /* what `list` and `uploads` page through */
    uint32_t size;
    uint32_t limit;              /* at most 1000; 0: 1000 */
    ath_str  bucket, prefix;
    ath_str  after;              /* keys behind this one; empty: from the first */
} ath_s3_list;

typedef struct {
    uint32_t size, pad;
    void (*config)(ath_s3_config *ret);  /* ret->size set by the caller; any thread */
    /* Whole or not at all. What is larger than one part is sent in parts, a few at a time, whose size
     * grows so that 5 TiB fit; when it fails, is canceled or the task goes, the parts are taken back,
     * by work that outlives the task. A source that fails is never completed. d->count: its bytes;
     * d->header: "etag". The memory is bounded: parts in flight and one more. One upload of a key at a
     * time: what of a key is unfinished may be taken back with a failed one. */
    ATH_OP(put, const ath_s3_put *p);
    /* d->stream: the bytes, which go on where a broken connection left off, or fail if the object
     * has changed; d->count: how many; d->header: "etag", "content-type", "last-modified",
     * "x-amz-meta-..."; d->status 200, or 206 for a range; "content-range" then says of how many. A range
     * that the object does not have: ATH_E_INPUT, err "status" 416. */
    ATH_OP(get, const ath_s3_object *o);
    ATH_OP(head, const ath_s3_object *o);        /* as get, without the stream */
    ATH_OP(remove, const ath_s3_object *o);      /* well, too, when it was not there */
    /* d->bytes: a JSON array of {"key","size","modified","etag"}, by key; d->count: 1, there may be
     * more behind the last. */
    ATH_OP(list, const ath_s3_list *l);
    /* Unfinished uploads in parts, of all keys that begin with `prefix`: {"key","upload_id","started"},
     * 10,000 at most; `limit` and `after` are ignored. d->count: 1, there are more. A store that was
     * killed, or a process of ours, leaves some: who began them looks here and takes them back. */
    ATH_OP(uploads, const ath_s3_list *l);
    ATH_OP(abort, const ath_s3_object *o, ath_str upload_id); /* well, too, when it was not there */
    /* d->bytes: a link to GET the object without a key, for so many seconds (1 .. 604800). Only the
     * keys of a machine's role are asked for, if they are used; the object is not. */
    ATH_OP(presign, const ath_s3_object *o, uint32_t seconds);
} ath_s3;

/* clang-format on */
#endif
