/* Wishes against what is there. Additions to a table that holds rows are made so that nobody waits
 * for them long: indexes concurrently, checks and foreign keys for new rows only. What may be
 * refused because of rows that are there (a unique constraint) is tried and, when it is refused,
 * stays a finding. */
#include "control/plan.h"

#include "lib/buf.h"
#include "lib/sqlname.h"

enum { SMALL_BYTES = 1 << 20 }; /* an index on that much is made at once */

static void forget(void *arg)
{
    map_free(&((struct plan *)arg)->made);
}

struct plan *plan_new(ath_arena *a, const struct have *h)
{
    struct plan *p = ARENA_NEW(a, struct plan);

    *p = (struct plan){ .arena = a, .have = h };
    p->last = &p->first;
    p->found_last = &p->found;
    arena_own(a, p, forget);
    return p;
}

/* ---- additions ---- */

static struct mutation *add(struct plan *p, const struct want *w, const char *operation,
                            const char *what, ath_str sql)
{
    struct mutation *m = ARENA_NEW(p->arena, struct mutation);
    bool of = w->name.n && !str_eq(w->name, w->table);

    m->want = w;
    m->operation = operation;
    m->sql = sql;
    m->label = w->kind == WANT_OTHER
                   ? arena_printf(p->arena, "%.*s", (int)str_find(w->sql, '\n'), w->sql.p)
                   : arena_printf(p->arena, "%s %.*s%s%.*s", what, STR_ARG(w->table), of ? "." : "",
                                  STR_ARG(of ? w->name : ATH_S("")));
    *p->last = m;
    p->last = &m->next;
    p->count++;
    return m;
}

/* With its name qualified: what is made is made in public, wherever search_path begins. */
static ath_str qualified(struct plan *p, const struct want *w)
{
    struct buf b = ARENA_BUF(p->arena);

    buf_mem(&b, w->sql.p, w->name_at);
    if (str_find(w->table, '.') == w->table.n)
        buf_lit(&b, "public.");
    buf_str(&b, str_after(w->sql, w->name_at));
    return buf_view(&b);
}

static ath_str table_sql(struct plan *p, const struct want *w)
{
    struct buf b = ARENA_BUF(p->arena);
    size_t dot = str_find(w->table, '.');

    if (dot < w->table.n)
        buf_ident2(&b, str_from(w->table.p, dot), want_bare(w->table));
    else
        buf_ident(&b, w->table);
    return buf_view(&b);
}

static void add_relation(struct plan *p, const struct want *w)
{
    static const struct {
        const char *operation, *what;
    } words[] = {
        [WANT_TABLE] = { "create_table", "create table" },
        [WANT_VIEW] = { "statement", "create view" },
        [WANT_SEQUENCE] = { "statement", "create sequence" },
    };

    add(p, w, words[w->kind].operation, words[w->kind].what, qualified(p, w));
    p->needed++;
    map_put(&p->made, w->table, (void *)(uintptr_t)w);
}

/* A column that may not be null cannot be added to rows without a value for it: there it may. */
static void add_column(struct plan *p, const struct want *w, const struct have_relation *r)
{
    struct buf b = ARENA_BUF(p->arena);
    ath_str table = table_sql(p, w);

    buf_printf(&b, "ALTER TABLE %.*s ADD COLUMN ", STR_ARG(table));
    buf_ident(&b, w->name);
    buf_char(&b, ' ');
    if (r && r->bytes && !w->nullable)
        buf_str(&b, w->type);
    else
        buf_str(&b, w->body);
    add(p, w, "add_column", "add column", buf_view(&b));
    p->needed++;
}

/* Refused because of what the rows hold: then it is left out. */
static ath_str tolerant(struct plan *p, ath_str sql)
{
    return arena_printf(p->arena,
                        "DO $athena$ BEGIN %.*s; EXCEPTION WHEN unique_violation"
                        " OR foreign_key_violation OR check_violation OR datatype_mismatch"
                        " OR undefined_column OR invalid_foreign_key OR duplicate_table"
                        " OR invalid_table_definition THEN NULL; END $athena$",
                        STR_ARG(sql));
}

static ath_str index_sql(struct plan *p, const struct want *w, ath_str body, bool unique,
                         bool concurrently)
{
    struct buf b = ARENA_BUF(p->arena);
    ath_str table = table_sql(p, w);

    buf_printf(&b, "CREATE %sINDEX %s", unique ? "UNIQUE " : "",
               concurrently ? "CONCURRENTLY " : "");
    buf_ident(&b, w->name);
    buf_printf(&b, " ON %.*s %.*s", STR_ARG(table), STR_ARG(body));
    return buf_view(&b);
}

/* An index of a partitioned table cannot be made concurrently. */
static bool is_large(const struct have_relation *r)
{
    return r && r->kind == 'r' && r->bytes > SMALL_BYTES;
}

static void add_index(struct plan *p, const struct want *w, const struct have_relation *r,
                      ath_str body, bool unique)
{
    bool large = is_large(r);
    ath_str sql = index_sql(p, w, body, unique, large);

    if (unique && !large && r)
        sql = tolerant(p, sql);
    add(p, w, "create_index", "create index", sql)->concurrently = large;
    p->needed += !unique || !r;
    p->tried += unique && r;
}

static void add_constraint(struct plan *p, const struct want *w, const struct have_relation *r)
{
    bool rows = r && r->bytes > 0,
         later = w->constraint == WANT_CHECK || w->constraint == WANT_FOREIGN;
    struct buf b = ARENA_BUF(p->arena);
    ath_str table = table_sql(p, w);

    if (w->constraint == WANT_UNIQUE && is_large(r)) {
        add_index(p, w, r, str_after(w->body, sizeof("UNIQUE ") - 1), true);
        return;
    }
    buf_printf(&b, "ALTER TABLE %.*s ADD CONSTRAINT ", STR_ARG(table));
    buf_ident(&b, w->name);
    buf_printf(&b, " %.*s%s", STR_ARG(w->body), rows && later ? " NOT VALID" : "");
    add(p, w, "add_constraint", "add constraint", r ? tolerant(p, buf_view(&b)) : buf_view(&b));
    p->needed += !r;
    p->tried += r != NULL;
}

/* ---- what is there ---- */

static bool has_kind(const struct have_relation *r, char type)
{
    for (const struct have_constraint *c = r->constraint; c; c = c->next)
        if (c->type == type)
            return true;
    return false;
}

static bool has_body(const struct have_relation *r, ath_str body)
{
    for (const struct have_constraint *c = r->constraint; c; c = c->next)
        if (str_eq(c->body, body))
            return true;
    return false;
}

/* By name, or one that does the same. A primary key is never added to a table that is there. */
static bool has_constraint(const struct have_relation *r, const struct want *w)
{
    if (have_constraint(r, w->name))
        return true;
    if (w->constraint == WANT_UNIQUE)
        return have_index(r, w->name) ||
               have_equal_index(r, str_after(w->body, sizeof("UNIQUE ") - 1), true);
    return w->constraint == WANT_FOREIGN && has_body(r, w->body);
}

static bool has_index(const struct have_relation *r, const struct want *w)
{
    const struct have_index *x = have_index(r, w->name);

    return (x && x->valid) || have_equal_index(r, w->body, w->unique);
}

/* One whose making was cut off is in the way of its successor. */
static void drop_invalid(struct plan *p, const struct want *w, const struct have_relation *r)
{
    const struct have_index *x = have_index(r, w->name);
    struct buf b = ARENA_BUF(p->arena);

    if (!x || x->valid)
        return;
    buf_lit(&b, "DROP INDEX CONCURRENTLY ");
    buf_ident2(&b, r->schema, x->name);
    add(p, w, "drop_index", "drop unfinished index", buf_view(&b))->concurrently = true;
}

/* The sequence of a log that is there is that log's own business. */
static bool is_idle_sequence(const struct plan *p, const struct want *w)
{
    static const char end[] = "_id_seq";

    return str_ends(w->table, end) &&
           have_relation(p->have, str_from(w->table.p, w->table.n - (sizeof(end) - 1)));
}

static void plan_want(struct plan *p, const struct want *w)
{
    const struct have_relation *r = have_relation(p->have, w->table);
    bool made = w->kind != WANT_OTHER && map_get(&p->made, w->table);

    if (w->kind == WANT_OTHER)
        add(p, w, "statement", "", w->sql);
    else if (w->kind == WANT_SEQUENCE && is_idle_sequence(p, w))
        return;
    else if (w->kind <= WANT_SEQUENCE && !r)
        add_relation(p, w);
    else if (w->part && made)
        return;
    else if (w->kind == WANT_COLUMN && (!r || (r->kind != 'v' && !have_column(r, w->name))))
        add_column(p, w, r);
    else if (w->kind == WANT_CONSTRAINT && (!r || !has_constraint(r, w)) &&
             (w->constraint != WANT_PRIMARY || !r))
        add_constraint(p, w, r);
    else if (w->kind == WANT_INDEX && (!r || !has_index(r, w))) {
        if (r)
            drop_invalid(p, w, r);
        add_index(p, w, r, w->body, w->unique);
    }
}

void plan_step(struct plan *p, const struct wants *w)
{
    for (size_t i = 0; i < w->n; i++)
        plan_want(p, &w->at[i]);
}

/* ---- findings ---- */

ATH_PRINTF(5, 6)
static void find(struct plan *p, enum finding_kind kind, ath_str object, ath_str command,
                 const char *fmt, ...)
{
    struct finding *f = ARENA_NEW(p->arena, struct finding);
    struct buf b = ARENA_BUF(p->arena);
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    *f = (struct finding){
        .kind = kind, .object = object, .message = buf_view(&b), .command = command
    };
    *p->found_last = f;
    p->found_last = &f->next;
    p->tables += kind == FIND_TABLE;
    p->columns += kind == FIND_COLUMN;
    p->forms += kind == FIND_FORM;
}

static ath_str object_of(struct plan *p, const struct want *w)
{
    return w->name.n ? arena_printf(p->arena, "%.*s.%.*s", STR_ARG(w->table), STR_ARG(w->name))
                     : w->table;
}

/* Out of the way with its indexes, rows untouched. */
static ath_str move_command(struct plan *p, const struct have_relation *r)
{
    struct buf b = ARENA_BUF(p->arena);

    buf_lit(&b, "CREATE SCHEMA IF NOT EXISTS athena_old; ALTER ");
    buf_z(&b, r->kind == 'v' ? "VIEW " : r->kind == 'm' ? "MATERIALIZED VIEW " : "TABLE ");
    buf_ident2(&b, r->schema, want_bare(r->name));
    buf_lit(&b, " SET SCHEMA athena_old;");
    return buf_view(&b);
}

static bool was_found(const struct plan *p, ath_str object)
{
    const struct finding *f = p->found;

    while (f && !str_eq(f->object, object))
        f = f->next;
    return f != NULL;
}

/* A plugin that makes a table may expect it besides. */
static void find_relation(struct plan *p, const struct want *w, const struct have_relation *r)
{
    bool table = r && (r->kind == 'r' || r->kind == 'p');

    if (!r && was_found(p, w->table))
        return;
    if (!r)
        find(p, FIND_TABLE, w->table, ATH_S(""), "%s \"%.*s\" is missing",
             w->kind == WANT_VIEW ? "view" : "table", STR_ARG(w->table));
    else if (w->kind == WANT_TABLE && !table)
        find(p, FIND_FORM, w->table, move_command(p, r), "\"%.*s\" is %s, wanted is a table",
             STR_ARG(w->table), r->kind == 'v' ? "a view" : "no table");
}

static bool is_key_column(const struct wants *w, const struct want *column)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct want *c = &w->at[i];
        ath_str rest, piece;
        if (c->kind != WANT_CONSTRAINT || c->constraint != WANT_PRIMARY ||
            !str_eq(c->table, column->table))
            continue;
        rest = str_after(c->body, str_find(c->body, '(') + 1);
        rest.n -= rest.n > 0; /* its closing bracket */
        while (str_next(&rest, ',', &piece))
            if (str_eq(str_trim(piece), column->name))
                return true;
    }
    return false;
}

static void find_column(struct plan *p, const struct wants *all, const struct want *w,
                        const struct have_relation *r)
{
    const struct have_column *c = have_column(r, w->name);

    if (!c && r->kind == 'v')
        find(p, FIND_COLUMN, object_of(p, w), move_command(p, r),
             "view \"%.*s\" has no column \"%.*s\"", STR_ARG(w->table), STR_ARG(w->name));
    else if (!c)
        find(p, FIND_COLUMN, object_of(p, w), ATH_S(""),
             "column \"%.*s\" of table \"%.*s\" is missing", STR_ARG(w->name), STR_ARG(w->table));
    else if (!w->type.n || str_eq(c->type, w->type))
        return;
    else if (is_key_column(all, w))
        find(p, FIND_FORM, object_of(p, w), move_command(p, r),
             "table \"%.*s\" has an old form: its key \"%.*s\" is %.*s, wanted is %.*s",
             STR_ARG(w->table), STR_ARG(w->name), STR_ARG(c->type), STR_ARG(w->type));
    else
        find(p, FIND_TYPE, object_of(p, w), ATH_S(""),
             "column \"%.*s\" of table \"%.*s\" is %.*s, not %.*s", STR_ARG(w->name),
             STR_ARG(w->table), STR_ARG(c->type), STR_ARG(w->type));
}

/* A word that today's check lists and the old one does not. */
static ath_str missing_word(ath_str wanted, ath_str there)
{
    while (wanted.n) {
        size_t from = str_find(wanted, '\'');
        ath_str rest = str_after(wanted, from + 1), literal;
        size_t to = str_find(rest, '\'');
        if (from >= wanted.n || to >= rest.n)
            break;
        literal = str_from(wanted.p + from, to + 2);
        if (!memmem(there.p, there.n, literal.p, literal.n))
            return literal;
        wanted = str_after(rest, to + 1);
    }
    return ATH_S("");
}

static ath_str widen_command(struct plan *p, const struct want *w)
{
    struct buf b = ARENA_BUF(p->arena);
    ath_str table = table_sql(p, w);

    buf_printf(&b, "ALTER TABLE %.*s DROP CONSTRAINT ", STR_ARG(table));
    buf_ident(&b, w->name);
    buf_lit(&b, ", ADD CONSTRAINT ");
    buf_ident(&b, w->name);
    buf_printf(&b, " %.*s;", STR_ARG(w->body));
    return buf_view(&b);
}

static void find_constraint(struct plan *p, const struct want *w, const struct have_relation *r)
{
    const struct have_constraint *c = have_constraint(r, w->name);
    ath_str word;

    if (w->constraint == WANT_PRIMARY) {
        if (!has_kind(r, 'p'))
            find(p, FIND_KEY, w->table, ATH_S(""), "table \"%.*s\" has no primary key",
                 STR_ARG(w->table));
    } else if (!has_constraint(r, w)) {
        find(p, FIND_CONSTRAINT, object_of(p, w), ATH_S(""),
             "constraint \"%.*s\" of table \"%.*s\" is missing", STR_ARG(w->name),
             STR_ARG(w->table));
    } else if (c && w->constraint == WANT_CHECK && (word = missing_word(w->body, c->body)).n) {
        find(p, FIND_NARROW, object_of(p, w), widen_command(p, w),
             "constraint \"%.*s\" of table \"%.*s\" refuses %.*s", STR_ARG(w->name),
             STR_ARG(w->table), STR_ARG(word));
    }
}

void plan_find(struct plan *p, const struct wants *w)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct want *x = &w->at[i];
        const struct have_relation *r = x->table.n ? have_relation(p->have, x->table) : NULL;
        if (x->kind == WANT_TABLE || x->kind == WANT_VIEW)
            find_relation(p, x, r);
        else if (x->kind == WANT_COLUMN && r)
            find_column(p, w, x, r);
        else if (x->kind == WANT_CONSTRAINT && r)
            find_constraint(p, x, r);
        else if (x->kind == WANT_INDEX && r && !has_index(r, x))
            find(p, FIND_INDEX, object_of(p, x), ATH_S(""),
                 "index \"%.*s\" of table \"%.*s\" is missing", STR_ARG(x->name),
                 STR_ARG(x->table));
    }
}

const char *finding_word(enum finding_kind kind)
{
    static const char *const word[] = {
        [FIND_TABLE] = "missing_table",    [FIND_COLUMN] = "missing_column",
        [FIND_INDEX] = "missing_index",    [FIND_CONSTRAINT] = "missing_constraint",
        [FIND_FORM] = "incompatible_form", [FIND_TYPE] = "other_type",
        [FIND_NARROW] = "narrow_check",    [FIND_KEY] = "no_primary_key",
    };

    return word[kind];
}
