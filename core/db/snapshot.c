/* Reading pg_catalog: one trip of nine statements under one snapshot of the database, each turned
 * into one table of ours. Statement by statement the columns are named by an enum, in their order.
 */
#include "db/snapshot.h"

#include <stdlib.h>

#include "base/mem.h"
#include "db/query.h"
#include "lib/text.h"

/* clang-format off */
#define USER_SCHEMA "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
#define RELATION_KINDS "c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')"

/* How many rows and which transactions wrote them: changes with every change of the schema. */
#define STAMP_OF(table, where) \
    "(SELECT count(*) || '.' || coalesce(sum(xmin::text::bigint), 0) FROM pg_catalog." table \
    " WHERE " where ")"
#define STAMP \
    "SELECT concat_ws(' ', " STAMP_OF("pg_class", "relpersistence <> 't'") ", " \
    STAMP_OF("pg_attribute", "attrelid >= 16384") ", " STAMP_OF("pg_constraint", "true") ", " \
    STAMP_OF("pg_index", "indrelid >= 16384") ", " STAMP_OF("pg_type", "oid >= 16384") ", " \
    STAMP_OF("pg_proc", "oid >= 16384") ", " STAMP_OF("pg_trigger", "NOT tgisinternal") ", " \
    STAMP_OF("pg_namespace", "true") ", current_setting('search_path'))"

/* Composite types come last. Nothing here opens a relation, so nothing waits for a lock on one. */
enum { REL_OID, REL_SCHEMA, REL_NAME, REL_KIND, REL_TRIGGERS, REL_RULES };
#define RELATIONS \
    "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relhastriggers AND EXISTS (SELECT " \
    "FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal " \
    "AND t.tgenabled <> 'D'), c.relhasrules AND EXISTS (SELECT FROM pg_catalog.pg_rewrite w " \
    "WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN') FROM pg_catalog.pg_class c " \
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace " \
    "WHERE " RELATION_KINDS " AND " USER_SCHEMA " ORDER BY c.relkind = 'c', c.oid LIMIT 50000"

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
enum { REF_NAME, REF_FROM, REF_TO, REF_FROM_NUMBERS, REF_TO_NUMBERS, REF_DELETE, REF_UPDATE };
#define REFERENCES \
    "SELECT k.conname, k.conrelid, k.confrelid, pg_catalog.array_to_string(k.conkey, ' '), " \
    "pg_catalog.array_to_string(k.confkey, ' '), k.confdeltype, k.confupdtype FROM pg_catalog.pg_constraint k " \
    "WHERE k.contype = 'f' AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint p " \
    "WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid) " \
    "ORDER BY k.conrelid, k.conname LIMIT 200000"

enum { TYPE_OID, TYPE_NAME, TYPE_KIND, TYPE_CATEGORY, TYPE_ELEMENT, TYPE_BASE, TYPE_RELATION };
#define TYPES \
    "WITH used AS (SELECT a.atttypid AS oid FROM pg_catalog.pg_attribute a WHERE a.attnum > 0 " \
    "UNION SELECT p.prorettype FROM pg_catalog.pg_proc p WHERE p.oid >= 16384 " \
    "UNION SELECT pg_catalog.unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) " \
    "FROM pg_catalog.pg_proc p WHERE p.oid >= 16384) SELECT t.oid, " \
    "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname), " \
    "t.typtype, t.typcategory, t.typelem, t.typbasetype, t.typrelid FROM pg_catalog.pg_type t " \
    "JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace " \
    "WHERE n.nspname = 'pg_catalog' OR t.typtype IN ('e', 'd', 'r', 'm') " \
    "OR t.oid IN (SELECT oid FROM used) OR t.oid IN (SELECT e.typelem FROM pg_catalog.pg_type e " \
    "JOIN used ON used.oid = e.oid) ORDER BY t.oid LIMIT 200000"

/* Both in one order, so that arguments are dealt out to their functions in one pass. */
enum { FN_OID, FN_SCHEMA, FN_NAME, FN_KIND, FN_VOLATILE, FN_SET, FN_RESULT, FN_RESULT_NAME,
       FN_DEFAULTS };
#define FROM_FUNCTIONS \
    " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace "
#define FUNCTIONS \
    "SELECT p.oid, n.nspname, p.proname, p.prokind, p.provolatile, p.proretset, p.prorettype, " \
    "pg_catalog.format_type(p.prorettype, NULL), p.pronargdefaults" FROM_FUNCTIONS \
    "WHERE " USER_SCHEMA " ORDER BY n.nspname, p.proname, p.oid LIMIT 50000"

enum { ARG_FN, ARG_MODE, ARG_NAME, ARG_TYPE, ARG_TYPE_NAME };
#define ARGUMENTS \
    "SELECT p.oid, coalesce(p.proargmodes[a.i], 'i'), coalesce(p.proargnames[a.i], ''), a.type, " \
    "pg_catalog.format_type(a.type, NULL)" FROM_FUNCTIONS "CROSS JOIN LATERAL " \
    "pg_catalog.unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) " \
    "WITH ORDINALITY AS a (type, i) " \
    "WHERE " USER_SCHEMA " ORDER BY n.nspname, p.proname, p.oid, a.i LIMIT 500000"

#define PATH "SELECT pg_catalog.unnest(pg_catalog.current_schemas(false))"
/* clang-format on */

static const ath_stmt statements[] = {
    { .sql = STAMP },     { .sql = RELATIONS }, { .sql = TYPES },
    { .sql = COLUMNS },   { .sql = KEYS },      { .sql = REFERENCES },
    { .sql = FUNCTIONS }, { .sql = ARGUMENTS }, { .sql = PATH },
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

static ath_relation *among(ath_relation *list, uint32_t n, uint32_t oid)
{
    uint32_t from = 0, to = n;

    while (from < to) {
        uint32_t i = from + (to - from) / 2;
        if (list[i].oid == oid)
            return &list[i];
        if (list[i].oid < oid)
            from = i + 1;
        else
            to = i;
    }
    return NULL;
}

static ath_relation *relation_by_oid(const ath_snapshot *s, uint32_t oid)
{
    ath_relation *r = among(s->relation, s->relations, oid);

    return r ? r : among(s->composite, s->composites, oid);
}

/* "schema\0name" for the maps; the two parts are views of it. */
static ath_str qualified(ath_snapshot *s, const ath_rows *r, uint32_t i, uint32_t j)
{
    ath_str schema = db_rows_text(r, i, j), name = db_rows_text(r, i, j + 1);
    char *key = arena_alloc(&s->arena, schema.n + name.n + 2);

    memcpy(key, schema.p, schema.n);
    memcpy(key + schema.n + 1, name.p, name.n);
    return str_from(key, schema.n + 1 + name.n);
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

static void relation_read(ath_snapshot *s, const ath_rows *r, uint32_t i, ath_relation *to)
{
    ath_str key = qualified(s, r, i, REL_SCHEMA);
    size_t schema = db_rows_text(r, i, REL_SCHEMA).n;

    *to = (ath_relation){
        .size = sizeof(*to),
        .kind = relation_kind(letter(r, i, REL_KIND)),
        .oid = number(r, i, REL_OID),
        .schema = { key.p, schema },
        .name = { key.p + schema + 1, key.n - schema - 1 },
        .column_size = sizeof(ath_attribute),
        .key_size = sizeof(ath_key),
        .flags = (truth(r, i, REL_TRIGGERS) ? ATH_REL_TRIGGERS : 0u) |
                 (truth(r, i, REL_RULES) ? ATH_REL_RULES : 0u),
    };
    if (letter(r, i, REL_KIND) == 'c')
        return;
    s->relations++;
    map_put(&s->by_name, key, to);
}

static void relations_read(ath_snapshot *s, const ath_rows *r)
{
    uint32_t n = db_rows_count(r);

    s->relation = arena_alloc(&s->arena, (n + 1) * sizeof(*s->relation));
    s->cut = s->cut || n == SNAPSHOT_RELATIONS;
    for (uint32_t i = 0; i < n; i++)
        relation_read(s, r, i, &s->relation[i]);
    s->composite = s->relation + s->relations;
    s->composites = n - s->relations;
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
            .relation = number(r, i, TYPE_RELATION),
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
                    .size = sizeof(*to),
                    .from = from,
                    .to = target,
                    .name = copy(s, r, i, REF_NAME),
                    .on_delete = letter(r, i, REF_DELETE),
                    .on_update = letter(r, i, REF_UPDATE),
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

/* ---- functions ---- */

static void function_read(ath_snapshot *s, const ath_rows *r, uint32_t i, ath_function *to)
{
    ath_str key = qualified(s, r, i, FN_SCHEMA);
    size_t schema = db_rows_text(r, i, FN_SCHEMA).n;

    *to = (ath_function){
        .size = sizeof(*to),
        .oid = number(r, i, FN_OID),
        .schema = { key.p, schema },
        .name = { key.p + schema + 1, key.n - schema - 1 },
        .kind = letter(r, i, FN_KIND),
        .volatility = letter(r, i, FN_VOLATILE),
        .set = truth(r, i, FN_SET),
        .argument_size = sizeof(ath_argument),
        .column_size = sizeof(ath_attribute),
        .result = { .size = sizeof(ath_attribute),
                    .type = number(r, i, FN_RESULT),
                    .type_name = copy(s, r, i, FN_RESULT_NAME),
                    .number = 1 },
    };
    to->result.name = to->name;
    type_fill(s, &to->result);
    if (i == 0 || !str_eq(to[-1].name, to->name) || !str_eq(to[-1].schema, to->schema))
        map_put(&s->by_function, key, to);
}

/* How many arguments have defaults stays in `result.flags` until they are known. */
static void functions_read(ath_snapshot *s, const ath_rows *r)
{
    s->functions = db_rows_count(r);
    s->function = arena_alloc(&s->arena, (s->functions + 1) * sizeof(*s->function));
    s->cut = s->cut || s->functions == SNAPSHOT_FUNCTIONS;
    for (uint32_t i = 0; i < s->functions; i++) {
        function_read(s, r, i, &s->function[i]);
        s->function[i].result.flags = number(r, i, FN_DEFAULTS);
    }
}

static bool takes(const ath_argument *a)
{
    return a->mode == 'i' || a->mode == 'b' || a->mode == 'v';
}

/* The columns of a row: of the arguments that give, or of the type. */
static void result_columns(ath_snapshot *s, ath_function *f, uint32_t gives)
{
    const ath_relation *row = snapshot_row_type(s, f->result.base_type);
    ath_attribute *to;

    if (row) {
        f->column = row->column;
        f->column_count = row->column_count;
    }
    if (gives < 2) /* one alone is no row */
        return;
    f->column = to = arena_alloc(&s->arena, gives * sizeof(*to));
    for (uint32_t i = 0; i < f->argument_count; i++) {
        if (f->argument[i].mode == 'i' || f->argument[i].mode == 'v')
            continue;
        *to = f->argument[i].as;
        to->flags = 0;
        to->number = ++f->column_count;
        to++;
    }
}

/* Of those that take, the last ones have the defaults. */
static void function_settle(ath_snapshot *s, ath_function *f)
{
    uint32_t gives = 0, defaults = f->result.flags;

    for (uint32_t i = f->argument_count; i > 0; i--) {
        ath_argument *a = (ath_argument *)(uintptr_t)&f->argument[i - 1];
        gives += a->mode != 'i' && a->mode != 'v';
        if (!takes(a) || defaults == 0)
            continue;
        a->as.flags = ATH_COL_DEFAULT;
        defaults--;
    }
    f->result.flags = 0;
    result_columns(s, f, gives);
}

static void argument_read(ath_snapshot *s, const ath_rows *r, uint32_t i, ath_argument *to)
{
    *to = (ath_argument){ .size = sizeof(*to),
                          .mode = letter(r, i, ARG_MODE),
                          .as = { .size = sizeof(ath_attribute),
                                  .name = copy(s, r, i, ARG_NAME),
                                  .type_name = copy(s, r, i, ARG_TYPE_NAME),
                                  .type = number(r, i, ARG_TYPE) } };
    type_fill(s, &to->as);
}

static void arguments_read(ath_snapshot *s, const ath_rows *r)
{
    uint32_t n = db_rows_count(r), f = 0;
    ath_argument *to = arena_alloc(&s->arena, (n + 1) * sizeof(*to));

    s->cut = s->cut || n == SNAPSHOT_COLUMNS;
    for (uint32_t i = 0; i < n && f < s->functions; i++) {
        uint32_t oid = number(r, i, ARG_FN);
        while (f < s->functions && s->function[f].oid != oid)
            f++;
        if (f == s->functions)
            break;
        if (s->function[f].argument_count == 0)
            s->function[f].argument = &to[i];
        argument_read(s, r, i, &to[i]);
        to[i].as.number = ++s->function[f].argument_count;
    }
    for (f = 0; f < s->functions; f++)
        function_settle(s, &s->function[f]);
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
        relations_read,  types_read,     columns_read,   keys_read,
        references_read, functions_read, arguments_read, path_read,
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
    map_free(&s->by_function);
    arena_free(&s->arena);
    free(s);
}

/* ---- looking up ---- */

static void *named(const struct map *m, ath_str schema, ath_str name)
{
    char key[256];

    if (schema.n + name.n + 1 > sizeof(key))
        return NULL; /* no name of PostgreSQL's is that long */
    memcpy(key, schema.p, schema.n);
    key[schema.n] = 0;
    memcpy(key + schema.n + 1, name.p, name.n);
    return map_get(m, str_from(key, schema.n + 1 + name.n));
}

/* In the schema that is named, else in the first of the path that has it. */
static void *found(const ath_snapshot *s, const struct map *m, ath_str schema, ath_str name)
{
    if (name.n == 0)
        return NULL;
    if (schema.n)
        return named(m, schema, name);
    for (uint32_t i = 0; i < s->paths; i++) {
        void *one = named(m, s->path[i], name);
        if (one)
            return one;
    }
    return NULL;
}

const ath_relation *snapshot_relation(const ath_snapshot *s, ath_str schema, ath_str name)
{
    return found(s, &s->by_name, schema, name);
}

const ath_function *snapshot_function(const ath_snapshot *s, ath_str schema, ath_str name,
                                      uint32_t i)
{
    const ath_function *f = found(s, &s->by_function, schema, name);

    if (!f || i >= s->functions - (uint32_t)(f - s->function))
        return NULL;
    return str_eq(f[i].name, f->name) && str_eq(f[i].schema, f->schema) ? f + i : NULL;
}

const ath_relation *snapshot_row_type(const ath_snapshot *s, uint32_t type)
{
    const struct snapshot_type *t = snapshot_type(s, type);

    return t && t->relation ? relation_by_oid(s, t->relation) : NULL;
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
