/* What the collector found out about dead rows and the age of transaction ids. */
#include "admin_ops.h"

static const struct admin_member snapshot[] = {
    { "id", ADMIN_INT },
    { "recorded_at", ADMIN_TIME },
    { "client_name", ADMIN_TEXT },
    { "host", ADMIN_TEXT },
    { "instance_id", ADMIN_TEXT },
    { "total_dead_rows", ADMIN_INT },
    { "tables_with_bloat", ADMIN_INT },
    { "xid_freeze_risk", ADMIN_INT },
    { "tables_needing_vacuum", ADMIN_INT },
    { "freeze_max_age", ADMIN_INT },
    { "collection_error", ADMIN_TEXT },
};

#define SNAPSHOT_COLUMNS                                                                           \
    "id, " ADMIN_UTC(recorded_at) ", client_name, host, instance_id, total_dead_rows, "            \
                                  "tables_with_bloat, xid_freeze_risk, tables_needing_vacuum, "    \
                                  "freeze_max_age, collection_error"

static const struct admin_member table[] = {
    { "id", ADMIN_INT },
    { "snapshot_id", ADMIN_INT },
    { "schemaname", ADMIN_TEXT },
    { "relname", ADMIN_TEXT },
    { "n_dead_tup", ADMIN_INT },
    { "n_live_tup", ADMIN_INT },
    { "dead_pct", ADMIN_REAL },
    { "last_vacuum", ADMIN_TIME },
    { "last_autovacuum", ADMIN_TIME },
    { "xid_age", ADMIN_INT },
    { "xid_age_pct_of_freeze_max", ADMIN_REAL },
};

#define TABLE_COLUMNS                                                                              \
    "id, snapshot_id, schemaname, relname, n_dead_tup, n_live_tup, dead_pct, " ADMIN_UTC(          \
        last_vacuum) ", " ADMIN_UTC(last_autovacuum) ", xid_age, xid_age_pct_of_freeze_max"

/* ---- GET /admin/vacuum-health ---- */

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Loaded vacuum health snapshots");

    (void)e;
    buf_json_key(&b, "snapshots");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(snapshot));
    return admin_reply(t, 200, &b);
}

int vacuum_list(ath_req *r, ath_err *e)
{
    return admin_read(r, ADMIN_CATALOG, "Failed to load vacuum health snapshots",
                      "select distinct on (client_name collate \"C\") " SNAPSHOT_COLUMNS
                      " from vacuum_health_snapshots s"
                      " order by client_name collate \"C\", s.recorded_at desc, id desc",
                      NULL, 0, listed, NULL, e);
}

/* ---- GET /admin/vacuum-health/{client_name} ---- */

static const char newest_sql[] =
    "select " SNAPSHOT_COLUMNS " from vacuum_health_snapshots s where client_name = $1::text"
    " order by s.recorded_at desc, id desc limit 1";

/* The same snapshot: both statements are one transaction, and snapshots only appear. */
static const char tables_sql[] =
    "select " TABLE_COLUMNS " from vacuum_health_table_stats t where snapshot_id ="
    " (select s.id from vacuum_health_snapshots s where s.client_name = $1::text"
    " order by s.recorded_at desc, s.id desc limit 1)"
    " order by t.dead_pct desc nulls last, schemaname collate \"C\", relname collate \"C\"";

static int found(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_str *client = d->arg;
    struct buf b;

    if (ath_host_->pg->count(d->rows) == 0)
        return admin_fail(e, "not_found", "Vacuum health not found",
                          "No vacuum health snapshots exist for '%.*s'.", STR_ARG(*client));
    b = admin_answer(t, "Loaded vacuum health detail");
    buf_json_key(&b, "snapshot");
    admin_object(&b, d->rows, 0, ADMIN_MEMBERS(snapshot));
    buf_json_key(&b, "tables");
    admin_objects(&b, ath_host_->pg->next(d->rows), ADMIN_MEMBERS(table));
    return admin_reply(t, 200, &b);
}

int vacuum_detail(ath_req *r, ath_err *e)
{
    struct admin_ask *a = ath_new(ath_arena_of(r), sizeof(*a));
    ath_str *client = ath_new(ath_arena_of(r), sizeof(*client));
    int rc = admin_client(r, client, e);

    if (rc < 0)
        return rc;
    a->failed = "Failed to load vacuum health detail";
    a->store = ADMIN_CATALOG;
    a->flags = ATH_PG_READ_ONLY | ATH_PG_REPEATABLE;
    a->stmt[a->count++] = (ath_stmt){ .sql = newest_sql, .param = client, .param_count = 1 };
    a->stmt[a->count++] = (ath_stmt){ .sql = tables_sql, .param = client, .param_count = 1 };
    return admin_ask(r, a, found, client, e);
}
