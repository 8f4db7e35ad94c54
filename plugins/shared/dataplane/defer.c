#include "dataplane/defer.h"

#include "lib/json.h"

int dp_deferred(ath_req *r, const char *message, ath_str more)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_lit(&b, "{\"status\":\"success\"");
    buf_json_str(&b, "message", str_of(message));
    buf_lit(&b, ",\"data\":{");
    buf_json_str(&b, "request_id", ath_host_->req->info(r, "id"));
    buf_json_str(&b, "status", ATH_S("queued"));
    buf_json_str(&b, "route", ath_host_->req->info(r, "route"));
    buf_str(&b, more);
    buf_lit(&b, "}}");
    return ath_reply(r, 202, "application/json", buf_view(&b));
}

static int refuse(const struct dp_defer *x, ath_str cause, ath_err *e)
{
    struct buf b = BUF_HEAP;
    int rc = ath_raise(e, "deferred_queue_unavailable", "Failed to queue deferred %s request: %.*s",
                       x->operation, STR_ARG(cause));

    buf_json(&b, str_of(x->operation));
    ath_host_->err->detail(e, "operation", buf_view(&b));
    buf_free(&b);
    return rc;
}

static int put(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct dp_defer *x = d->arg;
    struct buf more = BUF_ARENA(ath_arena_of(t)), cause = BUF_ARENA(ath_arena_of(t));

    if (d->rc < 0 && !str_is(ath_host_->err->get(e, "code"), "deferred_queue_unavailable"))
        return d->rc;
    if (d->rc < 0) {
        buf_str(&cause, ath_host_->err->get(e, "message"));
        return refuse(x, buf_view(&cause), e);
    }
    if (x->names_client) {
        buf_char(&more, ',');
        buf_lit(&more, "\"client\":");
        buf_json(&more, ath_host_->req->info(t, "client"));
    }
    return dp_deferred(t, x->message, buf_view(&more));
}

int dp_defer(ath_req *r, const struct dp_defer *given, ath_err *e)
{
    struct dp_defer *x = ath_new(ath_arena_of(r), sizeof(*x));
    ath_done failed = { .size = sizeof(failed), .arg = x };

    *x = *given;
    if (!x->queue)
        return refuse(x, ATH_S("this server has no deferred queue"), e);
    failed.rc = x->queue->put(r, &x->as, put, x, e);
    return failed.rc < 0 ? put(r, &failed, e) : 0;
}
