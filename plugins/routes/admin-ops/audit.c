/* GET /admin/audit: what was changed by routes of administrators, the latest first.
 *
 * Pages follow each other by id (?before), so that none is seen twice while rows come in. */
#include "admin_ops.h"

#include <stdio.h>
#include <time.h>

#include "lib/json.h"

static const struct admin_member entry[] = {
    { "id", ADMIN_INT },          { "time", ADMIN_TIME },        { "request_id", ADMIN_TEXT },
    { "actor_kind", ADMIN_TEXT }, { "actor", ADMIN_TEXT },       { "remote_addr", ADMIN_TEXT },
    { "user_agent", ADMIN_TEXT }, { "client_name", ADMIN_TEXT }, { "method", ADMIN_TEXT },
    { "route", ADMIN_TEXT },      { "path", ADMIN_TEXT },        { "status_code", ADMIN_INT },
    { "error_code", ADMIN_TEXT }, { "duration_ms", ADMIN_INT },  { "changed", ADMIN_TEXT },
    { "left_out", ADMIN_INT },
};

/* An actor is a key's public id or a user; "admin_key" and the other kinds name themselves. */
static const char sql[] = "select id, " ADMIN_UTC(
    "time") ", request_id, actor_kind, actor, remote_addr, user_agent, "
            "client_name, method, route, path, status_code, error_code, duration_ms, changed, "
            "left_out "
            "from athena_audit where ($1::text is null or route = $1 or path = $1) "
            "and ($2::text is null or lower(client_name) = lower($2)) "
            "and ($3::text is null or actor = $3 or actor_kind = $3) "
            "and ($4::float8 is null or \"time\" >= to_timestamp($4)) "
            "and ($5::float8 is null or \"time\" < to_timestamp($5)) "
            "and ($6::bigint is null or id < $6) order by id desc limit $7::bigint";

enum { ROUTE, CLIENT, ACTOR, FROM, TO, BEFORE, LIMIT, PARAMS };
static const char *const filter_name[LIMIT] = {
    "route", "client", "actor", "from", "to", "before"
};

struct asked {
    struct admin_page page;
    ath_str param[PARAMS];
};

/* "Z", "+02:00" or nothing, in seconds; false: something else. */
static bool offset_of(const char *text, int64_t *ret)
{
    int hours = 0, minutes = 0, n = 0;

    *ret = 0;
    if (text[0] == 0 || strcmp(text, "Z") == 0)
        return true;
    if ((text[0] != '+' && text[0] != '-') ||
        sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 || text[1 + n])
        return false;
    *ret = (hours * 60 + minutes) * (text[0] == '-' ? -60 : 60);
    return true;
}

/* "2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31 12:00:00+02:00" as seconds since 1970. */
static int time_read(ath_req *r, const char *name, ath_str text, ath_str *ret, ath_err *e)
{
    struct buf copy = BUF_ARENA(ath_arena_of(r)), number = BUF_ARENA(ath_arena_of(r));
    struct tm tm = { 0 };
    const char *rest;
    int64_t offset;

    buf_str(&copy, text);
    rest = strptime(copy.p, "%Y-%m-%d", &tm);
    if (rest && (*rest == 'T' || *rest == ' '))
        rest = strptime(rest + 1, "%H:%M:%S", &tm);
    if (!rest || !offset_of(rest, &offset))
        return ath_raise(e, "VALIDATION_FAILED",
                         "parameter \"%s\" must be a time like 2026-01-31T12:00:00Z, not "
                         "\"%.*s\"",
                         name, STR_ARG(text));
    buf_i64(&number, (int64_t)timegm(&tm) - offset);
    *ret = buf_view(&number);
    return 0;
}

static int number_check(const char *name, ath_str text, ath_err *e)
{
    int64_t v;

    if (str_i64(text, &v))
        return 0;
    return ath_raise(e, "VALIDATION_FAILED",
                     "parameter \"%s\" must be a whole number, not \"%.*s\"", name, STR_ARG(text));
}

static int take(ath_req *r, struct asked *a, ath_err *e)
{
    int rc = 0;

    for (int i = 0; i < LIMIT && rc == 0; i++) {
        ath_str text = str_trim(ath_param(r, filter_name[i]));
        a->param[i] = text.n ? text : (ath_str){ NULL, 0 };
        if (text.n && (i == FROM || i == TO))
            rc = time_read(r, filter_name[i], text, &a->param[i], e);
        else if (text.n && i == BEFORE)
            rc = number_check(filter_name[i], text, e);
    }
    return rc;
}

/* "next": what ?before is to get the page behind this one; null when this was the last. */
static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct asked *a = d->arg;
    struct buf b = admin_answer(t, "Loaded audit log");
    uint32_t n = ath_host_->pg->count(d->rows);

    (void)e;
    buf_json_int(&b, "limit", a->page.limit);
    buf_json_key(&b, "next");
    if (n && n == (uint64_t)a->page.limit)
        buf_str(&b, ath_cell(d->rows, n - 1, 0));
    else
        buf_lit(&b, "null");
    buf_json_key(&b, "entries");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(entry));
    return admin_reply(t, 200, &b);
}

int audit_list(ath_req *r, ath_err *e)
{
    struct asked *a = ath_new(ath_arena_of(r), sizeof(*a));
    int rc = admin_page(r, 100, 500, &a->page, e);

    if (rc == 0)
        rc = take(r, a, e);
    if (rc < 0)
        return rc;
    a->param[LIMIT] = a->page.limit_text;
    return admin_read(r, ADMIN_LOGGING, "Failed to load audit log", sql, a->param, PARAMS, listed,
                      a, e);
}
