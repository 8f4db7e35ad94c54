/* Requests to call a function (contract 24.1), as a body or as a query string, by names. */
#include "dataplane/call.h"

enum slot {
    S_FUNCTION,
    S_FUNCTION2,
    S_SCHEMA,
    S_ARGS,
    S_SELECT,
    S_FILTERS,
    S_COUNT,
    S_LIMIT,
    S_OFFSET,
    S_ORDER,
    S_HEAD,
    SLOTS
};

static const char *const keys[SLOTS] = {
    [S_FUNCTION] = "function", [S_FUNCTION2] = "function_name",
    [S_SCHEMA] = "schema",     [S_ARGS] = "args",
    [S_SELECT] = "select",     [S_FILTERS] = "filters",
    [S_COUNT] = "count",       [S_LIMIT] = "limit",
    [S_OFFSET] = "offset",     [S_ORDER] = "order",
    [S_HEAD] = "head",
};

static size_t slot_of(ath_str key)
{
    size_t i = 0;

    while (i < SLOTS && !str_is(key, keys[i]))
        i++;
    return i;
}

static void begin(struct dp *dp, struct dp_call *c)
{
    *c = (struct dp_call){ .f.root = { .limit = -1, .offset = -1 } };
    if (!dp->code)
        dp->code = "invalid_rpc_request";
    dp->select_code = dp->table_code = dp->code;
}

/* "s.f" names a schema when none was named, or the default one. */
static int function_name(struct dp *dp, ath_str name, ath_str schema, struct dp_call *c)
{
    ath_str inside;

    schema = str_trim(schema);
    if (!str_trim(name).n)
        return dp_refuse(dp, "function is required");
    if (dp_read_table(dp, name, &inside, &c->name) < 0 || c->name.n > DP_NAME ||
        inside.n > DP_NAME || schema.n > DP_NAME ||
        (inside.n && schema.n && !str_is(schema, "public"))) {
        dp->unknown = false; /* no catalogue was asked */
        return dp_refuse(dp, "function must be a valid identifier");
    }
    c->schema = inside.n ? inside : schema.n ? schema : ATH_S("public");
    c->f.root.asked = c->f.root.table = c->name;
    c->f.root.schema = c->schema;
    return 0;
}

/* ---- what both forms have ---- */

static int paging(struct dp *dp, int64_t max_rows, struct dp_call *c)
{
    struct dp_node *root = &c->f.root;

    if (max_rows && root->limit > max_rows)
        return dp_refuse(dp, "limit %lld is over the %lld rows allowed", (long long)root->limit,
                         (long long)max_rows);
    if (max_rows && root->limit < 0)
        root->limit = max_rows;
    return 0;
}

static int counting(struct dp *dp, ath_str word, struct dp_call *c)
{
    if (!str_is(word, "exact"))
        return dp_refuse(dp, "unsupported count option '%.*s'; only 'exact' is supported",
                         STR_ARG(word));
    c->f.count = DP_COUNT_EXACT;
    return 0;
}

static int selecting(struct dp *dp, const struct json *select, ath_str text, struct dp_call *c)
{
    struct dp_node *root = &c->f.root;
    int rc = select ? dp_read_select(dp, select, root) : 0;

    if (rc == 0 && text.n)
        rc = dp_read_items(dp, text, root);
    c->selects = root->item != NULL && !(root->item->star && !root->item->next);
    if (rc == 0 && !root->item && !dp_item_add(dp, root))
        return ATH_E_INPUT;
    if (rc == 0 && !c->selects)
        root->item->star = true;
    return rc;
}

/* ---- a body ---- */

static int text_of(struct dp *dp, const struct json *v, ath_str *ret)
{
    *ret = json_text(v);
    if (v && v->type != JSON_STRING)
        return dp_refuse(dp, "%.*s must be text, not %.*s", STR_ARG(v->key), STR_ARG(v->raw));
    return 0;
}

static int number_of(struct dp *dp, const struct json *v, int64_t *ret)
{
    if (!v)
        return 0;
    if (!json_i64(v, ret))
        return dp_refuse(dp, "%.*s must be an integer, not %.*s", STR_ARG(v->key), STR_ARG(v->raw));
    return *ret < 0 ? dp_refuse(dp, "%.*s must be >= 0", STR_ARG(v->key)) : 0;
}

/* Is it a request, or the arguments alone? */
static bool is_wrapper(const struct json *body)
{
    json_each(v, body)
    {
        size_t s = slot_of(v->key);
        if (s < SLOTS && s != S_HEAD && s != S_FUNCTION2)
            return true;
    }
    return false;
}

static int fill(struct dp *dp, const struct json *body, const struct json *slot[SLOTS])
{
    json_each(v, body)
    {
        size_t s = slot_of(v->key);
        if (s == SLOTS)
            return dp_refuse(dp,
                             "unknown key \"%.*s\" beside the keys of a request; arguments stand "
                             "in \"args\"",
                             STR_ARG(v->key));
        slot[s] = v->type == JSON_NULL ? NULL : v;
    }
    return 0;
}

static int parts(struct dp *dp, const struct json *const slot[SLOTS], struct dp_call *c)
{
    const struct json *head = slot[S_HEAD];
    int rc;

    if (slot[S_ARGS] && slot[S_ARGS]->type != JSON_OBJECT)
        return dp_refuse(dp, "args must be a JSON object");
    c->args = slot[S_ARGS];
    if ((rc = selecting(dp, slot[S_SELECT], ATH_S(""), c)) < 0)
        return rc;
    if (slot[S_FILTERS] && slot[S_FILTERS]->type != JSON_ARRAY)
        return dp_refuse(dp, "filters must be an array");
    if (slot[S_FILTERS] && (rc = dp_read_conditions(dp, slot[S_FILTERS], &c->f.root)) < 0)
        return rc;
    if (slot[S_ORDER] && (rc = dp_read_order(dp, slot[S_ORDER], &c->f.root)) < 0)
        return rc;
    if (slot[S_COUNT] &&
        (rc = counting(
             dp, slot[S_COUNT]->type == JSON_STRING ? slot[S_COUNT]->text : slot[S_COUNT]->raw,
             c)) < 0)
        return rc;
    if (head && head->type != JSON_TRUE && head->type != JSON_FALSE)
        return dp_refuse(dp, "head must be true or false, not %.*s", STR_ARG(head->raw));
    c->f.head = head && head->type == JSON_TRUE;
    if ((rc = number_of(dp, slot[S_LIMIT], &c->f.root.limit)) < 0)
        return rc;
    return number_of(dp, slot[S_OFFSET], &c->f.root.offset);
}

static int wrapped(struct dp *dp, ath_str path, const struct json *body, struct dp_call *c)
{
    const struct json *slot[SLOTS] = { 0 };
    const struct json *function;
    ath_str name = path, schema;
    int rc;

    if ((rc = fill(dp, body, slot)) < 0)
        return rc;
    function = slot[S_FUNCTION] ? slot[S_FUNCTION] : slot[S_FUNCTION2];
    if (slot[S_FUNCTION] && slot[S_FUNCTION2])
        return dp_refuse(dp, "function and function_name say the same; send one of them");
    if (function && (rc = text_of(dp, function, &name)) < 0)
        return rc;
    if ((rc = text_of(dp, slot[S_SCHEMA], &schema)) < 0 ||
        (rc = function_name(dp, name, schema, c)) < 0)
        return rc;
    return parts(dp, slot, c);
}

int dp_read_call(struct dp *dp, ath_str path, const struct json *body,
                 const struct dp_limits *limits, struct dp_call *c)
{
    int rc;

    begin(dp, c);
    if (body && body->type != JSON_OBJECT)
        return ath_raise(dp->e, "invalid_rpc_body", "the request must be a JSON object");
    if (body && (!path.n || is_wrapper(body))) {
        rc = wrapped(dp, path, body, c);
    } else {
        c->args = body;
        if ((rc = function_name(dp, path, ATH_S(""), c)) == 0)
            rc = selecting(dp, NULL, ATH_S(""), c);
    }
    return rc < 0 ? rc : paging(dp, limits->max_rows, c);
}

/* ---- a query string ---- */

static bool is_filter(ath_str value)
{
    static const char *const words[] = { "eq",  "neq",  "gt",    "gte", "lt",
                                         "lte", "like", "ilike", "is",  "in" };
    size_t dot = str_find(value, '.');

    for (size_t i = 0; dot < value.n && i < ATH_COUNT(words); i++)
        if (str_is(str_from(value.p, dot), words[i]))
            return true;
    return false;
}

/* Here "null" is null, and '*' is itself. */
static int filter(struct dp *dp, const ath_pair *pair, struct dp_call *c)
{
    static const struct json nothing = { .type = JSON_NULL,
                                         .raw = { "null", 4 },
                                         .text = { "null", 4 } };
    struct dp_pred *p;
    int rc = dp_read_rest(dp, pair->name, pair->value, &p);

    if (rc < 0)
        return rc;
    p->wild = false;
    if ((p->op == DP_EQ || p->op == DP_NEQ) && str_ieq(json_text(p->value), ATH_S("null")))
        p->value = &nothing;
    dp_where_add(&c->f.root, p);
    return 0;
}

static int argument(struct dp *dp, const ath_pair *pair, struct json *args)
{
    struct json *v;

    json_each(w, args)
    {
        if (str_eq(w->key, pair->name))
            return dp_refuse(dp, "argument \"%.*s\" is given twice", STR_ARG(pair->name));
    }
    v = dp_new(dp, sizeof(*v));
    *v = (struct json){ .type = JSON_STRING,
                        .key = pair->name,
                        .raw = pair->value,
                        .text = pair->value,
                        .nul = str_find(pair->value, 0) < pair->value.n };
    if (args->last)
        ((struct json *)(uintptr_t)args->last)->next = v;
    else
        args->first = v;
    args->last = v;
    args->count++;
    return 0;
}

static int number_in(struct dp *dp, ath_str key, ath_str text, int64_t *ret)
{
    if (!str_i64(text, ret))
        return dp_refuse(dp, "%.*s must be an integer, not \"%.*s\"", STR_ARG(key), STR_ARG(text));
    return *ret < 0 ? dp_refuse(dp, "%.*s must be >= 0", STR_ARG(key)) : 0;
}

static int reserved(struct dp *dp, enum slot s, ath_str v, struct dp_call *c)
{
    switch (s) {
    case S_SELECT:
        return selecting(dp, NULL, v, c);
    case S_COUNT:
        return counting(dp, v, c);
    case S_LIMIT:
        return number_in(dp, ATH_S("limit"), v, &c->f.root.limit);
    case S_OFFSET:
        return number_in(dp, ATH_S("offset"), v, &c->f.root.offset);
    case S_ORDER:
        return dp_read_order_text(dp, v, &c->f.root);
    case S_HEAD:
        if (!str_bool(v, &c->f.head))
            return dp_refuse(dp, "head must be true or false, not \"%.*s\"", STR_ARG(v));
        return 0;
    default: /* the schema, which was read first */
        return 0;
    }
}

static bool is_reserved(size_t s)
{
    return s < SLOTS && s != S_FUNCTION && s != S_FUNCTION2 && s != S_ARGS && s != S_FILTERS;
}

int dp_read_call_query(struct dp *dp, ath_str path, const ath_pair *pair, uint32_t n,
                       const struct dp_limits *limits, struct dp_call *c)
{
    struct json *args = dp_new(dp, sizeof(*args));
    ath_str schema = { "", 0 };
    bool seen[SLOTS] = { false };
    int rc;

    dp->code = "invalid_rpc_query";
    begin(dp, c);
    if (n > DP_TERMS)
        return dp_refuse(dp, "more than %d parameters", DP_TERMS);
    *args = (struct json){ .type = JSON_OBJECT };
    c->args = args;
    c->texts = true;
    for (uint32_t i = 0; i < n; i++)
        if (str_is(pair[i].name, "schema"))
            schema = pair[i].value;
    rc = function_name(dp, path, schema, c);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        size_t s = slot_of(pair[i].name);
        if (is_reserved(s) && seen[s])
            return dp_refuse(dp, "%s is given twice", keys[s]);
        if (is_reserved(s)) {
            seen[s] = true;
            rc = reserved(dp, (enum slot)s, pair[i].value, c);
        } else {
            rc = is_filter(pair[i].value) ? filter(dp, &pair[i], c) : argument(dp, &pair[i], args);
        }
    }
    if (rc == 0 && !c->f.root.item)
        rc = selecting(dp, NULL, ATH_S(""), c);
    return rc < 0 ? rc : paging(dp, limits->max_rows, c);
}
