/* Rows to JSON. */
#include "admin/admin.h"

/* "2026-01-05 10:00:07.5" to 2026-01-05T10:00:07.500Z: the shortest of 0, 3 or 6 digits that is
 * exact. Infinite times have no such form and stay words. */
static void put_time(struct buf *b, ath_str text)
{
    size_t blank = str_find(text, ' '), dot = str_find(text, '.');
    size_t digits = dot < text.n ? text.n - dot - 1 : 0;

    if (blank == text.n) {
        buf_json(b, text);
        return;
    }
    buf_char(b, '"');
    buf_mem(b, text.p, blank);
    buf_char(b, 'T');
    buf_mem(b, text.p + blank + 1, text.n - blank - 1);
    for (; digits % 3; digits++)
        buf_char(b, '0');
    buf_lit(b, "Z\"");
}

/* NaN and the infinities are no JSON. */
static void put_real(struct buf *b, ath_str text)
{
    bool plain = true;

    for (size_t i = 0; i < text.n; i++) {
        if (!strchr("0123456789+-.e", text.p[i])) {
            buf_lit(b, "null");
            return;
        }
        plain = plain && text.p[i] != '.' && text.p[i] != 'e';
    }
    buf_str(b, text);
    if (plain)
        buf_lit(b, ".0");
}

void admin_value(struct buf *b, enum admin_form form, ath_str text)
{
    if (!text.p)
        buf_lit(b, "null");
    else if (form == ADMIN_TEXT)
        buf_json(b, text);
    else if (form == ADMIN_BOOL)
        buf_z(b, str_is(text, "t") || str_is(text, "true") ? "true" : "false");
    else if (form == ADMIN_TIME)
        put_time(b, text);
    else if (form == ADMIN_REAL)
        put_real(b, text);
    else
        buf_str(b, text);
}

void admin_object(struct buf *b, const ath_rows *rows, uint32_t row,
                  const struct admin_member *member, size_t n)
{
    buf_char(b, '{');
    for (uint32_t i = 0; i < n; i++) {
        buf_json_key(b, member[i].name);
        admin_value(b, member[i].form, ath_cell(rows, row, i));
    }
    buf_char(b, '}');
}

void admin_objects(struct buf *b, const ath_rows *rows, const struct admin_member *member, size_t n)
{
    uint32_t count = ath_host_->pg->count(rows);

    buf_char(b, '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            buf_char(b, ',');
        admin_object(b, rows, i, member, n);
    }
    buf_char(b, ']');
}
