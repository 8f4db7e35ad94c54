/* What plugins do to a request before it is routed (ath_routes.before).
 *
 * The hooks run one after the other, on what memory holds: a tenant's host name becomes a client, a
 * path under a service's prefix becomes the path of a route. What was sent stays in req.target, and
 * the account shows that. A hook may also mark the request for refusal: it then goes on to its
 * route and its key check, and who passes that is told why not (what exists is not for strangers).
 *
 * A preflight is answered whatever its path is, and a request of our own (call) names its route
 * itself: neither is shown to the hooks.
 */
#include <string.h>

#include "http/http_priv.h"

/* The request's own mistakes are answered to its client; those of a plugin end it as a bug. */
static void misuse(struct req *r, const char *what, ath_str value)
{
    struct ath_err e;

    err_fail(&e, ATH_E_BUG, "plugin \"%s\" rewrites %s to \"%.*s\"", task_owner(&r->task), what,
             STR_ARG(value));
    task_end(&r->task, e.rc, &e, NULL);
}

/* The header is as if it had not come. */
static void without(struct req *r, ath_str name)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < r->header_count; i++)
        if (!str_eq(r->header[i].name, name))
            r->header[kept++] = r->header[i];
    r->header_count = kept;
}

static void rewrite_path(struct req *r, ath_str value)
{
    if (value.n == 0 || value.p[0] != '/' || !target_is_good(value, "?#")) {
        misuse(r, "the path", value);
        return;
    }
    r->path = arena_str(&r->task.arena, value);
    r->led = r->rewritten = true;
}

static void rewrite_query(struct req *r, ath_str value)
{
    if (!target_is_good(value, "#")) {
        misuse(r, "the query", value);
        return;
    }
    r->query = arena_str(&r->task.arena, value);
    r->args = NULL; /* of the old one */
    r->rewritten = true;
}

void req_rewrite(ath_req *t, const char *what, ath_str value)
{
    struct req *r = req_of(t);

    if (!r->before || r->task.ended)
        misuse(r, "outside of its hook", value);
    else if (strcmp(what, "path") == 0)
        rewrite_path(r, value);
    else if (strcmp(what, "query") == 0)
        rewrite_query(r, value);
    else if (strcmp(what, "client") == 0)
        r->client_name = arena_str(&r->task.arena, str_trim(value));
    else if (strcmp(what, "without") == 0)
        without(r, value);
    else
        misuse(r, what, value);
}

void req_refuse(ath_req *t, const ath_err *e)
{
    struct req *r = req_of(t);

    if (!r->before || e->rc >= 0) {
        misuse(r, "a refusal", ATH_S(""));
        return;
    }
    if (r->refusal)
        return; /* the first one counts */
    r->refusal = arena_raw(&r->task.arena, sizeof(*r->refusal));
    err_copy(r->refusal, e);
}

ath_str req_sent_path(const struct req *r)
{
    size_t at = 0;

    if (r->target.n && r->target.p[0] != '/') /* http://host/path */
        at = str_find(r->target, ':') + 3;
    at += str_find(str_after(r->target, at), '/');
    return str_from(r->target.p + at, str_find(str_after(r->target, at), '?'));
}

static int hook_run(struct req *r, const struct http_hook *hook, ath_err *e)
{
    int rc;

    r->task.self = hook->self;
    rc = hook->run(&r->task, e);
    if (rc >= 0 && e->rc < 0) /* words that it has used otherwise */
        err_reset(e);
    if (rc >= 0 && r->task.pending && !r->answered)
        return err_fail(e, ATH_E_BUG, "plugin \"%s\" waits before the request is routed",
                        task_owner(&r->task));
    return rc;
}

static int hooks_run(struct req *r, ath_err *e)
{
    const struct http *h = r->http;
    int rc = 0;

    r->before = true;
    for (uint32_t i = 0; i < h->hook_count && rc >= 0 && !r->answered && !r->task.ended; i++)
        if (h->hook[i].open == NULL || *h->hook[i].open)
            rc = hook_run(r, &h->hook[i], e);
    r->before = false;
    r->task.self = NULL;
    return rc < 0 ? rc : r->answered || r->task.ended ? PHASE_DONE : PHASE_NEXT;
}

int phase_before(struct req *r, ath_err *e)
{
    if (likely(r->http->hook_count == 0) || r->call || is_preflight(exchange_of(r)))
        return PHASE_NEXT;
    return hooks_run(r, e);
}
