/* What the files of worker-upkeep share: its configuration, its metrics, and queries of the control
 * plane. */
#ifndef UPKEEP_H
#define UPKEEP_H

#include <athena/plugin.h>

#include "lib/buf.h"
#include "lib/uuid.h"

struct upkeep_config {
    ath_str logging_client;
    int32_t retention, partitions, statistics, monitor, reconnect, sampler; /* gates */
    uint64_t retention_every_ms, partitions_every_ms, statistics_every_ms, monitor_every_ms,
        reconnect_every_ms, sampler_every_ms, analyze_every_ms;
    int32_t dry_run;
    /* How long rows are kept, in ms; 0: for ever. */
    uint64_t log_ms, deferred_ms, registry_ms, ip_addresses_ms, learned_ips_ms, audit_ms, pools_ms, vacuum_ms,
        pressure_ms, optimization_ms, outbox_published_ms, outbox_exhausted_ms, backup_logs_ms,
        clone_events_ms, daemons_ms, deliveries_ms, ledger_ms,
        sink_events_ms;
    int64_t outbox_attempts, typesense_runs;
};

/* Indexes into the plugin's table of metrics. */
enum {
    M_DELETED, M_DROPPED, M_LAG, M_RETENTION_SUCCESS, M_REQUESTS_24H, M_MUTATIONS_24H, M_QUEUE_UP,
    M_QUEUE_TOTAL, M_QUEUE_STATUS, M_QUEUE_OLDEST, METRICS
};

/* A table that could not be written for want of room or of connections is left alone for a while. */
struct pause {
    uint64_t until_ms;           /* loop time; 0: there is none */
    const char *why;
};

struct upkeep {                  /* the plugin's state */
    char instance[UUID_TEXT];    /* of this process: a random UUID */
    struct sampler *sampler;     /* each below is its tick's alone */
    struct reconnect *reconnect;
    struct pause pools;          /* of writing their records */
};

/* The ticks. */
int retention_run(ath_job *j, ath_err *e);
int partitions_run(ath_job *j, ath_err *e);
int statistics_run(ath_job *j, ath_err *e);
int monitor_run(ath_job *j, ath_err *e);
int reconnect_run(ath_job *j, ath_err *e);
int sampler_run(ath_job *j, ath_err *e);

struct sampler *sampler_new(void);
struct reconnect *reconnect_new(void);
void reconnect_free(struct reconnect *k);
void sampler_start(void);        /* the gauges show zeros until the first sample */

/* One trip of the control plane, as a transaction; `then` as of ath_pg_api.query. */
struct ask {
    ath_str client;              /* empty: "@control" */
    const ath_stmt *stmt;
    uint32_t count;
    uint32_t flags;
    const char *lock_timeout;    /* NULL: 1s */
    uint32_t limit_ms;           /* 0: 30 s */
    ath_pair setting;            /* one more, for the transaction; name empty: none */
};
int upkeep_ask(ath_task *t, const struct ask *a, ath_then *then, void *arg, ath_err *e);

/* Ends the task well, with nothing to say. */
int upkeep_done(ath_task *t);
void upkeep_say(ath_task *t, int level, const char *fmt, ...) ATH_PRINTF(3, 4);
void upkeep_put(uint32_t metric, const char *label, double v); /* label NULL: it has none */

/* 0 when there is none, or it is no number. */
int64_t upkeep_number(const ath_rows *rows, uint32_t row, uint32_t col);

#endif
