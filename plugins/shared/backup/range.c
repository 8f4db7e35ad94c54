#include "backup/range.h"

static struct range whole(uint64_t size)
{
    return (struct range){ RANGE_WHOLE, 0, size };
}

/* The last `n` bytes: of what is shorter all. */
static struct range last(uint64_t n, uint64_t size)
{
    if (n == 0 || size == 0)
        return (struct range){ RANGE_NONE, 0, 0 };
    if (n > size)
        n = size;
    return (struct range){ RANGE_PART, size - n, n };
}

struct range range_of(ath_str header, uint64_t size)
{
    ath_str s = str_trim(header), from, to;
    uint64_t a, b = UINT64_MAX;
    size_t dash;

    if (s.n < 6 || !str_ieq(str_from(s.p, 6), ATH_S("bytes=")))
        return whole(size);
    s = str_trim(str_after(s, 6));
    dash = str_find(s, '-');
    if (dash == s.n)
        return whole(size);
    from = str_trim(str_from(s.p, dash));
    to = str_trim(str_after(s, dash + 1));
    if (!from.n)
        return str_u64(to, &b) ? last(b, size) : whole(size);
    if (!str_u64(from, &a) || (to.n && !str_u64(to, &b)) || b < a)
        return whole(size);
    if (a >= size)
        return (struct range){ RANGE_NONE, 0, 0 };
    return (struct range){ RANGE_PART, a, (b < size - 1 ? b : size - 1) - a + 1 };
}

bool range_if(ath_str header, ath_str etag)
{
    header = str_trim(header);
    return !header.n || (etag.n && etag.p[0] == '"' && str_eq(header, etag));
}

static ath_str opaque(ath_str tag)
{
    tag = str_trim(tag);
    return str_starts(tag, "W/") ? str_after(tag, 2) : tag;
}

bool range_matches(ath_str header, ath_str etag)
{
    ath_str piece;

    if (str_is(str_trim(header), "*"))
        return true;
    while (str_next(&header, ',', &piece))
        if (etag.n && str_eq(opaque(piece), opaque(etag)))
            return true;
    return false;
}
