/* Counting passes, from any thread. */
#include "base/fault.h"

#ifdef ATHENA_FAULTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void fault_pass(const char *name)
{
    static atomic_long passes;
    const char *wanted = getenv("ATHENA_FAULT");
    size_t n = strlen(name);
    long at;

    if (!wanted || strncmp(wanted, name, n) != 0 || (wanted[n] && wanted[n] != ':'))
        return;
    at = wanted[n] ? strtol(wanted + n + 1, NULL, 10) : 1;
    if (atomic_fetch_add(&passes, 1) + 1 == at)
        raise(SIGKILL);
}

#else

typedef int fault_is_not_built_in;

#endif
