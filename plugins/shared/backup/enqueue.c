/* The row of a job that waits. Its columns say what the published system's say, and the sealed URI
 * lies beside them (0009_backup.sql). */
#include "backup/enqueue.h"

#include "backup/queue.h"

enum {
    P_TYPE,
    P_CLIENT,
    P_PAYLOAD,
    P_CHECKPOINT,
    P_ATTEMPTS,
    P_LABEL,
    P_TIMEOUT,
    P_URI,
    P_SEALED,
    P_SCHEDULE,
    P_PIN,
    P_SCHEDULED,
    P_UNIQUE,
    PARAMS
};
_Static_assert((int)PARAMS == (int)BACKUP_ORDER_PARAMS, "the header says how many");

const char backup_order_sql[] =
    "insert into " BACKUP_TABLE " (job_type, client_name, status, queue_payload, queue_checkpoint,"
    " max_attempts, progress_stage, label, timeout_seconds, pg_uri, secrets, schedule_id,"
    " execution_daemon_id, unique_key) values ($1, $2, 'pending', $3::jsonb, $4::jsonb || "
    "jsonb_build_object("
    "'updated_at', now()) || case when $12::bool then '{\"scheduled\":true}' else '{}' end::jsonb,"
    " $5::int4, 'queued', $6, $7::int4, $8, $9, $10::int8, $11, $13) on conflict"
    " (unique_key) where status in ('pending', 'running') do update set unique_key ="
    " excluded.unique_key returning id, xmax = 0";

static ath_str or_null(ath_str s)
{
    return s.n ? s : (ath_str){ NULL, 0 };
}

static ath_str number(ath_arena *a, int64_t v)
{
    struct buf b = BUF_ARENA(a);

    buf_i64(&b, v);
    return buf_view(&b);
}

static ath_str payload_of(ath_arena *a, const struct backup_payload *p, ath_str shown)
{
    struct backup_payload mine = *p;
    struct buf b = BUF_ARENA(a);

    mine.pg_uri = shown;
    payload_write(&b, &mine);
    return buf_view(&b);
}

void backup_order_params(ath_arena *a, const ath_secrets *secrets, const struct backup_order *o,
                         ath_str param[BACKUP_ORDER_PARAMS])
{
    const struct backup_payload *p = &o->what;
    bool whole = p->pg_uri.n && !o->sealed.n;
    ath_str shown = whole ? secrets->mask(a, p->pg_uri) : p->pg_uri;

    param[P_TYPE] = str_of(payload_kind_name(p->kind));
    param[P_CLIENT] = p->client_name;
    param[P_PAYLOAD] = payload_of(a, p, shown);
    param[P_CHECKPOINT] =
        ATH_S("{\"status\":\"pending\",\"stage\":\"queued\",\"progress_pct\":null}");
    param[P_ATTEMPTS] = number(a, o->max_attempts);
    param[P_LABEL] = or_null(p->label);
    param[P_TIMEOUT] = number(a, p->timeout_seconds);
    param[P_URI] = or_null(shown);
    param[P_SEALED] = whole ? secrets->seal(a, p->pg_uri) : or_null(o->sealed);
    param[P_SCHEDULE] = o->schedule ? number(a, o->schedule) : (ath_str){ NULL, 0 };
    param[P_PIN] = or_null(p->execution_daemon_id);
    param[P_UNIQUE] = or_null(o->unique);
    param[P_SCHEDULED] = o->schedule ? ATH_S("true") : ATH_S("false");
}

struct enqueue {
    ath_str param[BACKUP_ORDER_PARAMS];
    ath_then *then;
    void *arg;
};

static int stored(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct enqueue *x = d->arg;
    ath_done mine = *d;

    mine.arg = x->arg;
    if (d->rc == 0 && ATH_HAS(ath_host_, job))
        ath_host_->job->wake(BACKUP_QUEUE);
    return x->then(t, &mine, e);
}

int backup_enqueue(ath_task *t, const ath_secrets *secrets, const struct backup_order *o,
                   ath_then *then, void *arg, ath_err *e)
{
    struct enqueue *x = ath_new(ath_arena_of(t), sizeof(*x));
    ath_stmt stmt = { .sql = backup_order_sql,
                      .param = x->param,
                      .param_count = BACKUP_ORDER_PARAMS };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    x->then = then;
    x->arg = arg;
    backup_order_params(ath_arena_of(t), secrets, o, x->param);
    return ath_host_->pg->query(t, &q, stored, x, e);
}
