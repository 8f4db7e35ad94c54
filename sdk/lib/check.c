#include "lib/check.h"

#include <string.h>

/* Eight bytes at a time. */
uint64_t check_of(uint64_t h, const void *from, size_t n)
{
    const char *p = from;
    uint64_t w;

    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    w = n;
    memcpy(&w, p, n);
    h = (h ^ w ^ (uint64_t)n << 56) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}
