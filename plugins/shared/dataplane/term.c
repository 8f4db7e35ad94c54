/* One predicate as SQL (contract 11.4): column, operator, typed parameter.
 *
 *     scalar      t0."qty" >= $1             $1 of the column's own type
 *     list        t0."id" = ANY($1)          $1 of its array type
 *     pattern     t0."note" LIKE $1          $1 text; the column as text unless it is some
 *     null, bool  t0."note" IS NULL          no parameter
 *     containment t0."tags" @> $1            array and json columns
 */
#include "dataplane/dataplane.h"

#include "lib/sqlname.h"

enum { OID_TEXT = 25, OID_JSON = 114, OID_JSONB = 3802, OID_INT4 = 23 };

struct side { /* what is compared: a column after path and cast */
    uint32_t type;
    bool array, json, range, text;
};

static const char *const comparison[] = {
    [DP_EQ] = " = ",        [DP_NEQ] = " <> ",       [DP_GT] = " > ",      [DP_GTE] = " >= ",
    [DP_LT] = " < ",        [DP_LTE] = " <= ",       [DP_LIKE] = " LIKE ", [DP_ILIKE] = " ILIKE ",
    [DP_CONTAINS] = " @> ", [DP_CONTAINED] = " <@ ",
};

static const char *op_word(const struct dp_pred *p)
{
    static const char *const word[] = { "",   "eq",       "neq",        "gt",    "gte",
                                        "lt", "lte",      "like",       "ilike", "is",
                                        "in", "contains", "containedBy" };

    return word[p->op];
}

bool dp_param(struct dp *dp, struct dp_sql *sql, ath_str value, uint32_t type)
{
    if (sql->count == DP_PARAMS) {
        dp_refuse(dp, "more than %d values in one statement", DP_PARAMS);
        return false;
    }
    if (!sql->cap) {
        sql->cap = DP_FEW;
        sql->param = sql->few_param;
        sql->type = sql->few_type;
    }
    if (sql->count == sql->cap) {
        uint32_t cap = sql->cap * 2;
        ath_str *param = dp_new(dp, cap * sizeof(*param));
        uint32_t *t = dp_new(dp, cap * sizeof(*t));
        memcpy(param, sql->param, sql->count * sizeof(*param));
        memcpy(t, sql->type, sql->count * sizeof(*t));
        sql->param = param;
        sql->type = t;
        sql->cap = cap;
    }
    sql->param[sql->count] = value;
    sql->type[sql->count++] = type;
    buf_char(&sql->text, '$');
    buf_u64(&sql->text, sql->count);
    return true;
}

int dp_ref_sql(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
               const struct dp_ref *ref)
{
    if (ref->path)
        buf_char(&sql->text, '(');
    buf_mem(&sql->text, node->alias, node->alias_n);
    buf_ident(&sql->text, ref->column->name);
    for (const struct dp_step *s = ref->path; s; s = s->next) {
        buf_z(&sql->text, s->text ? "->>" : "->");
        if (!dp_param(dp, sql, s->key, s->index ? OID_INT4 : OID_TEXT))
            return ATH_E_INPUT;
    }
    if (ref->path)
        buf_char(&sql->text, ')');
    return 0;
}

static bool is_text(uint32_t type)
{
    return type == OID_TEXT || type == 1043 || type == 1042 || type == 19;
}

static struct side side_of(const struct dp_pred *p)
{
    const ath_attribute *a = p->ref.column;
    const struct dp_step *last = p->ref.path;
    struct side s = { .type = a->base_type,
                      .array = a->element != 0,
                      .range = a->kind == 'r' || a->kind == 'm' || a->category == 'R' };

    if (last) {
        while (last->next)
            last = last->next;
        s = (struct side){ .type = last->text ? OID_TEXT : OID_JSONB };
    }
    if (p->column_cast)
        s = (struct side){ .type = p->column_cast->type,
                           .array = typed_of(p->column_cast->type).array };
    s.json = s.type == OID_JSON || s.type == OID_JSONB;
    s.text = is_text(s.type) || (a->category == 'S' && !last && !p->column_cast);
    return s;
}

/* The left side. json has no operators of its own: it is compared as jsonb. */
static int left(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
                const struct dp_pred *p, const struct side *s)
{
    int rc = dp_ref_sql(dp, sql, node, &p->ref);

    if (p->column_cast) {
        buf_lit(&sql->text, "::");
        buf_z(&sql->text, p->column_cast->name);
    }
    if (s->json)
        buf_lit(&sql->text, "::jsonb");
    else if ((p->op == DP_LIKE || p->op == DP_ILIKE) && !s->text)
        buf_lit(&sql->text, "::text");
    return rc;
}

static int scalar(struct dp *dp, struct dp_sql *sql, const struct dp_pred *p, const struct side *s,
                  const struct json *v)
{
    uint32_t type = p->value_cast ? p->value_cast->type : s->json ? OID_JSONB : s->type;
    bool array = p->value_cast ? typed_of(type).array : s->array;
    ath_str text;
    int rc = dp_value(dp, v, type, array, &text);

    if (rc < 0)
        return rc;
    return dp_param(dp, sql, text, type) ? 0 : ATH_E_INPUT;
}

static int wrong_value(struct dp *dp, const struct dp_pred *p, const char *wants)
{
    return dp_refuse(dp, "operator \"%s\" on column \"%.*s\" needs %s", op_word(p),
                     STR_ARG(p->ref.name), wants);
}

static int is_sql(struct dp *dp, struct dp_sql *sql, const struct dp_pred *p)
{
    static const struct {
        const char *word, *sql;
    } words[] = { { "null", " IS NULL" },
                  { "true", " IS TRUE" },
                  { "false", " IS FALSE" },
                  { "not_null", " IS NOT NULL" } };
    ath_str word = p->value->type == JSON_STRING ? p->value->text : p->value->raw;

    for (size_t i = 0; i < ATH_COUNT(words); i++) {
        if (str_ieq(word, str_of(words[i].word))) {
            buf_z(&sql->text, words[i].sql);
            return 0;
        }
    }
    return wrong_value(dp, p, "null, true, false or not_null");
}

/* Arrays have no array type over them: one comparison each. */
static int any_of_arrays(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
                         const struct dp_pred *p, const struct side *s)
{
    uint32_t n = 0;
    int rc;

    buf_lit(&sql->text, "(false");
    json_each(v, p->value)
    {
        if (v->type == JSON_NULL)
            continue;
        if (++n > DP_TEXT_TERMS)
            return wrong_value(dp, p, "fewer arrays");
        buf_lit(&sql->text, " OR ");
        if ((rc = left(dp, sql, node, p, s)) < 0)
            return rc;
        buf_lit(&sql->text, " = ");
        if ((rc = scalar(dp, sql, p, s, v)) < 0)
            return rc;
    }
    buf_char(&sql->text, ')');
    return 0;
}

static int in_sql(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
                  const struct dp_pred *p, const struct side *s)
{
    uint32_t type = p->value_cast ? p->value_cast->type : s->json ? OID_JSONB : s->type;
    uint32_t over = typed_array(type), items = 0;
    ath_str text, name;
    int rc;

    if (p->value->type != JSON_ARRAY)
        return wrong_value(dp, p, "an array");
    if (s->array)
        return any_of_arrays(dp, sql, node, p, s);
    json_each(v, p->value)
    {
        items += v->type != JSON_NULL;
        if (v->type == JSON_ARRAY && !s->json)
            return wrong_value(dp, p, "a list of single values");
    }
    if (!items) { /* also for types that have no "=" */
        buf_lit(&sql->text, "false");
        return 0;
    }
    if ((rc = dp_array_text(dp, p->value, over, &text)) < 0 || (rc = left(dp, sql, node, p, s)) < 0)
        return rc;
    buf_lit(&sql->text, " = ANY(");
    if (!dp_param(dp, sql, text, over))
        return ATH_E_INPUT;
    if (!over) { /* an enum or a type of an extension: the cast says what the parameter is */
        name = dp->catalog->type_name(dp->snapshot, type);
        if (!name.n)
            return wrong_value(dp, p, "a column of a type that can be listed");
        buf_lit(&sql->text, "::");
        buf_str(&sql->text, name);
        buf_lit(&sql->text, "[]");
    }
    buf_char(&sql->text, ')');
    return 0;
}

static int contain_sql(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
                       const struct dp_pred *p, const struct side *s)
{
    struct json list = { .type = JSON_ARRAY, .first = p->value }, one = *p->value;
    const struct json *v = p->value;
    int rc;

    if (!s->array && !s->json && !s->range)
        return wrong_value(dp, p, "an array, json or range column");
    if (v->type == JSON_NULL)
        return wrong_value(dp, p, "a value");
    dp->fixed = true;
    if (s->array && v->type != JSON_ARRAY &&
        !(v->type == JSON_STRING && str_starts(v->text, "{"))) {
        one.next = NULL; /* one element: an array of it */
        list.first = &one;
        v = &list;
    }
    if ((rc = left(dp, sql, node, p, s)) < 0)
        return rc;
    buf_z(&sql->text, comparison[p->op]);
    return scalar(dp, sql, p, s, v);
}

/* In a REST pattern '*' stands for '%', which has a meaning of its own in URLs. */
static const struct json *pattern(const struct dp *dp, const struct dp_pred *p)
{
    struct json *v;
    ath_str text;

    if (!p->wild)
        return p->value;
    v = dp_new(dp, sizeof(*v));
    *v = *p->value;
    text = dp_copy(dp, v->text);
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '*')
            ((char *)(uintptr_t)text.p)[i] = '%';
    v->text = text;
    return v;
}

static int like_sql(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
                    const struct dp_pred *p, const struct side *s)
{
    struct side text = { .type = OID_TEXT, .text = true };
    int rc;

    if (p->value->type != JSON_STRING && p->value->type != JSON_NUMBER)
        return wrong_value(dp, p, "a text");
    if ((rc = left(dp, sql, node, p, s)) < 0)
        return rc;
    buf_z(&sql->text, comparison[p->op]);
    return scalar(dp, sql, p, &text, pattern(dp, p));
}

static int compare_sql(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
                       const struct dp_pred *p, const struct side *s)
{
    bool equal = p->op == DP_EQ || p->op == DP_NEQ;
    int rc;

    if (p->value->type == JSON_NULL && !equal)
        return wrong_value(dp, p, "a value");
    if (p->value->type == JSON_ARRAY && !s->array && !s->json) {
        if (p->op != DP_EQ)
            return wrong_value(dp, p, "one value");
        return in_sql(dp, sql, node, p, s);
    }
    if (p->value->type == JSON_OBJECT && !s->json && !s->text)
        return wrong_value(dp, p, "a value of the column's type");
    if ((rc = left(dp, sql, node, p, s)) < 0)
        return rc;
    if (p->value->type == JSON_NULL) {
        buf_z(&sql->text, p->op == DP_EQ ? " IS NULL" : " IS NOT NULL");
        return 0;
    }
    buf_z(&sql->text, comparison[p->op]);
    return scalar(dp, sql, p, s, p->value);
}

/* Contract 11.6: on an integer column of this name, what is wrong has words of its own. */
static int room_id(struct dp *dp, const struct dp_pred *p, const struct side *s)
{
    const struct json *v = p->value;
    ath_str text;
    const char *why = NULL;
    int64_t i;

    dp->fixed = true;
    if (p->op != DP_EQ || v->type == JSON_NULL || (s->type != 23 && s->type != 20 && s->type != 21))
        return 0;
    text = v->type == JSON_STRING ? str_trim(v->text) : v->raw;
    if (v->type == JSON_STRING && !text.n)
        why = "room_id must not be empty";
    else if (v->type == JSON_STRING && str_is(text, "*"))
        why = "room_id wildcard '*' is not allowed";
    else if (v->type == JSON_NUMBER && !json_i64(v, &i))
        why = "room_id must be an integer";
    else if (v->type == JSON_STRING ? !str_i64(text, &i)
                                    : v->type != JSON_NUMBER && v->type != JSON_ARRAY)
        why = "room_id must be numeric";
    return why ? dp_refuse(dp, "%s", why) : 0;
}

int dp_term_sql(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
                const struct dp_pred *p)
{
    struct side s = side_of(p);
    int rc;

    if (str_is(p->ref.name, "room_id") || str_is(p->ref.name, "roomId"))
        if ((rc = room_id(dp, p, &s)) < 0)
            return rc;
    switch (p->op) {
    case DP_IS:
        s.json = false;
        rc = left(dp, sql, node, p, &s);
        return rc < 0 ? rc : is_sql(dp, sql, p);
    case DP_IN:
        return in_sql(dp, sql, node, p, &s);
    case DP_CONTAINS:
    case DP_CONTAINED:
        return contain_sql(dp, sql, node, p, &s);
    case DP_LIKE:
    case DP_ILIKE:
        s.json = false;
        return like_sql(dp, sql, node, p, &s);
    default:
        return compare_sql(dp, sql, node, p, &s);
    }
}
