/* The tick `backup_upkeep_worker`, once per control plane: databases whose time is over, or whose
 * job is, are dropped; each client's newest backup is drilled now and then; backups that no rule
 * keeps are removed (retain.c); figures are told.
 *
 * What fails for one thing is said and left for the next time: nothing holds up the others.
 */
#include "upkeep.h"

#include <stdlib.h>

#include "backup/enqueue.h"

int upkeep_ask(ath_task *t, const ath_stmt *stmt, uint32_t n, ath_then *then, void *arg, ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .stmt_count = n };

    return ath_host_->pg->query(t, &q, then, arg, e);
}

void upkeep_say(ath_task *t, int level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, t, level, fmt, ap);
    va_end(ap);
}

int64_t upkeep_number(const ath_rows *rows, uint32_t row, uint32_t col)
{
    int64_t v = 0;

    str_i64(ath_cell(rows, row, col), &v);
    return v;
}

static ath_str text_of(ath_arena *a, uint64_t v)
{
    struct buf b = BUF_ARENA(a);

    buf_u64(&b, v);
    return buf_view(&b);
}

struct upkeep {
    struct flow flow;
    const struct backup_config *cfg;
    const ath_rows *due;
    uint32_t at;
};

#define UPKEEP(flow) ((struct upkeep *)(flow))

/* ---- databases ---- */

enum { C_WHAT, C_KEY, C_NAME, C_OID, C_LIVE, C_SERVER, C_DATABASE, C_CLIENT, C_SEALED, C_PURPOSE };

static const char due_sql[] =
    "select * from (select 'scratch', s.name, s.name, s.oid::text, null::text, s.server, "
    "s.database,"
    " s.client_name, s.target_sealed, s.purpose from athena_backup_scratch s"
    " left join " BACKUP_TABLE " j on j.id = s.job_id where j.id is null"
    " or j.status not in ('pending', 'running') order by s.made_at limit 20) scratch union all"
    " select * from (select case when k.state = 'kept' then 'kept' else 'swapping' end, k.id::text,"
    " k.name, k.oid::text, k.live_oid::text, k.server, k.database, k.client_name, k.target_sealed, "
    "''"
    " from athena_backup_kept k left join " BACKUP_TABLE " j on j.id = k.job_id"
    " where k.state = 'kept' and k.keep_until <= now() or k.state = 'swapping'"
    " and (j.id is null or j.status not in ('pending', 'running')) order by k.made_at limit 20) "
    "kept";

struct clear { /* of one row of the above */
    struct flow flow;
    const struct backup_config *cfg;
    const ath_rows *row;
    uint32_t at;
    struct site site;
    const char *state; /* that it has now */
};

#define CLEAR(flow) ((struct clear *)(flow))

static ath_str cell(const struct clear *c, uint32_t col)
{
    return ath_cell(c->row, c->at, col);
}

static bool is(const struct clear *c, const char *what)
{
    return str_is(cell(c, C_WHAT), what);
}

/* Marks that are no databases need no server. */
static bool is_mark(const struct clear *c)
{
    return str_is(cell(c, C_PURPOSE), "in_place") || str_is(cell(c, C_PURPOSE), "undo");
}

static int clear_target(ath_task *t, struct flow *f, ath_err *e)
{
    struct clear *c = CLEAR(f);
    struct backup_payload p = { .client_name = cell(c, C_CLIENT) };
    struct target g;
    bool elsewhere = str_is(cell(c, C_PURPOSE), "drill") && c->cfg->drill_uri.n;
    int rc;

    if (is_mark(c))
        return FLOW_NEXT;
    rc = elsewhere ? target_read(ath_arena_of(t), c->cfg->drill_uri, &g, e)
                   : target_of(ath_arena_of(t), &p, cell(c, C_SEALED), &g, e);
    if (rc < 0)
        return rc;
    c->site = (struct site){ .home = t, .uri = g.uri, .database = cell(c, C_DATABASE) };
    return FLOW_NEXT;
}

static int clear_look(ath_task *t, struct flow *f, ath_err *e)
{
    return is_mark(CLEAR(f)) ? FLOW_NEXT : site_look(t, &CLEAR(f)->site, flow_then, f, e);
}

static int clear_looked(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct clear *c = CLEAR(f);
    int rc = site_looked(&c->site, d, e);

    (void)t;
    if (rc || str_eq(c->site.server, cell(c, C_SERVER)))
        return rc;
    return ath_fail(e, ATH_E_CONFLICT, "it lies on another server than its client leads to now");
}

static int clear_drop(ath_task *t, struct flow *f, ath_err *e)
{
    struct clear *c = CLEAR(f);

    if (is(c, "swapping")) {
        c->state = str_eq(c->site.oid, cell(c, C_LIVE)) ? "kept" : "returned";
        return FLOW_NEXT;
    }
    if (is_mark(c))
        return FLOW_NEXT;
    c->state = "dropped";
    return spare_drop(t, &c->site, cell(c, C_NAME), cell(c, C_OID), flow_then, f, e);
}

/* Under its name is another one by now: that is nobody's of ours. */
static int clear_dropped(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)f;
    if (d->rc == ATH_E_CONFLICT)
        upkeep_say(t, ATH_WARN, "%.*s: it is left alone",
                   STR_ARG(ath_host_->err->get(e, "message")));
    return d->rc == ATH_E_CONFLICT ? 0 : d->rc;
}

static const char state_sql[] =
    "update athena_backup_kept set state = $2, ended_at = case when $2 <> 'kept' then now() end,"
    " keep_until = case when $2 = 'kept' then now() + $3::int8 * interval '1 ms' else keep_until "
    "end"
    " where id = $1::int8 and state in ('kept', 'swapping')";

static int clear_note(ath_task *t, struct flow *f, ath_err *e)
{
    struct clear *c = CLEAR(f);
    ath_str *p = ath_new(ath_arena_of(t), 3 * sizeof(*p));
    bool scratch = is(c, "scratch");
    ath_stmt stmt = { .sql =
                          scratch ? "delete from athena_backup_scratch where name = $1" : state_sql,
                      .param = p,
                      .param_count = scratch ? 1 : 3 };

    p[0] = cell(c, C_KEY);
    p[1] = str_of(c->state);
    p[2] = text_of(ath_arena_of(t), c->cfg->keep_replaced_ms);
    return upkeep_ask(t, &stmt, 1, flow_then, f, e);
}

static const struct flow_step clear_steps[] = {
    { clear_target, NULL },
    { clear_look, clear_looked },
    { clear_drop, clear_dropped },
    { clear_note, NULL },
    { NULL, NULL },
};

static int clear_run(ath_task *t, void *arg, ath_err *e)
{
    struct clear *c = arg;

    return flow_run(t, &c->flow, e);
}

static int due_ask(ath_task *t, struct flow *f, ath_err *e)
{
    ath_stmt stmt = { .sql = due_sql };

    return upkeep_ask(t, &stmt, 1, flow_then, f, e);
}

static int due_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc == 0)
        UPKEEP(f)->due = ath_host_->pg->keep(t, d->rows);
    return d->rc;
}

static int clear_one(ath_task *t, struct flow *f, ath_err *e)
{
    struct upkeep *x = UPKEEP(f);
    struct clear *c;
    ath_fork fork = { .size = sizeof(fork), .run = clear_run, .timeout_ms = 120000 };

    if (x->at == ath_host_->pg->count(x->due))
        return FLOW_NEXT;
    c = ath_new(ath_arena_of(t), sizeof(*c));
    *c = (struct clear){ .flow = { clear_steps, NULL }, .cfg = x->cfg, .row = x->due, .at = x->at };
    fork.arg = c;
    return ath_host_->task->fork(t, &fork, flow_then, f, e);
}

static int cleared(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct upkeep *x = UPKEEP(f);

    if (d->rc == ATH_E_CANCELED || d->rc == ATH_E_LEASE)
        return d->rc;
    if (d->rc < 0)
        upkeep_say(t, ATH_WARN, "database \"%.*s\" of a restore could not be dropped: %.*s",
                   STR_ARG(ath_cell(x->due, x->at, C_NAME)),
                   STR_ARG(ath_host_->err->get(e, "message")));
    x->at++;
    return FLOW_AGAIN;
}

/* ---- drills ---- */

/* One at a time in the whole installation; a client whose last drill failed waits like the others.
 */
static const char drill_sql[] =
    "with newest as (select distinct on (client_name) client_name, s3_key, pg_uri, secrets"
    " from " BACKUP_TABLE " where job_type = 'backup' and status = 'completed'"
    " and s3_key is not null and client_name is not null"
    " order by client_name, completed_at desc, id desc),"
    " last as (select client_name, max(started_at) as at from " BACKUP_TABLE
    " where job_type = 'drill' group by client_name)"
    " select n.client_name, n.s3_key, n.pg_uri, n.secrets from newest n left join last l"
    " using (client_name) where (l.at is null or l.at < now() - $1::int8 * interval '1 ms')"
    " and not exists (select from " BACKUP_TABLE " where job_type = 'drill'"
    " and status in ('pending', 'running')) order by l.at nulls first, n.client_name limit 1";

static int drill_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct upkeep *x = UPKEEP(f);
    ath_str *p = ath_new(ath_arena_of(t), sizeof(*p));
    ath_stmt stmt = { .sql = drill_sql, .param = p, .param_count = 1 };

    *p = text_of(ath_arena_of(t), x->cfg->drill_every_ms);
    return x->cfg->drill_every_ms ? upkeep_ask(t, &stmt, 1, flow_then, f, e) : FLOW_NEXT;
}

static int drill_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc == 0)
        UPKEEP(f)->due = ath_host_->pg->keep(t, d->rows);
    return d->rc;
}

static int drill_put(ath_task *t, struct flow *f, ath_err *e)
{
    struct upkeep *x = UPKEEP(f);
    const ath_rows *r = x->due;
    struct backup_order o = { .what = { .kind = PAYLOAD_DRILL,
                                        .timeout_seconds = PAYLOAD_TIMEOUT_MOST,
                                        .client_name = ath_cell(r, 0, 0),
                                        .key = ath_cell(r, 0, 1),
                                        .pg_uri = ath_cell(r, 0, 2) },
                              .sealed = ath_cell(r, 0, 3),
                              .max_attempts = x->cfg->attempts };

    if (!x->cfg->drill_every_ms || !ath_host_->pg->count(r))
        return FLOW_NEXT;
    return backup_enqueue(t, backup_services.secrets, &o, flow_then, f, e);
}

/* ---- removing ---- */

static int retain(ath_task *t, struct flow *f, ath_err *e)
{
    return retain_run(t, UPKEEP(f)->cfg, flow_then, f, e);
}

static int retained(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)f;
    if (d->rc == ATH_E_CANCELED || d->rc == ATH_E_LEASE)
        return d->rc;
    if (d->rc < 0)
        upkeep_say(t, ATH_WARN, "backups that no rule keeps could not be removed: %.*s",
                   STR_ARG(ath_host_->err->get(e, "message")));
    return 0;
}

/* ---- figures ---- */

#define PROVEN                                                                                     \
    "s3_key in (select key from athena_backup_records where kind in ('decoded', 'drilled', "       \
    "'restored'))"

static const char clients_sql[] =
    "with b as (select client_name, size_bytes, completed_at, " PROVEN
    " as proven from " BACKUP_TABLE
    " where job_type = 'backup' and status = 'completed' and s3_key is not null"
    " and client_name is not null)"
    " select client_name, extract(epoch from max(completed_at))::float8,"
    " extract(epoch from max(completed_at) filter (where proven))::float8,"
    " extract(epoch from now() - max(completed_at) filter (where proven))::float8,"
    " (array_agg(coalesce(size_bytes, 0) order by completed_at desc))[1], count(*)"
    " from b group by client_name order by 1 limit 1000";
static const char drills_sql[] =
    "select distinct on (facts->>'client') facts->>'client', (facts->>'restore_ms')::float8 / 1000"
    " from athena_backup_records where kind = 'drilled' order by facts->>'client', seq desc limit "
    "1000";
static const char jobs_sql[] =
    "select job_type, status, count(*) from " BACKUP_TABLE " group by 1, 2";
static const char kept_sql[] = "select count(*) from athena_backup_kept where state = 'kept'";

static int figures_ask(ath_task *t, struct flow *f, ath_err *e)
{
    ath_stmt stmt[] = {
        { .sql = clients_sql }, { .sql = drills_sql }, { .sql = jobs_sql }, { .sql = kept_sql }
    };

    return upkeep_ask(t, stmt, ATH_COUNT(stmt), flow_then, f, e);
}

static void put(uint32_t metric, const ath_rows *r, uint32_t row, uint32_t labels, uint32_t col)
{
    ath_str label[2] = { ath_cell(r, row, 0), ath_cell(r, row, 1) };
    ath_str text = ath_cell(r, row, col);
    double v;

    if (text.n && str_double(text, &v))
        ath_host_->log->put(ath_self_, metric, labels ? label : NULL, v);
}

static int figures_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    static const uint32_t of_client[] = { M_CREATED, M_PROVEN, M_AGE, M_BYTES, M_STORED };
    const ath_rows *r = d->rows;

    (void)t, (void)f, (void)e;
    if (d->rc < 0)
        return d->rc;
    for (uint32_t i = 0; i < ath_host_->pg->count(r); i++)
        for (uint32_t k = 0; k < ATH_COUNT(of_client); k++)
            put(of_client[k], r, i, 1, k + 1);
    r = ath_host_->pg->next(r);
    for (uint32_t i = 0; i < ath_host_->pg->count(r); i++)
        put(M_SECONDS, r, i, 1, 1);
    r = ath_host_->pg->next(r);
    for (uint32_t i = 0; i < ath_host_->pg->count(r); i++)
        put(M_JOBS, r, i, 2, 2);
    put(M_KEPT, ath_host_->pg->next(r), 0, 0, 0);
    return 0;
}

static const struct flow_step steps[] = {
    { due_ask, due_took }, { clear_one, cleared }, { drill_ask, drill_took },
    { drill_put, NULL },   { retain, retained },   { figures_ask, figures_took },
    { NULL, NULL },
};

int backup_upkeep(ath_job *j, ath_err *e)
{
    struct upkeep *x = ath_new(ath_arena_of(j), sizeof(*x));

    *x = (struct upkeep){ .flow = { steps, NULL }, .cfg = ath_config_of(j) };
    return flow_run(j, &x->flow, e);
}

/* ---- the doctor's question ---- */

static const char stale_sql[] =
    "with b as (select client_name, max(completed_at) filter (where " PROVEN
    ") as proven from " BACKUP_TABLE
    " where job_type = 'backup' and status = 'completed' and s3_key is not null"
    " and client_name is not null group by client_name)"
    " select client_name, extract(epoch from now() - proven)::int8 / 3600, count(*) over () from b"
    " where proven is null or proven < now() - $1::int8 * interval '1 ms' order by proven nulls "
    "first"
    " limit 1";

static int stale_took(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_str hours;
    /* What is missing of the control plane is said by what looks at its schema. */
    bool absent = d->rc < 0 && str_is(ath_host_->err->get(e, "sqlstate"), "42P01");

    if (d->rc < 0 && !absent)
        return d->rc;
    if (absent || !ath_host_->pg->count(d->rows)) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    hours = ath_cell(d->rows, 0, 1);
    if (!hours.n)
        return ath_fail(e, ATH_E_CONFLICT,
                        "no backup of client \"%.*s\" is proven (clients like it: %.*s)",
                        STR_ARG(ath_cell(d->rows, 0, 0)), STR_ARG(ath_cell(d->rows, 0, 2)));
    return ath_fail(
        e, ATH_E_CONFLICT,
        "the newest proven backup of client \"%.*s\" is %.*s hours old (clients like it: %.*s)",
        STR_ARG(ath_cell(d->rows, 0, 0)), STR_ARG(hours), STR_ARG(ath_cell(d->rows, 0, 2)));
}

int backup_stale(ath_task *t, void *arg, ath_err *e)
{
    const struct backup_config *cfg = ath_config_of(t);
    ath_str *p = ath_new(ath_arena_of(t), sizeof(*p));
    ath_stmt stmt = { .sql = stale_sql, .param = p, .param_count = 1 };
    int rc = FLOW_NEXT;

    (void)arg;
    *p = text_of(ath_arena_of(t), cfg->stale_ms);
    if (cfg->stale_ms)
        rc = upkeep_ask(t, &stmt, 1, stale_took, NULL, e);
    if (rc < 0 && str_is(ath_host_->err->get(e, "code"), "feature_unavailable"))
        rc = FLOW_NEXT; /* without a control plane there are no backups */
    if (rc == FLOW_NEXT)
        ath_host_->task->done(t, NULL);
    return rc < 0 ? rc : 0;
}
