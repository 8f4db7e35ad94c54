/* backup_schedule_worker: schedules of backups, fired by the host's engine (ath_schedule). When a
 * schedule runs next follows from its row alone (calendar.h); a run is a job of the backup queue
 * with the schedule's client or URI, label, time limit and pin.
 *
 * A client that nobody knows any more leaves its schedule as it is, to be tried again later: it may
 * come back, and the other schedules do not wait for it (D-51).
 */
#include "backup.h"
#include "backup/calendar.h"
#include "backup/enqueue.h"

#define COLUMNS                                                                                    \
    "client_name, pg_uri, secrets, label, timeout_seconds, execution_daemon_id, overlap_policy,"   \
    " frequency, time_of_day, day_of_week, day_of_month"
enum {
    C_CLIENT,
    C_URI,
    C_SECRETS,
    C_LABEL,
    C_TIMEOUT,
    C_PIN,
    C_OVERLAP,
    C_FREQUENCY,
    C_TIME,
    C_WEEK,
    C_MONTH
};

enum { MICROS = 1000000 };

/* ---- when ---- */

static int next(const ath_rows *row, int64_t after_us, int64_t *ret_us, ath_err *e)
{
    struct calendar_rule rule;

    if (!calendar_read(ath_cell(row, 0, C_FREQUENCY), ath_cell(row, 0, C_TIME),
                       ath_cell(row, 0, C_WEEK), ath_cell(row, 0, C_MONTH), &rule))
        return ath_fail(e, ATH_E_INPUT, "no rule can be made of frequency \"%.*s\" at %.*s",
                        STR_ARG(ath_cell(row, 0, C_FREQUENCY)), STR_ARG(ath_cell(row, 0, C_TIME)));
    *ret_us = calendar_next(&rule, after_us / MICROS) * MICROS;
    return 0;
}

/* ---- a run ---- */

/* The published server stores any number; a job has bounds. */
static uint32_t seconds(ath_str text)
{
    int64_t v = PAYLOAD_TIMEOUT;

    str_i64(text, &v);
    return (uint32_t)(v < PAYLOAD_TIMEOUT_LEAST  ? PAYLOAD_TIMEOUT_LEAST
                      : v > PAYLOAD_TIMEOUT_MOST ? PAYLOAD_TIMEOUT_MOST
                                                 : v);
}

static struct backup_order order_of(ath_task *t, const ath_due *due)
{
    const struct backup_config *cfg = ath_config_of(t);
    const ath_rows *row = due->row;
    struct buf unique = BUF_ARENA(ath_arena_of(t));
    struct backup_order o = { .what = { .kind = PAYLOAD_BACKUP,
                                        .client_name = ath_cell(row, 0, C_CLIENT),
                                        .pg_uri = ath_cell(row, 0, C_URI),
                                        .label = ath_cell(row, 0, C_LABEL),
                                        .timeout_seconds = seconds(ath_cell(row, 0, C_TIMEOUT)),
                                        .execution_daemon_id = str_trim(ath_cell(row, 0, C_PIN)) },
                              .sealed = ath_cell(row, 0, C_SECRETS),
                              .max_attempts = cfg->attempts };

    str_i64(due->key, &o.schedule);
    if (str_is(ath_cell(row, 0, C_OVERLAP), "allow"))
        return o;
    buf_printf(&unique, "schedule:%.*s", STR_ARG(due->key));
    o.unique = buf_view(&unique);
    return o;
}

static int put(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done result = { .size = sizeof(result), .count = 1 };

    (void)e;
    if (d->rc < 0)
        return d->rc;
    result.bytes = ath_cell(d->rows, 0, BACKUP_ORDER_ID);
    result.count = str_is(ath_cell(d->rows, 0, BACKUP_ORDER_NEW), "t");
    ath_host_->task->done(t, &result);
    return 0;
}

static int fire(ath_task *t, const ath_due *due, ath_err *e)
{
    struct backup_order o = order_of(t, due);
    ath_str *param = ath_new(ath_arena_of(t), BACKUP_ORDER_PARAMS * sizeof(*param)), uri;
    ath_stmt stmt = { .sql = backup_order_sql, .param = param, .param_count = BACKUP_ORDER_PARAMS };
    int rc = 0;

    if (!o.what.pg_uri.n && !o.sealed.n)
        rc = backup_services.clients->uri(ath_arena_of(t), o.what.client_name, &uri, e);
    if (rc < 0)
        return rc;
    backup_order_params(ath_arena_of(t), backup_services.secrets, &o, param);
    return ath_host_->pg->query(t,
                                &(ath_query){ .size = sizeof(ath_query),
                                              .session = due->session,
                                              .stmt = &stmt,
                                              .stmt_size = sizeof(stmt),
                                              .stmt_count = 1 },
                                put, NULL, e);
}

/* ---- the worker ---- */

static const ath_queue queue = { BACKUP_QUEUE_MEMBERS };
static const ath_schedule schedule = {
    .size = sizeof(schedule),
    .table = "backup_schedules",
    .key = "id",
    .due = "next_run_at",
    .last_run = "last_run_at",
    .last_job = "last_job_id",
    .enabled = "enabled",
    .pin = "execution_daemon_id",
    .missed = "missed_run_policy",
    .overlap = "overlap_policy",
    .columns = COLUMNS,
    .queue = &queue,
    .late_ms = 600000,
    .next = next,
    .fire = fire,
};

static void pace(const void *config, ath_pace *p)
{
    p->poll_ms = ((const struct backup_config *)config)->schedule_poll_ms;
}

const ath_worker backup_scheduler = {
    ATH_CAP(ath_worker, ATH_CAP_WORKER, "backup_schedule_worker"),
    .family = "backup",
    .gate = "enabled",
    .pace = pace,
    .schedule = &schedule,
};
