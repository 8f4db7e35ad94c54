/* An order as text, as query strings have it: "name.desc.nullslast,id". The words behind a column
 * are read from its end, so a name may hold dots; one that ends like such a word is written in
 * quotes.
 */
#include "dataplane/dataplane.h"

/* Cuts ".word" off the end. */
static bool ends_in(ath_str *text, const char *word)
{
    ath_str w = str_of(word);

    if (text->n <= w.n || !str_ieq(str_after(*text, text->n - w.n), w))
        return false;
    text->n -= w.n;
    return true;
}

static int order_item(struct dp *dp, ath_str text, struct dp_order *o)
{
    ath_str all = text;

    if (ends_in(&text, ".nullsfirst"))
        o->nulls = 1;
    else if (ends_in(&text, ".nullslast"))
        o->nulls = 2;
    if (ends_in(&text, ".desc"))
        o->desc = true;
    else
        ends_in(&text, ".asc");
    if (!text.n || str_find(text, 0) < text.n)
        return dp_refuse(dp, "cannot read the order \"%.*s\"", STR_ARG(all));
    if (text.p[0] != '"' && str_find(text, '.') < text.n)
        return dp_refuse(dp, "unknown word \"%.*s\" in the order \"%.*s\"",
                         STR_ARG(str_after(text, str_find(text, '.') + 1)), STR_ARG(all));
    return dp_read_ref(dp, text, &o->ref);
}

/* Up to the next comma that is in no quotes. */
static ath_str cut(ath_str *rest)
{
    bool quoted = false;
    size_t i = 0;
    ath_str piece;

    for (; i < rest->n && (quoted || rest->p[i] != ','); i++)
        quoted ^= rest->p[i] == '"';
    piece = str_trim(str_from(rest->p, i));
    *rest = str_after(*rest, i + 1);
    return piece;
}

int dp_read_order_text(struct dp *dp, ath_str text, struct dp_node *node)
{
    struct dp_order **at = &node->order;
    ath_str rest = text;
    int rc, n = 0;

    while (*at)
        at = &(*at)->next;
    do {
        if (++n > DP_ITEMS)
            return dp_refuse(dp, "more than %d orders", DP_ITEMS);
        *at = dp_new(dp, sizeof(**at));
        if ((rc = order_item(dp, cut(&rest), *at)) < 0)
            return rc;
        at = &(*at)->next;
    } while (rest.n);
    return 0;
}
