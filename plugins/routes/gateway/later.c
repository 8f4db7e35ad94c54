/* Requests that are put into the queue instead of being done: those of callers who cannot be
 * checked now (contract jobs 2.1), and inserts under pressure (2.3). */
#include "dataplane/defer.h"

#include "lib/json.h"
#include "window.h"

#define FALLBACK(what) what " request queued for deferred execution (auth fallback mode)"

static int defer(ath_req *r, struct dp_defer x, ath_err *e)
{
    const struct gateway_state *s = ath_state_of(r);

    x.queue = s->deferred;
    x.as.size = sizeof(x.as);
    return dp_defer(r, &x, e);
}

/* ---- callers who cannot be checked ---- */

int gateway_defer_fetch(ath_req *r, ath_err *e)
{
    int rc = gateway_fetch_check(r, e);

    if (rc < 0)
        return rc;
    return defer(r,
                 (struct dp_defer){ .as = { .kind = "gateway_fetch", .method = "POST" },
                                    .operation = "fetch",
                                    .message = FALLBACK("Fetch") },
                 e);
}

int gateway_defer_insert(ath_req *r, ath_err *e)
{
    const struct dp_write *w;
    int rc = gateway_write_check(r, DP_INSERT, &w, e);

    if (rc < 0 && str_is(ath_host_->err->get(e, "code"), "missing_field"))
        return ath_raise(e, "invalid_insert_payload",
                         "table_name and insert_body are required in the request body");
    if (rc < 0)
        return rc;
    return defer(r,
                 (struct dp_defer){ .as = { .kind = "gateway_insert", .method = "PUT" },
                                    .operation = "insert",
                                    .message = FALLBACK("Insert"),
                                    .names_client = true },
                 e);
}

int gateway_defer_update(ath_req *r, ath_err *e)
{
    const struct dp_write *w;
    int rc = gateway_write_check(r, DP_UPDATE, &w, e);

    if (rc < 0)
        return rc;
    return defer(r,
                 (struct dp_defer){ .as = { .kind = "gateway_update", .method = "POST" },
                                    .operation = "update",
                                    .message = FALLBACK("Update"),
                                    .names_client = true },
                 e);
}

/* What readers of the queue know of one that names its row by id; others are as they came. */
static ath_str delete_body(ath_req *r, const struct dp_write *w)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    if (!w->id)
        return (ath_str){ "", 0 };
    buf_char(&b, '{');
    buf_json_str(&b, "table_name", w->root.table);
    buf_json_key(&b, "schema_name");
    if (w->root.schema.n)
        buf_json(&b, w->root.schema);
    else
        buf_lit(&b, "null");
    buf_json_key(&b, "resource_id");
    buf_str(&b, w->id->raw);
    buf_json_key(&b, "column_name");
    if (w->id_column.n)
        buf_json(&b, w->id_column);
    else
        buf_lit(&b, "null");
    buf_char(&b, '}');
    return buf_view(&b);
}

int gateway_defer_delete(ath_req *r, ath_err *e)
{
    const struct dp_write *w;
    int rc = gateway_write_check(r, DP_DELETE, &w, e);

    if (rc < 0)
        return rc;
    return defer(
        r,
        (struct dp_defer){
            .as = { .kind = "gateway_delete", .method = "DELETE", .body = delete_body(r, w) },
            .operation = "delete",
            .message = FALLBACK("Delete"),
            .names_client = true },
        e);
}

/* ---- inserts under pressure ---- */

#define PRESSURE "insert_window_queue_high_watermark"

enum { RETRY_LEAST_MS = 50, RETRY_MOST_MS = 10000, WINDOW_LEAST_MS = 25 };

/* The fuller it is, the later. */
static uint64_t retry_ms(const struct gateway_config *cfg, const struct waiter *x)
{
    uint64_t window = x->window_ms > WINDOW_LEAST_MS ? x->window_ms : WINDOW_LEAST_MS;
    double full = (double)x->pressure.pending / x->pressure.most;
    uint64_t ms;

    if (cfg->overload_retry_ms)
        return cfg->overload_retry_ms;
    ms = window * (full >= 1.5 ? 8 : full >= 1.25 ? 6 : full >= 1 ? 4 : full >= 0.9 ? 3 : 2);
    return ms < RETRY_LEAST_MS ? RETRY_LEAST_MS : ms > RETRY_MOST_MS ? RETRY_MOST_MS : ms;
}

static void put_pressure(ath_req *r, const struct waiter *x, struct buf *b)
{
    const struct gateway_config *cfg = ath_config_of(r);

    buf_json_str(b, "reason", ATH_S(PRESSURE));
    buf_json_int(b, "pending_queue", x->pressure.pending);
    buf_json_int(b, "max_queued", x->pressure.most);
    buf_json_key(b, "high_watermark_ratio");
    buf_printf(b, "%.15g", cfg->window_watermark);
}

static int refuse(ath_req *r, const struct waiter *x, ath_str cause, ath_err *e)
{
    uint64_t ms = retry_ms(ath_config_of(r), x), seconds = (ms + 999) / 1000;
    struct buf b = BUF_ARENA(ath_arena_of(r)), body = BUF_ARENA(ath_arena_of(r));
    char room[STR_U64_ROOM];
    int rc = ath_raise(e, "admission_overloaded",
                       "Insert queue is under high load; request rejected to protect database "
                       "capacity");

    buf_lit(&body, "{\"status\":\"error\",\"code\":\"admission_overloaded\"");
    buf_json_str(&body, "message", ath_host_->err->get(e, "message"));
    buf_json_str(&body, "trace_id", ath_host_->req->info(r, "id"));
    buf_json_key(&body, "details");
    buf_char(&b, '{');
    put_pressure(r, x, &b);
    buf_json_int(&b, "retry_after_ms", (int64_t)ms);
    if (cause.n)
        buf_json_str(&b, "deferred_enqueue_error", cause);
    buf_char(&b, '}');
    buf_str(&body, buf_view(&b));
    buf_char(&body, '}');
    ath_host_->err->detail(e, "admission_reason", ATH_S("\"" PRESSURE "\""));
    ath_host_->err->detail(e, "retry_after",
                           str_from_u64(seconds > 60 ? 60
                                        : seconds    ? seconds
                                                     : 1,
                                        room));
    ath_host_->err->detail(e, "body", buf_view(&body));
    return rc;
}

static int put(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct waiter *x = d->arg;
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (d->rc < 0) {
        buf_str(&b, ath_host_->err->get(e, "message"));
        return refuse(t, x, buf_view(&b), e);
    }
    buf_char(&b, '{');
    put_pressure(t, x, &b);
    b.p[0] = ','; /* they stand behind others */
    return dp_deferred(t, "Insert request queued for deferred execution (admission control)",
                       buf_view(&b));
}

int gateway_overloaded(ath_req *r, const struct waiter *x, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);
    const struct gateway_state *s = ath_state_of(r);
    ath_deferral as = {
        .size = sizeof(as), .kind = "gateway_insert", .method = "PUT", .reason = ATH_S(PRESSURE)
    };
    ath_done failed = { .size = sizeof(failed), .arg = (void *)(uintptr_t)x };

    if (!s->deferred || !cfg->window_defers)
        return refuse(r, x, ATH_S(""), e);
    failed.rc = s->deferred->put(r, &as, put, failed.arg, e);
    return failed.rc < 0 ? put(r, &failed, e) : 0;
}
