/* Names of header fields, eight bytes at a time: every request has some twenty of them to look at.
 *
 * A word is eight lanes of a byte. Bytes below 0x80 can be compared in all lanes at once: adding
 * 0x80 - x sets a lane's top bit when the byte is x or more, and never carries into the next lane.
 */
#include <string.h>

#include "http/http_priv.h"

#define LANES(byte) ((uint64_t)0x0101010101010101u * (byte))

static uint64_t from(uint64_t w, unsigned char least)
{
    return w + LANES(0x80u - least);
}

static uint64_t capitals(uint64_t w)
{
    return from(w, 'A') & ~from(w, 'Z' + 1) & LANES(0x80);
}

static void lower_8(char *p)
{
    uint64_t w;

    memcpy(&w, p, 8);
    w |= capitals(w) >> 2; /* 0x80 of each capital becomes 0x20 */
    memcpy(p, &w, 8);
}

void name_lower(char *p, size_t n)
{
    if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8)
            lower_8(p + i);
        lower_8(p + n - 8); /* some of them twice, which changes nothing */
        return;
    }
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
}

/* Each term sets a lane's top bit when its byte is not below 0x80, below '!', DEL, a colon, a
 * capital. A subtraction borrows from the next lane only where it has found something. */
static bool good_8(const char *p)
{
    uint64_t w, bad;

    memcpy(&w, p, 8);
    bad = w | (w - LANES('!')) | (w + LANES(1)) | ((w ^ LANES(':')) - LANES(1)) | capitals(w);
    return (bad & LANES(0x80)) == 0;
}

bool name_is_good(ath_str s)
{
    char word[8] = "aaaaaaaa";

    if (s.n < 8) {
        for (size_t i = 0; i < s.n; i++)
            word[i] = s.p[i];
        return s.n > 0 && good_8(word);
    }
    for (size_t i = 0; i + 8 < s.n; i += 8)
        if (!good_8(s.p + i))
            return false;
    return good_8(s.p + s.n - 8);
}

bool target_is_good(ath_str s, const char *but)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7F || strchr(but, s.p[i]))
            return false;
    return true;
}
