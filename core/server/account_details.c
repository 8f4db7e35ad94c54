/* Details: which noted fact fills which field, and the list of their keys, sorted.
 *
 * Requests of one route note the same facts again and again, so what follows from their keys is
 * kept per thread, as a shape, and made anew only when a request's keys differ from it. */
#include "server/account_priv.h"

#include "db/query.h"
#include "lib/json.h"

/* Where a noted fact shows; of two for one field the one that stands first here. */
static const struct {
    ath_str key;
    int field;
} noted[] = {
    { ATH_S("table_name"), T_TABLE },
    { ATH_S("row_count"), T_ROWS },
    { ATH_S("updated_count"), T_ROWS },
    { ATH_S("cached"), T_CACHED },
    { ATH_S("cache_source"), T_CACHE_SOURCE },
    { ATH_S("cache_lookup_outcome"), T_CACHE_OUTCOME },
    { ATH_S("backend"), T_BACKEND },
    { ATH_S("backend_engine"), T_ENGINE },
    { ATH_S("resource_id"), T_RESOURCE },
    { ATH_S("rows_affected"), T_AFFECTED },
    { ATH_S("returned_row_count"), T_RETURNED },
    { ATH_S("statement_count"), T_STATEMENTS },
    { ATH_S("trace_id"), T_TRACE_ID },
    { ATH_S("error_code"), T_ERROR_CODE },
    { ATH_S("code"), T_ERROR_CODE },
    { ATH_S("message"), T_MESSAGE },
    { ATH_S("error"), T_MESSAGE },
};

static _Thread_local struct shape shapes[SHAPES];

static uint32_t facts_of(const struct req *r)
{
    return r->fact_count < NOTED_MOST ? r->fact_count : NOTED_MOST;
}

static bool shape_fits(const struct shape *s, const struct account *a)
{
    const struct req *r = a->r;
    size_t at = 0;

    if (s->route != a->route || s->facts != facts_of(r) || s->failed != (r->err.rc != 0) ||
        s->described != (r->err.message_n != 0))
        return false;
    for (uint32_t i = 0; i < s->facts; i++) {
        ath_str key = r->fact[i].key;
        if (at + key.n + 1 > s->noted_n || s->noted[at + key.n] ||
            !str_same(str_from(s->noted + at, key.n), key))
            return false;
        at += key.n + 1;
    }
    return at == s->noted_n;
}

static void key_put(struct shape *s, ath_str key, uint8_t source)
{
    if (s->keys == KEYS_MOST || key.n >= 64)
        return;
    s->source[s->keys] = source;
    s->key[s->keys++] = key;
}

/* Every noted fact is a detail, but the table: that is a column of its own. */
static void shape_fact(struct shape *s, uint32_t at, ath_str key, uint8_t *by)
{
    uint8_t i = 0;

    s->field[at] = -1;
    while (i < ATH_COUNT(noted) && !str_eq(noted[i].key, key))
        i++;
    if (i < ATH_COUNT(noted) && (by[noted[i].field] == 0 || i < by[noted[i].field] - 1)) {
        for (uint32_t j = 0; j < at; j++)
            if (s->field[j] == noted[i].field)
                s->field[j] = -1;
        by[noted[i].field] = (uint8_t)(i + 1);
        s->field[at] = (int8_t)noted[i].field;
    }
    if (str_starts(key, "route_") || str_starts(key, "led_to_"))
        return;                            /* for the rows beside: see account.h */
    if (str_eq(key, ATH_S("cache_key"))) { /* who may read logs may not look into the cache */
        s->cache_key = (int8_t)at;
        key_put(s, key, FROM_NOWHERE);
        key_put(s, ATH_S("cache_key_hashed"), FROM_HASH);
    } else if (i > 0) {
        key_put(s, key, (uint8_t)at);
    }
}

/* What stood first stays first among equals: what is noted is never overwritten. */
static void keys_sort(struct shape *s)
{
    for (uint32_t i = 1; i < s->keys; i++) {
        ath_str key = s->key[i];
        uint8_t source = s->source[i];
        uint32_t j = i;
        for (; j > 0 && str_cmp(s->key[j - 1], key) > 0; j--) {
            s->key[j] = s->key[j - 1];
            s->source[j] = s->source[j - 1];
        }
        s->key[j] = key;
        s->source[j] = source;
    }
}

static void keys_list(struct shape *s)
{
    for (uint32_t i = 0; i < s->keys && s->sorted_n + 66 < sizeof(s->sorted); i++) {
        if (i && str_eq(s->key[i], s->key[i - 1]))
            continue;
        if (i)
            s->sorted[s->sorted_n++] = ',';
        memcpy(s->sorted + s->sorted_n, s->key[i].p, s->key[i].n);
        s->sorted_n += s->key[i].n;
    }
}

/* What a detail is in each request of the shape; empty: it is the request's own. */
static ath_str constant(const struct shape *s, uint8_t source)
{
    switch (source) {
    case FROM_ENGINE:
        return ATH_S("postgres");
    case FROM_OPERATION:
        return s->operation;
    case FROM_FAMILY:
        return s->family;
    default:
        return ATH_S("");
    }
}

/* Keys are words of our own and of plugins; one that JSON would have to escape is left out. */
static void keys_describe(struct shape *s)
{
    struct buf piece = BUF_HEAP;

    for (uint32_t i = 0; i < s->keys; i++) {
        bool again = i && str_eq(s->key[i], s->key[i - 1]);
        ath_str value = constant(s, s->source[i]);
        buf_reset(&piece);
        buf_char(&piece, s->text_n ? ',' : '{');
        if (again || s->source[i] == FROM_NOWHERE || !buf_json_plain(&piece, s->key[i]))
            continue;
        buf_char(&piece, ':');
        if (value.n)
            buf_json(&piece, value);
        if (s->text_n + piece.n > sizeof(s->text))
            continue;
        memcpy(s->text + s->text_n, piece.p, piece.n);
        s->text_n += piece.n;
        if (!value.n)
            s->detail[s->details++] = (struct detail){ (uint16_t)s->text_n, s->source[i] };
    }
    buf_free(&piece);
}

/* Management and pipelines are operations, but no gateway traffic. */
static bool is_traced(ath_str path)
{
    static const char *const prefixes[] = { "/gateway/", "/rest/", "/rpc/", "/query/", "/public/" };

    for (size_t i = 0; i < ATH_COUNT(prefixes); i++)
        if (str_starts(path, prefixes[i]))
            return true;
    return str_is(path, "/data");
}

static ath_str bounded(const char *text)
{
    return str_from(text, strnlen(text, TEXT_MOST));
}

static void shape_make(struct shape *s, const struct account *a)
{
    static const struct {
        ath_str key;
        uint8_t source;
    } always[] = { { ATH_S("backend_engine"), FROM_ENGINE },
                   { ATH_S("logical_client_name"), FROM_CLIENT },
                   { ATH_S("operation_name"), FROM_OPERATION },
                   { ATH_S("operation_outcome"), FROM_OUTCOME },
                   { ATH_S("route_family"), FROM_FAMILY } };
    const struct req *r = a->r;
    uint8_t by[T_FACTS] = { 0 };

    *s = (struct shape){ .route = a->route,
                         .family = bounded(a->group),
                         .operation = bounded(a->route->def.operation),
                         .pattern = bounded(a->route->def.path),
                         .facts = facts_of(r),
                         .failed = r->err.rc != 0,
                         .described = r->err.message_n != 0,
                         .cache_key = -1,
                         .traced = is_traced(str_of(a->route->def.path)) };
    for (uint32_t i = 0; i < s->facts; i++) {
        ath_str key = r->fact[i].key;
        shape_fact(s, i, key, by);
        if (s->noted_n + key.n + 1 > sizeof(s->noted)) { /* too much to remember: made each time */
            s->route = NULL;
            continue;
        }
        memcpy(s->noted + s->noted_n, key.p, key.n);
        s->noted_n += key.n + 1;
    }
    memset(s->from, -1, sizeof(s->from));
    for (uint32_t i = 0; i < s->facts; i++)
        if (s->field[i] >= 0)
            s->from[s->field[i]] = (int8_t)i;
    s->code = s->failed && !by[T_ERROR_CODE];
    s->message = s->failed && s->described && !by[T_MESSAGE];
    if (s->code)
        key_put(s, ATH_S("error_code"), FROM_ERROR_CODE);
    if (s->message)
        key_put(s, ATH_S("message"), FROM_MESSAGE);
    for (size_t i = 0; i < ATH_COUNT(always); i++)
        key_put(s, always[i].key, always[i].source);
    keys_sort(s);
    keys_list(s);
    keys_describe(s);
}

const struct shape *account_shape(const struct account *a)
{
    struct shape *s = &shapes[(a->route->id * 2 + (a->r->err.rc != 0)) % SHAPES];

    if (!shape_fits(s, a))
        shape_make(s, a);
    return s;
}

ath_str account_error_code(const struct account *a)
{
    return a->shape->code ? str_of(err_entry(&a->r->err)->code) : account_noted(a, T_ERROR_CODE);
}

/* PostgreSQL quotes the value that it refuses, and the statement around a mistake. Callers see
 * that; a log keeps what kind of error it was. */
ath_str account_described(const struct account *a, struct buf *room)
{
    const ath_err *e = &a->r->err;
    ath_str said = err_get(e, "sql_state"); /* a detail: it stays when an error is said again */
    char state[6] = "";

    if (said.n < sizeof(state))
        memcpy(state, said.p, said.n);
    if (state[0] && db_state_quotes(state))
        return str_of(err_entry(e)->message);
    log_redact(room, err_get(e, "message"));
    return buf_view(room);
}
