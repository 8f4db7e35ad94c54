/* core/db/heard.h - how much a socket has got, whoever has read it. */
#ifndef CORE_DB_HEARD_H
#define CORE_DB_HEARD_H

#include <stdint.h>

/* Bytes since it was connected, by the kernel's count; 0: it does not count (no TCP). */
uint64_t socket_heard(int fd);

#endif
