#include "backup/seal.h"

#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/core_names.h>
#include <openssl/rand.h>

#define MAGIC   "ATHSEAL1"
#define PURPOSE "athena backup archive"
enum { MAGIC_BYTES = 8, NONCE = 12, SEALED_CHUNK = SEAL_CHUNK + SEAL_TAG_BYTES };

struct seal {
    const struct seal_ring *ring;
    bool opening, headed; /* headed: the header was written or read */
    uint8_t head[SEAL_HEAD], key[SEAL_KEY_BYTES];
    char id[SEAL_ID + 1];
    uint64_t chunks;
    EVP_CIPHER_CTX *cipher;
    size_t n; /* of `held`: what waits to be a chunk */
    uint8_t held[SEALED_CHUNK], room[SEALED_CHUNK];
};

/* ---- the ring ---- */

int seal_ring_read(struct seal_ring *ret, const ath_secrets *secrets, ath_str text,
                   const char *what, ath_err *e)
{
    ath_str piece;

    *ret = (struct seal_ring){ 0 };
    while (str_next(&text, ',', &piece)) {
        piece = str_trim(piece);
        if (!piece.n)
            continue;
        if (ret->n == SEAL_RING) {
            seal_ring_wipe(ret);
            return ath_fail(e, ATH_E_CONFIG, "%s holds more than %d keys", what, SEAL_RING);
        }
        if (!secrets->key(piece, ret->key[ret->n], ret->id[ret->n])) {
            unsigned n = ret->n + 1;
            seal_ring_wipe(ret);
            return ath_fail(e, ATH_E_CONFIG,
                            "key %u of %s is not 32 bytes in hexadecimal digits or base64", n,
                            what);
        }
        ret->n++;
    }
    return 0;
}

void seal_ring_wipe(struct seal_ring *r)
{
    explicit_bzero(r, sizeof(*r));
}

bool seal_is(ath_str head)
{
    return str_starts(head, MAGIC);
}

/* ---- an archive's key ---- */

static void derive(struct seal *s, const uint8_t key[SEAL_KEY_BYTES])
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *c = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM p[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key,
                                          SEAL_KEY_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, s->head + MAGIC_BYTES + SEAL_ID, 32),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)PURPOSE,
                                          sizeof(PURPOSE) - 1),
        OSSL_PARAM_construct_end(),
    };

    if (!c || EVP_KDF_derive(c, s->key, SEAL_KEY_BYTES, p) != 1)
        abort();
    EVP_KDF_CTX_free(c);
    EVP_KDF_free(kdf);
}

static struct seal *begin(const struct seal_ring *r, bool opening)
{
    struct seal *s = calloc(1, sizeof(*s));

    if (!s || !(s->cipher = EVP_CIPHER_CTX_new()))
        abort();
    s->ring = r;
    s->opening = opening;
    return s;
}

struct seal *seal_begin(const struct seal_ring *r)
{
    struct seal *s = begin(r, false);

    memcpy(s->head, MAGIC, MAGIC_BYTES);
    memcpy(s->head + MAGIC_BYTES, r->id[0], SEAL_ID);
    memcpy(s->id, r->id[0], SEAL_ID);
    if (RAND_bytes(s->head + MAGIC_BYTES + SEAL_ID, 32) != 1)
        abort();
    derive(s, r->key[0]);
    return s;
}

struct seal *seal_open_begin(const struct seal_ring *r)
{
    return begin(r, true);
}

void seal_free(struct seal *s)
{
    if (!s)
        return;
    EVP_CIPHER_CTX_free(s->cipher);
    explicit_bzero(s, sizeof(*s));
    free(s);
}

const char *seal_id(const struct seal *s)
{
    return s->id;
}

/* ---- chunks ---- */

/* A number of eleven bytes would do for more than can be stored; eight of them suffice. */
static void begin_chunk(struct seal *s, bool last, int sealing)
{
    uint8_t nonce[NONCE] = { 0 };
    uint64_t number = __builtin_bswap64(s->chunks);
    int n;

    memcpy(nonce + 3, &number, 8);
    nonce[11] = last;
    if (EVP_CipherInit_ex(s->cipher, EVP_aes_256_gcm(), NULL, s->key, nonce, sealing) != 1 ||
        EVP_CipherUpdate(s->cipher, NULL, &n, s->head, SEAL_HEAD) != 1)
        abort();
}

static void put_chunk(struct seal *s, bool last, struct buf *out)
{
    uint8_t *to = (uint8_t *)buf_room(out, s->n + SEAL_TAG_BYTES);
    int n = 0, rest = 0;

    begin_chunk(s, last, 1);
    if ((s->n && EVP_EncryptUpdate(s->cipher, to, &n, s->held, (int)s->n) != 1) ||
        EVP_EncryptFinal_ex(s->cipher, to + n, &rest) != 1 ||
        EVP_CIPHER_CTX_ctrl(s->cipher, EVP_CTRL_GCM_GET_TAG, SEAL_TAG_BYTES, to + s->n) != 1)
        abort();
    buf_end(out, (char *)to + s->n + SEAL_TAG_BYTES);
    s->chunks++;
    s->n = 0;
}

static bool open_as(struct seal *s, bool last)
{
    size_t text = s->n - SEAL_TAG_BYTES;
    int n = 0, rest = 0;

    begin_chunk(s, last, 0);
    return (!text || EVP_DecryptUpdate(s->cipher, s->room, &n, s->held, (int)text) == 1) &&
           EVP_CIPHER_CTX_ctrl(s->cipher, EVP_CTRL_GCM_SET_TAG, SEAL_TAG_BYTES, s->held + text) ==
               1 &&
           EVP_DecryptFinal_ex(s->cipher, s->room + n, &rest) == 1;
}

/* What failed is tried the other way, for the words alone. */
static int open_chunk(struct seal *s, bool last, struct buf *out, ath_err *e)
{
    if (s->n < SEAL_TAG_BYTES)
        return ath_fail(e, ATH_E_INPUT, "the sealed archive ends too early");
    if (!open_as(s, last)) {
        if (open_as(s, !last))
            return ath_fail(e, ATH_E_INPUT, "the sealed archive %s",
                            last ? "ends too early" : "goes on behind its end");
        return ath_fail(
            e, ATH_E_INPUT,
            "chunk %llu of the sealed archive is damaged, cut short or not in its place",
            (unsigned long long)s->chunks);
    }
    buf_mem(out, (const char *)s->room, s->n - SEAL_TAG_BYTES);
    s->chunks++;
    s->n = 0;
    return 0;
}

/* ---- feeding ---- */

static int read_head(struct seal *s, ath_err *e)
{
    const char *id = (const char *)s->head + MAGIC_BYTES;

    if (memcmp(s->head, MAGIC, MAGIC_BYTES) != 0)
        return ath_fail(e, ATH_E_INPUT, "the archive is not sealed");
    for (uint32_t i = 0; i < s->ring->n; i++)
        if (memcmp(id, s->ring->id[i], SEAL_ID) == 0) {
            memcpy(s->id, id, SEAL_ID);
            derive(s, s->ring->key[i]);
            s->headed = true;
            return 0;
        }
    return ath_fail(e, ATH_E_CONFIG,
                    "the archive is sealed by a key that is not in backup.encryption_keys");
}

static size_t hold(uint8_t *to, size_t *n, size_t most, ath_str *bytes)
{
    size_t some = most - *n < bytes->n ? most - *n : bytes->n;

    memcpy(to + *n, bytes->p, some);
    *n += some;
    *bytes = str_after(*bytes, some);
    return most - *n;
}

static int feed_open(struct seal *s, ath_str bytes, bool last, struct buf *out, ath_err *e)
{
    int rc = 0;

    if (!s->headed) {
        if (hold(s->head, &s->n, SEAL_HEAD, &bytes))
            return last ? ath_fail(e, ATH_E_INPUT, "the sealed archive ends too early") : 0;
        s->n = 0;
        if ((rc = read_head(s, e)) < 0)
            return rc;
    }
    while (rc == 0 && bytes.n) {
        if (s->n == SEALED_CHUNK) /* and there is more behind it */
            rc = open_chunk(s, false, out, e);
        if (rc == 0)
            hold(s->held, &s->n, SEALED_CHUNK, &bytes);
    }
    return rc < 0 || !last ? rc : open_chunk(s, true, out, e);
}

/* A chunk is written when it is known whether it is the last one. */
int seal_feed(struct seal *s, ath_str bytes, bool last, struct buf *out, ath_err *e)
{
    if (s->opening)
        return feed_open(s, bytes, last, out, e);
    if (!s->headed)
        buf_mem(out, (const char *)s->head, SEAL_HEAD);
    s->headed = true;
    while (bytes.n) {
        if (s->n == SEAL_CHUNK)
            put_chunk(s, false, out);
        hold(s->held, &s->n, SEAL_CHUNK, &bytes);
    }
    if (last)
        put_chunk(s, true, out);
    return 0;
}
