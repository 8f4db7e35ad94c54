/* core/server/banner.h - what a start says on standard error: one `label: value` per line, for people
 * and for scripts that wait for "listen". */
#ifndef CORE_SERVER_BANNER_H
#define CORE_SERVER_BANNER_H

#include "server/setup.h"

void banner_workers(const struct setup *s); /* of a process that serves nobody */
void banner_print(const struct setup *s, uint16_t port, uint32_t http_loops);

#endif
