/* Asking the control plane. Who misses it, or its tables, says so in the words of these routes. */
#include "backup.h"

struct asked {
    const char *failed;
    ath_stmt stmt[BACKUPS_STATEMENTS];
    ath_then *then;
    void *arg;
};

/* Tables that are not there, or not yet as this version has them. */
static bool is_unmade(ath_str state)
{
    return str_is(state, "42P01") || str_is(state, "42703") || str_is(state, "3F000");
}

int backups_refuse(ath_task *t, const char *failed, ath_err *e)
{
    ath_str state = ath_host_->err->get(e, "sqlstate");
    struct buf words = BUF_ARENA(ath_arena_of(t));

    if (!is_unmade(state))
        return admin_refuse(t, ADMIN_BACKUPS, failed, e);
    buf_str(&words, ath_host_->err->get(e, "message"));
    return admin_fail(e, "control_plane_unavailable", "Backup storage schema unavailable", "%.*s",
                      STR_ARG(buf_view(&words)));
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct asked *a = d->arg;
    ath_done kept = *d;

    if (d->rc < 0)
        return backups_refuse(t, a->failed, e);
    kept.arg = a->arg;
    kept.rows = d->rows ? ath_host_->pg->keep(t, d->rows) : NULL;
    return a->then(t, &kept, e);
}

int backups_ask(ath_task *t, const char *failed, const ath_stmt *stmt, uint32_t n, ath_then *then,
                void *arg, ath_err *e)
{
    struct asked *a = ath_new(ath_arena_of(t), sizeof(*a));
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = a->stmt,
                    .stmt_size = sizeof(a->stmt[0]),
                    .stmt_count = n };

    a->failed = failed;
    a->then = then;
    a->arg = arg;
    memcpy(a->stmt, stmt, n * sizeof(*stmt));
    return ath_host_->pg->query(t, &q, answered, a, e) < 0 ? backups_refuse(t, failed, e) : 0;
}

int backups_read(ath_task *t, const char *failed, const char *sql, const ath_str *param,
                 uint32_t params, ath_then *then, void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = sql, .param = param, .param_count = params, .flags = ATH_PG_READ };

    return backups_ask(t, failed, &stmt, 1, then, arg, e);
}
