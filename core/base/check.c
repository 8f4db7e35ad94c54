/* The end of a process that found a pointer to be something else. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, uint32_t want, uint32_t got)
{
    fprintf(stderr, "%s:%d: object is %08x, expected %08x\n", file, line, got, want);
    abort();
}
