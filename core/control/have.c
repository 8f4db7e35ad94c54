/* One trip of five reads; each row says which wanted relation it belongs to. */
#include "control/have.h"

#include "db/query.h"
#include "lib/buf.h"

#define WANTED                                                                                     \
    "WITH w AS (SELECT n, CASE WHEN n LIKE '%.%' THEN to_regclass(n)"                              \
    " ELSE coalesce(to_regclass(quote_ident(n)), to_regclass('public.' || quote_ident(n))) END"    \
    " AS oid FROM unnest($1::text[]) n) "

/* clang-format off */
static const char *const reads[] = {
    "SELECT has_schema_privilege('public', 'CREATE'), pg_is_in_recovery(),"
    " to_regclass('public.database_audit_log') IS NOT NULL,"
    " to_regclass('public.athena_schema_version') IS NOT NULL, $1::text[] IS NULL",

    WANTED
    "SELECT w.n, s.nspname, c.relkind, pg_has_role(c.relowner, 'USAGE'), CASE c.relkind"
    "  WHEN 'p' THEN (SELECT coalesce(sum(pg_relation_size(t.relid)), 0) FROM pg_partition_tree(c.oid) t)"
    "  WHEN 'r' THEN pg_relation_size(c.oid) ELSE 0 END"
    " FROM w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace s ON s.oid = c.relnamespace",

    WANTED
    "SELECT w.n, a.attname, format_type(a.atttypid, a.atttypmod) FROM w"
    " JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped",

    WANTED
    "SELECT w.n, c.conname, c.contype, pg_get_constraintdef(c.oid) FROM w"
    " JOIN pg_constraint c ON c.conrelid = w.oid",

    WANTED
    "SELECT w.n, c.relname, i.indisvalid, i.indisunique, pg_get_indexdef(i.indexrelid) FROM w"
    " JOIN pg_index i ON i.indrelid = w.oid JOIN pg_class c ON c.oid = i.indexrelid",
};
/* clang-format on */

/* ---- asking ---- */

/* As an array of PostgreSQL's; the same name again does no harm. */
static ath_str names(ath_arena *a, const struct wants *w)
{
    struct buf b = ARENA_BUF(a);
    ath_str before = ATH_S("");

    buf_char(&b, '{');
    for (size_t i = 0; i < w->n; i++) {
        if (w->at[i].table.n == 0 || str_eq(w->at[i].table, before))
            continue;
        before = w->at[i].table;
        if (b.n > 1)
            buf_char(&b, ',');
        buf_char(&b, '"');
        buf_str(&b, before);
        buf_char(&b, '"');
    }
    buf_char(&b, '}');
    return buf_view(&b);
}

int have_ask(ath_task *t, ath_session *s, const struct wants *w, ath_then *then, void *arg,
             ath_err *e)
{
    ath_str *param = ARENA_NEW(&t->arena, ath_str);
    ath_stmt stmt[ATH_COUNT(reads)];
    ath_query q = { .size = sizeof(q),
                    .session = s,
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .stmt_count = ATH_COUNT(stmt) };

    *param = names(&t->arena, w);
    for (size_t i = 0; i < ATH_COUNT(stmt); i++)
        stmt[i] = (ath_stmt){ .sql = reads[i], .param = param, .param_count = 1 };
    return db_query(t, &q, then, arg, e);
}

/* ---- reading ---- */

static ath_str text(ath_arena *a, const ath_rows *rows, uint32_t row, uint32_t column)
{
    return arena_str(a, db_rows_text(rows, row, column));
}

static bool flag(const ath_rows *rows, uint32_t row, uint32_t column)
{
    return str_is(db_rows_text(rows, row, column), "t");
}

static char letter(const ath_rows *rows, uint32_t row, uint32_t column)
{
    ath_str s = db_rows_text(rows, row, column);

    return s.n ? s.p[0] : 0;
}

static void parse_relations(ath_arena *a, struct have *h, const ath_rows *rows)
{
    for (uint32_t i = 0; i < db_rows_count(rows); i++) {
        struct have_relation *r = ARENA_NEW(a, struct have_relation);
        r->name = text(a, rows, i, 0);
        r->schema = text(a, rows, i, 1);
        r->kind = letter(rows, i, 2);
        r->owned = flag(rows, i, 3);
        str_u64(db_rows_text(rows, i, 4), &r->bytes);
        map_put(&h->relation, r->name, r);
    }
}

static struct have_relation *relation_of(const struct have *h, const ath_rows *rows, uint32_t row)
{
    return map_get(&h->relation, db_rows_text(rows, row, 0));
}

static void parse_columns(ath_arena *a, struct have *h, const ath_rows *rows)
{
    for (uint32_t i = 0; i < db_rows_count(rows); i++) {
        struct have_relation *r = relation_of(h, rows, i);
        struct have_column *c = ARENA_NEW(a, struct have_column);
        if (!r)
            continue;
        *c = (struct have_column){ r->column, text(a, rows, i, 1), text(a, rows, i, 2) };
        r->column = c;
    }
}

static void parse_constraints(ath_arena *a, struct have *h, const ath_rows *rows)
{
    for (uint32_t i = 0; i < db_rows_count(rows); i++) {
        struct have_relation *r = relation_of(h, rows, i);
        struct have_constraint *c = ARENA_NEW(a, struct have_constraint);
        if (!r)
            continue;
        *c = (struct have_constraint){ r->constraint, text(a, rows, i, 1), text(a, rows, i, 3),
                                       letter(rows, i, 2) };
        r->constraint = c;
    }
}

/* "CREATE INDEX i ON s.t USING btree (a) WHERE b" says behind the table what a wish says. */
static ath_str index_body(ath_str def)
{
    static const char usual[] = "USING btree ";
    char *using = memmem(def.p, def.n, " USING ", 7);

    def = using ? str_after(def, (size_t)(using + 1 - def.p)) : def;
    return str_starts(def, usual) ? str_after(def, sizeof(usual) - 1) : def;
}

static void parse_indexes(ath_arena *a, struct have *h, const ath_rows *rows)
{
    for (uint32_t i = 0; i < db_rows_count(rows); i++) {
        struct have_relation *r = relation_of(h, rows, i);
        struct have_index *x = ARENA_NEW(a, struct have_index);
        if (!r)
            continue;
        *x = (struct have_index){ r->index, text(a, rows, i, 1), index_body(text(a, rows, i, 4)),
                                  flag(rows, i, 2), flag(rows, i, 3) };
        r->index = x;
    }
}

static void forget(void *arg)
{
    map_free(&((struct have *)arg)->relation);
}

struct have *have_parse(ath_arena *a, const ath_rows *rows)
{
    static void (*const parse[])(ath_arena * a, struct have * h,
                                 const ath_rows *rows) = { parse_relations, parse_columns,
                                                           parse_constraints, parse_indexes };
    struct have *h = ARENA_NEW(a, struct have);

    arena_own(a, h, forget);
    h->may_create = flag(rows, 0, 0);
    h->standby = flag(rows, 0, 1);
    h->audit = flag(rows, 0, 2);
    h->versioned = flag(rows, 0, 3);
    for (size_t i = 0; i < ATH_COUNT(parse) && (rows = db_rows_next(rows)); i++)
        parse[i](a, h, rows);
    return h;
}

/* ---- finding ---- */

const struct have_relation *have_relation(const struct have *h, ath_str name)
{
    return map_get(&h->relation, name);
}

const struct have_column *have_column(const struct have_relation *r, ath_str name)
{
    const struct have_column *c = r->column;

    while (c && !str_eq(c->name, name))
        c = c->next;
    return c;
}

const struct have_constraint *have_constraint(const struct have_relation *r, ath_str name)
{
    const struct have_constraint *c = r->constraint;

    while (c && !str_eq(c->name, name))
        c = c->next;
    return c;
}

const struct have_index *have_index(const struct have_relation *r, ath_str name)
{
    const struct have_index *x = r->index;

    while (x && !str_eq(x->name, name))
        x = x->next;
    return x;
}

bool have_equal_index(const struct have_relation *r, ath_str body, bool unique)
{
    for (const struct have_index *x = r->index; x; x = x->next)
        if (x->valid && (x->unique || !unique) && str_eq(x->body, body))
            return true;
    return false;
}
