/* One key: who holds it, whether a secret is its own, what it may.
 *
 * A secret that was right once is known again by a digest under numbers of this process, which
 * costs a fraction of SHA-256. What a key was found to be allowed is kept beside it, since its
 * rights never change: with other rights it is another key.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/store_priv.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/siphash.h"
#include "io/crypto.h"
#include "lib/text.h"

enum { DIGEST_WORDS = KEY_SECRET / sizeof(uint64_t) };

static uint64_t numbers[DIGEST_WORDS]; /* of this process */

void key_start(void)
{
    rand_secret((void *)numbers, sizeof(numbers));
}

/* ---- who holds it ---- */

void auth_key_hold(const struct auth_key *k)
{
    struct auth_key *key = (struct auth_key *)(uintptr_t)k;

    atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
}

void auth_key_release(const struct auth_key *k)
{
    struct auth_key *key = (struct auth_key *)(uintptr_t)k;

    if (key && atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) == 1)
        auth_key_free(key);
}

void auth_key_used(const struct auth_key *k, uint64_t now_ms)
{
    struct auth_key *key = (struct auth_key *)(uintptr_t)k;

    atomic_store_explicit(&key->used_ms, now_ms, memory_order_relaxed);
}

/* sha256("salt:secret") in hex. */
static void stored_form(ath_str salt, ath_str secret, char ret[SHA256_HEX])
{
    struct buf b = BUF_HEAP;

    buf_grow(&b, salt.n + 1 + secret.n);
    buf_str(&b, salt);
    buf_char(&b, ':');
    buf_str(&b, secret);
    crypto_sha256_hex(buf_view(&b), ret);
    explicit_bzero(b.p, b.n);
    buf_free(&b);
}

/* Secrets as they are made have 64 digits, and take the sum of products of neighbours, a random
 * number added to each word before (NH, of UMAC). Whoever does not know these numbers meets the sum
 * of a secret that he does not know either with one guess in 2^64. Others take SipHash. */
static inline void digest_of(ath_str secret, uint64_t ret[2])
{
    unsigned __int128 sum = 0;
    uint64_t word[DIGEST_WORDS];

    if (unlikely(secret.n != sizeof(word))) {
        siphash(numbers, secret, (ath_str){ "", 0 }, ret);
        return;
    }
    memcpy(word, secret.p, sizeof(word));
    for (int i = 0; i < DIGEST_WORDS; i += 2)
        sum += (unsigned __int128)(word[i] + numbers[i]) * (word[i + 1] + numbers[i + 1]);
    ret[0] = (uint64_t)sum;
    ret[1] = (uint64_t)(sum >> 64);
}

static inline bool is_digest(const struct auth_key *k, const uint64_t digest[2])
{
    return ((digest[0] ^ atomic_load_explicit(&k->fits[0], memory_order_relaxed)) |
            (digest[1] ^ atomic_load_explicit(&k->fits[1], memory_order_relaxed))) == 0;
}

bool auth_key_is_known(const struct auth_key *k, ath_str secret)
{
    uint64_t digest[2];

    digest_of(secret, digest);
    return atomic_load_explicit(&k->proven, memory_order_acquire) && is_digest(k, digest);
}

static bool fits_slowly(struct auth_key *k, ath_str secret, const uint64_t digest[2])
{
    static const ath_str no_salt = {
        "0000000000000000000000000000000000000000000000000000000000000000", SHA256_HEX - 1
    };
    char form[SHA256_HEX];
    bool same;

    stored_form(k ? k->salt : no_salt, secret, form);
    same = rand_same(str_from(form, SHA256_HEX - 1), k ? k->hash : no_salt);
    if (!same || !k)
        return false;
    atomic_store_explicit(&k->fits[0], digest[0], memory_order_relaxed);
    atomic_store_explicit(&k->fits[1], digest[1], memory_order_relaxed);
    atomic_store_explicit(&k->proven, true, memory_order_release);
    return true;
}

bool auth_key_fits(const struct auth_key *k, ath_str secret)
{
    struct auth_key *key = (struct auth_key *)(uintptr_t)k;
    uint64_t digest[2];

    digest_of(secret, digest);
    if (likely(key && atomic_load_explicit(&key->proven, memory_order_acquire) &&
               is_digest(key, digest)))
        return true;
    return fits_slowly(key, secret, digest);
}

bool auth_key_doubted(const struct auth_key *k)
{
    struct auth_key *key = (struct auth_key *)(uintptr_t)k;
    uint64_t now = clock_ms(), last;

    if (!key || !atomic_load_explicit(&key->proven, memory_order_relaxed))
        return false;
    last = atomic_load_explicit(&key->doubted_ms, memory_order_relaxed);
    return now - last >= OTHERS_MS && atomic_compare_exchange_strong(&key->doubted_ms, &last, now);
}

/* ---- what it may ---- */

struct allowed { /* a right, and its texts behind */
    ath_right right;
    char text[];
};

static bool is_same_right(const ath_right *a, const ath_right *b)
{
    return str_same(a->table, b->table) && str_same(a->action, b->action) &&
           str_same(a->schema, b->schema);
}

static struct allowed *allowed_new(const ath_right *right)
{
    struct allowed *a = mem_new(sizeof(*a) + right->schema.n + right->table.n + right->action.n);
    char *at = a->text;

    a->right = *right;
    a->right.schema = str_from(at, right->schema.n);
    a->right.table = str_from(at = str_put(at, right->schema), right->table.n);
    a->right.action = str_from(at = str_put(at, right->table), right->action.n);
    str_put(at, right->action);
    return a;
}

/* The first ones that come to a place stay there: what a key is used for seldom changes, and its
 * rights never do (it would be another key). */
bool auth_key_may(const struct auth_key *k, const ath_right *right)
{
    struct auth_key *key = (struct auth_key *)(uintptr_t)k;
    size_t n = right->table.n, at = n + (n ? (unsigned char)right->table.p[n - 1] : 0u) +
                                    (right->action.n ? (unsigned char)right->action.p[0] : 0u);
    _Atomic(struct allowed *) *place = &key->allowed[at % KEY_ALLOWED];
    struct allowed *known = atomic_load_explicit(place, memory_order_acquire), *none = NULL;

    if (likely(known && is_same_right(&known->right, right)))
        return true;
    if (!right_allows(k->rights, right))
        return false;
    if (!known) {
        known = allowed_new(right);
        if (!atomic_compare_exchange_strong(place, &none, known))
            free(known);
    }
    return true;
}
