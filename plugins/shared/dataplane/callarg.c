/* Values of arguments as parameters of the declared types.
 *
 *     json, jsonb     any JSON value as itself; text that is no JSON is a JSON string
 *     arrays          {1,"a b",NULL}, nested too; elements as their own type wants them
 *     composites      (1,"a b") from an object by the names of its columns
 *     polymorphic     bigint, numeric, boolean, text, jsonb or arrays of these, as the value is
 *     others          their text
 *
 * PostgreSQL's own text of an array or a composite is taken too. What does not fit is refused by
 * PostgreSQL (data_exception).
 */
#include "dataplane/call.h"

#include "lib/json.h"

enum {
    OID_JSON = 114,
    OID_JSONB = 3802,
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_TEXT = 25,
    OID_NUMERIC = 1700,
    OID_FLOAT8 = 701,
    DEPTH = 32
};

struct shape {               /* of a type, as far as its text goes */
    uint32_t type, element;  /* element: of an array, else 0 */
    const ath_relation *row; /* of a composite */
};

static int value_text(struct dp *dp, const struct shape *s, const struct json *v, unsigned depth,
                      ath_str *ret);

static struct shape shape_of(const struct dp *dp, const ath_attribute *a)
{
    return (struct shape){ .type = a->base_type,
                           .element = a->element,
                           .row = dp->catalog->row_type(dp->snapshot, a->base_type) };
}

static bool is_json(uint32_t type)
{
    return type == OID_JSON || type == OID_JSONB;
}

static void put_quoted(struct buf *b, ath_str s)
{
    buf_char(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_char(b, '\\');
        buf_char(b, s.p[i]);
    }
    buf_char(b, '"');
}

static int array_text(struct dp *dp, const struct shape *s, const struct json *list, unsigned depth,
                      ath_str *ret)
{
    struct shape one = { .type = s->element,
                         .row = dp->catalog->row_type(dp->snapshot, s->element) };
    struct buf b = dp_buf(dp);
    ath_str text;
    int rc;

    buf_char(&b, '{');
    json_each(v, list)
    {
        bool nested = v->type == JSON_ARRAY && !is_json(s->element);
        if (v != list->first)
            buf_char(&b, ',');
        if ((rc = value_text(dp, nested ? s : &one, v, depth + 1, &text)) < 0)
            return rc;
        if (!text.p)
            buf_lit(&b, "NULL");
        else if (nested)
            buf_str(&b, text);
        else
            put_quoted(&b, text);
    }
    buf_char(&b, '}');
    *ret = buf_view(&b);
    return 0;
}

static int unknown_keys(struct dp *dp, const struct shape *s, const struct json *o)
{
    json_each(v, o)
    {
        if (!dp->catalog->column(s->row, v->key))
            return dp_refuse(dp, "type \"%.*s\" has no column \"%.*s\"", STR_ARG(s->row->name),
                             STR_ARG(v->key));
    }
    return 0;
}

/* Keys that the object lacks are null. */
static int row_text(struct dp *dp, const struct shape *s, const struct json *o, unsigned depth,
                    ath_str *ret)
{
    struct buf b = dp_buf(dp);
    ath_str text;
    int rc = unknown_keys(dp, s, o);

    buf_char(&b, '(');
    for (uint32_t i = 0; i < s->row->column_count && rc == 0; i++) {
        const ath_attribute *a = dp_column_at(s->row, i);
        struct shape one = shape_of(dp, a);
        const struct json *v = NULL;
        json_each(w, o)
        {
            if (str_eq(w->key, a->name))
                v = w;
        }
        if (i)
            buf_char(&b, ',');
        if (!v)
            continue;
        if ((rc = value_text(dp, &one, v, depth + 1, &text)) == 0 && text.p)
            put_quoted(&b, text);
    }
    buf_char(&b, ')');
    *ret = buf_view(&b);
    return rc;
}

static int value_text(struct dp *dp, const struct shape *s, const struct json *v, unsigned depth,
                      ath_str *ret)
{
    if (depth > DEPTH)
        return dp_refuse(dp, "an argument is nested more than %d levels", DEPTH);
    if (v->type == JSON_NULL) {
        *ret = (ath_str){ NULL, 0 };
        return 0;
    }
    if (s->element && v->type == JSON_ARRAY)
        return array_text(dp, s, v, depth, ret);
    if (s->row && v->type == JSON_OBJECT)
        return row_text(dp, s, v, depth, ret);
    return dp_value(dp, v, s->type, false, ret);
}

/* ---- polymorphic parameters ---- */

static bool is_polymorphic(uint32_t type)
{
    return type == 2283 || type == 2277 || type == 2776 || type == 3500 || type == 3831 ||
           type == 4537 || type == 2276 || (type >= 5077 && type <= 5080) || type == 4538;
}

enum kind { K_NULL, K_INTEGER, K_NUMBER, K_BOOL, K_TEXT, K_JSON };

static enum kind kind_of(const struct json *v)
{
    int64_t i;

    switch (v->type) {
    case JSON_NULL:
        return K_NULL;
    case JSON_NUMBER:
        return json_i64(v, &i) ? K_INTEGER : K_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return K_BOOL;
    case JSON_STRING:
        return K_TEXT;
    default:
        return K_JSON;
    }
}

/* One kind for both; numbers of either sort are numbers. */
static enum kind both(enum kind a, enum kind b)
{
    if (a == b || b == K_NULL)
        return a;
    if (a == K_NULL)
        return b;
    return (a == K_INTEGER || a == K_NUMBER) && (b == K_INTEGER || b == K_NUMBER) ? K_NUMBER
                                                                                  : K_JSON;
}

static enum kind kind_inside(const struct json *list)
{
    enum kind k = K_NULL;

    json_each(v, list)
    {
        k = both(k, v->type == JSON_ARRAY ? kind_inside(v) : kind_of(v));
    }
    return k;
}

static uint32_t type_of(enum kind k)
{
    static const uint32_t types[] = {
        [K_NULL] = OID_TEXT, [K_INTEGER] = OID_INT8, [K_NUMBER] = OID_NUMERIC,
        [K_BOOL] = OID_BOOL, [K_TEXT] = OID_TEXT,    [K_JSON] = OID_JSONB
    };

    return types[k];
}

/* All polymorphic arguments of a call are of one type: a fraction in one makes numbers of all, and
 * a null is what the others are. */
static enum kind kind_of_all(const struct dp_call *c)
{
    enum kind k = K_NULL;

    for (const struct json *v = c->args ? c->args->first : NULL; v; v = v->next) {
        const ath_argument *a = dp_argument_named(c->function, v->key);
        if (a && is_polymorphic(a->as.type))
            k = both(k, v->type == JSON_ARRAY ? kind_inside(v) : kind_of(v));
    }
    return k;
}

static struct shape polymorphic(const struct dp_call *c, const struct json *v)
{
    bool list = v->type == JSON_ARRAY;
    enum kind k = list ? kind_inside(v) : kind_of(v), all = kind_of_all(c);
    uint32_t type;

    if (k == K_NULL || (k == K_INTEGER && all == K_NUMBER))
        k = all;
    type = type_of(k);
    return (struct shape){ .type = list ? typed_array(type) : type, .element = list ? type : 0 };
}

/* ---- arguments ---- */

const ath_argument *dp_argument_named(const ath_function *f, ath_str name)
{
    for (uint32_t i = 0; i < f->argument_count && name.n; i++) {
        const ath_argument *a =
            (const void *)((const char *)f->argument + (size_t)i * f->argument_size);
        if (a->mode != 'o' && a->mode != 't' && str_eq(a->as.name, name))
            return a;
    }
    return NULL;
}

static const struct json *list_of(const struct dp *dp, const struct json *v)
{
    struct json *list = dp_new(dp, sizeof(*list)), *one = dp_new(dp, sizeof(*one));

    *one = *v;
    one->next = NULL;
    *list = (struct json){ .type = JSON_ARRAY, .count = 1, .key = v->key, .raw = v->raw };
    list->first = list->last = one;
    return list;
}

/* A text of a query string as the value that it stands for where that takes more than its bytes. */
static const struct json *text_value(const struct dp *dp, const struct shape *s,
                                     const struct json *v)
{
    static const struct json nothing = { .type = JSON_NULL,
                                         .raw = { "null", 4 },
                                         .text = { "null", 4 } };
    struct json_error why;
    const struct json *read;
    char first = v->text.n ? v->text.p[0] : 0;

    if (str_ieq(v->text, ATH_S("null")))
        return &nothing;
    if ((s->element && first == '[') || (s->row && first == '{')) {
        read = json_read(v->text, JSON_ARENA(dp->arena), DP_VALUES, &why);
        if (read)
            return read;
    }
    return s->element && first != '{' && first != '[' ? list_of(dp, v) : v;
}

/* What the text "5" or "true" is where nothing was declared. */
static const struct json *plain_value(const struct dp *dp, const struct json *v)
{
    struct json_error why;
    const struct json *read;
    bool truth;

    if (str_ieq(v->text, ATH_S("true")) || str_ieq(v->text, ATH_S("false"))) {
        struct json *to = dp_new(dp, sizeof(*to));
        str_bool(v->text, &truth);
        *to = (struct json){ .type = truth ? JSON_TRUE : JSON_FALSE,
                             .raw = v->text,
                             .text = v->text };
        return to;
    }
    read = v->text.n ? json_read(v->text, JSON_ARENA(dp->arena), DP_VALUES, &why) : NULL;
    return read && (read->type == JSON_NUMBER || read->type >= JSON_ARRAY) ? read : v;
}

int dp_argument(struct dp *dp, const struct dp_call *c, const ath_argument *a, const struct json *v,
                struct dp_given *ret)
{
    struct shape s = shape_of(dp, &a->as);
    bool open = is_polymorphic(a->as.type);

    if (c->texts)
        v = text_value(dp, &s, v);
    if (c->texts && open && v->type == JSON_STRING)
        v = plain_value(dp, v);
    if (a->mode == 'v' && v->type != JSON_ARRAY && v->type != JSON_NULL &&
        !(v->type == JSON_STRING && str_starts(v->text, "{")))
        v = list_of(dp, v);
    if (open)
        s = polymorphic(c, v);
    ret->type = open ? s.type : a->as.type;
    return value_text(dp, &s, v, 0, &ret->text);
}

static enum kind kind_given(const struct dp_call *c, const struct json *v)
{
    double number;
    int64_t whole;

    if (!c->texts || v->type != JSON_STRING)
        return kind_of(v);
    if (str_i64(v->text, &whole))
        return K_INTEGER;
    if (str_double(v->text, &number))
        return K_NUMBER;
    if (str_ieq(v->text, ATH_S("null")))
        return K_NULL;
    return str_ieq(v->text, ATH_S("true")) || str_ieq(v->text, ATH_S("false")) ? K_BOOL : K_TEXT;
}

unsigned dp_argument_fit(const struct dp_call *c, const ath_argument *a, const struct json *v)
{
    uint32_t type = a->as.base_type;
    char category = a->as.category;
    enum kind k = kind_given(c, v);

    switch (k) {
    case K_NULL:
        return 1;
    case K_INTEGER:
    case K_NUMBER:
        if (type == (k == K_INTEGER ? OID_INT8 : OID_FLOAT8))
            return 3;
        return category == 'N' ? 2 : 1;
    case K_BOOL:
        return category == 'B' ? 2 : 1;
    case K_TEXT:
        if (category == 'S')
            return type == OID_TEXT ? 3 : 2;
        return category != 'N' && category != 'B';
    default:
        if (v->type == JSON_ARRAY ? a->as.element != 0 : category == 'C')
            return 3;
        return is_json(type) ? 2 : 0;
    }
}
