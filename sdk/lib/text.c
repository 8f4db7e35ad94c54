/* Views of text: comparing, cutting, and the numbers that configuration and requests hold. */
#include "lib/text.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>

bool str_ieq(ath_str a, ath_str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (tolower((unsigned char)a.p[i]) != tolower((unsigned char)b.p[i]))
            return false;
    return true;
}

int str_cmp(ath_str a, ath_str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;

    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

ath_str str_trim(ath_str s)
{
    while (s.n && blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

size_t str_find(ath_str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

    return at ? (size_t)(at - s.p) : s.n;
}

bool str_next(ath_str *rest, char sep, ath_str *ret_piece)
{
    size_t n;

    if (!rest->p)
        return false;
    n = str_find(*rest, sep);
    *ret_piece = str_from(rest->p, n);
    *rest = n < rest->n ? str_after(*rest, n + 1) : (ath_str){ NULL, 0 };
    return true;
}

bool str_u64(ath_str s, uint64_t *ret)
{
    uint64_t v = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)digit, &v))
            return false;
    }
    *ret = v;
    return true;
}

bool str_i64(ath_str s, int64_t *ret)
{
    bool negative = s.n && s.p[0] == '-';
    uint64_t v;

    if (!str_u64(negative ? str_after(s, 1) : s, &v) ||
        v > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

ath_str str_from_u64(uint64_t v, char room[STR_U64_ROOM])
{
    char *end = room + STR_U64_ROOM, *at = end;

    do {
        *--at = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return str_from(at, (size_t)(end - at));
}

/* Eight digits at once, the first one in the lowest byte: each half of a byte gets a byte of its own,
 * 10 and more are letters. */
static uint64_t hex_8(uint32_t v)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t w = __builtin_bswap32(v);

    w = (w | w << 16) & 0x0000FFFF0000FFFFu;
    w = (w | w << 8) & 0x00FF00FF00FF00FFu;
    w = (w >> 4 | w << 8) & ones * 0x0F;
    return w + ones * '0' + ((w + ones * 6) >> 4 & ones) * ('a' - '0' - 10);
}

char *str_put_hex(char *at, uint64_t v)
{
    uint64_t digits[2] = { htole64(hex_8((uint32_t)(v >> 32))), htole64(hex_8((uint32_t)v)) };

    memcpy(at, digits, 16);
    return at + 16;
}

/* Vectors of the compiler's (gcc, clang): SSE2, NEON, or plain words where there is neither. The top
 * bit of a lane: its byte is below a blank, or DEL. A tab is such a byte, too. */
#define SUSPICIOUS(name, size) \
    static bool name(const char *p) \
    { \
        typedef unsigned char bytes __attribute__((vector_size(size))); \
        uint64_t word[(size) / 8], all = 0; \
        bytes v; \
        memcpy(&v, p, sizeof(v)); \
        v = ((v - 0x20) | (v + 1)) & ~v; \
        memcpy(word, &v, sizeof(word)); \
        for (size_t i = 0; i < (size) / 8; i++) \
            all |= word[i]; \
        return (all & 0x8080808080808080u) != 0; \
    }
SUSPICIOUS(suspicious_8, 8)
SUSPICIOUS(suspicious_16, 16)

/* The last step of each looks at some bytes again. */
static bool suspicious(ath_str s)
{
    if (s.n < 8)
        return s.n > 0;
    if (s.n < 16)
        return suspicious_8(s.p) || suspicious_8(s.p + s.n - 8);
    for (size_t i = 0; i + 16 < s.n; i += 16)
        if (suspicious_16(s.p + i))
            return true;
    return suspicious_16(s.p + s.n - 16);
}

bool str_has_control(ath_str s)
{
    if (!suspicious(s))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7F)
            return true;
    return false;
}

bool str_double(ath_str s, double *ret)
{
    char text[64], *end;
    double v;

    if (s.n == 0 || s.n >= sizeof(text) || blank(s.p[0]))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    errno = 0;
    v = strtod(text, &end);
    if (*end || errno == ERANGE)
        return false;
    *ret = v;
    return true;
}

bool str_bool(ath_str s, bool *ret)
{
    static const char *const words[2][5] = { { "0", "false", "no", "off", "n" },
                                             { "1", "true", "yes", "on", "y" } };

    for (int value = 0; value < 2; value++)
        for (size_t i = 0; i < ATH_COUNT(words[value]); i++)
            if (str_ieq(s, str_of(words[value][i]))) {
                *ret = value;
                return true;
            }
    return false;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* A number and one of `unit`; the first unit is meant when there is none. */
static bool with_unit(ath_str s, const struct unit *unit, size_t units, uint64_t *ret)
{
    size_t n = 0;
    uint64_t v;
    ath_str word;

    while (n < s.n && isdigit((unsigned char)s.p[n]))
        n++;
    if (!str_u64(str_from(s.p, n), &v))
        return false;
    word = str_trim(str_after(s, n));
    for (size_t i = 0; i < units; i++)
        if ((word.n == 0 && i == 0) || (word.n && str_ieq(word, str_of(unit[i].name))))
            return !__builtin_mul_overflow(v, unit[i].factor, ret);
    return false;
}

bool str_msec(ath_str s, uint64_t *ret)
{
    static const struct unit units[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "min", 60000 },
        { "h", 3600000 }, { "d", 86400000 },
    };

    return with_unit(s, units, ATH_COUNT(units), ret);
}

bool str_bytes(ath_str s, uint64_t *ret)
{
    static const struct unit units[] = {
        { "b", 1 }, { "k", 1 << 10 }, { "kb", 1 << 10 }, { "kib", 1 << 10 },
        { "m", 1 << 20 }, { "mb", 1 << 20 }, { "mib", 1 << 20 },
        { "g", 1 << 30 }, { "gb", 1 << 30 }, { "gib", 1 << 30 },
    };

    return with_unit(s, units, ATH_COUNT(units), ret);
}

unsigned str_distance(ath_str a, ath_str b, unsigned most)
{
    unsigned row[64];

    if (b.n >= ATH_COUNT(row) || a.n > b.n + most || b.n > a.n + most)
        return most + 1;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.n; j++) {
            unsigned change = diagonal + (a.p[i - 1] != b.p[j - 1]);
            unsigned other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < other ? change : other;
        }
    }
    return row[b.n] > most ? most + 1 : row[b.n];
}

/* Length of the well-formed sequence at s, or 0: the table of Unicode 15, D92 (table 3-7). */
static size_t utf8_step(const unsigned char *s, size_t n)
{
    unsigned char low = 0x80, high = 0xBF;
    size_t more;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xC2 && s[0] <= 0xDF)
        more = 1;
    else if (s[0] >= 0xE0 && s[0] <= 0xEF)
        more = 2;
    else if (s[0] >= 0xF0 && s[0] <= 0xF4)
        more = 3;
    else
        return 0;
    if (s[0] == 0xE0)
        low = 0xA0;
    else if (s[0] == 0xED)
        high = 0x9F;
    else if (s[0] == 0xF0)
        low = 0x90;
    else if (s[0] == 0xF4)
        high = 0x8F;
    if (n <= more || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i <= more; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return more + 1;
}

bool str_utf8(ath_str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t step = utf8_step((const unsigned char *)s.p + i, s.n - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

void utf8_mend(char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t step = utf8_step((const unsigned char *)p + i, n - i);
        if (step == 0)
            p[i] = '?';
        i += step ? step : 1;
    }
}

/* Eight bytes at a time, the rest with its length; each step multiplies and folds the upper half, which
 * depends on all bytes, into the lower one. */
static uint64_t hash_step(uint64_t h, uint64_t w)
{
    h = (h ^ w) * 0x9E3779B97F4A7C15u; /* 2^64 by the golden ratio */
    return h ^ h >> 32;
}

uint32_t str_hash(ath_str s)
{
    uint64_t h = s.n, w = 0;
    size_t i = 0;

    for (; i + 8 <= s.n; i += 8) {
        memcpy(&w, s.p + i, 8);
        h = hash_step(h, w);
    }
    for (w = 0; i < s.n; i++)
        w = w << 8 | (unsigned char)s.p[i];
    return (uint32_t)hash_step(h, w);
}
