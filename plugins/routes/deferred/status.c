/* One deferred request: GET /gateway/deferred/{request_id}, POST .../requeue, POST .../cancel. */
#include "deferred.h"

static const struct admin_member member[] = {
    { "request_id", ADMIN_TEXT },      { "status", ADMIN_TEXT },
    { "method", ADMIN_TEXT },          { "route", ADMIN_TEXT },
    { "client", ADMIN_TEXT },          { "deferred_reason", ADMIN_TEXT },
    { "attempts", ADMIN_INT },         { "created_at", ADMIN_TIME },
    { "updated_at", ADMIN_TIME },      { "completed_at", ADMIN_TIME },
    { "next_attempt_at", ADMIN_TIME }, { "error_message", ADMIN_TEXT },
    { "result_summary", ADMIN_JSON },
};

static const char one_sql[] =
    "select " DEFERRED_ACCESS
    ", result_summary->>'delivery', request_id, status, method, route, client_name,"
    " deferred_reason, attempts, " ADMIN_UTC(created_at) ", " ADMIN_UTC(updated_at) ", " ADMIN_UTC(
        completed_at) ", " ADMIN_UTC(next_attempt_at) ", error_message, result_summary "
                                                      "from " DEFERRED_TABLE
                                                      " where request_id = $1";
enum { C_DELIVERY = ACCESS_COLUMNS, C_MEMBERS, C_STATUS };

struct one {
    bool change;
    ath_str id;
    ath_then *then; /* with its row, when the caller may */
};

/* ---- finding it ---- */

static int unavailable(ath_task *t, bool change, ath_err *e)
{
    ath_str cause = deferred_cause(t, e);
    bool refused = ath_host_->err->get(e, "sqlstate").n > 0;

    if (change)
        return ath_raise(e, "deferred_queue_unavailable", "%.*s",
                         STR_ARG(refused ? cause
                                         : ATH_S("Logging client is not configured or not "
                                                 "connected")));
    return ath_raise(e, "deferred_status_unavailable", "failed to query deferred queue: %.*s",
                     STR_ARG(cause));
}

static int missing(const struct one *x, ath_err *e)
{
    return ath_raise(e, "deferred_request_not_found", "No deferred request exists for '%.*s'.",
                     STR_ARG(x->id));
}

static int found(ath_task *t, const ath_done *d, ath_err *e)
{
    struct one *x = d->arg;

    if (d->rc < 0)
        return unavailable(t, x->change, e);
    if (!ath_host_->pg->count(d->rows))
        return missing(x, e);
    return deferred_may(t, x->change, ath_host_->pg->keep(t, d->rows), x->then, x, e);
}

static int ask(ath_task *t, const char *sql, const ath_str *param, uint32_t n, uint32_t flags,
               ath_then *then, void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = sql, .param = param, .param_count = n, .flags = flags };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(t, &q, then, arg, e);
}

static int look(ath_req *r, bool change, ath_then *then, ath_err *e)
{
    struct one *x = ath_new(ath_arena_of(r), sizeof(*x));
    int rc = deferred_may_ask(r, change, e);

    if (rc < 0)
        return rc;
    *x = (struct one){ .change = change, .id = ath_param(r, "request_id"), .then = then };
    if (!x->id.n) /* the path of the route that has no {request_id} */
        x->id = ATH_S("flush");
    if (ask(r, one_sql, &x->id, 1, ATH_PG_READ, found, x, e) < 0)
        return unavailable(r, change, e);
    return 0;
}

/* ---- looking ---- */

static int shown(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Deferred request status");
    ath_str delivery = ath_cell(d->rows, 0, C_DELIVERY);

    (void)e;
    if (delivery.n)
        ath_host_->req->set(t, "x-athena-delivery", delivery);
    for (uint32_t i = 0; i < ATH_COUNT(member); i++) {
        buf_json_key(&b, member[i].name);
        admin_value(&b, member[i].form, ath_cell(d->rows, 0, C_MEMBERS + i));
    }
    buf_json_str(&b, "storage", ATH_S("athena"));
    return admin_reply(t, 200, &b);
}

int deferred_status(ath_req *r, ath_err *e)
{
    return look(r, false, shown, e);
}

/* ---- once more ---- */

static const char requeue_sql[] = "update " DEFERRED_TABLE " q set " DEFERRED_AGAIN
                                  " where request_id = $2 and status in ('completed',"
                                  " 'dead_letter') returning payload->>'kind'";

static int not_now(const struct one *x, ath_str status, const char *code, const char *what,
                   ath_err *e)
{
    return ath_raise(e, code, "Request '%.*s' is currently '%.*s' and cannot be %s.",
                     STR_ARG(x->id), STR_ARG(status), what);
}

static int say(ath_task *t, const char *message, ath_str id, const char *status)
{
    struct buf b = admin_answer(t, message);

    buf_json_str(&b, "request_id", id);
    buf_json_str(&b, "status", str_of(status));
    return admin_reply(t, 200, &b);
}

static int requeued(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct one *x = d->arg;

    if (d->rc < 0)
        return unavailable(t, true, e);
    if (!ath_host_->pg->count(d->rows)) /* somebody else was quicker */
        return not_now(x, ATH_S("queued"), "deferred_request_not_requeueable", "requeued", e);
    deferred_requeued(ath_cell(d->rows, 0, 0));
    return say(t, "Deferred request requeued", x->id, "queued");
}

static ath_str is_admin(ath_req *r)
{
    ath_who who = { .size = sizeof(who) };

    ath_host_->req->who(r, &who);
    return who.flags & ATH_WHO_ADMIN ? ATH_S("true") : ATH_S("false");
}

static int requeue(ath_task *t, const ath_done *d, ath_err *e)
{
    struct one *x = d->arg;
    ath_str status = ath_cell(d->rows, 0, C_STATUS);
    ath_str *param = ath_new(ath_arena_of(t), 2 * sizeof(*param));

    if (!str_is(status, "completed") && !str_is(status, "dead_letter"))
        return not_now(x, status, "deferred_request_not_requeueable", "requeued", e);
    param[0] = is_admin(t);
    param[1] = x->id;
    admin_changed(t, "requeue_deferred", x->id);
    if (ask(t, requeue_sql, param, 2, 0, requeued, x, e) < 0)
        return unavailable(t, true, e);
    return 0;
}

int deferred_requeue(ath_req *r, ath_err *e)
{
    return look(r, true, requeue, e);
}

/* ---- no more ---- */

/* What waits is given up at once; of what runs its worker is told, and ends it. */
static int canceled(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct one *x = d->arg;

    if (d->rc < 0)
        return unavailable(t, true, e);
    if (!d->count)
        return not_now(x, ATH_S("finished"), "deferred_request_not_cancelable", "cancelled", e);
    if (str_is(d->bytes, "running"))
        return say(t, "Deferred request cancellation requested", x->id, "running");
    return say(t, "Deferred request cancelled", x->id, "dead_letter");
}

static int cancel(ath_task *t, const ath_done *d, ath_err *e)
{
    struct one *x = d->arg;
    ath_str status = ath_cell(d->rows, 0, C_STATUS);

    if (!str_is(status, "queued") && !str_is(status, "running"))
        return not_now(x, status, "deferred_request_not_cancelable", "cancelled", e);
    admin_changed(t, "cancel_deferred", x->id);
    if (ath_host_->job->act(t,
                            &(ath_act){ .size = sizeof(ath_act),
                                        .what = ATH_JOB_CANCEL,
                                        .queue = DEFERRED_QUEUE,
                                        .key = x->id },
                            canceled, x, e) < 0)
        return unavailable(t, true, e);
    return 0;
}

int deferred_cancel(ath_req *r, ath_err *e)
{
    return look(r, true, cancel, e);
}
