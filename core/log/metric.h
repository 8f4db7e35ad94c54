/* core/log/metric.h - counters, gauges and histograms, and the Prometheus text.
 *
 * Each thread counts in a shard of its own (created at its first use); reading adds the shards up.
 * Label sets are bounded per family: what comes after the bound is counted under "other".
 *
 * Most of the published families describe the same two observations under different labels: an
 * HTTP request and a gateway operation. Those are kept once, by their full label set, and the
 * families are derived when they are read.
 */
#ifndef CORE_LOG_METRIC_H
#define CORE_LOG_METRIC_H

#include <stdbool.h>

#include <athena/plugin.h>

struct buf;

/* A family of the core or of a plugin. `metric` must outlive the process. The same name twice is
 * refused. *ret_id is what metric_put() takes. */
int metric_register(const ath_metric *metric, uint32_t *ret_id, ath_err *e);

/* Counter: adds v. Gauge: sets to v (of this thread's shard; shards of a gauge are added up).
 * Histogram: observes v, in seconds. `label` has as many texts as the family's label list. */
void metric_put(uint32_t id, const ath_str *label, double v);

/* One finished HTTP request. Route and group live as long as the process: they are told apart by
 * their addresses before they are by their texts. Other texts are copied at first sight. */
struct metric_http {
    const char *route, *route_group; /* route: the pattern, or "unmatched" */
    ath_str method;
    ath_str client;              /* empty: "unknown" */
    int status;
    bool handler_error;          /* the handler failed without an answer of its own */
    uint64_t duration_ns, request_bytes, response_bytes;
};
void metric_http(const struct metric_http *m);

/* A request at work: begin gives what end takes; NULL, allowed there, when there are too many
 * routes. Texts as of metric_http(). Any threads. */
struct metric_flight;
struct metric_flight *metric_flight_begin(ath_str method, const char *route,
                                          const char *route_group);
void metric_flight_end(struct metric_flight *f);

/* One change of a managed object, or one look into a cache: the published "management" families.
 * `operation` and `status` are words of a fixed set (contract observability.md 2.5). */
void metric_management(ath_str operation, ath_str status, uint64_t duration_ns);

/* One gateway operation (contract observability.md 2.6); route and operation as above. */
struct metric_operation {
    const char *route, *operation;
    ath_str client, table, method, cache_outcome, cache_source;
    int status;
    uint64_t duration_ns;
};
void metric_operation(const struct metric_operation *m);

/* Both at once; `o` may be NULL. */
void metric_request(const struct metric_http *m, const struct metric_operation *o);

/* Something read at scrape time: writes whole families with HELP and TYPE. */
typedef void metric_writer(struct buf *b, void *arg);
void metric_source(metric_writer *write, void *arg);

/* The whole text, format 0.0.4. Every published family is in it: what nobody wrote has HELP and
 * TYPE, and a 0 when it has no labels. */
void metric_render(struct buf *b);

/* The text while the exporter is switched off: three families. */
void metric_render_off(struct buf *b);

/* Helpers for writers: # HELP and # TYPE; a label value with its escapes. */
void metric_head(struct buf *b, const char *name, const char *type, const char *help);
void metric_label(struct buf *b, const char *name, ath_str value); /* name="value" */

#endif
