/* What a fetch is for the cache: its statement, its values, and what is done to the rows, in full.
 * Two fetches are the same question only if these bytes are the same; nothing is left to a digest
 * here.
 */
#include "dataplane/question.h"

#include "lib/json.h"

static void put_counted(struct buf *b, ath_str s)
{
    uint32_t n = (uint32_t)s.n + (s.p != NULL); /* null is not the empty text */

    buf_mem(b, (const char *)&n, sizeof(n));
    buf_str(b, s);
}

/* Names of the output that are not in the statement, as plans keep them. */
static void put_keys(struct buf *b, const struct dp_fetch *f)
{
    struct buf key = *b;

    if (f->keys) {
        for (uint32_t i = 0; i < f->keys->n; i++)
            buf_str(b, f->keys->prefix[i]);
        return;
    }
    key.p = NULL;
    key.n = key.cap = 0;
    for (const struct dp_item *i = f->root.item; i && !i->star; i = i->next) {
        buf_char(&key, ',');
        buf_json(&key, i->key);
        buf_char(&key, ':');
    }
    if (key.n)
        buf_str(b, buf_view(&key));
}

static void put_group(struct buf *b, const struct dp_group *g)
{
    const char how[] = { (char)g->grain, (char)g->cumulative, (char)g->dedup };

    put_counted(b, g->by);
    put_counted(b, g->sum);
    buf_mem(b, how, sizeof(how));
}

ath_str dp_question(ath_arena *a, ath_str key, const struct dp_fetch *f, const struct dp_query *q,
                    uint8_t form)
{
    struct buf b = BUF_ARENA(a);

    buf_grow(&b, 1024);
    buf_char(&b, (char)form);
    put_counted(&b, key);
    put_counted(&b, str_of(q->stmt[0].sql));
    for (uint32_t i = 0; i < q->sql.count; i++) {
        buf_mem(&b, (const char *)&q->sql.type[i], sizeof(q->sql.type[i]));
        put_counted(&b, q->sql.param[i]);
    }
    put_keys(&b, f);
    if (f->group.by.n)
        put_group(&b, &f->group);
    return buf_view(&b);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool has_word(ath_str s, ath_str word)
{
    for (size_t i = 0; i + word.n <= s.n; i++)
        if (str_ieq(str_from(s.p + i, word.n), word) && (i == 0 || !is_letter(s.p[i - 1])) &&
            (i + word.n == s.n || !is_letter(s.p[i + word.n])))
            return true;
    return false;
}

/* Date and time types read these words; values of other types that hold one only lose the cache. */
bool dp_asks_for_now(const struct dp_query *q)
{
    static const ath_str word[] = { ATH_S("now"), ATH_S("today"), ATH_S("tomorrow"),
                                    ATH_S("yesterday") };

    for (uint32_t i = 0; i < q->sql.count; i++)
        for (size_t k = 0; k < ATH_COUNT(word); k++)
            if (q->sql.param[i].n >= word[k].n && has_word(q->sql.param[i], word[k]))
                return true;
    return false;
}

static uint32_t collect(const struct dp_node *node, ath_relation_name *to)
{
    uint32_t n = 0;

    to[n++] = (ath_relation_name){ node->relation->schema, node->relation->name };
    if (node->through)
        to[n++] = (ath_relation_name){ node->through->schema, node->through->name };
    for (const struct dp_item *i = node->item; i; i = i->next)
        if (i->child)
            n += collect(i->child, to + n);
    return n;
}

uint32_t dp_relations_read(ath_arena *a, const struct dp_node *root, ath_relation_name **ret)
{
    *ret = ath_new(a, 2 * (DP_RELATIONS + 1) * sizeof(**ret));
    return collect(root, *ret);
}
