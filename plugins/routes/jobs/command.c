/* athena jobs ...: what the routes do, from a terminal. */
#include "jobs.h"

struct job_named {               /* which one */
    ath_str queue, key;
};

struct listing {
    ath_str queue, state, client, after;
    int64_t limit;
};

/* clang-format off */
static const ath_field listing_fields[] = {
    ATH_STR(struct listing, queue, "queue", "", NULL, "Of which queue; none: the queues themselves.", .flags = ATH_CF_ARG),
    ATH_STR(struct listing, state, "state", "", NULL, "waiting, running, done, dead or canceled; empty: all."),
    ATH_STR(struct listing, client, "client", "", NULL, "Of this client; empty: of all."),
    ATH_STR(struct listing, after, "after", "", NULL, "Those behind the job with this key."),
    ATH_INT(struct listing, limit, "limit", "50", "1..1000", "So many at most."),
};
static const ath_field named_fields[] = {
    ATH_STR(struct job_named, queue, "queue", NULL, NULL, "The queue: see athena jobs list.", .flags = ATH_CF_ARG),
    ATH_STR(struct job_named, key, "key", NULL, NULL, "The job.", .flags = ATH_CF_ARG),
};
/* clang-format on */

static void put_filter(struct buf *path, const char *name, ath_str value)
{
    if (value.n == 0)
        return;
    buf_printf(path, "&%s=", name);
    admin_segment(path, value);
}

static int list_run(ath_task *t, const void *options, ath_err *e)
{
    const struct listing *o = options;
    struct buf path = BUF_ARENA(ath_arena_of(t));

    buf_lit(&path, "/admin/jobs");
    if (o->queue.n) {
        buf_char(&path, '/');
        admin_segment(&path, o->queue);
        buf_printf(&path, "?limit=%lld", (long long)o->limit);
        put_filter(&path, "state", o->state);
        put_filter(&path, "client", o->client);
        put_filter(&path, "after", o->after);
    }
    return admin_remote(t, "GET", buf_view(&path), (ath_str){ 0 }, e);
}

static int act(ath_task *t, const void *options, const char *method, const char *more, ath_err *e)
{
    const struct job_named *o = options;
    struct buf path = admin_job_path(t, o->queue, o->key);

    buf_z(&path, more);
    return admin_remote(t, method, buf_view(&path), (ath_str){ 0 }, e);
}

static int show_run(ath_task *t, const void *options, ath_err *e)
{
    return act(t, options, "GET", "", e);
}

static int cancel_run(ath_task *t, const void *options, ath_err *e)
{
    return act(t, options, "POST", "/cancel", e);
}

static int retry_run(ath_task *t, const void *options, ath_err *e)
{
    return act(t, options, "POST", "/retry", e);
}

static int follow_run(ath_task *t, const void *options, ath_err *e)
{
    const struct job_named *o = options;

    return admin_follow(t, o->queue, o->key, e);
}

const ath_command list_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "jobs list"),
    .summary = "The queues, or the jobs of one, the newest first",
    .rows = "data.queues data.jobs",
    .columns = "queue,waiting,ready,running,dead,canceled,oldest_s;"
               "key,state,client,attempts,created_at,due_at,finished_at,daemon_id,progress,error",
    .run = list_run,
    ATH_ARRAY(field, listing_fields),
    .options_size = sizeof(struct listing),
};

#define OF_JOB(member_, name_, summary_, run_, ...)                                                \
    const ath_command member_ = {                                                                  \
        ATH_CAP(ath_command, ATH_CAP_COMMAND, name_),                                              \
        .summary = (summary_),                                                                     \
        .run = (run_),                                                                             \
        ATH_ARRAY(field, named_fields),                                                            \
        .options_size = sizeof(struct job_named),                                                  \
        __VA_ARGS__                                                                                \
    }

OF_JOB(show_command, "jobs show", "One job, with what happened to it", show_run,
       .rows = "data.events", .columns = "seq,at,daemon_id,level,message,data");
OF_JOB(cancel_command, "jobs cancel", "Cancel a job, waiting or running", cancel_run);
OF_JOB(retry_command, "jobs retry", "Let a job that is over wait again", retry_run);
OF_JOB(follow_command, "jobs follow", "Show what happens to a job until it is over", follow_run,
       .rows = "job", .columns = ADMIN_FOLLOWED_COLUMNS);
