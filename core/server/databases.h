/* core/server/databases.h - the databases of a configuration, for whoever runs: server or command.
 */
#ifndef CORE_SERVER_DATABASES_H
#define CORE_SERVER_DATABASES_H

#include "io/loop.h"
#include "server/setup.h"

/* Registers its clients; nothing connects yet. Who cannot be served is said. */
int databases_start(const struct setup *s, ath_loop *const *loops, uint32_t n, ath_err *e);

#endif
