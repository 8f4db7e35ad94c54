/* core/base/arena.h - memory that goes all at once with its owner: a request, a job, a config.
 *
 * Blocks grow from 8 KiB to 64 KiB; what is larger has a block of its own. arena_own() registers a
 * destructor, run in reverse order when the arena is emptied. Used by one thread at a time.
 */
#ifndef CORE_BASE_ARENA_H
#define CORE_BASE_ARENA_H

#include <athena/plugin.h>

struct arena_block;
struct arena_owned;

struct ath_arena {
    struct arena_block *block; /* newest first; the newest has the free room */
    struct arena_owned *owned;
    char *at, *end;            /* free room */
    size_t used;               /* bytes handed out, for limits and for tests */
};

enum { ARENA_ALIGN = 16 };

void arena_init(ath_arena *a);
void *arena_more(ath_arena *a, size_t n);       /* arena_raw()'s, when its room is too small */

/* Not zeroed; else as arena_alloc(). */
static inline void *arena_raw(ath_arena *a, size_t n)
{
    char *p = a->at;

    n = (n + !n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1); /* nothing, too, is never NULL */
    a->used += n;
    if (n > (size_t)(a->end - p))
        return arena_more(a, n);
    a->at = p + n;
    return p;
}

void *arena_alloc(ath_arena *a, size_t n);      /* zeroed, aligned for anything, never NULL */
ath_str arena_str(ath_arena *a, ath_str s);     /* a copy that ends in NUL */
ATH_PRINTF(2, 3) ath_str arena_printf(ath_arena *a, const char *fmt, ...);
void arena_own(ath_arena *a, void *p, ath_fn *destroy);

/* What `from` holds, destructors too, goes on with `to`; `from` is empty afterwards. */
void arena_join(ath_arena *to, ath_arena *from);

/* Runs the destructors and gives all memory back; the arena may be used again. */
void arena_free(ath_arena *a);

/* Gives back what the calling thread keeps for its next arenas; before a thread ends. */
void arena_thread_end(void);

#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))

/* A struct buf (sdk/lib/buf.h) that grows in `a`. */
#define ARENA_BUF(a) ((struct buf){ .alloc = arena_raw, .arena = (a) })

#endif
