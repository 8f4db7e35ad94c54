/* core/server/pipelines.h - the registry of pipelines: config/pipelines.yaml, read at the start and
 * whenever the configuration is read again.
 *
 *     pipelines:
 *     - name: daily_orders
 *       source: { table_name: orders, conditions: [{ eq_column: state, eq_value: paid }] }
 *       transform: { group_by: created_at, time_granularity: day, aggregation_column: total }
 *       sink: { table_name: order_totals, client: reports }
 *
 * The file is taken as a whole or not at all; what is wrong with it is said with its line and key,
 * and the server starts without it, as the published one does, or keeps what it had.
 */
#ifndef CORE_SERVER_PIPELINES_H
#define CORE_SERVER_PIPELINES_H

#include "config/config.h"
#include "lib/buf.h"

/* `path` as --pipelines-path has it: beside the configuration, or below the current directory.
 * False: there is none, and the log says why. */
bool pipelines_load(const struct config *c, ath_str path);
void pipelines_free(void);

/* Of these any thread. */
bool pipelines_loaded(void);
uint32_t pipelines_count(void);

/* [{"name":"...","definition":{"source":{},"transform":{},"sink":{}}},...]; [] without a file. */
void pipelines_json(struct buf *b);

#endif
