/* Three routes of the core's own, in a router of their own, and a place for the socket. */
#include "server/own.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/json.h"
#include "log/log.h"
#include "server/inspect.h"

enum { PATH_ROOM = 512, BACKLOG = 64 };

static const struct role *role;
static const struct http *mine;

static int on_health(ath_req *r, ath_err *e)
{
    struct buf b = ARENA_BUF(&r->arena);

    (void)e;
    buf_lit(&b, "{");
    buf_json_str(&b, "status", atomic_load(&mine->draining) ? ATH_S("stopping") : ATH_S("running"));
    buf_json_str(&b, "runtime_kind", str_of(role->kind));
    buf_json_str(&b, "management_mode", str_of(role->mode));
    buf_json_key(&b, "process");
    buf_str(&b, inspect(r, "process"));
    buf_json_key(&b, "workers");
    buf_str(&b, inspect(r, "workers"));
    buf_lit(&b, "}");
    return req_reply(r, 200, "application/json", buf_view(&b));
}

static int on_ready(ath_req *r, ath_err *e)
{
    bool stopping = atomic_load(&mine->draining);

    (void)e;
    return req_reply(r, stopping ? 503 : 200, "text/plain; charset=utf-8",
                     stopping ? ATH_S("stopping") : ATH_S("ready"));
}

static int on_metrics(ath_req *r, ath_err *e)
{
    (void)e;
    return req_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", inspect(r, "metrics"));
}

static const struct phase phases[] = {
    { "route", phase_route },
    { "body", phase_body },
    { "handler", phase_handler },
};

int own_setup(struct http *own, const struct http *like, const struct role *what, ath_err *e)
{
    static const ath_route routes[] = {
        { .method = "GET", .path = "/health", .handle = on_health, .auth = ATH_AUTH_NONE },
        { .method = "GET", .path = "/ready", .handle = on_ready, .auth = ATH_AUTH_NONE },
        { .method = "GET", .path = "/metrics", .handle = on_metrics, .auth = ATH_AUTH_NONE },
    };

    role = what;
    mine = own;
    own->router = router_new();
    own->phase = phases;
    own->phase_count = ATH_COUNT(phases);
    own->limits = like->limits;
    own->strict_methods = true;
    for (size_t i = 0; i < ATH_COUNT(routes); i++) {
        struct route r = {
            .def = routes[i], .plugin = "athena", .label = routes[i].path, .group = "management"
        };
        int rc = router_add(own->router, &r, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void own_free(struct http *own)
{
    if (own->router)
        router_free(own->router);
    own->router = NULL;
}

/* ---- the place ---- */

static int listen_at(const char *path, ath_loop *control, ath_loop *const *loops, uint32_t n,
                     struct acceptor **ret, ath_err *e)
{
    struct acceptor_options o = { .unix_path = path, .backlog = BACKLOG };
    mode_t before = umask(0117); /* for the process's user and group, from its first moment */
    int rc = acceptor_start(control, loops, n, &o, ret, e);

    umask(before);
    if (rc == 0)
        log_write(ATH_INFO, "athena::server", "health and metrics answer on \"%s\"", path);
    return rc;
}

/* A folder that is meant for us may have to be made. */
static bool is_usable(ath_str folder)
{
    if (folder.n == 0)
        return false;
    mkdir(folder.p, 0755);
    return access(folder.p, W_OK) == 0;
}

int own_listen(const struct setup *s, ath_loop *control, ath_loop *const *loops, uint32_t n,
               struct acceptor **ret, ath_err *e)
{
    const struct server_config *c = &s->core.server;
    ath_str named = s->core.daemon.socket;
    ath_str folder = is_usable(c->runtime_dir) ? c->runtime_dir : c->state_dir;
    char path[PATH_ROOM];

    *ret = NULL;
    if (named.n)
        return listen_at(named.p, control, loops, n, ret, e);
    if (!is_usable(folder)) {
        log_write(ATH_WARN, "athena::server",
                  "neither \"%.*s\" nor \"%.*s\" may be written to: health and metrics do not "
                  "answer; name a socket with daemon.socket",
                  STR_ARG(c->runtime_dir), STR_ARG(c->state_dir));
        return 0;
    }
    snprintf(path, sizeof(path), "%.*s/%s.sock", STR_ARG(folder), s->role->kind);
    if (listen_at(path, control, loops, n, ret, e) == 0)
        return 0;
    err_reset(e);
    snprintf(path, sizeof(path), "%.*s/%s-%d.sock", STR_ARG(folder), s->role->kind, (int)getpid());
    return listen_at(path, control, loops, n, ret, e);
}
