/* statistics_worker: the fold of the logs, where its tables are (plugins/shared/statistics). The
 * fold itself is safe beside others; one runner of all processes just saves the work. */
#include "statistics/statistics.h"

#include "upkeep.h"

static int folded(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : upkeep_done(t);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    if (!str_is(ath_cell(d->rows, 0, 0), "t"))
        return upkeep_done(t);
    return statistics_fold(t, false, folded, NULL, e);
}

int statistics_run(ath_job *t, ath_err *e)
{
    static const ath_stmt stmt = {
        .sql =
            "select bool_and(to_regclass(name) is not null) from unnest(array['athena_log_folds', "
            "'athena_log_keys', 'athena_log_durations', 'athena_log_hours', 'athena_clients', "
            "'gateway_request_log', 'gateway_operation_log', 'client_statistics', "
            "'client_table_statistics']) name",
    };
    const struct upkeep_config *c = ath_config_of(t);
    struct ask a = { .stmt = &stmt, .count = 1, .flags = ATH_PG_READ_ONLY };

    return c->logging_client.n ? upkeep_ask(t, &a, looked, NULL, e) : upkeep_done(t);
}
