/* job_type prove: the stored object is read to its last byte, everything in it decoded, its rows
 * counted and compared with what its manifest says; then a record says so. */
#include "restore.h"

static int record_ask_decoded(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    struct buf b = BUF_ARENA(ath_arena_of(t));
    struct record r = { .kind = "decoded",
                        .backup_id = record_backup_id(x->payload->key),
                        .key = x->payload->key,
                        .job_id = x->spare.job,
                        .flags = ATH_PG_FENCED };

    manifest_facts(&b, &x->fetch.unpack.manifest);
    r.facts = buf_view(&b);
    return record_append(t, backup_services.secrets, &r, flow_then, f, e);
}

static int prepare(ath_task *t, struct flow *f, ath_err *e)
{
    struct fetch *x = &RESTORING(f)->fetch;

    (void)t, (void)e;
    x->rows = true;
    x->stage = "proving";
    x->from = 0;
    x->to = 98;
    return FLOW_NEXT;
}

static const struct flow_step steps[] = {
    { prepare, NULL },
    { fetch_ask, NULL },
    { record_ask_decoded, NULL },
    { NULL, NULL },
};

int backup_prove(ath_job *j, const struct backup_payload *p, ath_err *e)
{
    return restoring_run(j, p, steps, e);
}
