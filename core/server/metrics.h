/* core/server/metrics.h - configuration, databases and loops at scrape time. */
#ifndef CORE_SERVER_METRICS_H
#define CORE_SERVER_METRICS_H

#include "server/inspect.h"

/* Registers the writers; `s` must outlive the process. */
void metrics_start(const struct inspect_sources *s);

#endif
