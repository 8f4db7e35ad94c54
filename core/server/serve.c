/* The server.
 *
 * Start: loops -> databases (nothing connects yet) -> plugins loaded and their routes entered ->
 * threads -> plugins' stages -> sinks -> listening -> READY=1; then, beside: connections and
 * catalogues. Any error before READY undoes what was done, says everything at once and exits 1.
 */
#include "server/serve.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <stdlib.h>

#include "auth/admit.h"
#include "auth/limit.h"
#include "auth/store.h"
#include "base/mem.h"
#include "base/version.h"
#include "cache/cache.h"
#include "control/clients.h"
#include "control/daemons.h"
#include "db/query.h"
#include "http/call.h"
#include "io/secrets.h"
#include "control/probe.h"
#include "jobs/jobs.h"
#include "jobs/ticks.h"
#include "log/log.h"
#include "plugin/stage.h"
#include "server/banner.h"
#include "server/capabilities.h"
#include "server/databases.h"
#include "server/inspect.h"
#include "server/keystore.h"
#include "server/notify.h"
#include "server/pipelines.h"
#include "server/own.h"
#include "server/schemas.h"
#include "server/serve_priv.h"
#include "server/probes.h"
#include "server/workers.h"

enum { WATCH_MS = 250 };

/* ---- start ---- */

static int listen_start(struct server *s, ath_err *e)
{
    const struct core_config *c = &s->setup->core;
    struct acceptor_options o = {
        .host = c->server.host.p,
        .port = (uint16_t)c->api.port,
        .unix_path = c->server.unix_socket.n ? c->server.unix_socket.p : NULL,
        .backlog = (uint32_t)c->api.http_backlog,
        .inherited = getenv("LISTEN_FDS") != NULL,
    };

    if (!s->role.serves)
        return own_listen(s->setup, loops_control(&s->loops), s->loops.http, s->loops.http_count,
                          &s->acceptor, e);
    return acceptor_start(loops_control(&s->loops), s->loops.http, s->loops.http_count, &o,
                          &s->acceptor, e);
}

/* The file is for those who serve pipelines: nobody else is told that it is not there. */
static void companions_load(struct server *s)
{
    const struct cli *cli = s->options.cli;

    for (size_t i = 0; cli && i < router_count(s->http.router); i++) {
        if (strcmp(router_at(s->http.router, i)->def.path, "/pipelines") == 0)
            pipelines_load(s->setup->config, cli->pipelines_path);
    }
}

static void say_workers(const struct server *s)
{
    const struct setup *setup = s->setup;

    log_write(ATH_INFO, "athena::daemon",
              "Starting Athena daemon runtime runtime_kind=%s version=%s config_path=%s "
              "work_loops=%u plugins=%u clients=%zu",
              s->role.kind, athena_version, setup->config->path ? setup->config->path : "none",
              s->loops.work_count, setup->registry->count, db_client_count());
    banner_workers(setup);
}

/* What the start has to say, once the sinks take it. */
static void say_start(struct server *s)
{
    const struct core_config *c = &s->setup->core;
    struct config_report *rep = &s->setup->report;

    for (size_t i = 0; i < rep->n; i++) {
        struct buf b = BUF_HEAP;
        config_note_line(&rep->note[i], &b);
        log_write(rep->note[i].level, "athena::config", "%s", buf_view(&b).p);
        buf_free(&b);
    }
    for (struct refusal *f = s->setup->registry->refused; f; f = f->next)
        log_write(ATH_WARN, "athena::plugin", "optional plugin \"%s\" is not there: %s", f->name,
                  f->err.message);
    if (c->gateway.logging_client.n && !secrets_on())
        log_write(
            ATH_WARN, "athena::secrets",
            "connection URIs lie in the control plane as plain text: ATHENA_SECRETS_KEY is not "
            "set");
    if (!s->role.serves) {
        say_workers(s);
        return;
    }
    keystore_say(c);
    log_write(ATH_INFO, "athena::server",
              "Athena server startup summary version=%s config_path=%s config_source=\"%s\" "
              "listen_addr=%s:%u http_workers=%u daemon_enabled=%s prometheus_enabled=%s "
              "plugins=%u clients=%zu",
              athena_version, s->setup->config->path ? s->setup->config->path : "none",
              s->setup->config->label, c->server.host.p, acceptor_port(s->acceptor),
              s->loops.http_count, c->daemon.enabled ? "true" : "false",
              c->api.prometheus_metrics_enabled ? "true" : "false", s->setup->registry->count,
              db_client_count());
    banner_print(s->setup, acceptor_port(s->acceptor), s->loops.http_count);
}

static void warm_done(void *arg)
{
    (void)arg;
    log_write(ATH_INFO, "athena::clients", "every client was tried once");
}

/* ---- while it runs ---- */

static void reload(struct server *s)
{
    struct setup *fresh = MEM_NEW(struct setup);
    bool changed = false;
    ath_err e;

    err_reset(&e);
    notify_send("RELOADING=1");
    if (s->reload_count == RELOADS_MOST) {
        log_write(ATH_WARN, "athena::config", "read again too often: restart to change more");
        free(fresh);
    } else if (setup_reload(s->setup, fresh, &s->options, &changed, &e) < 0) {
        log_write(ATH_ERROR, "athena::config",
                  "the configuration on disk is not accepted, the old "
                  "one stays: %s",
                  e.message);
        setup_print(fresh, ATH_ERROR, NULL);
        setup_close(fresh);
        free(fresh);
    } else {
        s->reloaded[s->reload_count++] = fresh;
        if (log_filter(fresh->core.server.log_filter.p, &e) < 0)
            log_write(ATH_WARN, "athena::config", "%s", e.message);
        log_write(ATH_INFO, "athena::config", "configuration read again: %s",
                  changed ? "changed" : "nothing that may change while running has changed");
        companions_load(s);
    }
    notify_send("READY=1");
}

static void on_signal(uv_signal_t *h, int number)
{
    struct server *s = h->data;

    if (number == SIGTERM || number == SIGINT || number == SIGQUIT) {
        stop_begin(s, number == SIGTERM ? "SIGTERM" : number == SIGINT ? "SIGINT" : "SIGQUIT");
        return;
    }
    if (number == SIGHUP)
        reload(s);
    log_sinks_reopen();
}

static void on_watch(uv_timer_t *h)
{
    struct server *s = h->data;
    const struct server_config *c = &s->setup->core.server;
    uint64_t every = notify_watchdog_ms(), now = uv_now(h->loop);

    loops_watch(&s->loops, c->stall_limit_ms, c->stall_abort_ms);
    if (every && now >= s->watchdog_at_ms) {
        notify_send("WATCHDOG=1");
        s->watchdog_at_ms = now + every;
    }
    if (now >= s->probe_at_ms) {
        capabilities_probe();
        s->probe_at_ms = now + CAPABILITIES_EVERY_MS;
    }
}

static void handles_start(struct server *s)
{
    static const int number[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 };
    uv_loop_t *uv = &loops_control(&s->loops)->uv;

    for (size_t i = 0; i < ATH_COUNT(number); i++) {
        uv_signal_init(uv, &s->signal[i]);
        s->signal[i].data = s;
        uv_signal_start(&s->signal[i], on_signal, number[i]);
        uv_unref((uv_handle_t *)&s->signal[i]);
    }
    uv_timer_init(uv, &s->watch);
    uv_timer_init(uv, &s->step);
    s->watch.data = s->step.data = s;
    uv_timer_start(&s->watch, on_watch, WATCH_MS, WATCH_MS);
}

/* ---- together ---- */

/* As many descriptors as the system allows: connections are descriptors. */
static void raise_limits(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int boot_policy(struct server *s, ath_err *e)
{
    struct buf text = BUF_HEAP;
    int rc = config_boot_policy(&s->setup->core, &s->setup->clients, &text);

    if (rc < 0)
        err_fail(e, rc, "%s", buf_view(&text).p);
    else if (text.n)
        log_write(ATH_WARN, "athena::clients", "%s", text.p);
    buf_free(&text);
    return rc;
}

/* Who serves has loops for requests, and who works has loops for work; of the other kind there is
 * one. */
static int loops_make(struct server *s, ath_err *e)
{
    const struct server_config *c = &s->setup->core.server;
    uint32_t many = loops_per_processor(), http = s->role.serves ? many : 1;

    if (s->role.serves && c->loops)
        http = (uint32_t)c->loops;
    return loops_new(&s->loops, http,
                     c->work_loops    ? (uint32_t)c->work_loops
                     : s->role.serves ? 1
                                      : many,
                     e);
}

static int start(struct server *s, ath_err *e)
{
    const struct server_config *c = &s->setup->core.server;
    struct client_options http = client_options_of(&s->setup->core);
    int rc;

    raise_limits();
    signal(SIGPIPE, SIG_IGN);
    if ((rc = client_start(&http, e)) < 0)
        return rc;
    if (log_filter(c->log_filter.p, e) < 0)
        log_write(ATH_WARN, "athena::config", "%s", e->message);
    s->http.router = router_new();
    http_setup(s);
    if (!s->role.serves && (rc = own_setup(&s->own, &s->http, &s->role, e)) < 0)
        return rc;
    if ((rc = keystore_configure(&s->setup->core, e)) < 0)
        return rc;
    call_routes(&s->http);
    if ((rc = setup_load_role(s->setup, e)) < 0 ||
        (rc = registry_routes(s->setup->registry, s->http.router, e)) < 0 ||
        (rc = workers_check(s->setup, e)) < 0 || (rc = boot_policy(s, e)) < 0 ||
        (rc = loops_make(s, e)) < 0 ||
        (rc = databases_start(s->setup, s->loops.all, s->loops.count, e)) < 0)
        return rc;
    limits_start(s);
    answers_start(s);
    catalogue_start(s);
    if ((rc = loops_up(s, e)) < 0 ||
        (rc = stage_up(s->setup->registry, s->loops.all, s->loops.count, e)) < 0)
        return rc;
    s->staged = true;
    s->http.hook_count = registry_hooks(s->setup->registry, &s->http.hook);
    setup_check_keys(s->setup);
    if (s->setup->report.errors)
        return err_fail(e, ATH_E_CONFIG, "configuration not accepted");
    schemas_setup(s->setup);
    if ((rc = account_start(s, e)) < 0 || (rc = brake_start(s, e)) < 0 ||
        (rc = sinks_start(s, e)) < 0 || (rc = inspection_start(s, e)) < 0)
        return rc;
    companions_load(s);
    handles_start(s);
    if ((rc = listen_start(s, e)) < 0)
        return rc;
    atomic_store(&s->listening, true);
    say_start(s);
    notify_send("READY=1");
    if (s->role.serves) /* workers open what their jobs need (D-33) */
        db_warm(loops_control(&s->loops), warm_done, s);
    cache_warm();
    control_plane_start(s);
    registry_start(s);
    workers_start(s->setup, s->loops.work[0]);
    probes_start(s->setup, s->loops.work[0]);
    return 0;
}

static void release(struct server *s)
{
    loops_free(&s->loops);
    admit_stop();
    limit_stop();
    inspect_stop();
    pipelines_free();
    ticks_stop();
    jobs_stop();
    daemons_stop();
    probe_stop();
    cache_stop();
    schema_stop();
    clients_stop();
    store_stop();
    db_stop();
    client_stop();
    call_routes(NULL);
    router_free(s->http.router);
    own_free(&s->own);
    for (uint32_t i = 0; i < s->reload_count; i++) {
        setup_close(s->reloaded[i]);
        free(s->reloaded[i]);
    }
    free(s->sink);
}

static int serve_opened(struct server *s)
{
    ath_err e;

    err_reset(&e);
    if (start(s, &e) < 0) {
        setup_print(s->setup, ATH_ERROR, &e);
        s->status = 1;
        if (s->loops.count)
            stop_finish(s);
    }
    if (s->loops.count)
        loop_run(loops_control(&s->loops));
    release(s);
    return s->status;
}

int serve(const struct cli *cli)
{
    struct setup setup;
    struct server s = { .setup = &setup, .options = setup_options_of(cli) };
    ath_err e;

    err_reset(&e);
    if (role_read(cli, &s.role, &e) < 0) {
        fprintf(stderr, "athena: %s\n", e.message);
        return 2;
    }
    s.options.role = &s.role;
    s.options.seed = true;
    if (setup_open(&setup, &s.options, &e) < 0) {
        setup_print(&setup, ATH_ERROR, &e);
        s.status = 1;
    } else {
        s.status = serve_opened(&s);
    }
    setup_close(&setup);
    return s.status;
}
