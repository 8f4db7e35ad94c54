/* Entries as bytes: a head, then the parts one behind the other. */
#include "buffer.h"

#include <stdlib.h>

#include "lib/json.h"

enum { VERSION = 1, IS_TAKEN_OVER = 1 };

struct head {
    uint16_t version, kind;
    uint32_t flags;
    uint64_t at_ms;
    uint32_t n[PARTS], zero;
};

/* The text lies behind the entry. */
static struct entry *entry_of(size_t n, char **ret_text)
{
    struct entry *x = calloc(1, sizeof(*x) + n + 1);

    if (!x)
        abort();
    *ret_text = (char *)(x + 1);
    x->log.text = str_from(*ret_text, n);
    return x;
}

static bool parts_read(struct entry *x)
{
    ath_str text = x->log.text;
    struct head h;
    size_t at = sizeof(h);

    if (text.n < sizeof(h))
        return false;
    memcpy(&h, text.p, sizeof(h));
    if (h.version != VERSION || (h.kind != DP_INSERT && h.kind != DP_UPDATE && h.kind != DP_DELETE))
        return false;
    for (int i = 0; i < PARTS; i++) {
        if (h.n[i] > text.n - at)
            return false;
        x->part[i] = str_from(text.p + at, h.n[i]);
        at += h.n[i];
    }
    x->kind = h.kind;
    x->at_ms = h.at_ms;
    x->taken_over = h.flags & IS_TAKEN_OVER;
    return at == text.n && x->part[PART_CLIENT].n;
}

struct entry *entry_new(const struct draft *d)
{
    struct head h = { .version = VERSION,
                      .kind = (uint16_t)d->kind,
                      .flags = d->taken_over ? IS_TAKEN_OVER : 0,
                      .at_ms = d->at_ms };
    struct entry *x;
    size_t n = sizeof(h);
    char *to;

    for (int i = 0; i < PARTS; i++)
        n += h.n[i] = (uint32_t)d->part[i].n;
    x = entry_of(n, &to);
    memcpy(to, &h, sizeof(h));
    to += sizeof(h);
    for (int i = 0; i < PARTS; i++)
        to = str_put(to, d->part[i]);
    if (parts_read(x))
        return x;
    free(x);
    return NULL;
}

struct entry *entry_read(ath_str text)
{
    char *to;
    struct entry *x = entry_of(text.n, &to);

    if (text.n)
        memcpy(to, text.p, text.n);
    if (parts_read(x))
        return x;
    free(x);
    return NULL;
}

void entry_free(struct entry *x)
{
    free(x);
}

/* One line: between JSON's tokens a newline is as good as a blank, and inside of them there is
 * none. */
static void put_body(struct buf *b, ath_str body)
{
    size_t from = b->n;

    buf_str(b, body.n ? body : ATH_S("null"));
    for (size_t i = from; i < b->n; i++)
        if (b->p[i] == '\n' || b->p[i] == '\r')
            b->p[i] = ' ';
}

void entry_line(struct buf *b, const struct entry *x, ath_str error)
{
    buf_char(b, '{');
    buf_json_str(b, "id", x->part[PART_ID]);
    buf_json_str(b, "client_name", x->part[PART_CLIENT]);
    buf_json_str(b, "table_name", x->part[PART_ASKED]);
    buf_lit(b, ",\"operation\":{");
    buf_json_str(b, "op",
                 x->kind == DP_INSERT   ? ATH_S("insert")
                 : x->kind == DP_UPDATE ? ATH_S("update")
                                        : ATH_S("delete"));
    buf_json_key(b, "body");
    put_body(b, x->part[PART_BODY]);
    buf_char(b, '}');
    buf_json_str(b, "public_id", x->part[PART_PUBLIC]);
    buf_json_str(b, "request_id", x->part[PART_REQUEST]);
    buf_json_int(b, "created_at_unix_ms", (int64_t)x->at_ms);
    buf_json_int(b, "flush_attempts", x->attempts);
    buf_json_key(b, "error");
    put_body(b, error);
    buf_lit(b, "}\n");
}
