/* Requests of callers who could not be checked, and whom nobody is left to check: the process that
 * took them has ended (routes-deferred, prove.c). It touches their rows each minute as long as it
 * lives. */
#include "deferred.h"

static const char expire_sql[] =
    "update " DEFERRED_TABLE " set status = 'dead_letter', completed_at = now(),"
    " updated_at = now(), error_message = 'authorization failed' where request_id in (select"
    " request_id from " DEFERRED_TABLE " where status = 'queued'"
    " and context->>'who' = 'unchecked'"
    " and updated_at < now() - $1::float8 * interval '1 ms' limit 1000)";

static int expired(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    ath_host_->task->done(t, NULL);
    return 0;
}

int deferred_expire(ath_job *j, ath_err *e)
{
    const struct deferred_config *cfg = ath_config_of(j);
    struct buf b = BUF_ARENA(ath_arena_of(j));
    ath_str *param = ath_new(ath_arena_of(j), sizeof(*param));
    ath_stmt stmt = { .sql = expire_sql, .param = param, .param_count = 1 };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    buf_u64(&b, cfg->unchecked_ms);
    *param = buf_view(&b);
    return ath_host_->pg->query(j, &q, expired, NULL, e);
}
