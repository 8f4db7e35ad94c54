/* Heap memory: abort rather than NULL, and a countdown for tests. */
#include "base/mem.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 512 * 1024 };

static unsigned fail_at;

static void *never_null(void *p)
{
    if (!p) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

void mem_large_apart(void)
{
#ifdef M_MMAP_THRESHOLD
    (void)mallopt(M_MMAP_THRESHOLD, LARGE);
#endif
}

void *mem_new(size_t n)
{
    return never_null(calloc(1, n ? n : 1));
}

void *mem_resize(void *p, size_t n)
{
    return never_null(realloc(p, n ? n : 1));
}

char *mem_dup(const char *p, size_t n)
{
    char *copy = mem_new(n + 1);

    if (n)
        memcpy(copy, p, n);
    return copy;
}

char *mem_dup_str(ath_str s)
{
    return mem_dup(s.p, s.n);
}

char *mem_dup_z(const char *z)
{
    return z ? mem_dup(z, strlen(z)) : NULL;
}

void *mem_try(size_t n)
{
    if (fail_at && --fail_at == 0)
        return NULL;
    return calloc(1, n ? n : 1);
}

void mem_fail_at(unsigned n)
{
    fail_at = n;
}

void mem_freep(char **p)
{
    free(*p);
    *p = NULL;
}
