/* athena pools, athena audit: what a running server has. */
#include "admin_ops.h"

static int pools_run(ath_task *t, const void *options, ath_err *e)
{
    (void)options;
    return admin_remote(t, "GET", ATH_S("/admin/pools"), (ath_str){ 0 }, e);
}

const ath_command pools_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "pools"),
    .summary = "The pools of a running server",
    .columns = "client_name,source,active,frozen,connected,sqlx_size,sqlx_idle,sqlx_active,"
               "sqlx_max_connections,requests_served_total,uptime_seconds",
    .rows = "data.pools",
    .run = pools_run,
};

struct audit_options {
    ath_str route, client, actor, from, to, before;
    int64_t limit;
};

#define FILTER(member, help) ATH_STR(struct audit_options, member, #member, "", NULL, help)

static const ath_field audit_fields[] = {
    FILTER(route, "Only calls of this route, as it is registered, or of this path."),
    FILTER(client, "Only those that named this client."),
    FILTER(actor, "Only those by this key or user; admin_key: by the administrator."),
    FILTER(from, "Not before this time: 2026-01-31T12:00:00Z."),
    FILTER(to, "Before this time."),
    FILTER(before, "Only entries that are older than the one with this id."),
    ATH_INT(struct audit_options, limit, "limit", "100", "1..500", "So many at most."),
};

static void put_filter(struct buf *b, const char *name, ath_str value)
{
    if (value.n == 0)
        return;
    buf_printf(b, "&%s=", name);
    admin_segment(b, value);
}

static int audit_run(ath_task *t, const void *options, ath_err *e)
{
    const struct audit_options *o = options;
    struct buf path = BUF_ARENA(ath_arena_of(t));

    buf_printf(&path, "/admin/audit?limit=%lld", (long long)o->limit);
    put_filter(&path, "route", o->route);
    put_filter(&path, "client", o->client);
    put_filter(&path, "actor", o->actor);
    put_filter(&path, "from", o->from);
    put_filter(&path, "to", o->to);
    put_filter(&path, "before", o->before);
    return admin_remote(t, "GET", buf_view(&path), (ath_str){ 0 }, e);
}

const ath_command audit_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "audit"),
    .summary = "Who changed what by the routes of administrators",
    .columns = "time,actor_kind,actor,remote_addr,method,path,client_name,status_code,changed",
    .rows = "data.entries",
    .run = audit_run,
    ATH_ARRAY(field, audit_fields),
    .options_size = sizeof(struct audit_options),
};
