/* SHA-256 for the signature, CRC-32 or MD5 for what the store knows. MD5 may be switched off in
 * this libcrypto: then nothing is said of it. */
#include "part.h"

#include <stdlib.h>
#include <zlib.h>

static void start(EVP_MD_CTX **c, const EVP_MD *kind, bool *ret_on)
{
    if (!*c && !(*c = EVP_MD_CTX_new()))
        abort();
    *ret_on = EVP_DigestInit_ex(*c, kind, NULL) == 1;
}

void part_begin(struct part *p, bool crc)
{
    bool sha;

    buf_reset(&p->bytes);
    start(&p->sha, EVP_sha256(), &sha);
    if (!sha)
        abort();
    p->md5_on = false;
    p->crc_on = crc;
    if (!p->crc_on)
        start(&p->md5, EVP_md5(), &p->md5_on);
    p->crc = 0;
    p->digest[0] = p->crc_text[0] = p->md5_text[0] = 0;
}

void part_add(struct part *p, ath_str b)
{
    buf_str(&p->bytes, b);
    if (EVP_DigestUpdate(p->sha, b.p, b.n) != 1)
        abort();
    if (p->md5_on)
        EVP_DigestUpdate(p->md5, b.p, b.n);
    if (p->crc_on)
        p->crc = (uint32_t)crc32_z(p->crc, (const uint8_t *)b.p, b.n);
}

static void base64(const uint8_t *bytes, int n, char *ret)
{
    EVP_EncodeBlock((unsigned char *)ret, bytes, n);
}

static void seal_md5(struct part *p)
{
    if (p->md5_text[0])
        return;
    if (!p->md5_on) { /* the dialect was another one when it was filled */
        start(&p->md5, EVP_md5(), &p->md5_on);
        if (!p->md5_on)
            return;
        EVP_DigestUpdate(p->md5, p->bytes.p ? p->bytes.p : "", p->bytes.n);
    }
    EVP_DigestFinal_ex(p->md5, p->md5_bytes, NULL);
    base64(p->md5_bytes, PART_MD5, p->md5_text);
}

void part_seal(struct part *p)
{
    uint8_t sha[SIGN_DIGEST], crc[4];

    EVP_DigestFinal_ex(p->sha, sha, NULL);
    sign_hex(sha, sizeof(sha), p->digest);
    if (p->md5_on)
        seal_md5(p);
    if (!p->crc_on)
        return;
    for (int i = 0; i < 4; i++)
        crc[i] = (uint8_t)(p->crc >> (24 - 8 * i));
    base64(crc, 4, p->crc_text);
}

void part_free(struct part *p)
{
    buf_free(&p->bytes);
    EVP_MD_CTX_free(p->sha);
    EVP_MD_CTX_free(p->md5);
    *p = (struct part){ 0 };
}

void part_headers(struct part *p, struct call *c, enum dialect d)
{
    c->body = buf_view(&p->bytes);
    c->digest = str_of(p->digest);
    c->flags |= CALL_UNSIGNED;
    if (d == DIALECT_MD5 || d == DIALECT_NONE)
        seal_md5(p);
    if (d == DIALECT_CRC32 && p->crc_on)
        call_header(c, "x-amz-checksum-crc32", str_of(p->crc_text));
    else if (d == DIALECT_MD5 && p->md5_text[0])
        call_header(c, "content-md5", str_of(p->md5_text));
}

/* ---- answers ---- */

ath_str part_etag(const ath_done *d)
{
    ath_str s = str_trim(call_answer_header(d, "etag"));

    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
        s = str_from(s.p + 1, s.n - 2);
    return s;
}

static int value_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool part_is_md5(ath_str etag, uint8_t ret[PART_MD5])
{
    if (etag.n != 2 * PART_MD5)
        return false;
    for (size_t i = 0; i < PART_MD5; i++) {
        int high = value_of(etag.p[2 * i]), low = value_of(etag.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Of an object that the store encrypts, the ETag is no digest of its bytes. */
static bool is_encrypted(const ath_done *d)
{
    return call_answer_header(d, "x-amz-server-side-encryption").n ||
           call_answer_header(d, "x-amz-server-side-encryption-customer-algorithm").n;
}

int part_judge(const struct part *p, const struct call *c, const ath_done *d, ath_err *e)
{
    ath_str crc = call_answer_header(d, "x-amz-checksum-crc32"), etag = part_etag(d);
    uint8_t md5[PART_MD5];
    bool same = true;

    if (crc.n && p->crc_on)
        same = str_is(crc, p->crc_text);
    if (p->md5_text[0] && part_is_md5(etag, md5) && !is_encrypted(d))
        same = same && memcmp(md5, p->md5_bytes, PART_MD5) == 0;
    if (same && etag.n)
        return 0;
    return ath_fail(e, ATH_E_UPSTREAM, "could not %s \"%.*s\" in bucket \"%.*s\": %s", c->doing,
                    STR_ARG(c->key), STR_ARG(c->bucket),
                    etag.n ? "the store says that it has other bytes" : "the answer has no ETag");
}
