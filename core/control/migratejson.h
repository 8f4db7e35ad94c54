/* core/control/migratejson.h - what came of a component, as one JSON object. */
#ifndef CORE_CONTROL_MIGRATEJSON_H
#define CORE_CONTROL_MIGRATEJSON_H

#include "control/migrate.h"
#include "lib/buf.h"

/* `steps`: with each step and what it would add. */
void migrate_json(struct buf *b, const struct migration *m, bool steps);

#endif
