/* Selections: text, object and array forms into the items of a node (contract 14.2, 14.5).
 *
 *     item     := "*" | [alias ":"] col ["::" cast] | col " as " alias | relation
 *     relation := [alias ":"] target ["!" (inner | left | fk_column | constraint)]* "(" [list] ")"
 *
 * A column may be a path into JSON: data->address->>city. A plain name costs one look; the grammar
 * is only entered when a byte asks for it.
 */
#include "dataplane/dataplane.h"

struct grammar {
    struct dp *dp;
    ath_str text;
    size_t at;
    uint32_t depth;
};

struct parts { /* of one item, as its text has them */
    ath_str alias, name, cast;
    ath_str mod[4];
    uint32_t mods;
    bool quoted; /* the name was in quotes: no path, no star */
    bool relation;
};

static int list(struct grammar *g, struct dp_node *node);
static int select_array(struct dp *dp, const struct json *list, struct dp_node *node,
                        uint32_t depth);
static int select_object(struct dp *dp, const struct json *o, struct dp_node *node, uint32_t depth);

#define refuse(dp, ...) ath_raise((dp)->e, (dp)->select_code, __VA_ARGS__)

struct dp_node *dp_node_new(struct dp *dp, struct dp_node *parent)
{
    struct dp_node *n;
    uint32_t depth = 1;

    for (const struct dp_node *p = parent; p; p = p->parent)
        depth++;
    if (++dp->relations > DP_RELATIONS || depth > DP_DEPTH + 1) {
        refuse(dp, "more than %d relations, or more than %d inside each other", DP_RELATIONS,
               DP_DEPTH);
        return NULL;
    }
    n = dp_new(dp, sizeof(*n));
    n->parent = parent;
    n->limit = n->offset = -1;
    return n;
}

struct dp_item *dp_item_add(struct dp *dp, struct dp_node *node)
{
    struct dp_item *i;

    if (++dp->items > DP_ITEMS) {
        refuse(dp, "more than %d selected items", DP_ITEMS);
        return NULL;
    }
    if (!dp->spares) {
        dp->spares = 8;
        dp->spare = dp_new(dp, dp->spares * sizeof(*i));
    }
    dp->spares--;
    i = dp->spare++;
    if (node->item_last)
        node->item_last->next = i;
    else
        node->item = i;
    node->item_last = i;
    return i;
}

/* The same column twice is once; one key for two things is refused. Call with the last item. */
static int settle(struct dp *dp, struct dp_node *node)
{
    struct dp_item *last = node->item_last;

    if (last->key.n > DP_NAME || str_find(last->key, 0) < last->key.n)
        return refuse(dp, "output name \"%.*s\" is over %d bytes", STR_ARG(last->key), DP_NAME);
    for (struct dp_item *i = node->item; i != last; i = i->next) {
        if (i->key.n != last->key.n || (last->key.n && i->key.p[0] != last->key.p[0]) ||
            i->star != last->star || !str_eq(i->key, last->key))
            continue;
        if (i->child || last->child || i->cast != last->cast ||
            !str_eq(i->ref.name, last->ref.name))
            return refuse(dp, "output name \"%.*s\" is used twice", STR_ARG(last->key));
        while (i->next != last)
            i = i->next;
        i->next = NULL;
        node->item_last = i;
        return 0;
    }
    return 0;
}

static int add_column(struct dp *dp, struct dp_node *node, const struct parts *p)
{
    struct dp_item *i = dp_item_add(dp, node);
    struct dp_step *s;
    int rc;

    if (!i)
        return ATH_E_INPUT;
    if (str_is(p->name, "*") && !p->quoted) {
        i->star = true;
        return settle(dp, node);
    }
    if (p->quoted)
        i->ref.name = p->name;
    else if ((rc = dp_read_ref(dp, p->name, &i->ref)) < 0)
        return rc;
    if (p->cast.n && !(i->cast = dp_cast_find(p->cast)))
        return refuse(dp, "unknown cast \"%.*s\"", STR_ARG(p->cast));
    if (dp->fold)
        i->ref.name = dp_fold(dp, i->ref.name);
    i->key = p->alias.n ? p->alias : i->ref.name;
    for (s = p->alias.n ? NULL : i->ref.path; s; s = s->next)
        if (!s->index)
            i->key = s->key;
    return settle(dp, node);
}

/* Without its schema and quotes, the name that a relation has in the output. */
static ath_str last_part(ath_str name)
{
    for (size_t i = name.n; i > 0; i--)
        if (name.p[i - 1] == '.')
            return str_after(name, i);
    return name;
}

static int add_relation(struct dp *dp, struct dp_node *node, const struct parts *p,
                        struct dp_node **ret)
{
    struct dp_node *child = dp_node_new(dp, node);
    struct dp_item *i = child ? dp_item_add(dp, node) : NULL;
    int rc;

    if (!i)
        return ATH_E_INPUT;
    i->child = *ret = child;
    child->asked = p->name;
    if ((rc = dp_read_table(dp, p->name, &child->schema, &child->table)) < 0)
        return rc;
    i->key = child->key = p->alias.n ? p->alias : last_part(child->table);
    for (uint32_t m = 0; m < p->mods; m++) {
        if (str_is(p->mod[m], "inner"))
            child->inner = true;
        else if (!str_is(p->mod[m], "left"))
            child->hint = p->mod[m];
    }
    return settle(dp, node);
}

/* ---- text ---- */

static int broken(struct grammar *g, const char *what)
{
    return refuse(g->dp, "%s at byte %zu of \"%.*s\"", what, g->at + 1, STR_ARG(g->text));
}

static char now(const struct grammar *g)
{
    return g->at < g->text.n ? g->text.p[g->at] : 0;
}

static void blanks(struct grammar *g)
{
    while (now(g) == ' ' || now(g) == '\n' || now(g) == '\t' || now(g) == '\r')
        g->at++;
}

static bool ends_name(char c)
{
    return c == ',' || c == '(' || c == ')' || c == ':' || c == '!' || c == '"';
}

/* A name in quotes or up to what ends it; " as " ends it too. */
static int name(struct grammar *g, ath_str *ret, bool *quoted)
{
    size_t from;
    struct buf b;

    blanks(g);
    from = g->at;
    *quoted = now(g) == '"';
    if (*quoted) {
        b = dp_buf(g->dp);
        for (g->at++; g->at < g->text.n; g->at++) {
            if (now(g) == '"' && g->text.p[g->at + 1 < g->text.n ? g->at + 1 : g->at] != '"')
                break;
            if (now(g) == '"' && g->at + 1 >= g->text.n)
                break;
            g->at += now(g) == '"';
            buf_char(&b, now(g));
        }
        if (now(g) != '"')
            return broken(g, "unended quote");
        g->at++;
        *ret = buf_view(&b);
        blanks(g);
        return 0;
    }
    while (g->at < g->text.n && !ends_name(now(g))) {
        if (now(g) == ' ' && str_starts(str_after(g->text, g->at), " as "))
            break;
        g->at++;
    }
    *ret = str_trim(str_from(g->text.p + from, g->at - from));
    return ret->n ? 0 : broken(g, "expected a name");
}

static int parts_tail(struct grammar *g, struct parts *p)
{
    bool quoted;
    int rc;

    if (now(g) == ':') { /* the second of "::" follows */
        g->at += 2;
        if ((rc = name(g, &p->cast, &quoted)) < 0)
            return rc;
    }
    while (now(g) == '!') {
        g->at++;
        if (p->mods == ATH_COUNT(p->mod))
            return broken(g, "too many hints");
        if ((rc = name(g, &p->mod[p->mods++], &quoted)) < 0)
            return rc;
    }
    blanks(g);
    if (str_starts(str_after(g->text, g->at), "as ") && !p->alias.n) {
        g->at += 3;
        if ((rc = name(g, &p->alias, &quoted)) < 0)
            return rc;
    }
    blanks(g);
    p->relation = now(g) == '(';
    if ((p->mods && !p->relation) || (p->cast.n && p->relation))
        return broken(g, p->relation ? "a relation takes no cast" : "expected '('");
    return 0;
}

static int parts_read(struct grammar *g, struct parts *p)
{
    int rc;

    if ((rc = name(g, &p->name, &p->quoted)) < 0)
        return rc;
    if (now(g) == ':' && str_after(g->text, g->at + 1).n && g->text.p[g->at + 1] != ':') {
        g->at++;
        p->alias = p->name;
        if ((rc = name(g, &p->name, &p->quoted)) < 0)
            return rc;
    }
    if (now(g) == ':' && !str_starts(str_after(g->text, g->at), "::"))
        return broken(g, "unexpected ':'");
    return parts_tail(g, p);
}

static int item(struct grammar *g, struct dp_node *node)
{
    struct parts p = { 0 };
    struct dp_node *child;
    int rc;

    if ((rc = parts_read(g, &p)) < 0)
        return rc;
    if (!p.relation)
        return add_column(g->dp, node, &p);
    if ((rc = add_relation(g->dp, node, &p, &child)) < 0)
        return rc;
    g->at++;
    g->depth++;
    if ((rc = list(g, child)) < 0)
        return rc;
    if (now(g) != ')')
        return broken(g, "expected ')'");
    g->at++;
    g->depth--;
    blanks(g);
    if (!child->item && dp_item_add(g->dp, child)) /* "tasks()": the whole row */
        child->item->star = true;
    return 0;
}

/* Items up to the end or a closing bracket; a comma may be the last. */
static int list(struct grammar *g, struct dp_node *node)
{
    for (;;) {
        int rc;
        blanks(g);
        if (g->at >= g->text.n || now(g) == ')')
            return 0;
        if ((rc = item(g, node)) < 0)
            return rc;
        if (now(g) != ',')
            return 0;
        g->at++;
    }
}

static bool is_word(ath_str s)
{
    static const bool plain[256] = {
        ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['_'] = true
    };
    size_t i = 0;

    while (i < s.n && plain[(unsigned char)s.p[i]])
        i++;
    return i == s.n && s.n > 0;
}

int dp_read_items(struct dp *dp, ath_str text, struct dp_node *node)
{
    struct grammar g = { .dp = dp, .text = text };
    struct dp_item *i;
    int rc;

    if (is_word(text)) {
        if (!(i = dp_item_add(dp, node)))
            return ATH_E_INPUT;
        i->key = i->ref.name = dp->fold ? dp_fold(dp, text) : text;
        return settle(dp, node);
    }
    if ((rc = list(&g, node)) < 0)
        return rc;
    return g.at < text.n ? broken(&g, "unexpected text") : 0;
}

/* ---- object and array ---- */

static int count_of(struct dp *dp, const struct json *v, int64_t *ret)
{
    if (v->type == JSON_NULL)
        return 0;
    if (!json_i64(v, ret))
        return dp_refuse(dp, "%.*s must be an integer", STR_ARG(v->key));
    if (*ret < 0)
        return dp_refuse(dp, "%.*s must be greater than or equal to 0", STR_ARG(v->key));
    return 0;
}

enum member {
    M_SKIP,
    M_FROM,
    M_SELECT,
    M_WHERE,
    M_ORDER,
    M_LIMIT,
    M_OFFSET,
    M_AS,
    M_VIA,
    M_SCHEMA,
    M_KEY,
    M_JOIN,
    M_UNKNOWN
};

static enum member member_of(ath_str key)
{
    static const struct {
        const char *key;
        enum member m;
    } known[] = {
        { "select", M_SELECT },
        { "fields", M_SELECT },
        { "where", M_WHERE },
        { "where_filters", M_WHERE },
        { "where_clause", M_WHERE },
        { "orderBy", M_ORDER },
        { "order_by", M_ORDER },
        { "limit", M_LIMIT },
        { "offset", M_OFFSET },
        { "from", M_FROM },
        { "table_name", M_FROM },
        { "as", M_AS },
        { "via", M_VIA },
        { "schema", M_SCHEMA },
        { "schema_name", M_SCHEMA },
        { "foreign_key", M_KEY },
        { "join", M_JOIN },
        { "join_type", M_JOIN },
    };

    for (size_t i = 0; i < ATH_COUNT(known); i++)
        if (str_is(key, known[i].key))
            return known[i].m;
    return M_UNKNOWN;
}

static int join_of(struct dp *dp, const struct json *v, struct dp_node *child)
{
    child->inner = str_is(json_text(v), "inner");
    if (!child->inner && !str_is(json_text(v), "left"))
        return refuse(dp, "join must be \"left\" or \"inner\", not %.*s", STR_ARG(v->raw));
    return 0;
}

static int selected(struct dp *dp, const struct json *v, struct dp_node *node, uint32_t depth)
{
    struct dp_item *i;

    if (v->type == JSON_STRING)
        return dp_read_items(dp, v->text, node);
    if (v->type == JSON_OBJECT)
        return select_object(dp, v, node, depth);
    if (v->type == JSON_ARRAY)
        return select_array(dp, v, node, depth);
    if (v->type != JSON_TRUE)
        return refuse(dp, "select must be text, an object or an array, not %.*s", STR_ARG(v->raw));
    if (!(i = dp_item_add(dp, node)))
        return ATH_E_INPUT;
    i->star = true;
    return 0;
}

/* What stands in the object of a relation, but its names. */
static int query_member(struct dp *dp, const struct json *v, struct dp_node *child, uint32_t depth)
{
    switch (member_of(v->key)) {
    case M_SELECT:
        return selected(dp, v, child, depth);
    case M_WHERE:
        return v->type == JSON_NULL ? 0 : dp_read_where(dp, v, child);
    case M_ORDER:
        return v->type == JSON_NULL ? 0 : dp_read_order(dp, v, child);
    case M_LIMIT:
        return count_of(dp, v, &child->limit);
    case M_OFFSET:
        return count_of(dp, v, &child->offset);
    case M_KEY:
        child->hint = json_text(v);
        return 0;
    case M_VIA:
        child->via = json_text(v);
        return 0;
    case M_JOIN:
        return v->type == JSON_NULL ? 0 : join_of(dp, v, child);
    case M_FROM:
    case M_AS:
    case M_SCHEMA:
        return 0; /* names: read before the child was made */
    default:
        return refuse(dp, "unknown key \"%.*s\" in relation \"%.*s\"", STR_ARG(v->key),
                      STR_ARG(child->key));
    }
}

static int relation_object(struct dp *dp, const struct json *o, const struct parts *p,
                           struct dp_node *node, uint32_t depth)
{
    const struct json *schema = json_given(o, "schema");
    struct dp_node *child;
    int rc = add_relation(dp, node, p, &child);

    if (!schema)
        schema = json_given(o, "schema_name");
    if (rc < 0)
        return rc;
    if (schema && child->schema.n)
        return refuse(dp, "relation \"%.*s\" has a schema twice", STR_ARG(child->key));
    if (schema)
        child->schema = str_trim(json_text(schema));
    json_each(v, o) if ((rc = query_member(dp, v, child, depth + 1)) < 0) return rc;
    if (!child->item)
        return refuse(dp, "relation \"%.*s\" selects nothing", STR_ARG(child->key));
    return 0;
}

static int select_object(struct dp *dp, const struct json *o, struct dp_node *node, uint32_t depth)
{
    int rc = 0;

    if (depth > DP_DEPTH)
        return refuse(dp, "more than %d relations inside each other", DP_DEPTH);
    json_each(v, o)
    {
        struct parts p = { .name = v->key, .quoted = true };
        const struct json *from = json_given(v, "from"), *as = json_given(v, "as");
        if (v->type == JSON_FALSE)
            continue;
        if (v->type == JSON_TRUE) {
            p.quoted = false;
            rc = add_column(dp, node, &p);
        } else if (json_given(v, "select") || json_given(v, "fields")) {
            p.name = from ? json_text(from) : v->key;
            p.alias = as ? json_text(as) : v->key;
            if (!from && !as)
                p.alias = last_part(v->key);
            rc = relation_object(dp, v, &p, node, depth);
        } else {
            rc = refuse(dp, "\"%.*s\" must be true, or an object with select", STR_ARG(v->key));
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* {kind: "relation", name, alias, join, foreign_key, query: {...}} */
static int array_relation(struct dp *dp, const struct json *v, const struct parts *p,
                          struct dp_node *node, uint32_t depth)
{
    const struct json *query = json_given(v, "query"), *join = json_given(v, "join");
    const struct json *key = json_given(v, "foreign_key"), *via = json_given(v, "via");
    struct dp_node *child;
    int rc;

    if (!query || query->type != JSON_OBJECT)
        return refuse(dp, "relation \"%.*s\" needs a query", STR_ARG(p->name));
    if ((rc = relation_object(dp, query, p, node, depth)) < 0)
        return rc;
    child = node->item_last->child;
    if (!join)
        join = json_given(v, "join_type");
    if (key)
        child->hint = json_text(key);
    if (via)
        child->via = json_text(via);
    return join ? join_of(dp, join, child) : 0;
}

static int select_element(struct dp *dp, const struct json *v, struct dp_node *node, uint32_t depth)
{
    struct parts p = { .name = json_text(json_get(v, "name")),
                       .alias = json_text(json_get(v, "alias")),
                       .cast = json_text(json_get(v, "cast")) };
    ath_str kind = json_text(json_get(v, "kind"));

    if (!p.name.n)
        return refuse(dp, "a selected item needs a name: %.*s", STR_ARG(v->raw));
    if (str_is(kind, "column"))
        return add_column(dp, node, &p);
    if (str_is(kind, "relation"))
        return array_relation(dp, v, &p, node, depth);
    return refuse(dp, "kind must be \"column\" or \"relation\" for \"%.*s\"", STR_ARG(p.name));
}

static int select_array(struct dp *dp, const struct json *elements, struct dp_node *node,
                        uint32_t depth)
{
    if (depth > DP_DEPTH)
        return refuse(dp, "more than %d relations inside each other", DP_DEPTH);
    json_each(v, elements)
    {
        int rc = v->type == JSON_STRING ? dp_read_items(dp, v->text, node)
                                        : select_element(dp, v, node, depth);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int dp_read_select(struct dp *dp, const struct json *select, struct dp_node *node)
{
    int rc = selected(dp, select, node, 1);

    if (rc == 0 && !node->item)
        return refuse(dp, "select names nothing");
    return rc;
}
