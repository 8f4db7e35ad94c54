/* Taking secrets out of text that came from outside: connection URIs and name=value pairs.
 *
 * When in doubt more is taken out: the text is for people, and a password that shows is worse than
 * a host name that does not. */
#include <ctype.h>

#include "lib/buf.h"
#include "log/log.h"

static const char MASK[] = "***";

static bool word(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

static bool ends_value(char c)
{
    return isspace((unsigned char)c) || strchr("&,;\"'<>()[]{}", c) != NULL;
}

bool log_secret_name(ath_str name)
{
    static const char *const parts[] = { "authorization", "apikey", "cookie",   "token",
                                         "athenakey",     "secret", "password", "passwd",
                                         "jwt",           "pguri",  "jdbcurl" };
    char folded[128];
    size_t n = 0;

    for (size_t i = 0; i < name.n && n < sizeof(folded) - 1; i++)
        if (name.p[i] != '-' && name.p[i] != '_')
            folded[n++] = (char)tolower((unsigned char)name.p[i]);
    folded[n] = 0;
    for (size_t i = 0; i < ATH_COUNT(parts); i++)
        if (strstr(folded, parts[i]))
            return true;
    return false;
}

/* user:password@ from behind "://" to the last @ of the run: a raw '/' or '@' in a password, and a
 * second URI behind a comma, are covered. Returns where to go on. */
static size_t uri(struct buf *b, ath_str t, size_t at)
{
    size_t end = at, colon = 0, last = 0;

    while (end < t.n && !isspace((unsigned char)t.p[end]) && !strchr("\"'<>", t.p[end]))
        end++;
    for (size_t i = at; i < end; i++) {
        if (t.p[i] == ':' && !colon)
            colon = i;
        if (t.p[i] == '@')
            last = i;
    }
    if (!colon || last <= colon)
        return at;
    buf_mem(b, t.p + at, colon + 1 - at);
    buf_mem(b, MASK, sizeof(MASK) - 1);
    return last;
}

/* A value that begins at `at`: quoted, of a header field (to the end of the line), or one word. */
static size_t value_end(ath_str t, size_t at, bool line)
{
    char quote = at < t.n && (t.p[at] == '"' || t.p[at] == '\'') ? t.p[at] : 0;
    size_t i = at + (quote ? 1 : 0);

    for (; i < t.n; i++) {
        if (quote && t.p[i] == '\\' && i + 1 < t.n)
            i++;
        else if (quote  ? t.p[i] == quote
                 : line ? strchr("\r\n\"", t.p[i]) != NULL
                        : ends_value(t.p[i]))
            break;
    }
    return i;
}

/* The name ended before `at`, where '=' or ':' stands; true when a secret's value follows. */
static bool secret_before(ath_str t, size_t at, bool *ret_line)
{
    bool quoted = at > 0 && t.p[at - 1] == '"';
    size_t end = quoted ? at - 1 : at, from = end;
    ath_str name;

    while (from > 0 && word(t.p[from - 1]))
        from--;
    name = str_from(t.p + from, end - from);
    *ret_line = false;
    if (name.n == 0 || !log_secret_name(name))
        return false;
    if (t.p[at] == '=' || quoted)
        return true;
    *ret_line = true; /* a header field; other words before a colon are prose */
    return str_ends(name, "uthorization") || str_ends(name, "ookie") ||
           str_find(name, '-') < name.n;
}

void log_redact(struct buf *b, ath_str t)
{
    size_t from = 0, i = 0;

    while (i < t.n) {
        bool line, slashes = t.p[i] == ':' && i + 2 < t.n && t.p[i + 1] == '/' && t.p[i + 2] == '/';
        if (slashes) {
            buf_mem(b, t.p + from, i + 3 - from);
            from = i = uri(b, t, i + 3);
        } else if ((t.p[i] == '=' || t.p[i] == ':') && secret_before(t, i, &line)) {
            i++;
            while (i < t.n && t.p[i] == ' ')
                i++;
            buf_mem(b, t.p + from, i - from);
            from = value_end(t, i, line);
            if (from > i && (t.p[i] == '"' || t.p[i] == '\''))
                buf_char(b, t.p[i]);
            if (from > i)
                buf_mem(b, MASK, sizeof(MASK) - 1);
            i = from;
        } else {
            i++;
        }
    }
    buf_mem(b, t.p + from, t.n - from);
}
