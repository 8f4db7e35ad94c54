/* Reading pg_catalog: one trip of seven statements under one snapshot of the database, each turned
 * into one table of ours. Statement by statement the columns are named by an enum, in their order.
 */
#include "db/snapshot.h"

#include <stdlib.h>

#include "base/mem.h"
#include "db/query.h"
#include "lib/text.h"

/* clang-format off */
#define USER_SCHEMA "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
#define RELATION_KINDS "c.relkind IN ('r', 'p', 'v', 'm', 'f')"

/* How many rows and which transactions wrote them: changes with every change of the schema. */
#define STAMP_OF(table, where) \
    "(SELECT count(*) || '.' || coalesce(sum(xmin::text::bigint), 0) FROM pg_catalog." table \
    " WHERE " where ")"
#define STAMP \
    "SELECT concat_ws(' ', " STAMP_OF("pg_class", "relpersistence <> 't'") ", " \
    STAMP_OF("pg_attribute", "attrelid >= 16384") ", " STAMP_OF("pg_constraint", "true") ", " \
    STAMP_OF("pg_index", "indrelid >= 16384") ", " STAMP_OF("pg_type", "oid >= 16384") ", " \
    STAMP_OF("pg_namespace", "true") ", current_setting('search_path'))"

enum { REL_OID, REL_SCHEMA, REL_NAME, REL_KIND };
#define RELATIONS \
    "SELECT c.oid, n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c " \
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace " \
    "WHERE " RELATION_KINDS " AND " USER_SCHEMA " ORDER BY c.oid LIMIT 50000"

enum { COL_REL, COL_NUMBER, COL_NAME, COL_TYPE_NAME, COL_TYPE, COL_NOT_NULL, COL_DEFAULT,
       COL_GENERATED, COL_IDENTITY };
#define COLUMNS \
    "SELECT a.attrelid, a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), " \
    "a.atttypid, a.attnotnull, a.atthasdef, a.attgenerated <> '', a.attidentity <> '' " \
    "FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid " \
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace " \
    "WHERE a.attnum > 0 AND NOT a.attisdropped AND " RELATION_KINDS " AND " USER_SCHEMA \
    " ORDER BY a.attrelid, a.attnum LIMIT 500000"

enum { KEY_REL, KEY_NAME, KEY_PRIMARY, KEY_NUMBERS, KEY_COUNT };
#define KEYS \
    "SELECT i.indrelid, x.relname, i.indisprimary, i.indkey::text, i.indnkeyatts " \
    "FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid " \
    "JOIN pg_catalog.pg_class c ON c.oid = i.indrelid " \
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace " \
    "WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND " \
    USER_SCHEMA " ORDER BY i.indrelid, i.indisprimary DESC, x.oid LIMIT 200000"

/* Without the rows that PostgreSQL adds for each partition of a table that is referred to. */
enum { REF_NAME, REF_FROM, REF_TO, REF_FROM_NUMBERS, REF_TO_NUMBERS };
#define REFERENCES \
    "SELECT k.conname, k.conrelid, k.confrelid, pg_catalog.array_to_string(k.conkey, ' '), " \
    "pg_catalog.array_to_string(k.confkey, ' ') FROM pg_catalog.pg_constraint k " \
    "WHERE k.contype = 'f' AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint p " \
    "WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid) " \
    "ORDER BY k.conrelid, k.conname LIMIT 200000"

enum { TYPE_OID, TYPE_NAME, TYPE_KIND, TYPE_CATEGORY, TYPE_ELEMENT, TYPE_BASE };
#define TYPES \
    "SELECT t.oid, " \
    "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname), " \
    "t.typtype, t.typcategory, t.typelem, t.typbasetype FROM pg_catalog.pg_type t " \
    "JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace " \
    "WHERE n.nspname = 'pg_catalog' OR t.typtype IN ('e', 'd', 'r', 'm') " \
    "OR t.oid IN (SELECT atttypid FROM pg_catalog.pg_attribute WHERE attnum > 0) " \
    "OR t.oid IN (SELECT e.typelem FROM pg_catalog.pg_type e JOIN pg_catalog.pg_attribute a " \
    "ON a.atttypid = e.oid WHERE a.attnum > 0) ORDER BY t.oid LIMIT 200000"

#define PATH "SELECT pg_catalog.unnest(pg_catalog.current_schemas(false))"
/* clang-format on */

static const ath_stmt statements[] = {
    { .sql = STAMP }, { .sql = RELATIONS },  { .sql = TYPES }, { .sql = COLUMNS },
    { .sql = KEYS },  { .sql = REFERENCES }, { .sql = PATH },
};

const ath_query snapshot_query = {
    .size = sizeof(ath_query),
    .flags = ATH_PG_READ | ATH_PG_READ_ONLY | ATH_PG_REPEATABLE,
    ATH_ARRAY(stmt, statements),
    .timeout_ms = 60000,
};

const ath_query stamp_query = {
    .size = sizeof(ath_query),
    .flags = ATH_PG_READ | ATH_PG_READ_ONLY,
    .stmt = statements,
    .stmt_size = sizeof(ath_stmt),
    .stmt_count = 1,
    .timeout_ms = 20000,
};

/* ---- reading cells ---- */

static uint32_t number(const ath_rows *r, uint32_t i, uint32_t j)
{
    ath_str s = db_rows_text(r, i, j);

    return s.p ? (uint32_t)strtoul(s.p, NULL, 10) : 0;
}

static bool truth(const ath_rows *r, uint32_t i, uint32_t j)
{
    ath_str s = db_rows_text(r, i, j);

    return s.n == 1 && s.p[0] == 't';
}

static char letter(const ath_rows *r, uint32_t i, uint32_t j)
{
    ath_str s = db_rows_text(r, i, j);

    return s.n ? s.p[0] : 0;
}

static ath_str copy(ath_snapshot *s, const ath_rows *r, uint32_t i, uint32_t j)
{
    return arena_str(&s->arena, db_rows_text(r, i, j));
}

/* "1 2 5": at most `most` of them. */
static const uint32_t *numbers(ath_snapshot *s, ath_str text, uint32_t most, uint32_t *ret_n)
{
    const char *p = text.p ? text.p : "";
    uint32_t n = 0, *list;
    char *end;

    for (const char *q = p; *q; q++)
        n += q == p || q[-1] == ' ';
    n = n < most ? n : most;
    list = arena_alloc(&s->arena, (n + 1) * sizeof(*list));
    for (uint32_t i = 0; i < n; i++, p = end)
        list[i] = (uint32_t)strtoul(p, &end, 10);
    *ret_n = n;
    return list;
}

/* ---- tables ---- */

static ath_relation *relation_by_oid(const ath_snapshot *s, uint32_t oid)
{
    uint32_t from = 0, to = s->relations;

    while (from < to) {
        uint32_t i = from + (to - from) / 2;
        if (s->relation[i].oid == oid)
            return &s->relation[i];
        if (s->relation[i].oid < oid)
            from = i + 1;
        else
            to = i;
    }
    return NULL;
}

static uint32_t relation_kind(char relkind)
{
    switch (relkind) {
    case 'p':
        return ATH_REL_PARTITIONED;
    case 'v':
        return ATH_REL_VIEW;
    case 'm':
        return ATH_REL_MATVIEW;
    case 'f':
        return ATH_REL_FOREIGN;
    default:
        return ATH_REL_TABLE;
    }
}

static void relations_read(ath_snapshot *s, const ath_rows *r)
{
    s->relations = db_rows_count(r);
    s->relation = arena_alloc(&s->arena, (s->relations + 1) * sizeof(*s->relation));
    s->cut = s->cut || s->relations == SNAPSHOT_RELATIONS;
    for (uint32_t i = 0; i < s->relations; i++) {
        ath_relation *to = &s->relation[i];
        ath_str schema = db_rows_text(r, i, REL_SCHEMA), name = db_rows_text(r, i, REL_NAME);
        char *key = arena_alloc(&s->arena, schema.n + name.n + 2);

        memcpy(key, schema.p, schema.n);
        memcpy(key + schema.n + 1, name.p, name.n);
        *to = (ath_relation){
            .size = sizeof(*to),
            .kind = relation_kind(letter(r, i, REL_KIND)),
            .oid = number(r, i, REL_OID),
            .schema = { key, schema.n },
            .name = { key + schema.n + 1, name.n },
            .column_size = sizeof(ath_attribute),
            .key_size = sizeof(ath_key),
        };
        map_put(&s->by_name, str_from(key, schema.n + 1 + name.n), to);
    }
}

static void types_read(ath_snapshot *s, const ath_rows *r)
{
    s->types = db_rows_count(r);
    s->type = arena_alloc(&s->arena, (s->types + 1) * sizeof(*s->type));
    s->cut = s->cut || s->types == SNAPSHOT_OTHERS;
    for (uint32_t i = 0; i < s->types; i++)
        s->type[i] = (struct snapshot_type){
            .oid = number(r, i, TYPE_OID),
            .name = copy(s, r, i, TYPE_NAME),
            .kind = letter(r, i, TYPE_KIND),
            .category = letter(r, i, TYPE_CATEGORY),
            .element = number(r, i, TYPE_ELEMENT),
            .base = number(r, i, TYPE_BASE),
        };
}

/* Domains may lie over domains. */
static void type_fill(const ath_snapshot *s, ath_attribute *a)
{
    const struct snapshot_type *t = snapshot_type(s, a->type), *below = t;

    a->base_type = a->type;
    if (!t)
        return;
    a->kind = t->kind;
    a->category = t->category;
    for (int depth = 0; below && below->kind == 'd' && depth < 32; depth++) {
        a->base_type = below->base;
        below = snapshot_type(s, below->base);
    }
    if (below && below->category == 'A')
        a->element = below->element;
}

static void column_read(ath_snapshot *s, const ath_rows *r, uint32_t i, ath_attribute *to)
{
    bool generated = truth(r, i, COL_GENERATED);

    *to = (ath_attribute){
        .size = sizeof(*to),
        .name = copy(s, r, i, COL_NAME),
        .type_name = copy(s, r, i, COL_TYPE_NAME),
        .type = number(r, i, COL_TYPE),
        .number = number(r, i, COL_NUMBER),
    };
    to->flags = (truth(r, i, COL_NOT_NULL) ? ATH_COL_NOT_NULL : 0u) |
                (generated                  ? ATH_COL_GENERATED
                 : truth(r, i, COL_DEFAULT) ? ATH_COL_DEFAULT
                                            : 0u) |
                (truth(r, i, COL_IDENTITY) ? ATH_COL_IDENTITY : 0u);
    type_fill(s, to);
}

static void columns_read(ath_snapshot *s, const ath_rows *r)
{
    uint32_t n = db_rows_count(r);
    ath_attribute *to = arena_alloc(&s->arena, (n + 1) * sizeof(*to));
    ath_relation *rel = NULL;

    s->cut = s->cut || n == SNAPSHOT_COLUMNS;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t oid = number(r, i, COL_REL);
        if (!rel || rel->oid != oid) {
            rel = relation_by_oid(s, oid);
            if (rel)
                rel->column = &to[i];
        }
        column_read(s, r, i, &to[i]);
        if (rel)
            rel->column_count++;
    }
}

static void mark_primary(const ath_relation *rel, const ath_key *key)
{
    for (uint32_t k = 0; k < key->number_count; k++)
        for (uint32_t i = 0; i < rel->column_count; i++)
            if (rel->column[i].number == key->number[k])
                ((ath_attribute *)(uintptr_t)&rel->column[i])->flags |= ATH_COL_PRIMARY;
}

static void keys_read(ath_snapshot *s, const ath_rows *r)
{
    uint32_t n = db_rows_count(r);
    ath_key *to = arena_alloc(&s->arena, (n + 1) * sizeof(*to));
    ath_relation *rel = NULL;

    s->cut = s->cut || n == SNAPSHOT_OTHERS;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t oid = number(r, i, KEY_REL);
        to[i] = (ath_key){ .size = sizeof(*to),
                           .primary = truth(r, i, KEY_PRIMARY),
                           .name = copy(s, r, i, KEY_NAME) };
        to[i].number = numbers(s, db_rows_text(r, i, KEY_NUMBERS), number(r, i, KEY_COUNT),
                               &to[i].number_count);
        if (!rel || rel->oid != oid) {
            rel = relation_by_oid(s, oid);
            if (rel)
                rel->key = &to[i];
        }
        if (!rel)
            continue;
        rel->key_count++;
        if (to[i].primary)
            mark_primary(rel, &to[i]);
    }
}

/* Room for each relation's two lists, once they are counted. */
static void reference_lists(ath_snapshot *s)
{
    for (uint32_t i = 0; i < s->relations; i++) {
        ath_relation *rel = &s->relation[i];
        if (rel->out_count)
            rel->out = arena_alloc(&s->arena, rel->out_count * sizeof(*rel->out));
        if (rel->in_count)
            rel->in = arena_alloc(&s->arena, rel->in_count * sizeof(*rel->in));
        rel->out_count = rel->in_count = 0;
    }
}

static void references_read(ath_snapshot *s, const ath_rows *r)
{
    uint32_t n = db_rows_count(r);
    ath_reference *to = arena_alloc(&s->arena, (n + 1) * sizeof(*to));

    s->cut = s->cut || n == SNAPSHOT_OTHERS;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < n; i++) {
            ath_relation *from = relation_by_oid(s, number(r, i, REF_FROM));
            ath_relation *target = relation_by_oid(s, number(r, i, REF_TO));
            if (!from || !target)
                continue;
            if (round == 1) {
                to[i] = (ath_reference){
                    .size = sizeof(*to), .from = from, .to = target, .name = copy(s, r, i, REF_NAME)
                };
                to[i].from_number =
                    numbers(s, db_rows_text(r, i, REF_FROM_NUMBERS), UINT32_MAX, &to[i].count);
                to[i].to_number =
                    numbers(s, db_rows_text(r, i, REF_TO_NUMBERS), UINT32_MAX, &to[i].count);
                ((const ath_reference **)(uintptr_t)from->out)[from->out_count] = &to[i];
                ((const ath_reference **)(uintptr_t)target->in)[target->in_count] = &to[i];
            }
            from->out_count++;
            target->in_count++;
        }
        if (round == 0)
            reference_lists(s);
    }
}

static void path_read(ath_snapshot *s, const ath_rows *r)
{
    s->paths = db_rows_count(r);
    s->path = arena_alloc(&s->arena, (s->paths + 1) * sizeof(*s->path));
    for (uint32_t i = 0; i < s->paths; i++)
        s->path[i] = copy(s, r, i, 0);
}

ath_snapshot *snapshot_read(const ath_rows *rows)
{
    static void (*const part[])(ath_snapshot * s, const ath_rows *r) = {
        relations_read, types_read, columns_read, keys_read, references_read, path_read,
    };
    ath_snapshot *s = MEM_NEW(ath_snapshot);

    atomic_init(&s->refs, 1);
    arena_init(&s->arena);
    s->stamp = copy(s, rows, 0, 0);
    for (size_t i = 0; i < ATH_COUNT(part); i++) {
        rows = db_rows_next(rows);
        part[i](s, rows);
    }
    return s;
}

void snapshot_unref(ath_snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    map_free(&s->by_name);
    arena_free(&s->arena);
    free(s);
}

/* ---- looking up ---- */

static const ath_relation *relation_in(const ath_snapshot *s, ath_str schema, ath_str name)
{
    char key[256];

    if (schema.n + name.n + 1 > sizeof(key))
        return NULL; /* no name of PostgreSQL's is that long */
    memcpy(key, schema.p, schema.n);
    key[schema.n] = 0;
    memcpy(key + schema.n + 1, name.p, name.n);
    return map_get(&s->by_name, str_from(key, schema.n + 1 + name.n));
}

const ath_relation *snapshot_relation(const ath_snapshot *s, ath_str schema, ath_str name)
{
    if (name.n == 0)
        return NULL;
    if (schema.n)
        return relation_in(s, schema, name);
    for (uint32_t i = 0; i < s->paths; i++) {
        const ath_relation *r = relation_in(s, s->path[i], name);
        if (r)
            return r;
    }
    return NULL;
}

const struct snapshot_type *snapshot_type(const ath_snapshot *s, uint32_t oid)
{
    uint32_t from = 0, to = s->types;

    while (from < to) {
        uint32_t i = from + (to - from) / 2;
        if (s->type[i].oid == oid)
            return &s->type[i];
        if (s->type[i].oid < oid)
            from = i + 1;
        else
            to = i;
    }
    return NULL;
}
