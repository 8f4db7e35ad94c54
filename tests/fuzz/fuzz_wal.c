/* The bytes of a segment of the log of deferred writes. Whatever stands in it, records lie in it,
 * in their order; and a segment that is written from what was read is read the same.
 *
 * So that inputs get past the checksums: what follows a head, or the whole when the first byte is
 * odd, is cut into records here.
 */
#include <stdlib.h>

#include "lib/buf.h"
#include "wal/wal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    const char *from, *to; /* where the next record must lie */
    uint32_t n;
    struct buf again;
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void put(struct buf *b, uint32_t kind, uint64_t seq, ath_str bytes)
{
    static const char zeros[8];
    struct wal_record r;

    wal_record_make(&r, kind, seq, bytes);
    buf_mem(b, (const char *)&r, sizeof(r));
    buf_str(b, bytes);
    buf_mem(b, zeros, wal_padded(bytes.n) - bytes.n);
}

static void each(void *arg, const struct wal_record *r, const char *bytes)
{
    struct seen *s = arg;

    must(bytes >= s->from && bytes + r->n <= s->to);
    s->from = bytes + r->n;
    s->n++;
    put(&s->again, r->kind, r->seq, str_from(bytes, r->n));
}

static void read_twice(const char *p, size_t n)
{
    struct seen first = { .from = p, .to = p + n }, second = { 0 };
    struct wal_head head;
    struct wal_read read;

    if (!wal_read(p, n, &read, each, &first))
        return;
    wal_head_make(&head, read.id);
    struct buf b = BUF_HEAP;
    buf_mem(&b, (const char *)&head, sizeof(head));
    buf_str(&b, buf_view(&first.again));
    second = (struct seen){ .from = b.p, .to = b.p + b.n };
    must(wal_read(b.p, b.n, &read, each, &second) && read.torn == 0 && read.damaged == 0);
    must(second.n == first.n);
    buf_free(&b);
    buf_free(&first.again);
    buf_free(&second.again);
}

/* Records of the input's pieces, with a wrong byte where a piece asks for it. */
static void build(struct buf *b, const uint8_t *data, size_t size)
{
    struct wal_head head;

    wal_head_make(&head, "00000000-0000-4000-8000-000000000000");
    buf_mem(b, (const char *)&head, sizeof(head));
    for (size_t at = 0; at + 2 <= size;) {
        size_t n = data[at] % 64, from = b->n;
        uint8_t how = data[at + 1];
        n = n < size - at - 2 ? n : size - at - 2;
        put(b, 1 + how % 3, how, str_from((const char *)data + at + 2, n));
        if (how & 128)
            b->p[from + how % (b->n - from)] ^= 1;
        at += 2 + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf b = BUF_HEAP;

    if (size && data[0] & 1)
        build(&b, data + 1, size - 1);
    else
        buf_mem(&b, (const char *)data, size);
    buf_char(&b, 0);
    read_twice(b.p, b.n - 1);
    buf_free(&b);
    return 0;
}
