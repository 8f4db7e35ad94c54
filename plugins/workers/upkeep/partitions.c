/* partition_worker: the days of logs that are partitioned by created_at (tables.md 11.2).
 *
 *     plan    per log: the days that are missing from today on, and what its parts need
 *     day     a missing day is made as a table, takes its rows out of the default partition, and is
 *             attached: one transaction
 *     stray   then the oldest day that lies in the default partition, until none does
 *     quiet   days that nobody writes any more need no vacuum for inserts
 *     analyze the whole, which autovacuum never does
 *
 * ATTACH and not CREATE ... PARTITION OF, because that would lock the whole log. The default
 * partition is locked first: a row that came in between would make the attaching fail.
 *
 * A reader counts a log's partitions before it waits for any of them: one that waited for the
 * default partition would look for rows there that meanwhile lie in a partition it does not know.
 * So rows are copied while everybody may read, and leave the default partition with the whole log
 * locked, for a moment. A writer that waits for the default partition would wait for the log, too,
 * and the log for it: who moves gives up first (lock_timeout), and the next tick tries again.
 *
 * A day that is being written just now is missing only when nobody has kept the log for a week;
 * then the whole log is locked from the beginning, because who has been sent to the default
 * partition already would find, when the lock is over, that it does not take the row any more.
 *
 * How it fails: a statement that cannot get its lock in time is left for the next tick, like
 * everything behind it; rows that stay in the default partition are as good as elsewhere.
 */
#include "upkeep.h"

#include <stdlib.h>

#include "lib/sqlname.h"

enum { STRAYS_MOST = 60, ANALYZE_MS = 600000 };

struct log {
    ath_str schema, name, rest; /* rest: its default partition; empty: it has none */
    ath_str columns;            /* quoted by PostgreSQL */
    ath_str first, last;        /* days that somebody may be writing: yesterday and tomorrow */
    ath_str day[16];            /* missing, "20260701" */
    uint32_t days, at, strays;
    ath_str loud; /* a day that may become quiet; empty: none */
    bool analyze;
};

struct work {
    const struct upkeep_config *cfg;
    struct log *log;
    uint32_t logs, at;
    ath_str day; /* being made */
    char day_room[16];
    bool *cheap; /* the last ANALYZE took too long */
};

static int next(ath_task *t, struct work *w, ath_err *e);

static struct log *log_of(struct work *w)
{
    return &w->log[w->at];
}

/* ---- a day ---- */

static void put_day(struct buf *b, ath_str day, const char *plus)
{
    buf_printf(b, "'%.4s-%.2s-%.2s 00:00:00+00'::timestamptz%s", day.p, day.p + 4, day.p + 6, plus);
}

static ath_str part_name(ath_arena *a, const struct log *l, ath_str day)
{
    struct buf b = BUF_ARENA(a);

    buf_printf(&b, "%.*s_p%.*s", STR_ARG(l->name), STR_ARG(day));
    return buf_view(&b);
}

static const char *create_sql(ath_arena *a, const struct log *l, ath_str part)
{
    struct buf b = BUF_ARENA(a);

    buf_lit(&b, "create table ");
    buf_ident2(&b, l->schema, part);
    buf_lit(&b, " (like ");
    buf_ident2(&b, l->schema, l->name);
    buf_lit(&b, " including defaults including constraints including generated including storage "
                "including compression) "
                "with (fillfactor = 100, autovacuum_analyze_scale_factor = 0.05)");
    return b.p;
}

static void put_rows_of(struct buf *b, const struct log *l, ath_str day)
{
    buf_lit(b, " from ");
    buf_ident2(b, l->schema, l->rest);
    buf_lit(b, " where created_at >= ");
    put_day(b, day, "");
    buf_lit(b, " and created_at < ");
    put_day(b, day, " + interval '1 day'");
}

static const char *copy_sql(ath_arena *a, const struct log *l, ath_str part, ath_str day)
{
    struct buf b = BUF_ARENA(a);

    buf_lit(&b, "insert into ");
    buf_ident2(&b, l->schema, part);
    buf_printf(&b, " (%.*s) select %.*s", STR_ARG(l->columns), STR_ARG(l->columns));
    put_rows_of(&b, l, day);
    return b.p;
}

static const char *delete_sql(ath_arena *a, const struct log *l, ath_str day)
{
    struct buf b = BUF_ARENA(a);

    buf_lit(&b, "delete");
    put_rows_of(&b, l, day);
    return b.p;
}

static const char *attach_sql(ath_arena *a, const struct log *l, ath_str part, ath_str day)
{
    struct buf b = BUF_ARENA(a);

    buf_lit(&b, "alter table ");
    buf_ident2(&b, l->schema, l->name);
    buf_lit(&b, " attach partition ");
    buf_ident2(&b, l->schema, part);
    buf_lit(&b, " for values from (");
    put_day(&b, day, "");
    buf_lit(&b, ") to (");
    put_day(&b, day, " + interval '1 day'");
    buf_lit(&b, ")");
    return b.p;
}

/* In a block: LOCK TABLE is refused in a trip, whose transaction PostgreSQL does not take for one. */
static const char *lock_sql(ath_arena *a, const struct log *l, ath_str table, const char *mode)
{
    struct buf code = BUF_ARENA(a), b = BUF_ARENA(a);

    buf_lit(&code, "begin lock table only ");
    buf_ident2(&code, l->schema, table);
    buf_printf(&code, " in %s mode; end", mode);
    buf_lit(&b, "do ");
    buf_literal(&b, buf_view(&code));
    return b.p;
}

static bool is_written(const struct log *l, ath_str day)
{
    return str_cmp(day, l->first) >= 0 && str_cmp(day, l->last) <= 0;
}

static int made(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;

    return d->rc < 0 ? d->rc : next(t, w, e);
}

/* `filled`: the default partition may have rows of that day. */
static int attach_day(ath_task *t, struct work *w, ath_str day, bool filled, ath_err *e)
{
    ath_arena *a = ath_arena_of(t);
    const struct log *l = log_of(w);
    ath_str part = part_name(a, l, day);
    bool written = is_written(l, day);
    ath_stmt stmt[6];
    struct ask ask = { .stmt = stmt };

    if (l->rest.n && written)
        stmt[ask.count++] = (ath_stmt){ .sql = lock_sql(a, l, l->name, "access exclusive") };
    if (l->rest.n)
        stmt[ask.count++] = (ath_stmt){ .sql = lock_sql(a, l, l->rest, "share row exclusive") };
    stmt[ask.count++] = (ath_stmt){ .sql = create_sql(a, l, part) };
    if (filled) {
        stmt[ask.count++] = (ath_stmt){ .sql = copy_sql(a, l, part, day) };
        if (!written)
            stmt[ask.count++] = (ath_stmt){ .sql = lock_sql(a, l, l->name, "access exclusive") };
        stmt[ask.count++] = (ath_stmt){ .sql = delete_sql(a, l, day) };
    }
    stmt[ask.count++] = (ath_stmt){ .sql = attach_sql(a, l, part, day) };
    return upkeep_ask(t, &ask, made, w, e);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;

    return d->rc < 0 ? d->rc : attach_day(t, w, w->day, ath_host_->pg->count(d->rows) > 0, e);
}

/* A day ahead has rows only where a clock was wrong. */
static int make_day(ath_task *t, struct work *w, ath_str day, ath_err *e)
{
    struct buf sql = BUF_ARENA(ath_arena_of(t));
    ath_stmt stmt;
    struct ask a = { .stmt = &stmt, .count = 1, .flags = ATH_PG_READ_ONLY };

    if (!log_of(w)->rest.n || is_written(log_of(w), day))
        return attach_day(t, w, day, log_of(w)->rest.n > 0, e);
    w->day = day;
    buf_lit(&sql, "select");
    put_rows_of(&sql, log_of(w), day);
    buf_lit(&sql, " limit 1");
    stmt = (ath_stmt){ .sql = sql.p };
    return upkeep_ask(t, &a, looked, w, e);
}

/* ---- strays ---- */

static int found_stray(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;
    ath_str day;

    if (d->rc < 0)
        return d->rc;
    day = ath_cell(d->rows, 0, 0);
    if (day.n != 8 || log_of(w)->strays == STRAYS_MOST) {
        log_of(w)->rest = ATH_S("");
        return next(t, w, e);
    }
    log_of(w)->strays++;
    memcpy(w->day_room, day.p, day.n);
    w->day = str_from(w->day_room, day.n);
    return attach_day(t, w, w->day, true, e);
}

/* What is older than it is kept stays for retention, what lies far in the future for its time. */
static int find_stray(ath_task *t, struct work *w, ath_err *e)
{
    struct buf sql = BUF_ARENA(ath_arena_of(t));
    char room[STR_U64_ROOM];
    ath_str keep = str_from_u64(w->cfg->log_ms, room);
    ath_stmt stmt = { .param = &keep, .param_count = 1 };
    struct ask a = { .stmt = &stmt, .count = 1, .flags = ATH_PG_READ_ONLY };

    buf_lit(&sql, "select to_char(min(created_at) at time zone 'UTC', 'YYYYMMDD') from ");
    buf_ident2(&sql, log_of(w)->schema, log_of(w)->rest);
    buf_lit(&sql,
            " where created_at < date_trunc('day', now()) + interval '8 days' and ($1::float8 "
            "= 0 or created_at >= date_trunc('day', now()) - ceil($1::float8 / 86400000) * "
            "interval '1 day')");
    stmt.sql = sql.p;
    return upkeep_ask(t, &a, found_stray, w, e);
}

/* ---- quiet days, and the whole ---- */

/* Retention may have dropped the day meanwhile. */
static int quieted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;
    bool gone = d->rc < 0 && str_is(ath_host_->err->get(e, "sqlstate"), "42P01");

    return d->rc < 0 && !gone ? d->rc : next(t, w, e);
}

static int quieten(ath_task *t, struct work *w, ath_err *e)
{
    struct buf sql = BUF_ARENA(ath_arena_of(t));
    ath_stmt stmt;
    struct ask a = { .stmt = &stmt, .count = 1 };
    ath_str part;

    str_next(&log_of(w)->loud, '\n', &part);
    buf_lit(&sql, "alter table ");
    buf_ident2(&sql, log_of(w)->schema, part);
    buf_lit(&sql, " set (autovacuum_vacuum_insert_threshold = -1)");
    stmt = (ath_stmt){ .sql = sql.p };
    return upkeep_ask(t, &a, quieted, w, e);
}

static int analyzed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;

    *w->cheap = d->rc < 0;
    return d->rc < 0 ? d->rc : next(t, w, e);
}

static int analyze(ath_task *t, struct work *w, ath_err *e)
{
    struct buf sql = BUF_ARENA(ath_arena_of(t));
    ath_stmt stmt;
    struct ask a = { .stmt = &stmt, .count = 1, .limit_ms = ANALYZE_MS };

    if (*w->cheap)
        a.setting = (ath_pair){ ATH_S("default_statistics_target"), ATH_S("10") };
    log_of(w)->analyze = false;
    buf_lit(&sql, "analyze ");
    buf_ident2(&sql, log_of(w)->schema, log_of(w)->name);
    stmt = (ath_stmt){ .sql = sql.p };
    return upkeep_ask(t, &a, analyzed, w, e);
}

static int next(ath_task *t, struct work *w, ath_err *e)
{
    while (w->at < w->logs) {
        struct log *l = log_of(w);
        if (l->at < l->days)
            return make_day(t, w, l->day[l->at++], e);
        if (l->rest.n)
            return find_stray(t, w, e);
        if (l->loud.n)
            return quieten(t, w, e);
        if (l->analyze)
            return analyze(t, w, e);
        w->at++;
    }
    return upkeep_done(t);
}

/* ---- the plan ---- */

/* Days are told by their bounds, whatever the partitions are called. */
static const char plan_sql[] =
    "with log as (select c.oid, n.nspname, c.relname from unnest(array['gateway_request_log', "
    "'gateway_operation_log', 'gateway_route_request_log', 'public.gateway_admission_events']) "
    "name join pg_catalog.pg_class c on c.oid = coalesce(to_regclass(name), case when "
    "position('.' in name) = 0 then to_regclass('public.' || name) end) "
    "join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
    "where c.relkind = 'p' and pg_get_partkeydef(c.oid) = 'RANGE (created_at)'), "
    "part as (select log.oid, c.oid as part, c.relname, c.reloptions, "
    "pg_get_expr(c.relpartbound, c.oid) as bound from log "
    "join pg_catalog.pg_inherits i on i.inhparent = log.oid "
    "join pg_catalog.pg_class c on c.oid = i.inhrelid), "
    "span as (select oid, relname, reloptions, bound = 'DEFAULT' as rest, "
    "coalesce(substring(bound from 'FROM \\(''([^'']+)''\\)')::timestamptz, '-infinity') as low, "
    "coalesce(substring(bound from 'TO \\(''([^'']+)''\\)')::timestamptz, 'infinity') as high "
    "from part), "
    "want as (select date_trunc('day', now()) + i * interval '1 day' as day "
    "from generate_series(0, 7) i) "
    "select log.nspname, log.relname, "
    "(select relname from span where span.oid = log.oid and rest limit 1), "
    "(select string_agg(quote_ident(attname), ', ' order by attnum) from "
    "pg_catalog.pg_attribute where attrelid = log.oid and attnum > 0 and not attisdropped "
    "and attgenerated = ''), "
    "(select string_agg(to_char(day, 'YYYYMMDD'), ' ' order by day) from want where not exists "
    "(select from span where span.oid = log.oid and not rest and day >= low and day < high)), "
    "(select string_agg(relname, E'\\n') from span where span.oid = log.oid and not rest "
    "and $1::float8 > 0 and high <= date_trunc('day', now()) - interval '1 day' "
    "and not coalesce(reloptions, '{}') @> array['autovacuum_vacuum_insert_threshold=-1']), "
    "coalesce(pg_stat_get_last_analyze_time(log.oid) < now() - $2::float8 * interval '1 ms', "
    "true), "
    "to_char(now() - interval '1 day', 'YYYYMMDD'), to_char(now() + interval '1 day', 'YYYYMMDD') "
    "from log order by log.relname";

static void take_log(struct log *l, const ath_rows *rows, uint32_t i)
{
    ath_str days = ath_cell(rows, i, 4), day;

    l->schema = ath_cell(rows, i, 0);
    l->name = ath_cell(rows, i, 1);
    l->rest = ath_cell(rows, i, 2);
    l->columns = ath_cell(rows, i, 3);
    while (l->days < ATH_COUNT(l->day) && str_next(&days, ' ', &day))
        if (day.n == 8)
            l->day[l->days++] = day;
    l->loud = ath_cell(rows, i, 5);
    l->analyze = str_is(ath_cell(rows, i, 6), "t");
    l->first = ath_cell(rows, i, 7);
    l->last = ath_cell(rows, i, 8);
}

static int planned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;
    const ath_rows *rows;

    if (d->rc < 0)
        return d->rc;
    rows = ath_host_->pg->keep(t, d->rows);
    w->logs = ath_host_->pg->count(rows);
    w->log = ath_new(ath_arena_of(t), (w->logs + 1) * sizeof(*w->log));
    for (uint32_t i = 0; i < w->logs; i++)
        take_log(&w->log[i], rows, i);
    return next(t, w, e);
}

int partitions_run(ath_job *t, ath_err *e)
{
    static bool cheap; /* ticks run on one loop */
    struct work *w = ath_new(ath_arena_of(t), sizeof(*w));
    char room[2][STR_U64_ROOM];
    ath_str param[2];
    ath_stmt stmt = { .sql = plan_sql, .param = param, .param_count = 2 };
    struct ask a = { .stmt = &stmt, .count = 1, .flags = ATH_PG_READ_ONLY };

    w->cfg = ath_config_of(t);
    w->cheap = &cheap;
    if (!w->cfg->logging_client.n)
        return upkeep_done(t);
    param[0] = str_from_u64(w->cfg->log_ms, room[0]);
    param[1] = str_from_u64(w->cfg->analyze_every_ms, room[1]);
    return upkeep_ask(t, &a, planned, w, e);
}
