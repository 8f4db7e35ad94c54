/* The server.
 *
 * Start: loops -> databases (nothing connects yet) -> plugins loaded and their routes entered ->
 * threads -> plugins' stages -> sinks -> listening -> READY=1; then, beside: connections and
 * catalogues. Any error before READY undoes what was done, says everything at once and exits 1.
 *
 * Stop (TERM, INT): a chain on the control loop, one function per step:
 *
 *     stop_begin    no new connections, idle ones closed, plugins drained
 *     stop_wait     until nothing is in flight, or the drain's time has passed
 *     stop_cut      what is left is ended; a second to leave
 *     stop_finish   loops give up their handles, sinks flush, plugins end, loops end
 *
 * A second TERM cuts at once.
 */
#include "server/serve.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/version.h"
#include "cache/cache.h"
#include "db/query.h"
#include "http/call.h"
#include "log/log.h"
#include "plugin/host.h"
#include "plugin/stage.h"
#include "server/account.h"
#include "server/banner.h"
#include "server/capabilities.h"
#include "server/databases.h"
#include "server/inspect.h"
#include "server/loops.h"
#include "server/notify.h"
#include "server/phases.h"

enum { WATCH_MS = 250, WAIT_MS = 20, CUT_MS = 1000, RELOADS_MOST = 64 };

struct server {
    struct setup *setup;
    struct setup_options options;
    struct loops loops;
    struct http http;
    struct keys keys;
    struct acceptor *acceptor;
    struct log_sink **sink;
    uint32_t sink_count;
    bool staged;                 /* stage_up() has succeeded */
    struct setup *reloaded[RELOADS_MOST]; /* configurations that running tasks may still look at */
    uint32_t reload_count;
    uv_signal_t signal[5];
    uv_timer_t watch, step;
    uint64_t step_until_ms, watchdog_at_ms, probe_at_ms;
    bool stopping;
    atomic_bool listening;
    int status;
};

/* ---- start ---- */

static enum http_timing timing_of(ath_str word)
{
    return str_is(word, "always") ? TIMING_ALWAYS
           : str_is(word, "never") ? TIMING_NEVER
                                   : TIMING_ASKED;
}

static void answers_start(struct server *s)
{
    const struct core_config *c = &s->setup->core;
    struct cache_options o = {
        .entries = (uint64_t)c->cache.entries, .bytes = (uint64_t)c->api.cache_max_bytes,
        .entry_bytes = c->cache.entry_bytes, .ttl_ms = c->api.cache_ttl_ms,
        .wait_ms = c->cache.wait_ms, .query_ms = c->gateway.resilience_timeout_ms, .redis_url = c->server.redis_url,
        .redis_command_ms = c->cache.redis_timeout_ms,
        .redis_cooldown_ms = c->cache.redis_cooldown_ms,
        .loops = s->loops.all, .loop_count = s->loops.count,
    };

    if (c->cache.skip_invalidation)
        log_write(ATH_WARN, "athena::cache", "deferred_writes.skip_cache_invalidation has no effect: "
                  "an answer that a write made old is never given");
    if (c->cache.enabled)
        cache_start(&o);
}

static void http_setup(struct server *s)
{
    const struct core_config *c = &s->setup->core;

    s->http.phase = server_phases;
    s->http.phase_count = server_phase_count;
    s->http.strict_methods = c->server.strict_methods;
    s->http.allow = keys_allow;
    s->http.cors = (struct http_cors){
        .enforce = c->api.cors_enforce && !c->api.cors_allow_any_origin,
        .origins = c->api.cors_allowed_origins, .max_age_s = c->api.cors_max_age_ms / 1000,
    };
    s->http.timing = timing_of(c->server.server_timing);
    s->http.account = account_request;
    s->http.limits = (struct http_limits){
        .head_bytes = c->server.head_bytes, .head_fields = (uint64_t)c->server.head_fields,
        .target_bytes = c->server.target_bytes, .body_bytes = c->api.max_body_bytes,
        .head_ms = c->server.head_timeout_ms, .body_ms = c->server.body_timeout_ms,
        .idle_ms = c->server.idle_timeout_ms, .write_ms = c->server.write_timeout_ms,
        .request_ms = c->server.request_timeout_ms,
        .connections = (uint64_t)c->server.connections,
        .pipeline = (uint64_t)c->server.pipeline, .buffered = c->server.buffered_bytes,
        .pack_min = c->server.compression_min, .pack_level = (int)c->server.compression_level,
    };
    s->keys = (struct keys){
        .enforced = c->gateway.enforce_api_keys,
        .store = c->gateway.auth_client.n || c->gateway.logging_client.n,
    };
    keys_load(&s->keys, c->server.admin_key);
    phases_init(&s->keys);
}

struct loop_start_result {
    struct server *server;
    ath_err err;
    int rc;
};

static void loop_rooms_init(ath_loop *l, void *arg)
{
    struct loop_start_result *r = arg;

    if (r->rc == 0)
        r->rc = db_loop_init(l, &r->err);
    if (r->rc == 0)
        cache_loop_init(l);
    if (r->rc == 0 && l->kind == LOOP_HTTP)
        r->rc = http_loop_init(l, &r->server->http, &r->err);
}

static int loops_up(struct server *s, ath_err *e)
{
    struct loop_start_result r = { .server = s };
    int rc = loops_start(&s->loops, e);

    if (rc < 0)
        return rc;
    err_reset(&r.err);
    loops_each(&s->loops, 0, loop_rooms_init, &r);
    if (r.rc < 0)
        err_copy(e, &r.err);
    return r.rc;
}

static int sinks_start(struct server *s, ath_err *e)
{
    struct capability *c;

    for (uint32_t i = 0; (c = registry_cap(s->setup->registry, ATH_CAP_SINK, i)); i++) {
        const ath_self *self = c->self;
        struct log_queue_options o;
        int rc;
        s->sink = mem_resize(s->sink, (s->sink_count + 1) * sizeof(*s->sink));
        log_queue_options_of(self->all_field, sizeof(ath_field), self->all_count,
                             registry_config(self), &o);
        if ((rc = log_sink_start(self->name, &c->sink, self->state, &o,
                                 &s->sink[s->sink_count], e)) < 0)
            return rc;
        s->sink_count++;
    }
    return 0;
}

static const char *name_or_null(ath_str name, ath_str otherwise)
{
    return name.n ? name.p : otherwise.n ? otherwise.p : NULL;
}

static uint64_t list_length(ath_str list)
{
    uint64_t n = 0;
    ath_str item;

    while (config_item(&list, &item))
        n++;
    return n;
}

static int inspection_start(struct server *s, ath_err *e)
{
    const struct gateway_config *g = &s->setup->core.gateway;
    struct inspect_sources from = {
        .router = s->http.router, .http = &s->http,
        .loops = s->loops.all, .loop_count = s->loops.count, .listening = &s->listening,
        .logging_client = name_or_null(g->logging_client, (ath_str){ 0 }),
        .auth_client = name_or_null(g->auth_client, g->logging_client),
        .benchmark_client = name_or_null(g->benchmark_client, g->logging_client),
        .gateway = { g->force_camel_case_to_snake_case, g->auto_cast_uuid_filter_values_to_text,
                     g->jdbc_allow_private_hosts, list_length(g->jdbc_allowed_hosts) },
    };

    host_inspect(inspect);
    return inspect_start(&from, e);
}

static int listen_start(struct server *s, ath_err *e)
{
    const struct core_config *c = &s->setup->core;
    struct acceptor_options o = {
        .host = c->server.host.p, .port = (uint16_t)c->api.port,
        .unix_path = c->server.unix_socket.n ? c->server.unix_socket.p : NULL,
        .backlog = (uint32_t)c->api.http_backlog, .inherited = getenv("LISTEN_FDS") != NULL,
    };

    return acceptor_start(loops_control(&s->loops), s->loops.http, s->loops.http_count, &o,
                          &s->acceptor, e);
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
    if (!c->gateway.enforce_api_keys)
        log_write(ATH_WARN, "athena::keys",
                  "API keys are not enforced%s: gateway routes are open to everybody "
                  "(gateway.enforce_api_keys: true closes them)",
                  c->enforce_stated ? "" : " because the configuration does not say so");
    log_write(ATH_INFO, "athena::server",
              "Athena server startup summary version=%s config_path=%s config_source=\"%s\" "
              "listen_addr=%s:%u http_workers=%u daemon_enabled=%s prometheus_enabled=%s "
              "plugins=%u clients=%zu", athena_version,
              s->setup->config->path ? s->setup->config->path : "none", s->setup->config->label,
              c->server.host.p, acceptor_port(s->acceptor), s->loops.http_count,
              c->daemon.enabled ? "true" : "false",
              c->api.prometheus_metrics_enabled ? "true" : "false", s->setup->registry->count,
              db_client_count());
    banner_print(s->setup, acceptor_port(s->acceptor), s->loops.http_count);
}

static void warm_done(void *arg)
{
    (void)arg;
    log_write(ATH_INFO, "athena::clients", "every client was tried once");
}

/* ---- stop ---- */

static void loop_drain(ath_loop *l, void *arg)
{
    (void)arg;
    http_loop_drain(l);
}

static void loop_cut(ath_loop *l, void *arg)
{
    (void)arg;
    if (l->kind == LOOP_HTTP)
        http_loop_cut(l);
    task_cancel_all(l);
}

static void loop_rooms_fini(ath_loop *l, void *arg)
{
    (void)arg;
    if (l->kind == LOOP_HTTP)
        http_loop_fini(l);
    cache_loop_fini(l);
    db_loop_fini(l);
}

static void close_handle(uv_handle_t *h)
{
    if (h->loop && !uv_is_closing(h))
        uv_close(h, NULL);
}

static void stop_finish(struct server *s)
{
    loops_each(&s->loops, 0, loop_rooms_fini, NULL);
    log_write(ATH_INFO, "athena::server", "stopped");
    for (uint32_t i = 0; i < s->sink_count; i++)
        log_sink_stop(s->sink[i]);
    s->sink_count = 0;
    stage_down(s->setup->registry);
    for (size_t i = 0; i < ATH_COUNT(s->signal); i++)
        close_handle((uv_handle_t *)&s->signal[i]);
    close_handle((uv_handle_t *)&s->watch);
    close_handle((uv_handle_t *)&s->step);
    loops_stop(&s->loops);
}

static bool quiet(const struct server *s)
{
    return atomic_load(&s->http.in_flight) == 0 && task_alive() == 0;
}

static void stop_left(uv_timer_t *h)
{
    struct server *s = h->data;

    if (quiet(s) || uv_now(h->loop) >= s->step_until_ms) {
        uv_timer_stop(h);
        stop_finish(s);
    }
}

static void stop_cut(struct server *s)
{
    ath_loop *l = loops_control(&s->loops);

    if (!quiet(s))
        log_write(ATH_WARN, "athena::server", "%u requests are cut",
                  atomic_load(&s->http.in_flight));
    loops_each(&s->loops, 0, loop_cut, NULL);
    uv_update_time(&l->uv);
    s->step_until_ms = uv_now(&l->uv) + CUT_MS;
    uv_timer_start(&s->step, stop_left, 0, WAIT_MS);
}

static void stop_wait(uv_timer_t *h)
{
    struct server *s = h->data;

    if (quiet(s) || uv_now(h->loop) >= s->step_until_ms)
        stop_cut(s);
}

static void stop_begin(struct server *s, const char *why)
{
    ath_loop *l = loops_control(&s->loops);

    if (s->stopping) { /* asked twice: at once */
        s->step_until_ms = 0;
        return;
    }
    s->stopping = true;
    notify_send("STOPPING=1");
    log_write(ATH_INFO, "athena::server", "stopping: %s", why);
    atomic_store(&s->listening, false);
    atomic_store(&s->http.draining, true);
    acceptor_stop(s->acceptor);
    loops_each(&s->loops, LOOP_HTTP, loop_drain, NULL);
    stage_drain(s->setup->registry);
    cache_drain();
    uv_update_time(&l->uv);
    s->step_until_ms = uv_now(&l->uv) + s->setup->core.server.drain_timeout_ms;
    uv_timer_start(&s->step, stop_wait, 0, WAIT_MS);
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
        log_write(ATH_ERROR, "athena::config", "the configuration on disk is not accepted, the old "
                  "one stays: %s", e.message);
        setup_print(fresh, ATH_ERROR, NULL);
        setup_close(fresh);
        free(fresh);
    } else {
        s->reloaded[s->reload_count++] = fresh;
        if (log_filter(fresh->core.server.log_filter.p, &e) < 0)
            log_write(ATH_WARN, "athena::config", "%s", e.message);
        log_write(ATH_INFO, "athena::config", "configuration read again: %s",
                  changed ? "changed" : "nothing that may change while running has changed");
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

static int start(struct server *s, ath_err *e)
{
    const struct server_config *c = &s->setup->core.server;
    int rc;

    raise_limits();
    signal(SIGPIPE, SIG_IGN);
    if (log_filter(c->log_filter.p, e) < 0)
        log_write(ATH_WARN, "athena::config", "%s", e->message);
    s->http.router = router_new();
    http_setup(s);
    call_routes(&s->http);
    if ((rc = setup_load(s->setup, PLUGIN_ROUTES | PLUGIN_SINK | PLUGIN_DRIVER, e)) < 0 ||
        (rc = registry_routes(s->setup->registry, s->http.router, e)) < 0 ||
        (rc = boot_policy(s, e)) < 0 ||
        (rc = loops_new(&s->loops, c->loops ? (uint32_t)c->loops : loops_per_processor(),
                        c->work_loops ? (uint32_t)c->work_loops : 1, e)) < 0 ||
        (rc = databases_start(s->setup, s->loops.all, s->loops.count, e)) < 0)
        return rc;
    answers_start(s);
    if ((rc = loops_up(s, e)) < 0 ||
        (rc = stage_up(s->setup->registry, s->loops.all, s->loops.count, e)) < 0)
        return rc;
    s->staged = true;
    s->http.hook_count = registry_hooks(s->setup->registry, &s->http.hook);
    setup_check_keys(s->setup);
    if ((rc = sinks_start(s, e)) < 0 || (rc = inspection_start(s, e)) < 0)
        return rc;
    handles_start(s);
    if ((rc = listen_start(s, e)) < 0)
        return rc;
    atomic_store(&s->listening, true);
    say_start(s);
    notify_send("READY=1");
    db_warm(loops_control(&s->loops), warm_done, s);
    cache_warm();
    return 0;
}

static void release(struct server *s)
{
    loops_free(&s->loops);
    inspect_stop();
    cache_stop();
    db_stop();
    call_routes(NULL);
    router_free(s->http.router);
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
