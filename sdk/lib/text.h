/* sdk/lib/text.h - views of text (ath_str) and numbers in text.
 *
 * An ath_str is a pointer and a length, passed by value and borrowed: it never owns. Nothing here
 * allocates. Comparisons are by bytes; the "i" ones fold ASCII letters only.
 */
#ifndef SDK_LIB_TEXT_H
#define SDK_LIB_TEXT_H

#include <athena/plugin.h>

#include <stdbool.h>

#include "lib/banned.h"

/* printf: "%.*s", STR_ARG(s) */
#define STR_ARG(s) (int)(s).n, (s).n ? (s).p : ""

static inline ath_str str_of(const char *z)
{
    return (ath_str){ z, z ? strlen(z) : 0 };
}

static inline ath_str str_from(const char *p, size_t n)
{
    return (ath_str){ p, n };
}

static inline bool str_eq(ath_str a, ath_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Inlined in any case, as `z` is nearly always a literal: its length then costs nothing. */
#define STR_LITERAL static inline __attribute__((always_inline))

STR_LITERAL bool str_is(ath_str a, const char *z)
{
    return str_eq(a, str_of(z));
}

/* The same for what is compared often and short: up to 16 bytes without a call. */
static inline bool str_same(ath_str a, ath_str b)
{
    if (a.n != b.n)
        return false;
    if (a.n > 16)
        return memcmp(a.p, b.p, a.n) == 0;
    if (a.n >= 8) {
        uint64_t x[2], y[2];
        memcpy(&x[0], a.p, 8);
        memcpy(&x[1], a.p + a.n - 8, 8);
        memcpy(&y[0], b.p, 8);
        memcpy(&y[1], b.p + a.n - 8, 8);
        return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
    }
    if (a.n >= 4) {
        uint32_t x[2], y[2];
        memcpy(&x[0], a.p, 4);
        memcpy(&x[1], a.p + a.n - 4, 4);
        memcpy(&y[0], b.p, 4);
        memcpy(&y[1], b.p + a.n - 4, 4);
        return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
    }
    for (size_t i = 0; i < a.n; i++)
        if (a.p[i] != b.p[i])
            return false;
    return true;
}

/* Copies `s` to `at`, where there is room for it, and returns the end. For the many short pieces of a
 * line: a piece of up to 32 bytes is a few loads and stores that may overlap. */
static inline char *str_put(char *at, ath_str s)
{
    const char *p = s.p;
    size_t n = s.n;

    if (n > 32) {
        memcpy(at, p, n);
    } else if (n > 16) {
        char head[16], tail[16];
        memcpy(head, p, 16);
        memcpy(tail, p + n - 16, 16);
        memcpy(at, head, 16);
        memcpy(at + n - 16, tail, 16);
    } else if (n >= 8) {
        uint64_t head, tail;
        memcpy(&head, p, 8);
        memcpy(&tail, p + n - 8, 8);
        memcpy(at, &head, 8);
        memcpy(at + n - 8, &tail, 8);
    } else if (n >= 4) {
        uint32_t head, tail;
        memcpy(&head, p, 4);
        memcpy(&tail, p + n - 4, 4);
        memcpy(at, &head, 4);
        memcpy(at + n - 4, &tail, 4);
    } else if (n) {
        char first = p[0], middle = p[n / 2], last = p[n - 1];
        at[0] = first;
        at[n / 2] = middle;
        at[n - 1] = last;
    }
    return at + n;
}

bool str_ieq(ath_str a, ath_str b);

STR_LITERAL bool str_starts(ath_str s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

STR_LITERAL bool str_ends(ath_str s, const char *suffix)
{
    size_t n = strlen(suffix);

    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

/* Byte order, a prefix before what it begins; for sorting. */
int str_cmp(ath_str a, ath_str b);

/* Without blanks, tabs, CR and LF at both ends. */
ath_str str_trim(ath_str s);

/* The text from `from` to the end; empty when `from` is past it. */
static inline ath_str str_after(ath_str s, size_t from)
{
    return from < s.n ? (ath_str){ s.p + from, s.n - from } : (ath_str){ s.p + s.n, 0 };
}

/* Position of the first `c`, or s.n. */
size_t str_find(ath_str s, char c);

/* Cuts the next piece up to `sep` off *rest. False when nothing is left. */
bool str_next(ath_str *rest, char sep, ath_str *ret_piece);

/* The whole text as a number; false when it is anything else or does not fit. */
bool str_i64(ath_str s, int64_t *ret);
bool str_u64(ath_str s, uint64_t *ret);
bool str_double(ath_str s, double *ret);

/* `v` in decimal, in the end of `room`. */
enum { STR_U64_ROOM = 20 };
ath_str str_from_u64(uint64_t v, char room[STR_U64_ROOM]);

/* The 16 hexadecimal digits of `v`, in lower case, to `at`; returns the end. */
char *str_put_hex(char *at, uint64_t v);

/* A byte below blank, other than a tab, or DEL: what may not stand in a header line. */
bool str_has_control(ath_str s);

/* One grammar for all switches: 1 true yes on y, 0 false no off n, any case. */
bool str_bool(ath_str s, bool *ret);

/* "250ms", "5s", "10m", "2h", "1d"; a bare number is milliseconds. */
bool str_msec(ath_str s, uint64_t *ret);

/* "512", "64k", "2m", "1g" (powers of 1024; "kb", "kib" too). */
bool str_bytes(ath_str s, uint64_t *ret);

/* Edit distance, for "did you mean"; at most `most` + 1. */
unsigned str_distance(ath_str a, ath_str b, unsigned most);

/* True when the bytes are well-formed UTF-8 (no surrogates, nothing over U+10FFFF). */
bool str_utf8(ath_str s);

/* Each byte that is not part of well-formed UTF-8 becomes '?'. */
void utf8_mend(char *p, size_t n);

uint32_t str_hash(ath_str s);

#endif
