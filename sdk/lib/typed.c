/* Values as JSON: one table of the built-in types says which form each takes. */
#include "lib/typed.h"

#include "lib/json.h"

/* X(type, its array type, form), by OID (pg_type.dat). PLAIN: a string that never needs an escape.
 * BARE: a JSON number as it is. */
/* clang-format off */
#define TYPES(X) \
    X(16, 1000, BOOL) X(17, 1001, TEXT) X(18, 1002, TEXT) X(19, 1003, TEXT) \
    X(20, 1016, BARE) X(21, 1005, BARE) X(23, 1007, BARE) X(25, 1009, TEXT) \
    X(26, 1028, PLAIN) X(114, 199, JSON) X(142, 143, TEXT) X(600, 1017, PLAIN) \
    X(603, 1020, PLAIN) X(650, 651, PLAIN) X(700, 1021, NUMBER) X(701, 1022, NUMBER) \
    X(774, 775, PLAIN) X(790, 791, TEXT) X(829, 1040, PLAIN) X(869, 1041, PLAIN) \
    X(1042, 1014, TEXT) X(1043, 1015, TEXT) X(1082, 1182, PLAIN) X(1083, 1183, PLAIN) \
    X(1114, 1115, TIMESTAMP) X(1184, 1185, TIMESTAMPTZ) X(1186, 1187, PLAIN) \
    X(1266, 1270, PLAIN) X(1560, 1561, PLAIN) X(1562, 1563, PLAIN) X(1700, 1231, NUMBER) \
    X(2205, 2210, TEXT) X(2950, 2951, PLAIN) X(3220, 3221, PLAIN) X(3614, 3643, TEXT) \
    X(3615, 3645, TEXT) X(3802, 3807, JSON) X(3904, 3905, TEXT) X(3906, 3907, TEXT) \
    X(3908, 3909, TEXT) X(3910, 3911, TEXT) X(3912, 3913, TEXT) X(3926, 3927, TEXT)
/* clang-format on */

/* By OID, so that a column's form is one look. Gaps are TYPED_TEXT. */
#define FORMS(oid, array_oid, form_) \
    [oid] = { .form = TYPED_##form_ }, [array_oid] = { .form = TYPED_##form_, .array = true },
static const struct typed forms[] = { TYPES(FORMS) };

#define ARRAYS(oid, array_oid, form_) [oid] = array_oid,
static const uint16_t arrays[] = { TYPES(ARRAYS) };

struct typed typed_of(uint32_t oid)
{
    struct typed t = { .form = TYPED_TEXT };

    if (oid < ATH_COUNT(forms))
        t = forms[oid];
    t.delimiter = oid == 1020 ? ';' : ','; /* box[] alone is different */
    return t;
}

uint32_t typed_array(uint32_t oid)
{
    return oid < ATH_COUNT(arrays) ? arrays[oid] : 0;
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

/* The usual shape, by its places: "2024-05-05 05:05:05.125+00". False: it is not one. */
static bool usual_moment(struct buf *b, ath_str text, bool zone)
{
    char *to;

    if (text.n < 19 || text.p[4] != '-' || text.p[10] != ' ' || text.p[text.n - 1] == 'C')
        return false;
    if (b->cap < b->n + text.n + 6)
        buf_grow(b, text.n + 5);
    to = b->p + b->n;
    *to++ = '"';
    memcpy(to, text.p, text.n);
    to[10] = 'T';
    to += text.n;
    if (zone && (to[-3] == '+' || to[-3] == '-')) {
        memcpy(to, ":00", 3);
        to += 3;
    }
    *to++ = '"';
    *to = 0;
    b->n = (size_t)(to - b->p);
    return true;
}

/* "2024-05-05 05:05:05+00" becomes "2024-05-05T05:05:05+00:00"; " BC" and "infinity" stay. */
static void moment(struct buf *b, ath_str text, bool zone)
{
    size_t space, end, at;

    if (usual_moment(b, text, zone))
        return;
    space = str_find(text, ' ');
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
