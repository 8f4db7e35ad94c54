/* plugins/shared/dataplane/question.h - what a bound fetch is for the cache (athena/service/cache.h). */
#ifndef PLUGINS_SHARED_DATAPLANE_QUESTION_H
#define PLUGINS_SHARED_DATAPLANE_QUESTION_H

#include <athena/service/cache.h>

#include "dataplane/dataplane.h"

/* `key` is the question's label, `form` tells apart the bodies that are made of the same rows. */
ath_str dp_question(ath_arena *a, ath_str key, const struct dp_fetch *f, const struct dp_query *q,
                    uint8_t form);

/* Does a value mean another time whenever it is read ("now", "today")? */
bool dp_asks_for_now(const struct dp_query *q);

/* The relations that it reads; returns how many. */
uint32_t dp_relations_read(ath_arena *a, const struct dp_node *root, ath_relation_name **ret);

#endif
