/* Content codings.
 *
 * Both directions work in pieces of PIECE bytes on the stack; only zlib's own memory is kept, with
 * the request (unpacking 40 KiB, packing a stream 128 KiB) or with the loop (packing at once 256
 * KiB).
 *
 * Unpacking stops while the stream behind it is full. The rest of what was read then waits here, at
 * most one read of the socket, and nothing more is read from it.
 */
#include "http/coding.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "lib/accept.h"

enum {
    PIECE = 16 * 1024,
    GZIP = 16,   /* of windowBits: zlib makes and reads gzip's frame */
    EITHER = 32, /* reads gzip's or zlib's */
    WINDOW = 15,
    MEMORY = 8, /* zlib's own defaults */
    STREAM_WINDOW = 14,
    STREAM_MEMORY = 7,
    WHOLE_MOST = 128 * 1024, /* packed at once: a few ms at the highest level */
};

/* ---- unpacking ---- */

struct unpack {
    z_stream z;
    uint64_t most, made;
    struct buf rest; /* came and was not unpacked yet, from `at` on */
    size_t at;
    bool begun, gzip;
    bool more;  /* zlib has more to give for what it was given */
    bool whole; /* the coded data has come to its end */
    bool ended; /* nothing more comes */
};

static void unpack_free(void *p)
{
    struct unpack *u = p;

    buf_free(&u->rest);
    if (u->begun)
        inflateEnd(&u->z);
}

int unpack_begin(struct exchange *x, ath_str coding, uint64_t most, ath_err *e)
{
    bool gzip = str_ieq(coding, ATH_S("gzip")) || str_ieq(coding, ATH_S("x-gzip"));
    struct unpack *u;

    if (!gzip && !str_ieq(coding, ATH_S("deflate"))) {
        req_set(&x->req.task, "accept-encoding", ATH_S("gzip, deflate"));
        return err_raise(e, "unsupported_encoding", "content encoding \"%.*s\" is not supported",
                         (int)(coding.n < 64 ? coding.n : 64), coding.p);
    }
    u = ARENA_NEW(&x->req.task.arena, struct unpack);
    u->gzip = gzip;
    u->most = most;
    arena_own(&x->req.task.arena, u, unpack_free);
    x->unpack = u;
    return 0;
}

/* Some send deflate's data without the frame that the name stands for: a frame's first byte says
 * "method 8", and no bare data that an encoder makes begins so. */
static bool unpack_init(struct unpack *u)
{
    unsigned char first = (unsigned char)u->rest.p[0];
    bool framed = (first & 15) == 8 && first >> 4 <= 7;
    int window = u->gzip ? WINDOW + GZIP : framed ? WINDOW : -WINDOW;

    u->begun = inflateInit2(&u->z, window) == Z_OK;
    return u->begun;
}

/* NULL, or what is wrong. gzip's members may follow one another; what follows the end of a deflate
 * body belongs to nobody. */
static const char *unpack_next(struct unpack *u, char *room, size_t *ret_n)
{
    int rc;

    if (!u->begun && !unpack_init(u))
        return "it cannot be unpacked";
    if (u->whole && (!u->gzip || inflateReset(&u->z) != Z_OK))
        return "bytes behind its end";
    u->z.next_in = (unsigned char *)u->rest.p + u->at;
    u->z.avail_in = (unsigned)(u->rest.n - u->at);
    u->z.next_out = (unsigned char *)room;
    u->z.avail_out = PIECE;
    rc = inflate(&u->z, Z_NO_FLUSH);
    u->at = u->rest.n - u->z.avail_in;
    u->whole = rc == Z_STREAM_END;
    u->more = !u->whole && u->z.avail_out == 0;
    *ret_n = PIECE - u->z.avail_out;
    if (rc == Z_OK || rc == Z_BUF_ERROR || rc == Z_STREAM_END)
        return NULL;
    return u->z.msg ? u->z.msg : "it is not of this coding";
}

static void unpack_fail(struct exchange *x, const char *why)
{
    struct ath_err e;

    err_raise(&e, "bad_request", "the request body is malformed: %s", why);
    body_broken(x, e.rc, &e);
}

/* Whatever ends the body in between changes its mode. */
static void unpack_run(struct exchange *x)
{
    struct unpack *u = x->unpack;
    char room[PIECE];

    while (x->mode != BODY_DROP && unpack_waits(x) &&
           !(x->mode == BODY_STREAM && stream_full(x->req.from))) {
        size_t n = 0;
        const char *wrong = unpack_next(u, room, &n);
        u->made += n;
        if (wrong)
            unpack_fail(x, wrong);
        else if (u->most && u->made > u->most)
            body_over(x, u->most);
        else
            body_add(x, str_from(room, n));
    }
    if (!unpack_waits(x)) {
        buf_reset(&u->rest);
        u->at = 0;
        if (u->ended && u->whole)
            body_done(x);
        else if (u->ended && x->mode != BODY_DROP)
            unpack_fail(x, "its end is missing");
    }
}

bool unpack_waits(const struct exchange *x)
{
    return x->unpack->more || x->unpack->at < x->unpack->rest.n;
}

void unpack_bytes(struct exchange *x, ath_str bytes)
{
    buf_str(&x->unpack->rest, bytes);
    unpack_run(x);
}

void unpack_room(struct exchange *x)
{
    unpack_run(x);
}

void unpack_end(struct exchange *x)
{
    x->unpack->ended = true;
    unpack_run(x);
}

/* ---- who wants it packed, and what is worth it ---- */

bool coding_accepts_gzip(ath_str list)
{
    int gzip = -1, any = -1, identity = -1;
    unsigned weight;
    ath_str name;

    while (accept_next(&list, &name, &weight)) {
        if (str_ieq(name, ATH_S("gzip")) || str_ieq(name, ATH_S("x-gzip")))
            gzip = (int)weight;
        else if (str_is(name, "*"))
            any = (int)weight;
        else if (str_ieq(name, ATH_S("identity")))
            identity = (int)weight;
    }
    if (gzip < 0)
        gzip = any;
    return gzip > 0 && gzip >= identity;
}

/* What is not text in some form is packed already, or not known to be worth it. */
static bool is_packable(ath_str type)
{
    static const char *const names[] = {
        "application/json", "application/x-ndjson",   "application/yaml",
        "application/xml",  "application/javascript", "image/svg+xml",
    };

    type = str_trim(str_from(type.p, str_find(type, ';')));
    if (str_starts(type, "text/") || str_ends(type, "+json") || str_ends(type, "+xml"))
        return true;
    for (size_t i = 0; i < ATH_COUNT(names); i++)
        if (str_is(type, names[i]))
            return true;
    return false;
}

static bool is_worth_it(const struct exchange *x)
{
    const struct req *r = &x->req;
    const struct http_limits *l = conn_limits(r->conn);

    if (l->pack_level == 0 || x->refused || x->set & SET_CODED || r->status < 200 ||
        r->status == 204 || r->status == 206 || r->status == 304)
        return false;
    return is_packable(r->type) && (x->set & SET_STREAM || r->reply.n >= l->pack_min);
}

/* ---- packing at once ---- */

struct pack_whole {
    z_stream z;
};

static z_stream *whole_of(struct http_loop *hl, int level)
{
    if (hl->whole) {
        deflateReset(&hl->whole->z);
        return &hl->whole->z;
    }
    hl->whole = MEM_NEW(struct pack_whole);
    if (deflateInit2(&hl->whole->z, level, Z_DEFLATED, WINDOW + GZIP, MEMORY, Z_DEFAULT_STRATEGY) ==
        Z_OK)
        return &hl->whole->z;
    free(hl->whole);
    hl->whole = NULL;
    return NULL;
}

void pack_loop_free(struct http_loop *hl)
{
    if (hl->whole)
        deflateEnd(&hl->whole->z);
    free(hl->whole);
    hl->whole = NULL;
}

/* False: it would not become shorter. */
static bool pack_at_once(struct exchange *x)
{
    struct req *r = &x->req;
    z_stream *z = whole_of(r->conn->hl, conn_limits(r->conn)->pack_level);
    size_t room = r->reply.n - 1;
    char *to;

    if (!z)
        return false;
    to = arena_raw(&r->task.arena, room);
    z->next_in = (unsigned char *)(uintptr_t)r->reply.p;
    z->avail_in = (unsigned)r->reply.n;
    z->next_out = (unsigned char *)to;
    z->avail_out = (unsigned)room;
    if (deflate(z, Z_FINISH) != Z_STREAM_END)
        return false;
    r->reply = str_from(to, room - z->avail_out);
    return true;
}

/* ---- packing in pieces ---- */

struct pack {
    z_stream z;
    bool begun, waits; /* waits: for a flush */
};

static void pack_free(void *p)
{
    struct pack *k = p;

    if (k->begun)
        deflateEnd(&k->z);
}

static bool pack_in_pieces(struct exchange *x)
{
    struct req *r = &x->req;
    struct pack *k;

    /* Without chunks only the end of the connection would tell the end of the body. */
    if (r->minor == 0 && (!(x->set & SET_STREAM) || x->set & SET_LENGTH))
        return false;
    if (!r->head) {
        k = ARENA_NEW(&r->task.arena, struct pack);
        k->begun = deflateInit2(&k->z, conn_limits(r->conn)->pack_level, Z_DEFLATED,
                                STREAM_WINDOW + GZIP, STREAM_MEMORY, Z_DEFAULT_STRATEGY) == Z_OK;
        arena_own(&r->task.arena, k, pack_free);
        if (!k->begun)
            return false;
        x->pack = k;
    }
    x->set |= SET_STREAM;
    return true;
}

void pack_begin(struct exchange *x)
{
    struct req *r = &x->req;
    bool streams = x->set & SET_STREAM || r->reply.n > WHOLE_MOST;

    if (!is_worth_it(x))
        return;
    x->set |= SET_VARY;
    if (!coding_accepts_gzip(req_find(r, ATH_S("accept-encoding"))))
        return;
    if (streams ? pack_in_pieces(x) : pack_at_once(x))
        x->set |= SET_GZIP;
}

static void run(struct exchange *x, ath_str b, int flush, pack_put *put, struct buf *out)
{
    z_stream *z = &x->pack->z;
    char room[PIECE];

    z->next_in = (unsigned char *)(uintptr_t)b.p;
    z->avail_in = (unsigned)b.n;
    do {
        z->next_out = (unsigned char *)room;
        z->avail_out = sizeof(room);
        deflate(z, flush);
        if (z->avail_out < sizeof(room))
            put(x, out, str_from(room, sizeof(room) - z->avail_out));
    } while (z->avail_out == 0);
}

void pack_piece(struct exchange *x, ath_str b, pack_put *put, struct buf *out)
{
    x->pack->waits = true;
    run(x, b, Z_NO_FLUSH, put, out);
}

void pack_flush(struct exchange *x, pack_put *put, struct buf *out)
{
    if (x->pack->waits)
        run(x, ATH_S(""), Z_SYNC_FLUSH, put, out);
    x->pack->waits = false;
}

void pack_finish(struct exchange *x, pack_put *put, struct buf *out)
{
    run(x, ATH_S(""), Z_FINISH, put, out);
}
