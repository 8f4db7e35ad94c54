/* What is served elsewhere: a tenant's reads (target_url of its row), and services whose row is an
 * http_upstream.
 *
 * before.c leads such a request to one of the routes /routed/..., whose class is that of the routes
 * that stand there otherwise, so its key is checked before anything leaves. What is sent on is not
 * looked into, so it takes the right on all tables of the kind ("gateway.read"). Then
 *
 *     routed_...   what it is about, once more: rows may have changed
 *     forward      headers, address and body as they go out
 *     answered     the head of the answer has come: it is sent on, with its body as it comes
 *
 * Bodies are streams both ways, so the slower side sets the pace and memory does not grow. The
 * administrator's key reaches nobody; other credentials only reach targets that are trusted. What
 * says who sent it on replaces what the caller said (D-14). Redirects are the caller's to follow.
 */
#include "public.h"

#include <stdlib.h>

struct forward {
    const char *failed; /* code of what goes wrong on the way */
    ath_str url, key, service;
    bool trusted, answered;
};

/* ---- what may go along ---- */

static char folded(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

/* Does the name of a header, without its dashes, hold one of the words of credentials? */
static bool is_credential(ath_str name)
{
    static const char *const words[] = { "authorization", "apikey", "athenakey", "cookie",
                                         "token",         "secret", "passw",     "jwt" };
    char bare[64];
    size_t n = 0;

    for (size_t i = 0; i < name.n && n < sizeof(bare) - 1; i++)
        if (name.p[i] != '-' && name.p[i] != '_')
            bare[n++] = folded(name.p[i]);
    bare[n] = 0;
    for (size_t i = 0; i < ATH_COUNT(words); i++)
        if (strstr(bare, words[i]))
            return true;
    return name.n >= sizeof(bare);
}

static bool is_one_of(ath_str name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(name, list[i]))
            return true;
    return false;
}

/* What belongs to one connection, and what its neighbours add themselves. */
static bool is_of_the_hop(ath_str name)
{
    static const char *const names[] = {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "proxy-connection",
        "trailer",
        "trailers",
        "upgrade",
        "transfer-encoding",
        "content-length",
        "expect",
    };

    return is_one_of(name, names, ATH_COUNT(names));
}

/* Who sent it on is said here, and how it is packed is between neighbours. */
static bool is_said_here(ath_str name)
{
    static const char *const names[] = {
        "host",
        "accept-encoding",
        "content-encoding",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
        "x-athena-client",
        "x-athena-proxy-hop",
        "x-athena-origin-host",
        "x-athena-route-key",
        "x-athena-service-key",
        "x-pg-uri",
        "x-athena-jdbc-url",
        "x-jdbc-url",
    };

    return is_one_of(name, names, ATH_COUNT(names));
}

/* The header whose key was looked at: of several only that one may go along. Empty: none. */
static ath_str carrier_of(ath_req *r)
{
    static const char *const names[] = { "x-athena-key", "x-api-key", "apikey" };

    for (size_t i = 0; i < ATH_COUNT(names); i++)
        if (str_trim(ath_header(r, names[i])).n)
            return str_of(names[i]);
    return (ath_str){ "", 0 };
}

static bool is_carrier(ath_str name)
{
    return str_is(name, "x-athena-key") || str_is(name, "x-api-key") || str_is(name, "apikey");
}

static bool is_named_by_connection(ath_req *r, ath_str name)
{
    ath_str rest = ath_header(r, "connection"), one;

    while (str_next(&rest, ',', &one))
        if (str_ieq(str_trim(one), name))
            return true;
    return false;
}

static bool goes_along(ath_req *r, const struct forward *f, ath_str name, bool admin,
                       ath_str carrier)
{
    if (is_of_the_hop(name) || is_said_here(name) || is_named_by_connection(r, name))
        return false;
    if (!is_credential(name))
        return true;
    return f->trusted && !admin && (!is_carrier(name) || str_eq(name, carrier));
}

static void put(ath_pair *pair, uint32_t *n, const char *name, ath_str value)
{
    if (value.n)
        pair[(*n)++] = (ath_pair){ str_of(name), value };
}

static uint32_t headers(ath_req *r, const struct forward *f, const ath_pair **ret)
{
    enum { OURS = 6 };
    const ath_pair *sent;
    uint32_t n = ath_host_->req->pairs(r, "header", &sent), kept = 0;
    ath_pair *pair = ath_new(ath_arena_of(r), (n + OURS) * sizeof(*pair));
    ath_who who = { .size = sizeof(who) };
    ath_str carrier = carrier_of(r);

    ath_host_->req->who(r, &who);
    for (uint32_t i = 0; i < n; i++)
        if (goes_along(r, f, sent[i].name, who.flags & ATH_WHO_ADMIN, carrier))
            pair[kept++] = sent[i];
    put(pair, &kept, "x-athena-client", ath_host_->req->info(r, "client"));
    put(pair, &kept, "x-athena-proxy-hop", ATH_S("1"));
    put(pair, &kept, "x-athena-origin-host", ath_host_->req->info(r, "host"));
    put(pair, &kept, "x-athena-route-key", f->key);
    put(pair, &kept, "x-athena-service-key", f->service);
    put(pair, &kept, "x-forwarded-for", ath_host_->req->info(r, "peer"));
    *ret = pair;
    return kept;
}

/* ---- where it goes ---- */

/* One segment, in which nothing but dots is spelled by %2e. */
static bool is_dots(ath_str segment)
{
    size_t dots = 0;

    while (segment.n) {
        size_t n = segment.p[0] == '.' ? 1
                   : segment.n >= 3 && segment.p[0] == '%' && segment.p[1] == '2' &&
                           (segment.p[2] | 0x20) == 'e'
                       ? 3
                       : 0;
        if (n == 0)
            return false;
        segment = str_after(segment, n);
        dots++;
    }
    return dots == 1 || dots == 2;
}

/* A path that climbs would leave the place that the target's row names. */
static bool climbs(ath_str path)
{
    ath_str one;

    while (str_next(&path, '/', &one))
        if (is_dots(one))
            return true;
    return false;
}

/* The target's own path, then this one; both queries. */
static ath_str joined(ath_req *r, ath_str target, ath_str path)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    ath_str query = ath_host_->req->info(r, "query"), own;

    target.n = str_find(target, '#');
    own = str_after(target, str_find(target, '?'));
    target.n -= own.n;
    while (str_ends(target, "/"))
        target.n--;
    buf_str(&b, target);
    if (!str_starts(path, "/"))
        buf_char(&b, '/');
    buf_str(&b, path);
    if (own.n > 1 || query.n)
        buf_char(&b, '?');
    if (own.n > 1)
        buf_str(&b, str_after(own, 1));
    if (own.n > 1 && query.n)
        buf_char(&b, '&');
    buf_str(&b, query);
    return buf_view(&b);
}

/* One of the origins or beginnings of addresses that the configuration trusts. */
static bool is_listed(ath_str list, ath_str target)
{
    ath_str one;

    while (str_next(&list, ',', &one)) {
        one = str_trim(one);
        if (one.n && target.n >= one.n && str_eq(str_from(target.p, one.n), one) &&
            (target.n == one.n || one.p[one.n - 1] == '/' || strchr("/?#", target.p[one.n])))
            return true;
    }
    return false;
}

/* ---- the answer ---- */

/* Headers of the answer that are said by this server, or belong to the connection it came by. */
static bool is_ours(ath_str name)
{
    return is_of_the_hop(name) || str_starts(name, "x-athena-") ||
           str_starts(name, "access-control-") || str_is(name, "server") || str_is(name, "date") ||
           str_is(name, "content-type") || str_is(name, "x-request-id") || str_is(name, "alt-svc");
}

/* Why is for operators: callers are not told where it goes. */
static int failed(const struct forward *f, int rc, ath_err *e)
{
    const char *what = rc == ATH_E_TIMEOUT ? "did not answer in time" : "could not be reached";

    public_say(ATH_WARN, "the target of route \"%.*s\"%s%.*s %s: %s", STR_ARG(f->key),
               f->service.n ? ", service " : "", STR_ARG(f->service), what,
               ath_host_->err->get(e, "message").p);
    return ath_raise(e, f->failed, "The target of route '%.*s' %s.", STR_ARG(f->key), what);
}

static int late(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct forward *f = d->arg;
    const struct public_state *s = ath_state_of(t);

    if (d->rc < 0 || f->answered)
        return d->rc;
    ath_fail(e, ATH_E_TIMEOUT, "no answer began within %llu ms",
             (unsigned long long)s->cfg->first_byte_ms);
    return failed(f, ATH_E_TIMEOUT, e);
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct forward *f = d->arg;
    const char *type = NULL;

    f->answered = true;
    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc == ATH_E_TOO_LARGE) /* what came, on its way out */
        return ath_raise(e, "payload_too_large", "the request body is over the limit");
    if (d->rc < 0)
        return d->rc == ATH_E_INPUT ? d->rc : failed(f, d->rc, e);
    for (uint32_t i = 0; i < d->header_count; i++) {
        ath_str name = lowered(d->header[i].name, ath_arena_of(t));
        if (str_is(name, "content-type"))
            type = d->header[i].value.p;
        else if (!is_ours(name))
            ath_host_->req->set(t, name.p, d->header[i].value);
    }
    if (d->stream)
        return ath_host_->req->send(t, d->status, type, d->stream);
    return ath_reply(t, d->status, type, d->bytes);
}

/* ---- the request ---- */

/* The body as it comes, if there is one; packed ones are unpacked on the way, so their length is
 * not known. */
static void take_body(ath_req *r, ath_fetch *f)
{
    ath_str length = ath_header(r, "content-length");
    bool packed = ath_header(r, "content-encoding").n > 0;

    f->body = ath_host_->req->body(r); /* of an alias, whose body is whole */
    if (f->body.n)
        return;
    if (!ath_header(r, "transfer-encoding").n && (!length.n || str_is(length, "0")))
        return;
    f->from = ath_host_->req->from(r);
    if (!packed)
        str_u64(length, &f->from_length);
}

static bool loops(ath_req *r)
{
    ath_str hop = str_trim(ath_header(r, "x-athena-proxy-hop"));

    return hop.n && !str_is(hop, "0");
}

static int forward(ath_req *r, struct forward *f, ath_str target, ath_str path, ath_err *e)
{
    const struct public_state *s = ath_state_of(r);
    struct buf method = BUF_ARENA(ath_arena_of(r));
    ath_fetch fetch = { .size = sizeof(fetch), .flags = ATH_HTTP_STREAM };
    int rc;

    if (climbs(path))
        return ath_raise(e, "VALIDATION_FAILED", "the path holds a segment of dots");
    buf_str(&method, ath_host_->req->info(r, "method"));
    f->trusted |= is_listed(s->cfg->trusted_targets, target);
    f->url = joined(r, target, path);
    fetch.method = method.p;
    fetch.url = f->url;
    fetch.timeout_ms = (uint32_t)s->cfg->target_ms;
    fetch.header_count = headers(r, f, &fetch.header);
    take_body(r, &fetch);
    rc = ath_host_->fetch(r, &fetch, answered, f, e);
    if (rc < 0)
        return failed(f, rc, e);
    return ath_host_->task->after(r, s->cfg->first_byte_ms, late, f, e);
}

static struct forward *forward_new(ath_req *r, const char *failed_code)
{
    struct forward *f = ath_new(ath_arena_of(r), sizeof(*f));

    f->failed = failed_code;
    return f;
}

static ath_str copied(ath_req *r, ath_str s)
{
    struct buf b = BUF_ARENA(ath_arena_of(r)); /* rows may be replaced meanwhile */

    buf_str(&b, s);
    return buf_view(&b);
}

/* Is the caller allowed to do this with all tables? */
static int allow(ath_req *r, const char *action, ath_err *e)
{
    ath_right right = { .schema = ATH_S(""), .table = ATH_S("gateway"), .action = str_of(action) };

    return ath_host_->req->allow(r, &right, 1, e);
}

/* ---- a tenant's reads ---- */

int public_fetch_elsewhere(ath_req *r, const struct route_row *row, ath_str op, ath_err *e)
{
    struct forward *f = forward_new(r, "route_target_unavailable");
    struct buf path = BUF_ARENA(ath_arena_of(r));
    int rc = allow(r, "read", e);

    if (rc < 0)
        return rc;
    if (loops(r))
        return ath_raise(e, "route_target_loop_detected",
                         "the request has come by way of a route's target already");
    f->key = copied(r, row->key);
    f->trusted = row->trusted;
    buf_lit(&path, "/gateway/");
    buf_str(&path, op);
    return forward(r, f, copied(r, row->target_url), buf_view(&path), e);
}

int routed_fetch(ath_req *r, ath_err *e)
{
    const struct public_state *s = ath_state_of(r);
    const struct route_row *row = NULL;
    const struct table *table;
    struct tenant tenant;

    if (host_find(&s->hosts, r, &tenant) && public_registry(r, &table) == REGISTRY_READY)
        row = table_route(table, tenant.key);
    if (!row || !row->target_url.n || !row->active)
        return ath_raise(e, "not_found", "The requested resource was not found");
    return public_fetch_elsewhere(r, row, ath_param(r, "op"), e);
}

/* ---- services ---- */

/* What a call of the data plane's asks for, by the path that it would have here. */
static const char *action_of(ath_req *r, ath_str tail)
{
    ath_str method = ath_host_->req->info(r, "method"), first, rest = tail;

    str_next(&rest, '/', &first);
    if (str_is(first, "gateway"))
        str_next(&rest, '/', &first);
    if (str_is(first, "query") || str_is(first, "sql") || str_is(first, "transaction"))
        return "query";
    if (str_is(first, "rpc"))
        return "rpc.execute";
    if (str_is(method, "GET") || str_is(method, "HEAD") || str_is(first, "fetch") ||
        str_is(first, "data"))
        return "read";
    return str_is(method, "DELETE") ? "delete" : "write";
}

/* The path as it was sent; some proxies send a whole address. */
static ath_str sent_path(ath_req *r)
{
    ath_str target = ath_host_->req->info(r, "target");
    const char *host = memmem(target.p, target.n, "://", 3);

    target.n = str_find(target, '?');
    if (str_starts(target, "/") || !host)
        return target;
    target = str_after(target, (size_t)(host - target.p) + 3);
    return str_after(target, str_find(target, '/'));
}

/* The service that the request was sent to, by its path or its host; SERVICE_NONE: none. */
static enum service sent_to(ath_req *r, ath_str *ret_key, ath_str *ret_tail)
{
    const struct public_state *s = ath_state_of(r);
    ath_str path = sent_path(r);
    struct tenant tenant;
    bool host = host_find(&s->hosts, r, &tenant);
    enum service service;

    service = service_of_path(path, ret_tail);
    if (service == SERVICE_NONE && host) {
        service = tenant.service;
        *ret_tail = str_after(path, 1);
    }
    *ret_key = host ? tenant.key : lowered(ath_host_->req->info(r, "client"), ath_arena_of(r));
    return service;
}

/* Where it goes; empty: it is served here, or by nobody. */
static ath_str service_target(ath_req *r, enum service service, ath_str key, bool *ret_trusted)
{
    const struct public_state *s = ath_state_of(r);
    const struct service_row *row;
    const struct table *table;

    public_registry(r, &table);
    row = table_service(table, key, service);
    *ret_trusted = row && row->trusted;
    if (!row)
        return s->cfg->target[service];
    return row->active ? row->target_url : (ath_str){ "", 0 };
}

int routed_service(ath_req *r, ath_err *e)
{
    struct forward *f = forward_new(r, "service_route_unavailable");
    ath_str tail = { "", 0 }, target;
    enum service service = sent_to(r, &f->key, &tail);
    int rc;

    target = service ? service_target(r, service, f->key, &f->trusted) : (ath_str){ "", 0 };
    if (!target.n)
        return ath_raise(e, "not_found", "The requested resource was not found");
    rc = service == SERVICE_DB ? allow(r, action_of(r, tail), e) : 0;
    if (rc < 0)
        return rc;
    if (loops(r))
        return ath_raise(e, "service_route_loop_detected",
                         "the request has come by way of a service route already");
    f->service = str_of(service_word(service));
    return forward(r, f, copied(r, target), tail, e);
}
