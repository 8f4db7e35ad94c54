/* GET /admin/admission-events: what the admission limiter refused. */
#include "admin_ops.h"

static const struct admin_member event[] = {
    { "id", ADMIN_INT },
    { "created_at", ADMIN_TIME },
    { "event_id", ADMIN_TEXT },
    { "method", ADMIN_TEXT },
    { "route", ADMIN_TEXT },
    { "client_name", ADMIN_TEXT },
    { "request_bytes", ADMIN_INT },
    { "defer_requested", ADMIN_BOOL },
    { "is_query_route", ADMIN_BOOL },
    { "decision", ADMIN_TEXT },
    { "reason", ADMIN_TEXT },
    { "deferred_request_id", ADMIN_TEXT },
    { "retry_after_seconds", ADMIN_INT },
    { "window_seconds", ADMIN_INT },
    { "global_limit_per_window", ADMIN_INT },
    { "per_client_limit_per_window", ADMIN_INT },
    { "meta", ADMIN_JSON },
};

static const char sql[] = "select id, " ADMIN_UTC(
    created_at) ", event_id, method, route, client_name, request_bytes,"
                " defer_requested, is_query_route, decision, reason, deferred_request_id, "
                "retry_after_seconds,"
                " window_seconds, global_limit_per_window, per_client_limit_per_window, meta"
                " from public.gateway_admission_events v"
                " where ($1::text is null or decision = $1) and ($2::text is null or client_name = "
                "$2)"
                " order by v.created_at desc, id desc limit $3::bigint offset $4::bigint";

struct asked {
    struct admin_page page;
    ath_str param[4]; /* decision, client, limit, offset */
};

static ath_str filter(ath_req *r, const char *name)
{
    ath_str text = str_trim(ath_param(r, name));

    return text.n ? text : (ath_str){ NULL, 0 };
}

static void put_filter(struct buf *b, const char *key, ath_str text)
{
    buf_json_key(b, key);
    admin_value(b, ADMIN_TEXT, text);
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct asked *a = d->arg;
    struct buf b = admin_answer(t, "Loaded admission events");

    (void)e;
    put_filter(&b, "decision", a->param[0]);
    put_filter(&b, "client", a->param[1]);
    buf_json_int(&b, "limit", a->page.limit);
    buf_json_int(&b, "offset", a->page.offset);
    buf_json_key(&b, "events");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(event));
    return admin_reply(t, 200, &b);
}

int admission_list(ath_req *r, ath_err *e)
{
    struct asked *a = ath_new(ath_arena_of(r), sizeof(*a));
    int rc = admin_page(r, 100, 500, &a->page, e);

    if (rc < 0)
        return rc;
    a->param[0] = filter(r, "decision");
    a->param[1] = filter(r, "client");
    a->param[2] = a->page.limit_text;
    a->param[3] = a->page.offset_text;
    return admin_read(r, ADMIN_CATALOG, "Failed to load admission events", sql, a->param,
                      ATH_COUNT(a->param), listed, a, e);
}
