/* Arenas: bump allocation from blocks, and a list of destructors. */
#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { FIRST_BLOCK = 8192, LAST_BLOCK = 65536, SPARE_MOST = 32 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(ARENA_ALIGN) char data[];
};

struct arena_owned {
    struct arena_owned *next;
    void *p;
    ath_fn *destroy;
};

void arena_init(ath_arena *a)
{
    *a = (ath_arena){ 0 };
}

/* First blocks that were given back, for the thread's next arenas: a request's arena then costs no
 * malloc. Not under AddressSanitizer, which is to see every use after free. */
static _Thread_local struct arena_block *spare;
static _Thread_local unsigned spare_count;

static struct arena_block *block_new(size_t size)
{
    struct arena_block *b = spare;

    if (size == FIRST_BLOCK && b) {
        spare = b->next;
        spare_count--;
        return b;
    }
    if (!(b = malloc(sizeof(*b) + size)))
        abort();
    b->size = size;
    return b;
}

static void block_free(struct arena_block *b)
{
#ifndef ATHENA_ASAN
    if (b->size == FIRST_BLOCK && spare_count < SPARE_MOST) {
        b->next = spare;
        spare = b;
        spare_count++;
        return;
    }
#endif
    free(b);
}

void arena_thread_end(void)
{
    while (spare) {
        struct arena_block *b = spare;
        spare = b->next;
        free(b);
    }
    spare_count = 0;
}

/* A block of its own, or a new current one. */
void *arena_more(ath_arena *a, size_t n)
{
    size_t size = a->block ? a->block->size * 2 : FIRST_BLOCK;
    struct arena_block *b;

    if (size > LAST_BLOCK)
        size = LAST_BLOCK;
    if (size < FIRST_BLOCK)
        size = FIRST_BLOCK;
    if (a->block && n > size / 4) { /* behind the current one, whose room stays in use */
        b = block_new(n);
        b->next = a->block->next;
        a->block->next = b;
        return b->data;
    }
    while (size < n)
        size *= 2;
    b = block_new(size);
    b->next = a->block;
    a->block = b;
    a->at = b->data + n;
    a->end = b->data + size;
    return b->data;
}

void *arena_alloc(ath_arena *a, size_t n)
{
    return memset(arena_raw(a, n), 0, n);
}

ath_str arena_str(ath_arena *a, ath_str s)
{
    char *p = arena_raw(a, s.n + 1);

    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return (ath_str){ p, s.n };
}

ath_str arena_printf(ath_arena *a, const char *fmt, ...)
{
    va_list ap;
    char *p;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    p = arena_raw(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return (ath_str){ p, (size_t)n };
}

void arena_own(ath_arena *a, void *p, ath_fn *destroy)
{
    struct arena_owned *o = arena_raw(a, sizeof(*o));

    *o = (struct arena_owned){ a->owned, p, destroy };
    a->owned = o;
}

void arena_join(ath_arena *to, ath_arena *from)
{
    struct arena_block *last = from->block;
    struct arena_owned *oldest = from->owned;

    if (oldest) { /* the newest of all: they are destroyed first */
        while (oldest->next)
            oldest = oldest->next;
        oldest->next = to->owned;
        to->owned = from->owned;
    }
    if (last && to->block) { /* behind the current block, whose room stays in use */
        while (last->next)
            last = last->next;
        last->next = to->block->next;
        to->block->next = from->block;
    } else if (last) {
        to->block = from->block;
        to->at = from->at;
        to->end = from->end;
    }
    to->used += from->used;
    arena_init(from);
}

void arena_free(ath_arena *a)
{
    while (a->owned) {
        struct arena_owned *o = a->owned;
        a->owned = o->next;
        o->destroy(o->p);
    }
    while (a->block) {
        struct arena_block *b = a->block;
        a->block = b->next;
        block_free(b);
    }
    arena_init(a);
}
