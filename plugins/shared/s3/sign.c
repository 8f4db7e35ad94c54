/* Signature version 4, by libcrypto. A digest can only fail when that is broken or out of memory:
 * then nothing is made up. */
#include "s3/sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <time.h>

/* ---- texts ---- */

void sign_time(int64_t seconds, char ret[SIGN_TIME])
{
    time_t at = (time_t)seconds;
    struct tm tm;

    if (!gmtime_r(&at, &tm) || !strftime(ret, SIGN_TIME, "%Y%m%dT%H%M%SZ", &tm))
        abort();
}

void sign_hex(const uint8_t *bytes, size_t n, char *ret)
{
    static const char digit[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digit[bytes[i] >> 4];
        ret[2 * i + 1] = digit[bytes[i] & 15];
    }
    ret[2 * n] = 0;
}

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void sign_encode(struct buf *b, ath_str text, bool slashes)
{
    static const char digit[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (is_plain(c) || (slashes && c == '/'))
            buf_char(b, (char)c);
        else
            buf_mem(b, (char[]){ '%', digit[c >> 4], digit[c & 15] }, 3);
    }
}

/* ---- digests ---- */

static void digest(ath_str data, uint8_t ret[SIGN_DIGEST])
{
    if (EVP_Digest(data.n ? data.p : "", data.n, ret, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

void sign_digest(ath_str data, char ret[SIGN_HEX])
{
    uint8_t bytes[SIGN_DIGEST];

    digest(data, bytes);
    sign_hex(bytes, sizeof(bytes), ret);
}

/* `ret` may be what `key` points to. */
static void hmac(ath_str key, ath_str data, uint8_t ret[SIGN_DIGEST])
{
    uint8_t out[SIGN_DIGEST];

    if (!HMAC(EVP_sha256(), key.n ? key.p : "", (int)key.n, (const uint8_t *)data.p, data.n, out,
              NULL))
        abort();
    memcpy(ret, out, sizeof(out));
}

/* ---- the canonical request ---- */

struct sorted { /* by name */
    ath_pair at[SIGN_HEADERS];
    uint32_t n;
};

static void sort(const struct sign *s, struct sorted *ret)
{
    ret->n = 0;
    for (uint32_t i = 0; i < s->header_count && i < SIGN_HEADERS; i++) {
        uint32_t at = ret->n++;
        for (; at && str_cmp(ret->at[at - 1].name, s->header[i].name) > 0; at--)
            ret->at[at] = ret->at[at - 1];
        ret->at[at] = s->header[i];
    }
}

static void put_names(struct buf *b, const struct sorted *headers)
{
    for (uint32_t i = 0; i < headers->n; i++) {
        if (i)
            buf_char(b, ';');
        buf_str(b, headers->at[i].name);
    }
}

/* Blanks in a row count as one, those at the ends as none. */
static void put_value(struct buf *b, ath_str value)
{
    value = str_trim(value);
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] != ' ' || value.p[i - 1] != ' ')
            buf_char(b, value.p[i]);
}

static void put_request(struct buf *b, const struct sign *s, ath_str query,
                        const struct sorted *headers)
{
    buf_z(b, s->method);
    buf_char(b, '\n');
    buf_str(b, s->path);
    buf_char(b, '\n');
    buf_str(b, query);
    buf_char(b, '\n');
    for (uint32_t i = 0; i < headers->n; i++) {
        buf_str(b, headers->at[i].name);
        buf_char(b, ':');
        put_value(b, headers->at[i].value);
        buf_char(b, '\n');
    }
    buf_char(b, '\n');
    put_names(b, headers);
    buf_char(b, '\n');
    buf_str(b, s->payload);
}

/* ---- the signature ---- */

static ath_str day(const struct sign *s)
{
    return str_from(s->time, 8);
}

static void put_scope(struct buf *b, const struct sign *s)
{
    buf_str(b, day(s));
    buf_char(b, '/');
    buf_str(b, s->region);
    buf_char(b, '/');
    buf_z(b, s->service);
    buf_lit(b, "/aws4_request");
}

static void make_key(const struct sign *s, uint8_t ret[SIGN_DIGEST])
{
    struct buf first = BUF_HEAP;
    ath_str key = str_from((char *)ret, SIGN_DIGEST);

    buf_lit(&first, "AWS4");
    buf_str(&first, s->secret);
    hmac(buf_view(&first), day(s), ret);
    explicit_bzero(first.p, first.n);
    buf_free(&first);
    hmac(key, s->region, ret);
    hmac(key, str_of(s->service), ret);
    hmac(key, ATH_S("aws4_request"), ret);
}

static void put_signature(struct buf *b, const struct sign *s, ath_str query,
                          const struct sorted *headers)
{
    struct buf text = BUF_HEAP, request = BUF_HEAP;
    uint8_t key[SIGN_DIGEST];
    char hex[SIGN_HEX];

    put_request(&request, s, query, headers);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n", s->time);
    put_scope(&text, s);
    sign_digest(buf_view(&request), hex);
    buf_printf(&text, "\n%s", hex);
    make_key(s, key);
    hmac(str_from((char *)key, sizeof(key)), buf_view(&text), key);
    sign_hex(key, sizeof(key), hex);
    buf_z(b, hex);
    buf_free(&request);
    buf_free(&text);
}

void sign_authorization(const struct sign *s, struct buf *b)
{
    struct sorted headers;

    sort(s, &headers);
    buf_lit(b, "AWS4-HMAC-SHA256 Credential=");
    buf_str(b, s->access);
    buf_char(b, '/');
    put_scope(b, s);
    buf_lit(b, ",SignedHeaders=");
    put_names(b, &headers);
    buf_lit(b, ",Signature=");
    put_signature(b, s, s->query, &headers);
}

void sign_link(const struct sign *s, uint32_t seconds, ath_str token, struct buf *b)
{
    struct buf scope = BUF_HEAP, names = BUF_HEAP;
    struct sorted headers;
    size_t from = b->n;

    sort(s, &headers);
    buf_str(&scope, s->access);
    buf_char(&scope, '/');
    put_scope(&scope, s);
    buf_lit(b, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=");
    sign_encode(b, buf_view(&scope), false);
    buf_printf(b, "&X-Amz-Date=%s&X-Amz-Expires=%u", s->time, seconds);
    if (token.n) {
        buf_lit(b, "&X-Amz-Security-Token=");
        sign_encode(b, token, false);
    }
    buf_lit(b, "&X-Amz-SignedHeaders=");
    put_names(&names, &headers);
    sign_encode(b, buf_view(&names), false);
    buf_free(&names);
    put_signature(&scope, s, str_after(buf_view(b), from), &headers);
    buf_lit(b, "&X-Amz-Signature=");
    buf_str(b, str_after(buf_view(&scope), scope.n - (SIGN_HEX - 1)));
    buf_free(&scope);
}
