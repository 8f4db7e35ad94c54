/* sink-postgres: one row of each request into the log tables of the control plane, and what is
 * added up beside them; of each check of a key into the key store's log. Nothing of it ever fails a
 * request: what a database does not take waits in a bounded spool on disk, or, where there is none, in
 * a bounded queue; what that cannot hold is counted and let go. */
#include "sink.h"

#include <stdlib.h>

static const ath_field fields[] = {
    ATH_STR(struct config, client, "client", "", NULL,
            "Client that holds the tables; empty: nothing is written.",
            .alias = "gateway.logging_client"),
    ATH_STR(struct config, auth_client, "auth_client", "", NULL,
            "Client that holds the key store and its log; empty: the client above.",
            .alias = "gateway.auth_client"),
    ATH_BOOL(struct config, files, "rows_in_files", "false",
             "Rows of requests and operations go to files (sink-ndjson); statistics go on.",
             .alias = "gateway.linux_file_logging_enabled"),
    ATH_INT(struct config, idle_s, "registry_inactive_after_secs", "300", "300..86400",
            "Connections that were not seen for so many seconds leave the registry.",
            .alias = "$ATHENA_REALTIME_REGISTRY_INACTIVE_AFTER_SECS"),
    ATH_INT(struct config, purge_s, "registry_purge_interval_secs", "30", "30..3600",
            "How often that is looked at, while there is traffic.",
            .alias = "$ATHENA_REALTIME_REGISTRY_PURGE_INTERVAL_SECS"),
    ATH_INT(struct config, queue_events, "queue_events", "50000", "16..16777216",
            "Rows that may wait for this sink; what comes after that is dropped and counted."),
    ATH_BYTES(struct config, queue_bytes, "queue_bytes", "64m", "2m..64g",
              "Memory that waiting rows may hold; what comes after that is dropped and counted."),
    ATH_INT(struct config, batch, "batch", "16384", "16..65536", "Most rows in one batch."),
    ATH_INT(struct config, wake_events, "wake_events", "512", "16..65536",
            "So many waiting rows are written at once; more of them leave the processor's cache "
            "before they are."),
    ATH_BYTES(struct config, spill_bytes, "spill_bytes", "1g", "0..1024g",
              "Space of the spool below server.state_dir, where rows wait while requests need the "
              "machine or the database is away; 16m at least, 0: none."),
    ATH_MSEC(struct config, flush_ms, "flush_ms", "1s", "1ms..10s",
             "Longest time that a row waits for others to be written with."),
};

static const ath_metric metrics[] = {
    [METRIC_DROPPED] = { "athena_log_table_rows_dropped_total", "table,reason",
                         "Rows of the log tables that were lost.", ATH_M_COUNTER, 100 },
    [METRIC_WRITTEN] = { "athena_log_table_rows_written_total", "table",
                         "Rows of the log tables that were written.", ATH_M_COUNTER, 100 },
};

static int init(ath_self *self, const void *config, void **state, ath_err *e)
{
    struct sink *s = calloc(PLACES, sizeof(*s));

    (void)self;
    if (!s)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    for (int place = CONTROL; place < PLACES; place++) {
        s[place].cfg = config;
        s[place].tables.place = (enum place)place;
        s[place].most = (size_t)s->cfg->batch;
        pthread_mutex_init(&s[place].taken.lock, NULL);
    }
    *state = s;
    return 0;
}

static void fini(void *state)
{
    struct sink *s = state;

    for (int place = CONTROL; s && place < PLACES; place++) {
        sums_free(&s[place].taken.sums);
        sums_free(&s[place].sums);
        sums_free(&s[place].old_sums);
        pthread_mutex_destroy(&s[place].taken.lock);
        buf_free(&s[place].text);
    }
    free(s);
}

static void control_begin(void *state, const ath_batch *b)
{
    sink_begin((struct sink *)state + CONTROL, b);
}

static void auth_begin(void *state, const ath_batch *b)
{
    sink_begin((struct sink *)state + AUTH, b);
}

/* Only the control plane has sums. */
static void control_taken(void *state, const ath_batch *b, const ath_event *const *event, size_t n)
{
    sink_taken((struct sink *)state + CONTROL, b, event, n);
}

static int control_open(void *state, ath_err *e)
{
    const struct sink *s = state;

    if (str_trim(s->cfg->client).n == 0)
        return ath_fail(e, ATH_E_MISSING, "no control plane is configured");
    return 0;
}

static int auth_open(void *state, ath_err *e)
{
    const struct sink *s = state;

    if (str_trim(s->cfg->auth_client).n == 0 && str_trim(s->cfg->client).n == 0)
        return ath_fail(e, ATH_E_MISSING, "no key store is configured");
    return 0;
}

/* The queue had no room for them, or the host gave their batch up. */
static void sink_lost(void *state, ath_str name, uint64_t n)
{
    (void)state;
    count_lost(name, n);
}

static const ath_step steps[] = {
    { .name = "log writers", .sql = writers_sql, .version = 1 },
};
static const ath_schema schema = {
    ATH_CAP(ath_schema, ATH_CAP_SCHEMA, "log_writers"),
    .client = "@control",
    .expect = "athena_log_writers(writer, part, number, seen_at)",
    ATH_ARRAY(step, steps),
};
/* The same table beside the key store, which may be another database. */
static const ath_schema auth_schema = {
    ATH_CAP(ath_schema, ATH_CAP_SCHEMA, "auth_log_writers"),
    .client = "@auth",
    .expect = "athena_log_writers(writer, part, number, seen_at)",
    ATH_ARRAY(step, steps),
};
static const ath_sink control = {
    ATH_CAP(ath_sink, ATH_CAP_SINK, "postgres"),
    .events = "gateway_request gateway_operation gateway_route gateway_admission athena_audit",
    .open = control_open,
    .send = control_send,
    .lost = sink_lost,
    .begin = control_begin,
    .taken = control_taken,
};
static const ath_sink auth = {
    ATH_CAP(ath_sink, ATH_CAP_SINK, "auth"),
    .events = "api_key_auth",
    .open = auth_open,
    .send = auth_send,
    .lost = sink_lost,
    .begin = auth_begin,
};
static const ath_cap *const caps[] = { &control.cap, &auth.cap, &schema.cap, &auth_schema.cap,
                                       NULL };

ATH_PLUGIN("sink-postgres", "1.0.0", "", "",
           .summary = "Rows of requests into the log tables of the control plane and the key store",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct config),
           ATH_ARRAY(metric, metrics), .cap = caps, .init = init, .fini = fini);
