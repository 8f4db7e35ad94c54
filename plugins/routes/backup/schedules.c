/* Schedules: what is backed up when. A worker that runs schedules fires them; here they are written,
 * each with the time of its next run, which follows from its row alone (calendar.h).
 *
 * The days of a schedule are checked before anything else is done with them (D-50). A URI is kept
 * sealed and shown without its password (D-41).
 */
#include "backup.h"

#define COLUMNS                                                                                    \
    "id, client_name, pg_uri, frequency, cron_expression, time_of_day, day_of_week, day_of_month," \
    " label, enabled, timeout_seconds, execution_daemon_id, " ADMIN_UTC(                           \
        last_run_at) ", last_job_id, " ADMIN_UTC(next_run_at) ", " ADMIN_UTC(created_at) ", "      \
    ADMIN_UTC(updated_at) ", missed_run_policy, overlap_policy, retention_count"

static const struct admin_member member[] = {
    { "id", ADMIN_INT },          { "client_name", ADMIN_TEXT },
    { "pg_uri", ADMIN_TEXT },     { "frequency", ADMIN_TEXT },
    { "cron_expression", ADMIN_TEXT }, { "time_of_day", ADMIN_TEXT },
    { "day_of_week", ADMIN_INT }, { "day_of_month", ADMIN_INT },
    { "label", ADMIN_TEXT },      { "enabled", ADMIN_BOOL },
    { "timeout_seconds", ADMIN_INT }, { "execution_daemon_id", ADMIN_TEXT },
    { "last_run_at", ADMIN_TIME }, { "last_job_id", ADMIN_INT },
    { "next_run_at", ADMIN_TIME }, { "created_at", ADMIN_TIME },
    { "updated_at", ADMIN_TIME }, { "missed_run_policy", ADMIN_TEXT },
    { "overlap_policy", ADMIN_TEXT }, { "retention_count", ADMIN_INT },
};

enum { C_URI = 2, KEEP_MOST = 100000 };

/* What lies there unsealed was written by the published server. */
static void put_row(ath_task *t, struct buf *b, const ath_rows *rows, uint32_t row)
{
    const struct backups_state *s = ath_state_of(t);

    buf_char(b, '{');
    for (uint32_t i = 0; i < ATH_COUNT(member); i++) {
        ath_str cell = ath_cell(rows, row, i);
        if (i == C_URI && cell.n)
            cell = s->secrets->mask(ath_arena_of(t), cell);
        buf_json_key(b, member[i].name);
        admin_value(b, member[i].form, cell);
    }
    buf_char(b, '}');
}

static int say(ath_task *t, const char *message, const ath_rows *rows)
{
    struct buf b = admin_answer(t, message);

    buf_json_key(&b, "schedule");
    put_row(t, &b, rows, 0);
    return admin_reply(t, 200, &b);
}

static int unknown(ath_err *e)
{
    return admin_fail(e, "backup_schedule_not_found", "Schedule not found", "Schedule not found");
}

/* ---- GET ---- */

static const char list_sql[] =
    "select " COLUMNS " from backup_schedules order by created_at desc, id desc";

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Listed backup schedules");
    uint32_t n = ath_host_->pg->count(d->rows);

    (void)e;
    buf_json_key(&b, "schedules");
    buf_char(&b, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            buf_char(&b, ',');
        put_row(t, &b, d->rows, i);
    }
    buf_char(&b, ']');
    return admin_reply(t, 200, &b);
}

int backups_schedules(ath_req *r, ath_err *e)
{
    int rc = backups_ready(r, false, e);

    return rc < 0 ? rc
                  : backups_read(r, "Failed to list schedules", list_sql, NULL, 0, listed, NULL, e);
}

/* ---- what a body says ---- */

enum {
    P_CLIENT,
    P_URI,
    P_SECRETS,
    P_FREQUENCY,
    P_CRON,
    P_TIME,
    P_WEEK,
    P_MONTH,
    P_LABEL,
    P_TIMEOUT,
    P_PIN,
    P_NEXT,
    P_MISSED,
    P_OVERLAP,
    P_KEEP,
    P_ENABLED,
    PARAMS
};
enum { CREATED = P_ENABLED }; /* so many of them a new one takes */

struct change {
    const struct json *body;
    ath_str id, param[PARAMS];
    struct calendar_rule rule;
    ath_str asked[PARAMS]; /* of PATCH: `param` is these and what the row has */
    uint32_t tries;
};

static int invalid(ath_err *e, const char *what, ath_str v)
{
    return admin_fail(e, "backup_request_invalid", "Invalid schedule", "Invalid %s: %.*s", what,
                      STR_ARG(v));
}

static int read_day(const struct change *x, const char *name, int64_t least, int64_t most,
                    ath_str *ret, ath_err *e)
{
    const struct json *v = json_given(x->body, name);
    int64_t day;
    int rc = backups_number(x->body, name, least, &day, e);

    *ret = (ath_str){ NULL, 0 };
    if (rc < 0 || !v)
        return rc;
    if (day < least || day > most)
        return admin_fail(e, "backup_request_invalid", "Invalid schedule",
                          "%s must be %lld..%lld", name, (long long)least, (long long)most);
    *ret = v->text;
    return 0;
}

static int read_days(struct change *x, ath_err *e)
{
    int rc = read_day(x, "day_of_week", 0, CALENDAR_WEEKDAYS - 1, &x->param[P_WEEK], e);

    return rc < 0 ? rc
                  : read_day(x, "day_of_month", 1, CALENDAR_LAST_DAY, &x->param[P_MONTH], e);
}

/* Stored as it came, within the type of its column; a job that is put brings it into its bounds. */
static int read_timeout(struct change *x, ath_err *e)
{
    const struct json *v = json_given(x->body, "timeout_seconds");
    int64_t seconds;
    int rc = backups_number(x->body, "timeout_seconds", 0, &seconds, e);

    if (rc < 0 || !v)
        return rc;
    if (seconds < INT32_MIN || seconds > INT32_MAX)
        return ath_raise(e, "malformed_json_payload",
                         "member \"timeout_seconds\" is out of bounds");
    x->param[P_TIMEOUT] = v->text;
    return 0;
}

static int read_label(struct change *x, ath_err *e)
{
    int rc = admin_text(x->body, "label", &x->param[P_LABEL], e);

    return rc < 0 || !x->param[P_LABEL].p ? rc : backups_label(x->param[P_LABEL], e);
}

static int one_of(const struct change *x, const char *name, const char *const *word, size_t n,
                  ath_str *ret, ath_err *e)
{
    int rc = admin_text(x->body, name, ret, e);

    for (size_t i = 0; rc == 0 && i < n; i++)
        if (!ret->p || str_is(*ret, word[i]))
            return 0;
    return rc < 0 ? rc : invalid(e, name, *ret);
}

/* Members of ours; a count of 0 is none. */
static int read_policies(struct change *x, ath_err *e)
{
    static const char *const missed[] = { "once", "skip", "all" };
    static const char *const overlap[] = { "skip", "allow" };
    const struct json *keep = json_given(x->body, "retention_count");
    int64_t v;
    int rc = one_of(x, "missed_run_policy", missed, ATH_COUNT(missed), &x->param[P_MISSED], e);

    if (rc < 0 || (rc = one_of(x, "overlap_policy", overlap, ATH_COUNT(overlap),
                               &x->param[P_OVERLAP], e)) < 0)
        return rc;
    if ((rc = backups_number(x->body, "retention_count", 0, &v, e)) < 0 || !keep)
        return rc;
    if (v < 0 || v > KEEP_MOST)
        return invalid(e, "retention_count", keep->text);
    x->param[P_KEEP] = keep->text;
    return 0;
}

/* What both take. */
static int read_common(struct change *x, ath_err *e)
{
    int rc = admin_text(x->body, "frequency", &x->param[P_FREQUENCY], e);

    if (rc < 0 || (rc = admin_text(x->body, "time", &x->param[P_TIME], e)) < 0 ||
        (rc = admin_text(x->body, "execution_daemon_id", &x->param[P_PIN], e)) < 0 ||
        (rc = read_timeout(x, e)) < 0)
        return rc;
    if (x->param[P_PIN].p)
        x->param[P_PIN] = str_trim(x->param[P_PIN]);
    rc = read_policies(x, e);
    return rc < 0 ? rc : read_label(x, e);
}

static uint32_t day_or_first(ath_str text)
{
    int64_t v = 1;

    str_i64(text, &v);
    return (uint32_t)v;
}

static ath_str time_text(ath_task *t, const struct calendar_rule *r)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_printf(&b, "%02u:%02u:00", r->hour, r->minute);
    return buf_view(&b);
}

/* From the rule and the database's clock; `now` as text of seconds. */
static void plan(ath_task *t, struct change *x, ath_str now)
{
    struct buf cron = BUF_ARENA(ath_arena_of(t));
    int64_t seconds = 0;

    str_i64(now, &seconds);
    x->rule.day_of_week = day_or_first(x->param[P_WEEK]);
    x->rule.day_of_month = day_or_first(x->param[P_MONTH]);
    calendar_cron(&cron, &x->rule);
    x->param[P_CRON] = buf_view(&cron);
    x->param[P_TIME] = time_text(t, &x->rule);
    x->param[P_NEXT] = backups_text(t, calendar_next(&x->rule, seconds));
}

/* ---- POST ---- */

static const char now_sql[] = "select floor(extract(epoch from now()))::int8";
static const char create_sql[] =
    "insert into backup_schedules (client_name, pg_uri, secrets, frequency, cron_expression,"
    " time_of_day, day_of_week, day_of_month, label, timeout_seconds, execution_daemon_id,"
    " next_run_at, missed_run_policy, overlap_policy, retention_count) values ($1, $2, $3, $4, $5,"
    " $6::time, $7::int4, $8::int4, $9, coalesce($10::int4, 3600), nullif($11, ''),"
    " to_timestamp($12::int8), $13, $14, nullif($15::int4, 0)) returning " COLUMNS;
static const char create_failed[] = "Failed to create schedule";

static int created(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    admin_changed(t, "create_backup_schedule", ath_cell(d->rows, 0, 0));
    return say(t, "Created backup schedule", d->rows);
}

static int create(ath_task *t, const ath_done *d, ath_err *e)
{
    struct change *x = d->arg;
    ath_stmt stmt = { .sql = create_sql, .param = x->param, .param_count = CREATED };

    plan(t, x, ath_cell(d->rows, 0, 0));
    return backups_ask(t, create_failed, &stmt, 1, created, x, e);
}

static int read_whose(ath_req *r, struct change *x, ath_err *e)
{
    const struct backups_state *s = ath_state_of(r);
    ath_str uri;
    int rc = admin_text(x->body, "client_name", &x->param[P_CLIENT], e);

    if (rc < 0 || (rc = backups_client_name(x->param[P_CLIENT], e)) < 0 ||
        (rc = admin_text(x->body, "pg_uri", &uri, e)) < 0)
        return rc;
    uri = str_trim(uri);
    if (!uri.n)
        return 0;
    x->param[P_URI] = s->secrets->mask(ath_arena_of(r), uri);
    x->param[P_SECRETS] = s->secrets->seal(ath_arena_of(r), uri);
    return backups_pg_uri(uri, e);
}

static int read_rule(struct change *x, ath_err *e)
{
    if (!x->param[P_FREQUENCY].p)
        return ath_raise(e, "malformed_json_payload", "member \"frequency\" is missing");
    if (!calendar_frequency(x->param[P_FREQUENCY], &x->rule.frequency))
        return admin_fail(e, "backup_request_invalid", "Invalid frequency",
                          "Must be hourly, daily, weekly, or monthly.");
    return calendar_time(x->param[P_TIME], &x->rule) ? 0 : invalid(e, "time", x->param[P_TIME]);
}

int backups_schedule_create(ath_req *r, ath_err *e)
{
    struct change *x = ath_new(ath_arena_of(r), sizeof(*x));
    int rc = admin_body(r, &x->body, e);

    if (rc < 0 || (rc = read_whose(r, x, e)) < 0 || (rc = read_common(x, e)) < 0 ||
        (rc = read_rule(x, e)) < 0 || (rc = read_days(x, e)) < 0 ||
        (rc = backups_ready(r, false, e)) < 0)
        return rc;
    return backups_read(r, create_failed, now_sql, NULL, 0, create, x, e);
}

/* ---- PATCH: what is not named stays, and so does what is null ---- */

static const char read_sql[] =
    "select floor(extract(epoch from now()))::int8, frequency, to_char(time_of_day, 'HH24:MI'),"
    " day_of_week, day_of_month from backup_schedules where id = $1::int8";
enum { R_NOW, R_FREQUENCY, R_TIME, R_WEEK, R_MONTH };

/* Only while the row still is what the plan was made from. */
static const char change_sql[] =
    "update backup_schedules set frequency = $1, cron_expression = $2, time_of_day = $3::time,"
    " day_of_week = $4::int4, day_of_month = $5::int4, label = coalesce($6, label),"
    " timeout_seconds = coalesce($7::int4, timeout_seconds), execution_daemon_id ="
    " case when $8::text is null then execution_daemon_id else nullif($8, '') end,"
    " enabled = coalesce($10::bool, enabled), next_run_at = case when"
    " coalesce($10::bool, enabled) then to_timestamp($9::int8) end,"
    " missed_run_policy = coalesce($11, missed_run_policy),"
    " overlap_policy = coalesce($12, overlap_policy), retention_count ="
    " case when $13::int4 is null then retention_count else nullif($13::int4, 0) end,"
    " updated_at = now()"
    " where id = $14::int8 and (frequency, to_char(time_of_day, 'HH24:MI')) = ($15, $16)"
    " and day_of_week is not distinct from $17::int4"
    " and day_of_month is not distinct from $18::int4 returning " COLUMNS;
static const char change_failed[] = "Failed to update schedule";
enum { CHANGE_PARAMS = 18, TRIES = 10 };

static int change(ath_task *t, const ath_done *d, ath_err *e);

static int read_row(ath_task *t, struct change *x, ath_err *e)
{
    return backups_read(t, change_failed, read_sql, &x->id, 1, change, x, e);
}

static int changed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct change *x = d->arg;

    if (!ath_host_->pg->count(d->rows) && ++x->tries < TRIES) /* somebody else changes it, too */
        return read_row(t, x, e);
    if (!ath_host_->pg->count(d->rows))
        return admin_fail(e, "conflict", change_failed, "others keep changing schedule %.*s",
                          STR_ARG(x->id));
    admin_changed(t, "update_backup_schedule", x->id);
    return say(t, "Updated backup schedule", d->rows);
}

static void keep(ath_str *param, ath_str was)
{
    if (!param->p)
        *param = was;
}

static int read_again(struct change *x, const ath_rows *was, ath_err *e)
{
    ath_str text = x->param[P_FREQUENCY];

    keep(&x->param[P_FREQUENCY], ath_cell(was, 0, R_FREQUENCY));
    keep(&x->param[P_TIME], ath_cell(was, 0, R_TIME));
    keep(&x->param[P_WEEK], ath_cell(was, 0, R_WEEK));
    keep(&x->param[P_MONTH], ath_cell(was, 0, R_MONTH));
    if (!calendar_frequency(x->param[P_FREQUENCY], &x->rule.frequency))
        return invalid(e, "frequency", text);
    return calendar_time(x->param[P_TIME], &x->rule) ? 0 : invalid(e, "time", x->param[P_TIME]);
}

static int change(ath_task *t, const ath_done *d, ath_err *e)
{
    struct change *x = d->arg;
    ath_str *param = ath_new(ath_arena_of(t), CHANGE_PARAMS * sizeof(*param));
    ath_stmt stmt = { .sql = change_sql, .param = param, .param_count = CHANGE_PARAMS };
    static const int order[] = { P_FREQUENCY, P_CRON,    P_TIME, P_WEEK, P_MONTH,
                                 P_LABEL,     P_TIMEOUT, P_PIN,  P_NEXT, P_ENABLED,
                                 P_MISSED,    P_OVERLAP, P_KEEP };
    uint32_t n = 0;
    int rc;

    if (!ath_host_->pg->count(d->rows))
        return unknown(e);
    memcpy(x->param, x->asked, sizeof(x->param));
    if ((rc = read_again(x, d->rows, e)) < 0)
        return rc;
    plan(t, x, ath_cell(d->rows, 0, R_NOW));
    for (; n < ATH_COUNT(order); n++)
        param[n] = x->param[order[n]];
    param[n++] = x->id;
    for (uint32_t i = R_FREQUENCY; i <= R_MONTH; i++)
        param[n++] = ath_cell(d->rows, 0, i);
    return backups_ask(t, change_failed, &stmt, 1, changed, x, e);
}

int backups_schedule_change(ath_req *r, ath_err *e)
{
    struct change *x = ath_new(ath_arena_of(r), sizeof(*x));
    int64_t id;
    int rc = backups_id(r, "id", &id, e);

    if (rc < 0 || (rc = admin_body(r, &x->body, e)) < 0 || (rc = read_common(x, e)) < 0 ||
        (rc = admin_bool(x->body, "enabled", &x->param[P_ENABLED], e)) < 0 ||
        (rc = read_days(x, e)) < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    x->id = backups_text(r, id);
    memcpy(x->asked, x->param, sizeof(x->asked));
    return read_row(r, x, e);
}

/* ---- DELETE ---- */

static const char delete_sql[] = "delete from backup_schedules where id = $1::int8 returning id";

static int deleted(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_str id = ath_cell(d->rows, 0, 0);
    struct buf b;

    if (!id.p)
        return unknown(e);
    admin_changed(t, "delete_backup_schedule", id);
    b = admin_answer(t, "Deleted backup schedule");
    buf_json_key(&b, "id");
    buf_str(&b, id);
    return admin_reply(t, 200, &b);
}

int backups_schedule_delete(ath_req *r, ath_err *e)
{
    ath_str *param = ath_new(ath_arena_of(r), sizeof(*param));
    ath_stmt stmt = { .sql = delete_sql, .param = param, .param_count = 1 };
    int64_t id;
    int rc = backups_id(r, "id", &id, e);

    if (rc < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    *param = backups_text(r, id);
    return backups_ask(r, "Failed to delete schedule", &stmt, 1, deleted, NULL, e);
}
