/* The builder: growing, and numbers. */
#include "lib/buf.h"

void buf_free(struct buf *b)
{
    if (!b->alloc)
        free(b->p);
    b->p = NULL;
    b->n = b->cap = 0;
}

void buf_grow(struct buf *b, size_t more)
{
    size_t need = b->n + more + 1, cap = b->cap ? b->cap : 64;
    char *p;

    if (need <= b->cap)
        return;
    while (cap < need)
        cap *= 2;
    if (b->alloc) {
        p = b->alloc(b->arena, cap);
        if (b->n)
            memcpy(p, b->p, b->n + 1);
    } else if (!(p = realloc(b->p, cap))) {
        abort();
    }
    if (b->n == 0)
        p[0] = 0;
    b->p = p;
    b->cap = cap;
}

void buf_u64(struct buf *b, uint64_t v)
{
    char room[STR_U64_ROOM];

    buf_str(b, str_from_u64(v, room));
}

void buf_i64(struct buf *b, int64_t v)
{
    if (v < 0)
        buf_char(b, '-');
    buf_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    buf_grow(b, 0);
    n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
    if (n < 0)
        abort();
    if ((size_t)n >= b->cap - b->n) {
        buf_grow(b, (size_t)n);
        vsnprintf(b->p + b->n, b->cap - b->n, fmt, again);
    }
    b->n += (size_t)n;
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}
