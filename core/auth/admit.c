/* The decision.
 *
 * admit_check() looks up what the route is for admission, counts here or asks Redis, and refuses
 * with the contract's words (auth.md 12.3). The client's window is asked first: a client that is
 * over its own limit takes nothing from everybody's. */
#include "auth/admit_priv.h"

#include "auth/refusal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "config/config.h"
#include "db/client.h"
#include "lib/json.h"
#include "log/log.h"
#include "log/metric.h"

enum { A_EXEMPT = 1, A_QUERY = 2, A_DEFERS = 4 };
enum { REFUSED_GLOBAL, REFUSED_CLIENT, REFUSED_STORE, DEFERRED, OUTCOMES };

struct counter { /* of one loop */
    atomic_uint_fast64_t n;
    char apart[56];
};

static struct {
    bool on, open;
    uint64_t window_ms, window_s, global, per_client;
    uint8_t *route; /* A_*, by the route's id */
    ath_str meta;
} cfg;

static struct window everybody, unknown;
static struct counter *admitted;
static uint32_t admitted_count;
static atomic_uint_fast64_t outcome[OUTCOMES], by_memory;

bool admit_on(void)
{
    return cfg.on;
}

/* ---- counting here ---- */

static struct db_client *client_of(const struct req *r)
{
    return r->client_name.n ? db_client_find(r->client_name) : NULL;
}

static enum verdict count_here(const struct req *r)
{
    struct window_time t = window_time(r->mark[MARK_HEAD] / 1000000u, cfg.window_ms);
    struct window *mine = NULL;

    if (cfg.per_client) {
        struct db_client *c = client_of(r);
        mine = c ? &c->admitted : &unknown;
        if (!window_take(mine, &t, cfg.per_client))
            return V_CLIENT;
    }
    if (!cfg.global || window_take(&everybody, &t, cfg.global))
        return V_PASSED;
    if (mine)
        window_untake(mine, &t);
    return V_GLOBAL;
}

/* ---- refusing ---- */

static void tell(const struct req *r, const char *decision, const char *reason)
{
    refusal_tell(r, &(struct refusal){ .decision = decision,
                                       .reason = reason,
                                       .retry_after_s = cfg.window_s,
                                       .window_s = cfg.window_s,
                                       .global = cfg.global,
                                       .per_client = cfg.per_client,
                                       .meta = cfg.meta });
}

static void count(int what)
{
    atomic_fetch_add_explicit(&outcome[what], 1, memory_order_relaxed);
}

static int refuse(const struct req *r, const char *code, const char *words, ath_str body,
                  ath_err *e)
{
    char room[STR_U64_ROOM];

    tell(r, "rejected", code);
    err_raise(e, code, "%s", words);
    err_detail(e, "retry_after", str_from_u64(cfg.window_s, room));
    err_detail(e, "body", body);
    return e->rc;
}

static int refuse_lost(const struct req *r, ath_err *e)
{
    count(REFUSED_STORE);
    return refuse(r, "admission_store_unavailable",
                  "Admission store backend is unavailable. Retry shortly.",
                  ATH_S("{\"code\":\"admission_store_unavailable\",\"error\":\"Admission store "
                        "backend is unavailable. Retry shortly.\",\"message\":\"Admission limiter "
                        "unavailable\",\"status\":\"error\"}"),
                  e);
}

static int refuse_limited(const struct req *r, enum verdict v, ath_err *e)
{
    count(v == V_GLOBAL ? REFUSED_GLOBAL : REFUSED_CLIENT);
    return refuse(r, "admission_limit_exceeded", "Request rate exceeded gateway admission limit",
                  ATH_S("{\"status\":\"error\",\"message\":\"Too Many Requests\",\"error\":"
                        "\"Request rate exceeded gateway admission limit\"}"),
                  e);
}

/* ---- deferring ---- */

/* A query for a database that the caller names is never deferred: it would run. */
static bool is_direct(const struct req *r)
{
    return str_trim(req_find(r, ATH_S("x-pg-uri"))).n ||
           str_trim(req_find(r, ATH_S("x-athena-jdbc-url"))).n ||
           str_trim(req_find(r, ATH_S("x-jdbc-url"))).n;
}

/* It goes on as one that asked for it: the route queues it, and the queue has a limit of its own.
 */
static void defer(struct req *r)
{
    static const ath_pair asks = { ATH_S("x-athena-defer"), ATH_S("true") };
    ath_pair *header = arena_raw(&r->task.arena, (r->header_count + 1) * sizeof(*header));

    memcpy(header + 1, r->header, r->header_count * sizeof(*header));
    header[0] = asks; /* before any that said something else */
    r->header = header;
    r->header_count++;
    r->header_bits |= name_bit(asks.name);
}

/* Does it become a job of the queue instead of being refused? */
static bool deferred(struct req *r, uint8_t flags, enum verdict v)
{
    if (!(flags & A_QUERY) || is_direct(r))
        return false;
    if (!refusal_defer_asked(r)) {
        if (v == V_LOST || !(flags & A_DEFERS))
            return false;
        defer(r);
        tell(r, "deferred", "admission_limit_exceeded");
    }
    count(DEFERRED);
    return true;
}

static int decide(struct req *r, uint8_t flags, enum verdict v, ath_err *e)
{
    struct counter *c = &admitted[r->task.loop->index];

    if (likely(v == V_PASSED)) {
        atomic_store_explicit(&c->n, atomic_load_explicit(&c->n, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        return PHASE_NEXT;
    }
    if (deferred(r, flags, v))
        return PHASE_NEXT;
    return v == V_LOST ? refuse_lost(r, e) : refuse_limited(r, v, e);
}

/* ---- the phase ---- */

/* What is no route counts like any other: else whoever asks for what is not there is limited by
 * nothing. */
static uint8_t flags_of(const struct req *r)
{
    if (likely(r->match.route != NULL))
        return cfg.route[r->match.route->id];
    return str_is(r->method, "OPTIONS") ? A_EXEMPT : 0;
}

static enum verdict without_store(const struct req *r)
{
    if (shared_holds_off()) {
        atomic_fetch_add_explicit(&by_memory, 1, memory_order_relaxed);
        return count_here(r);
    }
    return cfg.open ? V_PASSED : V_LOST;
}

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    struct req *r = req_of(t);
    enum verdict v = (enum verdict)d->count;

    v = v == V_LOST ? without_store(r) : v;
    req_resume(r, decide(r, flags_of(r), v, e), e);
    return 0;
}

static __attribute__((noinline)) int check_store(struct req *r, uint8_t flags, ath_err *e)
{
    struct db_client *c = cfg.per_client ? client_of(r) : NULL;

    if (shared_ask(r, c ? str_of(c->name) : ATH_S("unknown"), told, e) == 0)
        return PHASE_WAIT;
    err_reset(e);
    return decide(r, flags, without_store(r), e);
}

int admit_check(struct req *r, ath_err *e)
{
    uint8_t flags = flags_of(r);

    if (unlikely(flags & A_EXEMPT) || r->call)
        return PHASE_NEXT;
    if (shared_on())
        return check_store(r, flags, e);
    return decide(r, flags, count_here(r), e);
}

/* ---- the configuration ---- */

static bool exempt(ath_str list, const ath_route *route)
{
    ath_str one;

    while (config_item(&list, &one))
        if (str_is(one, route->path))
            return true;
    return strcmp(route->method, "OPTIONS") == 0;
}

/* No list names every query route. */
static bool defers(const struct gateway_config *g, const ath_route *route)
{
    ath_str list = g->admission_defer_route_prefixes, one, path = str_of(route->path);
    bool any = false;

    while (config_item(&list, &one)) {
        any = true;
        if (path.n >= one.n && memcmp(path.p, one.p, one.n) == 0)
            return true;
    }
    return !any;
}

static void take_routes(const struct gateway_config *g, const struct router *router)
{
    size_t n = router_count(router);

    cfg.route = mem_new(n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct route *route = router_at(router, i);
        uint8_t *flags = &cfg.route[route->id];
        if (exempt(g->admission_exempt_paths, &route->def))
            *flags |= A_EXEMPT;
        if (strcmp(route->def.path, "/gateway/query") == 0)
            *flags |= A_QUERY;
        if (g->admission_defer_on_limit_enabled && defers(g, &route->def))
            *flags |= A_DEFERS;
    }
}

static void make_meta(const struct gateway_config *g)
{
    struct buf b = BUF_HEAP;
    ath_str list = g->admission_defer_route_prefixes, one;

    buf_printf(&b, "{\"defer_on_limit_enabled\":%s,\"defer_route_prefixes\":[",
               g->admission_defer_on_limit_enabled ? "true" : "false");
    while (config_item(&list, &one)) {
        if (b.p[b.n - 1] != '[')
            buf_char(&b, ',');
        buf_json(&b, one);
    }
    buf_lit(&b, "]}");
    cfg.meta = str_of(mem_dup_str(buf_view(&b)));
    buf_free(&b);
}

static void one(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    metric_head(b, name, type, help);
    buf_printf(b, "%s %llu\n", name, (unsigned long long)v);
}

static void put_metrics(struct buf *b, void *arg)
{
    static const char *const reason[] = { [REFUSED_GLOBAL] = "global_limit",
                                          [REFUSED_CLIENT] = "client_limit",
                                          [REFUSED_STORE] = "store_unavailable" };
    uint64_t n = 0;

    (void)arg;
    if (!cfg.on)
        return;
    for (uint32_t i = 0; i < admitted_count; i++)
        n += atomic_load_explicit(&admitted[i].n, memory_order_relaxed);
    one(b, "athena_admission_admitted_total", "counter", "Requests that admission let pass.", n);
    metric_head(b, "athena_admission_refused_total", "counter", "Requests that it refused.");
    for (size_t i = 0; i < ATH_COUNT(reason); i++)
        buf_printf(b, "athena_admission_refused_total{reason=\"%s\"} %llu\n", reason[i],
                   (unsigned long long)atomic_load(&outcome[i]));
    one(b, "athena_admission_deferred_total", "counter",
        "Queries over the limit that went on to the deferred queue.",
        atomic_load(&outcome[DEFERRED]));
    if (!shared_on())
        return;
    one(b, "athena_admission_store_up", "gauge", "Whether Redis counts the windows.", shared_up());
    one(b, "athena_admission_by_memory_total", "counter",
        "Requests that memory decided about because Redis was lost.", atomic_load(&by_memory));
}

/* Without Redis memory counts: a switch must not turn everybody away. */
static void begin_store(const struct core_config *c)
{
    struct shared_options o = { .url = str_trim(c->server.redis_url),
                                .command_ms = c->cache.redis_timeout_ms,
                                .cooldown_ms = c->cache.redis_cooldown_ms,
                                .window_ms = cfg.window_ms,
                                .global = cfg.global,
                                .per_client = cfg.per_client,
                                .open = cfg.open };
    ath_err e;

    err_reset(&e);
    if (str_is(c->gateway.admission_store_backend, "memory"))
        return;
    if (o.url.n == 0)
        log_write(ATH_WARN, "athena::admission",
                  "gateway.admission_store_backend is \"redis\", but ATHENA_REDIS_URL is not set: "
                  "each process counts by itself, in memory");
    else if (shared_start(&o, &e) < 0)
        log_write(ATH_WARN, "athena::admission",
                  "ATHENA_REDIS_URL is not usable, each process counts by itself, in memory: %s",
                  e.message);
}

void admit_configure(const struct core_config *c, const struct router *router, uint32_t loops)
{
    const struct gateway_config *g = &c->gateway;

    cfg.on = g->admission_limit_enabled && (g->admission_global || g->admission_per_client);
    if (!cfg.on) {
        if (g->admission_limit_enabled)
            log_write(ATH_WARN, "athena::admission",
                      "gateway.admission_limit_enabled is on, but no number of requests is set: "
                      "nothing is limited");
        return;
    }
    cfg.open = str_is(g->admission_store_fail_mode, "fail_open");
    cfg.window_ms = g->admission_window_ms;
    cfg.window_s = (cfg.window_ms + 999) / 1000;
    cfg.global = (uint64_t)g->admission_global;
    cfg.per_client = (uint64_t)g->admission_per_client;
    admitted = mem_new(loops * sizeof(*admitted));
    admitted_count = loops;
    take_routes(g, router);
    make_meta(g);
    begin_store(c);
    metric_source(put_metrics, NULL);
}

void admit_stop(void)
{
    shared_end();
    free(cfg.route);
    free((char *)(uintptr_t)cfg.meta.p);
    free(admitted);
    memset(&cfg, 0, sizeof(cfg));
    admitted = NULL;
    admitted_count = 0;
}

void admit_loop_init(ath_loop *l)
{
    if (shared_on() && l->kind == LOOP_HTTP)
        shared_loop_init(l);
}

void admit_loop_fini(ath_loop *l)
{
    shared_loop_fini(l);
}
