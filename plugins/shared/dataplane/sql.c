/* The statement of a fetch: one SELECT, whatever it embeds and counts.
 *
 *     SELECT t0."id", t0."name" FROM "public"."items" AS t0 WHERE t0."id" = $1 LIMIT $2
 *
 * Columns of the root are sent as they are: our side makes their JSON (sdk/lib/typed.h). An
 * embedded relation is JSON made by the database, in a sub-select of its own per row:
 *
 *     one    (SELECT row_to_json(r) FROM (SELECT t1."name" FROM ... WHERE <join> LIMIT 1) AS r)
 *     many   array_to_json(ARRAY(SELECT r FROM (SELECT ... ORDER BY ... LIMIT $3) AS r))
 *
 * An exact count shares the snapshot, because it shares the statement:
 *
 *     SELECT c.n, r.* FROM (SELECT count(*) AS n FROM ...) AS c LEFT JOIN (SELECT true, ...) AS r
 * ON true
 *
 * The conditions of a node are written once; where they are needed again, the text is copied with
 * the numbers of its parameters.
 */
#include "dataplane/dataplane.h"

#include "lib/sqlname.h"

enum { OID_INT8 = 20 };

static int select_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node, bool marked);

static void alias(struct buf *b, char letter, uint32_t number)
{
    buf_char(b, letter);
    buf_u64(b, number);
}

static void from_sql(struct buf *b, const ath_relation *r, char letter, uint32_t number)
{
    buf_lit(b, " FROM ");
    buf_ident2(b, r->schema, r->name);
    buf_lit(b, " AS ");
    alias(b, letter, number);
}

/* The value of an item without its name. */
static int item_value(struct dp *dp, struct dp_sql *sql, struct dp_node *node, struct dp_item *i)
{
    bool as_json = !node->parent && !i->ref.path && !i->cast && dp_needs_json(i->ref.column);
    int rc;

    if (as_json)
        buf_lit(&sql->text, "to_json(");
    if ((rc = dp_ref_sql(dp, sql, node, &i->ref)) < 0)
        return rc;
    if (as_json)
        buf_char(&sql->text, ')');
    if (i->cast) {
        buf_lit(&sql->text, "::");
        buf_z(&sql->text, i->cast->name);
    }
    return 0;
}

static int relation_value(struct dp *dp, struct dp_sql *sql, struct dp_node *child)
{
    int rc;

    if (child->many)
        buf_lit(&sql->text, "array_to_json(ARRAY(SELECT r FROM (");
    else
        buf_lit(&sql->text, "(SELECT row_to_json(r) FROM (");
    if ((rc = select_sql(dp, sql, child, false)) < 0)
        return rc;
    if (child->many)
        buf_lit(&sql->text, ") AS r))");
    else
        buf_lit(&sql->text, ") AS r)");
    return 0;
}

/* Inside a relation the database makes the keys, so each item has its name there. */
int dp_items_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node)
{
    for (struct dp_item *i = node->item; i; i = i->next) {
        int rc = 0;
        if (i->star) {
            alias(&sql->text, 't', node->number);
            buf_lit(&sql->text, ".*");
        } else if (i->child) {
            rc = relation_value(dp, sql, i->child);
        } else {
            rc = item_value(dp, sql, node, i);
        }
        if (rc < 0)
            return rc;
        if (node->parent && !i->star &&
            (i->child || i->cast || i->ref.path || !str_eq(i->key, i->ref.column->name))) {
            buf_lit(&sql->text, " AS ");
            buf_ident(&sql->text, i->key);
        }
        if (i->next)
            buf_lit(&sql->text, ", ");
    }
    return 0;
}

/* ---- conditions ---- */

static int pred_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node,
                    const struct dp_pred *p)
{
    int rc;

    if (p->logic == DP_TERM)
        return dp_term_sql(dp, sql, node, p);
    if (p->logic == DP_NOT)
        buf_lit(&sql->text, "NOT ");
    buf_char(&sql->text, '(');
    if (!p->first)
        buf_lit(&sql->text, "true");
    for (const struct dp_pred *q = p->first; q; q = q->next) {
        if ((rc = pred_sql(dp, sql, node, q)) < 0)
            return rc;
        if (q->next)
            buf_z(&sql->text, p->logic == DP_OR ? " OR " : " AND ");
    }
    buf_char(&sql->text, ')');
    return 0;
}

static void pairs_sql(struct buf *b, const struct dp_pair *p, uint32_t n, const char *parent,
                      const char *child)
{
    for (uint32_t i = 0; i < n; i++) {
        buf_z(b, i ? " AND " : "");
        buf_z(b, child);
        buf_char(b, '.');
        buf_ident(b, p[i].child->name);
        buf_lit(b, " = ");
        buf_z(b, parent);
        buf_char(b, '.');
        buf_ident(b, p[i].parent->name);
    }
}

static void join_sql(struct buf *b, const struct dp_node *node)
{
    char parent[16], child[16], by[16];

    snprintf(parent, sizeof(parent), "t%u", node->parent->number);
    snprintf(child, sizeof(child), "t%u", node->number);
    snprintf(by, sizeof(by), "j%u", node->number);
    if (!node->through) {
        pairs_sql(b, node->pair, node->pair_count, parent, child);
        return;
    }
    buf_lit(b, "EXISTS (SELECT 1");
    from_sql(b, node->through, 'j', node->number);
    buf_lit(b, " WHERE ");
    pairs_sql(b, node->pair, node->pair_count, parent, by);
    buf_lit(b, " AND ");
    pairs_sql(b, node->through_pair, node->through_count, by, child);
    buf_char(b, ')');
}

/* " WHERE " or " AND ", as it is the node's first condition or not. */
static void glue(struct buf *b, bool *any)
{
    if (*any)
        buf_lit(b, " AND ");
    else
        buf_lit(b, " WHERE ");
    *any = true;
}

static int conditions(struct dp *dp, struct dp_sql *sql, struct dp_node *node)
{
    bool any = false;
    int rc;

    if (node->parent) {
        glue(&sql->text, &any);
        join_sql(&sql->text, node);
    }
    for (const struct dp_pred *p = node->where; p; p = p->next) {
        glue(&sql->text, &any);
        if ((rc = pred_sql(dp, sql, node, p)) < 0)
            return rc;
    }
    for (const struct dp_item *i = node->item; i; i = i->next) {
        if (!i->child || !i->child->inner)
            continue;
        glue(&sql->text, &any);
        buf_lit(&sql->text, "EXISTS (SELECT 1");
        from_sql(&sql->text, i->child->relation, 't', i->child->number);
        if ((rc = dp_where_sql(dp, sql, i->child)) < 0)
            return rc;
        buf_char(&sql->text, ')');
    }
    return 0;
}

/* Copies what stands in `of`, which may be the same buffer. */
static void again(struct buf *b, const struct buf *of, const struct dp_node *node)
{
    size_t n = node->sql_to - node->sql_from;

    buf_grow(b, n);
    buf_mem(b, of->p + node->sql_from, n);
}

int dp_where_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node)
{
    size_t from = sql->text.n;
    int rc;

    if (node->sql_to) {
        again(&sql->text, &sql->text, node);
        return 0;
    }
    if ((rc = conditions(dp, sql, node)) < 0)
        return rc;
    node->sql_from = from;
    node->sql_to = sql->text.n;
    return 0;
}

/* ---- the whole ---- */

int dp_order_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node)
{
    for (const struct dp_order *o = node->order; o; o = o->next) {
        int rc;
        if (o == node->order)
            buf_lit(&sql->text, " ORDER BY ");
        else
            buf_lit(&sql->text, ", ");
        if ((rc = dp_ref_sql(dp, sql, node, &o->ref)) < 0)
            return rc;
        if (o->jsonb)
            buf_lit(&sql->text, "::jsonb");
        buf_z(&sql->text, o->desc ? " DESC" : " ASC");
        if (o->nulls)
            buf_z(&sql->text, o->nulls == 1 ? " NULLS FIRST" : " NULLS LAST");
    }
    return 0;
}

static int number_sql(struct dp *dp, struct dp_sql *sql, const char *word, int64_t v)
{
    char text[24], *at = text + sizeof(text);
    ath_str digits;

    for (uint64_t u = (uint64_t)v; u || at == text + sizeof(text); u /= 10)
        *--at = (char)('0' + u % 10);
    digits = dp_copy(dp, str_from(at, (size_t)(text + sizeof(text) - at)));
    buf_z(&sql->text, word);
    return dp_param(dp, sql, digits, OID_INT8) ? 0 : ATH_E_INPUT;
}

/* Do the columns that join a child hold a unique key of it? Then it has one row at most. */
static bool joins_one(const struct dp_node *node)
{
    const ath_relation *r = node->relation;

    for (uint32_t k = 0; k < r->key_count; k++) {
        const ath_key *key = (const void *)((const char *)r->key + (size_t)k * r->key_size);
        uint32_t held = 0;
        for (uint32_t c = 0; c < key->number_count; c++)
            for (uint32_t i = 0; i < node->pair_count; i++)
                if (node->pair[i].child->number == key->number[c]) {
                    held++;
                    break;
                }
        if (key->number_count && held == key->number_count)
            return true;
    }
    return false;
}

int dp_page_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node)
{
    int rc = 0;

    if (node->limit >= 0)
        rc = number_sql(dp, sql, " LIMIT ", node->limit);
    else if (node->parent && !node->many && !joins_one(node))
        buf_lit(&sql->text, " LIMIT 1");
    if (rc == 0 && node->offset > 0)
        rc = number_sql(dp, sql, " OFFSET ", node->offset);
    return rc;
}

static int select_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node, bool marked)
{
    int rc;

    buf_lit(&sql->text, "SELECT ");
    if (marked)
        buf_lit(&sql->text, "true, ");
    if ((rc = dp_items_sql(dp, sql, node)) < 0)
        return rc;
    from_sql(&sql->text, node->relation, 't', node->number);
    if ((rc = dp_where_sql(dp, sql, node)) < 0 || (rc = dp_order_sql(dp, sql, node)) < 0)
        return rc;
    return dp_page_sql(dp, sql, node);
}

static int counted_sql(struct dp *dp, struct dp_query *q, struct dp_node *root, bool rows)
{
    int rc;

    buf_z(&q->sql.text, rows ? "SELECT c.n, r.* FROM (SELECT count(*) AS n" : "SELECT count(*)");
    from_sql(&q->sql.text, root->relation, 't', root->number);
    if ((rc = dp_where_sql(dp, &q->sql, root)) < 0 || !rows)
        return rc;
    buf_lit(&q->sql.text, ") AS c LEFT JOIN (");
    if ((rc = select_sql(dp, &q->sql, root, true)) < 0)
        return rc;
    buf_lit(&q->sql.text, ") AS r ON true");
    return 0;
}

static void plan_sql(struct dp *dp, struct dp_query *q, const struct dp_node *root)
{
    q->plan = dp_buf(dp);
    buf_lit(&q->plan, "EXPLAIN (FORMAT JSON) SELECT 1");
    from_sql(&q->plan, root->relation, 't', root->number);
    again(&q->plan, &q->sql.text, root);
    q->stmt[q->stmt_count++] = (ath_stmt){ .sql = q->plan.p,
                                           .param = q->sql.param,
                                           .type = q->sql.type,
                                           .param_count = q->sql.count,
                                           .flags = ATH_PG_READ };
}

int dp_fetch_sql(struct dp *dp, const struct dp_fetch *f, struct dp_query *ret)
{
    struct dp_node *root = (struct dp_node *)(uintptr_t)&f->root;
    int rc;

    ret->sql.text = dp_buf(dp);
    ret->sql.count = ret->sql.cap = 0;
    ret->plan = (struct buf){ 0 };
    ret->stmt_count = 1;
    ret->rows = true;
    ret->counted = false;
    buf_grow(&ret->sql.text, 255);
    if (f->head)
        root->limit = 0;
    if (f->count == DP_COUNT_EXACT) {
        ret->rows = !f->head;
        ret->counted = ret->rows;
        rc = counted_sql(dp, ret, root, ret->rows);
    } else {
        rc = select_sql(dp, &ret->sql, root, false);
    }
    if (rc < 0)
        return rc;
    ret->stmt[0] = (ath_stmt){ .sql = ret->sql.text.p,
                               .param = ret->sql.param,
                               .type = ret->sql.type,
                               .param_count = ret->sql.count,
                               .flags = ATH_PG_READ };
    if (f->count == DP_COUNT_PLANNED || f->count == DP_COUNT_ESTIMATED)
        plan_sql(dp, ret, root);
    return 0;
}

/* ---- the digest ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 p = (unsigned __int128)a * b;

    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static void add(uint64_t h[2], const void *p, size_t n)
{
    const char *at = p;
    uint64_t w[2];

    h[0] ^= n;
    for (; n >= 16; n -= 16, at += 16) {
        memcpy(w, at, 16);
        h[0] = mix(h[0] ^ w[0], w[1] ^ 0xa0761d6478bd642full);
        h[1] = mix(h[1] ^ w[1], w[0] ^ 0xe7037ed1a0b428dbull);
    }
    w[0] = w[1] = 0;
    memcpy(w, at, n);
    h[0] = mix(h[0] ^ w[0], w[1] ^ 0x8ebc6af09c88c6e3ull);
    h[1] = mix(h[1] ^ w[1], w[0] ^ 0x589965cc75374cc3ull);
}

void dp_digest_shape(const struct dp_query *q, const struct dp_fetch *f, uint64_t ret[2])
{
    uint64_t options = (uint64_t)f->head | (uint64_t)f->count << 1 | (uint64_t)f->group.grain << 4 |
                       (uint64_t)f->group.cumulative << 8 | (uint64_t)f->group.dedup << 9;

    ret[0] = 0x2d358dccaa6c78a5ull;
    ret[1] = 0x8bb84b93962eacc9ull;
    add(ret, q->sql.text.p, q->sql.text.n);
    add(ret, &options, sizeof(options));
    for (const struct dp_item *i = f->root.item; i; i = i->next)
        if (!(i->ref.exact && i->key.p == i->ref.name.p))
            add(ret, i->key.n ? i->key.p : "",
                i->key.n); /* output names of the root are not in the SQL */
    if (f->group.by.n) {
        add(ret, f->group.by.p, f->group.by.n);
        add(ret, f->group.sum.n ? f->group.sum.p : "", f->group.sum.n);
    }
}

void dp_digest_values(const struct dp_query *q, uint64_t h[2])
{
    for (uint32_t i = 0; i < q->sql.count; i++) {
        h[0] ^= (uint64_t)q->sql.type[i] << 32;
        add(h, q->sql.param[i].n ? q->sql.param[i].p : "", q->sql.param[i].n);
    }
}
