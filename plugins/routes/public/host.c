/* Host names of tenants.
 *
 * `<tenant>.<suffix>` or `<service>.<tenant>.<suffix>`, in any case, with or without port and last
 * dot. The Host header decides. X-Forwarded-Host and Forwarded are looked at only when a proxy that
 * is trusted says them: from anybody else they would choose somebody else's tenant.
 */
#include "public.h"

/* ---- who may forward ---- */

bool hosts_trust(const struct hosts *h, ath_str peer)
{
    return networks_have(h->trusted, h->trusted_count, peer);
}

static int trusted_fill(struct hosts *h, ath_str list, ath_err *e)
{
    ath_str bad;
    int n = networks_read(list, h->trusted, NETWORKS_MOST, &bad);

    if (n < 0 && bad.n)
        return ath_fail(e, ATH_E_CONFIG, "\"%.*s\" in trusted_proxies is no network", STR_ARG(bad));
    if (n < 0)
        return ath_fail(e, ATH_E_CONFIG, "trusted_proxies has more than %d networks",
                        NETWORKS_MOST);
    h->trusted_count = (uint32_t)n;
    return 0;
}

/* ---- names ---- */

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

static bool is_label(ath_str s)
{
    if (s.n == 0 || s.n > LABEL_MOST)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", lower(s.p[i])))
            return false;
    return true;
}

/* "v3": its length; 0 for anything else. */
static size_t version_of(ath_str label)
{
    if (label.n < 2 || lower(label.p[0]) != 'v')
        return 0;
    for (size_t i = 1; i < label.n; i++)
        if (label.p[i] < '0' || label.p[i] > '9')
            return 0;
    return label.n;
}

static int suffix_fill(struct hosts *h, ath_str pattern, ath_err *e)
{
    ath_str rest = str_trim(pattern), label;

    if (str_ends(rest, "."))
        rest.n--;
    if (!str_starts(rest, "*.") || rest.n - 1 >= sizeof(h->suffix))
        return ath_fail(e, ATH_E_CONFIG, "host_pattern is \"%.*s\", expected \"*.\" and a domain",
                        STR_ARG(pattern));
    rest = str_after(rest, 1);
    for (size_t i = 0; i < rest.n; i++)
        h->suffix[i] = lower(rest.p[i]);
    h->suffix_n = rest.n;
    rest = str_after(rest, 1);
    h->version_n = version_of(str_from(rest.p, str_find(rest, '.')));
    do {
        size_t n = str_find(rest, '.');
        label = str_from(rest.p, n);
        rest = str_after(rest, n + 1);
        if (!is_label(label))
            return ath_fail(e, ATH_E_CONFIG,
                            "host_pattern is \"%.*s\", expected \"*.\" and a domain",
                            STR_ARG(pattern));
    } while (rest.n);
    return 0;
}

int hosts_fill(struct hosts *h, const struct public_config *cfg, ath_err *e)
{
    int rc;

    memset(h, 0, sizeof(*h));
    if ((rc = trusted_fill(h, cfg->trusted_proxies, e)) < 0)
        return rc;
    return cfg->host_routing ? suffix_fill(h, cfg->host_pattern, e) : 0;
}

/* Without port and last dot. */
static ath_str bare(ath_str host)
{
    size_t colon = str_find(host, ':');

    if (colon < host.n && str_find(str_after(host, colon + 1), ':') == host.n - colon - 1)
        host.n = colon;
    if (host.n && host.p[host.n - 1] == '.')
        host.n--;
    return host;
}

ath_str lowered(ath_str s, ath_arena *a)
{
    char *p = ath_new(a, s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        p[i] = lower(s.p[i]);
    return str_from(p, s.n);
}

bool host_parse(const struct hosts *h, ath_str host, ath_arena *a, struct tenant *ret)
{
    size_t dot;

    host = bare(host);
    if (h->suffix_n == 0 || host.n <= h->suffix_n ||
        !str_ieq(str_after(host, host.n - h->suffix_n), str_from(h->suffix, h->suffix_n)))
        return false;
    host.n -= h->suffix_n;
    dot = str_find(host, '.');
    ret->service = SERVICE_NONE;
    if (dot < host.n) {
        ret->service = service_of_word(str_from(host.p, dot));
        if (ret->service == SERVICE_NONE)
            return false;
        host = str_after(host, dot + 1);
    }
    if (!is_label(host))
        return false;
    ret->key = lowered(host, a);
    return true;
}

/* ---- what a proxy says ---- */

static ath_str unquoted(ath_str s)
{
    s = str_trim(s);
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
        s = str_from(s.p + 1, s.n - 2);
    return s;
}

/* The host= of its first element (RFC 7239). */
static ath_str forwarded_host(ath_str header)
{
    ath_str first = str_from(header.p, str_find(header, ',')), pair;

    while (str_next(&first, ';', &pair)) {
        size_t eq = str_find(pair, '=');
        if (eq < pair.n && str_ieq(str_trim(str_from(pair.p, eq)), ATH_S("host")))
            return unquoted(str_after(pair, eq + 1));
    }
    return (ath_str){ "", 0 };
}

/* Every request is asked, so its headers are walked once. */
struct named {
    ath_str host, by_name, by_rfc;
};

static struct named named_of(ath_req *r)
{
    struct named found = { .host = { "", 0 } };
    const ath_pair *pair;
    uint32_t n = ath_host_->req->pairs(r, "header", &pair);

    for (uint32_t i = 0; i < n; i++)
        switch (pair[i].name.n) {
        case 4:
            if (memcmp(pair[i].name.p, "host", 4) == 0)
                found.host = pair[i].value;
            break;
        case 9:
            if (memcmp(pair[i].name.p, "forwarded", 9) == 0 && !found.by_rfc.n)
                found.by_rfc = pair[i].value;
            break;
        case 16:
            if (memcmp(pair[i].name.p, "x-forwarded-host", 16) == 0 && !found.by_name.n)
                found.by_name = pair[i].value;
            break;
        default:
            break;
        }
    return found;
}

bool host_find(const struct hosts *h, ath_req *r, struct tenant *ret)
{
    struct named said;
    ath_arena *a;

    if (h->suffix_n == 0)
        return false;
    said = named_of(r);
    if (said.host.n <= h->suffix_n && !said.by_name.n && !said.by_rfc.n)
        return false;
    a = ath_arena_of(r);
    if (host_parse(h, said.host, a, ret))
        return true;
    if ((!said.by_name.n && !said.by_rfc.n) || !hosts_trust(h, ath_host_->req->info(r, "peer")))
        return false;
    said.by_name = unquoted(str_from(said.by_name.p, str_find(said.by_name, ',')));
    return host_parse(h, said.by_name, a, ret) ||
           host_parse(h, forwarded_host(said.by_rfc), a, ret);
}
