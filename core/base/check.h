/* core/base/check.h - magic numbers: what comes back through a void pointer is checked.
 *
 *     struct conn *c = CHECKED(h->data, struct conn, CONN_MAGIC);
 *
 * aborts with file, line and both numbers when it is something else or was freed. The struct's first
 * member is `uint32_t magic`; its free function sets it to 0.
 */
#ifndef CORE_BASE_CHECK_H
#define CORE_BASE_CHECK_H

#include <stdint.h>

_Noreturn void check_failed(const char *file, int line, uint32_t want, uint32_t got);

#define CHECKED(ptr, type, want) ((type *)check_magic((ptr), (want), __FILE__, __LINE__))

static inline void *check_magic(void *p, uint32_t want, const char *file, int line)
{
    if (*(const uint32_t *)p != want)
        check_failed(file, line, want, *(const uint32_t *)p);
    return p;
}

#endif
