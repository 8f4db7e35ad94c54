/* Boolean texts (contract 11.5): "and(active.eq.true,age.gt.40),id.in.(1,2)".
 *
 *     list := term ("," term)*
 *     term := "and(" list ")" | "or(" list ")" | "not(" list ")" | "not." term | "(" list ")" |
 * pred pred := column "." ["not."] op "." value
 *
 * A value goes up to a comma or a closing bracket of its own level; "..." quotes it. A value that
 * opens a bracket of its own ({a,b}, [1,2), {"k":1}) holds the commas inside. Values are texts: the
 * parameter's type, the column's, decides what they mean.
 */
#include "dataplane/dataplane.h"

struct logic {
    struct dp *dp;
    ath_str text;
    size_t at;
    uint32_t depth, terms;
    bool rest; /* one REST parameter: the value is all that is left */
};

static int list(struct logic *l, struct dp_pred *to);

static int broken(struct logic *l, const char *what)
{
    return dp_refuse(l->dp, "%s at byte %zu of \"%.*s\"", what, l->at + 1, STR_ARG(l->text));
}

static bool more(const struct logic *l)
{
    return l->at < l->text.n;
}

static bool comes(const struct logic *l, const char *word)
{
    return str_starts(str_after(l->text, l->at), word);
}

static void blanks(struct logic *l)
{
    while (more(l) && l->text.p[l->at] == ' ')
        l->at++;
}

static const struct json *text_value(struct dp *dp, ath_str text)
{
    struct json *v = dp_new(dp, sizeof(*v));

    *v = (struct json){
        .type = JSON_STRING, .raw = text, .text = text, .nul = str_find(text, 0) < text.n
    };
    return v;
}

/* At a quote: what stands up to the next one. */
static int quoted(struct logic *l, ath_str *ret)
{
    struct buf b = dp_buf(l->dp);

    for (l->at++; more(l) && l->text.p[l->at] != '"'; l->at++) {
        if (l->text.p[l->at] == '\\' && l->at + 1 < l->text.n)
            l->at++;
        buf_char(&b, l->text.p[l->at]);
    }
    if (!more(l))
        return broken(l, "unended quote");
    l->at++;
    *ret = buf_view(&b);
    return 0;
}

/* Moves behind the closing bracket of the one that stands here; quotes inside hide brackets. */
static bool bracketed(struct logic *l)
{
    int open = 0;

    for (; more(l); l->at++) {
        char c = l->text.p[l->at];
        if (c == '"') {
            for (l->at++; more(l) && l->text.p[l->at] != '"'; l->at++)
                l->at += l->text.p[l->at] == '\\';
            continue;
        }
        open += c == '{' || c == '[' || c == '(';
        open -= c == '}' || c == ']' || c == ')';
        if (open == 0) {
            l->at++;
            return true;
        }
    }
    return false;
}

/* A value or item: up to a comma or closing bracket that is not its own. */
static int plain(struct logic *l, ath_str *ret)
{
    size_t from = l->at;

    if (more(l) && l->text.p[l->at] == '"' && !l->rest)
        return quoted(l, ret);
    if (l->rest) {
        l->at = l->text.n;
    } else if (more(l) && strchr("{[", l->text.p[l->at]) && !bracketed(l)) {
        return broken(l, "unbalanced bracket");
    }
    while (more(l) && l->text.p[l->at] != ',' && l->text.p[l->at] != ')') {
        if (l->text.p[l->at] == '(') {
            if (!bracketed(l))
                return broken(l, "unbalanced bracket");
        } else {
            l->at++;
        }
    }
    *ret = str_from(l->text.p + from, l->at - from);
    return 0;
}

static int item(struct logic *l, struct json *to)
{
    struct json *v;
    ath_str text;
    bool rest = l->rest;
    int rc;

    blanks(l);
    l->rest = false;
    rc = plain(l, &text);
    l->rest = rest;
    if (rc < 0)
        return rc;
    blanks(l);
    v = (struct json *)(uintptr_t)text_value(l->dp, text);
    if (to->last)
        ((struct json *)(uintptr_t)to->last)->next = v;
    else
        to->first = v;
    to->last = v;
    to->count++;
    return 0;
}

/* True when `text` could be a term of its own: then "in.1,x.eq.2" is not one list. */
static bool reads_as_term(ath_str text)
{
    size_t dot = str_find(text, '.');
    ath_str rest = str_after(text, dot + 1);

    if (str_starts(rest, "not."))
        rest = str_after(rest, 4);
    return dot < text.n && str_find(rest, '.') < rest.n &&
           dp_op_find(str_from(rest.p, str_find(rest, '.')));
}

static int in_list(struct logic *l, const struct json **ret)
{
    struct json *v = dp_new(l->dp, sizeof(*v));
    bool open = more(l) && l->text.p[l->at] == '(';
    int rc;

    *v = (struct json){ .type = JSON_ARRAY };
    *ret = v;
    if (!open && (l->depth || l->terms > 1))
        return broken(l, "expected a list in brackets");
    l->at += open;
    blanks(l);
    if (open && more(l) && l->text.p[l->at] == ')') {
        l->at++;
        return 0;
    }
    for (;;) {
        if ((rc = item(l, v)) < 0)
            return rc;
        if (!open && v->count > 1 && reads_as_term(v->last->text))
            return broken(l, "expected a list in brackets");
        if (!more(l) || l->text.p[l->at] != ',')
            break;
        l->at++;
    }
    if (open != (more(l) && l->text.p[l->at] == ')'))
        return broken(l, "unbalanced bracket");
    l->at += open;
    return 0;
}

/* The column: up to the dot before an operator, so "owner.name.eq.x" has a dotted one. */
static int column(struct logic *l, struct dp_ref *ret)
{
    size_t from = l->at, end = from;

    if (more(l) && l->text.p[l->at] == '"') {
        *ret = (struct dp_ref){ 0 };
        if (quoted(l, &ret->name) < 0)
            return ATH_E_INPUT;
        return comes(l, ".") ? 0 : broken(l, "expected '.'");
    }
    for (;;) {
        ath_str rest;
        while (end < l->text.n && !strchr(".,()", l->text.p[end]))
            end++;
        if (end >= l->text.n || l->text.p[end] != '.' || end == from)
            return broken(l, "expected column.operator.value");
        rest = str_after(l->text, end + 1);
        if (str_starts(rest, "not.") || dp_op_find(str_from(rest.p, str_find(rest, '.'))))
            break;
        if (str_find(str_from(l->text.p + from, end - from), '.') < end - from) {
            l->at = end + 1;
            return broken(l, "unknown operator");
        }
        end++;
    }
    l->at = end;
    return dp_read_ref(l->dp, str_trim(str_from(l->text.p + from, end - from)), ret);
}

static int operator_value(struct logic *l, struct dp_pred *p)
{
    ath_str rest = str_after(l->text, l->at), text;
    size_t n = str_find(rest, '.');
    int rc;

    p->op = (uint8_t)dp_op_find(str_from(rest.p, n));
    if (!p->op || n == rest.n)
        return broken(l, "unknown operator");
    l->at += n + 1;
    if (p->op == DP_IN)
        return in_list(l, &p->value);
    if ((rc = plain(l, &text)) < 0)
        return rc;
    p->value = text_value(l->dp, text);
    return 0;
}

static int pred(struct logic *l, struct dp_pred **ret)
{
    struct dp_pred *p = dp_pred_new(l->dp, DP_TERM), *not = NULL;
    int rc;

    if (!p)
        return ATH_E_INPUT;
    if ((rc = column(l, &p->ref)) < 0)
        return rc;
    l->at++;
    if (comes(l, "not.")) {
        l->at += 4;
        if (!(not = dp_pred_new(l->dp, DP_NOT)))
            return ATH_E_INPUT;
        dp_pred_add(not, p);
    }
    *ret = not ? not : p;
    p->wild = l->rest;
    return operator_value(l, p);
}

/* Behind "and(", "or(", "not(" or "(". */
static int group(struct logic *l, enum dp_logic logic, struct dp_pred **ret)
{
    int rc;

    if (!(*ret = dp_pred_new(l->dp, logic)))
        return ATH_E_INPUT;
    if (++l->depth > DP_LOGIC_DEPTH)
        return dp_refuse(l->dp, "filters are nested more than %d levels", DP_LOGIC_DEPTH);
    if ((rc = list(l, *ret)) < 0)
        return rc;
    if (!more(l) || l->text.p[l->at] != ')')
        return broken(l, "unbalanced bracket");
    l->at++;
    l->depth--;
    blanks(l);
    return 0;
}

static int term(struct logic *l, struct dp_pred **ret)
{
    static const struct {
        const char *word;
        uint8_t n, logic;
    } groups[] = {
        { "and(", 4, DP_AND }, { "or(", 3, DP_OR }, { "not(", 4, DP_NOT }, { "(", 1, DP_AND }
    };
    struct dp_pred *inner;
    int rc;

    blanks(l);
    if (++l->terms > DP_TEXT_TERMS)
        return dp_refuse(l->dp, "more than %d terms in one text", DP_TEXT_TERMS);
    for (size_t i = 0; i < ATH_COUNT(groups); i++) {
        if (comes(l, groups[i].word)) {
            l->at += groups[i].n;
            return group(l, groups[i].logic, ret);
        }
    }
    if (!comes(l, "not."))
        return pred(l, ret);
    l->at += 4;
    if (!(*ret = dp_pred_new(l->dp, DP_NOT)))
        return ATH_E_INPUT;
    if (++l->depth > DP_LOGIC_DEPTH)
        return dp_refuse(l->dp, "filters are nested more than %d levels", DP_LOGIC_DEPTH);
    rc = term(l, &inner);
    l->depth--;
    if (rc == 0)
        dp_pred_add(*ret, inner);
    return rc;
}

static int list(struct logic *l, struct dp_pred *to)
{
    for (;;) {
        struct dp_pred *p;
        int rc = term(l, &p);
        if (rc < 0)
            return rc;
        dp_pred_add(to, p);
        if (!more(l) || l->text.p[l->at] != ',')
            return 0;
        l->at++;
    }
}

int dp_read_logic(struct dp *dp, ath_str text, enum dp_logic logic, struct dp_pred **ret)
{
    struct logic l = { .dp = dp, .text = str_trim(text) };
    struct dp_pred *p = dp_pred_new(dp, logic);
    int rc;

    if (!p)
        return ATH_E_INPUT;
    if (!l.text.n)
        return dp_refuse(dp, "the text of terms is empty");
    if ((rc = list(&l, p)) < 0)
        return rc;
    if (more(&l))
        return broken(&l, "unbalanced bracket");
    *ret = p;
    return 0;
}

int dp_read_rest(struct dp *dp, ath_str name, ath_str value, struct dp_pred **ret)
{
    struct logic l = { .dp = dp, .text = value, .rest = true, .terms = 1 };
    struct dp_pred *p = NULL, *not = NULL;
    bool turned = str_is(name, "not.or") || str_is(name, "not.and");
    ath_str word = turned ? str_after(name, 4) : name;
    int rc;

    if (turned || str_starts(value, "not."))
        if (!(not = dp_pred_new(dp, DP_NOT)))
            return ATH_E_INPUT;
    if (str_is(word, "or") || str_is(word, "and")) {
        if (value.n < 2 || value.p[0] != '(' || value.p[value.n - 1] != ')')
            return dp_refuse(dp, "\"%.*s\" needs terms in brackets", STR_ARG(name));
        rc = dp_read_logic(dp, str_from(value.p + 1, value.n - 2),
                           word.p[0] == 'o' ? DP_OR : DP_AND, &p);
    } else {
        if (!(p = dp_pred_new(dp, DP_TERM)))
            return ATH_E_INPUT;
        l.at = not ? 4 : 0;
        p->wild = true;
        if ((rc = dp_read_ref(dp, name, &p->ref)) == 0)
            rc = operator_value(&l, p);
        if (rc == 0 && more(&l))
            rc = broken(&l, "unexpected text");
    }
    if (rc < 0)
        return rc;
    if (not )
        dp_pred_add(not, p);
    *ret = not ? not : p;
    return 0;
}
