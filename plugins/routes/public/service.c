/* Service prefixes: /db/fetch is /gateway/fetch, and so on. */
#include "public.h"

static const char *const words[SERVICES] = {
    [SERVICE_DB] = "db",
    [SERVICE_AUTH] = "auth",
    [SERVICE_STORAGE] = "storage",
    [SERVICE_REALTIME] = "realtime",
};

const char *service_word(enum service s)
{
    return words[s];
}

enum service service_of_word(ath_str word)
{
    for (int s = SERVICE_DB; s < SERVICES; s++)
        if (str_ieq(word, str_of(words[s])))
            return (enum service)s;
    return str_ieq(word, ATH_S("real-time")) ? SERVICE_REALTIME : SERVICE_NONE;
}

enum service service_of_path(ath_str path, ath_str *ret_tail)
{
    char first = (char)(path.n < 3 ? 0 : path.p[1] | 0x20);
    size_t n;

    if (first != 'd' && first != 'a' && first != 's' && first != 'r')
        return SERVICE_NONE;
    path = str_after(path, 1);
    n = str_find(path, '/');
    *ret_tail = str_after(path, n < path.n ? n + 1 : n);
    return service_of_word(str_from(path.p, n));
}

bool service_prefix_is_good(ath_str prefix)
{
    if (prefix.n == 0 || prefix.p[0] != '/')
        return false;
    for (size_t i = 0; i < prefix.n; i++)
        if ((unsigned char)prefix.p[i] <= ' ' || strchr("?#\x7F", prefix.p[i]))
            return false;
    return true;
}

/* ---- paths ---- */

static ath_str without_slash(ath_str s)
{
    return str_ends(s, "/") ? str_from(s.p, s.n - 1) : s;
}

static ath_str joined(const char *prefix, ath_str tail, ath_arena *a)
{
    struct buf b = BUF_ARENA(a);

    buf_z(&b, prefix);
    if (tail.n)
        buf_char(&b, '/');
    buf_str(&b, tail);
    return buf_view(&b);
}

/* What stands under another name than /gateway; `whole`: with nothing behind it. */
static const struct {
    const char *first;
    const char *whole, *more;
} db_paths[] = {
    { "gateway", "/gateway", "/gateway" }, { "query", "/gateway/query", "/query" },
    { "rest", "/rest", "/rest" },          { "rpc", "/gateway/rpc", "/rpc" },
    { "schema", "/schema", "/schema" },    { "health", "/health", "/health" },
};

static ath_str db_path(ath_str tail, ath_arena *a)
{
    size_t n = str_find(tail, '/');
    ath_str first = str_from(tail.p, n), more = str_after(tail, n < tail.n ? n + 1 : n);

    for (size_t i = 0; i < ATH_COUNT(db_paths); i++)
        if (str_is(first, db_paths[i].first))
            return joined(more.n ? db_paths[i].more : db_paths[i].whole, more, a);
    return joined("/gateway", tail, a);
}

static ath_str realtime_path(ath_str tail, ath_arena *a)
{
    if (tail.n == 0)
        return ATH_S("/wss/info");
    return str_is(tail, "socket") ? ATH_S("/wss/gateway") : joined("/wss", tail, a);
}

static ath_str built_in(enum service s, ath_str tail, ath_arena *a)
{
    if (s == SERVICE_DB)
        return db_path(tail, a);
    if (s == SERVICE_REALTIME)
        return realtime_path(tail, a);
    return s == SERVICE_STORAGE ? joined("/storage", tail, a) : (ath_str){ "", 0 };
}

/* A row that says the built-in prefix means the built-in paths. */
ath_str service_path(enum service s, ath_str prefix, ath_str tail, ath_arena *a)
{
    static const char *const own[SERVICES] = {
        [SERVICE_DB] = "/gateway",
        [SERVICE_STORAGE] = "/storage",
        [SERVICE_REALTIME] = "/wss",
    };
    struct buf b = BUF_ARENA(a);

    tail = without_slash(tail);
    prefix = without_slash(prefix);
    if (prefix.n == 0 || (own[s] && str_is(prefix, own[s])))
        return built_in(s, tail, a);
    buf_str(&b, prefix);
    if (tail.n)
        buf_char(&b, '/');
    buf_str(&b, tail);
    return buf_view(&b);
}
