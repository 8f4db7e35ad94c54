/* core/server/spill.h - where the spools of sinks lie, and for which databases they are. */
#ifndef CORE_SERVER_SPILL_H
#define CORE_SERVER_SPILL_H

#include "log/log.h"
#include "server/setup.h"

enum { SPILL_FOLDER = 512 };

/* For a sink whose queue may spill: <server.state_dir>/spool/<sink> into `folder`, and the folder that
 * it is in is made. server.state_dir itself has to be there: else the sink has no spool, which is said. */
void spill_place(const struct setup *s, const char *sink, char folder[SPILL_FOLDER],
                 struct log_queue_options *ret);

/* A connection URI by what database it leads to: host, port and name, not how one signs in there. */
uint64_t spill_target(ath_str uri);

#endif
