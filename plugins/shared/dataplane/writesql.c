/* The statements of a change.
 *
 *     INSERT INTO "public"."items" AS t0 ("id", "name") VALUES ($1, $2) RETURNING t0.*
 *     INSERT INTO ... ("id", "name") SELECT r.* FROM ROWS FROM (unnest($1), unnest($2)) AS r ...
 *     UPDATE "public"."items" AS t0 SET "name" = $1 WHERE t0."id" = $2 RETURNING t0.*
 *     DELETE FROM "public"."items" AS t0 WHERE t0."id" = $1 RETURNING t0.*
 *
 * Rows that all have the same keys go as one array per column: the statement's text is then the
 * same for any number of them, so it is prepared once, and there is no limit on their number. Rows
 * that differ need DEFAULT in places, which only VALUES knows; they are cut where 65,535 parameters
 * are full. Where a conflict takes the new row's values, rows that differ have a statement for each
 * run of equal ones, so that no row that is there loses what the new one does not mention.
 *
 * A bounded change picks its rows first, and locks them, so that each of them still fits when it is
 * changed:
 *
 *     WITH b AS MATERIALIZED (SELECT t0."id" FROM ... WHERE ... ORDER BY ... LIMIT $1 FOR UPDATE)
 *     DELETE FROM "public"."items" AS t0 USING b WHERE t0."id" = b."id" RETURNING t0.*
 */
#include "dataplane/write.h"

#include "lib/sqlname.h"

enum { OID_JSON = 114, OID_TEXT_ARRAY = 1009, OID_JSONB = 3802 };

/* Its text is JSON: for json columns the value, for texts a text. */
static bool takes_object(const ath_attribute *a)
{
    return a->base_type == OID_JSON || a->base_type == OID_JSONB || a->category == 'S';
}

/* The text of `v` as a parameter of the column's type; p NULL: SQL null. */
static int text_of(struct dp *dp, const ath_attribute *a, const struct json *v, ath_str *ret)
{
    if (!v || v->type == JSON_NULL) {
        *ret = (ath_str){ NULL, 0 };
        return 0;
    }
    if (v->type == JSON_OBJECT && (a->element || !takes_object(a)))
        return ath_raise(dp->e, "data_exception",
                         "column \"%.*s\" is of type %.*s; an object is no value for it",
                         STR_ARG(a->name), STR_ARG(a->type_name));
    return dp_value(dp, v, a->base_type, a->element != 0, ret);
}

static struct dp_sql *change_add(struct dp *dp, struct dp_change *c)
{
    struct dp_sql *sql;

    if (c->stmt_count == c->cap) {
        dp_refuse(dp, "the rows differ too often in their keys: sort them, or send fewer");
        return NULL;
    }
    sql = &c->sql[c->stmt_count++];
    *sql = (struct dp_sql){ .text = dp_buf(dp) };
    buf_grow(&sql->text, 255);
    return sql;
}

static void change_end(struct dp_change *c)
{
    const struct dp_sql *sql = &c->sql[c->stmt_count - 1];

    c->stmt[c->stmt_count - 1] = (ath_stmt){
        .sql = sql->text.p, .param = sql->param, .type = sql->type, .param_count = sql->count
    };
}

static int returning(struct dp *dp, struct dp_sql *sql, struct dp_write *w,
                     const struct dp_change *c)
{
    int rc = 0;

    if (!c->returns)
        return 0;
    buf_lit(&sql->text, " RETURNING ");
    if (!w->head)
        rc = dp_items_sql(dp, sql, &w->root);
    if (!c->keyed)
        return rc;
    buf_z(&sql->text, w->head ? "t0." : ", t0.");
    buf_ident(&sql->text, w->id_attribute->name);
    return rc;
}

static void names(struct buf *b, const char *before, const ath_attribute *const *a, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        buf_z(b, i ? ", " : "");
        buf_z(b, before);
        buf_ident(b, a[i]->name);
    }
}

static int value(struct dp *dp, struct dp_sql *sql, const ath_attribute *a, const struct json *v)
{
    ath_str text;
    int rc = text_of(dp, a, v, &text);

    if (rc < 0)
        return rc;
    return dp_param(dp, sql, text, a->type) ? 0 : ATH_E_INPUT;
}

static int set_sql(struct dp *dp, struct dp_sql *sql, const struct dp_write *w)
{
    int rc = 0;

    for (uint32_t i = 0; i < w->set_count && rc == 0; i++) {
        buf_z(&sql->text, i ? ", " : " SET ");
        buf_ident(&sql->text, w->set_column[i]->name);
        buf_lit(&sql->text, " = ");
        rc = value(dp, sql, w->set_column[i], w->set[i]);
    }
    return rc;
}

/* ---- insert ---- */

struct part { /* rows of one statement, and which of the columns they have */
    uint32_t from, to;
    const ath_attribute **column;
    uint32_t *at;
    uint32_t columns;
};

static const struct json *cell_of(const struct dp_write *w, uint32_t row, uint32_t at)
{
    return w->cell[(size_t)row * w->column_count + at];
}

/* The columns of which the first row of the part has a value; all of them unless rows differ. */
static void part_columns(struct dp *dp, const struct dp_write *w, struct part *p, bool all)
{
    p->column = dp_new(dp, (w->column_count + 1) * sizeof(*p->column));
    p->at = dp_new(dp, (w->column_count + 1) * sizeof(*p->at));
    p->columns = 0;
    for (uint32_t i = 0; i < w->column_count; i++) {
        if (!all && !cell_of(w, p->from, i))
            continue;
        p->column[p->columns] = w->column[i];
        p->at[p->columns++] = i;
    }
}

static bool is_target(const struct dp_write *w, const ath_attribute *a)
{
    for (uint32_t i = 0; i < w->key_count; i++)
        if (w->key[i] == a)
            return true;
    return false;
}

static void merge_sql(struct buf *b, const struct dp_write *w, const struct part *p)
{
    bool any = false;

    for (uint32_t i = 0; i < p->columns; i++) {
        if (is_target(w, p->column[i]))
            continue;
        buf_z(b, any ? ", " : " DO UPDATE SET ");
        buf_ident(b, p->column[i]->name);
        buf_lit(b, " = EXCLUDED.");
        buf_ident(b, p->column[i]->name);
        any = true;
    }
    if (!any)
        buf_lit(b, " DO NOTHING");
}

static int conflict_sql(struct dp *dp, struct dp_sql *sql, const struct dp_write *w,
                        const struct part *p)
{
    if (w->conflict == DP_CONFLICT_FAILS)
        return 0;
    buf_lit(&sql->text, " ON CONFLICT (");
    names(&sql->text, "", w->key, w->key_count);
    buf_char(&sql->text, ')');
    if (w->conflict == DP_CONFLICT_MERGES) {
        merge_sql(&sql->text, w, p);
        return 0;
    }
    buf_z(&sql->text, w->conflict == DP_CONFLICT_SKIPS ? " DO NOTHING" : " DO UPDATE");
    return w->conflict == DP_CONFLICT_SETS ? set_sql(dp, sql, w) : 0;
}

/* Can values of this type stand in an array? Of types without one that is known here as texts. */
static bool is_listed(const struct dp *dp, const ath_attribute *a)
{
    return typed_array(a->type) || dp->catalog->type_name(dp->snapshot, a->type).n;
}

static bool are_listed(const struct dp *dp, const struct part *p)
{
    for (uint32_t i = 0; i < p->columns; i++)
        if (!is_listed(dp, p->column[i]))
            return false;
    return p->columns > 0 && p->to - p->from > 1;
}

/* {"1","2",NULL}: one column of the part's rows. */
static int list_of(struct dp *dp, const struct dp_write *w, const struct part *p, uint32_t column,
                   ath_str *ret)
{
    uint32_t over = typed_array(p->column[column]->type);
    struct buf b = dp_buf(dp);
    int rc = 0;

    buf_char(&b, '{');
    for (uint32_t row = p->from; row < p->to && rc == 0; row++) {
        ath_str text;
        rc = text_of(dp, p->column[column], cell_of(w, row, p->at[column]), &text);
        if (row > p->from)
            buf_char(&b, typed_of(over).delimiter);
        if (rc == 0 && text.p)
            dp_element(&b, text);
        else
            buf_lit(&b, "NULL");
    }
    buf_char(&b, '}');
    *ret = buf_view(&b);
    return rc;
}

static int lists_sql(struct dp *dp, struct dp_sql *sql, const struct dp_write *w,
                     const struct part *p)
{
    int rc;

    buf_lit(&sql->text, " SELECT ");
    for (uint32_t i = 0; i < p->columns; i++) {
        uint32_t type = p->column[i]->type;
        buf_printf(&sql->text, "%sr.c%u", i ? ", " : "", i);
        if (typed_array(type))
            continue;
        buf_lit(&sql->text, "::");
        buf_str(&sql->text, dp->catalog->type_name(dp->snapshot, type));
    }
    buf_lit(&sql->text, " FROM ROWS FROM (");
    for (uint32_t i = 0; i < p->columns; i++) {
        uint32_t over = typed_array(p->column[i]->type);
        ath_str list;
        if ((rc = list_of(dp, w, p, i, &list)) < 0)
            return rc;
        buf_z(&sql->text, i ? ", pg_catalog.unnest(" : "pg_catalog.unnest(");
        if (!dp_param(dp, sql, list, over ? over : OID_TEXT_ARRAY))
            return ATH_E_INPUT;
        buf_char(&sql->text, ')');
    }
    buf_lit(&sql->text, ") AS r(");
    for (uint32_t i = 0; i < p->columns; i++)
        buf_printf(&sql->text, "%sc%u", i ? ", " : "", i);
    buf_char(&sql->text, ')');
    return 0;
}

static int values_sql(struct dp *dp, struct dp_sql *sql, const struct dp_write *w,
                      const struct part *p)
{
    int rc = 0;

    buf_lit(&sql->text, " VALUES ");
    for (uint32_t row = p->from; row < p->to; row++) {
        buf_z(&sql->text, row > p->from ? ", (" : "(");
        for (uint32_t i = 0; i < p->columns && rc == 0; i++) {
            const struct json *v = cell_of(w, row, p->at[i]);
            buf_z(&sql->text, i ? ", " : "");
            if (v || w->nulls)
                rc = value(dp, sql, p->column[i], v);
            else
                buf_lit(&sql->text, "DEFAULT");
        }
        if (rc < 0)
            return rc;
        buf_char(&sql->text, ')');
    }
    return 0;
}

/* Rows without any key: of several each takes the DEFAULT of some column, which means all of them.
 */
static void defaults_sql(struct dp_sql *sql, const struct dp_write *w, const struct part *p)
{
    if (p->to - p->from == 1) {
        buf_lit(&sql->text, " DEFAULT VALUES");
        return;
    }
    buf_lit(&sql->text, " (");
    buf_ident(&sql->text, dp_column_at(w->root.relation, 0)->name);
    buf_lit(&sql->text, ") VALUES ");
    for (uint32_t row = p->from; row < p->to; row++)
        buf_z(&sql->text, row > p->from ? ", (DEFAULT)" : "(DEFAULT)");
}

static int insert_part(struct dp *dp, struct dp_write *w, const struct part *p, struct dp_change *c)
{
    const ath_relation *r = w->root.relation;
    struct dp_sql *sql = change_add(dp, c);
    int rc = 0;

    if (!sql)
        return ATH_E_INPUT;
    buf_lit(&sql->text, "INSERT INTO ");
    buf_ident2(&sql->text, r->schema, r->name);
    buf_lit(&sql->text, " AS t0");
    if (p->columns) {
        buf_lit(&sql->text, " (");
        names(&sql->text, "", p->column, p->columns);
        buf_char(&sql->text, ')');
        if ((!w->mixed || w->conflict == DP_CONFLICT_MERGES) && are_listed(dp, p))
            rc = lists_sql(dp, sql, w, p);
        else
            rc = values_sql(dp, sql, w, p);
    } else {
        defaults_sql(sql, w, p);
    }
    if (rc < 0 || (rc = conflict_sql(dp, sql, w, p)) < 0 || (rc = returning(dp, sql, w, c)) < 0)
        return rc;
    change_end(c);
    return 0;
}

static bool same_keys(const struct dp_write *w, uint32_t a, uint32_t b)
{
    for (uint32_t i = 0; i < w->column_count; i++)
        if (!cell_of(w, a, i) != !cell_of(w, b, i))
            return false;
    return true;
}

/* How many values of a statement are taken before its rows. */
static uint32_t others(const struct dp_write *w)
{
    uint32_t n = w->set_count;

    for (const struct dp_item *i = w->root.item; i; i = i->next)
        for (const struct dp_step *s = i->ref.path; s; s = s->next)
            n++;
    return n;
}

/* The end of the part that begins at `from`. */
static uint32_t part_end(const struct dp *dp, const struct dp_write *w, struct part *p, bool runs)
{
    uint32_t room = DP_PARAMS - others(w), used = 0, row = p->from;

    p->to = w->row_count;
    if (!w->mixed && are_listed(dp, p))
        return w->row_count;
    for (; row < w->row_count; row++) {
        uint32_t n = 0;
        if (runs && !same_keys(w, p->from, row))
            return row;
        for (uint32_t i = 0; i < w->column_count; i++)
            n += w->nulls || cell_of(w, row, i) != NULL;
        if (row > p->from && (used + n > room || row - p->from == DP_PARAMS))
            return row;
        used += n;
    }
    return row;
}

static int insert_sql(struct dp *dp, struct dp_write *w, struct dp_change *c)
{
    bool runs = w->mixed && w->conflict == DP_CONFLICT_MERGES;
    struct part p = { 0 };
    int rc = 0;

    while (p.from < w->row_count && rc == 0) {
        part_columns(dp, w, &p, !runs);
        p.to = part_end(dp, w, &p, runs);
        rc = insert_part(dp, w, &p, c);
        p.from = p.to;
    }
    return rc;
}

/* ---- update and delete ---- */

/* Without an order of the caller's, that of the primary key: it is always the same rows then. */
static int order_sql(struct dp *dp, struct dp_sql *sql, struct dp_write *w)
{
    if (w->root.order)
        return dp_order_sql(dp, sql, &w->root);
    buf_lit(&sql->text, " ORDER BY ");
    names(&sql->text, "t0.", w->key, w->key_count);
    return 0;
}

static int bound_sql(struct dp *dp, struct dp_sql *sql, struct dp_write *w)
{
    const ath_relation *r = w->root.relation;
    int rc;

    buf_lit(&sql->text, "WITH b AS MATERIALIZED (SELECT ");
    names(&sql->text, "t0.", w->key, w->key_count);
    buf_lit(&sql->text, " FROM ");
    buf_ident2(&sql->text, r->schema, r->name);
    buf_lit(&sql->text, " AS t0");
    if ((rc = dp_where_sql(dp, sql, &w->root)) < 0 || (rc = order_sql(dp, sql, w)) < 0 ||
        (rc = dp_page_sql(dp, sql, &w->root)) < 0)
        return rc;
    buf_lit(&sql->text, " FOR UPDATE) ");
    return 0;
}

static int which_sql(struct dp *dp, struct dp_sql *sql, struct dp_write *w)
{
    if (!w->key_count)
        return dp_where_sql(dp, sql, &w->root);
    buf_z(&sql->text, w->kind == DP_DELETE ? " USING b WHERE " : " FROM b WHERE ");
    for (uint32_t i = 0; i < w->key_count; i++) {
        buf_z(&sql->text, i ? " AND t0." : "t0.");
        buf_ident(&sql->text, w->key[i]->name);
        buf_lit(&sql->text, " = b.");
        buf_ident(&sql->text, w->key[i]->name);
    }
    return 0;
}

static int modify_sql(struct dp *dp, struct dp_write *w, struct dp_change *c)
{
    const ath_relation *r = w->root.relation;
    struct dp_sql *sql = change_add(dp, c);
    int rc = w->key_count ? bound_sql(dp, sql, w) : 0;

    if (rc < 0)
        return rc;
    buf_z(&sql->text, w->kind == DP_DELETE ? "DELETE FROM " : "UPDATE ");
    buf_ident2(&sql->text, r->schema, r->name);
    buf_lit(&sql->text, " AS t0");
    if (w->kind == DP_UPDATE && (rc = set_sql(dp, sql, w)) < 0)
        return rc;
    if ((rc = which_sql(dp, sql, w)) < 0 || (rc = returning(dp, sql, w, c)) < 0)
        return rc;
    change_end(c);
    return 0;
}

int dp_write_sql(struct dp *dp, struct dp_write *w, struct dp_change *ret)
{
    *ret = (struct dp_change){ .cap = w->kind == DP_INSERT ? DP_CHANGES : 1 };
    if (ret->cap > w->row_count && w->row_count)
        ret->cap = w->row_count;
    ret->stmt = dp_new(dp, ret->cap * sizeof(*ret->stmt));
    ret->sql = dp_new(dp, ret->cap * sizeof(*ret->sql));
    ret->keyed = w->kind == DP_INSERT && (w->row_count == 1 || w->ids) && w->id_attribute;
    ret->returns = !w->head || ret->keyed;
    return w->kind == DP_INSERT ? insert_sql(dp, w, ret) : modify_sql(dp, w, ret);
}
