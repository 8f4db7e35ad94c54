/* One ring for the process. What is sealed names its key, so that a missing one is told from what
 * was tampered with. */
#include "io/secrets.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/rand.h"
#include "io/crypto.h"
#include "lib/uri.h"

#define PREFIX "enc:v1:"
enum { ID = 8, HEAD = sizeof(PREFIX) - 1 + ID + 1 };

struct ring {
    uint8_t key[SECRETS_KEYS][SEAL_KEY];
    char id[SECRETS_KEYS][ID + 1];
    size_t n;
};

static struct ring ring;

/* ---- the ring ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(ath_str text, uint8_t key[SEAL_KEY])
{
    if (text.n != 2 * SEAL_KEY)
        return false;
    for (size_t i = 0; i < SEAL_KEY; i++) {
        int high = hex_digit(text.p[2 * i]), low = hex_digit(text.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool read_base64(ath_str text, uint8_t key[SEAL_KEY])
{
    uint8_t room[SEAL_KEY + 16];
    size_t n;
    bool ok =
        text.n == CRYPTO_BASE64(SEAL_KEY) - 1 && crypto_unbase64(text, room, &n) && n == SEAL_KEY;

    if (ok)
        memcpy(key, room, SEAL_KEY);
    explicit_bzero(room, sizeof(room));
    return ok;
}

static bool read_key(ath_str text, uint8_t key[SEAL_KEY], char id[ID + 1])
{
    char digest[SHA256_HEX];

    if (!read_hex(text, key) && !read_base64(text, key))
        return false;
    crypto_sha256_hex(str_from((const char *)key, SEAL_KEY), digest);
    memcpy(id, digest, ID);
    id[ID] = 0;
    return true;
}

static int add_key(struct ring *r, ath_str text, ath_err *e)
{
    if (!read_key(text, r->key[r->n], r->id[r->n])) {
        err_fail(e, ATH_E_CONFIG,
                 "key %zu of ATHENA_SECRETS_KEY is not 32 bytes in hexadecimal digits or base64",
                 r->n + 1);
        err_hint(e, "Make one with `openssl rand -base64 32`.");
        return e->rc;
    }
    r->n++;
    return 0;
}

int secrets_start(ath_str keys, ath_err *e)
{
    struct ring fresh = { 0 };
    ath_str piece;
    int rc = 0;

    while (rc == 0 && str_next(&keys, ',', &piece)) {
        piece = str_trim(piece);
        if (piece.n && fresh.n == SECRETS_KEYS)
            rc = err_fail(e, ATH_E_CONFIG, "ATHENA_SECRETS_KEY holds more than %d keys",
                          SECRETS_KEYS);
        else if (piece.n)
            rc = add_key(&fresh, piece, e);
    }
    if (rc == 0 && ring.n == 0)
        ring = fresh;
    explicit_bzero(&fresh, sizeof(fresh));
    return rc;
}

void secrets_stop(void)
{
    explicit_bzero(&ring, sizeof(ring));
}

bool secrets_on(void)
{
    return ring.n > 0;
}

/* ---- sealing ---- */

void secrets_seal(struct buf *b, ath_str text)
{
    struct buf sealed = BUF_HEAP;

    if (!ring.n) {
        buf_str(b, text);
        return;
    }
    buf_lit(b, PREFIX);
    buf_z(b, ring.id[0]);
    buf_char(b, ':');
    buf_grow(&sealed, text.n + SEAL_MORE);
    crypto_seal(ring.key[0], str_of(PREFIX), text, (uint8_t *)sealed.p);
    buf_grow(b, CRYPTO_BASE64(text.n + SEAL_MORE));
    b->n += crypto_base64(str_from(sealed.p, text.n + SEAL_MORE), b->p + b->n);
    buf_free(&sealed);
}

static const uint8_t *key_of(ath_str stored)
{
    for (size_t i = 0; i < ring.n; i++)
        if (stored.n > HEAD && memcmp(stored.p + HEAD - 1 - ID, ring.id[i], ID) == 0)
            return ring.key[i];
    return NULL;
}

static int open_sealed(struct buf *b, ath_str stored, ath_err *e)
{
    ath_str text = str_after(stored, HEAD);
    const uint8_t *key = key_of(stored);
    struct buf sealed = BUF_HEAP;
    size_t n = 0;
    bool ok;

    if (!key) {
        err_fail(e, ATH_E_CONFIG, "a stored secret is sealed by a key that is not in %s",
                 "ATHENA_SECRETS_KEY");
        err_hint(e, "Add the key that was used before to ATHENA_SECRETS_KEY, behind the others.");
        return e->rc;
    }
    buf_grow(&sealed, text.n);
    ok = stored.p[HEAD - 1] == ':' && crypto_unbase64(text, (uint8_t *)sealed.p, &n) &&
         n >= SEAL_MORE;
    if (ok) {
        buf_grow(b, n);
        ok = crypto_open(key, str_of(PREFIX), str_from(sealed.p, n), (uint8_t *)b->p + b->n);
    }
    if (ok)
        buf_end(b, b->p + b->n + n - SEAL_MORE);
    buf_free(&sealed);
    return ok ? 0 : err_fail(e, ATH_E_CONFIG, "a stored secret is damaged");
}

int secrets_open(struct buf *b, ath_str stored, ath_err *e)
{
    if (str_starts(stored, PREFIX))
        return open_sealed(b, stored, e);
    buf_str(b, stored);
    return 0;
}

bool secrets_is_current(ath_str stored)
{
    return !ring.n || (str_starts(stored, PREFIX) && key_of(stored) == ring.key[0]);
}

/* ---- the service ---- */

static int service_on(void)
{
    return secrets_on();
}

static ath_str service_seal(ath_arena *a, ath_str text)
{
    struct buf b = ARENA_BUF(a);

    secrets_seal(&b, text);
    return buf_view(&b);
}

static int service_open(ath_arena *a, ath_str stored, ath_str *ret, ath_err *e)
{
    struct buf b = ARENA_BUF(a);
    ath_err unsaid;
    int rc = secrets_open(&b, stored, e ? e : &unsaid);

    *ret = rc == 0 ? buf_view(&b) : ATH_S("");
    return rc;
}

static ath_str service_mask(ath_arena *a, ath_str uri)
{
    struct buf b = ARENA_BUF(a);

    buf_uri_masked(&b, uri);
    return buf_view(&b);
}

static ath_str service_sha256(ath_arena *a, ath_str text)
{
    char *digest = arena_alloc(a, SHA256_HEX);

    crypto_sha256_hex(text, digest);
    return str_from(digest, SHA256_HEX - 1);
}

static int service_key(ath_str text, uint8_t ret[SEAL_KEY], char ret_id[ID + 1])
{
    return read_key(text, ret, ret_id);
}

const ath_secrets secrets_service = {
    .size = sizeof(ath_secrets),
    .on = service_on,
    .seal = service_seal,
    .open = service_open,
    .mask = service_mask,
    .random = rand_secret,
    .sha256 = service_sha256,
    .key = service_key,
};
