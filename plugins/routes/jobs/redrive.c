/* POST /admin/jobs/{queue}/redrive and `athena jobs redrive`: dead jobs wait again, many at once.
 */
#include "jobs.h"

enum { LIMIT = 1000, LIMIT_MOST = 10000, SECONDS_MOST = 10 * 365 * 86400 };

/* ---- the route ---- */

/* A filter that is misspelt would let more of them run than was meant. */
static int known_members(const struct json *body, ath_err *e)
{
    static const char *const known[] = { "client",         "error", "ended_before_s",
                                         "ended_within_s", "limit", "dry_run" };

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

static int number(const struct json *body, const char *name, int64_t most, int64_t otherwise,
                  int64_t *ret, ath_err *e)
{
    const struct json *v = json_given(body, name);

    *ret = otherwise;
    if (v && (!json_i64(v, ret) || *ret < 1 || *ret > most))
        return ath_raise(e, "VALIDATION_FAILED", "\"%s\" must be a number from 1 to %lld", name,
                         (long long)most);
    return 0;
}

static int read_filters(const struct json *body, ath_redrive *r, ath_err *e)
{
    int64_t limit, before, within;
    ath_str look;
    int rc;

    if ((rc = known_members(body, e)) < 0 || (rc = admin_text(body, "client", &r->client, e)) < 0 ||
        (rc = admin_text(body, "error", &r->error, e)) < 0 ||
        (rc = number(body, "ended_before_s", SECONDS_MOST, 0, &before, e)) < 0 ||
        (rc = number(body, "ended_within_s", SECONDS_MOST, 0, &within, e)) < 0 ||
        (rc = number(body, "limit", LIMIT_MOST, LIMIT, &limit, e)) < 0 ||
        (rc = admin_bool(body, "dry_run", &look, e)) < 0)
        return rc;
    r->ended_before_ms = (uint64_t)before * 1000u;
    r->ended_within_ms = (uint64_t)within * 1000u;
    r->limit = (uint32_t)limit;
    r->flags = str_is(look, "true") ? ATH_REDRIVE_LOOK : 0;
    return 0;
}

static int redriven(ath_task *t, const ath_done *d, ath_err *e)
{
    const ath_redrive *r = d->arg;
    bool look = (r->flags & ATH_REDRIVE_LOOK) != 0;
    struct buf b;

    if (d->rc < 0)
        return jobs_refuse(t, d->rc, e);
    if (!look)
        admin_changed(t, "redrive_jobs", str_of(r->queue));
    b = admin_answer(t, look ? "Jobs that would wait again" : "Jobs wait again");
    buf_json_str(&b, "queue", str_of(r->queue));
    buf_json_int(&b, "redriven", look ? 0 : (int64_t)d->count);
    if (look)
        buf_json_int(&b, "found", (int64_t)d->count);
    return admin_reply(t, 200, &b);
}

int jobs_redrive(ath_req *q, ath_err *e)
{
    ath_redrive *r = ath_new(ath_arena_of(q), sizeof(*r));
    const struct json *body;
    int rc = admin_body(q, &body, e);

    r->size = sizeof(*r);
    if (rc < 0 || (rc = read_filters(body, r, e)) < 0 || (rc = jobs_queue(q, &r->queue, e)) < 0)
        return rc;
    rc = ath_host_->job->redrive(q, r, redriven, r, e);
    return rc < 0 ? jobs_refuse(q, rc, e) : 0;
}

/* ---- the command ---- */

struct options {
    ath_str queue, client, error;
    uint64_t before_ms, within_ms;
    int64_t limit;
    int32_t dry_run;
};

/* clang-format off */
static const ath_field fields[] = {
    ATH_STR(struct options, queue, "queue", NULL, NULL, "The queue: see athena jobs list.", .flags = ATH_CF_ARG),
    ATH_STR(struct options, client, "client", "", NULL, "Of this client; empty: of all."),
    ATH_STR(struct options, error, "error", "", NULL, "Whose error has this in it; empty: any."),
    ATH_MSEC(struct options, before_ms, "ended-before", "0", "0..3650d", "Dead for so long at least; 0: any."),
    ATH_MSEC(struct options, within_ms, "ended-within", "0", "0..3650d", "Dead for so long at most; 0: any."),
    ATH_INT(struct options, limit, "limit", "1000", "1..10000", "So many at most, the oldest first."),
    ATH_BOOL(struct options, dry_run, "dry-run", "false", "Only count them."),
};
/* clang-format on */

static void seconds(struct buf *b, const char *name, uint64_t ms)
{
    if (ms)
        buf_json_int(b, name, (int64_t)((ms + 999) / 1000));
}

static int redrive_run(ath_task *t, const void *options, ath_err *e)
{
    const struct options *o = options;
    struct buf path = BUF_ARENA(ath_arena_of(t)), body = BUF_ARENA(ath_arena_of(t));

    buf_lit(&path, "/admin/jobs/");
    admin_segment(&path, o->queue);
    buf_lit(&path, "/redrive");
    buf_char(&body, '{');
    if (o->client.n)
        buf_json_str(&body, "client", o->client);
    if (o->error.n)
        buf_json_str(&body, "error", o->error);
    seconds(&body, "ended_before_s", o->before_ms);
    seconds(&body, "ended_within_s", o->within_ms);
    buf_json_int(&body, "limit", o->limit);
    buf_json_bool(&body, "dry_run", o->dry_run);
    buf_char(&body, '}');
    return admin_remote(t, "POST", buf_view(&path), buf_view(&body), e);
}

const ath_command redrive_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "jobs redrive"),
    .summary = "Let dead jobs of a queue wait again, many by a filter",
    .run = redrive_run,
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct options),
};
