/* sdk/lib/buf.h - the one builder of text.
 *
 * A buf grows by doubling and is always terminated by a NUL that its length does not count. Its
 * memory comes from an arena, and goes with it, or from the heap, and then buf_free() gives it back.
 * Running out of memory aborts: what a peer may make large is bounded before it is built.
 *
 *     struct buf b = BUF_ARENA(ath_arena_of(t));    in a plugin
 *     struct buf b = BUF_HEAP;
 */
#ifndef SDK_LIB_BUF_H
#define SDK_LIB_BUF_H

#include "lib/text.h"

typedef void *buf_alloc_fn(ath_arena *arena, size_t n);

struct buf {
    char *p;             /* NULL until the first byte */
    size_t n, cap;
    buf_alloc_fn *alloc; /* NULL: the heap */
    ath_arena *arena;
};

#define BUF_HEAP ((struct buf){ 0 })
#define BUF_ARENA(a) ((struct buf){ .alloc = ath_host_->mem->alloc, .arena = (a) })

void buf_free(struct buf *b);           /* of the heap; of an arena: nothing; empty afterwards */
void buf_grow(struct buf *b, size_t more); /* room for `more` bytes and the NUL */

static inline void buf_reset(struct buf *b)
{
    b->n = 0;
    if (b->p)
        b->p[0] = 0;
}

static inline void buf_mem(struct buf *b, const char *p, size_t n)
{
    if (b->cap < b->n + n + 1)
        buf_grow(b, n);
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

static inline void buf_char(struct buf *b, char c)
{
    if (b->cap < b->n + 2)
        buf_grow(b, 1);
    b->p[b->n++] = c;
    b->p[b->n] = 0;
}

static inline void buf_str(struct buf *b, ath_str s)
{
    buf_mem(b, s.p, s.n);
}

#define buf_lit(b, literal) buf_mem((b), "" literal, sizeof(literal) - 1)

static inline void buf_z(struct buf *b, const char *z)
{
    buf_mem(b, z, strlen(z));
}

/* The place of up to `most` more bytes, to be filled with str_put(); buf_end() says up to where. */
static inline char *buf_room(struct buf *b, size_t most)
{
    if (b->cap < b->n + most + 1)
        buf_grow(b, most);
    return b->p + b->n;
}

static inline void buf_end(struct buf *b, char *end)
{
    b->n = (size_t)(end - b->p);
    *end = 0;
}

void buf_u64(struct buf *b, uint64_t v);
void buf_i64(struct buf *b, int64_t v);
ATH_PRINTF(2, 3) void buf_printf(struct buf *b, const char *fmt, ...);
ATH_PRINTF(2, 0) void buf_vprintf(struct buf *b, const char *fmt, va_list ap);

/* What was built, ended by a NUL; valid until the next call that adds. Never a NULL pointer. */
static inline ath_str buf_view(const struct buf *b)
{
    return (ath_str){ b->p ? b->p : "", b->n };
}

#endif
