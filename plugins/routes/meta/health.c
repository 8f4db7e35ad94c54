/* Liveness, readiness and the health documents: what the host knows already, put into the shapes
 * of the published interface. Nothing here waits. */
#include "meta.h"

#include <athena/service/cluster.h>

#include "lib/json.h"

static ath_str fact(ath_req *r, const char *what)
{
    return ath_host_->inspect(r, what);
}

static int reply_json(ath_req *r, int status, struct buf *b)
{
    buf_lit(b, "}");
    return ath_reply(r, status, "application/json", buf_view(b));
}

static void put(struct buf *b, const char *key, ath_str json)
{
    buf_json_key(b, key);
    buf_str(b, json);
}

/* {"message":...,"version":... : the members that all health documents share; left open. */
static struct buf open_document(ath_req *r, ath_str message)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_lit(&b, "{");
    buf_json_str(&b, "message", message);
    buf_lit(&b, ",");
    buf_str(&b, fact(r, "service"));
    return b;
}

int meta_root(ath_req *r, ath_err *e)
{
    struct buf b = open_document(r, ATH_S("athena is online"));

    (void)e;
    put(&b, "routes", fact(r, "routes"));
    put(&b, "provisioning", fact(r, "provisioning"));
    return reply_json(r, 200, &b);
}

int meta_ping(ath_req *r, ath_err *e)
{
    (void)e;
    return ath_reply(r, 200, "text/plain; charset=utf-8", ATH_S("pong"));
}

int meta_health(ath_req *r, ath_err *e)
{
    struct buf b = open_document(r, ATH_S("athena is online"));

    (void)e;
    buf_json_str(&b, "status", ATH_S("ok"));
    put(&b, "provisioning", fact(r, "provisioning"));
    return reply_json(r, 200, &b);
}

/* Callers without a key see how many databases are up, not which: names are not everybody's. */
static int reply_cluster(ath_req *r, ath_str mirrors)
{
    struct buf b = open_document(r, ATH_S("Athena is online"));
    ath_who who = { .size = sizeof(who) };

    ath_host_->req->who(r, &who);
    put(&b, "clients", fact(r, "clients"));
    if (who.flags & ATH_WHO_ADMIN)
        put(&b, "client_latency", fact(r, "clients.latency.reasons"));
    else if (who.flags & ATH_WHO_KEY)
        put(&b, "client_latency", fact(r, "clients.latency"));
    put(&b, "checks", fact(r, "checks.summary"));
    put(&b, "worker_families", fact(r, "families"));
    put(&b, "mirrors", mirrors);
    return reply_json(r, 200, &b);
}

static int on_mirrors(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : reply_cluster(t, d->bytes);
}

/* Mirrors are what the configuration and the control plane name; none is ever assumed, for an open
 * route must not make the server call other hosts. What they say comes from memory, but for the first
 * caller after a while. */
int meta_cluster(ath_req *r, ath_err *e)
{
    const ath_cluster_api *cluster = ath_host_->service(ath_self_, "athena.cluster", 1);

    return cluster ? cluster->mirrors(r, 0, on_mirrors, NULL, e) : reply_cluster(r, ATH_S("[]"));
}

int meta_ready(ath_req *r, ath_err *e)
{
    ath_str reason = fact(r, "unready");
    struct buf b = BUF_ARENA(ath_arena_of(r));

    (void)e;
    buf_lit(&b, "{");
    buf_json_str(&b, "status", reason.n ? ATH_S("unready") : ATH_S("ready"));
    if (reason.n)
        buf_json_str(&b, "reason", reason);
    put(&b, "clients", fact(r, "clients"));
    buf_lit(&b, ",");
    buf_str(&b, fact(r, "stores"));
    if (reason.n)
        ath_host_->req->set(r, "retry-after", ATH_S("1"));
    return reply_json(r, reason.n ? 503 : 200, &b);
}
