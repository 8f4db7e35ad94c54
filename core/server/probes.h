/* core/server/probes.h - what the background asks: the registry's checks, the configured mirrors, the
 * clients (core/control/probe.h). */
#ifndef CORE_SERVER_PROBES_H
#define CORE_SERVER_PROBES_H

#include "server/setup.h"

void probes_start(const struct setup *s, ath_loop *home); /* a work loop; once the loops serve */

#endif
