/* core/server/keystore.h - from the configuration to the check of keys: who is an administrator, what
 * the key store is and what holds without it. */
#ifndef CORE_SERVER_KEYSTORE_H
#define CORE_SERVER_KEYSTORE_H

#include "server/setup.h"

/* Before the loops serve. */
int keystore_configure(const struct core_config *c, ath_err *e);

/* What an operator has to know of it, once, when the sinks take it. */
void keystore_say(const struct core_config *c);

#endif
