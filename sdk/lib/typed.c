/* Values as JSON: one table of the built-in types says which form each takes. */
#include "lib/typed.h"

#include "lib/json.h"

/* The most used first. PLAIN: a string that never needs an escape. BARE: a JSON number as it is. */
/* clang-format off */
static const struct {
    uint16_t oid, array;
    uint8_t form;
} known[] = {
    { 23, 1007, TYPED_BARE }, { 25, 1009, TYPED_TEXT }, { 20, 1016, TYPED_BARE },
    { 16, 1000, TYPED_BOOL }, { 1184, 1185, TYPED_TIMESTAMPTZ }, { 2950, 2951, TYPED_PLAIN },
    { 1700, 1231, TYPED_NUMBER }, { 1043, 1015, TYPED_TEXT }, { 3802, 3807, TYPED_JSON },
    { 1114, 1115, TYPED_TIMESTAMP }, { 1082, 1182, TYPED_PLAIN }, { 701, 1022, TYPED_NUMBER },
    { 21, 1005, TYPED_BARE }, { 114, 199, TYPED_JSON }, { 17, 1001, TYPED_TEXT },
    { 18, 1002, TYPED_TEXT }, { 19, 1003, TYPED_TEXT }, { 26, 1028, TYPED_PLAIN },
    { 142, 143, TYPED_TEXT }, { 600, 1017, TYPED_PLAIN }, { 603, 1020, TYPED_PLAIN },
    { 650, 651, TYPED_PLAIN }, { 700, 1021, TYPED_NUMBER }, { 774, 775, TYPED_PLAIN },
    { 790, 791, TYPED_TEXT }, { 829, 1040, TYPED_PLAIN }, { 869, 1041, TYPED_PLAIN },
    { 1042, 1014, TYPED_TEXT }, { 1083, 1183, TYPED_PLAIN }, { 1186, 1187, TYPED_PLAIN },
    { 1266, 1270, TYPED_PLAIN }, { 1560, 1561, TYPED_PLAIN }, { 1562, 1563, TYPED_PLAIN },
    { 2205, 2210, TYPED_TEXT }, { 3220, 3221, TYPED_PLAIN }, { 3614, 3643, TYPED_TEXT },
    { 3615, 3645, TYPED_TEXT }, { 3904, 3905, TYPED_TEXT }, { 3906, 3907, TYPED_TEXT },
    { 3908, 3909, TYPED_TEXT }, { 3910, 3911, TYPED_TEXT }, { 3912, 3913, TYPED_TEXT },
    { 3926, 3927, TYPED_TEXT },
};
/* clang-format on */

struct typed typed_of(uint32_t oid)
{
    struct typed t = { .form = TYPED_TEXT };

    for (size_t i = 0; i < ATH_COUNT(known); i++) {
        if (known[i].oid == oid || known[i].array == oid) {
            t.form = known[i].form;
            t.array = known[i].array == oid;
            t.delimiter = oid == 1020 ? ';' : ','; /* box[] alone is different */
            return t;
        }
    }
    return t;
}

uint32_t typed_array(uint32_t oid)
{
    for (size_t i = 0; i < ATH_COUNT(known); i++)
        if (known[i].oid == oid)
            return known[i].array;
    return 0;
}

static void quoted(struct buf *b, ath_str text)
{
    if (b->cap < b->n + text.n + 3)
        buf_grow(b, text.n + 2);
    b->p[b->n] = '"';
    memcpy(b->p + b->n + 1, text.p, text.n);
    b->n += text.n + 2;
    b->p[b->n - 1] = '"';
    b->p[b->n] = 0;
}

/* "2024-05-05 05:05:05+00" becomes "2024-05-05T05:05:05+00:00"; " BC" and "infinity" stay. */
static void moment(struct buf *b, ath_str text, bool zone)
{
    size_t space = str_find(text, ' '), end, at;

    if (space == text.n || text.p[0] == 'i' || text.p[0] == '-') {
        quoted(b, text);
        return;
    }
    end = str_ends(text, " BC") ? text.n - 3 : text.n;
    buf_char(b, '"');
    buf_mem(b, text.p, space);
    buf_char(b, 'T');
    buf_mem(b, text.p + space + 1, end - space - 1);
    for (at = space; at < end && text.p[at] != '+' && text.p[at] != '-'; at++)
        ;
    if (zone && end - at == 3)
        buf_lit(b, ":00");
    buf_mem(b, text.p + end, text.n - end);
    buf_char(b, '"');
}

static void scalar(struct buf *b, uint8_t form, ath_str text)
{
    switch (form) {
    case TYPED_BARE:
    case TYPED_JSON:
        buf_str(b, text);
        break;
    case TYPED_NUMBER: /* never empty; NaN, Infinity and -Infinity are no JSON numbers */
        if (text.p[0] == 'N' || text.p[0] == 'I' || (text.p[0] == '-' && text.p[1] == 'I'))
            quoted(b, text);
        else
            buf_str(b, text);
        break;
    case TYPED_BOOL:
        buf_z(b, text.n && text.p[0] == 't' ? "true" : "false");
        break;
    case TYPED_PLAIN:
        quoted(b, text);
        break;
    case TYPED_TIMESTAMP:
    case TYPED_TIMESTAMPTZ:
        moment(b, text, form == TYPED_TIMESTAMPTZ);
        break;
    default:
        buf_json(b, text);
    }
}

/* At the opening quote of an element: its text without backslashes; returns what is behind it. */
static const char *unquoted(const char *p, const char *end, struct buf *to)
{
    buf_reset(to);
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\' && p + 1 < end)
            p++;
        buf_char(to, *p);
    }
    return p < end ? p + 1 : end;
}

/* The text is PostgreSQL's own: brackets match, whatever they hold. */
static void array(struct buf *b, struct typed t, ath_str text)
{
    struct buf element = { .alloc = b->alloc, .arena = b->arena };
    const char *p = text.p, *end = text.p + text.n;

    if (p < end && *p == '[') /* "[2:3]={...}": bounds that do not begin at 1 */
        p += str_find(text, '=') + 1;
    while (p < end) {
        if (*p == '"') {
            p = unquoted(p, end, &element);
            scalar(b, t.form, buf_view(&element));
        } else if (*p == '{' || *p == '}' || *p == t.delimiter) {
            buf_char(b, *p == '{' ? '[' : *p == '}' ? ']' : ',');
            p++;
        } else {
            const char *from = p;
            while (p < end && *p != t.delimiter && *p != '}')
                p++;
            if (p - from == 4 && memcmp(from, "NULL", 4) == 0)
                buf_lit(b, "null");
            else
                scalar(b, t.form, (ath_str){ from, (size_t)(p - from) });
        }
    }
    buf_free(&element);
}

void buf_typed(struct buf *b, struct typed t, ath_str text)
{
    if (!text.p)
        buf_lit(b, "null");
    else if (t.array)
        array(b, t, text);
    else
        scalar(b, t.form, text);
}
