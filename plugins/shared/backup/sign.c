#include "backup/sign.h"

#include "backup/sha.h"

enum { KEY = 32, SIGNATURE = 64 };

static void put_hex(const uint8_t *in, size_t n, char *ret)
{
    struct buf b = BUF_HEAP;

    buf_hex(&b, in, n);
    memcpy(ret, b.p, b.n + 1);
    buf_free(&b);
}

static EVP_PKEY *key_of(ath_str hex, bool secret)
{
    uint8_t raw[KEY];
    EVP_PKEY *key = NULL;

    if (hex_read(hex, raw, KEY))
        key = secret ? EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, KEY)
                     : EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, KEY);
    explicit_bzero(raw, sizeof(raw));
    return key;
}

static void public_of(const EVP_PKEY *key, char ret[SIGN_KEY_HEX + 1])
{
    uint8_t raw[KEY];
    size_t n = sizeof(raw);

    if (EVP_PKEY_get_raw_public_key(key, raw, &n) != 1)
        abort();
    put_hex(raw, KEY, ret);
}

void sign_make(char secret[SIGN_KEY_HEX + 1], char public_key[SIGN_KEY_HEX + 1],
               char id[SIGN_ID + 1])
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    uint8_t raw[KEY], digest[32];
    size_t n = sizeof(raw);

    if (!key || EVP_PKEY_get_raw_private_key(key, raw, &n) != 1)
        abort();
    put_hex(raw, KEY, secret);
    explicit_bzero(raw, sizeof(raw));
    public_of(key, public_key);
    sha_of(str_from(public_key, SIGN_KEY_HEX), digest);
    put_hex(digest, SIGN_ID / 2, id);
    EVP_PKEY_free(key);
}

bool sign_public(ath_str secret, char ret[SIGN_KEY_HEX + 1])
{
    EVP_PKEY *key = key_of(secret, true);

    if (key)
        public_of(key, ret);
    EVP_PKEY_free(key);
    return key != NULL;
}

void sign_digest(const struct record_row *r, char ret[RECORD_HEX + 1])
{
    const ath_str part[] = { r->kind,  r->backup_id, r->job_id, r->key,
                             r->facts, r->previous,  r->signer };
    struct buf b = BUF_HEAP;
    uint8_t digest[32];

    buf_lit(&b, "athena backup record 1\n");
    buf_str(&b, r->seq);
    buf_char(&b, '\n');
    buf_str(&b, r->at);
    buf_char(&b, '\n');
    for (size_t i = 0; i < ATH_COUNT(part); i++) {
        buf_u64(&b, part[i].n);
        buf_char(&b, ':');
        buf_str(&b, part[i]);
        buf_char(&b, '\n');
    }
    sha_of(buf_view(&b), digest);
    put_hex(digest, sizeof(digest), ret);
    buf_free(&b);
}

bool sign(ath_str secret, ath_str digest, char ret[RECORD_SIGNATURE_HEX + 1])
{
    EVP_PKEY *key = key_of(secret, true);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    uint8_t raw[SIGNATURE];
    size_t n = sizeof(raw);
    bool ok = key && c && EVP_DigestSignInit(c, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestSign(c, raw, &n, (const uint8_t *)digest.p, digest.n) == 1;

    if (ok)
        put_hex(raw, SIGNATURE, ret);
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(key);
    return ok;
}

bool sign_holds(ath_str public_key, ath_str digest, ath_str signature)
{
    uint8_t raw[SIGNATURE];
    EVP_PKEY *key = key_of(public_key, false);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = key && c && hex_read(signature, raw, SIGNATURE) &&
              EVP_DigestVerifyInit(c, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestVerify(c, raw, SIGNATURE, (const uint8_t *)digest.p, digest.n) == 1;

    EVP_MD_CTX_free(c);
    EVP_PKEY_free(key);
    return ok;
}
