/* plugins/shared/backup/estimate.h - how far a backup is, of what can be seen of it. */
#ifndef PLUGINS_SHARED_BACKUP_ESTIMATE_H
#define PLUGINS_SHARED_BACKUP_ESTIMATE_H

#include <stdint.h>

/* Percent of the job, 5 to 68, while the dump has grown to so many bytes; `before`: the size of the
 * newest finished backup of the same database, 0: there is none. Never falls as bytes grow. */
int estimate_dump(uint64_t bytes, uint64_t before);

/* Between two percents, `done` of `all`; more than all is all. */
int estimate_part(int from, int to, uint64_t done, uint64_t all);

#endif
