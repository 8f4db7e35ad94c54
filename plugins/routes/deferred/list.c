/* GET /admin/deferred: the requests, the newest first; pages follow each other by their last row,
 * so none is seen twice while others come in. POST /admin/deferred/redrive: dead letters wait
 * again. */
#include "deferred.h"

static const struct admin_member member[] = {
    { "request_id", ADMIN_TEXT },      { "kind", ADMIN_TEXT },
    { "client", ADMIN_TEXT },          { "route", ADMIN_TEXT },
    { "status", ADMIN_TEXT },          { "attempts", ADMIN_INT },
    { "deferred_reason", ADMIN_TEXT }, { "error_message", ADMIN_TEXT },
    { "created_at", ADMIN_TIME },      { "updated_at", ADMIN_TIME },
    { "completed_at", ADMIN_TIME },    { "next_attempt_at", ADMIN_TIME },
    { "daemon_id", ADMIN_TEXT },
};

static const char list_sql[] =
    "select request_id, payload->>'kind', client_name, route, status, attempts, deferred_reason,"
    " error_message, " ADMIN_UTC(created_at) ", " ADMIN_UTC(updated_at) ", " ADMIN_UTC(
        completed_at) ", " ADMIN_UTC(next_attempt_at) ", execution_daemon_id, created_at::text "
                                                      "from " DEFERRED_TABLE
                                                      " where ($1::text is null or status = $1)"
                                                      " and ($2::text is null or lower(client_name)"
                                                      " = lower($2))"
                                                      " and ($3::text is null or payload->>'kind'"
                                                      " = $3) and ($4::timestamptz is null or"
                                                      " (created_at, request_id) < ($4, $5))"
                                                      " order by created_at desc, request_id desc"
                                                      " limit $6::int8";
enum { P_STATUS, P_CLIENT, P_KIND, P_TIME, P_ID, P_LIMIT, PARAMS };

struct asked {
    struct admin_page page;
    ath_str param[PARAMS];
};

static const char *const states[] = { "queued", "running", "completed", "dead_letter" };
static const char *const kinds[] = { "gateway_query", "gateway_fetch", "gateway_insert",
                                     "gateway_update", "gateway_delete" };

static int one_of(const char *what, ath_str given, const char *const *list, size_t n, ath_err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!given.n || str_is(given, list[i]))
            return 0;
    return ath_raise(e, "VALIDATION_FAILED", "\"%s\" has no such value: \"%.*s\"", what,
                     STR_ARG(given));
}

static ath_str or_null(ath_str s)
{
    return s.n ? s : (ath_str){ NULL, 0 };
}

/* ---- the list ---- */

/* "2026-01-31 12:00:00.123456+00,ID", as it was given. */
static int read_cursor(struct asked *a, ath_str cursor, ath_err *e)
{
    size_t comma = str_find(cursor, ',');
    ath_str when = str_from(cursor.p, comma);

    if (!cursor.n)
        return 0;
    if (comma == cursor.n || comma < 19 || comma > 40 || when.p[4] != '-' || when.p[10] != ' ')
        return ath_raise(e, "VALIDATION_FAILED", "\"cursor\" is not one of this list's");
    a->param[P_TIME] = when;
    a->param[P_ID] = str_after(cursor, comma + 1);
    return 0;
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct asked *a = d->arg;
    struct buf b = admin_answer(t, "Listed deferred requests"), next = BUF_ARENA(ath_arena_of(t));
    uint32_t n = ath_host_->pg->count(d->rows);

    (void)e;
    buf_json_int(&b, "limit", a->page.limit);
    buf_json_key(&b, "requests");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(member));
    buf_json_key(&b, "next");
    if (n && n == (uint64_t)a->page.limit) {
        buf_printf(&next, "%.*s,%.*s", STR_ARG(ath_cell(d->rows, n - 1, ATH_COUNT(member))),
                   STR_ARG(ath_cell(d->rows, n - 1, 0)));
        buf_json(&b, buf_view(&next));
    } else {
        buf_lit(&b, "null");
    }
    return admin_reply(t, 200, &b);
}

int deferred_list(ath_req *r, ath_err *e)
{
    struct asked *a = ath_new(ath_arena_of(r), sizeof(*a));
    int rc = admin_page(r, 50, 500, &a->page, e);

    if (rc < 0)
        return rc;
    a->param[P_STATUS] = or_null(ath_param(r, "status"));
    a->param[P_CLIENT] = or_null(str_trim(ath_param(r, "client")));
    a->param[P_KIND] = or_null(ath_param(r, "kind"));
    a->param[P_LIMIT] = a->page.limit_text;
    if ((rc = one_of("status", a->param[P_STATUS], states, ATH_COUNT(states), e)) < 0 ||
        (rc = one_of("kind", a->param[P_KIND], kinds, ATH_COUNT(kinds), e)) < 0 ||
        (rc = read_cursor(a, ath_param(r, "cursor"), e)) < 0)
        return rc;
    return admin_read(r, ADMIN_LOGGING, "Failed to list deferred requests", list_sql, a->param,
                      PARAMS, listed, a, e);
}

/* ---- dead letters ---- */

enum { REDRIVE_MOST = 10000 };

static const char redrive_sql[] =
    "with dead as (select request_id from " DEFERRED_TABLE " where status = 'dead_letter'"
    " and ($2::text is null or lower(client_name) = lower($2))"
    " and ($3::text is null or payload->>'kind' = $3)"
    " and ($4::text is null or strpos(error_message, $4) > 0)"
    " order by created_at, request_id limit $5::int8 for update skip locked)"
    " update " DEFERRED_TABLE " q set " DEFERRED_AGAIN
    " from dead where q.request_id = dead.request_id and q.status = 'dead_letter'"
    " returning q.payload->>'kind'";
enum { R_ADMIN, R_CLIENT, R_KIND, R_ERROR, R_LIMIT, R_PARAMS };

static int redriven(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Deferred requests requeued");
    uint32_t n = ath_host_->pg->count(d->rows);

    (void)e;
    for (uint32_t i = 0; i < n; i++)
        deferred_requeued(ath_cell(d->rows, i, 0));
    buf_json_int(&b, "requeued", n);
    return admin_reply(t, 200, &b);
}

static int read_limit(const struct json *body, ath_str *ret, ath_err *e)
{
    const struct json *v = json_given(body, "limit");
    int64_t n = REDRIVE_MOST;

    if (v && (!json_i64(v, &n) || n < 1 || n > REDRIVE_MOST))
        return ath_raise(e, "VALIDATION_FAILED", "\"limit\" must be a number from 1 to %d",
                         REDRIVE_MOST);
    *ret = v ? v->raw : ATH_S("10000");
    return 0;
}

/* A filter that is misspelt would let more of them run than was meant. */
static int known_members(const struct json *body, ath_err *e)
{
    static const char *const known[] = { "client", "kind", "error", "limit" };

    json_each(v, body)
    {
        size_t i = 0;
        while (i < ATH_COUNT(known) && !str_is(v->key, known[i]))
            i++;
        if (i == ATH_COUNT(known))
            return ath_raise(e, "VALIDATION_FAILED", "there is no filter \"%.*s\"",
                             STR_ARG(v->key));
    }
    return 0;
}

int deferred_redrive(ath_req *r, ath_err *e)
{
    struct admin_ask *a = ath_new(ath_arena_of(r), sizeof(*a));
    ath_str *param = ath_new(ath_arena_of(r), R_PARAMS * sizeof(*param));
    const struct json *body;
    int rc;

    if ((rc = admin_body(r, &body, e)) < 0 || (rc = known_members(body, e)) < 0 ||
        (rc = admin_text(body, "client", &param[R_CLIENT], e)) < 0 ||
        (rc = admin_text(body, "kind", &param[R_KIND], e)) < 0 ||
        (rc = admin_text(body, "error", &param[R_ERROR], e)) < 0 ||
        (rc = one_of("kind", param[R_KIND], kinds, ATH_COUNT(kinds), e)) < 0 ||
        (rc = read_limit(body, &param[R_LIMIT], e)) < 0)
        return rc;
    param[R_ADMIN] = ATH_S("true");
    *a = (struct admin_ask){ .failed = "Failed to requeue deferred requests",
                             .store = ADMIN_LOGGING,
                             .count = 1 };
    a->stmt[0] = (ath_stmt){ .sql = redrive_sql, .param = param, .param_count = R_PARAMS };
    admin_changed(r, "redrive_deferred", param[R_CLIENT].n ? param[R_CLIENT] : ATH_S("*"));
    return admin_ask(r, a, redriven, NULL, e);
}
