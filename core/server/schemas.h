/* core/server/schemas.h - the schemas that plugins bring, as components of control/. */
#ifndef CORE_SERVER_SCHEMAS_H
#define CORE_SERVER_SCHEMAS_H

#include "control/schema.h"
#include "server/setup.h"

/* Those of the loaded plugins behind the core's, from s->core.schema; in the registry's arena. */
void schemas_setup(struct setup *s);

#endif
