/* retention_worker: rows that are older than they are kept go (tables.md 8, 11.4).
 *
 *     client    of the control plane, of the keys; once an hour of each tenant
 *       plan    which of the rules' tables are there, by their real names; which days are over
 *         day     a partition that is over is dropped whole: it needs no space and takes no time
 *         slice   the oldest rows of a table, some thousands, in a transaction of their own; then a
 *                 pause, four times as long as it took, so the table is worked on a fifth of the
 * time
 *
 * What goes from the two logs is subtracted from the statistics in the same transaction, where
 * there are any (plugins/shared/statistics).
 *
 * A table has some seconds, then the others have their turn; rounds follow each other while there
 * is more, for some minutes, then the tick ends. Each slice is a task of its own: its memory goes
 * with it. A later slice begins where the one before ended, because the index still leads through
 * what was deleted until it is vacuumed.
 *
 * How it fails: a table that fails is said in the tick's outcome, the others are done all the same.
 * A lock that is not got, or a wait for a connection, means that others need the database more: the
 * rest is done another time.
 */
#include "rules.h"

#include <stdio.h>
#include <time.h>

#include "lib/jsonread.h"
#include "lib/sqlname.h"
#include "statistics/statistics.h"

enum {
    SLICE = 5000,
    PAUSE_LEAST_MS = 50,
    PAUSE_TIMES = 4,
    TURN_MS = 10000, /* of one table in a round */
    TICK_MS = 240000,
    WAIT_MS = 100, /* for a connection: more than that, and we yield */
    TENANTS_EVERY_MS = 3600000,
    DRY_EVERY_MS = 3600000,
    DRY_MOST = 100000,
    HOURS = 24,
    DROP_MS = 600000,
    FACTS_MOST = 1000000
};

/* A table, or a part of a partitioned one. */
struct target {
    const struct rule *rule;
    ath_str schema, name, time; /* time: the column that tells a row's age */
    char kind;            /* 'r' table, 'p' a partitioned one as a whole, 'd' default partition,
                           * 'l' a day, 'x' one that is over */
    bool counted;         /* there are statistics, and this is the table that they are of */
    ath_str high, before; /* of a day: its end; of a whole: rows from before then */
};

struct sweep { /* one tick */
    const struct upkeep_config *cfg;
    ath_loop *loop;
    ath_str *client;
    uint32_t clients, client_at;
    struct target *target;
    uint32_t targets, at;
    const struct target *now; /* the one whose turn it is */
    ath_str cursor;           /* where its next slice begins */
    char cursor_room[64];
    uint64_t begun_ms, turn_ms, asked_ms, least_ms; /* least: a trip without waiting, beyond the
                                                     * server's own time */
    int64_t *lag_s;                                 /* of each rule, in this round */
    bool left, yielded; /* not all was done; somebody else needed the database */
    int rc;             /* of the first failure, with its words */
    char words[512];
};

static uint64_t now_ms(const struct sweep *s)
{
    return ath_host_->loop->now_ms(s->loop);
}

static uint64_t keep_ms(const struct sweep *s, const struct rule *r)
{
    uint64_t ms;

    memcpy(&ms, (const char *)s->cfg + r->keep, sizeof(ms));
    return ms;
}

static uint32_t slice_of(const struct rule *r)
{
    return r->slice ? r->slice : SLICE;
}

/* ---- SQL ---- */

static void put_fixed(struct buf *b, const char *sql, ath_str schema)
{
    for (; *sql; sql++) {
        if (*sql != '@') {
            buf_char(b, *sql);
            continue;
        }
        buf_ident(b, schema);
        buf_char(b, '.');
    }
}

static void put_old(struct buf *b, const struct target *g)
{
    const struct rule *r = g->rule;

    if (!r->victims) {
        buf_lit(b, "o.");
        buf_ident(b, g->time);
        buf_lit(b, " < now() - $1::float8 * interval '1 ms'");
    }
    if (r->where) {
        buf_z(b, r->victims ? "(" : " and (");
        put_fixed(b, r->where, g->schema);
        buf_lit(b, ")");
    }
}

static void put_victims(struct buf *b, const struct target *g, const char *what)
{
    if (g->rule->victims) {
        put_fixed(b, g->rule->victims, g->schema);
        return;
    }
    buf_printf(b, "select %s from ", what);
    buf_ident2(b, g->schema, g->name);
    buf_lit(b, " o where ");
    put_old(b, g);
    buf_lit(b, " and o.");
    buf_ident(b, g->time);
    buf_lit(b, " >= $2::timestamptz order by o.");
    buf_ident(b, g->time);
    buf_lit(b, " limit $3::int");
}

#define SERVER_MS "(extract(epoch from clock_timestamp() - transaction_timestamp()) * 1000)::int8"

static const char *slice_sql(ath_arena *a, const struct target *g)
{
    struct buf b = BUF_ARENA(a);

    buf_z(&b, g->rule->action ? "with gone as (update " : "with gone as (delete from ");
    buf_ident2(&b, g->schema, g->name);
    buf_lit(&b, " o");
    if (g->rule->action)
        buf_printf(&b, " set %s", g->rule->action);
    buf_lit(&b, " where o.ctid = any(array(");
    put_victims(&b, g, "o.ctid");
    buf_lit(&b, ")) and ");
    put_old(&b, g);
    buf_lit(&b, " returning o.");
    buf_ident(&b, g->time);
    buf_lit(&b, " as at) select count(*), max(at)::text, " SERVER_MS " from gone");
    return b.p;
}

static const char *dry_sql(ath_arena *a, const struct target *g)
{
    struct buf b = BUF_ARENA(a);

    buf_lit(&b, "select count(*), null, " SERVER_MS " from (");
    put_victims(&b, g, "o.ctid");
    buf_lit(&b, ") x");
    return b.p;
}

/* By how many seconds the oldest row that is left is past its time. */
static const char *lag_sql(ath_arena *a, const struct target *g)
{
    struct buf b = BUF_ARENA(a);

    buf_lit(&b, "select (extract(epoch from now() - o.");
    buf_ident(&b, g->time);
    buf_lit(&b, ") - $1::float8 / 1000)::int8 from ");
    buf_ident2(&b, g->schema, g->name);
    buf_lit(&b, " o where ");
    put_old(&b, g);
    buf_lit(&b, " and o.");
    buf_ident(&b, g->time);
    buf_lit(&b, " >= $2::timestamptz and $3::int > 0 order by o.");
    buf_ident(&b, g->time);
    buf_lit(&b, " limit 1");
    return b.p;
}

/* ---- failures ---- */

static bool has_state(const ath_err *e, const char *state)
{
    return str_is(ath_host_->err->get(e, "sqlstate"), state);
}

/* True: go on with the next table. */
static bool survives(struct sweep *s, const char *what, int rc, const ath_err *e)
{
    ath_str words = ath_host_->err->get(e, "message");

    s->left = true;
    if (has_state(e, "55P03")) /* lock_not_available: another time */
        return true;
    if (s->rc == 0) {
        s->rc = rc;
        snprintf(s->words, sizeof(s->words), "%s: %.*s", what, STR_ARG(words));
    }
    return !has_state(e, "53100") && rc != ATH_E_CANCELED; /* disk_full: nothing more will work */
}

static int finish(ath_task *t, struct sweep *s, ath_err *e)
{
    struct timespec now;

    if (s->rc < 0)
        return ath_fail(e, s->rc, "%s", s->words);
    if (!s->left && !s->cfg->dry_run) {
        clock_gettime(CLOCK_REALTIME, &now);
        upkeep_put(M_RETENTION_SUCCESS, NULL, (double)now.tv_sec);
    }
    return upkeep_done(t);
}

/* ---- a slice ---- */

static int next_target(ath_task *t, struct sweep *s, ath_err *e);

static ath_str number(ath_arena *a, uint64_t v)
{
    char *room = ath_new(a, STR_U64_ROOM);

    return str_from_u64(v, room);
}

/* What statements of a target take: keep, cursor, rows at once, and the number where it has one. */
static uint32_t params(ath_arena *a, const struct sweep *s, ath_str ret[4])
{
    const struct rule *r = s->now->rule;
    int64_t n = 0;

    ret[0] = number(a, keep_ms(s, r));
    ret[1] = s->cursor;
    ret[2] = number(a, s->cfg->dry_run ? DRY_MOST : slice_of(r));
    if (!r->number)
        return 3;
    memcpy(&n, (const char *)s->cfg + r->number, sizeof(n));
    ret[3] = number(a, (uint64_t)n);
    return 4;
}

/* The fork's answer: rows in `count`; server's time, lag and cursor as a line of text. */
static int slice_done(ath_task *t, int64_t rows, const ath_rows *time, const ath_rows *lag)
{
    struct buf line = BUF_ARENA(ath_arena_of(t));
    ath_done answer = { .size = sizeof(answer), .count = (uint64_t)rows };

    buf_printf(&line, "%lld|%lld|%.*s", (long long)upkeep_number(time, 0, 2),
               (long long)(lag ? upkeep_number(lag, 0, 0) : 0), STR_ARG(ath_cell(time, 0, 1)));
    answer.bytes = buf_view(&line);
    ath_host_->task->done(t, &answer);
    return 0;
}

static int slice_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    return slice_done(t, upkeep_number(d->rows, 0, 0), d->rows, ath_host_->pg->next(d->rows));
}

static int counted_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    const ath_rows *purged, *time;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    purged = ath_host_->pg->next(d->rows);
    time = ath_host_->pg->next(purged);
    return slice_done(t, upkeep_number(purged, 0, 0), time, ath_host_->pg->next(time));
}

/* Rows that the statistics have counted. */
static int slice_counted(ath_task *t, struct sweep *s, const ath_str param[4], ath_err *e)
{
    ath_str purge[] = { s->now->before, param[2] };
    ath_stmt stmt[] = {
        { .sql = statistics_lock_sql },
        { .sql = statistics_purge_sql[s->now->rule->counted - 1],
          .param = purge,
          .param_count = 2 },
        { .sql = "select null, null, " SERVER_MS },
        { .sql = lag_sql(ath_arena_of(t), s->now), .param = param, .param_count = 3 },
    };
    struct ask ask = { .client = s->client[s->client_at], .stmt = stmt, .count = ATH_COUNT(stmt) };

    return upkeep_ask(t, &ask, counted_answered, NULL, e);
}

static int slice_run(ath_task *t, void *arg, ath_err *e)
{
    ath_arena *a = ath_arena_of(t);
    struct sweep *s = arg;
    ath_str param[4];
    uint32_t n = params(a, s, param);
    bool dry = s->cfg->dry_run;
    ath_stmt stmt[] = {
        { .sql = dry ? dry_sql(a, s->now) : slice_sql(a, s->now),
          .param = param,
          .param_count = n },
        { .sql = lag_sql(a, s->now), .param = param, .param_count = n },
    };
    struct ask ask = { .client = s->client[s->client_at],
                       .stmt = stmt,
                       .count = dry || s->now->rule->victims ? 1 : 2 };

    if (s->now->counted && !dry)
        return slice_counted(t, s, param, e);
    return upkeep_ask(t, &ask, slice_answered, NULL, e);
}

/* A rule may have several parts, and rules may share a table: it is as late as the latest. */
static void show_lag(struct sweep *s, int64_t lag_s, bool last)
{
    const struct rule *r = s->now->rule;
    int64_t most = lag_s;

    if (last && lag_s > s->lag_s[r - upkeep_rules])
        s->lag_s[r - upkeep_rules] = lag_s;
    for (uint32_t i = 0; i < upkeep_rule_count; i++)
        if (strcmp(upkeep_rules[i].table, r->table) == 0 && s->lag_s[i] > most)
            most = s->lag_s[i];
    upkeep_put(M_LAG, r->table, (double)most);
}

/* Whether the trip took so long because it waited for a connection. */
static bool waited(struct sweep *s, uint64_t took_ms, uint64_t server_ms)
{
    uint64_t beyond = took_ms > server_ms ? took_ms - server_ms : 0;

    if (beyond < s->least_ms)
        s->least_ms = beyond;
    return beyond > s->least_ms + WAIT_MS;
}

static int slice(ath_task *t, const ath_done *d, ath_err *e);

/* What the slice gave: moves the cursor; true: there is more, and time for it. */
static bool take_slice(ath_task *t, struct sweep *s, const ath_done *d, uint64_t took_ms)
{
    const struct rule *r = s->now->rule;
    ath_str rest = d->bytes, server, lag;
    uint64_t server_ms = 0;
    int64_t lag_s = 0;
    bool more, again;

    if (str_next(&rest, '|', &server) && str_next(&rest, '|', &lag)) {
        str_u64(server, &server_ms);
        str_i64(lag, &lag_s);
    }
    if (s->cfg->dry_run) {
        if (d->count)
            upkeep_say(t, ATH_INFO, "retention would change %llu%s rows of %.*s.%.*s",
                       (unsigned long long)d->count, d->count == DRY_MOST ? " or more" : "",
                       STR_ARG(s->now->schema), STR_ARG(s->now->name));
        return false;
    }
    if (d->count && !r->action)
        upkeep_put(M_DELETED, r->table, (double)d->count);
    s->yielded = waited(s, took_ms, server_ms);
    if (rest.n && rest.n < sizeof(s->cursor_room)) {
        memcpy(s->cursor_room, rest.p, rest.n);
        s->cursor = str_from(s->cursor_room, rest.n);
    }
    more = d->count >= slice_of(r);
    again = more && !s->yielded && now_ms(s) - s->turn_ms < TURN_MS;
    show_lag(s, more ? lag_s : 0, !again);
    s->left |= more && !again;
    return again;
}

static int sliced(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sweep *s = d->arg;
    uint64_t took = now_ms(s) - s->asked_ms, pause = PAUSE_TIMES * took;

    if (d->rc < 0) {
        if (!survives(s, s->now->rule->table, d->rc, e))
            return finish(t, s, e);
        return next_target(t, s, e);
    }
    if (take_slice(t, s, d, took))
        return ath_host_->task->after(t, pause > PAUSE_LEAST_MS ? pause : PAUSE_LEAST_MS, slice, s,
                                      e);
    return s->yielded ? finish(t, s, e) : next_target(t, s, e);
}

static int slice(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sweep *s = d->arg;
    ath_fork f = { .size = sizeof(f), .run = slice_run, .arg = s };

    if (d->rc < 0)
        return d->rc;
    s->asked_ms = now_ms(s);
    return ath_host_->task->fork(t, &f, sliced, s, e);
}

/* ---- a day ---- */

/* So many hours before the end of a day; both in UTC. `high` is seconds since 1970. */
static ath_str back(ath_arena *a, ath_str high, int hours)
{
    struct buf b = BUF_ARENA(a);
    int64_t seconds = 0;
    time_t at;
    struct tm tm;
    char text[32];

    str_i64(high, &seconds);
    at = (time_t)(seconds - hours * 3600);
    gmtime_r(&at, &tm);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S+00", &tm);
    buf_z(&b, text);
    return buf_view(&b);
}

static int dropped(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sweep *s = d->arg;

    if (d->rc == 0)
        upkeep_put(M_DROPPED, s->now->rule->table, 1);
    else if (!survives(s, s->now->rule->table, d->rc, e))
        return finish(t, s, e);
    return next_target(t, s, e);
}

/* What the statistics have counted of a day is subtracted by the hour: each statement has its own
 * time, and a day may hold many rows. The first reaches back without end, for a part that is more
 * than a day. */
static uint32_t forget(ath_arena *a, const struct target *g, ath_stmt *ret)
{
    uint32_t n = 0;

    ret[n++] = (ath_stmt){ .sql = statistics_lock_sql };
    for (int hour = HOURS; hour >= 0; hour--) {
        ath_str *param = ath_new(a, 2 * sizeof(*param));
        param[0] = hour == HOURS ? ATH_S("-infinity") : back(a, g->high, hour + 1);
        param[1] = back(a, g->high, hour);
        ret[n++] = (ath_stmt){ .sql = statistics_forget_sql[g->rule->counted - 1],
                               .param = param,
                               .param_count = 2 };
    }
    return n;
}

static int drop(ath_task *t, struct sweep *s, ath_err *e)
{
    struct buf sql = BUF_ARENA(ath_arena_of(t));
    ath_stmt stmt[HOURS + 3];
    struct ask a = { .client = s->client[s->client_at],
                     .stmt = stmt,
                     .lock_timeout = "500ms",
                     .limit_ms = DROP_MS };

    if (s->cfg->dry_run) {
        upkeep_say(t, ATH_INFO, "retention would drop partition %.*s.%.*s", STR_ARG(s->now->schema),
                   STR_ARG(s->now->name));
        return next_target(t, s, e);
    }
    buf_lit(&sql, "drop table ");
    buf_ident2(&sql, s->now->schema, s->now->name);
    if (s->now->counted)
        a.count = forget(ath_arena_of(t), s->now, stmt);
    stmt[a.count++] = (ath_stmt){ .sql = sql.p };
    return upkeep_ask(t, &a, dropped, s, e);
}

/* ---- a client ---- */

static int next_client(ath_task *t, struct sweep *s, ath_err *e);

static int next_target(ath_task *t, struct sweep *s, ath_err *e)
{
    ath_done go = { .size = sizeof(go), .arg = s };

    if (s->at == s->targets) {
        s->client_at++;
        return next_client(t, s, e);
    }
    s->now = &s->target[s->at++];
    if (s->now->kind == 'x')
        return drop(t, s, e);
    s->turn_ms = now_ms(s);
    s->cursor = ATH_S("-infinity");
    return slice(t, &go, e);
}

/* The days of one table that are over come before its rows. */
static int planned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sweep *s = d->arg;
    ath_str client = s->client[s->client_at];

    s->targets = s->at = 0;
    if (d->rc < 0 && client.p[0] == '@') {
        if (!survives(s, client.p, d->rc, e))
            return finish(t, s, e);
    } else if (d->rc == ATH_E_CANCELED) {
        return d->rc;
    } else if (d->rc == 0) {
        const ath_rows *rows = ath_host_->pg->keep(t, d->rows);
        s->target = ath_new(ath_arena_of(t), (ath_host_->pg->count(rows) + 1) * sizeof(*s->target));
        for (uint32_t i = 0; i < ath_host_->pg->count(rows); i++)
            s->target[s->targets++] = (struct target){
                .rule = &upkeep_rules[upkeep_number(rows, i, 0)],
                .schema = ath_cell(rows, i, 1),
                .name = ath_cell(rows, i, 2),
                .kind = ath_cell(rows, i, 3).p[0],
                .counted = str_is(ath_cell(rows, i, 4), "t"),
                .high = ath_cell(rows, i, 5),
                .before = ath_cell(rows, i, 6),
                .time = ath_cell(rows, i, 7),
            };
    }
    return next_target(t, s, e);
}

/* A partition's rows are deleted one by one only where days are too coarse, and in the default
 * partition, which has none; the day that is cut is kept whole. Where there are statistics of a
 * log, its rows go by the log's own name, from all of its parts at once. */
static const char plan_sql[] =
    "with rule as (select * from unnest($1::int4[], $2::text[], $3::text[], $4::float8[], "
    "$5::bool[], $6::text[]) r(no, name, col, keep, counted, other)), "
    "rel as (select r.no, a.attname as col, r.keep, c.oid, c.relname, c.relnamespace, c.relkind, "
    "r.counted and to_regclass('athena_log_folds') is not null and "
    "to_regclass('athena_log_durations') is not null and to_regclass(r.name) is not null "
    "as counted, now() - keep * interval '1 ms' as before, date_trunc('day', now()) - "
    "ceil(keep / 86400000) * interval '1 day' as day from rule r "
    "join pg_catalog.pg_class c on c.oid = coalesce(to_regclass(r.name), case when position('.' in "
    "r.name) = 0 then to_regclass('public.' || r.name) end) "
    "cross join lateral (select a.attname from pg_catalog.pg_attribute a where a.attrelid = c.oid "
    "and a.attname in (r.col, r.other) and not a.attisdropped and a.atttypid in "
    "('timestamptz'::regtype, 'timestamp'::regtype) order by a.attname <> r.col limit 1) a), "
    "part as (select rel.no, rel.col, rel.keep, rel.counted, rel.day, c.relname, c.relnamespace, "
    "pg_get_expr(c.relpartbound, c.oid) as bound from rel "
    "join pg_catalog.pg_inherits i on i.inhparent = rel.oid "
    "join pg_catalog.pg_class c on c.oid = i.inhrelid where rel.relkind = 'p'), "
    "span as (select no, col, keep, counted, day, relname, relnamespace, bound = 'DEFAULT' as rest, "
    "substring(bound from 'TO \\(''([^'']+)''\\)')::timestamptz as high from part), "
    "found as (select no, relname, relnamespace, 'r' as kind, counted, null::timestamptz as high, "
    "before, col from rel where relkind = 'r' "
    "union all select no, relname, relnamespace, 'p', true, null, "
    "case when keep < 86400000 then before else day end, col from rel where relkind = 'p' and counted "
    "union all select no, relname, relnamespace, case when rest then 'd' when high <= day then 'x' "
    "else 'l' end, counted, high, null, col from span where high <= day "
    "or not counted and (rest or keep < 86400000)) "
    "select f.no, n.nspname, f.relname, f.kind, f.counted, extract(epoch from f.high)::int8, "
    "f.before, f.col from found f join pg_catalog.pg_namespace n on n.oid = f.relnamespace "
    "order by f.no, f.kind = 'x' desc, f.relname";

static void put_item(struct buf *b, ath_str item)
{
    buf_z(b, b->n ? "," : "{");
    buf_str(b, item);
}

static int plan(ath_task *t, struct sweep *s, ath_err *e)
{
    ath_arena *a = ath_arena_of(t);
    struct buf list[] = { BUF_ARENA(a), BUF_ARENA(a), BUF_ARENA(a),
                          BUF_ARENA(a), BUF_ARENA(a), BUF_ARENA(a) };
    ath_str client = s->client[s->client_at], param[ATH_COUNT(list)];
    int place = str_is(client, "@control") ? RULE_CONTROL
                : str_is(client, "@auth")  ? RULE_AUTH
                                           : RULE_TENANT;
    ath_stmt stmt = { .sql = plan_sql, .param = param, .param_count = ATH_COUNT(list) };
    struct ask ask = { .client = client, .stmt = &stmt, .count = 1, .flags = ATH_PG_READ_ONLY };

    for (uint32_t i = 0; i < upkeep_rule_count; i++) {
        const struct rule *r = &upkeep_rules[i];
        struct buf name = BUF_ARENA(a);
        if (r->place != place || keep_ms(s, r) == 0)
            continue;
        buf_printf(&name, "%s%s%s", r->schema ? r->schema : "", r->schema ? "." : "", r->table);
        put_item(&list[0], number(a, i));
        put_item(&list[1], buf_view(&name));
        put_item(&list[2], str_of(r->time));
        put_item(&list[3], number(a, keep_ms(s, r)));
        put_item(&list[4], r->counted ? ATH_S("t") : ATH_S("f"));
        put_item(&list[5], str_of(r->or_time ? r->or_time : "null"));
    }
    for (size_t i = 0; i < ATH_COUNT(list); i++) {
        buf_z(&list[i], list[i].n ? "}" : "{}");
        param[i] = buf_view(&list[i]);
    }
    return upkeep_ask(t, &ask, planned, s, e);
}

static int next_client(ath_task *t, struct sweep *s, ath_err *e)
{
    if (s->client_at < s->clients)
        return plan(t, s, e);
    if (!s->left || s->rc < 0 || now_ms(s) - s->begun_ms > TICK_MS)
        return finish(t, s, e);
    s->left = false;
    s->client_at = 0;
    memset(s->lag_s, 0, upkeep_rule_count * sizeof(*s->lag_s));
    return plan(t, s, e);
}

/* ---- the tick ---- */

static void add_tenants(struct sweep *s, const struct json *pools)
{
    json_each(p, pools)
    {
        const struct json *up = json_get(p, "connected");
        if (up && up->type == JSON_TRUE)
            s->client[s->clients++] = json_text(json_get(p, "client_name"));
    }
}

int retention_run(ath_job *t, ath_err *e)
{
    static uint64_t tenants_ms, dry_ms; /* of the last time; ticks run on one loop */
    ath_arena *a = ath_arena_of(t);
    struct sweep *s = ath_new(a, sizeof(*s));
    struct json_error why;
    const struct json *pools = json_get(
        json_read(ath_host_->inspect(t, "pools"), JSON_ARENA(a), FACTS_MOST, &why), "pools");
    uint64_t now;

    s->cfg = ath_config_of(t);
    s->loop = ath_host_->task->loop(t);
    s->begun_ms = now = now_ms(s);
    s->least_ms = UINT64_MAX;
    s->lag_s = ath_new(a, upkeep_rule_count * sizeof(*s->lag_s));
    s->client = ath_new(a, (2 + (pools ? pools->count : 0)) * sizeof(*s->client));
    if (!s->cfg->logging_client.n || (s->cfg->dry_run && dry_ms && now - dry_ms < DRY_EVERY_MS))
        return upkeep_done(t);
    dry_ms = s->cfg->dry_run ? now : 0;
    s->client[s->clients++] = ATH_S("@control");
    s->client[s->clients++] = ATH_S("@auth");
    if (pools && (!tenants_ms || now - tenants_ms >= TENANTS_EVERY_MS)) {
        tenants_ms = now;
        add_tenants(s, pools);
    }
    return next_client(t, s, e);
}
