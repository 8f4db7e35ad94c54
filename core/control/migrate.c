/* The run of one component: a chain of trips on one connection of its own.
 *
 * How it fails: a statement that is refused takes its step back, is written to the audit log as
 * failed, and ends the run with the state MIGRATE_FAILED; what was locked for too long is tried
 * again a few times before. Only a database that cannot be asked at all ends the task badly.
 */
#include "control/migrate.h"

#include "base/clock.h"
#include "base/version.h"
#include "control/audit.h"
#include "db/query.h"
#include "io/crypto.h"
#include "lib/buf.h"
#include "lib/sqlname.h"
#include "log/log.h"

enum { LOCK_PAUSE_MS = 200, RETRY_PAUSE_MS = 1000, TRIES = 5 };

struct run;
typedef int run_next(ath_task *t, struct run *r, ath_err *e);

struct run {
    struct migration *m;
    ath_arena *arena;
    ath_session *session;
    struct wants all;
    struct have *have;
    struct migrate_step *step; /* the one under way */
    struct plan *plan;         /* its additions, as seen behind the lock */
    struct mutation *at;
    run_next *looked, *tried; /* what follows a look; what takes the lock again */
    struct buf audit;
    uint64_t sent_ms, began_ms; /* the statement, the step */
    uint32_t tries;
    bool concurrently; /* the second half of a step */
    bool waiting;      /* somebody else has the lock; it was said */
};

static int look(ath_task *t, struct run *r, run_next *then, ath_err *e);

static int ask(ath_task *t, struct run *r, const char *sql, uint32_t flags, ath_then *then,
               ath_err *e)
{
    return db_ask(t, r->session, sql, flags, then, r, e);
}

/* ---- the end ---- */

static int end(ath_task *t, struct run *r)
{
    db_close(r->session);
    r->session = NULL;
    task_done(t, NULL);
    return 0;
}

static int fail(ath_task *t, struct run *r, const ath_err *why)
{
    r->m->state = MIGRATE_FAILED;
    err_copy(&r->m->err, why);
    log_write(ATH_WARN, "athena::schema", "step %u (%s) of \"%s\" failed: %.*s",
              r->step->step->version, r->step->step->name, r->m->component->name,
              (int)why->message_n, why->message);
    return end(t, r);
}

/* ---- a step that is refused ---- */

static int audited_failure(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;
    ath_err why;

    (void)e; /* that it failed counts for more than that it could not be written down */
    err_copy(&why, &r->m->err);
    return fail(t, r, &why);
}

static int try_again(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    return d->rc < 0 ? d->rc : r->tried(t, r, e);
}

static ath_str schema_of(const struct run *r, const struct want *w)
{
    const struct have_relation *there = w->table.n ? have_relation(r->have, w->table) : NULL;
    size_t dot = str_find(w->table, '.');

    if (there)
        return there->schema;
    return dot < w->table.n ? str_from(w->table.p, dot) : ATH_S("public");
}

static struct audit audit_of(const struct run *r)
{
    return (struct audit){ .component = r->m->component->name,
                           .client = r->m->client,
                           .step = r->step->step->name,
                           .version = r->step->step->version };
}

static int write_audit(ath_task *t, struct run *r, ath_then *then, ath_err *e)
{
    ath_str *param = ARENA_NEW(&t->arena, ath_str);
    ath_stmt stmt = { .sql = audit_sql, .param = param, .param_count = 1 };
    ath_query q = { .size = sizeof(q),
                    .session = r->session,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    audit_end(&r->audit);
    *param = buf_view(&r->audit);
    r->audit = (struct buf)ARENA_BUF(&t->arena);
    return db_query(t, &q, then, r, e);
}

static int rolled_back(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;
    ath_str state = err_get(&r->m->err, "sqlstate");
    struct audit a;

    if (d->rc < 0)
        return fail(t, r, e);
    if ((str_is(state, "55P03") || str_is(state, "40P01")) && ++r->tries < TRIES)
        return task_after(t, RETRY_PAUSE_MS, try_again, r, e);
    if (!r->have->audit || !r->at)
        return audited_failure(t, d, e);
    a = audit_of(r);
    r->audit = (struct buf)ARENA_BUF(&t->arena);
    audit_add(&r->audit, &a, r->at, schema_of(r, r->at->want), clock_ms() - r->sent_ms,
              err_get(&r->m->err, "message"));
    return write_audit(t, r, audited_failure, e);
}

static int refused(ath_task *t, struct run *r, const ath_err *why, ath_err *e)
{
    err_copy(&r->m->err, why);
    return ask(t, r, r->concurrently ? "SELECT pg_advisory_unlock_all()" : "ROLLBACK", 0,
               rolled_back, e);
}

/* ---- what is recorded ---- */

static int decide(ath_task *t, struct run *r, ath_err *e);

static int look_again(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    return d->rc < 0 ? refused(t, r, e, e) : look(t, r, decide, e);
}

static int recorded(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return refused(t, r, e, e);
    r->step->done = true;
    log_write(ATH_INFO, "athena::schema", "step %u (%s) of \"%s\" is done", r->step->step->version,
              r->step->step->name, r->m->component->name);
    return ask(t, r, r->concurrently ? "SELECT pg_advisory_unlock_all()" : "COMMIT", 0, look_again,
               e);
}

static int record(ath_task *t, struct run *r, ath_err *e)
{
    static const char sql[] =
        "INSERT INTO public.athena_schema_version"
        " (component, version, name, checksum, applied_by, duration_ms)"
        " VALUES ($1, $2::int, $3, $4, $5 || ' as ' || current_user, $6::bigint)"
        " ON CONFLICT (component, version) DO NOTHING";
    const struct step *s = r->step->step;
    ath_str *param = arena_alloc(&t->arena, 6 * sizeof(*param));
    ath_stmt stmt = { .sql = sql, .param = param, .param_count = 6 };
    ath_query q = { .size = sizeof(q),
                    .session = r->session,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    param[0] = str_of(r->m->component->name);
    param[1] = arena_printf(&t->arena, "%u", s->version);
    param[2] = str_of(s->name);
    param[3] = str_of(r->step->checksum);
    param[4] = arena_printf(&t->arena, "athena %s", athena_version);
    param[5] = arena_printf(&t->arena, "%llu", (unsigned long long)(clock_ms() - r->began_ms));
    r->at = NULL;
    return db_query(t, &q, recorded, r, e);
}

/* ---- additions ---- */

static int add_next(ath_task *t, struct run *r, ath_err *e);
static int lock_session(ath_task *t, struct run *r, ath_err *e);

static int committed_half(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return refused(t, r, e, e);
    r->concurrently = true;
    return lock_session(t, r, e);
}

/* Everything of this half is there. */
static int added_all(ath_task *t, struct run *r, ath_err *e)
{
    for (struct mutation *m = r->plan->first; m && !r->concurrently; m = m->next)
        if (m->concurrently)
            return ask(t, r, "COMMIT", 0, committed_half, e);
    return record(t, r, e);
}

static int audited(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    return d->rc < 0 ? refused(t, r, e, e) : added_all(t, r, e);
}

static int audit_all(ath_task *t, struct run *r, ath_err *e)
{
    static const ath_str log = { "database_audit_log", 18 };

    r->at = NULL;
    if (r->audit.n == 0 || !(r->have->audit || map_get(&r->plan->made, log)))
        return added_all(t, r, e);
    return write_audit(t, r, audited, e);
}

static void audit(struct run *r, ath_str error)
{
    struct audit a = audit_of(r);

    audit_add(&r->audit, &a, r->at, schema_of(r, r->at->want), clock_ms() - r->sent_ms, error);
}

static int left_out(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return refused(t, r, e, e);
    r->at = r->at->next;
    return add_next(t, r, e);
}

/* Rows that repeat refuse a unique index; what is left of one that was made concurrently goes. */
static int leave_out(ath_task *t, struct run *r, const ath_err *why, ath_err *e)
{
    struct buf b = ARENA_BUF(&t->arena);

    audit(r, err_get(why, "message"));
    buf_lit(&b, "DROP INDEX CONCURRENTLY IF EXISTS ");
    buf_ident2(&b, schema_of(r, r->at->want), r->at->want->name);
    return ask(t, r, b.p, ATH_PG_ALONE, left_out, e);
}

static int added(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0 && r->concurrently && str_is(err_get(e, "sqlstate"), "23505"))
        return leave_out(t, r, e, e);
    if (d->rc < 0)
        return refused(t, r, e, e);
    r->m->ran++;
    audit(r, ATH_S(""));
    r->at = r->at->next;
    return add_next(t, r, e);
}

static int add_next(ath_task *t, struct run *r, ath_err *e)
{
    while (r->at && r->at->concurrently != r->concurrently)
        r->at = r->at->next;
    if (!r->at)
        return audit_all(t, r, e);
    r->sent_ms = clock_ms();
    return ask(t, r, r->at->sql.p, r->concurrently ? ATH_PG_ALONE : 0, added, e);
}

/* Behind the lock: what is still missing now. */
static int begin_adding(ath_task *t, struct run *r, ath_err *e)
{
    r->plan = plan_new(&t->arena, r->have);
    plan_step(r->plan, &r->step->wants);
    r->audit = (struct buf)ARENA_BUF(&t->arena);
    r->began_ms = clock_ms();
    if (r->step->recorded && !r->plan->needed && !(r->m->thorough && r->plan->tried)) {
        r->step->done = true; /* somebody else did it */
        return ask(t, r, r->concurrently ? "SELECT pg_advisory_unlock_all()" : "ROLLBACK", 0,
                   look_again, e);
    }
    r->at = r->plan->first;
    return add_next(t, r, e);
}

/* ---- the lock ---- */

static bool have_lock(const ath_rows *rows)
{
    while (db_rows_next(rows))
        rows = db_rows_next(rows);
    return str_is(db_rows_text(rows, 0, 0), "t");
}

static int given_up(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return fail(t, r, e);
    if (!r->waiting)
        log_write(ATH_INFO, "athena::schema",
                  "another program changes the schema of \"%s\": waiting for it",
                  r->m->component->name);
    r->waiting = true;
    return task_after(t, LOCK_PAUSE_MS, try_again, r, e);
}

static int locked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return refused(t, r, e, e);
    if (have_lock(d->rows))
        return look(t, r, begin_adding, e);
    return ask(t, r, r->concurrently ? "SELECT 1" : "ROLLBACK", 0, given_up, e);
}

#define LOCK(form) "SELECT pg_try_advisory_" form "(1096042565, 1)"
_Static_assert(MIGRATE_LOCK_CLASS == 1096042565 && MIGRATE_LOCK_KEY == 1, "as the text says");

static int lock_session(ath_task *t, struct run *r, ath_err *e)
{
    r->tried = lock_session;
    return ask(t, r, LOCK("lock"), 0, locked, e);
}

static int begin_step(ath_task *t, struct run *r, ath_err *e)
{
    static const ath_stmt stmt[] = {
        { .sql = "BEGIN" },
        { .sql = "SET LOCAL lock_timeout = '3s'" },
        { .sql = LOCK("xact_lock") },
    };
    ath_query q = { .size = sizeof(q),
                    .session = r->session,
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .stmt_count = ATH_COUNT(stmt) };

    r->tried = begin_step;
    r->concurrently = false;
    r->at = NULL;
    err_reset(&r->m->err);
    return db_query(t, &q, locked, r, e);
}

static int version_made(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    return d->rc < 0 ? refused(t, r, e, e) : look(t, r, begin_adding, e);
}

/* Where versions are kept is made by the first step of all. */
static int make_version(ath_task *t, struct run *r, ath_err *e)
{
    return ask(
        t, r,
        "CREATE TABLE IF NOT EXISTS public.athena_schema_version ("
        "component text NOT NULL, version int NOT NULL, name text NOT NULL, checksum text,"
        " applied_at timestamptz NOT NULL DEFAULT now(), applied_by text, duration_ms bigint,"
        " PRIMARY KEY (component, version))",
        0, version_made, e);
}

/* ---- deciding ---- */

/* Plans every step over one view of the database, so that a later step knows what an earlier one
 * will have made. */
static void plan_all(struct run *r)
{
    struct migration *m = r->m;
    struct plan *p = plan_new(m->arena, r->have), *found = plan_new(m->arena, r->have);

    m->version = 0;
    for (uint32_t i = 0; i < m->component->steps; i++) {
        struct migrate_step *s = &m->step[i];
        struct mutation **from = p->last;
        uint32_t needed = p->needed, tried = p->tried, count = p->count;
        plan_step(p, &s->wants);
        s->wanted =
            !s->recorded || p->needed > needed || (m->thorough && !s->done && p->tried > tried);
        s->first = *from;
        s->count = p->count - count;
        if (s->recorded)
            m->version = s->step->version;
    }
    plan_find(found, &r->all);
    m->found = found->found;
    m->tables = found->tables;
    m->columns = found->columns;
    m->forms = found->forms;
}

static enum migrate_state state_of(const struct run *r)
{
    const struct migration *m = r->m;
    bool wanted = false;

    for (uint32_t i = 0; i < m->component->steps; i++)
        wanted |= m->step[i].wanted;
    if (m->forms)
        return MIGRATE_FORM;
    if (!wanted)
        return MIGRATE_CURRENT;
    return r->have->may_create && !r->have->standby ? MIGRATE_PENDING : MIGRATE_DENIED;
}

static void say_denied(struct run *r)
{
    err_fail(&r->m->err, ATH_E_DENIED,
             r->have->standby ? "the database of \"%s\" is a standby: nothing can be written"
                              : "the role may not create tables in schema public of \"%s\"",
             r->m->client.p);
    if (!r->have->standby)
        err_hint(&r->m->err, "Grant CREATE on schema public to it, or run athena migrate up with a "
                             "role that has it.");
}

static int decide(ath_task *t, struct run *r, ath_err *e)
{
    struct migration *m = r->m;

    plan_all(r);
    m->state = state_of(r);
    if (m->state == MIGRATE_DENIED)
        say_denied(r);
    if (!m->apply || m->state != MIGRATE_PENDING)
        return end(t, r);
    for (uint32_t i = 0; i < m->component->steps; i++) {
        if (!m->step[i].wanted)
            continue;
        r->step = &m->step[i];
        if (r->step->done) {
            err_fail(e, ATH_E_BUG, "its statements ran, and something is missing still");
            return fail(t, r, e);
        }
        r->tries = 0;
        return begin_step(t, r, e);
    }
    return end(t, r);
}

/* ---- looking ---- */

static void read_versions(struct run *r, const ath_rows *rows)
{
    struct migration *m = r->m;

    for (uint32_t i = 0; i < m->component->steps; i++)
        m->step[i].recorded = m->step[i].changed = false;
    for (uint32_t row = 0; rows && row < db_rows_count(rows); row++) {
        uint64_t version = 0;
        str_u64(db_rows_text(rows, row, 0), &version);
        for (uint32_t i = 0; i < m->component->steps; i++) {
            struct migrate_step *s = &m->step[i];
            if (s->step->version != version)
                continue;
            s->recorded = true;
            s->changed = !str_is(db_rows_text(rows, row, 1), s->checksum);
        }
    }
}

static int versions_read(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return d->rc;
    read_versions(r, d->rows);
    return r->looked(t, r, e);
}

static int read_recorded(ath_task *t, struct run *r, ath_err *e)
{
    ath_str *param = ARENA_NEW(&t->arena, ath_str);
    ath_stmt stmt = { .sql = "SELECT version, checksum FROM public.athena_schema_version"
                             " WHERE component = $1",
                      .param = param,
                      .param_count = 1 };
    ath_query q = { .size = sizeof(q),
                    .session = r->session,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    *param = str_of(r->m->component->name);
    return db_query(t, &q, versions_read, r, e);
}

static int relations_read(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return d->rc;
    r->have = have_parse(r->arena, d->rows);
    if (r->have->versioned)
        return read_recorded(t, r, e);
    read_versions(r, NULL);
    if (r->looked == begin_adding)
        return make_version(t, r, e);
    return r->looked(t, r, e);
}

static int look(ath_task *t, struct run *r, run_next *then, ath_err *e)
{
    r->looked = then;
    return have_ask(t, r->session, &r->all, relations_read, r, e);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *r = d->arg;

    if (d->rc < 0)
        return d->rc;
    r->session = d->session;
    return look(t, r, decide, e);
}

/* ---- the beginning ---- */

/* "table(column, column) table": as wishes, of which nothing can be made. */
static void read_expected(ath_arena *a, const char *expect, struct wants *ret)
{
    struct buf b = ARENA_BUF(a);
    ath_str rest = str_of(expect);

    for (rest = str_trim(rest); rest.n; rest = str_trim(rest)) {
        size_t name = strcspn(rest.p, " ("), end = name;
        if (rest.p[name] == '(')
            end = str_find(rest, ')') + 1;
        buf_printf(&b, "CREATE VIEW %.*s %.*s;", (int)name, rest.p,
                   end > name ? (int)(end - name) : 0, rest.p + name);
        rest = str_after(rest, end);
    }
    if (b.n)
        (void)wants_read(a, b.p, ret, NULL);
}

static int read_step(struct run *r, struct migrate_step *s, ath_err *e)
{
    struct buf b = ARENA_BUF(r->arena);
    int rc;

    for (size_t i = 0; i < STEP_TEXTS && s->step->text[i]; i++) {
        if ((rc = wants_read(r->arena, s->step->text[i], &s->wants, e)) < 0 ||
            (rc = wants_read(r->arena, s->step->text[i], &r->all, e)) < 0)
            return rc;
        buf_z(&b, s->step->text[i]);
    }
    crypto_sha256_hex(buf_view(&b), s->checksum);
    return 0;
}

static int read_steps(struct run *r, ath_err *e)
{
    const struct component *c = r->m->component;
    int rc;

    r->m->step = arena_alloc(r->arena, c->steps * sizeof(*r->m->step) + 1);
    for (uint32_t i = 0; i < c->steps; i++) {
        r->m->step[i].step = &c->step[i];
        if ((rc = read_step(r, &r->m->step[i], e)) < 0)
            return rc;
        r->m->wanted = c->step[i].version;
    }
    if (c->expect)
        read_expected(r->arena, c->expect, &r->all);
    return 0;
}

const ath_stmt migrate_session[MIGRATE_SESSION] = {
    { .sql = "SET statement_timeout = 0" },
    { .sql =
          "SELECT set_config('search_path', concat_ws(', ', (SELECT string_agg(quote_ident(s), ', '"
          " ORDER BY n) FROM unnest(current_schemas(false)) WITH ORDINALITY AS x(s, n)"
          " WHERE s NOT IN ('athena', 'public')), 'public'), false)" },
};

static int open_session(ath_task *t, struct run *r, ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_OWN,
                    .client = str_of(r->m->component->client),
                    .stmt = migrate_session,
                    .stmt_size = sizeof(*migrate_session),
                    .stmt_count = MIGRATE_SESSION };

    return db_open(t, &q, opened, r, e);
}

int migrate_run(ath_task *t, void *arg, ath_err *e)
{
    struct run *r = ARENA_NEW(&t->arena, struct run);

    r->m = arg;
    r->arena = r->m->arena;
    r->m->state = MIGRATE_UNKNOWN;
    r->m->ran = 0;
    err_reset(&r->m->err);
    return read_steps(r, e) < 0 ? e->rc : open_session(t, r, e);
}

const char *migrate_word(enum migrate_state state)
{
    static const char *const word[] = {
        [MIGRATE_UNKNOWN] = "unknown", [MIGRATE_CURRENT] = "current",
        [MIGRATE_PENDING] = "pending", [MIGRATE_FORM] = "incompatible",
        [MIGRATE_DENIED] = "denied",   [MIGRATE_FAILED] = "failed",
    };

    return word[state];
}
