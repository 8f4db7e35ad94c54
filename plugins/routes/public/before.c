/* Each request, before it is routed; from memory alone.
 *
 *     host      a tenant's host name chooses the client
 *     service   /db/fetch, or db.<tenant>.<suffix>/fetch, becomes the path of a route
 *     alias     /public/{route_key}/... is checked with the rights on the alias's client
 *
 * What is inactive is refused only after the key check of the route that the request leads to:
 * which aliases and services exist is not for strangers. What a row sends elsewhere is led to the
 * routes of proxy.c, and never served from here instead.
 */
#include "public.h"

#include "lib/json.h"

const char *const direct_uri_headers[3] = { "x-pg-uri", "x-athena-jdbc-url", "x-jdbc-url" };

struct passage { /* of one request */
    const struct public_state *s;
    const struct table *table;
    enum registry registry;
    struct tenant tenant;
    const struct route_row *row; /* of the tenant's host; NULL: none, or it does not count */
    bool host;
};

static void rewrite(ath_req *r, const char *what, ath_str value)
{
    ath_host_->req->rewrite(r, what, value);
}

/* Words that are in `e` already, for those who pass the key check. */
static int refuse(ath_req *r, const ath_err *e)
{
    ath_host_->req->refuse(r, e);
    return 0;
}

/* To the route that sends it elsewhere, once the key was checked (proxy.c). */
static void lead_away(ath_req *r, const char *to, ath_str tail)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_printf(&b, "/routed/%s%s%.*s", to, tail.n ? "/" : "", STR_ARG(tail));
    rewrite(r, "path", buf_view(&b));
}

/* ---- host ---- */

void public_note(ath_req *r, const char *key, ath_str value)
{
    if (value.n)
        ath_host_->req->note(r, &(ath_fact){ str_of(key), value, ATH_V_TEXT, 0 });
}

/* Without a password, which is nothing for a log. */
static ath_str bare_url(ath_str url)
{
    size_t at = str_find(url, '@');

    return at < url.n ? str_after(url, at + 1) : str_from(url.p, str_find(url, '?'));
}

/* What the log of routes shows of it. */
static void note_host(ath_req *r, const struct passage *p, ath_str client, const char *outcome)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    public_note(r, "route_source", ATH_S("wildcard_host"));
    public_note(r, "route_outcome", str_of(outcome));
    public_note(r, "route_key", p->tenant.key);
    public_note(r, "route_prefix", p->tenant.key);
    public_note(r, "route_pattern", p->s->cfg->host_pattern);
    public_note(r, "route_client", client);
    buf_char(&b, '{');
    buf_json_str(&b, "matched_host", ath_host_->req->info(r, "host"));
    buf_json_str(&b, "tenant_ref", p->tenant.key);
    if (p->tenant.service != SERVICE_NONE)
        buf_json_str(&b, "service_key", str_of(service_word(p->tenant.service)));
    if (p->s->hosts.version_n)
        buf_json_str(&b, "major_version", str_from(p->s->hosts.suffix + 1, p->s->hosts.version_n));
    if (p->row && p->row->target_url.n)
        buf_json_str(&b, "route_target_url", bare_url(p->row->target_url));
    buf_char(&b, '}');
    public_note(r, "route_metadata", buf_view(&b));
}

/* Without a row the tenant's name is the client's. */
static int host_apply(ath_req *r, struct passage *p, ath_err *e)
{
    bool header = str_is(p->s->cfg->precedence, "header");

    if (header && ath_host_->req->info(r, "client").n)
        return 0;
    p->row = p->registry == REGISTRY_READY ? table_route(p->table, p->tenant.key) : NULL;
    rewrite(r, "client", p->row ? p->row->client : p->tenant.key);
    note_host(r, p, p->row ? p->row->client : p->tenant.key,
              p->registry == REGISTRY_DOWN ? "client_name_fallback_missing_logging_pool"
              : !p->row                    ? "client_name_fallback"
              : !p->row->active            ? "client_name_fallback_route_inactive"
              : p->row->client.n           ? "resolved"
                                           : "empty_client_name");
    if (p->registry == REGISTRY_DOWN) {
        ath_raise(e, "route_registry_unavailable", "which client the host name means is not known");
        return refuse(r, e);
    }
    if (p->row && !p->row->active) {
        ath_raise(e, "route_inactive", "Route '%.*s' is disabled.", STR_ARG(p->tenant.key));
        return refuse(r, e);
    }
    return 0;
}

/* The operation that a path of the gateway is; 0: none. */
static enum op op_of_path(ath_str path)
{
    if (!str_starts(path, "/gateway/"))
        return 0;
    path = str_after(path, 9);
    return str_is(path, "data") ? OP_FETCH : op_of(path);
}

/* What the tenant's row says of the operation, once the path is the route's. */
static int host_check(ath_req *r, const struct passage *p, ath_err *e)
{
    ath_str path = ath_host_->req->info(r, "path");
    enum op op = op_of_path(path);

    if (!p->row || op == 0 || !p->row->active)
        return 0;
    if (p->row->ops_on_host && !(p->row->ops & 1u << op)) {
        ath_raise(e, "op_not_allowed", "Route '%.*s' does not allow '%s'.", STR_ARG(p->tenant.key),
                  op_word(op));
        return refuse(r, e);
    }
    if (op == OP_FETCH && p->row->target_url.n)
        lead_away(r, "gateway", str_after(path, 9));
    return 0;
}

/* ---- service ---- */

static int unconfigured(enum service service, ath_str key, ath_err *e)
{
    char name[16] = "";

    for (size_t i = 0; service_word(service)[i] && i < sizeof(name) - 1; i++)
        name[i] = (char)(service_word(service)[i] & ~0x20);
    return ath_raise(e, "service_route_unconfigured",
                     "No active route exists for service '%s' on route '%.*s' and "
                     "ATHENA_ROUTER_DEFAULT_%s_TARGET_URL is unset.",
                     service_word(service), STR_ARG(key), name);
}

/* 0, or why this server does not serve it; words in `e`. */
static int service_check(const struct service_row *row, enum service service, ath_str key,
                         ath_err *e)
{
    if (row && !row->active)
        return ath_raise(e, "service_route_inactive", "Service '%s' of route '%.*s' is disabled.",
                         service_word(service), STR_ARG(key));
    if (row && row->prefix.p && !service_prefix_is_good(row->prefix))
        return ath_raise(e, "invalid_service_route",
                         "the path of service '%s' of route '%.*s' is no path",
                         service_word(service), STR_ARG(key));
    return 0;
}

static bool is_upgrade(ath_req *r)
{
    return str_ieq(str_trim(ath_header(r, "upgrade")), ATH_S("websocket"));
}

static int service_apply(ath_req *r, const struct passage *p, enum service service, ath_str tail,
                         ath_err *e)
{
    ath_arena *a = ath_arena_of(r);
    ath_str key = p->host ? p->tenant.key : lowered(ath_host_->req->info(r, "client"), a);
    const struct service_row *row = table_service(p->table, key, service);
    int rc = service_check(row, service, key, e);
    bool away = rc == 0 && (row ? !row->prefix.p : p->s->cfg->target[service].n > 0);
    ath_str prefix = rc == 0 && row && !away ? row->prefix : (ath_str){ "", 0 };
    ath_str path = away ? ATH_S("/") : service_path(service, prefix, tail, a);

    if (path.n == 0) /* nothing of ours stands behind it */
        return rc < 0 ? rc : unconfigured(service, key, e);
    if (service == SERVICE_REALTIME && is_upgrade(r))
        return ath_raise(e, "realtime_upstream_unavailable",
                         "no server for websockets is configured for route '%.*s'", STR_ARG(key));
    if (away)
        lead_away(r, service_word(service), ATH_S(""));
    else
        rewrite(r, "path", path);
    for (size_t i = 0; i < ATH_COUNT(direct_uri_headers); i++)
        rewrite(r, "without", str_of(direct_uri_headers[i]));
    return rc < 0 ? refuse(r, e) : 0;
}

/* ---- alias ---- */

/* The key check of /public/{route_key}/{op} is about the client whose rows it opens. */
static void alias_apply(ath_req *r, const struct passage *p, ath_str rest)
{
    ath_str key = str_from(rest.p, str_find(rest, '/'));
    const struct route_row *row = table_route(p->table, lowered(key, ath_arena_of(r)));

    if (row && p->registry == REGISTRY_READY)
        rewrite(r, "client", row->client);
}

/* ---- together ---- */

int public_before(ath_req *r, ath_err *e)
{
    struct passage p = { .s = ath_state_of(r) };
    ath_str path = ath_host_->req->info(r, "path"), tail = { "", 0 };
    enum service service = service_of_path(path, &tail);
    bool alias = service == SERVICE_NONE && str_starts(path, "/public/");
    int rc;

    p.host = host_find(&p.s->hosts, r, &p.tenant);
    if (!p.host && service == SERVICE_NONE && !alias)
        return 0;
    p.registry = public_registry(r, &p.table);
    if (p.host && (rc = host_apply(r, &p, e)) < 0)
        return rc;
    if (service == SERVICE_NONE && p.host && p.tenant.service != SERVICE_NONE) {
        service = p.tenant.service;
        tail = str_after(path, 1);
    }
    if (service != SERVICE_NONE && (rc = service_apply(r, &p, service, tail, e)) < 0)
        return rc;
    if (alias && service == SERVICE_NONE)
        alias_apply(r, &p, str_after(path, 8));
    return host_check(r, &p, e);
}
