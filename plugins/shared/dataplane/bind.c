/* Names to the catalogue: tables, columns, order and filters of each node of the tree.
 *
 * A tree is bound once. When a name is missing (dp.unknown) the caller waits for a fresh snapshot,
 * reads the request again and binds that.
 */
#include "dataplane/dataplane.h"

static int bind_ref(struct dp *dp, const struct dp_node *node, struct dp_ref *ref)
{
    ath_str name = dp->fold ? dp_fold(dp, ref->name) : ref->name;

    ref->column = dp->catalog->column(node->relation, name);
    ref->exact = ref->column != NULL;
    if (!ref->column)
        ref->column = dp_column(dp, node->relation, name);
    return ref->column ? 0 : dp_no_column(dp, node->relation, ref->name);
}

/* The child that "rel.col" means: by its output name, or by its table's. */
static struct dp_node *child_named(const struct dp_node *node, ath_str name)
{
    for (const struct dp_item *i = node->item; i; i = i->next)
        if (i->child && str_eq(i->key, name))
            return i->child;
    for (const struct dp_item *i = node->item; i; i = i->next)
        if (i->child && (str_eq(i->child->table, name) || str_eq(i->child->asked, name)))
            return i->child;
    return NULL;
}

/* "owner.name" filters inside the relation: such terms move to the child that they name. */
static void move_dotted(struct dp *dp, struct dp_node *node)
{
    struct dp_pred *p = node->where, *next;

    node->where = node->where_last = NULL;
    for (; p; p = next) {
        ath_str name = p->ref.name;
        size_t dot = str_find(name, '.');
        struct dp_node *child = NULL;
        next = p->next;
        p->next = NULL;
        if (p->logic == DP_TERM && dot < name.n && !dp->catalog->column(node->relation, name))
            child = child_named(node, str_from(name.p, dot));
        if (child)
            p->ref.name = str_after(name, dot + 1);
        dp_where_add(child ? child : node, p);
    }
}

static int bind_pred(struct dp *dp, struct dp_node *node, struct dp_pred *p)
{
    int rc = 0;

    if (p->logic == DP_TERM)
        return bind_ref(dp, node, &p->ref);
    for (struct dp_pred *q = p->first; q && rc == 0; q = q->next)
        rc = bind_pred(dp, node, q);
    return rc;
}

static bool has_key(const struct dp_node *node, ath_str key)
{
    for (const struct dp_item *i = node->item; i; i = i->next)
        if (!i->star && str_eq(i->key, key))
            return true;
    return false;
}

/* A star beside other items becomes the columns whose names those do not take. */
static void expand_star(struct dp *dp, struct dp_node *node)
{
    struct dp_item **at = &node->item, *star, *first = NULL, **to = &first;

    while (*at && !(*at)->star)
        at = &(*at)->next;
    if (!(star = *at))
        return;
    for (uint32_t c = 0; c < node->relation->column_count; c++) {
        const ath_attribute *a = dp_column_at(node->relation, c);
        ath_str key = dp->fold ? dp_fold(dp, a->name) : a->name;
        if (has_key(node, key))
            continue;
        *to = dp_new(dp, sizeof(**to));
        **to = (struct dp_item){ .ref = { .name = a->name, .column = a }, .key = key };
        to = &(*to)->next;
    }
    *to = star->next;
    *at = first;
}

/* Types whose text is not enough to write their JSON: composites, and what extensions bring. */
bool dp_needs_json(const ath_attribute *a)
{
    return a->kind == 'c' || a->base_type == 22 || a->base_type == 30 || /* int2vector, oidvector */
           (a->base_type >= 16384 && a->kind != 'e' && a->kind != 'r' && a->kind != 'm');
}

static bool star_is_plain(const struct dp *dp, const struct dp_node *node)
{
    if (!node->item || !node->item->star || node->item->next || (dp->fold && node->parent))
        return false;
    for (uint32_t i = 0; i < node->relation->column_count && !node->parent; i++)
        if (dp_needs_json(dp_column_at(node->relation, i)))
            return false;
    return true;
}

static int bind_columns(struct dp *dp, struct dp_node *node)
{
    int rc = 0;

    if (!star_is_plain(dp, node))
        expand_star(dp, node);
    for (struct dp_item *i = node->item; i && rc == 0; i = i->next) {
        if (i->child)
            rc = bind_columns(dp, i->child);
        else if (!i->star && !i->ref.column)
            rc = bind_ref(dp, node, &i->ref);
    }
    for (struct dp_pred *p = node->where; p && rc == 0; p = p->next)
        rc = bind_pred(dp, node, p);
    for (struct dp_order *o = node->order; o && rc == 0; o = o->next)
        rc = bind_ref(dp, node, &o->ref);
    return rc;
}

/* "t0.", "t1." ...; there are DP_RELATIONS at most. */
static void name_alias(struct dp_node *node, uint32_t number)
{
    char *to = node->alias;

    node->number = number;
    *to++ = 't';
    if (number >= 10)
        *to++ = (char)('0' + number / 10);
    *to++ = (char)('0' + number % 10);
    *to++ = '.';
    node->alias_n = (uint32_t)(to - node->alias);
}

static int bind_tables(struct dp *dp, struct dp_node *node, uint32_t *number)
{
    int rc = 0;

    name_alias(node, (*number)++);
    move_dotted(dp, node);
    for (struct dp_item *i = node->item; i && rc == 0; i = i->next) {
        if (!i->child)
            continue;
        if ((rc = dp_bind_join(dp, i->child)) == 0)
            rc = bind_tables(dp, i->child, number);
    }
    return rc;
}

int dp_bind(struct dp *dp, struct dp_node *root)
{
    uint32_t number = 0;
    int rc;

    if (!root->relation)
        root->relation = dp->catalog->relation(dp->snapshot, root->schema, root->table);
    if (!root->relation)
        return dp_no_table(dp, root->schema, root->table);
    if ((rc = bind_tables(dp, root, &number)) < 0)
        return rc;
    return bind_columns(dp, root);
}

/* ---- rights ---- */

static void add_right(ath_right *list, uint32_t *n, ath_str schema, ath_str table,
                      const char *action)
{
    for (uint32_t i = 0; i < *n; i++)
        if (str_eq(list[i].schema, schema) && str_eq(list[i].table, table))
            return;
    list[(*n)++] = (ath_right){ schema, table, str_of(action) };
}

static void rights_of(const struct dp_node *node, const char *action, ath_right *list, uint32_t *n)
{
    const ath_relation *r = node->relation, *t = node->through;

    add_right(list, n, r ? r->schema : node->schema, r ? r->name : node->table, action);
    if (t)
        add_right(list, n, t->schema, t->name, action);
    for (const struct dp_item *i = node->item; i; i = i->next)
        if (i->child)
            rights_of(i->child, action, list, n);
}

uint32_t dp_rights(struct dp *dp, const struct dp_node *root, const char *action,
                   const ath_right **ret)
{
    ath_right *list = dp_new(dp, (dp->relations + 1) * 2 * sizeof(*list));
    uint32_t n = 0;

    rights_of(root, action, list, &n);
    *ret = list;
    return n;
}

uint32_t dp_rights_below(struct dp *dp, const struct dp_node *root, const char *action,
                         const ath_right **ret)
{
    ath_right *list = dp_new(dp, (dp->relations + 1) * 2 * sizeof(*list));
    uint32_t n = 0;

    for (const struct dp_item *i = root->item; i; i = i->next)
        if (i->child)
            rights_of(i->child, action, list, &n);
    *ret = list;
    return n;
}
