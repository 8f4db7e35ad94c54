/* A password ends at the last @ of the text, whatever stands in it: a host name that is taken out
 * with it is no loss, half a password that stays is one. */
#include "lib/uri.h"

#include <ctype.h>

static const char MASK[] = "***";

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "pass%77ord" is a parameter that libpq takes. */
static bool is_secret(ath_str name)
{
    static const char *const parts[] = { "password", "passwd", "secret", "token" };
    char plain[64];
    size_t n = 0;

    for (size_t i = 0; i < name.n && n < sizeof(plain) - 1; i++, n++) {
        int high = i + 2 < name.n && name.p[i] == '%' ? hex_digit(name.p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(name.p[i + 2]) : -1;
        int c = low >= 0 ? high << 4 | low : (unsigned char)name.p[i];
        i += low >= 0 ? 2 : 0;
        plain[n] = (char)tolower(c);
    }
    plain[n] = 0;
    for (size_t i = 0; i < ATH_COUNT(parts); i++)
        if (strstr(plain, parts[i]))
            return true;
    return false;
}

/* Behind "://"; 0: there is none. */
static size_t scheme_end(ath_str t)
{
    for (size_t i = 0; i + 3 <= t.n; i++)
        if (memcmp(t.p + i, "://", 3) == 0)
            return i + 3;
    return 0;
}

/* User and password, which begin at `from`. Returns where the rest begins. */
static size_t put_user(struct buf *b, ath_str t, size_t from)
{
    size_t at = t.n, colon;

    while (at > from && t.p[at - 1] != '@')
        at--;
    colon = at > from ? from + str_find(str_from(t.p + from, at - 1 - from), ':') : at;
    if (colon + 1 >= at)
        return from;
    buf_mem(b, t.p + from, colon + 1 - from);
    buf_mem(b, MASK, sizeof(MASK) - 1);
    return at - 1;
}

static bool ends_word(char c)
{
    return c == '&' || c == '?' || c == ';' || isspace((unsigned char)c);
}

/* NAME=VALUE between &, ? and blanks. */
static void put_rest(struct buf *b, ath_str t)
{
    size_t word = 0;

    for (size_t i = 0; i < t.n; i++) {
        buf_char(b, t.p[i]);
        if (ends_word(t.p[i])) {
            word = i + 1;
        } else if (t.p[i] == '=' && is_secret(str_from(t.p + word, i - word))) {
            buf_mem(b, MASK, sizeof(MASK) - 1);
            while (i + 1 < t.n && !ends_word(t.p[i + 1]))
                i++;
        }
    }
}

/* "host=h password=p", "user:password@host" and what else nobody can take apart for sure. */
static bool may_hide_one(ath_str t)
{
    return !str_starts(str_trim(t), "${") &&
           (str_find(t, '=') < t.n || str_find(t, '@') < t.n || str_find(t, ':') < t.n);
}

void buf_uri_masked(struct buf *b, ath_str uri)
{
    size_t from = scheme_end(uri);

    if (!from) {
        buf_str(b, may_hide_one(uri) ? str_of(MASK) : uri);
        return;
    }
    buf_mem(b, uri.p, from);
    put_rest(b, str_after(uri, put_user(b, uri, from)));
}
