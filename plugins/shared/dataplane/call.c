/* Which signature a call means, and its statement. See call.h. */
#include "dataplane/call.h"

#include "lib/json.h"
#include "lib/sqlname.h"

enum {
    OID_JSON = 114,
    OID_JSONB = 3802,
    OID_RECORD = 2249,
    OID_TRIGGER = 2279,
    OID_EVENT_TRIGGER = 3838,
    SHOWN = 8
};

static const ath_argument *argument_at(const ath_function *f, uint32_t i)
{
    return (const void *)((const char *)f->argument + (size_t)i * f->argument_size);
}

static bool takes(const ath_argument *a)
{
    return a->mode != 'o' && a->mode != 't';
}

/* ---- refusals ---- */

/* public.add(a integer, b integer = ..., VARIADIC c text[]) */
static void put_signature(struct buf *b, const ath_function *f)
{
    bool any = false;

    buf_printf(b, "%.*s.%.*s(", STR_ARG(f->schema), STR_ARG(f->name));
    for (uint32_t i = 0; i < f->argument_count; i++) {
        const ath_argument *a = argument_at(f, i);
        if (!takes(a))
            continue;
        buf_z(b, any ? ", " : "");
        buf_z(b, a->mode == 'v' ? "VARIADIC " : "");
        if (a->as.name.n)
            buf_printf(b, "%.*s ", STR_ARG(a->as.name));
        buf_str(b, a->as.type_name);
        buf_z(b, a->as.flags & ATH_COL_DEFAULT ? " = ..." : "");
        any = true;
    }
    buf_char(b, ')');
}

static void put_asked(struct buf *b, const struct dp_call *c)
{
    buf_printf(b, "function %.*s.%.*s(", STR_ARG(c->schema), STR_ARG(c->name));
    for (const struct json *v = c->args ? c->args->first : NULL; v; v = v->next)
        buf_printf(b, "%s%.*s", v == c->args->first ? "" : ", ", STR_ARG(v->key));
    buf_char(b, ')');
}

static void detail(struct dp *dp, const char *key, ath_str text)
{
    struct buf b = dp_buf(dp);

    buf_json(&b, text);
    ath_host_->err->detail(dp->e, key, buf_view(&b));
}

/* The signatures of the list, in the words and in the details. */
static int refuse_call(struct dp *dp, const struct dp_call *c, const char *code, const char *what,
                       const ath_function *const *list, uint32_t n)
{
    struct buf words = dp_buf(dp), array = dp_buf(dp);
    int rc;

    put_asked(&words, c);
    buf_z(&words, what);
    buf_char(&array, '[');
    for (uint32_t i = 0; i < n && i < SHOWN; i++) {
        struct buf one = dp_buf(dp);
        put_signature(&one, list[i]);
        buf_z(&words, i ? ", " : ": ");
        buf_str(&words, buf_view(&one));
        buf_z(&array, i ? "," : "");
        buf_json(&array, buf_view(&one));
    }
    buf_char(&array, ']');
    rc = ath_raise(dp->e, code, "%.*s%s", STR_ARG(buf_view(&words)), n > SHOWN ? ", ..." : "");
    detail(dp, "category", ATH_S("validation"));
    detail(dp, "sql_state",
           str_is(str_of(code), "ambiguous_function") ? ATH_S("42725") : ATH_S("42883"));
    if (n)
        ath_host_->err->detail(dp->e, "candidates", buf_view(&array));
    return rc;
}

/* ---- which one ---- */

struct match {
    uint32_t defaults; /* that are used */
    unsigned fit;      /* of the values' kinds; compared when the defaults are as many */
};

static bool matches(const struct dp_call *c, const ath_function *f, struct match *ret)
{
    uint32_t given = 0;

    *ret = (struct match){ 0 };
    for (const struct json *v = c->args ? c->args->first : NULL; v; v = v->next) {
        const ath_argument *a = dp_argument_named(f, v->key);
        if (!a)
            return false;
        ret->fit += dp_argument_fit(c, a, v);
    }
    for (uint32_t i = 0; i < f->argument_count; i++) {
        const ath_argument *a = argument_at(f, i);
        bool has = false;
        if (!takes(a))
            continue;
        for (const struct json *v = c->args ? c->args->first : NULL; v && !has; v = v->next)
            has = str_eq(v->key, a->as.name);
        if (!has && !(a->as.flags & ATH_COL_DEFAULT))
            return false;
        given += has;
        ret->defaults += !has;
    }
    return given == (c->args ? c->args->count : 0);
}

static bool better(const struct match *a, const struct match *b)
{
    return a->defaults != b->defaults ? a->defaults < b->defaults : a->fit > b->fit;
}

static int refuse_kind(struct dp *dp, const ath_function *f)
{
    const char *what = f->kind == 'p'   ? "a procedure"
                       : f->kind == 'a' ? "an aggregate"
                       : f->kind == 'w' ? "a window function"
                                        : "a trigger function";

    return dp_refuse(dp, "\"%.*s.%.*s\" is %s; only functions can be called", STR_ARG(f->schema),
                     STR_ARG(f->name), what);
}

static bool callable(const ath_function *f)
{
    return f->kind == 'f' && f->result.type != OID_TRIGGER && f->result.type != OID_EVENT_TRIGGER;
}

/* Overloads by the names of the arguments, then by the fewest defaults, then by the kinds of the
 * values; two that are as good as each other are ambiguous. */
static int choose(struct dp *dp, struct dp_call *c)
{
    const ath_function *best[SHOWN + 1], *seen[SHOWN + 1], *f, *other = NULL;
    struct match top = { 0 }, m;
    uint32_t good = 0, known = 0;

    for (uint32_t i = 0; (f = dp->catalog->function(dp->snapshot, c->schema, c->name, i)); i++) {
        if (!callable(f)) {
            other = f;
            continue;
        }
        seen[known <= SHOWN ? known : SHOWN] = f;
        known++;
        if (!matches(c, f, &m) || (good && better(&top, &m)))
            continue;
        if (good == 0 || better(&m, &top))
            good = 0;
        top = m;
        best[good <= SHOWN ? good : SHOWN] = f;
        good++;
    }
    if (good == 1) {
        c->function = best[0];
        return 0;
    }
    dp->unknown = good == 0;
    if (good)
        return refuse_call(dp, c, "ambiguous_function", " is not unique", best, good);
    if (other && !known)
        return refuse_kind(dp, other);
    return refuse_call(dp, c, "undefined_function",
                       known ? " does not exist; there is" : " does not exist", seen, known);
}

/* ---- what it gives ---- */

/* A relation that nothing stores: the columns of the result. */
static const ath_relation *result_relation(struct dp *dp, const struct dp_call *c,
                                           const ath_attribute *column, uint32_t n)
{
    ath_relation *r = dp_new(dp, sizeof(*r));

    *r = (ath_relation){ .size = sizeof(*r),
                         .schema = c->function->schema,
                         .name = c->function->name,
                         .column = column,
                         .column_size = c->function->column_size,
                         .column_count = n,
                         .key_size = sizeof(ath_key) };
    return r;
}

/* A row whose columns are not known (of a type of the system) is taken as JSON. */
static int result_of(struct dp *dp, struct dp_call *c)
{
    const ath_function *f = c->function;
    ath_attribute *value;

    if (f->column_count) {
        c->f.root.relation = dp->catalog->row_type(dp->snapshot, f->result.base_type);
        if (!c->f.root.relation)
            c->f.root.relation = result_relation(dp, c, f->column, f->column_count);
        return 0;
    }
    if (f->result.type == OID_RECORD)
        return dp_refuse(dp, "\"%.*s.%.*s\" returns records without named columns",
                         STR_ARG(f->schema), STR_ARG(f->name));
    value = dp_new(dp, sizeof(*value));
    *value = f->result;
    if (value->kind == 'c')
        *value = (ath_attribute){ .size = sizeof(*value),
                                  .name = f->name,
                                  .type = OID_JSON,
                                  .base_type = OID_JSON,
                                  .kind = 'b',
                                  .category = 'U',
                                  .number = 1 };
    c->scalar = true;
    c->f.root.relation = result_relation(dp, c, value, 1);
    return 0;
}

/* ---- keys of a JSON value as its columns ---- */

static bool is_key(const struct dp_call *c, const struct dp_ref *ref)
{
    const ath_attribute *value = dp_column_at(c->f.root.relation, 0);

    return c->scalar && (value->base_type == OID_JSON || value->base_type == OID_JSONB) &&
           !str_eq(ref->name, value->name);
}

static void key_to_path(struct dp *dp, const struct dp_call *c, struct dp_ref *ref, bool text)
{
    struct dp_step *s = dp_new(dp, sizeof(*s));

    *s = (struct dp_step){ .next = ref->path, .key = ref->name, .text = text && !ref->path };
    ref->path = s;
    ref->name = dp_column_at(c->f.root.relation, 0)->name;
}

/* JSON's null is no SQL null, and its texts have quotes: where these matter its text is compared.
 */
static void key_pred(struct dp *dp, const struct dp_call *c, struct dp_pred *p)
{
    static const struct json yes = { .type = JSON_TRUE,
                                     .raw = { "true", 4 },
                                     .text = { "true", 4 } };
    static const struct json no = { .type = JSON_FALSE,
                                    .raw = { "false", 5 },
                                    .text = { "false", 5 } };
    ath_str word;
    bool text;

    for (struct dp_pred *q = p->first; q; q = q->next)
        key_pred(dp, c, q);
    if (p->logic != DP_TERM || !is_key(c, &p->ref))
        return;
    word = p->value->type == JSON_STRING ? p->value->text : p->value->raw;
    text = p->op == DP_LIKE || p->op == DP_ILIKE || p->op == DP_IS || p->value->type == JSON_NULL;
    if (p->op == DP_IS && (str_ieq(word, ATH_S("true")) || str_ieq(word, ATH_S("false")))) {
        p->op = DP_EQ;
        p->value = str_ieq(word, ATH_S("true")) ? &yes : &no;
        text = false;
    }
    key_to_path(dp, c, &p->ref, text);
}

static void keys_to_paths(struct dp *dp, struct dp_call *c)
{
    struct dp_node *root = &c->f.root;

    for (struct dp_item *i = root->item; i; i = i->next)
        if (!i->star && !i->child && is_key(c, &i->ref))
            key_to_path(dp, c, &i->ref, false);
    for (struct dp_pred *p = root->where; p; p = p->next)
        key_pred(dp, c, p);
    for (struct dp_order *o = root->order; o; o = o->next) {
        if (!is_key(c, &o->ref))
            continue;
        key_to_path(dp, c, &o->ref, false);
        o->jsonb = true;
    }
}

/* Values stay bare unless the selection gives them another form. */
static bool is_bare(const struct dp_call *c)
{
    const struct dp_item *i = c->f.root.item;

    if (!c->scalar || i->next)
        return false;
    return i->star || (!i->child && !i->ref.path && str_eq(i->key, c->function->name));
}

int dp_bind_call(struct dp *dp, struct dp_call *c)
{
    int rc;

    if ((rc = choose(dp, c)) < 0 || (rc = result_of(dp, c)) < 0)
        return rc;
    c->bare = is_bare(c);
    keys_to_paths(dp, c);
    return dp_bind(dp, &c->f.root);
}

uint32_t dp_call_rights(struct dp *dp, const struct dp_call *c, const ath_right **ret)
{
    return dp_rights_below(dp, &c->f.root, "read", ret); /* to call it covers its result */
}

/* ---- the statement ---- */

static int arguments_sql(struct dp *dp, struct dp_sql *sql, const struct dp_call *c)
{
    bool any = false;

    for (uint32_t i = 0; i < c->function->argument_count; i++) {
        const ath_argument *a = argument_at(c->function, i);
        const struct json *v = c->args ? c->args->first : NULL;
        struct dp_given given;
        int rc;
        while (v && !str_eq(v->key, a->as.name))
            v = v->next;
        if (!v || !takes(a))
            continue;
        if ((rc = dp_argument(dp, c, a, v, &given)) < 0)
            return rc;
        buf_z(&sql->text, any ? ", " : "");
        buf_z(&sql->text, a->mode == 'v' ? "VARIADIC " : "");
        buf_ident(&sql->text, a->as.name);
        buf_lit(&sql->text, " => ");
        if (!dp_param(dp, sql, given.text, given.type))
            return ATH_E_INPUT;
        any = true;
    }
    return 0;
}

static int with_sql(struct dp *dp, struct dp_sql *sql, const struct dp_call *c)
{
    const ath_function *f = c->function;
    bool as_json = c->scalar && f->result.kind == 'c';
    int rc;

    buf_lit(&sql->text, "WITH f AS (SELECT ");
    if (as_json) {
        buf_lit(&sql->text, "to_json(t) AS ");
        buf_ident(&sql->text, f->name);
    } else {
        buf_char(&sql->text, '*');
    }
    buf_lit(&sql->text, " FROM ");
    buf_ident2(&sql->text, f->schema, f->name);
    buf_char(&sql->text, '(');
    if ((rc = arguments_sql(dp, sql, c)) < 0)
        return rc;
    buf_lit(&sql->text, ") AS t");
    if (c->scalar && !as_json) {
        buf_char(&sql->text, '(');
        buf_ident(&sql->text, f->name);
        buf_lit(&sql->text, ") WHERE t.");
        buf_ident(&sql->text, f->name);
        buf_lit(&sql->text, " IS NOT NULL");
    }
    buf_lit(&sql->text, ") ");
    return 0;
}

static int rows_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *root)
{
    int rc;

    if ((rc = dp_items_sql(dp, sql, root)) < 0)
        return rc;
    buf_lit(&sql->text, " FROM f AS t0");
    if ((rc = dp_where_sql(dp, sql, root)) < 0 || (rc = dp_order_sql(dp, sql, root)) < 0)
        return rc;
    return dp_page_sql(dp, sql, root);
}

/* Reads all that the function gives, whatever the conditions are: with it the function runs to its
 * end also when no row of it is wanted. */
static int count_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *root)
{
    size_t from;
    int rc;

    buf_lit(&sql->text, "SELECT count(*)");
    from = sql->text.n;
    buf_lit(&sql->text, " FILTER (");
    if ((rc = dp_where_sql(dp, sql, root)) < 0)
        return rc;
    if (root->sql_to == root->sql_from) {
        sql->text.n = from;
        sql->text.p[from] = 0;
    } else {
        buf_char(&sql->text, ')');
    }
    buf_lit(&sql->text, " AS n FROM f AS t0");
    return 0;
}

int dp_call_sql(struct dp *dp, struct dp_call *c)
{
    struct dp_node *root = &c->f.root;
    struct dp_sql *sql = &c->q.sql;
    bool whole = c->f.count == DP_COUNT_EXACT || c->function->volatility == 'v' || c->f.head;
    int rc;

    c->q = (struct dp_query){ .rows = !c->f.head, .counted = whole && !c->f.head, .stmt_count = 1 };
    sql->text = dp_buf(dp);
    if ((rc = with_sql(dp, sql, c)) < 0)
        return rc;
    if (c->q.counted)
        buf_lit(&sql->text, "SELECT c.n, r.* FROM (");
    if (whole && (rc = count_sql(dp, sql, root)) < 0)
        return rc;
    if (c->q.counted)
        buf_lit(&sql->text, ") AS c LEFT JOIN (SELECT true, ");
    else if (!whole)
        buf_lit(&sql->text, "SELECT ");
    if (!c->f.head && (rc = rows_sql(dp, sql, root)) < 0)
        return rc;
    if (c->q.counted)
        buf_lit(&sql->text, ") AS r ON true");
    c->q.stmt[0] = (ath_stmt){ .sql = sql->text.p,
                               .param = sql->param,
                               .type = sql->type,
                               .param_count = sql->count,
                               .flags = c->function->volatility == 'v' ? 0 : ATH_PG_READ };
    return 0;
}

/* ---- the answer ---- */

struct dp_answer dp_call_answer(const struct dp_call *c, enum dp_format format)
{
    return (struct dp_answer){ .format = format, .body = DP_BODY_CALL, .values = c->bare };
}
