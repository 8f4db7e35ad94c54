/* plugins/routes/gateway/trigger.h - `athena cache install-trigger` and `athena cache
 * remove-trigger`. */
#ifndef ROUTES_GATEWAY_TRIGGER_H
#define ROUTES_GATEWAY_TRIGGER_H

#include <athena/plugin.h>

extern const ath_command trigger_install, trigger_remove;

#endif
