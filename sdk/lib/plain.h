/* sdk/lib/plain.h - copying texts that need no escaping, which is nearly every text.
 *
 * A text is looked at while it is copied, sixteen bytes at a time; short ones and ends are loads
 * that overlap, as in str_put(). So a writer of JSON or COPY asks once and goes byte by byte only for
 * the few texts that say no.
 */
#ifndef SDK_LIB_PLAIN_H
#define SDK_LIB_PLAIN_H

#include "lib/text.h"

/* What stops a copy besides bytes below a blank and backslashes. */
enum plain {
    PLAIN_JSON,                  /* quotes */
    PLAIN_COPY,                  /* bytes above ASCII, which have to be looked at */
};

typedef int8_t plain_lanes __attribute__((vector_size(16)));

#define PLAIN static inline __attribute__((always_inline))

/* Lanes that are not plain are not 0. */
PLAIN plain_lanes plain_bad(plain_lanes x, enum plain kind)
{
    plain_lanes bad = (plain_lanes)(x == '\\');

    if (kind == PLAIN_COPY) /* as signed numbers, those above ASCII are below a blank, too */
        return bad | (plain_lanes)(x < ' ');
    return bad | (plain_lanes)(x == '"') | (plain_lanes)((x & (int8_t)~31) == 0);
}

PLAIN bool plain_none(plain_lanes bad)
{
    uint64_t half[2];

    memcpy(half, &bad, sizeof(half));
    return (half[0] | half[1]) == 0;
}

PLAIN plain_lanes plain_two(uint64_t head, uint64_t tail)
{
    uint64_t half[2] = { head, tail };
    plain_lanes x;

    memcpy(&x, half, sizeof(x));
    return x;
}

PLAIN bool plain_put_long(char *at, ath_str s, enum plain kind)
{
    plain_lanes x, bad = { 0 };
    size_t i = 0;

    for (; i + 16 <= s.n; i += 16) {
        memcpy(&x, s.p + i, 16);
        memcpy(at + i, &x, 16);
        bad |= plain_bad(x, kind);
    }
    memcpy(&x, s.p + s.n - 16, 16);
    memcpy(at + s.n - 16, &x, 16);
    return plain_none(bad | plain_bad(x, kind));
}

PLAIN bool plain_byte(char c, enum plain kind)
{
    unsigned char u = (unsigned char)c;

    return u >= ' ' && u != '\\' && (kind == PLAIN_COPY ? u < 128 : u != '"');
}

/* Up to 15 bytes, at least one. */
PLAIN bool plain_put_short(char *at, ath_str s, enum plain kind)
{
    const char *p = s.p;
    size_t n = s.n;

    if (n >= 8) {
        uint64_t head, tail;
        memcpy(&head, p, 8);
        memcpy(&tail, p + n - 8, 8);
        memcpy(at, &head, 8);
        memcpy(at + n - 8, &tail, 8);
        return plain_none(plain_bad(plain_two(head, tail), kind));
    }
    if (n >= 4) {
        uint32_t head, tail;
        uint64_t both;
        memcpy(&head, p, 4);
        memcpy(&tail, p + n - 4, 4);
        memcpy(at, &head, 4);
        memcpy(at + n - 4, &tail, 4);
        both = (uint64_t)head << 32 | tail;
        return plain_none(plain_bad(plain_two(both, both), kind));
    }
    at[0] = p[0];
    at[n / 2] = p[n / 2];
    at[n - 1] = p[n - 1];
    return plain_byte(p[0], kind) && plain_byte(p[n / 2], kind) && plain_byte(p[n - 1], kind);
}

/* Copies `s` to `at`, where there is room for it. False when it is not plain: what stands at `at`
 * then is of no use. */
PLAIN bool plain_put(char *at, ath_str s, enum plain kind)
{
    if (s.n >= 16)
        return plain_put_long(at, s, kind);
    return s.n == 0 || plain_put_short(at, s, kind);
}

/* How far the plain bytes that begin at `p` go, by sixteen: for texts that are not plain. */
PLAIN const char *plain_skip(const char *p, const char *end, enum plain kind)
{
    for (plain_lanes x; end - p >= 16; p += 16) {
        memcpy(&x, p, 16);
        if (!plain_none(plain_bad(x, kind)))
            break;
    }
    return p;
}

#undef PLAIN
#endif
