/* Which tables and columns there are: old databases lack some, and hold others with other types. */
#include "sink.h"

#include "lib/jsonread.h"
#include "lib/sqlname.h"

enum { FACTS_MOST = 1000000 };

/* One line for a log; what the statements on the others name. */
const struct about about[TABLES] = {
    [REQUESTS] = { "gateway_request_log", "gateway_request", .in_files = true },
    [OPERATIONS] = { "gateway_operation_log", "gateway_operation", .in_files = true },
    [ROUTES] = { "gateway_route_request_log", "gateway_route", .place = CONTROL },
    [ADMISSIONS] = { "gateway_admission_events", "gateway_admission", .place = CONTROL },
    [AUDITS] = { "athena_audit", "athena_audit", .durable = true },
    [KEY_CHECKS] = { "api_key_auth_log", "api_key_auth", .place = AUTH, .in_files = true,
                     .refers = "api_key_id" },
    [CLIENT_SUMS] = { "client_statistics",
                      .needed = "client_name total_requests successful_requests failed_requests "
                                "total_cached_requests total_operations last_request_at "
                                "last_operation_at updated_at" },
    [TABLE_SUMS] = { "client_table_statistics",
                     .needed = "client_name table_name operation total_operations "
                               "error_operations last_operation_at updated_at" },
    [REGISTRY] = { "gateway_connection_registry_realtime",
                   .needed = "registry_key client_name ipv4 athena_url api_key_public_id "
                             "api_key_external_id api_key_authenticated api_key_authorized "
                             "last_method last_path user_agent last_request_id last_status_code "
                             "total_hits last_seen_at updated_at" },
    [ADDRESSES] = { "ip_addresses", .needed = "id ipv4_address last_seen_at" },
    [ADDRESS_SUMS] = { "ip_addresses_statistics",
                       .needed = "ip_address_id total_requests successful_requests "
                                 "failed_requests total_cached_requests last_request_at "
                                 "updated_at" },
    [CLIENTS] = { "athena_clients", .needed = "id client_name last_seen_at updated_at deleted_at" },
    [WRITERS] = { "athena_log_writers", .needed = "writer part number seen_at" },
};

/* Where each lies, and which components of the schema make what is written to there. */
static const struct {
    ath_str client;
    const char *words, *component[2];
} places[PLACES] = {
    [CONTROL] = { ATH_S("@control"), "the control plane", { "logging", "log_writers" } },
    [AUTH] = { ATH_S("@auth"), "the key store", { "auth", "auth_log_writers" } },
};

ath_str place_client(enum place p)
{
    return places[p].client;
}

const char *place_words(enum place p)
{
    return places[p].words;
}

bool table_is_here(const struct tables *k, enum table_id id)
{
    return id == WRITERS || about[id].place == k->place;
}

static const char sql[] =
    "select w.name, n.nspname, a.attname, a.atttypid from unnest($1::text[]) w(name) "
    "join pg_class c on c.oid = coalesce(to_regclass(quote_ident(w.name)), "
    "to_regclass('public.' || quote_ident(w.name))) "
    "join pg_namespace n on n.oid = c.relnamespace "
    "join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped";

int tables_ask(ath_task *t, const struct tables *k, ath_then *then, void *arg, ath_err *e)
{
    struct buf names = BUF_ARENA(ath_arena_of(t));
    ath_str *param = ath_new(ath_arena_of(t), sizeof(*param));
    ath_stmt stmt = { .sql = sql, .param = param, .param_count = 1, .flags = ATH_PG_READ };
    ath_query q = { .size = sizeof(q),
                    .client = place_client(k->place),
                    .timeout_ms = 5000,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    for (int i = 0; i < TABLES; i++)
        if (table_is_here(k, (enum table_id)i))
            buf_printf(&names, "%c%s", names.n ? ',' : '{', about[i].name);
    buf_char(&names, '}');
    *param = buf_view(&names);
    return ath_host_->pg->query(t, &q, then, arg, e);
}

static void copy_name(char to[NAME_MOST], ath_str from)
{
    size_t n = from.n < NAME_MOST ? from.n : NAME_MOST - 1;

    memcpy(to, from.p, n);
    to[n] = 0;
}

static bool has_all(const struct table *t, const char *names)
{
    ath_str rest = str_of(names), one;

    while (str_next(&rest, ' ', &one))
        if (!table_column(t, one))
            return false;
    return true;
}

static struct table *table_by_name(struct tables *k, ath_str name)
{
    for (int i = 0; i < TABLES; i++)
        if (str_is(name, about[i].name))
            return &k->table[i];
    return NULL;
}

void tables_take(struct tables *k, const ath_rows *rows, uint64_t now_ms)
{
    const ath_pg_api *pg = ath_host_->pg;
    uint32_t n = pg->count(rows);

    for (int i = 0; i < TABLES; i++) {
        k->table[i].schema[0] = 0;
        k->table[i].columns = 0;
        k->table[i].off_until_ms = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct table *t = table_by_name(k, pg->text(rows, i, 0));
        uint64_t type = 0;
        if (!t || t->columns == COLUMNS_MOST)
            continue;
        copy_name(t->schema, pg->text(rows, i, 1));
        copy_name(t->column[t->columns].name, pg->text(rows, i, 2));
        str_u64(pg->text(rows, i, 3), &type);
        t->column[t->columns++].type = (uint32_t)type;
    }
    for (int i = 0; i < TABLES; i++)
        k->table[i].lacks = about[i].needed && !has_all(&k->table[i], about[i].needed);
    k->known = true;
    k->read_ms = now_ms;
}

static bool is_complete(const struct tables *k)
{
    for (int i = 0; i < TABLES; i++)
        if (table_is_here(k, (enum table_id)i) && (!k->table[i].schema[0] || k->table[i].lacks))
            return false;
    return true;
}

/* The server makes them while it serves; until then their schemas were not looked at. */
bool tables_being_made(ath_task *t, const struct tables *k)
{
    struct json_error why;
    const struct json *doc, *components;

    if (is_complete(k))
        return false;
    doc = json_read(ath_host_->inspect(t, "schema"), JSON_ARENA(ath_arena_of(t)), FACTS_MOST, &why);
    components = json_get(doc, "components");
    if (!components || !str_is(json_text(json_get(doc, "bootstrap")), "auto"))
        return false;
    json_each(c, components)
    {
        ath_str name = json_text(json_get(c, "component"));
        if ((str_is(name, places[k->place].component[0]) ||
             str_is(name, places[k->place].component[1])) &&
            str_is(json_text(json_get(c, "state")), "unknown"))
            return true;
    }
    return false;
}

const struct column *table_column(const struct table *t, ath_str name)
{
    for (uint32_t i = 0; i < t->columns; i++)
        if (str_is(name, t->column[i].name))
            return &t->column[i];
    return NULL;
}

bool table_usable(struct tables *k, enum table_id id, uint64_t now_ms)
{
    struct table *t = &k->table[id];
    bool there = t->schema[0] && !t->lacks;

    if (there && now_ms >= t->off_until_ms)
        return true;
    if (there || (t->said_ms && now_ms < t->said_ms + SAY_MS))
        return false;
    t->said_ms = now_ms;
    say(ATH_WARN,
        "table \"%s\" of %s %s, nothing is written to it (\"athena migrate up\" makes it)",
        about[id].name, place_words(k->place), t->schema[0] ? "lacks columns" : "is missing");
    return false;
}

void table_off(struct tables *k, enum table_id id, uint64_t until_ms)
{
    k->table[id].off_until_ms = until_ms;
}

void table_put_name(struct buf *b, const struct tables *k, enum table_id id)
{
    buf_ident2(b, str_of(k->table[id].schema), str_of(about[id].name));
}
