/* core/server/phases.h - what a request goes through, in order. */
#ifndef CORE_SERVER_PHASES_H
#define CORE_SERVER_PHASES_H

#include "http/http.h"

/* The phases, without those that have nothing to do as things are configured, and what happens to a
 * request when its head goes out and when it is over. Once, after admission and limits know that. */
void phases_put(struct http *h);

#endif
