/* Writing JSON. */
#include "lib/json.h"

void buf_json(struct buf *b, ath_str text)
{
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;

    buf_char(b, '"');
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        char escape[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
        size_t n = 2;
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        if (c == '"' || c == '\\')
            escape[1] = (char)c;
        else if (c == '\n')
            escape[1] = 'n';
        else if (c == '\r')
            escape[1] = 'r';
        else if (c == '\t')
            escape[1] = 't';
        else
            n = 6;
        buf_mem(b, text.p + from, i - from);
        buf_mem(b, escape, n);
        from = i + 1;
    }
    buf_mem(b, text.p + from, text.n - from);
    buf_char(b, '"');
}

void buf_json_key(struct buf *b, const char *key)
{
    if (b->n && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[')
        buf_char(b, ',');
    buf_json(b, str_of(key));
    buf_char(b, ':');
}

void buf_json_str(struct buf *b, const char *key, ath_str text)
{
    buf_json_key(b, key);
    buf_json(b, text);
}

void buf_json_int(struct buf *b, const char *key, int64_t v)
{
    buf_json_key(b, key);
    buf_i64(b, v);
}

void buf_json_bool(struct buf *b, const char *key, bool v)
{
    buf_json_key(b, key);
    buf_z(b, v ? "true" : "false");
}
