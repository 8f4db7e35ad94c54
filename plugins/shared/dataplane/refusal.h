/* plugins/shared/dataplane/refusal.h - the words of a failure, kept and said anew: an ath_err lasts
 * as long as one call.
 *
 * What is said anew has the ids of the request that it is said to.
 */
#ifndef PLUGINS_SHARED_DATAPLANE_REFUSAL_H
#define PLUGINS_SHARED_DATAPLANE_REFUSAL_H

#include <stdbool.h>

#include <athena/plugin.h>

/* Would the same request fail the same way again? rc: of `e`. */
bool dp_is_definite(int rc, const ath_err *e);

/* Code, message, hint and details as JSON, in `a`. */
ath_str dp_refusal(ath_arena *a, const ath_err *e);

/* Raises what dp_refusal() wrote and returns its class. */
int dp_refuse_again(ath_req *r, ath_str refusal, ath_err *e);

ATH_PRINTF(2, 3) void dp_hint(ath_err *e, const char *fmt, ...);

#endif
