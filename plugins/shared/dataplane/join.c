/* How a relation inside another is joined to it (contract 14.4, 14.5), in this order:
 *
 *     a hint           !constraint, !column, !parent.column, !child.column, !junction, via
 *     a column         "owner:owner_id(name)": the target is a foreign key of the parent
 *     one foreign key  between the two tables, in either direction
 *     convention       {singular}_id on either side, to the other's id
 *     one junction     a table with a foreign key to each of the two
 *
 * What is left is refused as ambiguous or unknown, with what would help.
 */
#include "dataplane/dataplane.h"

#define refuse(dp, ...) ath_raise((dp)->e, "invalid_structured_select_request", __VA_ARGS__)

static const ath_attribute *numbered(const ath_relation *r, uint32_t number)
{
    for (uint32_t i = 0; i < r->column_count; i++) {
        const ath_attribute *a =
            (const void *)((const char *)r->column + (size_t)i * r->column_size);
        if (a->number == number)
            return a;
    }
    return NULL;
}

/* Pairs along a foreign key; `down`: the parent refers to the child. */
static struct dp_pair *pairs_of(struct dp *dp, const ath_reference *f, bool down)
{
    struct dp_pair *p = dp_new(dp, f->count * sizeof(*p));

    for (uint32_t i = 0; i < f->count; i++) {
        const ath_attribute *from = numbered(f->from, f->from_number[i]);
        const ath_attribute *to = numbered(f->to, f->to_number[i]);
        p[i] = down ? (struct dp_pair){ from, to } : (struct dp_pair){ to, from };
    }
    return p;
}

static int along(struct dp *dp, struct dp_node *node, const ath_reference *f, bool down)
{
    node->pair = pairs_of(dp, f, down);
    node->pair_count = f->count;
    node->many = !down;
    return 0;
}

static int columns_join(struct dp *dp, struct dp_node *node, const ath_attribute *parent,
                        const ath_attribute *child, bool many)
{
    node->pair = dp_new(dp, sizeof(*node->pair));
    *node->pair = (struct dp_pair){ parent, child };
    node->pair_count = 1;
    node->many = many;
    return 0;
}

static int through(struct dp *dp, struct dp_node *node, const ath_reference *up,
                   const ath_reference *down)
{
    node->through = up->from;
    node->pair = pairs_of(dp, up, false);
    node->pair_count = up->count;
    node->through_pair = pairs_of(dp, down, true);
    node->through_count = down->count;
    node->many = true;
    return 0;
}

static bool same(const ath_relation *a, const ath_relation *b)
{
    return a->oid == b->oid;
}

/* The foreign key of `from` to `to` that holds this column; NULL: none or several. */
static const ath_reference *key_on(const ath_relation *from, const ath_relation *to,
                                   const ath_attribute *column)
{
    const ath_reference *found = NULL;

    for (uint32_t i = 0; i < from->out_count; i++) {
        const ath_reference *f = from->out[i];
        bool holds = false;
        for (uint32_t c = 0; c < f->count; c++)
            holds = holds || f->from_number[c] == column->number;
        if (!holds || (to && !same(f->to, to)))
            continue;
        if (found && found->count == 1 && f->count > 1)
            continue;
        if (found && !(found->count > 1 && f->count == 1))
            return NULL;
        found = f;
    }
    return found;
}

/* `column` of one side refers to the other's id, where no foreign key says more. */
static int by_column(struct dp *dp, struct dp_node *node, const ath_attribute *column, bool down)
{
    const ath_relation *parent = node->parent->relation, *child = node->relation;
    const ath_reference *f = key_on(down ? parent : child, down ? child : parent, column);
    const ath_attribute *id = dp->catalog->column(down ? child : parent, ATH_S("id"));

    if (f)
        return along(dp, node, f, down);
    if (!id)
        return refuse(dp, "foreign_key '%.*s' has nothing to refer to: '%.*s' has no id",
                      STR_ARG(column->name), STR_ARG((down ? child : parent)->name));
    return down ? columns_join(dp, node, column, id, false)
                : columns_join(dp, node, id, column, true);
}

/* A constraint's name, in either direction. */
static const ath_reference *key_named(const struct dp_node *node, ath_str name, bool *ret_down)
{
    const ath_relation *parent = node->parent->relation, *child = node->relation;

    for (uint32_t i = 0; i < parent->out_count; i++)
        if (same(parent->out[i]->to, child) && str_eq(parent->out[i]->name, name)) {
            *ret_down = true;
            return parent->out[i];
        }
    for (uint32_t i = 0; i < parent->in_count; i++)
        if (same(parent->in[i]->from, child) && str_eq(parent->in[i]->name, name)) {
            *ret_down = false;
            return parent->in[i];
        }
    return NULL;
}

/* The one pair of foreign keys of `by` to parent and child; false: none or several. */
static bool junction(const struct dp_node *node, const ath_relation *by, const ath_reference **up,
                     const ath_reference **down)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < by->out_count; i++)
        for (uint32_t j = 0; j < by->out_count; j++)
            if (i != j && same(by->out[i]->to, node->parent->relation) &&
                same(by->out[j]->to, node->relation)) {
                *up = by->out[i];
                *down = by->out[j];
                n++;
            }
    return n == 1;
}

static int by_hint(struct dp *dp, struct dp_node *node, ath_str hint)
{
    const ath_relation *parent = node->parent->relation, *child = node->relation, *by;
    bool up = str_starts(hint, "parent."), down = str_starts(hint, "child.");
    ath_str name = up ? str_after(hint, 7) : down ? str_after(hint, 6) : hint;
    const ath_attribute *mine = down ? NULL : dp_column(dp, parent, name);
    const ath_attribute *theirs = up ? NULL : dp_column(dp, child, name);
    const ath_reference *f = up || down ? NULL : key_named(node, name, &down), *g;

    if (f)
        return along(dp, node, f, down);
    if (mine && theirs && !same(parent, child) &&
        !key_on(parent, child, mine) != !key_on(child, parent, theirs)) {
        if (key_on(parent, child, mine))
            theirs = NULL;
        else
            mine = NULL;
    }
    if (mine && theirs)
        return refuse(dp,
                      "foreign_key '%.*s' exists on both '%.*s' and '%.*s'; prefix it with parent. "
                      "or child.",
                      STR_ARG(name), STR_ARG(parent->name), STR_ARG(child->name));
    if (mine || theirs)
        return by_column(dp, node, mine ? mine : theirs, mine != NULL);
    by = dp->catalog->relation(dp->snapshot, (ath_str){ "", 0 }, name);
    if (by && junction(node, by, &f, &g))
        return through(dp, node, f, g);
    dp->unknown = true;
    return refuse(dp, "foreign_key '%.*s' was not found on '%.*s' or '%.*s'", STR_ARG(name),
                  STR_ARG(parent->name), STR_ARG(child->name));
}

static uint32_t keys_between(const struct dp_node *node, const ath_reference **ret, bool *ret_down)
{
    const ath_relation *parent = node->parent->relation, *child = node->relation;
    uint32_t n = 0;

    for (uint32_t i = 0; i < parent->out_count; i++)
        if (same(parent->out[i]->to, child)) {
            *ret = parent->out[i];
            *ret_down = true;
            n++;
        }
    for (uint32_t i = 0; i < parent->in_count; i++)
        if (same(parent->in[i]->from, child)) {
            *ret = parent->in[i];
            *ret_down = false;
            n++;
        }
    return n;
}

/* "tasks" gives task_id; one trailing s goes. */
static const ath_attribute *conventional(struct dp *dp, const ath_relation *in, ath_str table)
{
    struct buf b = dp_buf(dp);

    if (table.n > 1 && table.p[table.n - 1] == 's')
        table.n--;
    buf_str(&b, table);
    buf_lit(&b, "_id");
    return dp->catalog->column(in, buf_view(&b));
}

static int by_junction(struct dp *dp, struct dp_node *node)
{
    const ath_relation *parent = node->parent->relation;
    const ath_reference *up = NULL, *down = NULL, *a, *b;
    uint32_t n = 0;

    for (uint32_t i = 0; i < parent->in_count; i++) {
        const ath_relation *by = parent->in[i]->from;
        if (same(by, node->relation) || (up && same(by, up->from)) || !junction(node, by, &a, &b))
            continue;
        up = a;
        down = b;
        n++;
    }
    if (n == 1)
        return through(dp, node, up, down);
    dp->unknown = true;
    return refuse(
        dp,
        n ? "more than one table joins '%.*s' and '%.*s'; name the foreign key with !"
          : "could not resolve how '%.*s' and '%.*s' are related; name the foreign key with !",
        STR_ARG(parent->name), STR_ARG(node->relation->name));
}

static int by_itself(struct dp *dp, struct dp_node *node)
{
    const ath_relation *parent = node->parent->relation, *child = node->relation;
    const ath_reference *f = NULL;
    const ath_attribute *mine, *theirs;
    bool down = false;
    uint32_t n = keys_between(node, &f, &down);

    if (n == 1)
        return along(dp, node, f, down);
    if (n > 1)
        return refuse(
            dp, "the relation between '%.*s' and '%.*s' is ambiguous; name the foreign key with !",
            STR_ARG(parent->name), STR_ARG(child->name));
    mine = conventional(dp, parent, child->name);
    theirs = conventional(dp, child, parent->name);
    if (mine && !dp->catalog->column(child, ATH_S("id")))
        mine = NULL;
    if (theirs && !dp->catalog->column(parent, ATH_S("id")))
        theirs = NULL;
    if (mine && theirs)
        return refuse(
            dp, "the relation between '%.*s' and '%.*s' is ambiguous; name the foreign key with !",
            STR_ARG(parent->name), STR_ARG(child->name));
    if (mine || theirs)
        return by_column(dp, node, mine ? mine : theirs, mine != NULL);
    return by_junction(dp, node);
}

/* "owner:owner_id(name)": no such table, but a column of the parent that refers to one. */
static int by_target(struct dp *dp, struct dp_node *node)
{
    const ath_relation *parent = node->parent->relation;
    const ath_attribute *column = node->schema.n ? NULL : dp_column(dp, parent, node->table);
    const ath_reference *f = column ? key_on(parent, NULL, column) : NULL;

    if (f) {
        node->relation = f->to;
        return along(dp, node, f, true);
    }
    dp->unknown = true;
    if (column)
        return refuse(dp, "column '%.*s' of '%.*s' is no foreign key", STR_ARG(column->name),
                      STR_ARG(parent->name));
    return refuse(dp, "table '%.*s.%.*s' was not found for structured gateway fetch",
                  STR_ARG(node->schema.n ? node->schema : parent->schema), STR_ARG(node->table));
}

int dp_bind_join(struct dp *dp, struct dp_node *node)
{
    ath_str hint = node->hint.n ? node->hint : node->via;
    ath_str schema = node->schema.n ? node->schema : node->parent->schema;
    int rc;

    node->relation = dp->catalog->relation(dp->snapshot, schema, node->table);
    if (!node->relation && !node->schema.n)
        node->relation = dp->catalog->relation(dp->snapshot, node->schema, node->table);
    if (!node->relation)
        rc = by_target(dp, node);
    else
        rc = hint.n ? by_hint(dp, node, hint) : by_itself(dp, node);
    if (rc == 0 && !node->many && node->limit > 1)
        return refuse(dp, "relation '%.*s' is one row: limit cannot be %lld", STR_ARG(node->key),
                      (long long)node->limit);
    return rc;
}
