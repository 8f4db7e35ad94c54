/* Gateway operations and management operations: counting, and the families that tell of them. */
#include "log/metric_priv.h"

static ath_str given(ath_str v, ath_str otherwise)
{
    return v.n ? v : otherwise;
}

static struct set *set_of(struct shard *s, const struct metric_operation *m)
{
    enum { CLIENT = 1 << 0, TABLE = 1 << 1, METHOD = 1 << 3, OUTCOME = 1 << 6, SOURCE = 1 << 7 };
    static const ath_str unknown = { "unknown", 7 }, none = { "none", 4 };
    ath_str label[] = { given(m->client, unknown), given(m->table, unknown), m->method,
                        given(m->cache_outcome, none), given(m->cache_source, none) };
    struct recent *e = recent_of(s->operation, m->route, m->status);
    struct set *set;
    struct key k;

    if (recent_fits(e, m->route, m->operation, m->status, label, ATH_COUNT(label)))
        return e->set;
    KEY_EMPTY(&k);
    key_add(&k, label[0]);
    key_add(&k, label[1]);
    key_add(&k, given(str_of(m->operation), unknown));
    key_add(&k, metric_method(m->method));
    key_add(&k, given(str_of(m->route), unknown));
    key_add_status(&k, m->status);
    key_add(&k, label[3]);
    key_add(&k, label[4]);
    set = table_get(&s->kind[KIND_OPERATION], &k, SETS, kinds[KIND_OPERATION].keep);
    recent_keep(e, m->route, m->operation, m->status, set,
                CLIENT | TABLE | METHOD | OUTCOME | SOURCE);
    return set;
}

void metric_operation_count(struct shard *s, const struct metric_operation *m)
{
    tally_time(&set_of(s, m)->tally, m->duration_ns);
}

void metric_operation(const struct metric_operation *m)
{
    struct shard *s = shard_lock();

    metric_operation_count(s, m);
    shard_unlock(s);
}

#define SIX "client,table,operation,status_family,cache_outcome,cache_source"
#define TEN                                                                                        \
    "client,table,operation,method,route,status_code,status_family,error_class,cache_outcome,"     \
    "cache_source"

static const struct derived operations[] = {
    { "athena_gateway_operation_total", "counter", SIX, "Gateway operations.", SHOW_COUNT },
    { "athena_gateway_operation_duration_seconds", "histogram", SIX, "Time of gateway operations.",
      SHOW_HISTOGRAM },
    { "athena_gateway_operation_detailed_label_sets", "gauge", TEN,
      "Label sets of the detailed families.", SHOW_ROWS },
    { "athena_gateway_operation_detailed_total", "counter", TEN,
      "Gateway operations with every label.", SHOW_COUNT },
    { "athena_gateway_operation_detailed_duration_seconds", "histogram", TEN,
      "Time of gateway operations with every label.", SHOW_HISTOGRAM },
    { "athena_gateway_operation_detailed_observed_total", "counter", "",
      "Gateway operations of all kinds.", SHOW_COUNT },
    { "athena_gateway_operations_by_operation_total", "counter", "operation",
      "Gateway operations by kind.", SHOW_COUNT },
    { "athena_gateway_operation_duration_seconds_by_operation", "histogram", "operation",
      "Time of gateway operations by kind.", SHOW_HISTOGRAM },
    { "athena_gateway_operation_errors_by_operation_total", "counter", "operation",
      "Failed gateway operations by kind and side.", SHOW_CLASSES },
    { "athena_gateway_operation_error_rate", "gauge", "operation",
      "Share of gateway operations that failed, by kind and side.", SHOW_RATES },
    { "athena_gateway_operations_by_operation_status_family_total", "counter",
      "operation,status_family", "Gateway operations by kind and status family.", SHOW_COUNT },
    { "athena_gateway_operation_duration_seconds_by_operation_status_family", "histogram",
      "operation,status_family", "Time of gateway operations by kind and status family.",
      SHOW_HISTOGRAM },
    { "athena_gateway_operations_by_operation_status_code_total", "counter",
      "operation,status_code", "Gateway operations by kind and status.", SHOW_COUNT },
    { "athena_gateway_operations_by_operation_route_total", "counter", "operation,method,route",
      "Gateway operations by kind and route.", SHOW_COUNT },
};

void metric_operation_write(struct buf *b)
{
    derived_write(b, KIND_OPERATION, operations, ATH_COUNT(operations));
}

/* ---- management ---- */

/* The published family mixes changes of objects with cache counters; the error rate is of the
 * changes alone, which end in "success", "error" or "failed". */
static bool is_change(ath_str status, bool *ret_failed)
{
    *ret_failed = str_is(status, "error") || str_is(status, "failed");
    return *ret_failed || str_is(status, "success");
}

void metric_management(ath_str operation, ath_str status, uint64_t duration_ns)
{
    struct key k;
    struct shard *s;
    struct tally *t;
    bool failed;

    KEY_EMPTY(&k);
    key_add(&k, operation);
    key_add(&k, status);
    s = shard_lock();
    t = &table_get(&s->kind[KIND_MANAGEMENT], &k, SETS, kinds[KIND_MANAGEMENT].keep)->tally;
    tally_time(t, duration_ns);
    if (is_change(status, &failed)) {
        t->in_count++;
        t->handler_errors += failed;
    }
    shard_unlock(s);
}

#define PAIR "operation,status"

static const struct derived management[] = {
    { "athena_management_mutations_observed_total", "counter", "",
      "Management operations and cache look-ups.", SHOW_COUNT },
    { "athena_management_mutation_duration_observed_seconds", "summary", "", "Their time.",
      SHOW_TIME },
    { "athena_management_mutation_duration_observed_seconds_min", "gauge", "", "The shortest.",
      SHOW_TIME_MIN },
    { "athena_management_mutation_duration_observed_seconds_max", "gauge", "", "The longest.",
      SHOW_TIME_MAX },
    { "athena_management_mutation_error_rate", "gauge", "",
      "Share of changes of objects that failed.", SHOW_CHANGE_RATE },
    { "athena_management_operations_tracked", "gauge", PAIR, "Label sets of operation and status.",
      SHOW_ROWS },
    { "athena_management_mutations_total", "counter", PAIR,
      "Management operations and cache look-ups by status.", SHOW_COUNT },
    { "athena_management_mutation_duration_seconds", "summary", PAIR,
      "Their time by operation and status.", SHOW_TIME },
    { "athena_management_mutation_duration_seconds_min", "gauge", PAIR,
      "The shortest by operation and status.", SHOW_TIME_MIN },
    { "athena_management_mutation_duration_seconds_max", "gauge", PAIR,
      "The longest by operation and status.", SHOW_TIME_MAX },
    { "athena_management_mutation_duration_seconds_histogram", "histogram", PAIR,
      "Their time, in buckets.", SHOW_HISTOGRAM },
    { "athena_management_mutations_by_status_total", "counter", "status",
      "Management operations and cache look-ups by status alone.", SHOW_COUNT },
};

void metric_management_write(struct buf *b)
{
    derived_write(b, KIND_MANAGEMENT, management, ATH_COUNT(management));
}
