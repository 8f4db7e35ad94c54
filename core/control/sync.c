/* Rows of athena_clients, and what a start writes into them (D24). */
#include "control/clients_priv.h"

#include "base/map.h"
#include "db/query.h"
#include "io/secrets.h"
#include "lib/json.h"

#define FROM_JSON(columns) "from jsonb_to_recordset($1::jsonb) as x(" columns ") "

const char sync_insert_sql[] = "insert into athena_clients (client_name, pg_uri, pg_uri_env_var, "
                               "config_uri_template, source, "
                               "metadata, last_synced_from_config_at) "
                               "select x.client_name, x.pg_uri, x.pg_uri_env_var, "
                               "x.config_uri_template, 'config', "
                               "'{\"seeded_from\":\"config.yaml\"}', now() " FROM_JSON(
                                   "client_name text, pg_uri text, pg_uri_env_var text, "
                                   "config_uri_template text") "on conflict do nothing";

/* Somebody may have changed it since it was read: his change stays, and the next start sees it. */
const char sync_update_sql[] =
    "update athena_clients c set pg_uri = x.pg_uri, pg_uri_env_var = x.pg_uri_env_var, "
    "config_uri_template = x.config_uri_template, source = x.source, description = x.description, "
    "is_active = x.is_active, metadata = x.metadata, updated_at = now() " FROM_JSON(
        "id uuid, was timestamptz, pg_uri text, pg_uri_env_var text, config_uri_template text, "
        "source text, description text, is_active boolean, metadata jsonb") "where "
                                                                            "c.athena_client_id = "
                                                                            "x.id and c.updated_at "
                                                                            "= x.was and "
                                                                            "c.deleted_at is null";

const char sync_touch_sql[] =
    "update athena_clients set last_synced_from_config_at = now() where deleted_at is null and "
    "lower(client_name) in (select lower(v) from jsonb_array_elements_text($1::jsonb) v)";

const char sync_notify_sql[] =
    "select pg_notify('athena_clients', '') where $1::jsonb <> '[]' or $2::jsonb <> '[]'";

/* ---- reading ---- */

static const char *open_secret(ath_str stored, ath_arena *a, ath_str *ret)
{
    struct buf b = ARENA_BUF(a);
    ath_err e;

    *ret = stored;
    if (!stored.p)
        return NULL;
    err_reset(&e);
    if (secrets_open(&b, stored, &e) < 0)
        return arena_printf(a, "%.*s", (int)e.message_n, e.message).p;
    *ret = buf_view(&b);
    return NULL;
}

/* A reference is no secret, and neither is a text that holds nothing. */
static bool is_outdated(ath_str stored, ath_str plain)
{
    struct env_reference ref;

    return stored.p && str_trim(plain).n && !env_reference(plain, &ref) &&
           !secrets_is_current(stored);
}

static bool is_true(ath_str cell)
{
    return str_is(cell, "t") || str_is(cell, "true");
}

const char *record_read(const ath_rows *rows, uint32_t row, uint32_t col, ath_arena *a,
                        struct record *ret)
{
    const char *broken, *also;
    ath_str cell[11];

    for (uint32_t i = 0; i < ATH_COUNT(cell); i++)
        cell[i] = db_rows_text(rows, row, col + i);
    *ret = (struct record){ .name = cell[0],
                            .id = cell[1],
                            .description = cell[2],
                            .variable = cell[4],
                            .source = cell[6],
                            .metadata = cell[9],
                            .updated = cell[10],
                            .active = is_true(cell[7]),
                            .frozen = is_true(cell[8]) };
    broken = open_secret(cell[3], a, &ret->uri);
    also = open_secret(cell[5], a, &ret->template);
    ret->outdated =
        !broken && !also && (is_outdated(cell[3], ret->uri) || is_outdated(cell[5], ret->template));
    return broken ? broken : also;
}

/* ---- planning ---- */

static void put_text(struct buf *b, const char *key, ath_str text)
{
    if (text.p)
        buf_json_str(b, key, text);
}

static void put_secret(struct buf *b, const char *key, ath_str text)
{
    struct env_reference ref;
    struct buf sealed = BUF_HEAP;

    if (!text.p)
        return;
    if (!str_trim(text).n || env_reference(text, &ref))
        buf_str(&sealed, text);
    else
        secrets_seal(&sealed, text);
    buf_json_str(b, key, buf_view(&sealed));
    buf_free(&sealed);
}

static void put_record(struct buf *b, const struct record *r)
{
    buf_lit(b, "{");
    put_text(b, "client_name", r->name);
    if (r->id.n) {
        put_text(b, "id", r->id);
        put_text(b, "was", r->updated);
        put_text(b, "source", r->source);
        put_text(b, "description", r->description);
        buf_json_bool(b, "is_active", r->active);
        buf_json_key(b, "metadata");
        buf_str(b, r->metadata.n ? r->metadata : ATH_S("{}"));
    }
    put_secret(b, "pg_uri", r->uri);
    put_text(b, "pg_uri_env_var", r->variable);
    put_secret(b, "config_uri_template", r->template);
    buf_lit(b, "}");
}

static void put_item(struct buf *b, const struct record *r)
{
    if (b->p[b->n - 1] != '[')
        buf_char(b, ',');
    put_record(b, r);
}

static struct record unreadable; /* stands for rows that are left alone */

struct sync {
    ath_arena *arena;
    struct map rows; /* struct record by folded name */
    struct buf insert, update, touch;
    bool changes;
};

static ath_str folded(ath_arena *a, ath_str name)
{
    ath_str copy = arena_str(a, str_trim(name));
    char *p = (char *)(uintptr_t)copy.p;

    for (size_t i = 0; i < copy.n; i++)
        p[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]);
    return copy;
}

/* Those whose secrets cannot be read are left alone. */
static void take_rows(struct sync *s, const ath_rows *rows)
{
    for (uint32_t i = 0; i < db_rows_count(rows); i++) {
        struct record *r = ARENA_NEW(s->arena, struct record);
        const char *broken = record_read(rows, i, 0, s->arena, r);
        map_put(&s->rows, folded(s->arena, r->name), broken ? &unreadable : r);
    }
}

static void plan_configured(struct sync *s, const struct config_client *from)
{
    struct record_config c = { str_trim(from->shown), from->text, from->variable };
    struct record fresh, *r = map_get(&s->rows, from->name);

    if (!from->text.n || r == &unreadable)
        return;
    buf_z(&s->touch, s->touch.n > 1 ? "," : "");
    buf_json(&s->touch, from->name);
    if (!r) {
        fresh = record_of_config(&c);
        put_item(&s->insert, &fresh);
        s->changes = true;
    } else if (record_merge(r, &c, clients_options.overwrite)) {
        put_item(&s->update, r);
        s->changes = true;
    }
    map_remove(&s->rows, from->name);
}

/* What else lies there in another form than it would be written now. */
static void plan_others(struct sync *s)
{
    size_t at = 0;

    for (struct record *r; (r = map_next(&s->rows, &at)) != NULL;) {
        if (r == &unreadable || !r->outdated)
            continue;
        put_item(&s->update, r);
        s->changes = true;
    }
}

void sync_plan(const ath_rows *rows, ath_arena *a, struct sync_plan *ret)
{
    const struct config_clients *clients = clients_options.clients;
    struct sync s = {
        .arena = a, .insert = ARENA_BUF(a), .update = ARENA_BUF(a), .touch = ARENA_BUF(a)
    };

    buf_char(&s.insert, '[');
    buf_char(&s.update, '[');
    buf_char(&s.touch, '[');
    take_rows(&s, rows);
    for (size_t i = 0; i < clients->n; i++)
        plan_configured(&s, &clients->client[i]);
    plan_others(&s);
    map_free(&s.rows);
    buf_char(&s.insert, ']');
    buf_char(&s.update, ']');
    buf_char(&s.touch, ']');
    *ret = (struct sync_plan){ buf_view(&s.insert), buf_view(&s.update), buf_view(&s.touch),
                               s.changes };
}
