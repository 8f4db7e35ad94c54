/* Events as text, for tests that read what a sink got. */
#ifndef TESTS_SUPPORT_EVENTTEXT_H
#define TESTS_SUPPORT_EVENTTEXT_H

#include "athena/log.h"
#include "lib/buf.h"

/* A line per event: its name and its facts but for "time", null as in SQL. */
void events_text(struct buf *b, const ath_event *const *batch, size_t n);

#endif
