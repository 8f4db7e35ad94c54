/* connection_monitor: the pools of this process, one row each, in one statement; and a warning for
 * each that is nearly used up. The rows need a control plane, the warnings do not; they go on while
 * rows wait for room. A process that has not used a client's pool says nothing of it. */
#include "upkeep.h"

#include "lib/json.h"
#include "lib/jsonread.h"

enum {
    PRESSED_PCT = 85,
    VALUES_MOST = 1000000,
    FULL_PAUSE_MS = 60000, /* there is no room for rows */
    BUSY_PAUSE_MS = 15000  /* there was no connection */
};

struct pool {
    ath_str name;
    int64_t size, idle, active, max;
};

static int64_t number(const struct json *pool, const char *key)
{
    int64_t v = 0;

    json_i64(json_get(pool, key), &v);
    return v;
}

static ath_str decimal(ath_arena *a, int64_t v)
{
    return str_from_u64((uint64_t)v, ath_new(a, STR_U64_ROOM));
}

static void warn_of(ath_task *t, const struct pool *p)
{
    bool saturated = p->idle == 0 && p->active > 0 && p->size >= p->max;
    int64_t pct = p->max > 0 ? p->active * 100 / p->max : 0;
    ath_arena *a = ath_arena_of(t);
    ath_fact fact[] = {
        { ATH_S("client_name"), p->name, ATH_V_PLAIN, 0 },
        { ATH_S("active_connections"), decimal(a, p->active), ATH_V_NUMBER, 0 },
        { ATH_S("idle_connections"), decimal(a, p->idle), ATH_V_NUMBER, 0 },
        { ATH_S("pool_size"), decimal(a, p->size), ATH_V_NUMBER, 0 },
        { ATH_S("max_connections"), decimal(a, p->max), ATH_V_NUMBER, 0 },
        { ATH_S("active_pct"), decimal(a, pct), ATH_V_NUMBER, 0 },
        { ATH_S("saturated"), saturated ? ATH_S("true") : ATH_S("false"), ATH_V_BOOL, 0 },
    };
    ath_event ev = { .size = sizeof(ev),
                     .level = ATH_WARN,
                     .fact_count = ATH_COUNT(fact),
                     .source = ATH_S("athena::pool"),
                     .message = ATH_S("athena engine connection pool under pressure"),
                     .fact = fact };

    if (pct >= PRESSED_PCT || saturated)
        ath_host_->log->event(ath_self_, t, &ev);
}

/* ---- rows ---- */

static uint64_t now_ms(ath_task *t)
{
    return ath_host_->loop->now_ms(ath_host_->task->loop(t));
}

static void pause_writing(ath_task *t, const ath_err *e)
{
    struct upkeep *u = ath_state_of(t);

    if (str_is(ath_host_->err->get(e, "sqlstate"), "53100"))
        u->pools = (struct pause){ now_ms(t) + FULL_PAUSE_MS, "there was no room for rows" };
    else if (str_is(ath_host_->err->get(e, "code"), "pool_timeout"))
        u->pools = (struct pause){ now_ms(t) + BUSY_PAUSE_MS, "there was no connection" };
}

static int recorded(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == 0)
        return upkeep_done(t);
    pause_writing(t, e);
    return d->rc;
}

/* The arrays of the statement as one JSON text, so that names need no quoting of arrays. */
static int record(ath_task *t, ath_str pools, ath_err *e)
{
    const struct upkeep *u = ath_state_of(t);
    struct json_error why;
    ath_str host = json_text(json_get(
        json_read(ath_host_->inspect(t, "process"), JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why),
        "host"));
    ath_str param[] = { host, str_of(u->instance), pools };
    ath_stmt stmt = {
        .sql = "insert into client_connections (client_name, host, instance_id, pool_size, "
               "idle_connections, active_connections, max_connections) "
               "select p.name, $1, $2::uuid, p.size, p.idle, p.active, p.max "
               "from jsonb_to_recordset($3::jsonb) "
               "p(name text, size int, idle int, active int, max int)",
        .param = param,
        .param_count = ATH_COUNT(param),
    };
    struct ask a = { .stmt = &stmt, .count = 1 };

    if (now_ms(t) < u->pools.until_ms)
        return ath_fail(e, ATH_E_RETRY, "the records of pools wait %u s more: %s",
                        (unsigned)((u->pools.until_ms - now_ms(t)) / 1000 + 1), u->pools.why);
    return upkeep_ask(t, &a, recorded, NULL, e);
}

static void put_pool(struct buf *b, const struct pool *p)
{
    buf_z(b, b->n > 1 ? ",{" : "{");
    buf_json_str(b, "name", p->name);
    buf_json_int(b, "size", p->size);
    buf_json_int(b, "idle", p->idle);
    buf_json_int(b, "active", p->active);
    buf_json_int(b, "max", p->max);
    buf_lit(b, "}");
}

int monitor_run(ath_job *t, ath_err *e)
{
    const struct upkeep_config *c = ath_config_of(t);
    struct buf rows = BUF_ARENA(ath_arena_of(t));
    struct json_error why;
    const struct json *doc =
        json_read(ath_host_->inspect(t, "pools"), JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why);
    const struct json *pools = json_get(doc, "pools"), *connected;

    if (!pools)
        return ath_fail(e, ATH_E_BUG, "the pools of this process are not known");
    buf_lit(&rows, "[");
    json_each(p, pools)
    {
        struct pool pool = { json_text(json_get(p, "client_name")), number(p, "sqlx_size"),
                             number(p, "sqlx_idle"), number(p, "sqlx_active"),
                             number(p, "sqlx_max_connections") };
        connected = json_get(p, "connected");
        if (!connected || connected->type != JSON_TRUE)
            continue;
        warn_of(t, &pool);
        put_pool(&rows, &pool);
    }
    buf_lit(&rows, "]");
    if (!c->logging_client.n || rows.n <= 2)
        return upkeep_done(t);
    return record(t, buf_view(&rows), e);
}
