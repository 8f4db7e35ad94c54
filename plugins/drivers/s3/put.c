/* An object, from a stream or from memory.
 *
 *     read       a piece of the source waits in `rest`
 *     pump       it goes into the part that is filled; a full one, behind which there is more, is
 * sent single     the source has ended within the first part: one request upload_*   else: upload.c
 *
 * Whatever fails ends the task that all of this runs in, and with it what is on its way; its
 * memory's end begins the cleanup. So a source that fails, a cancel and a caller that is gone need
 * no code.
 */
#include "put.h"

#include <stdlib.h>

enum { META_MOST = 8, MIB = 1 << 20 };

static const uint64_t part_most = 4ull << 30;

/* ---- sizes ---- */

/* A hint makes parts that are large enough for it from the first on, and they grow only beyond it.
 */
static void first_size(struct put *p)
{
    uint64_t expect = p->asked->put.expect, least = expect / (PUT_PARTS * 7 / 10);

    p->size = s3.cfg->part_bytes;
    if (p->size < least)
        p->size = (least + MIB - 1) / MIB * MIB;
    if (p->size > part_most)
        p->size = part_most;
}

static void next_size(struct put *p)
{
    bool within = p->total <= p->asked->put.expect;
    uint32_t stride = p->asked->put.expect ? 250 : 1000;

    if (within)
        p->grown_from = p->number;
    else if (p->number - p->grown_from >= stride && p->size < part_most) {
        p->size *= 2;
        p->grown_from = p->number;
    }
}

static uint32_t flight(const struct put *p)
{
    uint64_t n = PUT_MEMORY / p->size;

    return n > PUT_FLIGHT ? PUT_FLIGHT : n < 2 ? 1 : (uint32_t)n - 1;
}

/* ---- the end ---- */

static void let_go(struct put *p)
{
    if (p->over)
        return;
    p->over = true;
    cleanup_begin(p);
    for (uint32_t i = 0; i < ATH_COUNT(p->slot); i++) {
        part_free(&p->slot[i].part);
        call_free(&p->slot[i].call);
    }
    for (uint32_t i = 0; p->sent && i < p->number; i++)
        free(p->sent[i].etag);
    free(p->sent);
    call_free(&p->control);
    buf_free(&p->rest);
    buf_free(&p->upload_id);
    buf_free(&p->xml);
    buf_free(&p->scratch);
}

static void put_free(void *arg)
{
    let_go(arg);
    buf_free(&((struct put *)arg)->etag);
}

int put_done(struct put *p, ath_err *e)
{
    ath_pair *header = ath_new(ath_arena_of(p->task), sizeof(*header));
    ath_done done = { .size = sizeof(done), .count = p->total, .status = 200 };

    (void)e;
    *header = (ath_pair){ ATH_S("etag"), buf_view(&p->etag) };
    done.header = header;
    done.header_count = 1;
    let_go(p); /* the memory of the task lives on with its headers */
    ath_host_->task->done(p->task, &done);
    return 0;
}

/* ---- one piece ---- */

void put_object_headers(struct put *p, struct call *c)
{
    const ath_s3_put *put = &p->asked->put;

    call_header(c, "content-type", str_of(put->type ? put->type : "application/octet-stream"));
    for (uint32_t i = 0; i < put->meta_count; i++) {
        struct buf name = BUF_ARENA(ath_arena_of(p->task));
        buf_lit(&name, "x-amz-meta-");
        for (size_t j = 0; j < put->meta[i].name.n; j++) {
            char k = put->meta[i].name.p[j];
            buf_char(&name, k >= 'A' && k <= 'Z' ? (char)(k + 32) : k);
        }
        call_header(c, buf_view(&name).p, put->meta[i].value);
    }
}

void put_prove(struct put *p)
{
    int unknown = DIALECT_UNKNOWN;

    p->proven = true;
    atomic_compare_exchange_strong(&s3.dialect, &unknown, (int)p->dialect);
}

static int send_single(struct put *p, ath_err *e);

static int judge_single(struct call *c, const ath_done *d, ath_err *e)
{
    const struct slot *s = c->arg;

    return part_judge(&s->part, c, d, e);
}

/* Was it the digest's header that the store would not have? */
static bool is_refused(const struct put *p, int rc, const ath_err *e)
{
    return !p->proven && p->dialect < DIALECT_NONE &&
           (rc == ATH_E_INPUT || str_is(ath_host_->err->get(e, "status"), "501"));
}

static int single_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct slot *s = d->arg;
    struct put *p = s->put;
    bool deaf = p->dialect == DIALECT_CRC32 && !p->proven && d->rc == 0 &&
                call_answer_header(d, "x-amz-checksum-crc32").n == 0;

    (void)t;
    if (deaf || is_refused(p, d->rc, e)) { /* it looks at another one, if at any */
        p->dialect++;
        return send_single(p, e);
    }
    if (d->rc < 0)
        return d->rc;
    put_prove(p);
    buf_str(&p->etag, call_answer_header(d, "etag"));
    p->safe = p->total;
    if (p->asked->put.moved)
        p->asked->put.moved(p->asked->task, p->asked->arg, p->safe);
    return put_done(p, e);
}

static int send_single(struct put *p, ath_err *e)
{
    struct slot *s = p->filling;
    struct call *c = &s->call;

    call_free(c);
    call_init(c, "PutObject", "put object", "PUT");
    call_of(c, &(ath_s3_object){ .bucket = p->asked->put.bucket, .key = p->asked->put.key });
    put_object_headers(p, c);
    part_headers(&s->part, c, p->dialect);
    c->judge = judge_single;
    c->then = single_answered;
    c->arg = s;
    return call_start(p->task, c, e);
}

/* ---- filling ---- */

static void take_slot(struct put *p)
{
    for (uint32_t i = 0; !p->filling && i < ATH_COUNT(p->slot); i++)
        if (p->slot[i].number == 0)
            p->filling = &p->slot[i];
    if (p->filling)
        part_begin(&p->filling->part, p->dialect <= DIALECT_CRC32);
}

/* The part that is filled goes off, when it may: 1, or 0 when it has to wait. */
static int send_part(struct put *p, ath_err *e)
{
    struct slot *s = p->filling;
    int rc;

    if (!p->begun)
        return p->beginning ? 0 : upload_begin(p, e);
    if (p->flying >= flight(p))
        return 0;
    if (p->number == PUT_PARTS)
        return ath_fail(e, ATH_E_LIMIT, "object \"%.*s\" is larger than %d parts can hold",
                        STR_ARG(p->asked->put.key), PUT_PARTS);
    p->filling = NULL;
    s->number = ++p->number;
    p->flying++;
    next_size(p);
    part_seal(&s->part);
    rc = upload_part(p, s, e);
    return rc < 0 ? rc : 1;
}

/* From `rest` into parts. 1: all of it is in, 0: something has to happen before. */
static int fill(struct put *p, ath_err *e)
{
    ath_str b = str_after(buf_view(&p->rest), p->rest_at);
    int rc;

    while (b.n) {
        uint64_t room;
        if (!p->filling)
            take_slot(p);
        if (!p->filling)
            return 0;
        room = p->filling->part.bytes.n < p->size ? p->size - p->filling->part.bytes.n : 0;
        if (room == 0) {
            if ((rc = send_part(p, e)) <= 0)
                return rc;
            continue;
        }
        if (room > b.n)
            room = b.n;
        part_add(&p->filling->part, str_from(b.p, room));
        p->rest_at += room;
        b = str_after(b, room);
    }
    buf_reset(&p->rest);
    p->rest_at = 0;
    return 1;
}

/* The source has ended and all of it is in parts. */
static int finish(struct put *p, ath_err *e)
{
    int rc;

    if (!p->begun && !p->beginning) {
        if (!p->filling)
            take_slot(p);
        part_seal(&p->filling->part);
        return send_single(p, e);
    }
    if (p->filling && p->filling->part.bytes.n && (rc = send_part(p, e)) <= 0)
        return rc;
    if (p->flying || p->completing || !p->begun)
        return 0;
    return upload_complete(p, e);
}

static int read_piece(struct put *p, ath_err *e);

int put_pump(struct put *p, ath_err *e)
{
    int rc = fill(p, e);

    if (rc <= 0)
        return rc;
    if (p->ended)
        return finish(p, e);
    return p->reading ? 0 : read_piece(p, e);
}

/* ---- the source ---- */

static int piece(ath_task *t, const ath_done *d, ath_err *e)
{
    struct put *p = d->arg;

    (void)t;
    p->reading = false;
    if (d->rc == ATH_E_CANCELED)
        return ath_fail(e, d->rc, "what was to be stored as \"%.*s\" was canceled",
                        STR_ARG(p->asked->put.key));
    if (d->rc < 0)
        return d->rc;
    p->ended = d->bytes.n == 0;
    p->total += d->bytes.n;
    buf_str(&p->rest, d->bytes);
    return put_pump(p, e);
}

static int read_piece(struct put *p, ath_err *e)
{
    p->reading = true;
    return ath_host_->stream->read(p->task, p->from, piece, p, e);
}

/* ---- below the caller's task ---- */

static int run(ath_task *t, void *arg, ath_err *e)
{
    struct put *p = ath_new(ath_arena_of(t), sizeof(*p));

    p->task = t;
    p->asked = arg;
    p->dialect = (enum dialect)atomic_load(&s3.dialect);
    p->proven = p->dialect != DIALECT_UNKNOWN;
    if (!p->proven)
        p->dialect = DIALECT_CRC32;
    for (uint32_t i = 0; i < ATH_COUNT(p->slot); i++)
        p->slot[i].put = p;
    ath_host_->mem->own(ath_arena_of(t), p, put_free);
    first_size(p);
    p->from = p->asked->put.from;
    if (p->from)
        return read_piece(p, e);
    p->ended = true;
    p->total = p->asked->put.body.n;
    buf_str(&p->rest, p->asked->put.body);
    return put_pump(p, e);
}

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct put_asked *a = d->arg;
    ath_done done = *d;

    done.arg = a->arg;
    return a->then(t, &done, e);
}

int s3_put(ath_task *t, const ath_s3_put *put, ath_then *then, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = run };
    struct put_asked *a;
    int rc = s3_need_on(e);

    if (rc < 0)
        return rc;
    if (put->key.n == 0)
        return ath_fail(e, ATH_E_INPUT, "an object has a key");
    if (put->meta_count > META_MOST)
        return ath_fail(e, ATH_E_INPUT, "an object has at most %d words of metadata", META_MOST);
    a = ath_new(ath_arena_of(t), sizeof(*a) + put->meta_count * sizeof(ath_pair));
    *a = (struct put_asked){ .task = t, .then = then, .arg = arg };
    memcpy(&a->put, put, put->size < sizeof(*put) ? put->size : sizeof(*put));
    if (put->meta_count) /* arrays are read during the call */
        memcpy(a + 1, put->meta, put->meta_count * sizeof(ath_pair));
    a->put.meta = (const ath_pair *)(a + 1);
    f.arg = a;
    return ath_host_->task->fork(t, &f, told, a, e);
}
