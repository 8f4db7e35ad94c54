/* core/auth/admit_priv.h - between admit.c, which decides, and admitredis.c, which asks Redis. */
#ifndef CORE_AUTH_ADMIT_PRIV_H
#define CORE_AUTH_ADMIT_PRIV_H

#include "auth/admit.h"

enum verdict { V_PASSED, V_GLOBAL, V_CLIENT, V_LOST }; /* V_LOST: the store did not say */

struct shared_options {
    ath_str url;
    uint64_t command_ms, cooldown_ms, window_ms, global, per_client;
    bool open;                   /* what happens when it is lost for longer */
};

int shared_start(const struct shared_options *o, ath_err *e);
void shared_end(void);
bool shared_on(void);
bool shared_holds_off(void);      /* it is lost, but not for longer than memory stands in for it */
bool shared_up(void);
void shared_loop_init(ath_loop *l);
void shared_loop_fini(ath_loop *l);

/* An operation: d->count is the verdict. < 0: it cannot be asked now. `client` is copied. */
int shared_ask(struct req *r, ath_str client, ath_then *then, ath_err *e);

#endif
