/* SELECTs that are fetches.
 *
 *     SELECT item {, item} FROM "t"["."t"] [WHERE cond {AND cond}] [ORDER BY "c" [ASC|DESC], ...]
 *         [LIMIT int] [OFFSET int] [;]
 *
 * That is what the 5.x client writes (contract 21.6): names in quotes, items * | "a" | "t"."a" |
 * "a" AS "x". A projection may instead be a selection with relations (14.5), name or alias, target,
 * brackets. With an alias, alias:users(name), it cannot be SQL; then names need no quotes, and
 * JOIN ... ON says how a relation is joined (21.5).
 *
 * What does not fit is no error: it is SQL, and PostgreSQL's to judge. Only behind such an alias it
 * is refused, as nobody else could read it.
 */
#include "dataplane/dataplane.h"
#include "sqltext/sqltext.h"

enum { JOINS = 8 };

struct join {
    ath_str name; /* as the rest of the statement calls it */
    struct dp_node *node;
};

struct reader {
    struct dp *dp;
    struct sql_scan scan;
    struct sql_token t; /* the current one; kind 0: the end */
    struct dp_node *root;
    ath_str alias; /* of the root, in FROM; empty: none */
    bool loose;    /* names without quotes are names */
    struct join join[JOINS];
    uint32_t joins;
};

static void advance(struct reader *p)
{
    if (!sql_next(&p->scan, &p->t))
        p->t = (struct sql_token){ 0 };
}

static bool take_word(struct reader *p, const char *word)
{
    if (!sql_is(&p->t, word))
        return false;
    advance(p);
    return true;
}

static bool take_sign(struct reader *p, const char *sign)
{
    if (!sql_sign(&p->t, sign))
        return false;
    advance(p);
    return true;
}

/* What stands between the quotes, doubled ones once. */
static ath_str unquoted(const struct reader *p, ath_str text)
{
    struct buf b = dp_buf(p->dp);
    char quote = text.p[0];

    for (size_t i = 1; i + 1 < text.n; i++) {
        buf_char(&b, text.p[i]);
        i += text.p[i] == quote;
    }
    return buf_view(&b);
}

/* A name as the database has it: unquoted ones are lower case there. */
static bool take_name(struct reader *p, ath_str *ret)
{
    struct buf b = dp_buf(p->dp);

    if (p->t.kind == SQL_NAME && p->t.text.p[0] == '"') {
        *ret = unquoted(p, p->t.text);
    } else if (p->loose && p->t.kind == SQL_WORD) {
        for (size_t i = 0; i < p->t.text.n; i++) {
            char c = p->t.text.p[i];
            buf_char(&b, c >= 'A' && c <= 'Z' ? (char)(c | 32) : c);
        }
        *ret = buf_view(&b);
    } else {
        return false;
    }
    advance(p);
    return ret->n > 0 && ret->n <= DP_NAME;
}

/* "a" or "t"."a"; *ret_of: "t", or empty. */
static bool take_dotted(struct reader *p, ath_str *ret_of, ath_str *ret)
{
    *ret_of = (ath_str){ "", 0 };
    if (!take_name(p, ret))
        return false;
    if (!take_sign(p, "."))
        return true;
    *ret_of = *ret;
    return take_name(p, ret);
}

/* ---- values ---- */

static struct json *new_value(const struct reader *p, enum json_type type, ath_str raw)
{
    struct json *v = dp_new(p->dp, sizeof(*v));

    v->type = (uint8_t)type;
    v->raw = v->text = raw;
    return v;
}

/* '...' in one piece; a string that is continued in another line is left to SQL. */
static bool is_simple_string(const struct sql_token *t)
{
    return t->kind == SQL_STRING && t->text.p[0] == '\'' && t->line == t->line_end;
}

static bool has_gap(ath_str text)
{
    for (size_t i = 1; i + 1 < text.n; i++)
        if (text.p[i] == '\'' && text.p[++i] != '\'')
            return true;
    return false;
}

static bool take_literal(struct reader *p, struct json **ret)
{
    ath_str minus = { "", 0 }, text = p->t.text;

    if (is_simple_string(&p->t) && !has_gap(text)) {
        *ret = new_value(p, JSON_STRING, unquoted(p, text));
    } else if (sql_is(&p->t, "TRUE")) {
        *ret = new_value(p, JSON_TRUE, ATH_S("true"));
    } else if (sql_is(&p->t, "FALSE")) {
        *ret = new_value(p, JSON_FALSE, ATH_S("false"));
    } else if (sql_is(&p->t, "NULL")) {
        *ret = new_value(p, JSON_NULL, ATH_S("null"));
    } else {
        if (sql_sign(&p->t, "-")) {
            minus = p->t.text;
            advance(p);
            text = p->t.text;
        }
        if (p->t.kind != SQL_NUMBER || (minus.n && minus.p + 1 != text.p))
            return false;
        *ret = new_value(p, JSON_NUMBER, str_from(text.p - minus.n, text.n + minus.n));
    }
    advance(p);
    return true;
}

/* [::type]; false: a type that casts are not written with here. */
static bool take_cast(struct reader *p, const struct dp_cast **ret)
{
    struct buf b = dp_buf(p->dp);

    *ret = NULL;
    if (!take_sign(p, "::"))
        return true;
    if (p->t.kind != SQL_WORD)
        return false;
    buf_str(&b, p->t.text);
    advance(p);
    if (str_ieq(buf_view(&b), ATH_S("double")) && take_word(p, "PRECISION"))
        buf_lit(&b, " precision");
    if (take_sign(p, "[")) {
        if (!take_sign(p, "]"))
            return false;
        buf_lit(&b, "[]");
    }
    *ret = dp_cast_find(buf_view(&b));
    return *ret != NULL;
}

/* ---- items ---- */

static bool is_root(const struct reader *p, ath_str name)
{
    return !name.n || str_eq(name, p->alias.n ? p->alias : p->root->table);
}

/* One output name for two things is left to SQL. */
static bool add_item(struct reader *p, ath_str name, ath_str key)
{
    struct dp_item *i;

    for (i = p->root->item; i; i = i->next)
        if (str_eq(i->key, key))
            return false;
    if (!(i = dp_item_add(p->dp, p->root)))
        return false;
    i->ref.name = name;
    i->key = key;
    i->star = !key.n;
    return true;
}

/* Items in quotes; the table's name is known only behind them, so *ret_of is what all of them are
 * qualified with. */
static bool quoted_items(struct reader *p, ath_str *ret_of)
{
    *ret_of = (ath_str){ "", 0 };
    do {
        ath_str of, name = { "", 0 }, key;
        if (take_sign(p, "*")) {
            key = name;
        } else {
            if (!take_dotted(p, &of, &name) || (ret_of->n && of.n && !str_eq(*ret_of, of)))
                return false;
            *ret_of = of.n ? of : *ret_of;
            key = name;
            if (take_word(p, "AS") && !take_name(p, &key))
                return false;
        }
        if (!add_item(p, name, key))
            return false;
    } while (take_sign(p, ","));
    return take_word(p, "FROM");
}

/* The text up to FROM outside of brackets. A single colon is what SQL has in array slices only. */
static bool projection(struct reader *p, ath_str *ret, bool *ret_colon)
{
    const char *from = p->t.text.p;
    int depth = 0, square = 0;

    *ret_colon = false;
    for (; p->t.kind; advance(p)) {
        if (depth == 0 && square == 0 && sql_is(&p->t, "FROM"))
            break;
        depth += sql_sign(&p->t, "(") - sql_sign(&p->t, ")");
        square += sql_sign(&p->t, "[") - sql_sign(&p->t, "]");
        *ret_colon = *ret_colon || (square == 0 && sql_sign(&p->t, ":"));
    }
    *ret = str_from(from, (size_t)((p->t.kind ? p->t.text.p : from) - from));
    return p->t.kind != 0;
}

static bool has_relation(const struct dp_node *node)
{
    for (const struct dp_item *i = node->item; i; i = i->next)
        if (i->child)
            return true;
    return false;
}

/* ---- FROM, JOIN ---- */

static bool take_table(struct reader *p, ath_str *ret_schema, ath_str *ret_table,
                       ath_str *ret_alias)
{
    static const char *const next[] = { "WHERE", "ORDER", "LIMIT", "OFFSET",
                                        "LEFT",  "INNER", "JOIN",  "ON" };

    *ret_alias = (ath_str){ "", 0 };
    if (!take_dotted(p, ret_schema, ret_table))
        return false;
    if (!p->loose || take_word(p, "AS"))
        return !p->loose || take_name(p, ret_alias);
    for (size_t i = 0; i < ATH_COUNT(next); i++)
        if (sql_is(&p->t, next[i]))
            return true;
    return p->t.kind != SQL_WORD || take_name(p, ret_alias);
}

/* The selected relation that a JOIN is about, or a name stands for. */
static struct dp_node *selected(const struct reader *p, ath_str table, ath_str name)
{
    for (uint32_t i = 0; i < p->joins; i++)
        if (str_eq(p->join[i].name, name))
            return p->join[i].node;
    for (const struct dp_item *i = p->root->item; i; i = i->next)
        if (i->child && (str_eq(i->child->table, table) || str_eq(i->key, name)))
            return i->child;
    return NULL;
}

static ath_str hint(const struct reader *p, const char *side, ath_str column)
{
    struct buf b = dp_buf(p->dp);

    buf_z(&b, side);
    buf_str(&b, column);
    return buf_view(&b);
}

/* ON a.x = b.y with an id on one side: the other side is the foreign key. */
static bool take_on(struct reader *p, struct dp_node *child, ath_str name)
{
    ath_str of[2], column[2];
    int mine;

    if (!take_word(p, "ON") || !take_dotted(p, &of[0], &column[0]) || !take_sign(p, "=") ||
        !take_dotted(p, &of[1], &column[1]) || !of[0].n || !of[1].n)
        return false;
    mine = is_root(p, of[0]) ? 0 : 1;
    if (!is_root(p, of[mine]) || !str_eq(of[1 - mine], name))
        return false;
    if (str_is(column[1 - mine], "id"))
        child->hint = hint(p, "parent.", column[mine]);
    else if (str_is(column[mine], "id"))
        child->hint = hint(p, "child.", column[1 - mine]);
    return child->hint.n > 0;
}

static bool take_joins(struct reader *p)
{
    for (;;) {
        bool left = take_word(p, "LEFT"), inner = !left && take_word(p, "INNER");
        ath_str schema, table, alias, name;
        struct dp_node *child;
        if (left)
            take_word(p, "OUTER");
        if (!take_word(p, "JOIN"))
            return !left && !inner;
        if (!take_table(p, &schema, &table, &alias) || p->joins == JOINS ||
            !(child = selected(p, table, alias)))
            return false;
        name = alias.n ? alias : table;
        if (!take_on(p, child, name))
            return false;
        p->join[p->joins++] = (struct join){ name, child };
        child->inner = child->inner || !left;
    }
}

/* ---- WHERE ---- */

static enum dp_op take_op(struct reader *p)
{
    static const struct {
        const char *sign;
        uint8_t op;
    } signs[] = { { "=", DP_EQ },   { "!=", DP_NEQ }, { "<>", DP_NEQ }, { ">", DP_GT },
                  { ">=", DP_GTE }, { "<", DP_LT },   { "<=", DP_LTE } };

    for (size_t i = 0; i < ATH_COUNT(signs); i++)
        if (take_sign(p, signs[i].sign))
            return signs[i].op;
    if (take_word(p, "LIKE"))
        return DP_LIKE;
    return take_word(p, "ILIKE") ? DP_ILIKE : 0;
}

static bool take_is(struct reader *p, struct dp_pred *to)
{
    struct json *v;

    if (!take_literal(p, &v) ||
        (v->type != JSON_NULL && v->type != JSON_TRUE && v->type != JSON_FALSE))
        return false;
    to->op = DP_IS;
    to->value = v;
    return true;
}

/* (lit {, lit}); they share one cast, or have none. */
static bool take_in(struct reader *p, struct dp_pred *to)
{
    struct json *list = new_value(p, JSON_ARRAY, (ath_str){ "", 0 }), *v, *last = NULL;
    const struct dp_cast *cast;

    list->first = list->last = NULL;
    if (!take_sign(p, "("))
        return false;
    do {
        if (!take_literal(p, &v) || !take_cast(p, &cast) || (last && cast != to->value_cast))
            return false;
        to->value_cast = cast;
        if (last)
            last->next = v;
        else
            list->first = v;
        list->last = last = v;
        list->count++;
    } while (take_sign(p, ","));
    to->op = DP_IN;
    to->value = list;
    return take_sign(p, ")");
}

/* Nothing is equal to NULL: NOT (), which is NOT (true). */
static void never(struct dp_pred *to)
{
    *to = (struct dp_pred){ .logic = DP_NOT };
}

static bool take_comparison(struct reader *p, struct dp_pred *to)
{
    struct json *v;

    if (!(to->op = (uint8_t)take_op(p)) || !take_literal(p, &v) || !take_cast(p, &to->value_cast))
        return false;
    if ((to->op == DP_LIKE || to->op == DP_ILIKE) && v->type != JSON_STRING && v->type != JSON_NULL)
        return false;
    to->value = v;
    if (v->type == JSON_NULL)
        never(to);
    return true;
}

/* A column of the root, or of a relation: then its filter (14.3). */
static bool take_column(struct reader *p, struct dp_ref *to)
{
    struct buf b = dp_buf(p->dp);
    struct dp_node *child;
    ath_str of, name;

    if (!take_dotted(p, &of, &name))
        return false;
    if (!is_root(p, of)) {
        child = p->loose ? selected(p, of, of) : NULL;
        if (!child)
            return false;
        buf_str(&b, child->key);
        buf_char(&b, '.');
        buf_str(&b, name);
        name = buf_view(&b);
    }
    to->name = name;
    return true;
}

static bool take_condition(struct reader *p)
{
    struct dp_pred *to = dp_pred_new(p->dp, DP_TERM);
    bool fits;

    if (!to)
        return false;
    dp_where_add(p->root, to);
    if (take_word(p, "FALSE")) {
        never(to);
        return true;
    }
    if (!take_column(p, &to->ref) || !take_cast(p, &to->column_cast))
        return false;
    if (take_word(p, "IS"))
        fits = take_is(p, to);
    else if (take_word(p, "IN"))
        fits = take_in(p, to);
    else
        fits = take_comparison(p, to);
    return fits;
}

static bool take_where(struct reader *p)
{
    if (!take_word(p, "WHERE"))
        return true;
    do {
        if (!take_condition(p))
            return false;
    } while (take_word(p, "AND"));
    return true;
}

/* ---- the rest ---- */

/* An output name wins over a column there; such a one is left to SQL. */
static bool is_renamed(const struct reader *p, ath_str name)
{
    for (const struct dp_item *i = p->root->item; i; i = i->next)
        if (str_eq(i->key, name) && (i->child || !str_eq(i->ref.name, name)))
            return true;
    return false;
}

static bool take_order(struct reader *p)
{
    struct dp_order **to = &p->root->order;

    if (!take_word(p, "ORDER"))
        return true;
    if (!take_word(p, "BY"))
        return false;
    do {
        struct dp_order *o = *to = dp_new(p->dp, sizeof(*o));
        to = &o->next;
        if (!take_column(p, &o->ref) || is_renamed(p, o->ref.name))
            return false;
        o->desc = take_word(p, "DESC");
        if (!o->desc)
            take_word(p, "ASC");
    } while (take_sign(p, ","));
    return true;
}

static bool take_number(struct reader *p, const char *word, int64_t *ret)
{
    if (!take_word(p, word))
        return true;
    if (p->t.kind != SQL_NUMBER || !str_i64(p->t.text, ret))
        return false;
    advance(p);
    return true;
}

static bool take_rest(struct reader *p)
{
    if (!take_where(p) || !take_order(p) || !take_number(p, "LIMIT", &p->root->limit) ||
        !take_number(p, "OFFSET", &p->root->offset))
        return false;
    take_sign(p, ";");
    return p->t.kind == 0;
}

/* ---- the whole ---- */

static void start(struct reader *p, struct dp *dp, ath_str sql, struct dp_fetch *f)
{
    *f = (struct dp_fetch){ .root.limit = -1, .root.offset = -1, .strip_nulls = 0 };
    *p = (struct reader){ .dp = dp, .scan = { .text = sql, .line = 1 }, .root = &f->root };
    advance(p);
}

static bool plain(struct reader *p)
{
    ath_str of;

    return take_word(p, "SELECT") && quoted_items(p, &of) &&
           take_table(p, &p->root->schema, &p->root->table, &p->alias) && is_root(p, of) &&
           take_rest(p);
}

static int refused(struct dp *dp)
{
    return ath_raise(dp->e, "invalid_relation_select_compatibility_query",
                     "a projection with relations takes FROM, JOIN ... ON with an id, WHERE of "
                     "comparisons joined by AND, ORDER BY, LIMIT and OFFSET");
}

/* "p.name" where the root is called p. */
static void strip_root(const struct reader *p)
{
    ath_str name = p->alias.n ? p->alias : p->root->table;

    for (struct dp_item *i = p->root->item; i; i = i->next) {
        bool same = i->key.p == i->ref.name.p;
        if (i->child || !str_starts(i->ref.name, name.p) || str_find(i->ref.name, '.') != name.n)
            continue;
        i->ref.name = str_after(i->ref.name, name.n + 1);
        if (same)
            i->key = i->ref.name;
    }
}

int dp_read_sql(struct dp *dp, ath_str sql, struct dp_fetch *f)
{
    struct reader p;
    ath_str items;
    bool colon;

    dp->code = dp->select_code = "invalid_relation_select_compatibility_query";
    dp->table_code = "invalid_schema_table_selector";
    start(&p, dp, sql, f);
    if (plain(&p))
        return DP_SQL_FETCH;
    start(&p, dp, sql, f);
    if (!take_word(&p, "SELECT") || !projection(&p, &items, &colon) ||
        dp_read_items(dp, str_trim(items), p.root) < 0 || !has_relation(p.root))
        return DP_SQL_ELSE;
    p.loose = colon;
    if (!take_word(&p, "FROM") || !take_table(&p, &p.root->schema, &p.root->table, &p.alias) ||
        (colon && !take_joins(&p)) || !take_rest(&p))
        return colon ? refused(dp) : DP_SQL_ELSE;
    strip_root(&p);
    return colon ? DP_SQL_RELATIONS : DP_SQL_FETCH;
}
