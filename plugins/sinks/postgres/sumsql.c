/* Sums as statements: one for each table, its keys sorted so that processes that write at the same
 * time do not wait for each other in a circle. Counters only grow: what is there is added to. */
#include "sink.h"

/* ---- arrays ---- */

struct arrays { /* the parameters of one statement */
    ath_arena *arena;
    struct buf b[16];
    uint32_t count;
};

static void arrays_begin(struct arrays *a, ath_arena *arena, uint32_t count)
{
    *a = (struct arrays){ .arena = arena, .count = count };
    for (uint32_t i = 0; i < count; i++) {
        a->b[i] = BUF_ARENA(arena);
        buf_char(&a->b[i], '{');
    }
}

static struct buf *next(struct arrays *a, uint32_t i)
{
    if (a->b[i].n > 1)
        buf_char(&a->b[i], ',');
    return &a->b[i];
}

/* Of an array, with what is no UTF-8 and the byte that no text may hold mended. */
static void put_text(struct arrays *a, uint32_t i, ath_str s)
{
    struct buf *b = next(a, i);
    size_t from = b->n + 1;

    buf_char(b, '"');
    for (size_t k = 0; k < s.n; k++) {
        if (s.p[k] == '"' || s.p[k] == '\\')
            buf_char(b, '\\');
        buf_char(b, s.p[k] ? s.p[k] : '?');
    }
    utf8_mend(b->p + from, b->n - from);
    buf_char(b, '"');
}

static void put_or_null(struct arrays *a, uint32_t i, ath_str s)
{
    if (s.n)
        put_text(a, i, s);
    else
        buf_lit(next(a, i), "NULL");
}

static void put_number(struct arrays *a, uint32_t i, uint64_t v)
{
    buf_u64(next(a, i), v);
}

static void put_time(struct arrays *a, uint32_t i, double at)
{
    if (at > 0)
        buf_printf(next(a, i), "%.3f", at);
    else
        buf_lit(next(a, i), "NULL");
}

/* ---- statements ---- */

struct composing {
    struct sink *s;
    ath_arena *arena;
    uint64_t now_ms;
    struct sum_stmts *to;
};

static bool usable(const struct composing *c, enum table_id id)
{
    return table_usable(&c->s->tables, id, c->now_ms);
}

static void add_statement(struct composing *c, enum table_id id, const struct buf *sql,
                          struct arrays *a)
{
    ath_str *param = ath_new(c->arena, (a->count + 1) * sizeof(*param));

    for (uint32_t i = 0; i < a->count; i++) {
        if (a->b[i].p[0] == '{')
            buf_char(&a->b[i], '}');
        param[i] = buf_view(&a->b[i]);
    }
    c->to->table[c->to->count] = id;
    c->to->stmt[c->to->count++] =
        (ath_stmt){ .sql = buf_view(sql).p, .param = param, .param_count = a->count };
}

/* The text with the names of the tables where it has '%', the first one first. What stands between
 * two '~' is about the column ipv4_address. */
static struct buf statement(const struct composing *c, const char *text, enum table_id one,
                            enum table_id other)
{
    bool address = table_column(&c->s->tables.table[one], ATH_S("ipv4_address")) != NULL;
    struct buf b = BUF_ARENA(c->arena);
    bool second = false, inside = false;

    for (; *text; text++) {
        if (*text == '~') {
            inside = !inside;
        } else if (*text == '%') {
            table_put_name(&b, &c->s->tables, second ? other : one);
            second = true;
        } else if (!inside || address) {
            buf_char(&b, *text);
        }
    }
    return b;
}

static void clients(struct composing *c, const struct sum_map *m)
{
    static const char sql[] =
        "insert into % as c (client_name, total_requests, successful_requests, failed_requests, "
        "total_cached_requests, total_operations, last_request_at, last_operation_at, updated_at) "
        "select n, r, g, b, h, o, to_timestamp(lr), to_timestamp(lo), now() from "
        "unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], "
        "$7::float8[], $8::float8[]) x(n, r, g, b, h, o, lr, lo) on conflict (client_name) do "
        "update set total_requests = c.total_requests + excluded.total_requests, "
        "successful_requests = c.successful_requests + excluded.successful_requests, "
        "failed_requests = c.failed_requests + excluded.failed_requests, "
        "total_cached_requests = c.total_cached_requests + excluded.total_cached_requests, "
        "total_operations = c.total_operations + excluded.total_operations, "
        "last_request_at = greatest(c.last_request_at, excluded.last_request_at), "
        "last_operation_at = greatest(c.last_operation_at, excluded.last_operation_at), "
        "updated_at = excluded.updated_at";
    struct sum **all = sum_map_sorted(m, c->arena);
    struct buf text = statement(c, sql, CLIENT_SUMS, CLIENT_SUMS);
    struct arrays a;

    arrays_begin(&a, c->arena, 8);
    for (uint32_t i = 0; i < m->count; i++) {
        put_text(&a, 0, all[i]->key[0]);
        for (uint32_t k = 0; k < SUM_COUNTS; k++)
            put_number(&a, k + 1, all[i]->n[k]);
        put_time(&a, 6, all[i]->request_s);
        put_time(&a, 7, all[i]->operation_s);
    }
    add_statement(c, CLIENT_SUMS, &text, &a);
}

static void tables(struct composing *c, const struct sum_map *m)
{
    static const char sql[] =
        "insert into % as c (client_name, table_name, operation, total_operations, "
        "error_operations, last_operation_at, updated_at) "
        "select n, t, o, k, e, to_timestamp(lo), now() from unnest($1::text[], $2::text[], "
        "$3::text[], $4::bigint[], $5::bigint[], $6::float8[]) x(n, t, o, k, e, lo) "
        "on conflict (client_name, table_name, operation) do update set "
        "total_operations = c.total_operations + excluded.total_operations, "
        "error_operations = c.error_operations + excluded.error_operations, "
        "last_operation_at = greatest(c.last_operation_at, excluded.last_operation_at), "
        "updated_at = excluded.updated_at";
    struct sum **all = sum_map_sorted(m, c->arena);
    struct buf text = statement(c, sql, TABLE_SUMS, TABLE_SUMS);
    struct arrays a;

    arrays_begin(&a, c->arena, 6);
    for (uint32_t i = 0; i < m->count; i++) {
        for (uint32_t k = 0; k < 3; k++)
            put_text(&a, k, all[i]->key[k]);
        put_number(&a, 3, all[i]->n[N_TABLE_OPERATIONS]);
        put_number(&a, 4, all[i]->n[N_TABLE_ERRORS]);
        put_time(&a, 5, all[i]->operation_s);
    }
    add_statement(c, TABLE_SUMS, &text, &a);
}

/* Old databases have no column ipv4_address. */
static void registry(struct composing *c, const struct sum_map *m)
{
    static const char sql[] =
        "insert into % as c (registry_key, client_name, ipv4, ~ipv4_address, ~athena_url, "
        "api_key_public_id, api_key_external_id, api_key_authenticated, api_key_authorized, "
        "last_method, last_path, user_agent, last_request_id, last_status_code, total_hits, "
        "last_seen_at, updated_at) select concat_ws('|', n, ip, u, k), n, ip, ~ip, ~u, p, x, "
        "coalesce(a, false), coalesce(z, false), m, t, g, q, s, h, to_timestamp(l), now() from "
        "unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], "
        "$7::bool[], $8::bool[], $9::text[], $10::text[], $11::text[], $12::text[], $13::int[], "
        "$14::bigint[], $15::float8[]) y(n, ip, u, k, p, x, a, z, m, t, g, q, s, h, l) "
        "on conflict (registry_key) do update set ~ipv4_address = excluded.ipv4_address, ~"
        "api_key_public_id = excluded.api_key_public_id, "
        "api_key_external_id = excluded.api_key_external_id, "
        "api_key_authenticated = excluded.api_key_authenticated, "
        "api_key_authorized = excluded.api_key_authorized, last_method = excluded.last_method, "
        "last_path = excluded.last_path, user_agent = excluded.user_agent, "
        "last_request_id = excluded.last_request_id, "
        "last_status_code = excluded.last_status_code, "
        "total_hits = c.total_hits + excluded.total_hits, "
        "last_seen_at = greatest(c.last_seen_at, excluded.last_seen_at), "
        "updated_at = excluded.updated_at";
    struct sum **all = sum_map_sorted(m, c->arena);
    struct buf text = statement(c, sql, REGISTRY, REGISTRY);
    struct arrays a;

    arrays_begin(&a, c->arena, 15);
    for (uint32_t i = 0; i < m->count; i++) {
        for (uint32_t k = 0; k < SUM_KEYS; k++)
            put_text(&a, k, all[i]->key[k]);
        for (uint32_t k = 0; k < SUM_TEXTS; k++)
            put_or_null(&a, 4 + k, buf_view(&all[i]->text[k]));
        put_number(&a, 12, all[i]->n[N_GOOD]); /* here: the last status */
        put_number(&a, 13, all[i]->n[N_REQUESTS]);
        put_time(&a, 14, all[i]->request_s);
    }
    add_statement(c, REGISTRY, &text, &a);
}

static void registry_purge(struct composing *c)
{
    struct buf text = statement(c,
                                "delete from % where last_seen_at < now() - $1::float8 * "
                                "interval '1 second'",
                                REGISTRY, REGISTRY);
    struct arrays a = { .count = 1 };

    a.b[0] = BUF_ARENA(c->arena);
    buf_i64(&a.b[0], c->s->cfg->idle_s);
    add_statement(c, REGISTRY, &text, &a);
}

static void addresses(struct composing *c, const struct sum_map *m)
{
    static const char ips[] =
        "insert into % as c (ipv4_address, last_seen_at) select u, now() from unnest($1::text[]) u "
        "on conflict (ipv4_address) do update set last_seen_at = excluded.last_seen_at";
    static const char sums[] =
        "insert into % as c (ip_address_id, total_requests, successful_requests, failed_requests, "
        "total_cached_requests, last_request_at, updated_at) "
        "select i.id, r, g, b, h, to_timestamp(l), now() from unnest($1::text[], $2::bigint[], "
        "$3::bigint[], $4::bigint[], $5::bigint[], $6::float8[]) x(u, r, g, b, h, l) "
        "join % i on i.ipv4_address = x.u order by i.id on conflict (ip_address_id) do update set "
        "total_requests = c.total_requests + excluded.total_requests, "
        "successful_requests = c.successful_requests + excluded.successful_requests, "
        "failed_requests = c.failed_requests + excluded.failed_requests, "
        "total_cached_requests = c.total_cached_requests + excluded.total_cached_requests, "
        "last_request_at = greatest(c.last_request_at, excluded.last_request_at), "
        "updated_at = excluded.updated_at";
    struct sum **all = sum_map_sorted(m, c->arena);
    struct buf text = statement(c, ips, ADDRESSES, ADDRESSES);
    struct arrays names, a;

    arrays_begin(&names, c->arena, 1);
    arrays_begin(&a, c->arena, 6);
    for (uint32_t i = 0; i < m->count; i++) {
        put_text(&names, 0, all[i]->key[0]);
        put_text(&a, 0, all[i]->key[0]);
        for (uint32_t k = 0; k < N_OPERATIONS; k++)
            put_number(&a, k + 1, all[i]->n[k]);
        put_time(&a, 5, all[i]->request_s);
    }
    add_statement(c, ADDRESSES, &text, &names);
    if (!usable(c, ADDRESS_SUMS))
        return;
    text = statement(c, sums, ADDRESS_SUMS, ADDRESSES);
    add_statement(c, ADDRESS_SUMS, &text, &a);
}

/* When a client was last seen is told at most every half minute: its row is in many caches. Rows
 * that somebody else holds are told next time. */
static void seen(struct composing *c, const struct sum_map *m)
{
    static const char sql[] =
        "update % as c set last_seen_at = now(), updated_at = now() where c.ctid = any (array("
        "select x.ctid from % x where lower(x.client_name) = any (array(select lower(n) from "
        "unnest($1::text[]) n)) and x.deleted_at is null order by x.id "
        "for no key update skip locked))";
    struct sum **all = sum_map_sorted(m, c->arena);
    struct buf text = statement(c, sql, CLIENTS, CLIENTS);
    uint32_t due = 0;
    struct arrays a;

    arrays_begin(&a, c->arena, 1);
    for (uint32_t i = 0; i < m->count; i++) {
        struct sum *told = sum_at(&c->s->sums.seen, all[i]->key, 1);
        if (!told || (told->n[0] && c->now_ms < told->n[0] + SEEN_MS))
            continue;
        told->n[1] = 1; /* it is told now: sums_written() */
        put_text(&a, 0, all[i]->key[0]);
        due++;
    }
    if (due)
        add_statement(c, CLIENTS, &text, &a);
}

static void writers_prune(struct composing *c)
{
    struct buf text =
        statement(c, "delete from % where seen_at < now() - interval '7 days'", WRITERS, WRITERS);
    struct arrays a = { .count = 0 };

    add_statement(c, WRITERS, &text, &a);
}

void sums_statements(ath_task *t, struct sink *s, const struct sums *sums, uint64_t now_ms,
                     struct sum_stmts *ret)
{
    struct composing c = { s, ath_arena_of(t), now_ms, ret };
    const struct sum_map *m = sums->map;

    if (m[SUM_CLIENTS].count && usable(&c, CLIENT_SUMS))
        clients(&c, &m[SUM_CLIENTS]);
    if (m[SUM_TABLES].count && usable(&c, TABLE_SUMS))
        tables(&c, &m[SUM_TABLES]);
    s->purges = now_ms >= s->purged_ms + (uint64_t)s->cfg->purge_s * 1000;
    if (m[SUM_REGISTRY].count && usable(&c, REGISTRY)) {
        registry(&c, &m[SUM_REGISTRY]);
        if (s->purges)
            registry_purge(&c);
    }
    if (m[SUM_ADDRESSES].count && usable(&c, ADDRESSES))
        addresses(&c, &m[SUM_ADDRESSES]);
    if (m[SUM_CLIENTS].count && usable(&c, CLIENTS))
        seen(&c, &m[SUM_CLIENTS]);
    s->prunes = now_ms >= s->pruned_ms + SAY_MS;
    if (s->prunes && usable(&c, WRITERS))
        writers_prune(&c);
}

void sums_written(struct sink *s, struct sums *sums, uint64_t now_ms)
{
    static const enum table_id tables_of[SUMS] = { CLIENT_SUMS, TABLE_SUMS, REGISTRY, ADDRESSES };

    for (int i = 0; i < SUMS; i++) {
        if (sums->map[i].lost)
            count_rows(METRIC_DROPPED, tables_of[i], "keys", sums->map[i].lost);
        sum_map_clear(&sums->map[i]);
    }
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct sum *x = s->sums.seen.bucket[i]; x; x = x->next)
            if (x->n[1]) {
                x->n[0] = now_ms;
                x->n[1] = 0;
            }
    if (s->sums.seen.count == SUM_MOST)
        sum_map_clear(&s->sums.seen);
    s->purged_ms = s->purges ? now_ms : s->purged_ms;
    s->pruned_ms = s->prunes ? now_ms : s->pruned_ms;
}
