/* Following a job from a terminal: /admin/jobs/{queue}/{key} is asked once a second. Events are
 * lines. How far the job is, where its family says so (a number of percent, or an object with "pct" or
 * "progress_pct", and "stage"), is a bar on the last line of a terminal; elsewhere each stage is a
 * line.
 */
#include "admin/admin.h"

#include <stdio.h>
#include <unistd.h>

enum { PAUSE_MS = 1000, BAR = 30, FAILURES_MOST = 10 };

struct follow {
    ath_str queue, key;
    ath_str stage;               /* the last that was shown without a terminal */
    int64_t seen;                /* seq of the last event that was shown */
    uint32_t failures;           /* in a row */
    bool terminal, bar;          /* bar: one stands on the last line */
};

static int ask(ath_task *t, struct follow *f, ath_err *e);

static void clear(struct follow *f)
{
    if (f->bar)
        fputs("\r\033[K", stderr);
    f->bar = false;
}

/* "40", or {"pct":40,"stage":"copying"}; -1: it is not said. */
static int percent_of(ath_task *t, ath_str progress, ath_str *stage)
{
    struct json_error why;
    const struct json *v = json_read(progress, JSON_ARENA(ath_arena_of(t)), 1000, &why), *n = v;
    int64_t pct;

    *stage = (ath_str){ 0 };
    if (v && v->type == JSON_OBJECT) {
        n = json_get(v, json_get(v, "pct") ? "pct" : "progress_pct");
        *stage = json_text(json_get(v, "stage"));
    }
    if (!n || n->type != JSON_NUMBER || !str_i64(n->text, &pct) || pct < 0)
        return -1;
    return pct > 100 ? 100 : (int)pct;
}

void admin_bar(ath_str word, int pct, ath_str note)
{
    char bar[BAR + 1];

    for (int i = 0; i < BAR; i++)
        bar[i] = i < pct * BAR / 100 ? '#' : '.';
    bar[BAR] = 0;
    if (pct < 0)
        fprintf(stderr, "\r\033[K%.*s %.*s", STR_ARG(word), STR_ARG(note));
    else
        fprintf(stderr, "\r\033[K%.*s [%s] %d%% %.*s", STR_ARG(word), bar, pct, STR_ARG(note));
    fflush(stderr);
}

static void show_bar(ath_task *t, struct follow *f, const struct json *job)
{
    ath_str stage, state = json_text(json_get(job, "state"));
    int pct = percent_of(t, json_text(json_get(job, "progress")), &stage);

    if (f->terminal) {
        f->bar = true;
        admin_bar(state, pct, stage);
    } else if (stage.n && !str_eq(stage, f->stage)) {
        f->stage = stage;
        fprintf(stderr, "%.*s %.*s\n", STR_ARG(state), STR_ARG(stage));
    }
}

static void show_events(struct follow *f, const struct json *events)
{
    if (!events || events->type != JSON_ARRAY)
        return;
    json_each(v, events)
    {
        ath_str at = json_text(json_get(v, "at")), level = json_text(json_get(v, "level"));
        ath_str words = json_text(json_get(v, "message"));

        str_i64(json_get(v, "seq")->text, &f->seen);
        if (str_is(words, "progress")) /* it is the bar's */
            continue;
        clear(f);
        fprintf(stderr, "%.*s %.*s %.*s\n", STR_ARG(at), STR_ARG(level), STR_ARG(words));
    }
}

static bool is_over(const struct json *job)
{
    ath_str state = json_text(json_get(job, "state"));

    return str_is(state, "done") || str_is(state, "dead") || str_is(state, "canceled");
}

static int over(ath_task *t, struct follow *f, const struct json *job)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_done end = { .size = sizeof(end) };

    clear(f);
    buf_lit(&b, "{\"job\":");
    buf_str(&b, job->raw);
    buf_char(&b, '}');
    end.bytes = buf_view(&b);
    end.status = str_is(json_text(json_get(job, "state")), "done") ? 0 : 1;
    ath_host_->task->done(t, &end);
    return 0;
}

static int again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : ask(t, d->arg, e);
}

static int pause_then(ath_task *t, struct follow *f, ath_err *e)
{
    return ath_host_->task->after(t, PAUSE_MS, again, f, e);
}

/* A server that is being restarted is no end; one that stays away is. */
static int missed(ath_task *t, struct follow *f, const ath_done *d, ath_err *e)
{
    if (d->rc == 0 && d->status < 500)
        return ath_fail(e, ATH_E_MISSING, "job \"%.*s\" of \"%.*s\" (%d): %.*s",
                        STR_ARG(f->key), STR_ARG(f->queue), d->status, STR_ARG(d->bytes));
    if (++f->failures == FAILURES_MOST)
        return d->rc < 0 ? d->rc
                         : ath_fail(e, ATH_E_UPSTREAM, "job \"%.*s\" (%d): %.*s",
                                    STR_ARG(f->key), d->status, STR_ARG(d->bytes));
    return pause_then(t, f, e);
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct follow *f = d->arg;
    struct json_error why;
    const struct json *data, *job;

    if (d->rc < 0 || d->status != 200)
        return missed(t, f, d, e);
    f->failures = 0;
    data = json_get(json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), 1000000, &why), "data");
    job = json_get(data, "job");
    if (!job)
        return ath_fail(e, ATH_E_UPSTREAM, "the server's answer has no job: %.*s",
                        STR_ARG(d->bytes));
    show_events(f, json_get(data, "events"));
    if (is_over(job))
        return over(t, f, job);
    show_bar(t, f, job);
    return pause_then(t, f, e);
}

static int ask(ath_task *t, struct follow *f, ath_err *e)
{
    struct buf path = admin_job_path(t, f->queue, f->key);

    buf_printf(&path, "?since=%lld", (long long)f->seen);
    return ath_host_->req->call(t,
                                &(ath_fetch){ .size = sizeof(ath_fetch),
                                              .method = "GET",
                                              .url = buf_view(&path),
                                              .max_body = 16u << 20 },
                                answered, f, e);
}

struct buf admin_job_path(ath_task *t, ath_str queue, ath_str key)
{
    struct buf path = BUF_ARENA(ath_arena_of(t));

    buf_lit(&path, "/admin/jobs/");
    admin_segment(&path, queue);
    buf_char(&path, '/');
    admin_segment(&path, key);
    return path;
}

int admin_follow(ath_task *t, ath_str queue, ath_str key, ath_err *e)
{
    struct follow *f = ath_new(ath_arena_of(t), sizeof(*f));

    *f = (struct follow){ .queue = queue, .key = key, .terminal = isatty(STDERR_FILENO) };
    return ask(t, f, e);
}
