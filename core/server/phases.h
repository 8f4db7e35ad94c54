/* core/server/phases.h - the phase table: what a request goes through, in order. */
#ifndef CORE_SERVER_PHASES_H
#define CORE_SERVER_PHASES_H

#include "http/http.h"
#include "server/keys.h"

extern const struct phase server_phases[];
extern const uint32_t server_phase_count;

/* What the phases decide by; before the first request. `keys` must outlive the process. */
void phases_init(const struct keys *keys);

#endif
