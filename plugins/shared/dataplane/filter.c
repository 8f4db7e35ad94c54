/* Filters as JSON: flat conditions and the structured where, into one tree of predicates.
 *
 * Both end in dp_pred; what differs is only how a column, an operator and a value are written. The
 * boolean texts that both may hold are read in logic.c.
 */
#include "dataplane/dataplane.h"

struct entry { /* of a list of conditions */
    const struct json *op, *column, *value, *column_cast, *value_cast;
};

static const struct {
    const char *word;
    uint8_t op;
} ops[] = {
    { "eq", DP_EQ },
    { "in", DP_IN },
    { "neq", DP_NEQ },
    { "ne", DP_NEQ },
    { "gt", DP_GT },
    { "gte", DP_GTE },
    { "lt", DP_LT },
    { "lte", DP_LTE },
    { "like", DP_LIKE },
    { "ilike", DP_ILIKE },
    { "i_like", DP_ILIKE },
    { "is", DP_IS },
    { "contains", DP_CONTAINS },
    { "cs", DP_CONTAINS },
    { "array_contains", DP_CONTAINS },
    { "containedBy", DP_CONTAINED },
    { "contained", DP_CONTAINED },
    { "contained_by", DP_CONTAINED },
    { "cd", DP_CONTAINED },
    { "array_contained", DP_CONTAINED },
};

enum dp_op dp_op_find(ath_str word)
{
    for (size_t i = 0; i < ATH_COUNT(ops); i++)
        if (str_is(word, ops[i].word))
            return ops[i].op;
    return 0;
}

struct dp_pred *dp_pred_new(struct dp *dp, enum dp_logic logic)
{
    struct dp_pred *p;

    if (++dp->terms > DP_TERMS) {
        dp_refuse(dp, "more than %d filter terms", DP_TERMS);
        return NULL;
    }
    p = dp_new(dp, sizeof(*p));
    p->logic = (uint8_t)logic;
    return p;
}

void dp_pred_add(struct dp_pred *to, struct dp_pred *p)
{
    if (to->last)
        to->last->next = p;
    else
        to->first = p;
    to->last = p;
}

void dp_where_add(struct dp_node *to, struct dp_pred *p)
{
    if (to->where_last)
        to->where_last->next = p;
    else
        to->where = p;
    to->where_last = p;
}

/* A name in double quotes, with quotes inside of it twice: what it says, and where it ends. 0: the
 * text does not begin with one. */
static size_t quoted_name(const struct dp *dp, ath_str text, ath_str *ret)
{
    struct buf b = dp_buf(dp);
    size_t i = 1;

    for (; i < text.n && (text.p[i] != '"' || (i + 1 < text.n && text.p[i + 1] == '"')); i++) {
        buf_char(&b, text.p[i]);
        i += text.p[i] == '"';
    }
    if (i >= text.n)
        return 0;
    *ret = buf_view(&b);
    return i + 1;
}

int dp_read_ref(struct dp *dp, ath_str text, struct dp_ref *ret)
{
    struct dp_step **to = &ret->path;
    size_t arrow = 0, end = 0;

    *ret = (struct dp_ref){ .name = text };
    if (text.n && text.p[0] == '"' && (end = quoted_name(dp, text, &ret->name)) == text.n)
        return 0;
    arrow = end;
    while (arrow + 1 < text.n && !(text.p[arrow + 1] == '>' && text.p[arrow] == '-'))
        arrow++;
    if (arrow + 1 >= text.n || (end && arrow != end)) {
        ret->name = text;
        return 0;
    }
    if (!end)
        ret->name = str_trim(str_from(text.p, arrow));
    for (ath_str rest = str_after(text, arrow); rest.n;) {
        struct dp_step *s = dp_new(dp, sizeof(*s));
        size_t n = 0;
        int64_t i;
        rest = str_after(rest, 2);
        if ((s->text = rest.n && rest.p[0] == '>'))
            rest = str_after(rest, 1);
        while (n < rest.n && !(rest.p[n] == '-' && n + 1 < rest.n && rest.p[n + 1] == '>'))
            n++;
        s->key = str_trim(str_from(rest.p, n));
        s->index = str_i64(s->key, &i);
        rest = str_after(rest, n);
        if (!s->key.n || (s->text && rest.n))
            return dp_refuse(dp, "cannot read the path \"%.*s\"", STR_ARG(text));
        *to = s;
        to = &s->next;
    }
    return 0;
}

/* One of two spellings of a key; both may come when they say the same. */
static int once(struct dp *dp, const struct json **slot, const struct json *v)
{
    if (*slot && !str_eq((*slot)->raw, v->raw))
        return dp_refuse(dp, "condition says \"%.*s\" twice, and differently", STR_ARG(v->key));
    dp->fixed = dp->fixed || *slot; /* the two were compared */
    *slot = v;
    return 0;
}

static int entry_read(struct dp *dp, const struct json *from, struct entry *x)
{
    static const struct {
        const char *key;
        size_t slot;
    } keys[] = {
        { "eq_column", offsetof(struct entry, column) },
        { "eq_value", offsetof(struct entry, value) },
        { "column", offsetof(struct entry, column) },
        { "value", offsetof(struct entry, value) },
        { "operator", offsetof(struct entry, op) },
        { "values", offsetof(struct entry, value) },
        { "column_cast", offsetof(struct entry, column_cast) },
        { "value_cast", offsetof(struct entry, value_cast) },
        { "eq_column_cast", offsetof(struct entry, column_cast) },
        { "eq_value_cast", offsetof(struct entry, value_cast) },
        { "columnCast", offsetof(struct entry, column_cast) },
        { "valueCast", offsetof(struct entry, value_cast) },
    };

    json_each(v, from)
    {
        size_t i = 0;
        while (i < ATH_COUNT(keys) && !str_is(v->key, keys[i].key))
            i++;
        if (i == ATH_COUNT(keys))
            return dp_refuse(dp, "unknown key \"%.*s\" in a condition", STR_ARG(v->key));
        if (v->type == JSON_NULL && keys[i].slot != offsetof(struct entry, value))
            continue;
        if (once(dp, (const struct json **)((char *)x + keys[i].slot), v) < 0)
            return ATH_E_INPUT;
    }
    return 0;
}

static int cast_read(struct dp *dp, const struct json *v, const struct dp_cast **ret)
{
    if (!v)
        return 0;
    *ret = dp_cast_find(json_text(v));
    if (!*ret)
        return dp_refuse(dp, "unknown cast %.*s", STR_ARG(v->raw));
    return 0;
}

/* "or" and "not" of flat conditions: their value is a boolean text. */
static int entry_logic(struct dp *dp, const struct entry *x, enum dp_logic logic,
                       struct dp_pred **ret)
{
    if (x->column)
        return dp_refuse(dp, "operator \"%.*s\" takes no column", STR_ARG(x->op->text));
    if (!x->value || x->value->type != JSON_STRING)
        return dp_refuse(dp, "operator \"%.*s\" needs a text of terms", STR_ARG(x->op->text));
    return dp_read_logic(dp, x->value->text, logic, ret);
}

static int entry_term(struct dp *dp, const struct entry *x, struct dp_pred **ret)
{
    ath_str op = x->op ? json_text(x->op) : ATH_S("eq");
    struct dp_pred *p;
    int rc;

    if (str_is(op, "or") || str_is(op, "not") || str_is(op, "and"))
        return entry_logic(dp, x, op.p[0] == 'o' ? DP_OR : op.p[0] == 'n' ? DP_NOT : DP_AND, ret);
    if (!x->column || x->column->type != JSON_STRING || !x->column->text.n)
        return dp_refuse(dp, "a condition needs a column");
    if (!x->value)
        return dp_refuse(dp, "the condition on \"%.*s\" needs a value", STR_ARG(x->column->text));
    if (!(p = dp_pred_new(dp, DP_TERM)))
        return ATH_E_INPUT;
    p->value = x->value;
    p->op = (uint8_t)dp_op_find(op);
    if (!p->op)
        return dp_refuse(dp, "unknown operator \"%.*s\" for column \"%.*s\"",
                         STR_ARG(x->op->type == JSON_STRING ? op : x->op->raw),
                         STR_ARG(x->column->text));
    if ((rc = dp_read_ref(dp, x->column->text, &p->ref)) < 0 ||
        (rc = cast_read(dp, x->column_cast, &p->column_cast)) < 0 ||
        (rc = cast_read(dp, x->value_cast, &p->value_cast)) < 0)
        return rc;
    *ret = p;
    return 0;
}

int dp_read_conditions(struct dp *dp, const struct json *list, struct dp_node *node)
{
    if (list->type != JSON_ARRAY)
        return dp_refuse(dp, "conditions must be an array");
    json_each(v, list)
    {
        struct entry x = { 0 };
        struct dp_pred *p;
        int rc;
        if (v->type != JSON_OBJECT)
            return dp_refuse(dp, "a condition must be an object, not %.*s", STR_ARG(v->raw));
        if ((rc = entry_read(dp, v, &x)) < 0 || (rc = entry_term(dp, &x, &p)) < 0)
            return rc;
        dp_where_add(node, p);
    }
    return 0;
}

/* ---- the structured where ---- */

static int where_object(struct dp *dp, const struct json *o, struct dp_pred *to, uint32_t depth);

static int where_op(struct dp *dp, ath_str column, const struct json *v, struct dp_pred *to)
{
    struct dp_pred *p = dp_pred_new(dp, DP_TERM);
    ath_str op = v->key;

    if (!p)
        return ATH_E_INPUT;
    p->op = (uint8_t)dp_op_find(op);
    if (!p->op)
        return dp_refuse(dp, "unsupported where operator '%.*s' for column '%.*s'", STR_ARG(op),
                         STR_ARG(column));
    p->value = v;
    dp_pred_add(to, p);
    return dp_read_ref(dp, column, &p->ref);
}

/* {op: value, ...}, ANDed; "not" turns a whole one around. */
static int where_ops(struct dp *dp, ath_str column, const struct json *o, struct dp_pred *to,
                     uint32_t depth)
{
    if (!o->count)
        return dp_refuse(dp, "the where filter of column '%.*s' is empty", STR_ARG(column));
    if (depth > DP_LOGIC_DEPTH)
        return dp_refuse(dp, "filters are nested more than %d levels", DP_LOGIC_DEPTH);
    json_each(v, o)
    {
        struct dp_pred * not ;
        int rc;
        if (!str_is(v->key, "not") || v->type != JSON_OBJECT) {
            if ((rc = where_op(dp, column, v, to)) < 0)
                return rc;
            continue;
        }
        if (!(not = dp_pred_new(dp, DP_NOT)))
            return ATH_E_INPUT;
        dp_pred_add(to, not );
        if ((rc = where_ops(dp, column, v, not, depth + 1)) < 0)
            return rc;
    }
    return 0;
}

static int where_column(struct dp *dp, const struct json *v, struct dp_pred *to, uint32_t depth)
{
    struct dp_pred *p;

    if (v->type == JSON_OBJECT)
        return where_ops(dp, v->key, v, to, depth);
    if (!(p = dp_pred_new(dp, DP_TERM)))
        return ATH_E_INPUT;
    p->op = v->type == JSON_ARRAY ? DP_IN : DP_EQ;
    p->value = v;
    dp_pred_add(to, p);
    return dp_read_ref(dp, v->key, &p->ref);
}

/* One of a list: a condition by its keys, or an object of columns. */
static int where_element(struct dp *dp, const struct json *v, struct dp_pred *to, uint32_t depth)
{
    struct entry x = { 0 };
    struct dp_pred *p;
    int rc;

    if (v->type == JSON_STRING) {
        if ((rc = dp_read_logic(dp, v->text, DP_AND, &p)) == 0)
            dp_pred_add(to, p);
        return rc;
    }
    if (v->type != JSON_OBJECT)
        return dp_refuse(dp, "a where filter must be an object, not %.*s", STR_ARG(v->raw));
    if (!v->count) /* it would hold for every row */
        return dp_refuse(dp, "a where filter is empty");
    if (json_text(json_get(v, "column")).n || json_text(json_get(v, "eq_column")).n ||
        json_text(json_get(v, "operator")).n) {
        if ((rc = entry_read(dp, v, &x)) < 0 || (rc = entry_term(dp, &x, &p)) < 0)
            return rc;
        dp_pred_add(to, p);
        return 0;
    }
    if (!(p = dp_pred_new(dp, DP_AND)))
        return ATH_E_INPUT;
    dp_pred_add(to, p);
    return where_object(dp, v, p, depth);
}

static int where_logic(struct dp *dp, const struct json *v, enum dp_logic logic, struct dp_pred *to,
                       uint32_t depth)
{
    struct dp_pred *p;
    int rc = 0;

    if (v->type == JSON_STRING) {
        if ((rc = dp_read_logic(dp, v->text, logic, &p)) == 0)
            dp_pred_add(to, p);
        return rc;
    }
    if (!(p = dp_pred_new(dp, logic)))
        return ATH_E_INPUT;
    dp_pred_add(to, p);
    if (v->type == JSON_ARRAY) {
        json_each(w, v) if ((rc = where_element(dp, w, p, depth + 1)) < 0) return rc;
    } else if (v->type == JSON_OBJECT && logic != DP_OR) {
        rc = where_element(dp, v, p, depth + 1);
    }
    if (rc == 0 && !p->first)
        return dp_refuse(dp, "'%.*s' needs a list of filters, not %.*s", STR_ARG(v->key),
                         STR_ARG(v->raw));
    return rc;
}

static int where_object(struct dp *dp, const struct json *o, struct dp_pred *to, uint32_t depth)
{
    if (depth > DP_LOGIC_DEPTH)
        return dp_refuse(dp, "filters are nested more than %d levels", DP_LOGIC_DEPTH);
    json_each(v, o)
    {
        enum dp_logic logic = str_is(v->key, "or")    ? DP_OR
                              : str_is(v->key, "and") ? DP_AND
                              : str_is(v->key, "not") ? DP_NOT
                                                      : 0;
        int rc = logic ? where_logic(dp, v, logic, to, depth) : where_column(dp, v, to, depth);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int dp_read_where(struct dp *dp, const struct json *where, struct dp_node *node)
{
    struct dp_pred all = { .logic = DP_AND };
    int rc = 0;

    if (where->type == JSON_OBJECT) {
        rc = where_object(dp, where, &all, 1);
    } else if (where->type == JSON_ARRAY) {
        json_each(v, where) if ((rc = where_element(dp, v, &all, 1)) < 0) break;
    } else {
        rc = dp_refuse(dp, "where must be an object or an array");
    }
    for (struct dp_pred *p = all.first, *next; p && rc == 0; p = next) {
        next = p->next;
        p->next = NULL;
        dp_where_add(node, p);
    }
    return rc;
}
