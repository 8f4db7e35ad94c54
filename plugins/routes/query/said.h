/* plugins/routes/query/said.h - the words of a failure, kept while something else is waited for. */
#ifndef ROUTES_QUERY_SAID_H
#define ROUTES_QUERY_SAID_H

#include <athena/plugin.h>

#include "lib/json.h"

struct said;

struct said *said_keep(ath_arena *a, const ath_err *e);

/* Says them once more; returns what the failure returned. */
int said_again(const struct said *s, ath_err *e);

#endif
