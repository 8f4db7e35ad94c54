/* ath_pg_api: database calls, for requests only after the handler asked for rights. */
#include "db/query.h"

#include "http/req.h"
#include "plugin/abi.h"
#include "plugin/host.h"

/* A route that said it asks must have asked: what it forgot must not become a leak. */
static int asked(ath_task *t, ath_err *e)
{
    const struct req *r;

    if (!req_is(t))
        return 0;
    r = req_of(t);
    if (r->asked || !r->match.route || !(r->match.route->def.flags & ATH_RT_ASKS))
        return 0;
    return err_fail(e, ATH_E_BUG,
                    "plugin \"%s\" queries a database before it asked for rights in %s",
                    r->match.route->plugin, r->match.route->label);
}

typedef int start_fn(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e);

static int start_old(start_fn *start, ath_task *t, const ath_query *q, ath_then *then, void *arg,
                     ath_err *e)
{
    ath_query ours;

    abi_copy(&ours, sizeof(ours), q, q->size);
    ours.stmt = ABI_ARRAY(&t->arena, ath_stmt, ours.stmt, ours.stmt_size, ours.stmt_count);
    ours.stmt_size = sizeof(ath_stmt);
    ours.size = sizeof(ours);
    return start(t, &ours, then, arg, e);
}

static int query(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e)
{
    int rc = asked(t, e);

    if (rc < 0)
        return rc;
    if (q->size != sizeof(*q) || q->stmt_size != sizeof(ath_stmt))
        return start_old(db_query, t, q, then, arg, e);
    return db_query(t, q, then, arg, e);
}

static int open_session(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e)
{
    int rc = asked(t, e);

    if (rc < 0)
        return rc;
    if (q->size != sizeof(*q) || (q->stmt_count && q->stmt_size != sizeof(ath_stmt)))
        return start_old(db_open, t, q, then, arg, e);
    return db_open(t, q, then, arg, e);
}

static int listen_on(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e)
{
    int rc = asked(t, e);

    if (rc < 0)
        return rc;
    if (q->size != sizeof(*q) || q->stmt_size != sizeof(ath_stmt))
        return start_old(db_listen, t, q, then, arg, e);
    return db_listen(t, q, then, arg, e);
}

const ath_pg_api host_pg = {
    .size = sizeof(host_pg),
    .query = query,
    .open = open_session,
    .more = db_more,
    .close = db_close,
    .listen = listen_on,
    .next = db_rows_next,
    .keep = db_rows_keep,
    .count = db_rows_count,
    .columns = db_rows_columns,
    .text = db_rows_text,
    .affected = db_rows_affected,
    .took_us = db_rows_took_us,
};
