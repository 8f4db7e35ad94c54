/* core/server/workers.h - the workers of the loaded plugins that this process runs. */
#ifndef CORE_SERVER_WORKERS_H
#define CORE_SERVER_WORKERS_H

#include "server/setup.h"

/* After the plugins are up. A process that only runs workers refuses to start without any: `e` says
 * which were expected, and what keeps them from running. */
int workers_check(const struct setup *s, ath_err *e);

/* The workers that somebody should run, those that are on and no process's own duty, as JSON:
 * [{"worker":"clone_worker","family":"clone"}]. */
void workers_known(const struct setup *s, struct buf *b);

/* Does a server of this configuration run workers of the family itself? */
bool workers_inline(const struct setup *s, ath_str family);

/* What could be started with these plugins, and which workers each would run, as JSON: [{"binary":
 * "athena_clone_worker","command":"athena worker clone","runtime_kind","workers":[]}]. Any thread. */
void workers_programs_json(struct buf *b);

/* Those of the process's role; once, after workers_check(). `home`: a work loop. */
void workers_start(const struct setup *s, ath_loop *home);

#endif
