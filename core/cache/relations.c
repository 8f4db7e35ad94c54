/* Reading who depends on whom from pg_catalog, once per change of the schema.
 *
 * What a view reads stands in its rule as a tree, printed: every relation as ":relid N", every
 * function and operator by its function's OID. pg_depend is no substitute, as it leaves out
 * whatever came with PostgreSQL: a view over pg_class, or one that calls random(), would look
 * harmless.
 *
 * Tables of one inheritance tree are joined by union-find. Views and units are then the groups of a
 * graph whose closures are walked once, each bounded.
 */
#include "cache/relations.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/query.h"
#include "lib/text.h"

enum { EDGES_MOST = 500000, GROUPS_MOST = 1000, NONE = UINT32_MAX };

/* clang-format off */
enum { LOOK_ID, LOOK_REPLICA, LOOK_STAMP };
#define STAMP_OF(table, where) \
    "(SELECT pg_catalog.count(*) || '.' || coalesce(pg_catalog.sum(xmin::text::bigint), 0) " \
    "FROM pg_catalog." table " WHERE " where ")"
#define LOOK(id) \
    "SELECT " id ", pg_catalog.pg_is_in_recovery(), pg_catalog.concat_ws(' ', " \
    STAMP_OF("pg_class", "oid >= 16384 AND relpersistence <> 't'") ", " \
    STAMP_OF("pg_namespace", "oid >= 16384 AND nspname !~ '^pg_'") ", " \
    STAMP_OF("pg_inherits", "true") ", " STAMP_OF("pg_rewrite", "ev_class >= 16384") ", " \
    STAMP_OF("pg_trigger", "NOT tgisinternal") ", " STAMP_OF("pg_constraint", "contype = 'f'") ", " \
    STAMP_OF("pg_policy", "true") ", " STAMP_OF("pg_proc", "oid >= 16384") ")"
#define CLUSTER_ID \
    "(SELECT c.system_identifier || '/' || d.oid FROM pg_catalog.pg_control_system() c, " \
    "pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"

enum { REL_OID, REL_SCHEMA, REL_NAME, REL_KIND, REL_WIDE, REL_WATCHED };
#define OUR_FUNCTION \
    "(SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace s " \
    "ON s.oid = p.pronamespace WHERE s.nspname = 'athena' AND p.proname = 'cache_changed' " \
    "AND p.pronargs = 0)"
#define RELATIONS \
    "SELECT c.oid, n.nspname, c.relname, c.relkind, " \
    "EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal " \
    "AND t.tgenabled <> 'D' AND t.tgfoid IS DISTINCT FROM our.oid) OR " \
    "EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1'), " \
    "EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgenabled <> 'D' " \
    "AND t.tgfoid = our.oid) " \
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace " \
    "CROSS JOIN (SELECT " OUR_FUNCTION " AS oid) our " \
    "WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' " \
    "ORDER BY c.oid LIMIT 50000"

/* Kinds: i parent and child; c whose rows a foreign key's action changes; v a view and what it reads;
 * p a table and what its policies read; o opaque. */
enum { EDGE_KIND, EDGE_FROM, EDGE_TO };
#define TREES \
    "SELECT 'v' AS kind, r.ev_class AS oid, r.ev_action::text AS tree FROM pg_catalog.pg_rewrite r " \
    "JOIN pg_catalog.pg_class c ON c.oid = r.ev_class " \
    "WHERE c.oid >= 16384 AND c.relkind = 'v' AND r.ev_type = '1' " \
    "UNION ALL SELECT 'p', k.polrelid, pg_catalog.concat(k.polqual::text, k.polwithcheck::text) " \
    "FROM pg_catalog.pg_policy k JOIN pg_catalog.pg_class c ON c.oid = k.polrelid " \
    "WHERE c.relrowsecurity"
#define MATCHES(re) "CROSS JOIN LATERAL pg_catalog.regexp_matches(t.tree, '" re "', 'g') m"
#define EDGES \
    "WITH t AS MATERIALIZED (" TREES ") " \
    "SELECT 'i', inhparent, inhrelid FROM pg_catalog.pg_inherits " \
    "UNION ALL SELECT 'c', confrelid, conrelid FROM pg_catalog.pg_constraint " \
    "WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')) " \
    "UNION ALL SELECT DISTINCT t.kind, t.oid, m[1]::oid FROM t " MATCHES(":relid (\\d+)") " " \
    "WHERE m[1] <> '0' AND m[1]::oid <> t.oid " \
    "UNION ALL SELECT DISTINCT 'o', t.oid, 0::oid FROM t " \
    MATCHES(":(?:funcid|opfuncid|winfnoid|aggfnoid) (\\d+)") " " \
    "LEFT JOIN pg_catalog.pg_proc p ON p.oid = m[1]::oid " \
    "WHERE m[1] <> '0' AND p.provolatile IS DISTINCT FROM 'i' " \
    "UNION ALL SELECT 'o', t.oid, 0::oid FROM t " \
    "WHERE t.tree ~ '\\{(SQLVALUEFUNCTION|NEXTVALUEEXPR|TABLESAMPLECLAUSE) ' " \
    "LIMIT 500000"
/* clang-format on */

static const ath_stmt look_statement = { .sql = LOOK(CLUSTER_ID) };
static const ath_stmt plain_statement = { .sql = LOOK("''") };
static const ath_stmt statements[] = { { .sql = RELATIONS }, { .sql = EDGES } };

#define A_LOOK(statement)                                                                          \
    {                                                                                              \
        .size = sizeof(ath_query), .flags = ATH_PG_READ | ATH_PG_READ_ONLY, .stmt = &(statement),  \
        .stmt_size = sizeof(ath_stmt), .stmt_count = 1, .timeout_ms = 20000                        \
    }
const ath_query relations_look = A_LOOK(look_statement);
const ath_query relations_look_plain = A_LOOK(plain_statement);

const ath_query relations_query = {
    .size = sizeof(ath_query),
    .flags = ATH_PG_READ | ATH_PG_READ_ONLY | ATH_PG_REPEATABLE,
    ATH_ARRAY(stmt, statements),
    .timeout_ms = 60000,
};

/* ---- while one is made ---- */

struct edge {
    uint32_t to, next;
};

struct group {               /* a view, or the tables of one unit */
    uint32_t unit;           /* its lowest OID */
    uint32_t reads, changes; /* first edge */
    bool view, opaque, wide;
};

struct build {
    struct relations *r;
    uint32_t *parent; /* union-find, by index of relation; a root's index is its group's */
    struct group *group;
    struct edge *edge;
    uint32_t edges;
    uint32_t *mark, round; /* groups seen in this walk */
};

static uint32_t number(const ath_rows *r, uint32_t i, uint32_t j)
{
    ath_str s = db_rows_text(r, i, j);

    return s.p ? (uint32_t)strtoul(s.p, NULL, 10) : 0;
}

static bool truth(const ath_rows *r, uint32_t i, uint32_t j)
{
    return str_is(db_rows_text(r, i, j), "t");
}

static uint32_t index_of(const struct relations *r, uint32_t oid)
{
    uint32_t from = 0, to = r->count;

    while (from < to) {
        uint32_t i = from + (to - from) / 2;
        if (r->relation[i].oid == oid)
            return i;
        if (r->relation[i].oid < oid)
            from = i + 1;
        else
            to = i;
    }
    return NONE;
}

static void take_relations(struct relations *r, const ath_rows *rows)
{
    uint32_t n = db_rows_count(rows);

    r->relation = arena_alloc(&r->arena, (n + 1) * sizeof(*r->relation));
    r->count = n;
    for (uint32_t i = 0; i < n; i++) {
        struct relation *to = &r->relation[i];
        ath_str schema = db_rows_text(rows, i, REL_SCHEMA), name = db_rows_text(rows, i, REL_NAME);
        char *key = arena_alloc(&r->arena, schema.n + name.n + 2);

        memcpy(key, schema.p, schema.n);
        memcpy(key + schema.n + 1, name.p, name.n);
        to->oid = number(rows, i, REL_OID);
        to->schema = str_from(key, schema.n);
        to->name = str_from(key + schema.n + 1, name.n);
        to->kind = db_rows_text(rows, i, REL_KIND).p[0];
        to->opaque = to->kind == 'f';
        to->wide = truth(rows, i, REL_WIDE);
        to->watched = truth(rows, i, REL_WATCHED);
        r->watched = r->watched || to->watched;
        map_put(&r->by_name, str_from(key, schema.n + 1 + name.n), to);
    }
}

static uint32_t root_of(struct build *b, uint32_t i)
{
    while (b->parent[i] != i)
        i = b->parent[i] = b->parent[b->parent[i]];
    return i;
}

/* The lower index, which is the lower OID, stays the root. */
static void join(struct build *b, uint32_t i, uint32_t j)
{
    i = root_of(b, i);
    j = root_of(b, j);
    b->parent[i < j ? j : i] = i < j ? i : j;
}

static void join_trees(struct build *b, const ath_rows *edges)
{
    for (uint32_t i = 0; i < b->r->count; i++)
        b->parent[i] = i;
    for (uint32_t e = 0; e < db_rows_count(edges); e++) {
        uint32_t from = index_of(b->r, number(edges, e, EDGE_FROM));
        uint32_t to = index_of(b->r, number(edges, e, EDGE_TO));
        if (db_rows_text(edges, e, EDGE_KIND).p[0] == 'i' && from != NONE && to != NONE)
            join(b, from, to);
    }
    for (uint32_t i = 0; i < b->r->count; i++) {
        const struct relation *rel = &b->r->relation[i];
        struct group *g = &b->group[root_of(b, i)];
        if (!g->unit)
            *g = (struct group){ .unit = rel->oid, .reads = NONE, .changes = NONE };
        g->view = rel->kind == 'v';
        g->opaque = g->opaque || rel->opaque;
        g->wide = g->wide || rel->wide;
    }
}

static void edge_add(struct build *b, uint32_t *first, uint32_t to)
{
    b->edge[b->edges] = (struct edge){ to, *first };
    *first = b->edges++;
}

/* What leads to something unknown can be followed in neither direction. */
static void take_edge(struct build *b, char kind, uint32_t from, uint32_t to)
{
    struct group *g = from == NONE ? NULL : &b->group[root_of(b, from)];

    if (!g || kind == 'i')
        return;
    if (kind == 'o' || to == NONE) {
        g->opaque = g->opaque || kind != 'c';
        g->wide = g->wide || kind == 'c' || kind == 'v';
        return;
    }
    to = root_of(b, to);
    if (kind != 'c')
        edge_add(b, &g->reads, to);
    if (kind != 'p')
        edge_add(b, &g->changes, to);
}

static void take_edges(struct build *b, const ath_rows *rows)
{
    uint32_t n = db_rows_count(rows);

    b->edge = mem_new((2 * (size_t)n + 1) * sizeof(*b->edge));
    for (uint32_t e = 0; e < n; e++)
        take_edge(b, db_rows_text(rows, e, EDGE_KIND).p[0],
                  index_of(b->r, number(rows, e, EDGE_FROM)),
                  index_of(b->r, number(rows, e, EDGE_TO)));
}

/* ---- closures ---- */

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* All units that are reached from `start`. False: it is not known, or too many. */
static bool walk(struct build *b, uint32_t start, bool reads, struct units *ret)
{
    uint32_t line[GROUPS_MOST], unit[UNITS_MOST], lines = 1, n = 0, *kept;

    b->mark[start] = ++b->round;
    line[0] = start;
    for (uint32_t at = 0; at < lines; at++) {
        const struct group *g = &b->group[line[at]];
        if ((reads ? g->opaque : g->wide) || (!g->view && n == UNITS_MOST))
            return false;
        if (!g->view)
            unit[n++] = g->unit;
        for (uint32_t e = reads ? g->reads : g->changes; e != NONE; e = b->edge[e].next) {
            if (b->mark[b->edge[e].to] == b->round)
                continue;
            if (lines == GROUPS_MOST)
                return false;
            b->mark[b->edge[e].to] = b->round;
            line[lines++] = b->edge[e].to;
        }
    }
    qsort(unit, n, sizeof(*unit), ascending);
    kept = arena_alloc(&b->r->arena, (n + 1) * sizeof(*kept));
    memcpy(kept, unit, n * sizeof(*kept));
    *ret = (struct units){ kept, n };
    return true;
}

/* A group's closures belong to all its relations, whose first is the root. */
static void close_all(struct build *b)
{
    for (uint32_t i = 0; i < b->r->count; i++) {
        struct relation *rel = &b->r->relation[i];
        uint32_t root = root_of(b, i);
        const struct relation *first = &b->r->relation[root];
        rel->unit = b->group[root].unit;
        if (root != i) {
            rel->reads = first->reads;
            rel->changes = first->changes;
            rel->reads_known = first->reads_known;
            rel->changes_known = first->changes_known;
            continue;
        }
        rel->reads_known = walk(b, root, true, &rel->reads);
        rel->changes_known = walk(b, root, false, &rel->changes);
    }
}

struct relations_head relations_head_of(const ath_rows *look)
{
    return (struct relations_head){ .id = db_rows_text(look, 0, LOOK_ID),
                                    .stamp = db_rows_text(look, 0, LOOK_STAMP),
                                    .replica = truth(look, 0, LOOK_REPLICA) };
}

struct relations *relations_read(const struct relations_head *head, const ath_rows *rows)
{
    const ath_rows *edges = db_rows_next(rows);
    struct relations *r = MEM_NEW(struct relations);
    struct build b = { .r = r };

    atomic_init(&r->refs, 1);
    arena_init(&r->arena);
    r->id = arena_str(&r->arena, head->id);
    r->replica = head->replica;
    r->stamp = arena_str(&r->arena, head->stamp);
    if (db_rows_count(edges) == EDGES_MOST)
        return r; /* cut: nothing is known, so nothing is kept */
    take_relations(r, rows);
    b.parent = mem_new((r->count + 1) * sizeof(*b.parent));
    b.group = mem_new((r->count + 1) * sizeof(*b.group));
    b.mark = mem_new((r->count + 1) * sizeof(*b.mark));
    join_trees(&b, edges);
    take_edges(&b, edges);
    close_all(&b);
    free(b.parent);
    free(b.group);
    free(b.mark);
    free(b.edge);
    return r;
}

void relations_ref(struct relations *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
}

void relations_unref(void *arg)
{
    struct relations *r = arg;

    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    map_free(&r->by_name);
    arena_free(&r->arena);
    free(r);
}

/* ---- questions ---- */

const struct relation *relations_find(const struct relations *r, ath_str schema, ath_str name)
{
    char key[256];

    if (schema.n + name.n + 1 > sizeof(key))
        return NULL; /* no name of PostgreSQL's is that long */
    memcpy(key, schema.p, schema.n);
    key[schema.n] = 0;
    memcpy(key + schema.n + 1, name.p, name.n);
    return map_get(&r->by_name, str_from(key, schema.n + 1 + name.n));
}

const struct relation *relations_by_oid(const struct relations *r, uint32_t oid)
{
    uint32_t i = index_of(r, oid);

    return i == NONE ? NULL : &r->relation[i];
}

static bool merge(const struct units *more, uint32_t ret[UNITS_MOST], uint32_t *ret_n)
{
    for (uint32_t i = 0; i < more->n; i++) {
        uint32_t at = 0;
        while (at < *ret_n && ret[at] < more->oid[i])
            at++;
        if (at < *ret_n && ret[at] == more->oid[i])
            continue;
        if (*ret_n == UNITS_MOST)
            return false;
        memmove(ret + at + 1, ret + at, (*ret_n - at) * sizeof(*ret));
        ret[at] = more->oid[i];
        ++*ret_n;
    }
    return true;
}

bool relations_reads(const struct relations *r, const ath_relation_name *name, uint32_t n,
                     uint32_t ret[UNITS_MOST], uint32_t *ret_n)
{
    *ret_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct relation *rel = relations_find(r, name[i].schema, name[i].name);
        if (!rel || !rel->reads_known || !merge(&rel->reads, ret, ret_n))
            return false;
    }
    return n > 0;
}

bool relations_changes(const struct relations *r, const ath_relation_name *name, uint32_t n,
                       uint32_t ret[UNITS_MOST], uint32_t *ret_n)
{
    *ret_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct relation *rel = relations_find(r, name[i].schema, name[i].name);
        if (!rel || !rel->changes_known || !merge(&rel->changes, ret, ret_n))
            return false;
    }
    return n > 0;
}
