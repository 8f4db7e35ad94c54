/* The bodies of insert, update and delete (contract 17.1, 19, 20) into one struct dp_write.
 *
 * As with a fetch, one pass over the body's members puts each known key into a slot, and the slots
 * are read in a fixed order. What narrows a change is read on each of the three or refused: a key
 * that only an update knows means nothing on an insert, so it is ignored there like any other.
 */
#include "dataplane/write.h"

enum slot {
    S_TABLE,
    S_TABLE2,
    S_TABLE3,
    S_SCHEMA,
    S_SCHEMA2,
    S_ROWS,
    S_DATA,
    S_SET,
    S_UPDATE,
    S_CONFLICT,
    S_NULLS,
    S_COLUMNS,
    S_CONDITIONS,
    S_WHERE,
    S_WHERE2,
    S_WHERE3,
    S_ID,
    S_ID_COLUMN,
    S_ID_COLUMN2,
    S_ID_COLUMN3,
    S_LIMIT,
    S_OFFSET,
    S_PAGE_SIZE,
    S_PAGE,
    S_SORT,
    S_ORDER,
    S_COUNT,
    S_HEAD,
    S_STRIP,
    SLOTS
};

enum { ALL = DP_INSERT | DP_UPDATE | DP_DELETE, SOME = DP_UPDATE | DP_DELETE };

static const struct {
    const char *key;
    uint8_t slot, kinds;
} keys[] = {
    { "table_name", S_TABLE, ALL },
    { "table", S_TABLE2, ALL },
    { "view_name", S_TABLE3, ALL },
    { "schema_name", S_SCHEMA, ALL },
    { "schema", S_SCHEMA2, ALL },
    { "insert_body", S_ROWS, DP_INSERT },
    { "data", S_DATA, DP_INSERT | DP_UPDATE },
    { "set", S_SET, DP_UPDATE },
    { "update_body", S_UPDATE, DP_INSERT | DP_UPDATE },
    { "on_conflict", S_CONFLICT, DP_INSERT },
    { "default_to_null", S_NULLS, DP_INSERT },
    { "columns", S_COLUMNS, ALL },
    { "conditions", S_CONDITIONS, SOME },
    { "where", S_WHERE, SOME },
    { "where_filters", S_WHERE2, SOME },
    { "where_clause", S_WHERE3, SOME },
    { "resource_id", S_ID, DP_DELETE },
    { "column_name", S_ID_COLUMN, DP_DELETE },
    { "resource_id_column", S_ID_COLUMN2, DP_DELETE },
    { "id_column", S_ID_COLUMN3, DP_DELETE },
    { "limit", S_LIMIT, SOME },
    { "offset", S_OFFSET, SOME },
    { "page_size", S_PAGE_SIZE, SOME },
    { "current_page", S_PAGE, SOME },
    { "sort_by", S_SORT, SOME },
    { "sortBy", S_SORT, SOME },
    { "orderBy", S_ORDER, SOME },
    { "order_by", S_ORDER, SOME },
    { "count", S_COUNT, ALL },
    { "head", S_HEAD, ALL },
    { "strip_nulls", S_STRIP, ALL },
};

static const char *kind_word(enum dp_kind kind)
{
    return kind == DP_INSERT ? "insert" : kind == DP_UPDATE ? "update" : "delete";
}

static void fill(const struct json *body, enum dp_kind kind, const struct json *slot[SLOTS])
{
    json_each(v, body)
    {
        size_t i = 0;
        while (i < ATH_COUNT(keys) && !((keys[i].kinds & kind) && str_is(v->key, keys[i].key)))
            i++;
        if (i < ATH_COUNT(keys) && v->type != JSON_NULL)
            slot[keys[i].slot] = v;
    }
}

/* A refusal whose title is this route's own (contract 9.1). */
static int refuse_as(struct dp *dp, const char *code, const char *title, const char *words)
{
    char json[128];
    int rc = ath_raise(dp->e, code, "%s", words);

    (void)snprintf(json, sizeof(json), "\"%s\"", title);
    ath_host_->err->detail(dp->e, "title", str_of(json));
    return rc;
}

/* ---- the parts ---- */

void dp_write_begin(struct dp *dp, enum dp_kind kind, struct dp_write *w)
{
    *w = (struct dp_write){ .kind = kind, .root = { .limit = -1, .offset = -1 } };
    dp->code = kind == DP_INSERT ? "invalid_payload" : "invalid_condition_value";
    dp->select_code = "undefined_column";
    dp->table_code = "invalid_schema_table_selector";
    dp->structured = false;
}

int dp_write_rows(struct dp *dp, const struct json *rows, struct dp_write *w)
{
    static const char shape[] =
        "insert payload is invalid: insert payload must be an object or an array of objects";
    uint32_t n = 0;

    w->one = rows->type == JSON_OBJECT;
    w->row_count = w->one ? 1 : rows->count;
    if (!w->one && rows->type != JSON_ARRAY)
        return dp_refuse(dp, "%s", shape);
    if (!w->row_count)
        return dp_refuse(dp, "insert payload is invalid: the array of rows is empty");
    w->row = dp_new(dp, w->row_count * sizeof(struct json *));
    if (w->one) {
        w->row[0] = rows;
        return 0;
    }
    json_each(v, rows)
    {
        if (v->type != JSON_OBJECT)
            return dp_refuse(dp, "%s", shape);
        w->row[n++] = v;
    }
    return 0;
}

/* Later ones of the same name win, as with the members of one object. */
static void set_add(struct dp_write *w, const struct json *object)
{
    json_each(v, object)
    {
        uint32_t i = 0;
        while (i < w->set_count && !str_eq(w->set[i]->key, v->key))
            i++;
        w->set[i] = v;
        w->set_count += i == w->set_count;
    }
}

int dp_write_set(struct dp *dp, const struct json *object, struct dp_write *w)
{
    if (object->type != JSON_OBJECT)
        return dp_refuse(dp, "the values to write must be an object, not %.*s",
                         STR_ARG(object->raw));
    w->set = dp_new(dp, (object->count + 1) * sizeof(struct json *));
    json_each(v, object)
    {
        w->set[w->set_count++] = v;
    }
    return 0;
}

/* A name in quotes is what stands between them, where a quote stands twice. */
static ath_str unquoted(const struct dp *dp, ath_str name)
{
    struct buf b;

    if (name.n < 2 || name.p[0] != '"' || name.p[name.n - 1] != '"')
        return name;
    b = dp_buf(dp);
    for (size_t i = 1; i + 1 < name.n; i++) {
        buf_char(&b, name.p[i]);
        i += name.p[i] == '"';
    }
    return buf_view(&b);
}

static int target_add(struct dp *dp, ath_str name, struct dp_write *w)
{
    name = unquoted(dp, str_trim(name));
    if (!name.n)
        return dp_refuse(dp, "on_conflict names an empty column");
    w->target[w->target_count++] = name;
    return 0;
}

int dp_write_target(struct dp *dp, ath_str columns, struct dp_write *w)
{
    size_t from = 0, n = 1;
    bool quoted = false;
    int rc = 0;

    for (size_t i = 0; i < columns.n; i++)
        n += columns.p[i] == ',';
    w->target = dp_new(dp, n * sizeof(*w->target));
    for (size_t i = 0; i <= columns.n && rc == 0; i++) {
        bool end = i == columns.n;
        quoted = quoted != (!end && columns.p[i] == '"');
        if (!end && (columns.p[i] != ',' || quoted))
            continue;
        rc = target_add(dp, str_from(columns.p + from, i - from), w);
        from = i + 1;
    }
    return rc;
}

static int target_list(struct dp *dp, const struct json *v, struct dp_write *w)
{
    int rc = 0;

    if (v->type == JSON_STRING)
        return dp_write_target(dp, v->text, w);
    if (v->type != JSON_ARRAY || !v->count)
        return dp_refuse(dp, "on_conflict must be a text or a list of columns, not %.*s",
                         STR_ARG(v->raw));
    w->target = dp_new(dp, v->count * sizeof(*w->target));
    json_each(c, v)
    {
        if (c->type != JSON_STRING)
            return dp_refuse(dp, "on_conflict must list columns by name, not %.*s",
                             STR_ARG(c->raw));
        if ((rc = target_add(dp, c->text, w)) < 0)
            return rc;
    }
    return 0;
}

/* A group without terms means "all rows", which nobody may have meant. */
static bool is_empty(const struct dp_pred *p)
{
    if (p->logic == DP_TERM)
        return false;
    for (const struct dp_pred *q = p->first; q; q = q->next)
        if (is_empty(q))
            return true;
    return !p->first;
}

static int missing_conditions(struct dp *dp, enum dp_kind kind)
{
    return ath_raise(dp->e, "missing_conditions",
                     "at least one condition is required for %s (e.g. eq_column / eq_value)",
                     kind_word(kind));
}

static int only_columns(struct dp *dp, const struct dp_node *root)
{
    for (const struct dp_item *i = root->item; i; i = i->next)
        if (i->child)
            return ath_raise(dp->e, dp->select_code,
                             "\"%.*s\" is a relation; what was written has columns only",
                             STR_ARG(i->key));
    return 0;
}

int dp_write_whole(struct dp *dp, struct dp_write *w)
{
    struct dp_node *root = &w->root;

    if (w->kind != DP_INSERT) {
        if (!root->where && !w->id)
            return missing_conditions(dp, w->kind);
        for (const struct dp_pred *p = root->where; p; p = p->next)
            if (is_empty(p))
                return missing_conditions(dp, w->kind);
        if (root->order && root->limit < 0 && root->offset < 0)
            return dp_refuse(dp, "an order without a limit has no meaning for %s",
                             kind_word(w->kind));
    }
    if (!root->item && dp_item_add(dp, root))
        root->item->star = true;
    return only_columns(dp, root);
}

/* ---- the body ---- */

static int selector(struct dp *dp, const struct json *const slot[SLOTS], struct dp_write *w)
{
    static const char words[] = "table_name is required";
    const struct json *table = slot[S_TABLE] ? slot[S_TABLE] : slot[S_TABLE2];

    table = table ? table : slot[S_TABLE3];
    if (!table || (table->type == JSON_STRING && !str_trim(table->text).n)) {
        if (w->kind == DP_INSERT)
            return refuse_as(dp, "missing_field", words, words);
        return refuse_as(dp, "missing_table_name",
                         w->kind == DP_UPDATE ? "Missing required field" : "Invalid delete payload",
                         words);
    }
    return dp_read_selector(dp, table, slot[S_SCHEMA] ? slot[S_SCHEMA] : slot[S_SCHEMA2], &w->root);
}

static int returning(struct dp *dp, const struct json *v, struct dp_node *node)
{
    if (!v || (v->type == JSON_ARRAY && !v->count))
        return 0;
    if (v->type == JSON_STRING)
        return dp_read_items(dp, v->text, node);
    if (v->type == JSON_ARRAY)
        return dp_read_select(dp, v, node);
    return ath_raise(dp->e, dp->select_code, "columns must be a text or a list, not %.*s",
                     STR_ARG(v->raw));
}

static int truth(struct dp *dp, const struct json *v, bool *ret)
{
    if (v && v->type != JSON_TRUE && v->type != JSON_FALSE)
        return dp_refuse(dp, "%.*s must be true or false, not %.*s", STR_ARG(v->key),
                         STR_ARG(v->raw));
    *ret = v && v->type == JSON_TRUE;
    return 0;
}

/* What was written is known exactly, so each kind of count is exact. */
static int options(struct dp *dp, const struct json *const slot[SLOTS], struct dp_write *w)
{
    const struct json *count = slot[S_COUNT];
    ath_str word = json_text(count);
    int rc;

    if (count && !str_is(word, "exact") && !str_is(word, "planned") && !str_is(word, "estimated"))
        return dp_refuse(dp, "count must be exact, planned or estimated, not %.*s",
                         STR_ARG(count->raw));
    w->counted = count != NULL;
    if ((rc = truth(dp, slot[S_HEAD], &w->head)) < 0 ||
        (rc = truth(dp, slot[S_STRIP], &w->strip_nulls)) < 0)
        return rc;
    return truth(dp, slot[S_NULLS], &w->nulls);
}

static int filters(struct dp *dp, const struct json *const slot[SLOTS], struct dp_node *node)
{
    int rc;

    if (slot[S_CONDITIONS] && (rc = dp_read_conditions(dp, slot[S_CONDITIONS], node)) < 0)
        return rc;
    for (int s = S_WHERE; s <= S_WHERE3; s++)
        if (slot[s] && (rc = dp_read_where(dp, slot[s], node)) < 0)
            return rc;
    if (slot[S_SORT] && (rc = dp_read_sort(dp, slot[S_SORT], node)) < 0)
        return rc;
    return slot[S_ORDER] && !slot[S_SORT] ? dp_read_order(dp, slot[S_ORDER], node) : 0;
}

static int integer(struct dp *dp, const struct json *v, int64_t *ret)
{
    if (v && (!json_i64(v, ret) || *ret < 0))
        return dp_refuse(dp, "%.*s must be an integer of at least 0, not %.*s", STR_ARG(v->key),
                         STR_ARG(v->raw));
    return 0;
}

/* There is no page size by default here: all that fits the conditions is written. */
static int paging(struct dp *dp, const struct json *const slot[SLOTS], struct dp_node *node)
{
    int64_t size = -1, page = 1, offset = 0, skipped = 0;
    int rc;

    if ((rc = integer(dp, slot[S_PAGE_SIZE], &size)) < 0 ||
        (rc = integer(dp, slot[S_PAGE], &page)) < 0 ||
        (rc = integer(dp, slot[S_OFFSET], &offset)) < 0 ||
        (rc = integer(dp, slot[S_LIMIT], &node->limit)) < 0)
        return rc;
    if (page > 1 && size < 0)
        return dp_refuse(dp, "current_page needs page_size");
    if (page > 1 && (__builtin_mul_overflow(page - 1, size, &skipped) ||
                     __builtin_add_overflow(skipped, offset, &offset)))
        return dp_refuse(dp, "current_page is too large");
    if (node->limit < 0)
        node->limit = size;
    if (offset || slot[S_OFFSET])
        node->offset = offset;
    return 0;
}

static int conflicts(struct dp *dp, const struct json *const slot[SLOTS], struct dp_write *w)
{
    const struct json *on = slot[S_CONFLICT], *update = slot[S_UPDATE];
    int rc = 0;

    if (on && (rc = target_list(dp, on, w)) < 0)
        return rc;
    if (update && (rc = dp_write_set(dp, update, w)) < 0)
        return rc;
    if (update)
        w->conflict = w->set_count ? DP_CONFLICT_SETS : DP_CONFLICT_SKIPS;
    else if (on)
        w->conflict = DP_CONFLICT_MERGES;
    return 0;
}

int dp_read_insert(struct dp *dp, const struct json *body, struct dp_write *w)
{
    static const char words[] = "insert_body is required";
    const struct json *slot[SLOTS] = { 0 }, *rows;
    int rc;

    dp_write_begin(dp, DP_INSERT, w);
    if (body->type == JSON_OBJECT)
        fill(body, DP_INSERT, slot);
    if ((rc = selector(dp, slot, w)) < 0)
        return rc;
    if (!(rows = slot[S_ROWS] ? slot[S_ROWS] : slot[S_DATA]))
        return refuse_as(dp, "missing_field", words, words);
    if ((rc = dp_write_rows(dp, rows, w)) < 0 || (rc = conflicts(dp, slot, w)) < 0 ||
        (rc = options(dp, slot, w)) < 0 || (rc = returning(dp, slot[S_COLUMNS], &w->root)) < 0)
        return rc;
    return dp_write_whole(dp, w);
}

/* ---- update ---- */

static const char payload_words[] =
    "update payload required: provide 'columns' (array of objects with column names and values), "
    "or 'data' / 'set' object";

static uint32_t objects_in(const struct json *list)
{
    uint32_t n = 0;

    if (list && list->type == JSON_ARRAY)
        json_each(v, list)
        {
            n += v->type == JSON_OBJECT;
        }
    return n;
}

/* columns: [{"name": "x"}, ...], merged. */
static int merged(struct dp *dp, const struct json *list, struct dp_write *w)
{
    uint32_t n = 0;

    json_each(v, list)
    {
        if (v->type != JSON_OBJECT)
            return ath_raise(dp->e, "missing_update_payload",
                             "columns holds values to write, and %.*s among them is no object",
                             STR_ARG(v->raw));
        n += v->count;
    }
    if (n > DP_ITEMS)
        return ath_raise(dp->e, "missing_update_payload", "more than %d values to write", DP_ITEMS);
    w->set = dp_new(dp, (n + 1) * sizeof(struct json *));
    json_each(v, list)
    {
        set_add(w, v);
    }
    return 0;
}

/* {"data": {...}} or {"set": {...}} alone is what lies inside. */
static const struct json *unwrapped(const struct json *o)
{
    const struct json *in = o->type == JSON_OBJECT && o->count == 1 ? o->first : NULL;

    if (in && in->type == JSON_OBJECT && (str_is(in->key, "data") || str_is(in->key, "set")))
        return in;
    return o;
}

static int payload(struct dp *dp, const struct json *const slot[SLOTS], struct dp_write *w)
{
    static const int places[] = { S_UPDATE, S_DATA, S_SET };
    int rc = 0;

    if (objects_in(slot[S_COLUMNS])) {
        rc = merged(dp, slot[S_COLUMNS], w);
    } else {
        size_t i = 0;
        while (i < ATH_COUNT(places) && !slot[places[i]])
            i++;
        if (i < ATH_COUNT(places) && slot[places[i]]->type == JSON_OBJECT)
            rc = dp_write_set(dp, i ? slot[places[i]] : unwrapped(slot[S_UPDATE]), w);
    }
    if (rc == 0 && !w->set_count)
        return ath_raise(dp->e, "missing_update_payload", "%s", payload_words);
    return rc;
}

int dp_read_update(struct dp *dp, const struct json *body, struct dp_write *w)
{
    const struct json *slot[SLOTS] = { 0 };
    int rc;

    dp_write_begin(dp, DP_UPDATE, w);
    if (body->type == JSON_OBJECT)
        fill(body, DP_UPDATE, slot);
    if ((rc = selector(dp, slot, w)) < 0 || (rc = payload(dp, slot, w)) < 0 ||
        (rc = filters(dp, slot, &w->root)) < 0 || (rc = paging(dp, slot, &w->root)) < 0 ||
        (rc = options(dp, slot, w)) < 0)
        return rc;
    if (!objects_in(slot[S_COLUMNS]) && (rc = returning(dp, slot[S_COLUMNS], &w->root)) < 0)
        return rc;
    return dp_write_whole(dp, w);
}

/* ---- delete ---- */

static int resource(struct dp *dp, const struct json *const slot[SLOTS], struct dp_write *w)
{
    const struct json *id = slot[S_ID], *column = slot[S_ID_COLUMN];

    column = column ? column : slot[S_ID_COLUMN2] ? slot[S_ID_COLUMN2] : slot[S_ID_COLUMN3];
    if (column && !str_trim(json_text(column)).n)
        return ath_raise(dp->e, "invalid_delete_payload",
                         "column_name must not be empty when provided");
    if (id && id->type == JSON_STRING && !str_trim(id->text).n)
        return ath_raise(dp->e, "missing_resource_id", "resource_id is required");
    if (id && id->type != JSON_STRING && id->type != JSON_NUMBER)
        return ath_raise(dp->e, "invalid_delete_payload",
                         "resource_id must be a text or a number, not %.*s", STR_ARG(id->raw));
    if (column && !id)
        return ath_raise(dp->e, "missing_resource_id",
                         "column_name \"%.*s\" is given without a resource_id",
                         STR_ARG(column->text));
    w->id = id;
    w->id_column = column ? str_trim(column->text) : (ath_str){ "", 0 };
    return 0;
}

int dp_read_delete(struct dp *dp, const struct json *body, struct dp_write *w)
{
    const struct json *slot[SLOTS] = { 0 };
    int rc;

    dp_write_begin(dp, DP_DELETE, w);
    if (body->type == JSON_OBJECT)
        fill(body, DP_DELETE, slot);
    if ((rc = selector(dp, slot, w)) < 0 || (rc = resource(dp, slot, w)) < 0 ||
        (rc = filters(dp, slot, &w->root)) < 0 || (rc = paging(dp, slot, &w->root)) < 0 ||
        (rc = options(dp, slot, w)) < 0 || (rc = returning(dp, slot[S_COLUMNS], &w->root)) < 0)
        return rc;
    return dp_write_whole(dp, w);
}
