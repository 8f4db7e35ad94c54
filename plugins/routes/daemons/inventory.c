/* GET /admin/daemons: who has sent heartbeats, and what each is busy with.
 *
 * Two trips: which of the job tables are there, then one statement put together from fixed pieces,
 * so that a table that nobody has made counts as 0.
 */
#include "daemons.h"

static const struct admin_member daemon[] = {
    { "daemon_id", ADMIN_TEXT },
    { "runtime_kind", ADMIN_TEXT },
    { "host", ADMIN_TEXT },
    { "version", ADMIN_TEXT },
    { "workers", ADMIN_JSON },
    { "started_at", ADMIN_TIME },
    { "last_seen_at", ADMIN_TIME },
    { "status", ADMIN_TEXT },
    { "active_backup_jobs", ADMIN_INT },
    { "active_typesense_jobs", ADMIN_INT },
    { "active_clone_jobs", ADMIN_INT },
    { "pinned_backup_schedules", ADMIN_INT },
    { "pinned_typesense_jobs", ADMIN_INT },
    { "pinned_clone_jobs", ADMIN_INT },
};

/* Whether what the i-th piece reads is there. */
static const char there_sql[] =
    "select t, exists (select from pg_attribute where attrelid = to_regclass(t)"
    " and attname = c and not attisdropped)"
    " from unnest(array['backup_jobs', 'public.typesense_sync_runs', 'public.database_clone_jobs',"
    " 'backup_schedules', 'public.typesense_sync_jobs', 'public.database_clone_jobs'],"
    " array['execution_daemon_id', 'job_id', 'lease_expires_at', 'execution_daemon_id',"
    " 'execution_daemon_id', 'execution_daemon_id']) with ordinality u(t, c, n) order by n";

/* In the order of the members. A backup is its runner's, pinned or not; of a row of the published
 * server's only the pin is known, and its table may be without the column. */
static const char *const piece[] = {
    "select coalesce(to_jsonb(b)->>'worker_daemon_id', execution_daemon_id) as id, count(*) as n"
    " from backup_jobs b where status = 'running'"
    " and (lease_expires_at is null or lease_expires_at > now()) group by 1",

    "select j.execution_daemon_id as id, count(distinct j.id) as n from public.typesense_sync_jobs "
    "j"
    " join public.typesense_sync_runs r on r.job_id = j.id where r.status = 'running' group by 1",

    "select execution_daemon_id as id, count(*) as n from public.database_clone_jobs"
    " where status in ('preparing', 'running', 'verifying', 'cancel_requested')"
    " and (lease_expires_at is null or lease_expires_at > now()) group by 1",

    "select execution_daemon_id as id, count(*) as n from backup_schedules where enabled group by "
    "1",

    "select execution_daemon_id as id, count(*) as n from public.typesense_sync_jobs group by 1",

    "select execution_daemon_id as id, count(*) as n from public.database_clone_jobs where status"
    " not in ('completed', 'failed_retryable', 'failed_terminal', 'cancelled') group by 1",
};

static const char failed[] = "Failed to load daemon inventory";

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Listed daemon inventory");

    (void)e;
    buf_json_key(&b, "daemons");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(daemon));
    return admin_reply(t, 200, &b);
}

static bool is_there(const ath_rows *rows, uint32_t i)
{
    return str_is(ath_cell(rows, i, 1), "t");
}

static int known(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf sql = BUF_ARENA(ath_arena_of(t));

    buf_lit(&sql, "select d.daemon_id, d.runtime_kind, d.host, d.version, "
                  "d.workers_json, " ADMIN_UTC(d.started_at) ", " ADMIN_UTC(
                      d.last_seen_at) ", case when d.last_seen_at >"
                                      " now() - interval '60 s' then 'online' else 'offline' end");
    for (uint32_t i = 0; i < ATH_COUNT(piece); i++)
        buf_printf(&sql, ", coalesce(p%u.n, 0)", i);
    buf_lit(&sql, " from public.daemon_runtime_registry d");
    for (uint32_t i = 0; i < ATH_COUNT(piece); i++)
        buf_printf(&sql, " left join (%s) p%u on p%u.id = d.daemon_id",
                   is_there(d->rows, i) ? piece[i] : "select null::text as id, 0 as n where false",
                   i, i);
    buf_lit(&sql, " order by d.last_seen_at desc, d.daemon_id");
    return admin_read(t, ADMIN_LOGGING, failed, buf_view(&sql).p, NULL, 0, listed, NULL, e);
}

int daemons_list(ath_req *r, ath_err *e)
{
    return admin_read(r, ADMIN_LOGGING, failed, there_sql, NULL, 0, known, NULL, e);
}
