/* Names and forms are the published ones (observability.md 12.1), whatever they say of libraries.
 */
#include "server/pools.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "db/client.h"
#include "lib/json.h"

struct row {
    const struct db_client *client;
    struct db_pool_stats pool;
};

static int by_name(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return strcmp(x->client->name, y->client->name);
}

static void put_null(struct buf *b, const char *key)
{
    buf_json_key(b, key);
    buf_lit(b, "null");
}

static void put_number(struct buf *b, const char *key, bool known, uint64_t v)
{
    if (known)
        buf_json_int(b, key, (int64_t)v);
    else
        put_null(b, key);
}

static void put_name(struct buf *b, const char *key, const char *name)
{
    if (name)
        buf_json_str(b, key, str_of(name));
    else
        put_null(b, key);
}

static bool plays(const struct db_client *c, const char *role)
{
    return role && strcmp(c->shown, role) == 0;
}

static void put_sizes(struct buf *b, const struct db_pool_stats *p, bool there)
{
    put_number(b, "sqlx_max_connections", there, p->max);
    put_number(b, "sqlx_size", there, p->size);
    put_number(b, "sqlx_idle", there, p->idle);
    put_number(b, "sqlx_active", there, p->size > p->idle ? p->size - p->idle : 0);
    if (there)
        buf_json_bool(b, "sqlx_closed", false);
    else
        put_null(b, "sqlx_closed");
}

static void put_pool(struct buf *b, const struct row *r, const struct inspect_sources *from,
                     uint64_t now)
{
    const struct db_client *c = r->client;
    const struct db_pool_stats *p = &r->pool;
    uint64_t second = 1000000000u;

    buf_lit(b, "{");
    buf_json_str(b, "client_name", str_of(c->shown));
    buf_json_str(b, "source", str_of(c->source));
    buf_json_bool(b, "active", c->active);
    buf_json_bool(b, "frozen", c->frozen);
    buf_json_bool(b, "connected", p->up);
    buf_json_bool(b, "role_logging", plays(c, from->logging_client));
    buf_json_bool(b, "role_gateway_auth", plays(c, from->auth_client));
    buf_json_bool(b, "role_gateway_benchmark", plays(c, from->benchmark_client));
    put_number(b, "initiated_at_unix_secs", p->up, p->since_ns / second);
    put_number(b, "uptime_seconds", p->up, now > p->since_ns ? (now - p->since_ns) / second : 0);
    put_number(b, "last_request_at_unix_secs", p->used_ns, p->used_ns / second);
    buf_json_int(b, "requests_served_total", (int64_t)p->served);
    put_sizes(b, p, p->up);
    buf_json_int(b, "sqlx_configured_max_lifetime_seconds", (int64_t)(from->lifetime_ms / 1000));
    buf_json_bool(b, "deadpool_connected", p->up);
    buf_lit(b, "}");
}

void pools_json(struct buf *b, const struct inspect_sources *from)
{
    size_t all = db_client_count(), n = 0;
    struct row *row = mem_new((all + 1) * sizeof(*row));
    uint64_t now = clock_wall_ns();

    for (size_t i = 0; i < all; i++) {
        row[n].client = db_client_at(i);
        if (atomic_load(&row[n].client->gone))
            continue;
        db_client_stats(row[n].client, &row[n].pool);
        n++;
    }
    qsort(row, n, sizeof(*row), by_name);
    buf_lit(b, "{");
    buf_json_int(b, "generated_at_unix_secs", (int64_t)(now / 1000000000u));
    put_name(b, "logging_client", from->logging_client);
    put_name(b, "gateway_auth_client", from->auth_client);
    put_name(b, "gateway_benchmark_client", from->benchmark_client);
    buf_json_key(b, "pools");
    buf_lit(b, "[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_lit(b, ",");
        put_pool(b, &row[i], from, now);
    }
    buf_lit(b, "]}");
    free(row);
}
