/* From rows of the auth database to what is kept in memory.
 *
 * Databases of the published scripts may lack the columns of learning keys and all tables of
 * addresses (D-27): what such a database cannot say has its default. One that has some of them but
 * not all, or does not let them be read, has a policy that nobody can tell: its keys are refused
 * where that matters (D-10).
 *
 * A key is one block of memory: its struct, then its texts.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "auth/brake.h"
#include "auth/store_priv.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "db/query.h"
#include "lib/jsonread.h"
#include "lib/text.h"

/* ---- what there is ---- */

enum { T_KEYS, T_GRANTS, T_RIGHTS, T_CONFIG, T_CLIENT_CONFIG, T_LIST, TABLES = T_LIST + LISTS };

static const char *const list_table[LISTS] = { "api_key_ip_whitelist", "api_key_ip_blacklist",
                                               "api_key_ip_global_whitelist",
                                               "api_key_ip_global_blacklist" };
static const char *const virgin_column[] = { "virgin_mode", "virgin_resolved",
                                             "virgin_until_n_requests", "max_whitelist_ips" };

const char shape_sql[] =
    "select c.oid is not null, coalesce(has_table_privilege(c.oid, 'select'), false), coalesce(("
    "select string_agg(a.attname::text, ',') from pg_catalog.pg_attribute a where a.attrelid = "
    "c.oid "
    "and a.attnum > 0 and not a.attisdropped), '') from unnest(array['api_keys', "
    "'api_key_right_grants', 'api_key_rights', 'api_key_config', 'api_key_client_config', "
    "'api_key_ip_whitelist', 'api_key_ip_blacklist', 'api_key_ip_global_whitelist', "
    "'api_key_ip_global_blacklist']) with ordinality as n(name, i) left join pg_catalog.pg_class c "
    "on c.oid = to_regclass(n.name) order by n.i";

static bool is_true(const ath_rows *rows, uint32_t row, uint32_t col)
{
    return str_is(db_rows_text(rows, row, col), "t");
}

static bool has_column(ath_str columns, const char *name)
{
    ath_str one;

    while (str_next(&columns, ',', &one))
        if (str_is(one, name))
            return true;
    return false;
}

static bool readable(const ath_rows *rows, uint32_t table)
{
    return is_true(rows, table, 0) && is_true(rows, table, 1);
}

void shape_read(const ath_rows *rows, struct shape *ret)
{
    ath_str columns = db_rows_text(rows, T_KEYS, 2);

    *ret = (struct shape){
        .keys = readable(rows, T_KEYS),
        .rights = readable(rows, T_GRANTS) && readable(rows, T_RIGHTS),
        .config = readable(rows, T_CONFIG),
        .client_config = readable(rows, T_CLIENT_CONFIG),
        .virgin = true,
        .old = true,
    };
    for (size_t i = 0; i < ATH_COUNT(virgin_column); i++)
        ret->virgin = ret->virgin && has_column(columns, virgin_column[i]);
    for (uint32_t i = 0; i < LISTS; i++) {
        ret->list[i] = readable(rows, T_LIST + i)     ? LIST_READABLE
                       : is_true(rows, T_LIST + i, 0) ? LIST_CLOSED
                                                      : LIST_ABSENT;
        ret->old = ret->old && ret->list[i] == LIST_ABSENT;
    }
    ret->old = ret->old && !ret->virgin;
}

static void lacks(struct buf *missing, bool there, const char *what)
{
    if (there)
        return;
    if (missing->n)
        buf_lit(missing, ", ");
    buf_z(missing, what);
}

void shape_say(const struct shape *s, struct buf *missing)
{
    lacks(missing, s->keys, "api_keys");
    lacks(missing, s->rights, "api_key_rights and api_key_right_grants");
    lacks(missing, s->config, "api_key_config");
    lacks(missing, s->client_config, "api_key_client_config");
    lacks(missing, !s->keys || s->virgin, "virgin columns of api_keys");
    for (uint32_t i = 0; i < LISTS; i++)
        lacks(missing, s->list[i] == LIST_READABLE, list_table[i]);
}

/* ---- the small tables ---- */

/* Rows of four columns: what, client, on, addresses between commas. */
void shape_sql_tables(const struct shape *s, struct buf *sql)
{
    buf_lit(sql, "select '' as what, null::text as client, null::boolean as on, null::text as addr "
                 "where false");
    if (s->config)
        buf_lit(sql,
                " union all select 'g', null, enforce_api_keys, null from api_key_config where "
                "api_key_config_id = '00000000-0000-0000-0000-000000000000'");
    if (s->client_config)
        buf_lit(sql, " union all select 'c', client_name, enforce_api_keys, null from "
                     "api_key_client_config");
    for (uint32_t i = 2; i < LISTS; i++)
        if (s->list[i] == LIST_READABLE)
            buf_printf(sql,
                       " union all select '%c', lower(btrim(client_name)), null, "
                       "string_agg(addr::text, ',' order by addr) from %s group by 2",
                       i == 2 ? 'w' : 'b', list_table[i]);
    buf_lit(sql, " order by 1, 2");
}

static char *fold(char *at, ath_str name, ath_str *ret)
{
    name = str_trim(name);
    for (size_t i = 0; i < name.n; i++)
        at[i] = (char)tolower((unsigned char)name.p[i]);
    *ret = str_from(at, name.n);
    return at + name.n;
}

/* Networks between commas. False: one of them is none. */
static bool set_read(ath_str list, struct ip_set **ret, uint32_t *ret_n)
{
    ath_str rest = list, one;
    struct network *net;
    uint32_t n = 0;
    bool ok = true;

    while (str_next(&rest, ',', &one))
        n++;
    net = mem_new((n + 1) * sizeof(*net));
    for (*ret_n = 0, rest = list; ok && str_next(&rest, ',', &one);)
        ok = one.n == 0 || network_read(one, &net[(*ret_n)++]);
    if (!list.n)
        *ret_n = 0;
    *ret = ip_set_new(net, ok ? *ret_n : 0);
    free(net);
    return ok;
}

/* Names that differ in their case alone are one client: whoever says true wins (D-1). */
static void add_switch(struct tables *t, struct switched *fresh, ath_str client, bool on)
{
    struct switched *same = map_get(&t->by_client, client);

    t->any_on |= on;
    t->any_off |= !on;
    if (same) {
        same->on |= on;
        return;
    }
    *fresh = (struct switched){ client, on };
    map_put(&t->by_client, client, fresh);
}

static void add_list(struct tables *t, struct listed *fresh, ath_str client, bool black,
                     ath_str addresses)
{
    struct listed *l = map_get(&t->lists, client);
    uint32_t n;

    if (!l) {
        l = fresh;
        l->client = client;
        map_put(&t->lists, client, l);
    }
    t->unlisted |= !set_read(addresses, black ? &l->black : &l->white, &n);
}

static void add_row(struct tables *t, const ath_rows *rows, uint32_t i, ath_str client)
{
    ath_str what = db_rows_text(rows, i, 0);
    bool on = is_true(rows, i, 2);

    if (str_is(what, "g")) {
        t->global = on;
        t->any_on |= on;
    } else if (str_is(what, "c")) {
        add_switch(t, &t->switched[i], client, on);
    } else {
        add_list(t, &t->listed[i], client, str_is(what, "b"), db_rows_text(rows, i, 3));
    }
}

/* A process of its own has no use for the same digest as another. */
static void digest(const ath_rows *rows, uint32_t from, uint32_t to, uint64_t ret[2])
{
    static const uint64_t key[2] = { 0x6b65792073746f72, 0x652c20726f777321 };
    const ath_column *column;
    uint32_t columns = db_rows_columns(rows, &column);
    struct buf b = BUF_HEAP;

    for (uint32_t i = from; i < to; i++)
        for (uint32_t col = 0; col < columns; col++) {
            ath_str text = db_rows_text(rows, i, col);
            buf_u64(&b, text.n);
            buf_char(&b, text.p ? ':' : '-');
            buf_str(&b, text);
        }
    siphash(key, buf_view(&b), (ath_str){ "", 0 }, ret);
    buf_free(&b);
}

struct tables *tables_read(const ath_rows *rows, const struct shape *s)
{
    struct tables *t = MEM_NEW(struct tables);
    uint32_t n = db_rows_count(rows);
    size_t bytes = 1;
    char *at;

    atomic_store(&t->refs, 1);
    t->unlisted = !s->old && (s->list[2] != LIST_READABLE || s->list[3] != LIST_READABLE);
    t->switched = mem_new((n + 1) * sizeof(*t->switched));
    t->listed = mem_new((n + 1) * sizeof(*t->listed));
    for (uint32_t i = 0; i < n; i++)
        bytes += db_rows_text(rows, i, 1).n;
    at = t->text = mem_new(bytes);
    for (uint32_t i = 0; i < n; i++) {
        ath_str client;
        at = fold(at, db_rows_text(rows, i, 1), &client);
        add_row(t, rows, i, client);
    }
    digest(rows, 0, n, t->digest);
    t->digest[0] ^= t->unlisted;
    return t;
}

void tables_free(struct tables *t)
{
    size_t at = 0;
    struct listed *l;

    while ((l = map_next(&t->lists, &at)) != NULL) {
        ip_set_free(l->white);
        ip_set_free(l->black);
    }
    map_free(&t->by_client);
    map_free(&t->lists);
    free(t->switched);
    free(t->listed);
    free(t->text);
    free(t);
}

/* ---- keys ---- */

enum {
    K_PUBLIC,
    K_ID,
    K_INTERNAL,
    K_SALT,
    K_HASH,
    K_ACTIVE,
    K_EXPIRES,
    K_CLIENT,
    K_RIGHTS,
    K_VIRGIN,
    K_RESOLVED,
    K_UNTIL,
    K_MOST,
    K_WHITE,
    K_BLACK
};

static void list_column(const struct shape *s, uint32_t list, struct buf *sql)
{
    if (s->list[list] == LIST_READABLE)
        buf_printf(sql,
                   ", coalesce((select string_agg(l.addr::text, ',' order by l.addr) from %s l "
                   "where l.api_key_id = k.id), '')",
                   list_table[list]);
    else
        buf_lit(sql, ", ''");
}

void shape_sql_keys(const struct shape *s, struct buf *sql)
{
    buf_lit(sql,
            "select k.public_id, k.api_keys_id::text, k.id, k.key_salt, k.key_hash, k.is_active, "
            "case when k.expires_at is null or k.expires_at = 'infinity' then 0 when "
            "k.expires_at = '-infinity' then 1 else "
            "(extract(epoch from k.expires_at) * 1000000)::bigint end, k.client_name, ");
    if (s->rights)
        buf_lit(sql,
                "coalesce((select jsonb_agg(r.name order by r.name) from api_key_right_grants g "
                "join api_key_rights r on r.id = g.right_id where g.api_key_id = k.id)::text, "
                "'[]')");
    else
        buf_lit(sql, "'[]'");
    buf_z(sql, s->virgin ? ", k.virgin_mode, k.virgin_resolved, k.virgin_until_n_requests, "
                           "k.max_whitelist_ips"
                         : ", false, false, 0, 0");
    list_column(s, 0, sql);
    list_column(s, 1, sql);
    buf_lit(sql, " from api_keys k where k.public_id = any(array(select "
                 "jsonb_array_elements_text($1::jsonb)))");
}

static bool is_unlisted(const struct shape *s)
{
    return !s->old && (!s->virgin || s->list[0] != LIST_READABLE || s->list[1] != LIST_READABLE);
}

/* The same row of a database that has become another says something else. */
void keyrow_digest(const ath_rows *rows, uint32_t row, const struct shape *s, uint64_t ret[2])
{
    digest(rows, row, row + 1, ret);
    ret[0] ^= is_unlisted(s);
}

static int64_t number(const ath_rows *rows, uint32_t row, uint32_t col)
{
    ath_str text = db_rows_text(rows, row, col);
    int64_t n = 0;

    return str_i64(text, &n) ? n : 0;
}

/* A list that cannot be read as what it is grants nothing. */
static struct right_set *rights_read(ath_str text)
{
    struct right_set *set;
    struct json_error why;
    const struct json *list;
    ath_str *name;
    size_t n = 0;
    ath_arena a;

    arena_init(&a);
    list = json_read(text, (struct json_memory){ arena_alloc, &a }, RIGHTS_MOST + 1, &why);
    name = arena_alloc(&a, ((list ? list->count : 0) + 1) * sizeof(*name));
    if (list)
        json_each(v, list) name[n++] = json_text(v);
    set = right_set_new(name, n);
    arena_free(&a);
    return set;
}

static char *put(char *at, ath_str text, ath_str *ret)
{
    if (text.n)
        memcpy(at, text.p, text.n);
    *ret = str_from(at, text.n);
    return at + text.n;
}

static void read_lists(struct auth_key *k, const ath_rows *rows, uint32_t row,
                       const struct shape *s)
{
    uint32_t n;

    k->unlisted = is_unlisted(s);
    k->unlisted |= !set_read(db_rows_text(rows, row, K_WHITE), &k->white, &k->white_count);
    k->unlisted |= !set_read(db_rows_text(rows, row, K_BLACK), &k->black, &n);
    k->anywhere = !k->unlisted && !k->virgin && !k->white && !k->black;
}

struct auth_key *keyrow_read(const ath_rows *rows, uint32_t row, const struct shape *s)
{
    ath_str client = db_rows_text(rows, row, K_CLIENT);
    struct auth_key *k;
    size_t bytes = 2 * client.n + 1;
    char *at;

    for (uint32_t col = K_PUBLIC; col <= K_HASH; col++)
        bytes += db_rows_text(rows, row, col).n;
    k = mem_new(sizeof(*k) + bytes);
    at = (char *)(k + 1);
    atomic_store(&k->refs, 1);
    at = put(at, db_rows_text(rows, row, K_PUBLIC), &k->public_id);
    k->brake_id = brake_id(k->public_id);
    at = put(at, db_rows_text(rows, row, K_ID), &k->id);
    at = put(at, db_rows_text(rows, row, K_SALT), &k->salt);
    at = put(at, db_rows_text(rows, row, K_HASH), &k->hash);
    at = put(at, client, &k->client_shown);
    fold(at, client, &k->client);
    k->internal = number(rows, row, K_INTERNAL);
    k->active = is_true(rows, row, K_ACTIVE);
    k->expires_us = number(rows, row, K_EXPIRES);
    k->rights = rights_read(db_rows_text(rows, row, K_RIGHTS));
    k->virgin = is_true(rows, row, K_VIRGIN);
    k->resolved = is_true(rows, row, K_RESOLVED);
    k->until_requests = number(rows, row, K_UNTIL);
    k->whitelist_most = number(rows, row, K_MOST);
    read_lists(k, rows, row, s);
    keyrow_digest(rows, row, s, k->row);
    return k;
}

void auth_key_free(struct auth_key *k)
{
    for (size_t i = 0; i < KEY_ALLOWED; i++)
        free(atomic_load(&k->allowed[i]));
    right_set_free(k->rights);
    ip_set_free(k->white);
    ip_set_free(k->black);
    free(k);
}
