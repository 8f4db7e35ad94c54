/* core/plugin/host.h - the table that plugins call through, assembled from the core's functions.
 *
 * What is not built into this server is NULL in it (the public headers say how a plugin asks).
 * Wrappers stand only where a call needs the plugin's own things (config, metrics), or where a
 * struct may come from an older header.
 */
#ifndef CORE_PLUGIN_HOST_H
#define CORE_PLUGIN_HOST_H

#include "plugin/registry.h"

/* Lives as long as the process; the same for all plugins. */
const ath_host *host_table(void);

/* Who answers ath_host.inspect; before the loops serve. NULL: everything is unknown. */
void host_inspect(ath_str (*inspect)(ath_task *t, const char *what));

/* The parts, one file each. */
extern const ath_log_api host_log;
extern const ath_task_api host_task;
extern const ath_req_api host_req;
extern const ath_pg_api host_pg;
extern const ath_job_api host_job;

#endif
