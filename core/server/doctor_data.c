/* Checks of the databases: each client, the two special ones, what the control plane's tables say;
 * and of Redis.
 *
 * A control plane that is away fails once, at "logging.client"; what would be read from it is
 * skipped, and so is a table that nobody has made.
 */
#include "base/clock.h"
#include "control/daemons.h"
#include "control/migrate.h"
#include "control/schema.h"
#include "db/query.h"
#include "db/redis.h"
#include "server/doctor_priv.h"
#include "server/workers.h"

/* ---- asking ---- */

struct asked {
    struct check *check;
    ath_then *then; /* when it worked; d->arg: this */
    int (*failed)(ath_task *t, struct check *c, int rc, ath_err *e);
    ath_stmt stmt;
    ath_query query;
    ath_str param;    /* $1; p NULL: there is none */
    uint64_t wall_ns; /* when it was sent */
};

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct asked *a = d->arg;

    return d->rc < 0 ? a->failed(t, a->check, d->rc, e) : a->then(t, d, e);
}

static int ask(ath_task *t, struct asked *a, ath_str client, const char *sql, ath_err *e)
{
    int rc;

    a->wall_ns = clock_wall_ns();
    a->stmt = (ath_stmt){ .sql = sql, .param = &a->param, .param_count = a->param.p != NULL };
    a->query = (ath_query){ .size = sizeof(a->query),
                            .flags = ATH_PG_READ_ONLY,
                            .client = client,
                            .stmt = &a->stmt,
                            .stmt_size = sizeof(a->stmt),
                            .stmt_count = 1,
                            .timeout_ms = a->check->exam->limit_ms };
    rc = db_query(t, &a->query, answered, a, e);
    return rc < 0 ? a->failed(t, a->check, rc, e) : 0;
}

static struct asked *asked_new(ath_task *t, struct check *c, ath_then *then)
{
    struct asked *a = ARENA_NEW(&t->arena, struct asked);

    a->check = c;
    a->then = then;
    return a;
}

/* ---- clients ---- */

static const char version_sql[] =
    "select current_setting('server_version_num')::int / 10000, current_setting('server_version'),"
    " pg_is_in_recovery()";

static int version_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct check *c = ((struct asked *)d->arg)->check;
    int64_t major = 0;

    (void)e;
    str_i64(db_rows_text(d->rows, 0, 0), &major);
    c->major = (int)major;
    return doctor_say(t, c, VERDICT_OK, NULL, "PostgreSQL %.*s%s",
                      STR_ARG(db_rows_text(d->rows, 0, 1)),
                      str_is(db_rows_text(d->rows, 0, 2), "t") ? ", a replica" : "");
}

/* The words of the pool say that it is away; why is a detail. */
static int unreachable(ath_task *t, struct check *c, int rc, ath_err *e)
{
    ath_str reason = err_get(e, "reason");

    if (reason.n == 0)
        return rc;
    return doctor_say(t, c, VERDICT_FAIL,
                      "Check the connection URI, and that the database lets this machine in.",
                      "%.*s", STR_ARG(reason));
}

static int ask_version(ath_task *t, struct check *c, ath_str client, ath_err *e)
{
    struct asked *a = asked_new(t, c, version_answered);

    a->failed = unreachable;
    return ask(t, a, client, version_sql, e);
}

int check_client(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    const struct db_client *client = c->about;

    if (!client->active || client->frozen)
        return doctor_say(t, c, VERDICT_SKIP, NULL, "it is %s",
                          client->active ? "frozen" : "inactive");
    return ask_version(t, c, str_of(client->name), e);
}

static const struct gateway_config *gateway_of(const struct check *c)
{
    return &c->exam->setup->core.gateway;
}

int check_logging(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;

    if (gateway_of(c)->logging_client.n == 0)
        return doctor_say(
            t, c, VERDICT_WARN,
            "Set gateway.logging_client to the client that holds the control plane.",
            "no logging client is configured: no catalogue, no logs in a database, no jobs");
    return ask_version(t, c, ATH_S("@control"), e);
}

int check_auth(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    const struct gateway_config *g = gateway_of(c);

    if (g->auth_client.n == 0 && g->logging_client.n == 0)
        return doctor_say(
            t, c, VERDICT_WARN,
            "Set gateway.auth_client (or gateway.logging_client) to the client that holds the "
            "keys.",
            "no key store is configured: only the administrator's key works");
    return ask_version(t, c, ATH_S("@auth"), e);
}

/* ---- the control plane ---- */

static bool is_away(const ath_err *e)
{
    ath_str code = err_get(e, "code");

    return err_get(e, "sqlstate").n == 0 &&
           (str_is(code, "client_unavailable") || str_is(code, "connection_error") ||
            str_is(code, "client_unknown") || str_is(code, "pool_timeout"));
}

/* Neither a missing control plane nor a missing table is this check's to complain about. */
static int unread(ath_task *t, struct check *c, int rc, ath_err *e)
{
    ath_str state = err_get(e, "sqlstate");

    if (str_is(state, "42P01"))
        return doctor_say(t, c, VERDICT_SKIP, NULL, "its tables are not there");
    if (str_is(state, "42703"))
        return doctor_say(t, c, VERDICT_WARN, "athena migrate status says what is missing.",
                          "its tables lack columns");
    if (is_away(e))
        return doctor_say(t, c, VERDICT_SKIP, NULL, "the control plane cannot be asked");
    return rc;
}

static int ask_control_about(ath_task *t, struct check *c, const char *sql, ath_str param,
                             ath_then *then, ath_err *e)
{
    struct asked *a = asked_new(t, c, then);

    a->param = param;
    if (gateway_of(c)->logging_client.n == 0)
        return doctor_say(t, c, VERDICT_SKIP, NULL, "no logging client is configured");
    a->failed = unread;
    return ask(t, a, ATH_S("@control"), sql, e);
}

static int ask_control(ath_task *t, struct check *c, const char *sql, ath_then *then, ath_err *e)
{
    return ask_control_about(t, c, sql, (ath_str){ 0 }, then, e);
}

/* ---- the clock ---- */

static int clock_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct asked *a = d->arg;
    double theirs = 0, ours = ((double)a->wall_ns + (double)clock_wall_ns()) / 2e9, off;
    double trip = ((double)clock_wall_ns() - (double)a->wall_ns) / 1e9;

    (void)e;
    str_double(db_rows_text(d->rows, 0, 0), &theirs);
    off = ours > theirs ? ours - theirs : theirs - ours;
    if (off <= 1 + trip)
        return doctor_say(t, a->check, VERDICT_OK, NULL, "%.3f s apart from the control plane",
                          off);
    return doctor_say(
        t, a->check, off > 15 ? VERDICT_FAIL : VERDICT_WARN,
        "Keep both machines' clocks in step (chrony, systemd-timesyncd).",
        "%.1f s apart from the control plane: leases and schedules are off by as much", off);
}

int check_clock(ath_task *t, void *arg, ath_err *e)
{
    return ask_control(t, arg, "select extract(epoch from clock_timestamp())", clock_answered, e);
}

/* ---- the schema ---- */

struct looking {
    struct check *check;
    struct migration m;
};

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct looking *l = d->arg;
    const struct migration *m = &l->m;

    if (d->rc < 0)
        return unread(t, l->check, d->rc, e);
    if (m->state == MIGRATE_CURRENT)
        return doctor_say(t, l->check, VERDICT_OK, NULL,
                          "version %u, which is what this program wants", m->version);
    if (m->state == MIGRATE_PENDING)
        return doctor_say(
            t, l->check, VERDICT_WARN,
            "athena migrate up runs them; a server does where schema.bootstrap is auto.",
            "version %u of %u: steps are to be run, %u tables and %u columns are missing",
            m->version, m->wanted, m->tables, m->columns);
    return doctor_say(
        t, l->check, VERDICT_FAIL, "athena migrate status says what stands in the way.",
        "%s: version %u of %u, %u tables and %u columns are missing, %u are of an old form",
        migrate_word(m->state), m->version, m->wanted, m->tables, m->columns, m->forms);
}

int check_schema(ath_task *t, void *arg, ath_err *e)
{
    struct looking *l = ARENA_NEW(&t->arena, struct looking);
    ath_fork f = { .size = sizeof(f), .run = migrate_run, .arg = &l->m };
    struct check *c = arg;
    const struct component *component;

    l->check = c;
    l->m = (struct migration){ .component = c->about, .arena = &t->arena };
    for (size_t i = 0; (component = schema_component(i, &l->m.client)); i++)
        if (component == c->about)
            break;
    return task_fork(t, &f, looked, l, e);
}

/* ---- queues and jobs: what waits, what is stuck, what has failed lately ---- */

/* Columns: waiting, running, stuck, failed in the last day, seconds that the oldest waits past due.
 */
static int queue_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    enum { WAITING, RUNNING, STUCK, FAILED, LATE, LATE_MOST = 900 };
    struct check *c = ((struct asked *)d->arg)->check;
    int64_t n[5] = { 0 };

    (void)e;
    for (uint32_t i = 0; i < ATH_COUNT(n); i++)
        str_i64(db_rows_text(d->rows, 0, i), &n[i]);
    if (n[STUCK] || n[LATE] > LATE_MOST)
        return doctor_say(
            t, c, VERDICT_WARN,
            "Is a worker of this family running? athena daemons shows which are.",
            "%lld wait (the oldest for %lld s), %lld run, %lld of them without a live lease, "
            "%lld failed in the last day",
            (long long)n[WAITING], (long long)n[LATE], (long long)n[RUNNING], (long long)n[STUCK],
            (long long)n[FAILED]);
    return doctor_say(t, c, n[FAILED] ? VERDICT_WARN : VERDICT_OK,
                      n[FAILED] ? "The jobs' own error messages say why." : NULL,
                      "%lld wait, %lld run, %lld failed in the last day", (long long)n[WAITING],
                      (long long)n[RUNNING], (long long)n[FAILED]);
}

/* clang-format off */
#define COUNT(condition) "count(*) filter (where " condition "), "
#define LATE(condition, since) \
    "coalesce(extract(epoch from now() - min(" since ") filter (where " condition "))::bigint, 0)"

static const char deferred_sql[] =
    "select " COUNT("status = 'queued'")
              COUNT("status = 'running'")
              COUNT("status = 'running' and created_at < now() - interval '1 hour'")
              COUNT("status = 'dead_letter' and completed_at > now() - interval '1 day'")
              LATE("status = 'queued'", "created_at")
    " from public.gateway_deferred_request_queue";

static const char backups_sql[] =
    "select " COUNT("status = 'pending'")
              COUNT("status = 'running'")
              COUNT("status = 'running' and lease_expires_at < now()")
              COUNT("status = 'failed' and completed_at > now() - interval '1 day'")
              LATE("status = 'pending'", "next_attempt_at")
    " from backup_jobs";

#define CLONING "status in ('preparing', 'running', 'verifying')"
static const char clones_sql[] =
    "select " COUNT("status = 'queued'")
              COUNT(CLONING)
              COUNT(CLONING " and lease_expires_at < now()")
              COUNT("status like 'failed%' and updated_at > now() - interval '1 day'")
              LATE("status = 'queued'", "created_at")
    " from public.database_clone_jobs";

static const char syncs_sql[] =
    "select " COUNT("enabled and auto_sync_enabled and next_sync_at < now()")
              COUNT("last_sync_status = 'running'")
              COUNT("last_sync_status = 'running' and sync_lock_expires_at < now()")
              COUNT("enabled and last_sync_status = 'failed'")
              LATE("enabled and auto_sync_enabled", "next_sync_at")
    " from public.typesense_sync_jobs";
/* clang-format on */

int check_deferred(ath_task *t, void *arg, ath_err *e)
{
    return ask_control(t, arg, deferred_sql, queue_answered, e);
}

int check_backups(ath_task *t, void *arg, ath_err *e)
{
    return ask_control(t, arg, backups_sql, queue_answered, e);
}

int check_clones(ath_task *t, void *arg, ath_err *e)
{
    return ask_control(t, arg, clones_sql, queue_answered, e);
}

int check_syncs(ath_task *t, void *arg, ath_err *e)
{
    return ask_control(t, arg, syncs_sql, queue_answered, e);
}

/* ---- who runs the workers ---- */

static void put_owner(struct buf *b, const ath_rows *rows, uint32_t row)
{
    buf_printf(b, "%s%.*s", b->n ? "; " : "", STR_ARG(db_rows_text(rows, row, 0)));
    if (db_rows_text(rows, row, 3).n)
        buf_printf(b, " (%.*s)", STR_ARG(db_rows_text(rows, row, 3)));
}

/* A family that the server itself would run is nobody's only while no server runs. */
static int workers_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct check *c = ((struct asked *)d->arg)->check;
    struct buf none = ARENA_BUF(&t->arena), doubled = ARENA_BUF(&t->arena);
    uint32_t families = db_rows_count(d->rows);

    (void)e;
    for (uint32_t i = 0; i < families; i++) {
        uint64_t servers = 0, daemons = 0;
        str_u64(db_rows_text(d->rows, i, 1), &servers);
        str_u64(db_rows_text(d->rows, i, 2), &daemons);
        if (!servers && !daemons && !workers_inline(c->exam->setup, db_rows_text(d->rows, i, 0)))
            put_owner(&none, d->rows, i);
        else if (servers && daemons)
            put_owner(&doubled, d->rows, i);
    }
    if (none.n)
        return doctor_say(
            t, c, VERDICT_WARN,
            "Start athena daemon, or athena worker FAMILY; or take its plugin out of the list.",
            "no process that is online runs: %.*s", STR_ARG(buf_view(&none)));
    if (doubled.n)
        return doctor_say(t, c, VERDICT_WARN, "Set daemon.enabled to true where daemons run.",
                          "both servers and daemons run: %.*s", STR_ARG(buf_view(&doubled)));
    return doctor_say(t, c, VERDICT_OK, NULL, "each of %u families of workers is run", families);
}

int check_workers(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    struct buf known = ARENA_BUF(&t->arena);

    workers_known(c->exam->setup, &known);
    return ask_control_about(t, c, daemons_families_sql, buf_view(&known), workers_answered, e);
}

/* ---- Redis ---- */

struct ping {
    struct redis_options options;
    struct redis *redis;
    struct op *op;
};

static void ping_over(struct ping *p, int rc)
{
    if (p->op->finished)
        return;
    op_finish(p->op, rc);
}

static void redis_is_ready(struct redis *r)
{
    ping_over(redis_owner(r), 0);
}

static void redis_is_lost(struct redis *r, int rc, const ath_err *why)
{
    struct ping *p = redis_owner(r);

    if (!p->op->finished)
        err_copy(op_err(p->op), why);
    ping_over(p, rc);
}

static void ping_stop(struct op *o)
{
    if (!o->finished)
        op_finish(o, ATH_E_CANCELED);
}

static void ping_free(struct op *o)
{
    struct ping *p = o->impl;

    redis_close(p->redis);
    redis_options_free(&p->options);
}

static int ping_done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct check *c = d->arg;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    return doctor_say(t, c, VERDICT_OK, NULL, "it answers");
}

int check_redis(ath_task *t, void *arg, ath_err *e)
{
    static const struct redis_hooks hooks = { .ready = redis_is_ready, .lost = redis_is_lost };
    struct check *c = arg;
    ath_str url = c->exam->setup->core.server.redis_url;
    struct ping *p = ARENA_NEW(&t->arena, struct ping);
    int rc;

    if (url.n == 0)
        return doctor_say(t, c, VERDICT_SKIP, NULL,
                          "ATHENA_REDIS_URL is not set: answers are kept in this process alone");
    if ((rc = redis_options_parse(url, &p->options, e)) < 0)
        return rc;
    p->options.connect_ms = p->options.command_ms = c->exam->limit_ms / 2;
    p->options.backoff_ms = c->exam->limit_ms;
    p->op = op_new(t, ping_done, c);
    p->op->impl = p;
    p->op->stop = ping_stop;
    p->op->release = ping_free;
    p->redis = redis_open(t->loop, &p->options, &hooks, p);
    return 0;
}
