/* The public key of an answer: SHA-256, in hex, of its internal key
 *
 *     <schema>.<table>:<client>:<16 hex>:<16 hex>:<strip>
 *
 * The two numbers stand for statement, values and what is done to the rows (dp_digest). A context for
 * the digest is kept per loop: making one costs more than using it.
 */
#include "gateway.h"

#include <openssl/evp.h>

struct gateway_local {
    EVP_MD *sha256;
    EVP_MD_CTX *context;
};

void gateway_loop_fini(ath_loop *l, void *state, void *local)
{
    struct gateway_local *g = local;

    (void)l;
    (void)state;
    if (!g)
        return;
    EVP_MD_CTX_free(g->context);
    EVP_MD_free(g->sha256);
    free(g);
}

int gateway_loop_init(ath_loop *l, void *state, void **ret_local, ath_err *e)
{
    struct gateway_local *g = calloc(1, sizeof(*g));

    if (!g)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    g->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    g->context = EVP_MD_CTX_new();
    if (!g->sha256 || !g->context) {
        gateway_loop_fini(l, state, g);
        return ath_fail(e, ATH_E_BUG, "libcrypto offers no SHA-256");
    }
    *ret_local = g;
    return 0;
}

static char *hex_bytes(char *to, const unsigned char *p, size_t n)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        *to++ = hex[p[i] >> 4];
        *to++ = hex[p[i] & 15];
    }
    return to;
}

/* Client names are matched without regard to case; so is the key. Long names are cut: the numbers
 * and the table tell questions apart within one client. */
static char *name_put(char *to, char *end, ath_str name, bool lower)
{
    for (size_t i = 0; i < name.n && to < end; i++) {
        char c = name.p[i];
        *to++ = lower && c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
    }
    return to;
}

int gateway_cache_key(struct gateway_local *l, const struct dp_fetch *f, const struct dp_query *q,
                      ath_str client, bool strip, char ret[CACHE_KEY_TEXT + 1], ath_err *e)
{
    char key[512], *at = key, *end = key + sizeof(key) - 64;
    unsigned char digest[EVP_MAX_MD_SIZE];
    uint64_t h[2];

    dp_digest(q, f, h);
    at = name_put(at, end, f->root.relation->schema, false);
    *at++ = '.';
    at = name_put(at, end, f->root.relation->name, false);
    *at++ = ':';
    at = name_put(at, end, client, true);
    *at++ = ':';
    at = hex_bytes(at, (const unsigned char *)h, sizeof(h));
    *at++ = strip ? 's' : '-';
    if (!EVP_DigestInit_ex2(l->context, l->sha256, NULL) ||
        !EVP_DigestUpdate(l->context, key, (size_t)(at - key)) ||
        !EVP_DigestFinal_ex(l->context, digest, NULL))
        return ath_fail(e, ATH_E_BUG, "SHA-256 failed");
    *hex_bytes(ret, digest, CACHE_KEY_TEXT / 2) = 0;
    return 0;
}
