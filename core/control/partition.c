/* One session for all; the statements of a log are a list of texts, walked by an index. */
#include "control/partition.h"

#include "control/migrate.h"
#include "db/query.h"
#include "lib/buf.h"
#include "log/log.h"

enum { TRIES = 30, PAUSE_MS = 1000 };

extern const char sql_partition_bound[], sql_partition_convert[];

static const char *const tables[PARTITION_LOGS] = { "gateway_request_log",
                                                    "gateway_operation_log" };

/* "%" stands for the log; a text without one runs as it is. */
static const struct {
    const char *sql, *says;
    uint32_t flags;
} steps[] = {
    { "SELECT set_config('athena.log', to_regclass('%')::text, false)", NULL, 0 },
    { "DROP INDEX CONCURRENTLY IF EXISTS %_id_created_at", NULL, ATH_PG_ALONE },
    { "CREATE UNIQUE INDEX CONCURRENTLY %_id_created_at ON % (id, created_at)",
      "a unique index over (id, created_at) is made concurrently", ATH_PG_ALONE },
    { sql_partition_bound, "a check says that no row is newer than the midnight after next", 0 },
    { "ALTER TABLE % VALIDATE CONSTRAINT %_until", "that check is validated: every row is read",
      0 },
    { sql_partition_convert,
      "the table becomes the partition of all days before that, in one transaction", 0 },
};

struct run {
    struct partitioning *p;
    ath_session *session;
    size_t log, step;
    uint32_t tries;
};

const char *partition_step(size_t n)
{
    for (size_t i = 0; i < ATH_COUNT(steps); i++)
        if (steps[i].says && n-- == 0)
            return steps[i].says;
    return NULL;
}

static int ask(ath_task *t, struct run *r, const char *sql, uint32_t flags, ath_then *then,
               ath_err *e)
{
    return db_ask(t, r->session, sql, flags, then, r, e);
}

/* ---- converting one ---- */

static int look_next(ath_task *t, struct run *r, ath_err *e);

static const char *filled(ath_arena *a, const char *sql, const char *table)
{
    struct buf b = ARENA_BUF(a);

    if (strchr(sql, '\n'))
        return sql; /* a file: it asks for the setting */
    for (; *sql; sql++) {
        if (*sql == '%')
            buf_z(&b, table);
        else
            buf_char(&b, *sql);
    }
    return b.p;
}

static int step_done(ath_task *t, const ath_done *d, ath_err *e);

static int run_step(ath_task *t, struct run *r, ath_err *e)
{
    struct partition_log *log = &r->p->log[r->log];

    if (r->step < ATH_COUNT(steps))
        return ask(t, r, filled(&t->arena, steps[r->step].sql, log->table), steps[r->step].flags,
                   step_done, e);
    log->state = PARTITION_DONE;
    log->converted = true;
    log_write(ATH_INFO, "athena::schema", "\"%s\" is partitioned by day now", log->table);
    r->log++;
    return look_next(t, r, e);
}

static int step_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : run_step(t, d->arg, e);
}

static int step_done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0 && str_is(err_get(e, "sqlstate"), "55P03") && ++r->tries < TRIES)
        return task_after(t, PAUSE_MS, step_again, r, e);
    if (d->rc < 0)
        return d->rc;
    r->step++;
    return run_step(t, r, e);
}

/* ---- the lock ---- */

static int lock(ath_task *t, struct run *r, ath_err *e);

static int lock_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : lock(t, d->arg, e);
}

static int locked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (!str_is(db_rows_text(d->rows, 0, 0), "t"))
        return task_after(t, PAUSE_MS, lock_again, r, e);
    r->step = r->tries = 0;
    return run_step(t, r, e);
}

static int lock(ath_task *t, struct run *r, ath_err *e)
{
    return ask(t, r, "SELECT pg_try_advisory_lock(1096042565, 1)", 0, locked, e);
}

/* ---- looking ---- */

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;
    struct partition_log *log = &r->p->log[r->log];
    ath_str kind;

    if (d->rc < 0)
        return d->rc;
    kind = db_rows_text(d->rows, 0, 0);
    str_u64(db_rows_text(d->rows, 0, 1), &log->bytes);
    str_u64(db_rows_text(d->rows, 0, 2), &log->rows);
    log->reason = arena_str(r->p->arena, db_rows_text(d->rows, 0, 3));
    log->state = db_rows_count(d->rows) == 0 ? PARTITION_MISSING
                 : str_is(kind, "p")         ? PARTITION_DONE
                 : log->reason.n             ? PARTITION_REFUSED
                                             : PARTITION_POSSIBLE;
    if (log->state == PARTITION_POSSIBLE && r->p->apply)
        return lock(t, r, e);
    r->log++;
    return look_next(t, r, e);
}

static int look_next(ath_task *t, struct run *r, ath_err *e)
{
    static const char sql[] =
        "SELECT relkind, CASE relkind WHEN 'r' THEN pg_total_relation_size(oid) ELSE 0 END,"
        " greatest(reltuples, 0)::bigint, concat_ws(', ',"
        " CASE WHEN relkind NOT IN ('r', 'p') THEN 'it is no table' END,"
        " CASE WHEN EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid) THEN 'it has triggers or"
        " foreign keys' END, CASE WHEN EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid"
        " AND contype = 'u') THEN 'it has unique constraints' END,"
        " CASE WHEN relrowsecurity THEN 'it has row security' END,"
        " CASE WHEN relispartition THEN 'it is a partition' END,"
        " CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid AND relkind = 'r')"
        " THEN 'other tables inherit from it' END)"
        " FROM pg_class c WHERE oid = to_regclass($1)";
    ath_str *param = ARENA_NEW(&t->arena, ath_str);
    ath_stmt stmt = { .sql = sql, .param = param, .param_count = 1 };
    ath_query q = { .size = sizeof(q),
                    .session = r->session,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    if (r->log == PARTITION_LOGS) {
        db_close(r->session);
        task_done(t, NULL);
        return 0;
    }
    r->p->log[r->log].table = tables[r->log];
    *param = str_of(tables[r->log]);
    return db_query(t, &q, looked, r, e);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return d->rc;
    r->session = d->session;
    return look_next(t, r, e);
}

int partition_run(ath_task *t, void *arg, ath_err *e)
{
    struct run *r = ARENA_NEW(&t->arena, struct run);
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_OWN,
                    .client = ATH_S("@control"),
                    .stmt = migrate_session,
                    .stmt_size = sizeof(*migrate_session),
                    .stmt_count = MIGRATE_SESSION };

    r->p = arg;
    return db_open(t, &q, opened, r, e);
}
