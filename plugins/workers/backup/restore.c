/* job_type restore.
 *
 *     recall, target, look     what an earlier attempt left; where it goes; the server
 *     guard                    is it a database of this installation? (D-43)
 *     fetch, list              the whole object, checked; what pg_restore reads in it. Nothing was
 * touched spare, load              a new database, filled replace.c                counted,
 * dressed, swapped in; the old one is kept
 *
 * in place: behind `list` pg_restore goes over the live database, as the published server has it. A
 * note that it began is what keeps a second attempt from doing it once more (D-38).
 *
 * undo: the database that another job has set aside changes places with the live one.
 */
#include "restore.h"

/* ---- in place ---- */

static const char *marked(struct restoring *x)
{
    struct buf b = BUF_ARENA(ath_arena_of(x->job));

    buf_printf(&b, "in place: %.*s", STR_ARG(x->spare.job));
    return b.p;
}

static int in_place_note(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    x->spare.name = str_of(marked(x));
    return spare_note(t, &x->spare, "in_place", flow_then, f, e);
}

static int in_place_load(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    x->load.clean = true;
    x->touched = !x->payload->single_transaction;
    (void)journal_stage(&x->journal, "pg_restore", x->load.from, 0);
    return load_run(t, &x->load, flow_then, f, e);
}

static int in_place_forget(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    ath_stmt stmt = { .sql = "delete from athena_backup_scratch where name = $1",
                      .param = &x->spare.name,
                      .param_count = 1 };

    return restoring_control(t, &stmt, 1, f, e);
}

static const struct flow_step in_place_steps[] = {
    { in_place_note, NULL }, { in_place_load, NULL }, { in_place_forget, NULL }, STEP_TELL,
    { NULL, NULL },
};

/* ---- guard ---- */

static int guard_part(ath_task *t, struct flow *f, const char *part, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    return x->payload->allow_control_plane ? FLOW_NEXT : site_guard(t, part, flow_then, f, e);
}

static int guard_control(ath_task *t, struct flow *f, ath_err *e)
{
    return guard_part(t, f, "@control", e);
}

static int guard_control_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t;
    return site_guarded(&RESTORING(f)->site, "@control", d, e);
}

static int guard_auth(ath_task *t, struct flow *f, ath_err *e)
{
    return guard_part(t, f, "@auth", e);
}

static int guard_auth_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t;
    return site_guarded(&RESTORING(f)->site, "@auth", d, e);
}

/* ---- which way ---- */

/* What earlier attempts have done decides before anything is asked of the server. */
static int decide(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    (void)t;
    if (ath_host_->pg->count(x->kept) && !str_is(ath_cell(x->kept, 0, 0), "swapping")) {
        x->swapped = true;
        f->jump = settle_steps;
        return FLOW_NEXT;
    }
    for (uint32_t i = 0; i < ath_host_->pg->count(x->left); i++)
        if (str_is(ath_cell(x->left, i, 2), "in_place") && !x->payload->single_transaction) {
            x->touched = true;
            return ath_fail(e, ATH_E_CONFLICT,
                            "an earlier attempt was cut short while pg_restore ran in place: the "
                            "database may be half restored, so this is not repeated by itself");
        }
    return FLOW_NEXT;
}

static int branch(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    (void)t;
    if (x->swapped) {
        f->jump = settle_steps;
        return FLOW_NEXT;
    }
    /* What goes over the live database is decoded as a whole, even when its digests are right. */
    x->fetch.by_digest = !x->payload->in_place;
    if (x->payload->in_place)
        return x->site.oid.n ? FLOW_NEXT
                             : ath_fail(e, ATH_E_MISSING, "database \"%.*s\" does not exist",
                                        STR_ARG(x->site.database));
    if (x->payload->undo_of)
        f->jump = undo_steps;
    return site_may_swap(&x->site, e) < 0 ? ATH_E_DENIED : FLOW_NEXT;
}

static int which(ath_task *t, struct flow *f, ath_err *e)
{
    (void)t, (void)e;
    f->jump = RESTORING(f)->payload->in_place ? in_place_steps : replace_steps;
    return FLOW_NEXT;
}

static const struct flow_step steps[] = {
    STEP_RECALL,
    { decide, NULL },
    STEP_TARGET,
    STEP_LOOK,
    { guard_control, guard_control_took },
    { guard_auth, guard_auth_took },
    STEP_WHERE,
    STEP_DROP_LEFT,
    { branch, NULL },
    STEP_FETCH,
    STEP_LIST,
    STEP_JOURNAL,
    { which, NULL },
    { NULL, NULL },
};

int backup_restore(ath_job *j, const struct backup_payload *p, ath_err *e)
{
    return restoring_run(j, p, steps, e);
}
