/* Between the files of plugins/shared/logline. */
#ifndef PLUGINS_SHARED_LOGLINE_PRIV_H
#define PLUGINS_SHARED_LOGLINE_PRIV_H

#include "logline/logline.h"

enum { SPAN_N = 5 };             /* "span." */

static inline bool is_span(const ath_fact *f)
{
    return f->key.n > SPAN_N && f->key.p[0] == 's' && memcmp(f->key.p, "span.", SPAN_N) == 0;
}

/* Fills l->clock, l->zone and l->utc for that second. */
void logline_clock(struct logline *l, uint64_t second);

#endif
