/* GET /admin/backups: the archives that there are, the newest first; GET /admin/backups/config.
 *
 * Pages follow each other by (completed_at, id) of their last row, so that none is left out or seen
 * twice while others come in.
 */
#include "backup.h"

enum { PAGE = 10 };

static const struct admin_member item[] = {
    { "job_id", ADMIN_INT },       { "s3_bucket", ADMIN_TEXT },
    { "s3_key", ADMIN_TEXT },      { "client_name", ADMIN_TEXT },
    { "label", ADMIN_TEXT },       { "size_bytes", ADMIN_INT },
    { "execution_daemon_id", ADMIN_TEXT }, { "completed_at", ADMIN_TIME },
};
enum { C_ID = 0, C_COMPLETED = ATH_COUNT(item) - 1 };

enum { P_CLIENT, P_TIME, P_ID, P_LIMIT, PARAMS };

/* One more than a page holds says whether another follows. */
static const char list_sql[] =
    "select id, s3_bucket, s3_key, coalesce(client_name, 'unknown'), label,"
    " coalesce(size_bytes, 0), execution_daemon_id, " ADMIN_UTC(completed_at) " from " BACKUP_TABLE
    " where job_type = 'backup' and status = 'completed' and s3_key is not null"
    " and completed_at is not null and ($1::text is null or client_name = $1)"
    " and ($2::timestamptz is null or (completed_at, id) < ($2, $3::int8))"
    " order by completed_at desc, id desc limit $4::int8 + 1";

struct asked {
    ath_str param[PARAMS];
    int64_t limit;
};

static const char failed[] = "Failed to list backups";

/* ---- the cursor ---- */

static int no_cursor(const char *why, ath_err *e)
{
    return admin_fail(e, "backup_request_invalid", "Invalid cursor", "%s", why);
}

static bool digits(ath_str s, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++)
        if (i >= s.n || s.p[i] < '0' || s.p[i] > '9')
            return false;
    return true;
}

static size_t digits_end(ath_str s, size_t from)
{
    while (digits(s, from, 1))
        from++;
    return from;
}

/* "Z", "+00:00", or " 00:00", which is what a plus becomes that was not encoded. */
static bool is_zone(ath_str s)
{
    if (str_is(s, "Z") || str_is(s, "z"))
        return true;
    return s.n == 6 && strchr("+- ", s.p[0]) && digits(s, 1, 2) && s.p[3] == ':' && digits(s, 4, 2);
}

/* RFC 3339: "2026-05-20T03:31:09.123456Z". */
static bool is_time(ath_str s)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd";
    size_t end = sizeof(shape) - 1;

    for (size_t i = 0; i < end; i++)
        if (i >= s.n || (shape[i] == 'd' ? !digits(s, i, 1) : s.p[i] != shape[i]))
            return false;
    if (end < s.n && s.p[end] == '.') {
        size_t from = end + 1;
        end = digits_end(s, from);
        if (end == from || end > from + 9)
            return false;
    }
    return is_zone(str_after(s, end));
}

static size_t last_bar(ath_str s)
{
    for (size_t i = s.n; i-- > 0;)
        if (s.p[i] == '|')
            return i;
    return s.n;
}

static ath_str time_of(ath_req *r, ath_str s)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    size_t blank = str_find(s, ' ');

    buf_str(&b, s);
    if (blank < s.n)
        b.p[blank] = '+';
    return buf_view(&b);
}

static int read_cursor(ath_req *r, struct asked *a, ath_err *e)
{
    ath_str cursor, id;
    int64_t v;
    size_t bar;
    int rc = backups_filter(r, "cursor", &cursor, e);

    if (rc < 0 || !cursor.p)
        return rc;
    bar = last_bar(cursor);
    id = str_after(cursor, bar + 1);
    if (bar == cursor.n)
        return no_cursor("Cursor must match <completed_at>|<job_id>.", e);
    if (!is_time(str_from(cursor.p, bar)))
        return no_cursor("Cursor timestamp is not valid RFC3339.", e);
    if (!str_i64(id, &v))
        return no_cursor("Cursor job id is invalid.", e);
    a->param[P_TIME] = time_of(r, str_from(cursor.p, bar));
    a->param[P_ID] = id;
    return 0;
}

/* ---- the list ---- */

static void put_next(ath_req *r, struct buf *b, const ath_rows *rows, uint32_t last)
{
    struct buf time = BUF_ARENA(ath_arena_of(r)), next = BUF_ARENA(ath_arena_of(r));

    admin_value(&time, ADMIN_TIME, ath_cell(rows, last, C_COMPLETED));
    buf_mem(&next, time.p + 1, time.n - 2);
    buf_char(&next, '|');
    buf_str(&next, ath_cell(rows, last, C_ID));
    buf_json(b, buf_view(&next));
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct asked *a = d->arg;
    struct buf b = admin_answer(t, "Listed backups");
    uint32_t n = ath_host_->pg->count(d->rows), shown = n > a->limit ? (uint32_t)a->limit : n;

    (void)e;
    buf_json_key(&b, "backups");
    buf_char(&b, '[');
    for (uint32_t i = 0; i < shown; i++) {
        if (i)
            buf_char(&b, ',');
        admin_object(&b, d->rows, i, ADMIN_MEMBERS(item));
    }
    buf_char(&b, ']');
    buf_json_key(&b, "next_cursor");
    if (n > shown)
        put_next(t, &b, d->rows, shown - 1);
    else
        buf_lit(&b, "null");
    return admin_reply(t, 200, &b);
}

/* A date that no calendar has is found by the database. */
static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done mine = *d;

    if (d->rc < 0 && str_starts(ath_host_->err->get(e, "sqlstate"), "22"))
        return no_cursor("Cursor timestamp is not valid RFC3339.", e);
    if (d->rc < 0)
        return backups_refuse(t, failed, e);
    mine.rows = d->rows;
    return listed(t, &mine, e);
}

int backups_list(ath_req *r, ath_err *e)
{
    struct asked *a = ath_new(ath_arena_of(r), sizeof(*a));
    ath_stmt stmt = {
        .sql = list_sql, .param = a->param, .param_count = PARAMS, .flags = ATH_PG_READ
    };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };
    int rc = backups_filter(r, "client_name", &a->param[P_CLIENT], e);

    if (rc < 0 || (rc = read_cursor(r, a, e)) < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    a->limit = backups_limit(r, PAGE, PAGE);
    a->param[P_LIMIT] = backups_text(r, a->limit);
    return ath_host_->pg->query(r, &q, answered, a, e) < 0 ? backups_refuse(r, failed, e) : 0;
}

/* ---- the store, without its secrets ---- */

int backups_show_config(ath_req *r, ath_err *e)
{
    struct buf b = admin_answer(r, "Backup storage configuration");
    ath_s3_config s3;
    int rc = backups_storage(r, &s3, e);

    if (rc < 0)
        return rc;
    buf_json_str(&b, "bucket", s3.bucket);
    buf_json_str(&b, "region", s3.region);
    buf_json_str(&b, "prefix", s3.prefix);
    buf_json_key(&b, "endpoint");
    if (s3.endpoint.n)
        buf_json(&b, s3.endpoint);
    else
        buf_lit(&b, "null");
    return admin_reply(r, 200, &b);
}
