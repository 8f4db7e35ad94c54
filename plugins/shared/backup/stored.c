#include "backup/stored.h"

const char stored_sql[] =
    "select j.id, j.client_name, j.s3_key, j.s3_bucket,"
    " floor(extract(epoch from j.completed_at))::int8, coalesce(j.schedule_id, 0),"
    " coalesce(s.retention_count, 0), j.s3_key in (select key from athena_backup_records"
    " where kind in ('decoded', 'drilled', 'restored')), " STORED_BUSY_SQL
    ", floor(extract(epoch from now()))::int8 from backup_jobs j"
    " left join backup_schedules s on s.id = j.schedule_id"
    " where j.job_type = 'backup' and j.status = 'completed' and j.s3_key is not null"
    " and j.client_name is not null and j.completed_at is not null order by j.client_name";

static int64_t number(const ath_rows *rows, uint32_t row, uint32_t col)
{
    int64_t v = 0;

    str_i64(ath_cell(rows, row, col), &v);
    return v;
}

static struct keep_item item_of(const ath_rows *rows, uint32_t row)
{
    return (struct keep_item){
        .id = number(rows, row, STORED_ID),
        .made_s = number(rows, row, STORED_MADE),
        .schedule = number(rows, row, STORED_SCHEDULE),
        .schedule_count = (uint32_t)number(rows, row, STORED_COUNT),
        .proven = str_is(ath_cell(rows, row, STORED_PROVEN), "t"),
        .busy = str_is(ath_cell(rows, row, STORED_BUSY), "t"),
        .row = row,
    };
}

/* The rows from..to are one client's. */
static void decide(const ath_rows *rows, struct keep_item *item, uint32_t from, uint32_t to,
                   const struct keep_rules *rules, int64_t now_s, struct stored *ret)
{
    struct keep_clock clock = { number(rows, from, STORED_NOW), now_s };

    for (uint32_t i = from; i < to; i++)
        item[i - from] = item_of(rows, i);
    keep_decide(item, to - from, rules, &clock);
    for (uint32_t i = from; i < to; i++)
        ret[i] = (struct stored){ item[i - from].row, item[i - from].why };
}

struct stored *stored_decide(ath_arena *a, const ath_rows *rows, const struct keep_rules *rules,
                             int64_t now_s)
{
    uint32_t n = ath_host_->pg->count(rows), from = 0;
    struct keep_item *item = ath_new(a, (n + 1) * sizeof(*item));
    struct stored *ret = ath_new(a, (n + 1) * sizeof(*ret));

    for (uint32_t i = 1; i <= n; i++)
        if (i == n || !str_eq(ath_cell(rows, i, STORED_CLIENT), ath_cell(rows, from, STORED_CLIENT))) {
            decide(rows, item, from, i, rules, now_s, ret);
            from = i;
        }
    return ret;
}
