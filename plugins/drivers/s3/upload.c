/* An upload in parts: begun, sent, put together.
 *
 * What the store says at its end is looked at: the ETag of an object in parts is made of those of
 * its parts by nearly all stores, and says then that all of them are in it. Where it is made in
 * another way, or where the answer was lost, the object is asked for its length and ETag.
 */
#include "put.h"

#include <stdlib.h>

#include "s3/xml.h"

static ath_s3_object object_of(const struct put *p)
{
    return (ath_s3_object){ .bucket = p->asked->put.bucket, .key = p->asked->put.key };
}

static struct call *control(struct put *p, const char *operation, const char *doing,
                            const char *method)
{
    struct call *c = &p->control;
    const ath_s3_object o = object_of(p);

    call_free(c);
    call_init(c, operation, doing, method);
    call_of(c, &o);
    c->arg = p;
    return c;
}

/* ---- beginning ---- */

static int judge_begun(struct call *c, const ath_done *d, ath_err *e)
{
    struct put *p = c->arg;
    ath_str id = xml_member(d->bytes, "UploadId", &p->scratch);

    if (id.n == 0)
        return ath_fail(e, ATH_E_UPSTREAM, "could not %s \"%.*s\": the answer has no id", c->doing,
                        STR_ARG(c->key));
    return 0;
}

static bool is_unknown(const struct put *p, int rc, const ath_err *e)
{
    return p->dialect == DIALECT_CRC32 && !p->proven &&
           (rc == ATH_E_INPUT || str_is(ath_host_->err->get(e, "status"), "501"));
}

static int begun(ath_task *t, const ath_done *d, ath_err *e)
{
    struct put *p = d->arg;

    (void)t;
    p->sweep |= p->control.lost > 0;
    p->beginning = false;
    if (is_unknown(p, d->rc, e)) {
        p->dialect = DIALECT_MD5;
        return upload_begin(p, e);
    }
    if (d->rc < 0)
        return d->rc;
    buf_str(&p->upload_id, xml_member(d->bytes, "UploadId", &p->scratch));
    p->begun = true;
    p->sent = calloc(PUT_PARTS, sizeof(*p->sent));
    if (!p->sent)
        return ath_fail(e, ATH_E_MEMORY, "no memory for the parts of an upload");
    if (p->dialect == DIALECT_CRC32 && call_answer_header(d, "x-amz-checksum-algorithm").n == 0) {
        p->dialect = DIALECT_MD5; /* it did not listen */
        p->proven = false;
    }
    return put_pump(p, e);
}

int upload_begin(struct put *p, ath_err *e)
{
    struct call *c = control(p, "CreateMultipartUpload", "begin the upload of", "POST");

    call_ask(c, "uploads", ATH_S(""));
    put_object_headers(p, c);
    if (p->dialect == DIALECT_CRC32)
        call_header(c, "x-amz-checksum-algorithm", ATH_S("CRC32"));
    c->judge = judge_begun;
    c->then = begun;
    p->beginning = true;
    return call_start(p->task, c, e);
}

/* ---- parts ---- */

static int judge_part(struct call *c, const ath_done *d, ath_err *e)
{
    const struct slot *s = c->arg;

    return part_judge(&s->part, c, d, e);
}

static void keep_sent(struct put *p, const struct slot *s, const ath_done *d)
{
    struct sent *sent = &p->sent[s->number - 1];
    ath_str etag = str_trim(call_answer_header(d, "etag"));

    sent->etag = strndup(etag.p, etag.n);
    if (p->dialect == DIALECT_CRC32)
        memcpy(sent->crc, s->part.crc_text, sizeof(sent->crc));
}

static int part_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct slot *s = d->arg;
    struct put *p = s->put;

    (void)t;
    if (!p->proven && p->dialect == DIALECT_MD5 &&
        (d->rc == ATH_E_INPUT || str_is(ath_host_->err->get(e, "status"), "501"))) {
        p->dialect = DIALECT_NONE;
        return upload_part(p, s, e);
    }
    if (d->rc < 0)
        return d->rc;
    put_prove(p);
    keep_sent(p, s, d);
    p->safe += s->part.bytes.n;
    s->number = 0;
    p->flying--;
    if (p->asked->put.moved)
        p->asked->put.moved(p->asked->task, p->asked->arg, p->safe);
    return put_pump(p, e);
}

int upload_part(struct put *p, struct slot *s, ath_err *e)
{
    struct call *c = &s->call;
    const ath_s3_object o = object_of(p);
    char room[STR_U64_ROOM];

    call_free(c);
    call_init(c, "UploadPart", "upload a part of", "PUT");
    call_of(c, &o);
    call_ask(c, "partNumber", str_from_u64(s->number, room));
    call_ask(c, "uploadId", buf_view(&p->upload_id));
    part_headers(&s->part, c, p->dialect);
    c->judge = judge_part;
    c->then = part_answered;
    c->arg = s;
    return call_start(p->task, c, e);
}

/* ---- the end ---- */

static void put_escaped(struct buf *b, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&':
            buf_lit(b, "&amp;");
            break;
        case '<':
            buf_lit(b, "&lt;");
            break;
        case '>':
            buf_lit(b, "&gt;");
            break;
        case '"':
            buf_lit(b, "&quot;");
            break;
        default:
            buf_char(b, *text);
        }
}

static void put_parts(struct put *p)
{
    buf_reset(&p->xml);
    buf_lit(&p->xml, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (uint32_t i = 0; i < p->number; i++) {
        buf_lit(&p->xml, "<Part>");
        if (p->sent[i].crc[0])
            buf_printf(&p->xml, "<ChecksumCRC32>%s</ChecksumCRC32>", p->sent[i].crc);
        buf_lit(&p->xml, "<ETag>");
        put_escaped(&p->xml, p->sent[i].etag);
        buf_printf(&p->xml, "</ETag><PartNumber>%u</PartNumber></Part>", i + 1);
    }
    buf_lit(&p->xml, "</CompleteMultipartUpload>");
}

static ath_str bare(ath_str etag)
{
    etag = str_trim(etag);
    if (etag.n >= 2 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"')
        return str_from(etag.p + 1, etag.n - 2);
    return etag;
}

/* Digest of the parts' digests, and their number. Empty: theirs are no digests. */
static ath_str expected(const struct put *p, char ret[64])
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    uint8_t md5[PART_MD5];
    char hex[2 * PART_MD5 + 1];
    bool well = c && EVP_DigestInit_ex(c, EVP_md5(), NULL) == 1;

    for (uint32_t i = 0; well && i < p->number; i++) {
        well = part_is_md5(bare(str_of(p->sent[i].etag)), md5);
        if (well)
            EVP_DigestUpdate(c, md5, sizeof(md5));
    }
    if (well)
        well = EVP_DigestFinal_ex(c, md5, NULL) == 1;
    EVP_MD_CTX_free(c);
    sign_hex(md5, well ? sizeof(md5) : 0, hex);
    snprintf(ret, 64, "%s-%u", hex, p->number);
    return well ? str_of(ret) : ATH_S("");
}

static int spoilt(struct put *p, ath_err *e)
{
    p->spoilt = p->completed;
    return ath_fail(e, ATH_E_UPSTREAM,
                    "could not complete the upload of \"%.*s\": the store has something else than "
                    "what was sent",
                    STR_ARG(p->asked->put.key));
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct put *p = d->arg;
    uint64_t length = 0;
    char room[64];
    ath_str etag, want;

    (void)t;
    if (d->rc < 0)
        return d->rc;
    etag = bare(call_answer_header(d, "etag"));
    want = p->completed ? bare(buf_view(&p->etag)) : expected(p, room);
    str_u64(call_answer_header(d, "content-length"), &length);
    if (length != p->total || want.n == 0 || !str_ieq(etag, want))
        return spoilt(p, e);
    p->completed = true;
    buf_reset(&p->etag);
    buf_str(&p->etag, call_answer_header(d, "etag"));
    return put_done(p, e);
}

static int look(struct put *p, ath_err *e)
{
    struct call *c = control(p, "HeadObject", "look at object", "HEAD");

    c->then = looked;
    return call_start(p->task, c, e);
}

static int completed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct put *p = d->arg;
    char room[64];

    (void)t;
    if (d->rc < 0) /* an answer was lost: perhaps that of what has been done */
        return d->rc != ATH_E_CANCELED && p->control.lost ? look(p, e) : d->rc;
    p->completed = true;
    buf_reset(&p->etag);
    buf_str(&p->etag, xml_member(d->bytes, "ETag", &p->scratch));
    if (str_ieq(bare(buf_view(&p->etag)), expected(p, room)))
        return put_done(p, e);
    return look(p, e);
}

/* The status is sent before the store begins its work: what has failed is said behind it. */
static int judge_completed(struct call *c, const ath_done *d, ath_err *e)
{
    struct put *p = c->arg;
    struct refusal r;
    struct xml x = xml_of(d->bytes, &p->scratch);
    bool is_error = xml_next(&x) && str_is(x.name, "Error");
    int rc;

    if (is_error) {
        refusal_read(&r, 500, d->bytes, &p->scratch);
        if (str_is(r.code, "InvalidPart") || str_is(r.code, "InvalidPartOrder") ||
            str_is(r.code, "EntityTooSmall"))
            r.status = 400;
        else if (str_is(r.code, "NoSuchUpload"))
            r.status = 404;
        return refusal_fail(c, &r, e);
    }
    rc = xml_member(d->bytes, "ETag", &p->scratch).n ? 0 : ATH_E_UPSTREAM;
    if (rc < 0)
        ath_fail(e, rc, "could not %s \"%.*s\": the answer is not whole", c->doing,
                 STR_ARG(c->key));
    return rc;
}

int upload_complete(struct put *p, ath_err *e)
{
    struct call *c = control(p, "CompleteMultipartUpload", "complete the upload of", "POST");

    p->completing = true;
    put_parts(p);
    call_ask(c, "uploadId", buf_view(&p->upload_id));
    call_header(c, "content-type", ATH_S("application/xml"));
    c->body = buf_view(&p->xml);
    c->flags = CALL_SLOW;
    c->judge = judge_completed;
    c->then = completed;
    return call_start(p->task, c, e);
}
