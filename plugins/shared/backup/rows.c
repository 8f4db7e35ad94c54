/* Sixteen bytes at a time, in two lanes: each multiplies what came with what it holds, keeps both
 * halves of the product, and adds what the other one held. */
#include "backup/rows.h"

static const uint64_t K0 = 0x9e3779b97f4a7c15u, K1 = 0xbf58476d1ce4e5b9u, K2 = 0x94d049bb133111ebu,
                      K3 = 0xd6e8feb86659fd93u;

static inline uint64_t fold(uint64_t x, uint64_t y)
{
    __uint128_t product = (__uint128_t)x * y;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline void mix(struct rows *r, uint64_t x, uint64_t y)
{
    uint64_t a = r->a;

    r->a = fold(a ^ x, y ^ K0) + r->b;
    r->b = fold(r->b ^ y, x ^ K1) + a;
}

static inline void mix_piece(struct rows *r, const char *p)
{
    uint64_t x, y;

    memcpy(&x, p, 8);
    memcpy(&y, p + 8, 8);
    mix(r, x, y);
}

static void line_begin(struct rows *r)
{
    r->a = K2;
    r->b = K3;
    r->n = 0;
    r->held = 0;
}

static inline void line_more(struct rows *r, const char *p, size_t n)
{
    size_t room = sizeof(r->piece) - r->held, some = n < room ? n : room;

    r->n += n;
    if (r->held || n < sizeof(r->piece)) {
        memcpy(r->piece + r->held, p, some);
        r->held = (uint8_t)(r->held + some);
        if (r->held < sizeof(r->piece))
            return;
        mix_piece(r, r->piece);
        r->held = 0;
        p += some;
        n -= some;
    }
    for (; n >= sizeof(r->piece); p += sizeof(r->piece), n -= sizeof(r->piece))
        mix_piece(r, p);
    memcpy(r->piece, p, n);
    r->held = (uint8_t)n;
}

static inline void line_end(struct rows *r)
{
    if (r->ended) {
        r->beyond |= r->n != 0;
    } else if (r->n == 2 && memcmp(r->piece, "\\.", 2) == 0) {
        r->ended = true;
    } else {
        r->rows++;
        memset(r->piece + r->held, 0, sizeof(r->piece) - r->held);
        mix_piece(r, r->piece);
        mix(r, r->n, K3);
        r->digest[0] += r->a;
        r->digest[1] += r->b;
        r->bytes += r->n + 1;
    }
    line_begin(r);
}

/* Without the digest only a line's first bytes matter, by which its end is known. */
static inline void line_skip(struct rows *r, const char *p, size_t n)
{
    r->n += n;
    if (r->held < 2) {
        size_t some = n < 2 ? n : 2;
        memcpy(r->piece + r->held, p, some);
        r->held = (uint8_t)(r->held + some);
    }
}

void rows_begin(struct rows *r, bool hash)
{
    *r = (struct rows){ .hash = hash };
    line_begin(r);
}

void rows_feed(struct rows *r, ath_str bytes)
{
    const char *p = bytes.p, *end = p + bytes.n;

    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((lf ? lf : end) - p);
        if (r->hash)
            line_more(r, p, n);
        else
            line_skip(r, p, n);
        if (!lf)
            return;
        line_end(r);
        p = lf + 1;
    }
}
