/* Where things are: https://bucket.s3.region.amazonaws.com/key, or http://host:port/bucket/key. */
#include "driver.h"

static ath_str trim_slashes(ath_str s)
{
    s = str_trim(s);
    while (s.n && s.p[0] == '/')
        s = str_after(s, 1);
    while (s.n && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

/* From the `n` bytes at the end of `b` on; it does not grow any more, so they stay where they are.
 */
static ath_str kept(struct buf *b, size_t from)
{
    return str_after(buf_view(b), from);
}

static int bad_endpoint(ath_str endpoint, ath_err *e)
{
    return ath_fail(e, ATH_E_CONFIG,
                    "endpoint \"%.*s\" of the object store is not like https://host:port",
                    (int)(endpoint.n < 200 ? endpoint.n : 200), endpoint.n ? endpoint.p : "");
}

static bool is_host(ath_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7F ||
            strchr("@?#\\\"<>", s.p[i]))
            return false;
    return s.n > 0 && s.p[0] != ':';
}

/* "https://host:443/path/": its parts. */
static int read_endpoint(ath_str endpoint, struct place *p, ath_err *e)
{
    ath_str rest = endpoint, port;
    size_t slash;

    p->scheme = ATH_S("https");
    if (str_starts(rest, "http://"))
        p->scheme = ATH_S("http");
    if (str_starts(rest, "http://") || str_starts(rest, "https://"))
        rest = str_after(rest, p->scheme.n + 3);
    else if (rest.n > 2 && memmem(rest.p, rest.n, "://", 3))
        return bad_endpoint(endpoint, e);
    slash = str_find(rest, '/');
    p->host = str_from(rest.p, slash);
    p->path = trim_slashes(str_after(rest, slash));
    if (p->path.n) /* with the slash in front of it */
        p->path = str_from(p->path.p - 1, p->path.n + 1);
    if (!is_host(p->host) || (p->path.n && !is_host(p->path)))
        return bad_endpoint(endpoint, e);
    port = str_is(p->scheme, "http") ? ATH_S(":80") : ATH_S(":443");
    if (str_ends(p->host, port.p)) /* which nobody says in the header Host */
        p->host.n -= port.n;
    return 0;
}

static void amazon(struct place *p, struct buf *keep)
{
    size_t from = keep->n;

    buf_lit(keep, "s3.");
    buf_str(keep, p->region);
    buf_lit(keep, ".amazonaws.com");
    if (str_starts(p->region, "cn-"))
        buf_lit(keep, ".cn");
    p->scheme = ATH_S("https");
    p->host = kept(keep, from);
    p->path = ATH_S("");
}

/* A certificate for *.host does not hold for a name with more dots. */
static bool is_virtual(const struct s3_config *cfg, const struct place *p)
{
    if (str_is(cfg->addressing, "path"))
        return false;
    if (str_is(cfg->addressing, "virtual"))
        return true;
    return p->endpoint.n == 0 && str_find(p->bucket, '.') == p->bucket.n;
}

int place_read(const struct s3_config *cfg, struct buf *keep, struct place *ret, ath_err *e)
{
    int rc = 0;

    buf_grow(keep, 256 + cfg->region.n);
    ret->bucket = str_trim(cfg->bucket);
    ret->region = str_trim(cfg->region);
    ret->prefix = trim_slashes(cfg->prefix);
    ret->endpoint = str_trim(cfg->endpoint);
    if (ret->endpoint.n == 0)
        amazon(ret, keep);
    else
        rc = read_endpoint(ret->endpoint, ret, e);
    ret->virtual_host = is_virtual(cfg, ret);
    return rc;
}

void place_host(const struct place *p, ath_str bucket, struct buf *b)
{
    if (p->virtual_host) {
        buf_str(b, bucket);
        buf_char(b, '.');
    }
    buf_str(b, p->host);
}

void place_path(const struct place *p, ath_str bucket, ath_str key, struct buf *b)
{
    buf_str(b, p->path);
    if (!p->virtual_host) {
        buf_char(b, '/');
        sign_encode(b, bucket, false);
        if (key.n == 0)
            return;
    }
    buf_char(b, '/');
    sign_encode(b, key, true);
}
