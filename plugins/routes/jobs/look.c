/* What there is: queues, jobs, events. */
#include "jobs.h"

#include <string.h>

static const char failed[] = "Failed to read jobs";

/* ---- which queue ---- */

static const struct json *queues(ath_req *r)
{
    struct json_error why;

    return json_read(ath_host_->inspect(r, "queues"), JSON_ARENA(ath_arena_of(r)), 1000000, &why);
}

int jobs_queue(ath_req *r, const char **ret, ath_err *e)
{
    const struct json *list = queues(r);
    ath_str name = ath_param(r, "queue");
    struct buf known = BUF_ARENA(ath_arena_of(r)), copy = BUF_ARENA(ath_arena_of(r));

    if (list && list->type == JSON_ARRAY)
        json_each(q, list)
        {
            ath_str one = json_text(json_get(q, "queue"));
            if (str_eq(one, name)) {
                buf_str(&copy, name);
                *ret = buf_view(&copy).p;
                return 0;
            }
            buf_printf(&known, "%s%.*s", known.n ? ", " : "", STR_ARG(one));
        }
    return admin_fail(e, "not_found", "Queue not found",
                      "there is no queue \"%.*s\"; there are: %s", STR_ARG(name),
                      known.n ? known.p : "none");
}

int jobs_unknown(ath_req *r, ath_err *e)
{
    return admin_fail(e, "not_found", "Job not found", "queue \"%.*s\" has no job \"%.*s\"",
                      STR_ARG(ath_param(r, "queue")), STR_ARG(ath_param(r, "key")));
}

/* A key that is no value of the key's type is a key that no job has. */
int jobs_refuse(ath_req *r, int rc, ath_err *e)
{
    if (str_is(ath_host_->err->get(e, "sqlstate"), "22P02") ||
        str_is(ath_host_->err->get(e, "sqlstate"), "22003"))
        return jobs_unknown(r, e);
    if (rc == ATH_E_INPUT && !ath_host_->err->get(e, "sqlstate").n)
        return ath_raise(e, "VALIDATION_FAILED", "%.*s",
                         STR_ARG(ath_host_->err->get(e, "message")));
    return admin_refuse(r, ADMIN_LOGGING, failed, e);
}

/* ---- the queues ---- */

static const struct admin_member depth[] = {
    { "waiting", ADMIN_INT }, { "ready", ADMIN_INT },    { "running", ADMIN_INT },
    { "dead", ADMIN_INT },    { "canceled", ADMIN_INT }, { "oldest_s", ADMIN_REAL },
};

struct counting {                /* one queue after the other */
    const struct json *next;
    struct buf answer;
    uint32_t n;
};

static int count_next(ath_task *t, struct counting *c, ath_err *e);

static int counted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct counting *c = d->arg;
    struct buf *b = &c->answer;

    if (d->rc < 0)
        return jobs_refuse(t, d->rc, e);
    buf_z(b, c->n++ ? ",{" : "{");
    buf_json_str(b, "queue", json_text(json_get(c->next, "queue")));
    buf_json_str(b, "table", json_text(json_get(c->next, "table")));
    for (size_t i = 0; i < ATH_COUNT(depth); i++) {
        buf_json_key(b, depth[i].name);
        admin_value(b, depth[i].form, ath_cell(d->rows, 0, (uint32_t)i));
    }
    buf_char(b, '}');
    c->next = c->next->next;
    return count_next(t, c, e);
}

/* Those that this process looks at. */
static void put_schedules(ath_task *t, struct buf *b)
{
    struct json_error why;
    const struct json *list =
        json_read(ath_host_->inspect(t, "workers"), JSON_ARENA(ath_arena_of(t)), 1000000, &why);
    uint32_t n = 0;

    buf_json_key(b, "schedules");
    buf_char(b, '[');
    for (const struct json *w = list ? list->first : NULL; w; w = w->next) {
        if (!str_is(json_text(json_get(w, "kind")), "schedule"))
            continue;
        buf_z(b, n++ ? "," : "");
        buf_str(b, w->raw);
    }
    buf_char(b, ']');
}

static int count_next(ath_task *t, struct counting *c, ath_err *e)
{
    struct buf name = BUF_ARENA(ath_arena_of(t));
    int rc;

    if (!c->next) {
        buf_char(&c->answer, ']');
        put_schedules(t, &c->answer);
        return admin_reply(t, 200, &c->answer);
    }
    buf_str(&name, json_text(json_get(c->next, "queue")));
    rc = ath_host_->job->depth(t, buf_view(&name).p, counted, c, e);
    return rc < 0 ? jobs_refuse(t, rc, e) : 0;
}

/* GET /admin/jobs */
int jobs_queues(ath_req *r, ath_err *e)
{
    struct counting *c = ath_new(ath_arena_of(r), sizeof(*c));
    const struct json *list = queues(r);

    c->answer = admin_answer(r, "Listed job queues");
    c->next = list ? list->first : NULL;
    buf_json_key(&c->answer, "queues");
    buf_char(&c->answer, '[');
    return count_next(r, c, e);
}

/* ---- jobs ---- */

/* In the order of ath_job_api.list. */
static const struct admin_member job[] = {
    { "key", ADMIN_TEXT },        { "state", ADMIN_TEXT },    { "status", ADMIN_TEXT },
    { "client", ADMIN_TEXT },     { "priority", ADMIN_INT },  { "attempts", ADMIN_INT },
    { "max_attempts", ADMIN_INT }, { "created_at", ADMIN_TIME }, { "due_at", ADMIN_TIME },
    { "started_at", ADMIN_TIME }, { "finished_at", ADMIN_TIME }, { "lease_until", ADMIN_TIME },
    { "daemon_id", ADMIN_TEXT },  { "cancel_asked", ADMIN_TEXT }, { "progress", ADMIN_TEXT },
    { "error", ADMIN_TEXT },      { "result", ADMIN_JSON },
};

/* "next": what ?after is to get the page behind this one; null when this was the last. */
static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    const ath_job_page *p = d->arg;
    struct buf b;
    uint32_t n;

    if (d->rc < 0)
        return jobs_refuse(t, d->rc, e);
    b = admin_answer(t, "Listed jobs");
    n = ath_host_->pg->count(d->rows);
    buf_json_str(&b, "queue", str_of(p->queue));
    buf_json_key(&b, "next");
    if (n && n == p->limit)
        buf_json(&b, ath_cell(d->rows, n - 1, 0));
    else
        buf_lit(&b, "null");
    buf_json_key(&b, "jobs");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(job));
    return admin_reply(t, 200, &b);
}

/* GET /admin/jobs/{queue} */
int jobs_list(ath_req *r, ath_err *e)
{
    ath_job_page *p = ath_new(ath_arena_of(r), sizeof(*p));
    struct admin_page page;
    int rc = admin_page(r, 50, 1000, &page, e);

    if (rc < 0)
        return rc;
    *p = (ath_job_page){ .size = sizeof(*p),
                         .limit = (uint32_t)page.limit,
                         .state = str_trim(ath_param(r, "state")),
                         .client = str_trim(ath_param(r, "client")),
                         .after = str_trim(ath_param(r, "after")) };
    if ((rc = jobs_queue(r, &p->queue, e)) < 0)
        return rc;
    rc = ath_host_->job->list(r, p, listed, p, e);
    return rc < 0 ? jobs_refuse(r, rc, e) : 0;
}

/* ---- one job, and its events ---- */

static const struct admin_member event[] = {
    { "seq", ADMIN_INT },    { "at", ADMIN_TIME },      { "daemon_id", ADMIN_TEXT },
    { "level", ADMIN_TEXT }, { "message", ADMIN_TEXT }, { "data", ADMIN_JSON },
};

static const char events_sql[] = "select seq, " ADMIN_UTC(
    at) ", daemon_id, level, message, data from athena_job_events "
        "where queue = $1 and job_key = $2 and seq > $3::bigint order by seq limit 500";

struct shown {
    ath_str param[3]; /* of events_sql */
    const ath_rows *job;
};

static int with_events(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct shown *s = d->arg;
    struct buf b = admin_answer(t, s->job ? "Loaded job" : "Listed events of a job");

    (void)e;
    if (s->job) {
        buf_json_key(&b, "job");
        admin_object(&b, s->job, 0, ADMIN_MEMBERS(job));
    }
    buf_json_key(&b, "events");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(event));
    return admin_reply(t, 200, &b);
}

static int read_events(ath_task *t, struct shown *s, ath_err *e)
{
    return admin_read(t, ADMIN_LOGGING, failed, events_sql, s->param, ATH_COUNT(s->param),
                      with_events, s, e);
}

static int shown(ath_task *t, const ath_done *d, ath_err *e)
{
    struct shown *s = d->arg;

    if (d->rc < 0)
        return jobs_refuse(t, d->rc, e);
    if (ath_host_->pg->count(d->rows) == 0)
        return jobs_unknown(t, e);
    s->job = ath_host_->pg->keep(t, d->rows);
    return read_events(t, s, e);
}

/* The number of an event: all behind it are meant. */
static int since(ath_req *r, ath_str *ret, ath_err *e)
{
    ath_str text = str_trim(ath_param(r, "since"));
    int64_t v;

    *ret = text.n ? text : ATH_S("0");
    if (text.n && (!str_i64(text, &v) || v < 0))
        return ath_raise(e, "VALIDATION_FAILED",
                         "parameter \"since\" must be the seq of an event, not \"%.*s\"",
                         STR_ARG(text));
    return 0;
}

static int asked(ath_req *r, struct shown *s, ath_err *e)
{
    const char *queue;
    int rc = jobs_queue(r, &queue, e);

    if (rc < 0 || (rc = since(r, &s->param[2], e)) < 0)
        return rc;
    s->param[0] = str_of(queue);
    s->param[1] = ath_param(r, "key");
    return 0;
}

/* GET /admin/jobs/{queue}/{key} */
int jobs_show(ath_req *r, ath_err *e)
{
    struct shown *s = ath_new(ath_arena_of(r), sizeof(*s));
    ath_job_page p = { .size = sizeof(p), .limit = 1 };
    int rc = asked(r, s, e);

    if (rc < 0)
        return rc;
    p.queue = s->param[0].p;
    p.key = s->param[1];
    rc = ath_host_->job->list(r, &p, shown, s, e);
    return rc < 0 ? jobs_refuse(r, rc, e) : 0;
}

/* GET /admin/jobs/{queue}/{key}/events */
int jobs_events(ath_req *r, ath_err *e)
{
    struct shown *s = ath_new(ath_arena_of(r), sizeof(*s));
    int rc = asked(r, s, e);

    return rc < 0 ? rc : read_events(r, s, e);
}
