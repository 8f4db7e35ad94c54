/* Types, units, ranges. */
#include "config/value.h"

const char *value_wanted(uint32_t type)
{
    switch (type) {
    case ATH_T_INT:
        return "a whole number";
    case ATH_T_BOOL:
        return "true or false";
    case ATH_T_MSEC:
        return "a duration such as 250ms, 5s or 10m";
    case ATH_T_BYTES:
        return "a size such as 512, 64k or 2m";
    case ATH_T_REAL:
        return "a number";
    default:
        return "a text";
    }
}

uint64_t value_unit(ath_str place)
{
    static const struct {
        const char *suffix;
        uint64_t ms;
    } units[] = {
        { "_secs", 1000 },         { "_seconds", 1000 },  { "_minutes", 60000 },
        { "_hours", 3600000 },     { "_days", 86400000 }, { "api.pool_idle_timeout", 1000 },
        { "api.cache_ttl", 1000 }, /* seconds, unsaid */
    };
    char lower[96];
    size_t n = place.n < sizeof(lower) ? place.n : sizeof(lower);

    for (size_t i = 0; i < n; i++) {
        char ch = place.p[place.n - n + i];
        lower[i] = ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch;
    }
    for (size_t i = 0; i < ATH_COUNT(units); i++)
        if (str_ends(str_from(lower, n), units[i].suffix))
            return units[i].ms;
    return 1;
}

bool value_number(uint32_t type, ath_str place, ath_str text, long double *ret)
{
    bool truth;
    int64_t i;
    uint64_t u;
    double d;

    switch (type) {
    case ATH_T_BOOL:
        if (!str_bool(text, &truth))
            return false;
        *ret = truth;
        return true;
    case ATH_T_INT:
        if (!str_i64(text, &i))
            return false;
        *ret = (long double)i;
        return true;
    case ATH_T_MSEC:
        if (str_u64(text, &u)) {
            if (__builtin_mul_overflow(u, value_unit(place), &u))
                return false;
        } else if (!str_msec(text, &u)) {
            return false;
        }
        *ret = (long double)u;
        return true;
    case ATH_T_BYTES:
        if (!str_bytes(text, &u))
            return false;
        *ret = (long double)u;
        return true;
    case ATH_T_REAL:
        if (!str_double(text, &d) || !__builtin_isfinite(d))
            return false;
        *ret = d;
        return true;
    default:
        return false;
    }
}

static void type_range(uint32_t type, struct value_range *ret)
{
    *ret = (struct value_range){ 0 };
    switch (type) {
    case ATH_T_INT:
        ret->min = (long double)INT64_MIN;
        ret->max = (long double)INT64_MAX;
        break;
    case ATH_T_REAL:
        ret->min = -(long double)__DBL_MAX__;
        ret->max = (long double)__DBL_MAX__;
        break;
    default:
        ret->max = (long double)UINT64_MAX;
    }
}

bool value_range(uint32_t type, ath_str place, const char *text, struct value_range *ret)
{
    const char *dots = text ? strstr(text, "..") : NULL;
    ath_str low, high;

    type_range(type, ret);
    if (!text)
        return true;
    if (!dots)
        return false;
    low = str_trim(str_from(text, (size_t)(dots - text)));
    high = str_trim(str_of(dots + 2));
    ret->stated = true;
    return (low.n == 0 || value_number(type, place, low, &ret->min)) &&
           (high.n == 0 || value_number(type, place, high, &ret->max));
}

bool value_choice(const char *choices, ath_str text, bool fold, ath_str *ret)
{
    ath_str rest = str_of(choices), word;

    while (str_next(&rest, '|', &word)) {
        if (fold ? str_ieq(word, text) : str_eq(word, text)) {
            *ret = word;
            return true;
        }
    }
    return false;
}

void value_store(uint32_t type, long double v, void *at)
{
    switch (type) {
    case ATH_T_INT:
        *(int64_t *)at = (int64_t)v;
        break;
    case ATH_T_BOOL:
        *(int32_t *)at = v != 0;
        break;
    case ATH_T_REAL:
        *(double *)at = (double)v;
        break;
    default:
        *(uint64_t *)at = (uint64_t)v;
    }
}

static void format_unit(struct buf *b, uint64_t v, const char *const *name, const uint64_t *factor)
{
    size_t i = 0;

    while (name[i + 1] && (v == 0 || v % factor[i] != 0))
        i++;
    buf_u64(b, v / factor[i]);
    buf_z(b, name[i]);
}

void value_format(struct buf *b, uint32_t type, ath_str place, long double v)
{
    static const char *const times[] = { "d", "h", "m", "s", "ms", NULL };
    static const uint64_t times_ms[] = { 86400000, 3600000, 60000, 1000, 1 };
    static const char *const sizes[] = { "g", "m", "k", "", NULL };
    static const uint64_t sizes_bytes[] = { 1 << 30, 1 << 20, 1 << 10, 1 };
    uint64_t unit = value_unit(place);

    if (type == ATH_T_BOOL)
        buf_z(b, v != 0 ? "true" : "false");
    else if (type == ATH_T_INT)
        buf_i64(b, (int64_t)v);
    else if (type == ATH_T_REAL)
        buf_printf(b, "%Lg", v);
    else if (type == ATH_T_BYTES)
        format_unit(b, (uint64_t)v, sizes, sizes_bytes);
    else if (unit > 1 && (uint64_t)v % unit == 0)
        buf_u64(b, (uint64_t)v / unit);
    else
        format_unit(b, (uint64_t)v, times, times_ms);
}
