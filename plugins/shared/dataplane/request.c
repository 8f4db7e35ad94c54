/* The body of a fetch, flat or structured (contract 13.2, 13.7, 14.1), into one struct dp_fetch.
 *
 * One pass over the body's members: each known key has a slot, unknown ones are ignored as
 * everywhere. The slots are then read in a fixed order. A body with `select` is structured.
 */
#include "dataplane/dataplane.h"

enum slot {
    S_SELECT,
    S_COLUMNS,
    S_CONDITIONS,
    S_WHERE,
    S_WHERE2,
    S_WHERE3,
    S_LIMIT,
    S_OFFSET,
    S_PAGE_SIZE,
    S_PAGE,
    S_SORT,
    S_ORDER,
    S_COUNT,
    S_HEAD,
    S_STRIP,
    S_GROUP,
    S_GRAIN,
    S_SUM,
    S_STRATEGY,
    S_DEDUP,
    S_FROM,
    S_OPERATION,
    S_FIELDS,
    S_TABLE,
    S_TABLE2,
    S_TABLE3,
    S_SCHEMA,
    S_SCHEMA2,
    SLOTS
};

static const struct {
    const char *key;
    uint8_t n, slot;
} keys[] = {
#define KEY(text, slot)                                                                            \
    {                                                                                              \
        text, sizeof(text) - 1, slot                                                               \
    }
    KEY("table_name", S_TABLE),
    KEY("columns", S_COLUMNS),
    KEY("conditions", S_CONDITIONS),
    KEY("select", S_SELECT),
    KEY("where", S_WHERE),
    KEY("where_filters", S_WHERE2),
    KEY("where_clause", S_WHERE3),
    KEY("limit", S_LIMIT),
    KEY("offset", S_OFFSET),
    KEY("page_size", S_PAGE_SIZE),
    KEY("current_page", S_PAGE),
    KEY("sort_by", S_SORT),
    KEY("sortBy", S_SORT),
    KEY("orderBy", S_ORDER),
    KEY("order_by", S_ORDER),
    KEY("count", S_COUNT),
    KEY("head", S_HEAD),
    KEY("strip_nulls", S_STRIP),
    KEY("group_by", S_GROUP),
    KEY("time_granularity", S_GRAIN),
    KEY("aggregation_column", S_SUM),
    KEY("aggregation_strategy", S_STRATEGY),
    KEY("aggregation_dedup", S_DEDUP),
    KEY("from", S_FROM),
    KEY("operation", S_OPERATION),
    KEY("fields", S_FIELDS),
    KEY("schema_name", S_SCHEMA),
    KEY("schema", S_SCHEMA2),
    KEY("table", S_TABLE2),
    KEY("view_name", S_TABLE3),
#undef KEY
};

static void fill(const struct json *body, const struct json *slot[SLOTS])
{
    json_each(v, body)
    {
        for (size_t i = 0; i < ATH_COUNT(keys); i++) {
            if (keys[i].n != v->key.n || memcmp(keys[i].key, v->key.p, v->key.n) != 0)
                continue;
            if (v->type != JSON_NULL || keys[i].slot == S_SELECT)
                slot[keys[i].slot] = v;
            break;
        }
    }
}

static int integer(struct dp *dp, const struct json *v, int64_t *ret)
{
    if (!v)
        return 0;
    if (!json_i64(v, ret))
        return dp_refuse(dp, "%.*s must be an integer, not %.*s", STR_ARG(v->key), STR_ARG(v->raw));
    if (*ret < 0)
        return dp_refuse(dp, "%.*s must be greater than or equal to 0", STR_ARG(v->key));
    return 0;
}

static int paging(struct dp *dp, const struct json *const slot[SLOTS], int64_t max_rows,
                  struct dp_fetch *f)
{
    int64_t size = dp->structured ? -1 : 100, page = 1, limit = -1, offset = 0, skipped = 0;
    int rc;

    if ((rc = integer(dp, slot[S_PAGE_SIZE], &size)) < 0 ||
        (rc = integer(dp, slot[S_PAGE], &page)) < 0 ||
        (rc = integer(dp, slot[S_LIMIT], &limit)) < 0 ||
        (rc = integer(dp, slot[S_OFFSET], &offset)) < 0)
        return rc;
    if (page > 1 && size > 0 && __builtin_mul_overflow(page - 1, size, &skipped))
        return dp_refuse(dp, "current_page is too large");
    if (__builtin_add_overflow(skipped, offset, &offset))
        return dp_refuse(dp, "offset is too large");
    if (!slot[S_LIMIT] && size >= 0)
        limit = size;
    if (max_rows && limit > max_rows && (slot[S_LIMIT] || slot[S_PAGE_SIZE]))
        return dp_refuse(dp, "limit %lld is over the %lld rows allowed", (long long)limit,
                         (long long)max_rows);
    if (max_rows && (limit < 0 || limit > max_rows))
        limit = max_rows;
    f->root.limit = limit;
    f->root.offset = offset ? offset : -1;
    return 0;
}

/* ---- order ---- */

/* -1: not a direction. */
static int direction(const struct json *v)
{
    ath_str s = json_text(v);

    if (str_ieq(s, ATH_S("asc")) || str_ieq(s, ATH_S("ascending")))
        return 0;
    return str_ieq(s, ATH_S("desc")) || str_ieq(s, ATH_S("descending")) ? 1 : -1;
}

static int order_add(struct dp *dp, struct dp_node *node, ath_str name, bool desc)
{
    struct dp_order *o = dp_new(dp, sizeof(*o)), **at = &node->order;

    while (*at)
        at = &(*at)->next;
    *at = o;
    o->desc = desc;
    return dp_read_ref(dp, name, &o->ref);
}

/* {column or field, direction or order or ascending} */
static int order_one(struct dp *dp, const struct json *o, struct dp_node *node)
{
    const struct json *name = json_given(o, "column"), *dir = json_given(o, "direction");
    const struct json *up = json_given(o, "ascending");
    int desc = 0;

    if (!name)
        name = json_given(o, "field");
    if (!dir)
        dir = json_given(o, "order");
    if (!json_text(name).n)
        return dp_refuse(dp, "an order needs a column: %.*s", STR_ARG(o->raw));
    json_each(
        v, o) if (!str_is(v->key, "column") && !str_is(v->key, "field") &&
                  !str_is(v->key, "direction") && !str_is(v->key, "order") &&
                  !str_is(v->key, "ascending")) return dp_refuse(dp,
                                                                 "unknown key \"%.*s\" in an order",
                                                                 STR_ARG(v->key));
    if (up && up->type != JSON_TRUE && up->type != JSON_FALSE)
        return dp_refuse(dp, "ascending must be true or false");
    if (dir && (desc = direction(dir)) < 0)
        return dp_refuse(dp, "unknown sort direction %.*s for '%.*s'", STR_ARG(dir->raw),
                         STR_ARG(name->text));
    if (up)
        desc = up->type == JSON_FALSE;
    return order_add(dp, node, name->text, desc != 0);
}

static bool is_one_order(const struct json *o)
{
    const struct json *name = json_get(o, "column");

    if (!name)
        name = json_get(o, "field");
    return name && (o->count > 1 || direction(name) < 0);
}

static int by_key(const void *a, const void *b)
{
    return str_cmp((*(const struct json *const *)a)->key, (*(const struct json *const *)b)->key);
}

/* {col: dir, ...}: an object has no order, so its keys are taken in sorted order. */
static int order_map(struct dp *dp, const struct json *o, struct dp_node *node)
{
    const struct json **sorted = dp_new(dp, (o->count + 1) * sizeof(struct json *));
    uint32_t n = 0;

    json_each(v, o) sorted[n++] = v;
    qsort(sorted, n, sizeof(struct json *), by_key);
    for (uint32_t i = 0; i < n; i++) {
        int desc = direction(sorted[i]), rc;
        if (sorted[i]->type != JSON_STRING)
            return dp_refuse(dp, "sort direction for '%.*s' must be a string",
                             STR_ARG(sorted[i]->key));
        if (desc < 0)
            return dp_refuse(dp, "unknown sort direction %.*s for '%.*s'", STR_ARG(sorted[i]->raw),
                             STR_ARG(sorted[i]->key));
        if ((rc = order_add(dp, node, sorted[i]->key, desc)) < 0)
            return rc;
    }
    return 0;
}

int dp_read_order(struct dp *dp, const struct json *order, struct dp_node *node)
{
    int rc = 0;

    if (order->count > DP_ITEMS && order->type >= JSON_ARRAY)
        return dp_refuse(dp, "more than %d orders", DP_ITEMS);
    if (order->type == JSON_OBJECT)
        return is_one_order(order) ? order_one(dp, order, node) : order_map(dp, order, node);
    if (order->type != JSON_ARRAY)
        return dp_refuse(dp, "an order must be an object or an array");
    json_each(v, order)
    {
        if (v->type != JSON_OBJECT)
            return dp_refuse(dp, "an order must be an object, not %.*s", STR_ARG(v->raw));
        rc = is_one_order(v) ? order_one(dp, v, node) : order_map(dp, v, node);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int dp_read_sort(struct dp *dp, const struct json *o, struct dp_node *node)
{
    const struct json *name = json_given(o, "field"), *dir = json_given(o, "direction");

    if (!name)
        name = json_given(o, "column");
    if (o->type != JSON_OBJECT || !json_text(name).n)
        return dp_refuse(dp, "%.*s must be {field, direction}", STR_ARG(o->key));
    if (dir && dir->type != JSON_STRING)
        return dp_refuse(dp, "sort direction for '%.*s' must be a string", STR_ARG(name->text));
    return order_add(dp, node, name->text, dir && direction(dir) != 0);
}

/* ---- the rest ---- */

static int columns(struct dp *dp, const struct json *v, struct dp_node *node)
{
    int rc;

    if (v && v->type == JSON_STRING)
        rc = dp_read_items(dp, v->text, node);
    else
        rc = v && v->type == JSON_ARRAY ? dp_read_select(dp, v, node) : 0;
    if (v && v->type == JSON_ARRAY && v->count == 0)
        rc = 0;
    if (rc == 0 && !node->item && dp_item_add(dp, node)) /* none given: all */
        node->item->star = true;
    return rc;
}

static int filters(struct dp *dp, const struct json *const slot[SLOTS], struct dp_node *node)
{
    int rc;

    if (slot[S_CONDITIONS] && (rc = dp_read_conditions(dp, slot[S_CONDITIONS], node)) < 0)
        return rc;
    for (int s = S_WHERE; s <= S_WHERE3; s++)
        if (slot[s] && (rc = dp_read_where(dp, slot[s], node)) < 0)
            return rc;
    return 0;
}

static int counting(struct dp *dp, const struct json *const slot[SLOTS], struct dp_fetch *f)
{
    const struct json *count = slot[S_COUNT], *head = slot[S_HEAD], *strip = slot[S_STRIP];
    ath_str word = json_text(count);

    if (str_is(word, "exact"))
        f->count = DP_COUNT_EXACT;
    else if (str_is(word, "planned") && !dp->structured)
        f->count = DP_COUNT_PLANNED;
    else if (str_is(word, "estimated") && !dp->structured)
        f->count = DP_COUNT_ESTIMATED;
    else if (count && dp->structured)
        return dp_refuse(
            dp,
            "unsupported structured gateway fetch count option '%.*s'; only 'exact' is "
            "supported",
            STR_ARG(count->type == JSON_STRING ? word : count->raw));
    else if (count)
        return dp_refuse(dp, "count must be exact, planned or estimated, not %.*s",
                         STR_ARG(count->raw));
    if (head && head->type != JSON_TRUE && head->type != JSON_FALSE)
        return dp_refuse(dp, "head must be true or false, not %.*s", STR_ARG(head->raw));
    f->head = head && head->type == JSON_TRUE;
    f->strip_nulls = -1;
    if (strip && (strip->type == JSON_TRUE || strip->type == JSON_FALSE))
        f->strip_nulls = strip->type == JSON_TRUE;
    return 0;
}

static int grouping(struct dp *dp, const struct json *const slot[SLOTS], struct dp_group *g)
{
    ath_str grain = json_text(slot[S_GRAIN]);

    g->by = dp->fold ? dp_fold(dp, json_text(slot[S_GROUP])) : json_text(slot[S_GROUP]);
    if (!g->by.n)
        return 0;
    g->sum = dp->fold ? dp_fold(dp, json_text(slot[S_SUM])) : json_text(slot[S_SUM]);
    g->grain = str_is(grain, "day")      ? DP_GRAIN_DAY
               : str_is(grain, "hour")   ? DP_GRAIN_HOUR
               : str_is(grain, "minute") ? DP_GRAIN_MINUTE
                                         : DP_GRAIN_NONE;
    g->cumulative = str_is(json_text(slot[S_STRATEGY]), "cumulative_sum");
    g->dedup = slot[S_DEDUP] && slot[S_DEDUP]->type == JSON_TRUE;
    return 0;
}

static int selector(struct dp *dp, const struct json *const slot[SLOTS], struct dp_node *node)
{
    const struct json *table = slot[S_TABLE] ? slot[S_TABLE] : slot[S_TABLE2];

    return dp_read_selector(dp, table ? table : slot[S_TABLE3],
                            slot[S_SCHEMA] ? slot[S_SCHEMA] : slot[S_SCHEMA2], node);
}

/* The codes that refusals of either form are raised with. */
static void codes(struct dp *dp, bool structured)
{
    dp->structured = structured;
    dp->code = structured ? "invalid_structured_select_request" : "invalid_fetch_condition";
    dp->select_code = structured ? dp->code : "undefined_column";
    dp->table_code = structured ? dp->code : "invalid_schema_table_selector";
}

int dp_read_fetch(struct dp *dp, const struct json *body, const struct dp_limits *limits,
                  struct dp_fetch *f)
{
    const struct json *slot[SLOTS] = { 0 };
    int rc;

    *f = (struct dp_fetch){ .root.limit = -1, .root.offset = -1 };
    if (body->type == JSON_OBJECT)
        fill(body, slot);
    codes(dp, slot[S_SELECT] || (slot[S_FROM] && !slot[S_TABLE] && !slot[S_TABLE2]));
    f->structured = dp->structured;
    if (slot[S_OPERATION] && slot[S_SELECT])
        return dp_refuse(
            dp, "first-class direct AST request bodies are not supported on /gateway/fetch "
                "in this Athena release; use table_name plus select");
    if (dp->structured && ((slot[S_FROM] && !slot[S_TABLE]) || slot[S_FIELDS]))
        return dp_refuse(
            dp, "first-class direct AST request bodies are not supported on /gateway/fetch "
                "in this Athena release; use table_name plus select");
    if ((rc = selector(dp, slot, &f->root)) < 0)
        return rc;
    rc = slot[S_SELECT] ? dp_read_select(dp, slot[S_SELECT], &f->root)
                        : columns(dp, slot[S_COLUMNS], &f->root);
    if (rc < 0 || (rc = filters(dp, slot, &f->root)) < 0)
        return rc;
    if (slot[S_SORT] && (rc = dp_read_sort(dp, slot[S_SORT], &f->root)) < 0)
        return rc;
    if (slot[S_ORDER] && !slot[S_SORT] && (rc = dp_read_order(dp, slot[S_ORDER], &f->root)) < 0)
        return rc;
    if ((rc = paging(dp, slot, limits->max_rows, f)) < 0 || (rc = counting(dp, slot, f)) < 0)
        return rc;
    return grouping(dp, slot, &f->group);
}
