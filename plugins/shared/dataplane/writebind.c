/* The names of a write to the catalogue: columns of rows and of what is set, the conflict target,
 * what a resource id means.
 */
#include "dataplane/write.h"

/* ---- columns ---- */

static const ath_attribute *column_of(struct dp *dp, const ath_relation *r, ath_str key)
{
    ath_str name = dp->fold ? dp_fold(dp, key) : key;
    const ath_attribute *a = dp->catalog->column(r, key);

    if (!a)
        a = dp_column(dp, r, name);
    if (!a)
        dp_no_column(dp, r, key);
    return a;
}

static int twice(struct dp *dp, const ath_attribute *a)
{
    return dp_refuse(dp, "two keys name the column \"%.*s\"", STR_ARG(a->name));
}

struct columns { /* of all rows so far, and the keys that they came by */
    struct dp_write *w;
    ath_str *key;
    uint32_t cap;
};

static void columns_add(struct dp *dp, struct columns *c, const ath_attribute *a, ath_str key)
{
    struct dp_write *w = c->w;

    if (w->column_count == c->cap) {
        uint32_t cap = c->cap ? c->cap * 2 : 16;
        const ath_attribute **column = dp_new(dp, cap * sizeof(*column));
        ath_str *keys = dp_new(dp, cap * sizeof(*keys));
        if (c->cap) {
            memcpy(column, w->column, c->cap * sizeof(*column));
            memcpy(keys, c->key, c->cap * sizeof(*keys));
        }
        w->column = column;
        c->key = keys;
        c->cap = cap;
    }
    c->key[w->column_count] = key;
    w->column[w->column_count++] = a;
}

/* Which column a key means, by its place when the rows are alike. < 0: none; refused. */
static int64_t columns_find(struct dp *dp, struct columns *c, ath_str key, uint32_t place)
{
    struct dp_write *w = c->w;
    const ath_attribute *a;

    if (place < w->column_count && str_eq(c->key[place], key))
        return place;
    for (uint32_t i = 0; i < w->column_count; i++)
        if (str_eq(c->key[i], key))
            return i;
    if (!(a = column_of(dp, w->root.relation, key)))
        return -1;
    for (uint32_t i = 0; i < w->column_count; i++)
        if (w->column[i] == a)
            return i;
    columns_add(dp, c, a, key);
    return w->column_count - 1;
}

static int fill_row(struct dp *dp, struct columns *c, const struct json *row,
                    const struct json **cell)
{
    uint32_t place = 0, filled = 0;

    json_each(v, row)
    {
        int64_t at = columns_find(dp, c, v->key, place++);
        if (cell[at])
            return twice(dp, c->w->column[at]);
        cell[at] = v;
        filled++;
    }
    if (filled == c->w->column_count)
        return 0;
    c->w->mixed = c->w->mixed || !c->w->nulls;
    return 0;
}

/* One pass finds the columns, the next puts the values under them. */
static int bind_rows(struct dp *dp, struct dp_write *w)
{
    struct columns c = { .w = w };
    int rc = 0;

    for (uint32_t i = 0; i < w->row_count; i++) {
        uint32_t place = 0;
        json_each(v, w->row[i])
        {
            if (columns_find(dp, &c, v->key, place++) < 0)
                return ATH_E_INPUT;
        }
    }
    if ((uint64_t)w->row_count * w->column_count > DP_CELLS)
        return dp_refuse(dp, "%u rows of %u columns are more than one insert takes", w->row_count,
                         w->column_count);
    w->cell = dp_new(dp, ((size_t)w->row_count * w->column_count + 1) * sizeof(*w->cell));
    for (uint32_t i = 0; i < w->row_count && rc == 0; i++)
        rc = fill_row(dp, &c, w->row[i], w->cell + (size_t)i * w->column_count);
    return rc;
}

static int bind_set(struct dp *dp, struct dp_write *w)
{
    w->set_column = dp_new(dp, (w->set_count + 1) * sizeof(*w->set_column));
    for (uint32_t i = 0; i < w->set_count; i++) {
        const ath_attribute *a = column_of(dp, w->root.relation, w->set[i]->key);
        if (!a)
            return ATH_E_INPUT;
        for (uint32_t j = 0; j < i; j++)
            if (w->set_column[j] == a)
                return twice(dp, a);
        w->set_column[i] = a;
    }
    return 0;
}

/* ---- keys ---- */

static const ath_key *key_at(const ath_relation *r, uint32_t i)
{
    return (const void *)((const char *)r->key + (size_t)i * r->key_size);
}

static const ath_attribute *numbered(const ath_relation *r, uint32_t number)
{
    for (uint32_t i = 0; i < r->column_count; i++)
        if (dp_column_at(r, i)->number == number)
            return dp_column_at(r, i);
    return NULL;
}

static const ath_key *primary_of(const ath_relation *r)
{
    return r->key_count && key_at(r, 0)->primary ? key_at(r, 0) : NULL;
}

const ath_attribute *dp_id_column(const struct dp *dp, const ath_relation *r)
{
    const ath_key *key = primary_of(r);

    if (key && key->number_count == 1)
        return numbered(r, key->number[0]);
    return dp->catalog->column(r, ATH_S("id"));
}

static int bind_primary(struct dp *dp, struct dp_write *w, const char *what)
{
    const ath_key *key = primary_of(w->root.relation);

    if (!key)
        return dp_refuse(dp, "%s \"%.*s\" needs a primary key", what,
                         STR_ARG(w->root.relation->name));
    w->key = dp_new(dp, key->number_count * sizeof(*w->key));
    for (uint32_t i = 0; i < key->number_count; i++)
        w->key[w->key_count++] = numbered(w->root.relation, key->number[i]);
    return 0;
}

static bool is_key(const struct dp_write *w, const ath_key *key)
{
    if (key->number_count != w->key_count)
        return false;
    for (uint32_t i = 0; i < w->key_count; i++) {
        uint32_t j = 0;
        while (j < w->key_count && w->key[j]->number != key->number[i])
            j++;
        if (j == w->key_count)
            return false;
    }
    return true;
}

static int bind_target(struct dp *dp, struct dp_write *w)
{
    const ath_relation *r = w->root.relation;
    struct buf names = dp_buf(dp);

    if (!w->target_count)
        return bind_primary(dp, w, "updating on a conflict with");
    w->key = dp_new(dp, w->target_count * sizeof(*w->key));
    for (uint32_t i = 0; i < w->target_count; i++) {
        const ath_attribute *a = column_of(dp, r, w->target[i]);
        if (!a)
            return ATH_E_INPUT;
        for (uint32_t j = 0; j < i; j++)
            if (w->key[j] == a)
                return twice(dp, a);
        w->key[w->key_count++] = a;
        buf_printf(&names, "%s%.*s", i ? ", " : "", STR_ARG(a->name));
    }
    for (uint32_t i = 0; i < r->key_count; i++)
        if (is_key(w, key_at(r, i)))
            return 0;
    dp->unknown = true; /* it may be new */
    return dp_refuse(dp, "no unique index or constraint of \"%.*s\" is on exactly (%s)",
                     STR_ARG(r->name), names.p);
}

/* ---- the whole ---- */

/* Clients that filter on "resource_id" send it as a condition, too; unless the table has a column
 * of that name, it means the same one there. */
static void bind_id_conditions(const struct dp *dp, const ath_relation *r, const struct dp_write *w)
{
    if (dp_column(dp, r, ATH_S("resource_id")))
        return;
    for (struct dp_pred *p = w->root.where; p; p = p->next)
        if (p->logic == DP_TERM && p->op == DP_EQ && str_is(p->ref.name, "resource_id"))
            p->ref.name = w->id_attribute->name;
}

/* Which column `resource_id` names. */
static int bind_id(struct dp *dp, struct dp_write *w)
{
    const ath_relation *r = dp->catalog->relation(dp->snapshot, w->root.schema, w->root.table);
    struct dp_pred *p;

    if (!r || !w->id)
        return 0;
    w->id_attribute = w->id_column.n ? column_of(dp, r, w->id_column) : dp_id_column(dp, r);
    if (!w->id_attribute && w->id_column.n)
        return ATH_E_INPUT;
    if (!w->id_attribute)
        return ath_raise(dp->e, "invalid_delete_resource_id_column",
                         "\"%.*s\" has no primary key of one column and no column \"id\": name the "
                         "column of resource_id in column_name",
                         STR_ARG(r->name));
    bind_id_conditions(dp, r, w);
    if (!(p = dp_pred_new(dp, DP_TERM)))
        return ATH_E_INPUT;
    p->op = DP_EQ;
    p->value = w->id;
    p->ref = (struct dp_ref){ .name = w->id_attribute->name, .column = w->id_attribute };
    p->next = w->root.where;
    w->root.where = p;
    if (!w->root.where_last)
        w->root.where_last = p;
    return 0;
}

static int bind_insert(struct dp *dp, struct dp_write *w)
{
    int rc;

    w->id_attribute = dp_id_column(dp, w->root.relation);
    if ((rc = bind_rows(dp, w)) < 0 || (rc = bind_set(dp, w)) < 0)
        return rc;
    return w->conflict ? bind_target(dp, w) : 0;
}

int dp_bind_write(struct dp *dp, struct dp_write *w)
{
    int rc;

    if ((rc = bind_id(dp, w)) < 0 || (rc = dp_bind(dp, &w->root)) < 0)
        return rc;
    if (w->root.relation->kind == ATH_REL_MATVIEW)
        return dp_write_view(dp, w);
    if (w->kind == DP_INSERT)
        return bind_insert(dp, w);
    if ((rc = bind_set(dp, w)) < 0)
        return rc;
    if (w->root.limit >= 0 || w->root.offset >= 0)
        return bind_primary(dp, w, "a limit on");
    return 0;
}

uint32_t dp_write_rights(struct dp *dp, const struct dp_write *w, const ath_right **ret)
{
    const ath_relation *r = dp->catalog->relation(dp->snapshot, w->root.schema, w->root.table);
    ath_right *right = dp_new(dp, sizeof(*right));

    *right = (ath_right){ r ? r->schema : w->root.schema, r ? r->name : w->root.table,
                          w->kind == DP_DELETE ? ATH_S("delete") : ATH_S("write") };
    *ret = right;
    return 1;
}
