/* Which backups go is decided by keep.h alone, of all that the control plane knows of a client. One
 * goes in this order: the object, its manifest, a record of that, its key in the row of its job. So
 * what is killed in between is done again, and a row with a key has an object as long as nobody
 * else removed it.
 *
 * Before the first byte goes it is asked once more whether a job works with it.
 */
#include <time.h>

#include "backup/stored.h"
#include "lib/json.h"
#include "upkeep.h"

enum { AT_ONCE = 100, DRY_EVERY_MS = 3600000 };

struct retaining {
    struct flow flow;
    const struct backup_config *cfg;
    const ath_rows *rows;
    uint32_t *gone; /* rows that go */
    uint32_t n, at;
};

#define RETAINING(flow) ((struct retaining *)(flow))

static struct keep_rules rules_of(const struct backup_config *c)
{
    return (struct keep_rules){ .age_s = c->retain_age_ms / 1000,
                                .count = (uint32_t)c->retain_count,
                                .daily = (uint32_t)c->retain_daily,
                                .weekly = (uint32_t)c->retain_weekly,
                                .monthly = (uint32_t)c->retain_monthly };
}

static int stored_ask(ath_task *t, struct flow *f, ath_err *e)
{
    ath_stmt stmt = { .sql = stored_sql };

    return upkeep_ask(t, &stmt, 1, flow_then, f, e);
}

/* ---- deciding ---- */

static int stored_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct retaining *x = RETAINING(f);
    struct keep_rules rules = rules_of(x->cfg);
    struct stored *all;
    uint32_t n;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    x->rows = ath_host_->pg->keep(t, d->rows);
    n = ath_host_->pg->count(x->rows);
    all = stored_decide(ath_arena_of(t), x->rows, &rules, (int64_t)time(NULL));
    x->gone = ath_new(ath_arena_of(t), AT_ONCE * sizeof(*x->gone));
    for (uint32_t i = 0; i < n && x->n < AT_ONCE; i++)
        if (all[i].why == KEEP_NOT)
            x->gone[x->n++] = all[i].row;
    return 0;
}

/* ---- a dry run ---- */

static int dry(ath_task *t, struct flow *f, ath_err *e)
{
    static uint64_t said_ms; /* ticks run on one loop */
    struct retaining *x = RETAINING(f);
    uint64_t now = ath_host_->loop->now_ms(ath_host_->task->loop(t));

    (void)e;
    if (!x->cfg->retain_dry_run)
        return FLOW_NEXT;
    for (uint32_t i = 0; i < x->n && (!said_ms || now - said_ms >= DRY_EVERY_MS); i++)
        upkeep_say(t, ATH_INFO, "the rules for keeping backups would remove \"%.*s\"",
                   STR_ARG(ath_cell(x->rows, x->gone[i], STORED_KEY)));
    if (x->n && (!said_ms || now - said_ms >= DRY_EVERY_MS))
        said_ms = now;
    return FLOW_END;
}

/* ---- one ---- */

static ath_str cell(const struct retaining *x, uint32_t col)
{
    return ath_cell(x->rows, x->gone[x->at], col);
}

static const char still_sql[] = "select 1 from " BACKUP_TABLE " j where j.id = $1::int8"
                                " and j.s3_key = $2 and not " STORED_BUSY_SQL;

static int still_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct retaining *x = RETAINING(f);
    ath_str *p = ath_new(ath_arena_of(t), 2 * sizeof(*p));
    ath_stmt stmt = { .sql = still_sql, .param = p, .param_count = 2 };

    if (x->at == x->n)
        return FLOW_END;
    p[0] = cell(x, STORED_ID);
    p[1] = cell(x, STORED_KEY);
    return upkeep_ask(t, &stmt, 1, flow_then, f, e);
}

static const struct flow_step one_steps[6];

static int still_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct retaining *x = RETAINING(f);

    (void)t, (void)e;
    if (d->rc < 0)
        return d->rc;
    if (ath_host_->pg->count(d->rows))
        return 0;
    x->at++;
    return FLOW_AGAIN;
}

static int remove_one(ath_task *t, struct flow *f, const char *suffix, ath_err *e)
{
    struct retaining *x = RETAINING(f);
    struct buf key = BUF_ARENA(ath_arena_of(t));
    ath_s3_object o = { .size = sizeof(o), .bucket = cell(x, STORED_BUCKET) };

    buf_str(&key, cell(x, STORED_KEY));
    buf_z(&key, suffix);
    o.key = buf_view(&key);
    return backup_services.s3->remove(t, &o, flow_then, f, e);
}

static int object_gone(ath_task *t, struct flow *f, ath_err *e)
{
    return remove_one(t, f, "", e);
}

static int manifest_gone(ath_task *t, struct flow *f, ath_err *e)
{
    return remove_one(t, f, MANIFEST_SUFFIX, e);
}

static int record_gone(ath_task *t, struct flow *f, ath_err *e)
{
    struct retaining *x = RETAINING(f);
    struct buf b = BUF_ARENA(ath_arena_of(t));
    struct record r = { .kind = "deleted",
                        .backup_id = record_backup_id(cell(x, STORED_KEY)),
                        .key = cell(x, STORED_KEY),
                        .job_id = cell(x, STORED_ID) };

    buf_char(&b, '{');
    buf_json_str(&b, "client", cell(x, STORED_CLIENT));
    buf_json_str(&b, "by", ATH_S("retention"));
    buf_char(&b, '}');
    r.facts = buf_view(&b);
    return record_append(t, backup_services.secrets, &r, flow_then, f, e);
}

static int row_gone(ath_task *t, struct flow *f, ath_err *e)
{
    struct retaining *x = RETAINING(f);
    ath_str *p = ath_new(ath_arena_of(t), 2 * sizeof(*p));
    ath_stmt stmt = { .sql = "update " BACKUP_TABLE " set s3_key = null, updated_at = now()"
                             " where id = $1::int8 and s3_key = $2",
                      .param = p,
                      .param_count = 2 };

    p[0] = cell(x, STORED_ID);
    p[1] = cell(x, STORED_KEY);
    return upkeep_ask(t, &stmt, 1, flow_then, f, e);
}

static int row_went(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct retaining *x = RETAINING(f);

    (void)e;
    if (d->rc < 0)
        return d->rc;
    ath_host_->log->put(ath_self_, M_REMOVED, NULL, 1);
    upkeep_say(t, ATH_INFO, "backup \"%.*s\" was removed: no rule keeps it",
               STR_ARG(cell(x, STORED_KEY)));
    x->at++;
    f->jump = one_steps;
    return 0;
}

static const struct flow_step one_steps[] = {
    { still_ask, still_took }, { object_gone, NULL },  { manifest_gone, NULL },
    { record_gone, NULL },     { row_gone, row_went }, { NULL, NULL },
};

static int first(ath_task *t, struct flow *f, ath_err *e)
{
    (void)t, (void)e;
    f->jump = one_steps;
    return FLOW_NEXT;
}

static const struct flow_step steps[] = {
    { stored_ask, stored_took },
    { dry, NULL },
    { first, NULL },
    { NULL, NULL },
};

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct retaining *x = arg;

    return flow_run(t, &x->flow, e);
}

int retain_run(ath_task *t, const struct backup_config *cfg, ath_then *then, void *arg, ath_err *e)
{
    struct retaining *x = ath_new(ath_arena_of(t), sizeof(*x));
    ath_fork f = { .size = sizeof(f), .run = begin, .arg = x };

    if (!backup_services.s3)
        return FLOW_NEXT;
    *x = (struct retaining){ .flow = { steps, NULL }, .cfg = cfg };
    return ath_host_->task->fork(t, &f, then, arg, e);
}
