/* See rest.h. */
#include "dataplane/rest.h"

/* ---- Prefer ---- */

static void applied(struct dp_prefer *to, ath_str name, ath_str value)
{
    buf_printf(&to->applied, "%s%.*s=%.*s", to->applied.n ? ", " : "", STR_ARG(name),
               STR_ARG(value));
}

/* Raised for what is no filter. */
static int refuse(struct dp *dp, ath_str name, ath_str value)
{
    return ath_raise(dp->e, "bad_request", "Prefer has an unknown value: %.*s=%.*s", STR_ARG(name),
                     STR_ARG(value));
}

static bool prefer_known(ath_str name, ath_str value, struct dp_prefer *to)
{
    if (str_ieq(name, ATH_S("count"))) {
        to->count = str_ieq(value, ATH_S("exact"))       ? DP_COUNT_EXACT
                    : str_ieq(value, ATH_S("planned"))   ? DP_COUNT_PLANNED
                    : str_ieq(value, ATH_S("estimated")) ? DP_COUNT_ESTIMATED
                                                         : DP_COUNT_NONE;
        return to->count != DP_COUNT_NONE || str_ieq(value, ATH_S("none"));
    }
    if (str_ieq(name, ATH_S("return"))) {
        to->minimal = !str_ieq(value, ATH_S("representation"));
        return !to->minimal || str_ieq(value, ATH_S("minimal")) ||
               str_ieq(value, ATH_S("headers-only"));
    }
    if (str_ieq(name, ATH_S("resolution"))) {
        to->resolution = str_ieq(value, ATH_S("merge-duplicates"))    ? DP_RESOLVE_MERGE
                         : str_ieq(value, ATH_S("ignore-duplicates")) ? DP_RESOLVE_IGNORE
                                                                      : DP_RESOLVE_NONE;
        return to->resolution != DP_RESOLVE_NONE;
    }
    to->nulls = str_ieq(value, ATH_S("null"));
    return to->nulls || str_ieq(value, ATH_S("default"));
}

/* tx=rollback asks for a write that does not last: to ignore that would be a change nobody wanted.
 */
static int prefer_one(struct dp *dp, ath_str name, ath_str value, struct dp_prefer *to)
{
    static const char *const known[] = { "count", "return", "resolution", "missing" };

    if (str_ieq(name, ATH_S("tx")))
        return str_ieq(value, ATH_S("commit")) ? 0 : refuse(dp, name, value);
    for (size_t i = 0; i < ATH_COUNT(known); i++) {
        if (!str_ieq(name, str_of(known[i])))
            continue;
        if (!prefer_known(name, value, to))
            return refuse(dp, name, value);
        applied(to, name, value);
    }
    return 0;
}

int dp_read_prefer(struct dp *dp, ath_str header, struct dp_prefer *to)
{
    ath_str one, value;
    int rc = 0;

    if (!to->applied.alloc)
        to->applied = dp_buf(dp);
    while (rc == 0 && header.n && str_next(&header, ',', &one)) {
        one = str_trim(str_from(one.p, str_find(one, ';')));
        value = str_trim(str_after(one, str_find(one, '=') + 1));
        if (value.n > 1 && value.p[0] == '"' && value.p[value.n - 1] == '"')
            value = str_from(value.p + 1, value.n - 2);
        rc = prefer_one(dp, str_trim(str_from(one.p, str_find(one, '='))), value, to);
    }
    return rc;
}

/* ---- Range ---- */

int dp_read_range(struct dp *dp, ath_str header, int64_t *limit, int64_t *offset)
{
    ath_str text = str_trim(header);
    size_t unit = str_find(text, '='), dash;
    int64_t from, to;

    if (!text.n)
        return 0;
    if (unit < text.n) {
        if (!str_ieq(str_trim(str_from(text.p, unit)), ATH_S("items")))
            return 0;
        text = str_trim(str_after(text, unit + 1));
    }
    dash = str_find(text, '-');
    if (dash == text.n || !str_i64(str_from(text.p, dash), &from) || from < 0)
        return dp_refuse(dp, "cannot read the range \"%.*s\"", STR_ARG(header));
    *offset = from;
    if (dash + 1 == text.n)
        return 1;
    if (!str_i64(str_after(text, dash + 1), &to) || to < 0)
        return dp_refuse(dp, "cannot read the range \"%.*s\"", STR_ARG(header));
    if (to < from)
        return dp_refuse(dp, "the range \"%.*s\" ends before it begins", STR_ARG(header));
    *limit = to - from < INT64_MAX ? to - from + 1 : to;
    return 1;
}

void dp_content_range(struct buf *b, int64_t offset, uint64_t rows, int64_t total)
{
    if (rows)
        buf_printf(b, "items %lld-%lld/", (long long)offset,
                   (long long)offset + (long long)rows - 1);
    else
        buf_lit(b, "*/");
    if (total < 0)
        buf_char(b, '*');
    else
        buf_i64(b, total);
}

/* ---- query strings ---- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
}

static ath_str lowered(const struct dp *dp, ath_str s, size_t n)
{
    ath_str copy = dp_copy(dp, s);

    for (size_t i = 0; i < n; i++)
        ((char *)(uintptr_t)copy.p)[i] = lower(copy.p[i]);
    return copy;
}

/* Operators are known in any case: "GTE.5", "Not.Is.null". */
static int with_known_op(struct dp *dp, ath_str name, ath_str *value)
{
    size_t at = value->n >= 4 && str_ieq(str_from(value->p, 4), ATH_S("not.")) ? 4 : 0;
    size_t n = at + str_find(str_after(*value, at), '.');
    ath_str word = str_from(value->p + at, n - at), low;

    if (n >= value->n)
        return dp_refuse(dp, "the filter on \"%.*s\" needs operator.value, not \"%.*s\"",
                         STR_ARG(name), STR_ARG(*value));
    if (dp_op_find(word) && (!at || value->p[0] == 'n'))
        return 0;
    low = lowered(dp, *value, n);
    if (!dp_op_find(word) && !dp_op_find(str_from(low.p + at, n - at)))
        return dp_refuse(dp, "unknown operator \"%.*s\" for column \"%.*s\"", STR_ARG(word),
                         STR_ARG(name));
    *value = low;
    return 0;
}

/* "id.gte=5" says the same as "id=gte.5". False: the name has no operator. */
static bool op_in_name(const struct dp *dp, const ath_pair *pair, ath_str *ret_name,
                       ath_str *ret_value)
{
    ath_str name = pair->name, word;
    struct buf b = dp_buf(dp);
    size_t dot = name.n;

    while (dot && name.p[dot - 1] != '.')
        dot--;
    if (dot < 2 || (name.p[0] == '"' && name.p[dot - 2] != '"')) /* the dot is in the quotes */
        return false;
    word = lowered(dp, str_after(name, dot), name.n - dot);
    if (!dp_op_find(word))
        word = str_after(name, dot);
    if (!dp_op_find(word))
        return false;
    *ret_name = str_from(name.p, dot - 1);
    if (ret_name->n > 4 && str_ieq(str_after(*ret_name, ret_name->n - 4), ATH_S(".not"))) {
        ret_name->n -= 4;
        buf_lit(&b, "not.");
    }
    buf_str(&b, word);
    buf_char(&b, '.');
    buf_str(&b, pair->value);
    *ret_value = buf_view(&b);
    return true;
}

/* In patterns of query strings '*' stands for '%', which has a meaning of its own there. */
static void stars_are_wild(struct dp_pred *p)
{
    p->wild = true;
    for (struct dp_pred *q = p->first; q; q = q->next)
        stars_are_wild(q);
}

static bool is_group(ath_str name)
{
    return str_is(name, "or") || str_is(name, "and") || str_is(name, "not.or") ||
           str_is(name, "not.and");
}

static int filter(struct dp *dp, const ath_pair *pair, struct dp_node *node)
{
    ath_str name = pair->name, value = pair->value;
    struct dp_pred *p;
    int rc = 0;

    if (!name.n)
        return dp_refuse(dp, "a parameter without a name: \"=%.*s\"", STR_ARG(value));
    if (!is_group(name) && !op_in_name(dp, pair, &name, &value))
        rc = with_known_op(dp, name, &value);
    if (rc < 0 || (rc = dp_read_rest(dp, name, value, &p)) < 0)
        return rc;
    stars_are_wild(p);
    dp_where_add(node, p);
    return 0;
}

static int number(struct dp *dp, const ath_pair *pair, int64_t *to)
{
    if (!str_i64(pair->value, to) || *to < 0)
        return dp_refuse(dp, "%.*s must be an integer of at least 0, not \"%.*s\"",
                         STR_ARG(pair->name), STR_ARG(pair->value));
    return 0;
}

enum word { W_SELECT, W_ORDER, W_LIMIT, W_OFFSET, W_TARGET, WORDS };

static enum word word_of(ath_str name)
{
    static const char *const words[] = { "select", "order", "limit", "offset", "on_conflict" };
    size_t i = 0;

    while (i < WORDS && !str_is(name, words[i]))
        i++;
    return (enum word)i;
}

static int one_pair(struct dp *dp, const ath_pair *pair, enum word w, struct dp_node *node,
                    ath_str *ret_target)
{
    switch (w) {
    case W_SELECT:
        return str_trim(pair->value).n ? dp_read_items(dp, pair->value, node) : 0;
    case W_ORDER:
        return str_trim(pair->value).n ? dp_read_order_text(dp, pair->value, node) : 0;
    case W_LIMIT:
        return number(dp, pair, &node->limit);
    case W_OFFSET:
        return number(dp, pair, &node->offset);
    case W_TARGET:
        *ret_target = pair->value;
        return pair->value.n ? 0 : dp_refuse(dp, "on_conflict names no column");
    default:
        return filter(dp, pair, node);
    }
}

int dp_read_rest_query(struct dp *dp, const ath_pair *pair, uint32_t n, unsigned takes,
                       struct dp_node *node, ath_str *ret_target)
{
    bool seen[WORDS + 1] = { false };

    *ret_target = (ath_str){ "", 0 };
    if (n > DP_TERMS)
        return dp_refuse(dp, "more than %d parameters", DP_TERMS);
    for (uint32_t i = 0; i < n; i++) {
        enum word w = word_of(pair[i].name);
        bool fits = w == W_SELECT || (takes & (w == W_TARGET ? DP_REST_TARGET : DP_REST_ROWS));
        int rc;
        if (!fits)
            return dp_refuse(dp, "parameter \"%.*s\" has no meaning here", STR_ARG(pair[i].name));
        if (w < WORDS && seen[w])
            return dp_refuse(dp, "%.*s is given twice", STR_ARG(pair[i].name));
        seen[w] = true;
        if ((rc = one_pair(dp, &pair[i], w, node, ret_target)) < 0)
            return rc;
    }
    return 0;
}
