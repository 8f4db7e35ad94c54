/* Which limits a request has, and the contract's words for each (auth.md 13). */
#include "auth/limit.h"

#include "auth/auth.h"
#include "auth/meter.h"
#include "auth/refusal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "log/log.h"
#include "log/metric.h"

enum { ADDRESSES_MOST = 65536, KEYS_MOST = 16384 };
enum { STORAGE, SCHEMA, RAW_SQL, BACKUP_ADMIN, GROUPS, KEY_RATE = GROUPS, KEY_BUDGET, LIMITS };

static const char *const limit_name[LIMITS] = {
    [STORAGE] = "storage",           [SCHEMA] = "schema",     [RAW_SQL] = "raw_sql",
    [BACKUP_ADMIN] = "backup_admin", [KEY_RATE] = "key_rate", [KEY_BUDGET] = "key_budget",
};
static const char *const reason[LIMITS] = {
    [STORAGE] = "rate_limit_storage", [SCHEMA] = "rate_limit_schema",
    [RAW_SQL] = "rate_limit_raw_sql", [BACKUP_ADMIN] = "rate_limit_backup_admin",
    [KEY_RATE] = "rate_limit_key",    [KEY_BUDGET] = "budget_key",
};

static struct {
    struct rate_config group[LIMITS]; /* of the groups, and KEY_RATE */
    struct rate rate[LIMITS];
    uint8_t *route; /* by the route's id: 1 + the group that limits it; 0: none */
    uint64_t budget_us;
    bool groups, tells;
    struct meters *address, *key;
} cfg;

static atomic_uint_fast64_t passed[LIMITS], refused[LIMITS];

bool limit_on(void)
{
    return cfg.groups || cfg.key;
}

bool limit_charges(void)
{
    return cfg.budget_us > 0;
}

bool limit_tells(void)
{
    return cfg.tells;
}

/* ---- who ---- */

static uint64_t word_at(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

/* Those without an address are one. Of IPv6 a network of 64 bits is what one caller is given. */
static struct meter_key address_key(struct req *r, uint32_t group)
{
    struct meter_key k = { .kind = group };
    uint8_t a[16];

    if (!ip_bytes_of(r, a))
        return k;
    k.high = word_at(a);
    k.low = address_is_v4(a) ? word_at(a + 8) : 0;
    k.kind += LIMITS; /* apart from those without one */
    return k;
}

static bool caller_key(const struct req *r, struct meter_key *ret)
{
    if (!r->auth || !r->auth->key)
        return false;
    *ret = (struct meter_key){ .high = (uint64_t)r->auth->key->internal };
    return true;
}

/* ---- refusing ---- */

static void tell(const struct req *r, int limit, uint64_t wait_s)
{
    const struct rate_config *c = &cfg.group[limit];
    char text[128];
    int n =
        limit == KEY_BUDGET
            ? snprintf(text, sizeof(text), "{\"group\":\"%s\",\"ms_per_minute\":%llu}",
                       limit_name[limit], (unsigned long long)cfg.budget_us / 1000)
            : snprintf(text, sizeof(text), "{\"group\":\"%s\",\"per_second\":%lld,\"burst\":%lld}",
                       limit_name[limit], (long long)c->per_second, (long long)c->burst);

    refusal_tell(r, &(struct refusal){ .decision = "rejected",
                                       .reason = reason[limit],
                                       .retry_after_s = wait_s,
                                       .meta = str_from(text, (size_t)n) });
}

static void say(int limit, ath_err *e)
{
    if (limit == KEY_RATE) {
        err_raise(e, "api_key_rate_limited",
                  "The API key may make %lld requests per second, %lld at once.",
                  (long long)cfg.group[KEY_RATE].per_second, (long long)cfg.group[KEY_RATE].burst);
    } else if (limit == KEY_BUDGET) {
        err_raise(e, "api_key_budget_exhausted",
                  "The API key has used its %llu ms of database time per minute.",
                  (unsigned long long)cfg.budget_us / 1000);
    } else {
        err_raise(e, "rate_limited", "Too many requests; try again later.");
        err_detail(e, "body",
                   ATH_S("{\"error\":\"Rate limit exceeded\",\"message\":\"Too many "
                         "requests; try again later.\"}"));
    }
}

static int refuse(const struct req *r, int limit, uint64_t wait_ms, ath_err *e)
{
    uint64_t wait_s = wait_ms > 1000 ? (wait_ms + 999) / 1000 : 1;
    char room[STR_U64_ROOM];

    atomic_fetch_add_explicit(&refused[limit], 1, memory_order_relaxed);
    tell(r, limit, wait_s);
    say(limit, e);
    err_detail(e, "retry_after", str_from_u64(wait_s, room));
    return e->rc;
}

/* ---- the phase ---- */

static int check_rate(const struct req *r, int limit, struct meters *m, const struct meter_key *k,
                      ath_err *e)
{
    uint64_t wait_ns;

    if (!meters_rate(m, k, &cfg.rate[limit], clock_ns(), &wait_ns))
        return refuse(r, limit, (wait_ns + 999999) / 1000000u, e);
    atomic_fetch_add_explicit(&passed[limit], 1, memory_order_relaxed);
    return PHASE_NEXT;
}

static int check_budget(const struct req *r, const struct meter_key *k, ath_err *e)
{
    uint64_t wait_ms;

    meters_spent(cfg.key, k, clock_ms(), cfg.budget_us, &wait_ms);
    if (wait_ms)
        return refuse(r, KEY_BUDGET, wait_ms, e);
    atomic_fetch_add_explicit(&passed[KEY_BUDGET], 1, memory_order_relaxed);
    return PHASE_NEXT;
}

static int check_key(const struct req *r, ath_err *e)
{
    struct meter_key k;
    int rc = PHASE_NEXT;

    if (!caller_key(r, &k))
        return rc;
    if (cfg.budget_us)
        rc = check_budget(r, &k, e);
    if (rc == PHASE_NEXT && cfg.group[KEY_RATE].enabled)
        rc = check_rate(r, KEY_RATE, cfg.key, &k, e);
    return rc;
}

/* Has a request that this one is part of paid for the group? What is part of none is work of our
 * own, which was let in when it was asked for. */
static bool paid(const struct req *r, uint8_t group)
{
    bool asked = false;

    for (ath_task *up = r->task.parent; up;) {
        ath_task *top = task_root(up);
        const struct route *route = req_is(top) ? req_of(top)->match.route : NULL;
        if (route && cfg.route[route->id] == group)
            return true;
        asked = asked || route;
        up = top->parent;
    }
    return !asked;
}

int limit_check(struct req *r, ath_err *e)
{
    uint8_t group = cfg.route[r->match.route->id];

    if (cfg.key && !r->call) {
        int rc = check_key(r, e);
        if (rc != PHASE_NEXT)
            return rc;
    }
    if (group && !(r->call && paid(r, group))) {
        struct meter_key k = address_key(r, group);
        return check_rate(r, group - 1, cfg.address, &k, e);
    }
    return PHASE_NEXT;
}

/* ---- what a request costs ---- */

static uint64_t cost_us(const struct req *r, uint64_t now_ns)
{
    uint64_t sent = r->task.db_sent_ns, done = r->task.db_done_ns;

    if (!sent)
        return 0;
    done = done > sent ? done : now_ns;
    return done > sent ? (done - sent) / 1000 : 0;
}

void limit_over(const struct req *r)
{
    uint64_t us = cost_us(r, r->mark[MARK_END]);
    struct meter_key k;

    if (us && !r->call && caller_key(r, &k))
        meters_spend(cfg.key, &k, clock_ms(), us);
}

static void put_ms(struct buf *b, uint64_t us)
{
    uint64_t part = us % 1000;

    buf_u64(b, us / 1000);
    buf_char(b, '.');
    buf_char(b, (char)('0' + part / 100));
    buf_char(b, (char)('0' + part / 10 % 10));
    buf_char(b, (char)('0' + part % 10));
}

void limit_head(struct req *r, struct buf *b)
{
    uint64_t us = cost_us(r, clock_ns()), spent;
    struct meter_key k;

    if (!r->match.route || !(r->match.route->def.flags & ATH_RT_CLIENT))
        return;
    buf_lit(b, "x-athena-cost: ");
    put_ms(b, us);
    if (cfg.budget_us && caller_key(r, &k)) {
        spent = us + meters_spent(cfg.key, &k, clock_ms(), cfg.budget_us, NULL);
        buf_lit(b, ";remaining=");
        put_ms(b, spent < cfg.budget_us ? cfg.budget_us - spent : 0);
    }
    buf_lit(b, "\r\n");
}

/* ---- the configuration ---- */

static void put_counts(struct buf *b, const char *name, const char *help,
                       const atomic_uint_fast64_t *n)
{
    metric_head(b, name, "counter", help);
    for (size_t i = 0; i < LIMITS; i++)
        if (cfg.group[i].enabled || (i == KEY_BUDGET && cfg.budget_us))
            buf_printf(b, "%s{group=\"%s\"} %llu\n", name, limit_name[i],
                       (unsigned long long)atomic_load(&n[i]));
}

static void put_metrics(struct buf *b, void *arg)
{
    uint64_t used[2] = { 0 }, out[2] = { 0 };

    (void)arg;
    if (!limit_on())
        return;
    if (cfg.address)
        meters_read(cfg.address, &used[0], &out[0]);
    if (cfg.key)
        meters_read(cfg.key, &used[1], &out[1]);
    put_counts(b, "athena_rate_limit_passed_total", "Requests within a limit.", passed);
    put_counts(b, "athena_rate_limit_refused_total", "Requests over a limit.", refused);
    metric_head(b, "athena_rate_limit_meters", "gauge", "Callers that are remembered.");
    buf_printf(b,
               "athena_rate_limit_meters{of=\"addresses\"} %llu\n"
               "athena_rate_limit_meters{of=\"keys\"} %llu\n",
               (unsigned long long)used[0], (unsigned long long)used[1]);
    metric_head(b, "athena_rate_limit_meters_pushed_out_total", "counter",
                "Callers that were forgotten because others came.");
    buf_printf(b,
               "athena_rate_limit_meters_pushed_out_total{of=\"addresses\"} %llu\n"
               "athena_rate_limit_meters_pushed_out_total{of=\"keys\"} %llu\n",
               (unsigned long long)out[0], (unsigned long long)out[1]);
}

static int group_by_name(const char *name)
{
    for (int i = 0; i < GROUPS; i++)
        if (strcmp(name, limit_name[i]) == 0)
            return i;
    return -1;
}

static void take_routes(const struct router *router)
{
    size_t n = router_count(router);

    cfg.route = mem_new(n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct route *route = router_at(router, i);
        int group = route->def.limit ? group_by_name(route->def.limit) : -1;
        if (route->def.limit && group < 0)
            log_write(ATH_WARN, "athena::limit",
                      "route \"%s\" of plugin \"%s\" names the rate group \"%s\", which there is "
                      "not: it is not limited",
                      route->label, route->plugin, route->def.limit);
        if (group >= 0 && cfg.group[group].enabled)
            cfg.route[route->id] = (uint8_t)(1 + group);
    }
}

void limit_configure(const struct gateway_config *g, const struct router *router)
{
    const struct rate_config of[LIMITS] = { [STORAGE] = g->storage,
                                            [SCHEMA] = g->schema,
                                            [RAW_SQL] = g->raw_sql,
                                            [BACKUP_ADMIN] = g->backup_admin,
                                            [KEY_RATE] = g->per_key };

    for (int i = 0; i < LIMITS; i++) {
        cfg.group[i] = of[i];
        cfg.rate[i] = rate_of((uint64_t)of[i].per_second, (uint64_t)of[i].burst);
        cfg.groups |= i < GROUPS && of[i].enabled;
    }
    cfg.budget_us = (uint64_t)g->budget_per_key_ms * 1000;
    cfg.tells = g->cost_header;
    if (cfg.groups)
        cfg.address = meters_new(ADDRESSES_MOST);
    if (cfg.budget_us || g->per_key.enabled)
        cfg.key = meters_new(KEYS_MOST);
    take_routes(router);
    metric_source(put_metrics, NULL);
}

void limit_stop(void)
{
    meters_free(cfg.address);
    meters_free(cfg.key);
    free(cfg.route);
    memset(&cfg, 0, sizeof(cfg));
}
