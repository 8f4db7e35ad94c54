#include "lib/accept.h"

/* Of "0.8" the thousandths; digits behind the third say nothing. */
static unsigned thousandths(ath_str v)
{
    unsigned n = 0, digits = 0;

    if (v.n == 0 || v.p[0] != '0')
        return 1000;
    for (size_t i = 2; i < v.n && digits < 3 && v.p[i] >= '0' && v.p[i] <= '9'; i++, digits++)
        n = n * 10 + (unsigned)(v.p[i] - '0');
    for (; digits < 3; digits++)
        n *= 10;
    return n;
}

bool accept_next(ath_str *rest, ath_str *ret_name, unsigned *ret_weight)
{
    ath_str params, one;

    if (!str_next(rest, ',', &params))
        return false;
    *ret_name = str_next(&params, ';', &one) ? str_trim(one) : str_from("", 0);
    *ret_weight = 1000;
    while (str_next(&params, ';', &one)) {
        one = str_trim(one);
        if (one.n >= 2 && (one.p[0] | 0x20) == 'q' && one.p[1] == '=')
            *ret_weight = thousandths(str_after(one, 2));
    }
    return true;
}
