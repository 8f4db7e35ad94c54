/* plugins/drivers/s3/put.h - an object on its way.
 *
 *     put.c       the source is read into parts; what fits into one goes as it is
 *     upload.c    parts: begun, sent a few at a time, put together, looked at
 *     cleanup.c   what must not stay behind, taken back by work that outlives all this
 */
#ifndef DRIVERS_S3_PUT_H
#define DRIVERS_S3_PUT_H

#include "part.h"

enum {
    PUT_FLIGHT = 3,              /* parts on their way at once; one more is being filled */
    PUT_PARTS = 10000,           /* that a store takes for one object */
    PUT_MEMORY = 48 << 20        /* of all parts; two are there even so */
};

struct put_asked {               /* in the caller's arena */
    ath_task *task;
    ath_s3_put put;
    ath_then *then;
    void *arg;
};

struct slot {
    struct part part;
    struct call call;
    struct put *put;
    uint32_t number;             /* of the part, from 1; 0: not on its way */
};

struct sent {                    /* a part that the store has */
    char *etag;
    char crc[PART_CRC_TEXT];
};

struct put {
    ath_task *task;              /* below the caller's */
    const struct put_asked *asked;
    ath_stream *from;            /* NULL: the body alone */
    struct slot slot[PUT_FLIGHT + 1], *filling;
    struct buf rest;             /* read, and not yet in a part */
    size_t rest_at;
    bool reading, ended;         /* the source */
    uint64_t total, safe;        /* bytes read; bytes that the store has */
    uint64_t size;               /* of the part that is filled next */
    uint32_t number, flying, grown_from;
    struct sent *sent;
    enum dialect dialect;        /* of this object */
    bool proven;                 /* the store has taken it */
    struct call control;         /* begin, complete, look */
    struct buf upload_id, xml, etag, scratch;
    bool beginning, begun, completing, completed;
    bool sweep;                  /* there may be an upload of the key whose id nobody knows */
    bool spoilt;                 /* the key holds what was not sent */
    bool over;
};

int put_pump(struct put *p, ath_err *e); /* goes on as far as it can */
int put_done(struct put *p, ath_err *e); /* ends well; p->etag is set */
void put_prove(struct put *p);   /* the dialect is known to work */
void put_object_headers(struct put *p, struct call *c);

int upload_begin(struct put *p, ath_err *e);
int upload_part(struct put *p, struct slot *s, ath_err *e);
int upload_complete(struct put *p, ath_err *e);

/* Copies what it needs of `p`, if anything is left behind. Any time. */
void cleanup_begin(const struct put *p);

#endif
