/* core/server/metrics.h - what the process, its databases, loops and sinks look like at scrape time. */
#ifndef CORE_SERVER_METRICS_H
#define CORE_SERVER_METRICS_H

#include "server/inspect.h"

/* Registers the writers; `s` must outlive the process. */
void metrics_start(const struct inspect_sources *s);

/* What /metrics answers when it is switched off. */
void metrics_minimal(struct buf *b);

#endif
