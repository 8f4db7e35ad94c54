/* XML, as far as answers of stores need it. What is not understood ends the reading. */
#include "s3/xml.h"

#include <string.h>

struct xml xml_of(ath_str source, struct buf *scratch)
{
    return (struct xml){ .rest = source, .to = scratch };
}

/* ---- text ---- */

static void put_utf8(struct buf *b, uint32_t c)
{
    if (c < 0x80) {
        buf_char(b, (char)c);
    } else if (c < 0x800) {
        buf_char(b, (char)(0xC0 | c >> 6));
        buf_char(b, (char)(0x80 | (c & 0x3F)));
    } else if (c < 0x10000) {
        buf_char(b, (char)(0xE0 | c >> 12));
        buf_char(b, (char)(0x80 | (c >> 6 & 0x3F)));
        buf_char(b, (char)(0x80 | (c & 0x3F)));
    } else {
        buf_char(b, (char)(0xF0 | c >> 18));
        buf_char(b, (char)(0x80 | (c >> 12 & 0x3F)));
        buf_char(b, (char)(0x80 | (c >> 6 & 0x3F)));
        buf_char(b, (char)(0x80 | (c & 0x3F)));
    }
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* "#38", "#x26". */
static bool put_number(struct buf *b, ath_str name)
{
    uint32_t base = name.n > 1 && name.p[1] == 'x' ? 16 : 10, c = 0;
    ath_str digits = str_after(name, base == 16 ? 2 : 1);

    if (digits.n == 0 || digits.n > 7)
        return false;
    for (size_t i = 0; i < digits.n; i++) {
        uint32_t d = (uint32_t)digit_of(digits.p[i]);
        if (d >= base)
            return false;
        c = c * base + d;
    }
    if (c == 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
        return false;
    put_utf8(b, c);
    return true;
}

static bool put_entity(struct buf *b, ath_str name)
{
    static const struct {
        const char *name;
        char is;
    } known[] = { { "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' }, { "apos", '\'' } };

    if (name.n && name.p[0] == '#')
        return put_number(b, name);
    for (size_t i = 0; i < ATH_COUNT(known); i++)
        if (str_is(name, known[i].name)) {
            buf_char(b, known[i].is);
            return true;
        }
    return false;
}

static bool put_text(struct buf *b, ath_str s)
{
    while (s.n) {
        size_t amp = str_find(s, '&'), semicolon;
        buf_mem(b, s.p, amp);
        if (amp == s.n)
            return true;
        s = str_after(s, amp + 1);
        semicolon = str_find(s, ';');
        if (semicolon == s.n || !put_entity(b, str_from(s.p, semicolon)))
            return false;
        s = str_after(s, semicolon + 1);
    }
    return true;
}

/* ---- marks ---- */

/* Past `mark`, with what stood before it; false: it is not there. */
static bool cut(struct xml *x, const char *mark, ath_str *ret_before)
{
    size_t n = strlen(mark);
    const char *at = x->rest.n ? memmem(x->rest.p, x->rest.n, mark, n) : NULL;

    if (!at)
        return false;
    *ret_before = str_from(x->rest.p, (size_t)(at - x->rest.p));
    x->rest = str_after(x->rest, ret_before->n + n);
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static ath_str name_in(ath_str tag)
{
    size_t n = 0;

    while (n < tag.n && !is_space(tag.p[n]))
        n++;
    return str_from(tag.p, n);
}

static ath_str without_prefix(ath_str name)
{
    size_t colon = str_find(name, ':');

    return colon < name.n ? str_after(name, colon + 1) : name;
}

static bool give(struct xml *x, ath_str name, bool is_end)
{
    x->name = without_prefix(name);
    x->is_end = is_end;
    x->depth = x->level;
    x->text = is_end ? buf_view(x->to) : ATH_S("");
    return true;
}

static bool end_element(struct xml *x, ath_str name)
{
    if (x->level == 0 || !str_eq(x->open[x->level - 1], name))
        return false;
    give(x, name, true);
    x->level--;
    x->whole = x->level == 0;
    return true;
}

/* A '>' inside an attribute's quotes does not end the tag. */
static bool cut_tag(struct xml *x, ath_str *ret_tag)
{
    char quote = 0;

    for (size_t i = 0; i < x->rest.n; i++) {
        char c = x->rest.p[i];
        if (quote) {
            quote = c == quote ? 0 : quote;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '>') {
            *ret_tag = str_from(x->rest.p, i);
            x->rest = str_after(x->rest, i + 1);
            return true;
        }
    }
    return false;
}

static bool element(struct xml *x)
{
    ath_str tag, name;

    if (!cut_tag(x, &tag) || tag.n == 0)
        return false;
    if (tag.p[0] == '/')
        return end_element(x, name_in(str_after(tag, 1)));
    x->empty = tag.p[tag.n - 1] == '/';
    if (x->empty)
        tag.n--;
    name = name_in(tag);
    if (name.n == 0 || name.p[0] == '!' || x->level == XML_DEPTH || (x->level == 0 && x->whole))
        return false;
    x->open[x->level++] = name;
    buf_reset(x->to);
    return give(x, name, false);
}

/* What stands between two tags, and comments and the like there. False: a tag is next, or nothing.
 */
static bool pass_over(struct xml *x, bool *ret_bad)
{
    ath_str skipped;

    *ret_bad = false;
    if (str_starts(x->rest, "<!--"))
        *ret_bad = !cut(x, "-->", &skipped);
    else if (str_starts(x->rest, "<?"))
        *ret_bad = !cut(x, "?>", &skipped);
    else if (x->level && str_starts(x->rest, "<![CDATA[")) {
        x->rest = str_after(x->rest, 9);
        *ret_bad = !cut(x, "]]>", &skipped);
        if (!*ret_bad)
            buf_str(x->to, skipped);
    } else {
        return false;
    }
    return !*ret_bad;
}

bool xml_next(struct xml *x)
{
    ath_str text;
    bool bad;

    if (x->empty) {
        x->empty = false;
        return end_element(x, x->open[x->level - 1]);
    }
    if (x->is_end)
        buf_reset(x->to);
    for (;;) {
        text = str_from(x->rest.p, str_find(x->rest, '<'));
        x->rest = str_after(x->rest, text.n);
        if (!put_text(x->to, text) || (x->level == 0 && str_trim(text).n))
            break;
        if (pass_over(x, &bad))
            continue;
        if (!bad && x->rest.n == 0) { /* the end, and a good one if nothing is open */
            x->whole = x->whole && x->level == 0;
            return false;
        }
        x->rest = str_after(x->rest, 1);
        if (!bad && element(x))
            return true;
        break;
    }
    x->whole = false;
    return false;
}

ath_str xml_member(ath_str source, const char *name, struct buf *scratch)
{
    struct xml x = xml_of(source, scratch);

    while (xml_next(&x))
        if (x.is_end && x.depth == 2 && str_is(x.name, name))
            return x.text;
    return ATH_S("");
}
