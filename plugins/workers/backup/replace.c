/* A database in the place of another: the filled one is counted, dressed like the live one, and
 * swapped in; or, of an undo, the one that was set aside. Afterwards the old one is kept for a
 * while, and who has kept answers of it is told.
 */
#include "restore.h"

#include "lib/json.h"

/* ---- afterwards ---- */

static const char settle_sql[] =
    "update athena_backup_kept set state = 'kept', keep_until = now() + $2::int8 * interval '1 ms'"
    " where job_id = $1::int8 and state = 'swapping'";
static const char returned_sql[] =
    "update athena_backup_kept set state = 'returned', ended_at = now()"
    " where job_id = $1::int8 and state = 'kept'";
static const char forget_sql[] = "delete from athena_backup_scratch where job_id = $1::int8";

static uint64_t keep_ms(const struct restoring *x)
{
    const struct backup_config *cfg = ath_config_of(x->job);

    return x->payload->keep_given ? x->payload->keep_hours * 3600000ull : cfg->keep_replaced_ms;
}

static int settle(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    ath_arena *a = ath_arena_of(x->job);
    struct buf ms = BUF_ARENA(a), of = BUF_ARENA(a);
    ath_str *p = ath_new(a, 3 * sizeof(*p));
    ath_stmt stmt[] = { { .sql = settle_sql, .param = p, .param_count = 2 },
                        { .sql = forget_sql, .param = p, .param_count = 1 },
                        { .sql = returned_sql, .param = p + 2, .param_count = 1 } };

    buf_u64(&ms, keep_ms(x));
    buf_i64(&of, x->payload->undo_of);
    p[0] = x->spare.job;
    p[1] = buf_view(&ms);
    p[2] = buf_view(&of);
    return restoring_control(t, stmt, x->payload->undo_of ? 3 : 2, f, e);
}

int tell_ask(ath_task *t, struct flow *f, ath_err *e)
{
    return caches_tell(t, flow_then, f, e);
}

int tell_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t, (void)f, (void)d, (void)e;
    return 0;
}

int record_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    struct buf b = BUF_ARENA(ath_arena_of(x->job));
    uint64_t now = ath_host_->loop->now_ms(ath_host_->task->loop(t));
    struct record r = { .kind = "restored",
                        .backup_id = record_backup_id(x->payload->key),
                        .key = x->payload->key,
                        .job_id = x->spare.job };

    if (x->payload->undo_of || !x->load.began)
        return FLOW_NEXT;
    buf_char(&b, '{');
    buf_json_str(&b, "client", x->payload->client_name);
    buf_json_str(&b, "mode", x->payload->in_place ? ATH_S("in_place") : ATH_S("swap"));
    buf_json_str(&b, "database", x->site.database);
    buf_json_int(&b, "tables", x->load.listing.tables);
    buf_json_int(&b, "milliseconds", (int64_t)(now - x->begun_ms));
    buf_char(&b, '}');
    r.facts = buf_view(&b);
    return record_append(t, backup_services.secrets, &r, flow_then, f, e);
}

/* What was done is done: a record that cannot be written is said, and no more. */
int record_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t;
    if (d->rc < 0)
        journal_say(&RESTORING(f)->journal, "warn", "the record of it could not be written: %.*s",
                    STR_ARG(ath_host_->err->get(e, "message")));
    return 0;
}

const struct flow_step settle_steps[] = { { settle, NULL }, STEP_TELL, { NULL, NULL } };

/* ---- the swap ---- */

static int count_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    (void)journal_stage(&x->journal, "checking", 88, 0);
    return count_check(t, &x->site, x->spare.name, &x->load.listing,
                       x->fetch.has_told ? &x->fetch.told : NULL, flow_then, f, e);
}

/* The server is looked at again: the live database may have come, gone or changed in the meantime.
 */
static int look_again(ath_task *t, struct flow *f, ath_err *e)
{
    return site_look(t, &RESTORING(f)->site, flow_then, f, e);
}

static int looked_again(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    int rc = site_looked(&x->site, d, e);

    (void)t;
    return rc ? rc : site_may_swap(&x->site, e);
}

static int dress_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    return x->site.oid.n ? spare_ask_dress(t, &x->spare, flow_then, f, e) : FLOW_NEXT;
}

static int dress_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    if (d->rc == 0)
        RESTORING(f)->dress = ath_host_->pg->keep(RESTORING(f)->job, d->rows);
    return d->rc;
}

static int dress_give(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    return x->dress ? spare_dress(t, &x->spare, x->dress, flow_then, f, e) : FLOW_NEXT;
}

static const char kept_sql[] =
    "insert into athena_backup_kept (job_id, state, server, database, name, oid, live_oid,"
    " client_name, target_sealed, size_bytes)"
    " values ($1, 'swapping', $2, $3, $4, $5, $6, $7, $8, $9) on conflict (job_id) do update set"
    " name = excluded.name, oid = excluded.oid, live_oid = excluded.live_oid, made_at = now()";

static int kept_note(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    ath_str *p = ath_new(ath_arena_of(t), 9 * sizeof(*p));
    ath_stmt stmt = { .sql = kept_sql, .param = p, .param_count = 9 };
    uint64_t random;

    backup_services.secrets->random(&random, sizeof(random));
    x->swap.live = x->site.database;
    x->swap.live_oid = x->site.oid;
    x->swap.spare = x->spare.name;
    x->swap.spare_oid = x->spare.oid;
    x->swap.aside =
        spare_name(ath_arena_of(x->job), x->site.database, "kept", x->spare.job, random);
    if (!x->site.oid.n)
        return FLOW_NEXT;
    p[0] = x->spare.job;
    p[1] = x->site.server;
    p[2] = x->site.database;
    p[3] = x->swap.aside;
    p[4] = x->site.oid;
    p[5] = x->spare.oid;
    p[6] = x->spare.client;
    p[7] = x->spare.sealed;
    p[8] = x->site.size;
    return restoring_control(t, &stmt, 1, f, e);
}

static int swap_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    (void)journal_stage(&x->journal, "swapping", 95, 0);
    return swap_run(t, &x->swap, flow_then, f, e);
}

/* A failure whose end nobody heard is asked for: who has the name now? */
static int swap_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    struct buf b = BUF_ARENA(ath_arena_of(x->job));

    (void)t;
    x->rc = d->rc;
    if (d->rc < 0)
        buf_str(&b, ath_host_->err->get(e, "message"));
    x->why = buf_view(&b);
    return d->rc == ATH_E_LEASE ? d->rc : 0;
}

static int name_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    ath_str *p = ath_new(ath_arena_of(t), 2 * sizeof(*p));
    ath_stmt stmt = { .sql = "select oid from pg_database where datname = $1 and oid = $2::oid",
                      .param = p,
                      .param_count = 2 };

    p[0] = x->swap.live;
    p[1] = x->swap.spare_oid;
    return site_ask(t, &x->site, ATH_S(""), &stmt, 1, 0, flow_then, f, e);
}

static int name_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    int rc = x->rc;

    (void)t;
    if (d->rc < 0) {
        x->touched = true; /* nobody knows: the next attempt asks again */
        return ath_fail(e, ATH_E_RETRY, "it is not known whether the databases were swapped");
    }
    x->swapped = ath_host_->pg->count(d->rows) > 0;
    x->rc = 0;
    if (x->swapped)
        return 0;
    return ath_fail(e, rc ? rc : ATH_E_UPSTREAM, "%.*s", STR_ARG(x->why));
}

static int then_settle(ath_task *t, struct flow *f, ath_err *e)
{
    (void)t, (void)e;
    f->jump = settle_steps;
    return FLOW_NEXT;
}

const struct flow_step replace_steps[] = {
    STEP_SPARE,
    STEP_LOAD,
    { count_ask, NULL },
    { look_again, looked_again },
    { dress_ask, dress_took },
    { dress_give, NULL },
    STEP_JOURNAL,
    { kept_note, NULL },
    { swap_ask, swap_took },
    { name_ask, name_took },
    { then_settle, NULL },
    { NULL, NULL },
};

/* ---- undo ---- */

static int undo_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_str *p = ath_new(ath_arena_of(t), sizeof(*p));
    ath_stmt stmt = { .sql = "select state, server, database, name, oid, live_oid"
                             " from athena_backup_kept where job_id = $1::int8",
                      .param = p,
                      .param_count = 1 };

    buf_i64(&b, RESTORING(f)->payload->undo_of);
    *p = buf_view(&b);
    return restoring_control(t, &stmt, 1, f, e);
}

static int undo_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    long long of = (long long)x->payload->undo_of;
    const ath_rows *r;

    (void)t;
    if (d->rc < 0)
        return d->rc;
    r = x->undone = ath_host_->pg->keep(x->job, d->rows);
    if (!ath_host_->pg->count(r))
        return ath_fail(e, ATH_E_MISSING, "restore %lld has set no database aside", of);
    if (!str_is(ath_cell(r, 0, 0), "kept"))
        return ath_fail(e, ATH_E_CONFLICT, "the database that restore %lld has replaced is %.*s",
                        of, STR_ARG(ath_cell(r, 0, 0)));
    if (!str_eq(ath_cell(r, 0, 1), x->site.server) || !str_eq(ath_cell(r, 0, 2), x->site.database))
        return ath_fail(e, ATH_E_INPUT, "restore %lld was of another database", of);
    if (!str_eq(ath_cell(r, 0, 5), x->site.oid))
        return ath_fail(
            e, ATH_E_CONFLICT,
            "database \"%.*s\" was replaced again since restore %lld: take back the later "
            "restore first",
            STR_ARG(x->site.database), of);
    x->spare.name = ath_cell(r, 0, 3);
    x->spare.oid = ath_cell(r, 0, 4);
    x->swap.closed = true;
    return 0;
}

/* For the next attempt, which looks at the same rows as that of a restore. */
static int undo_note(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    ath_str *p = ath_new(ath_arena_of(t), 5 * sizeof(*p));
    ath_stmt stmt = { .sql =
                          "insert into athena_backup_scratch (name, job_id, purpose, server,"
                          " database, oid) values ('undo: ' || $1, $1::int8, 'undo', $2, $3, $4)",
                      .param = p,
                      .param_count = 4 };

    p[0] = x->spare.job;
    p[1] = x->site.server;
    p[2] = x->site.database;
    p[3] = x->spare.oid;
    return restoring_control(t, &stmt, 1, f, e);
}

const struct flow_step undo_steps[] = {
    { undo_ask, undo_took }, { undo_note, NULL },   { kept_note, NULL }, { swap_ask, swap_took },
    { name_ask, name_took }, { then_settle, NULL }, { NULL, NULL },
};
