/* A job as a task on a work loop, and what its code may ask about it.
 *
 *     home                        the task's loop
 *     job_begin()      --post-->  start: the plugin's run()
 *     job_fate()       --post-->  cancel, with the grace time
 *     job_over()       <--post--  all that it started has ended
 *
 * Each word on its way holds a reference; the last one frees the job, on whatever thread it came
 * to.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "jobs/jobs_priv.h"
#include "lib/json.h"
#include "log/log.h"

static char *put(char **at, ath_str s, ath_str *ret)
{
    *ret = (ath_str){ s.p ? *at : NULL, s.n };
    if (s.n)
        memcpy(*at, s.p, s.n);
    (*at)[s.n] = 0;
    *at += s.n + 1;
    return *at;
}

struct job *job_new(struct runner *r, ath_str key, ath_str token, ath_str args, ath_str client)
{
    struct job *j = mem_new(sizeof(*j) + key.n + token.n + args.n + client.n + 4);
    char *at = j->text;

    j->magic = JOB_MAGIC;
    j->runner = r;
    put(&at, key, &j->key);
    put(&at, token, &j->token);
    put(&at, args, &j->args);
    put(&at, client, &j->client);
    atomic_init(&j->refs, 1);
    list_init(&j->node);
    return j;
}

void job_unref(struct job *j)
{
    if (atomic_fetch_sub(&j->refs, 1) > 1)
        return;
    j->magic = 0;
    free(j->result);
    free(j->progress);
    free(j);
}

struct job *job_find(struct list *in, ath_str key)
{
    list_each (node, next, in) {
        struct job *j = list_entry(node, struct job, node);
        if (str_eq(j->key, key))
            return j;
    }
    return NULL;
}

/* ---- the task ---- */

static void task_ended(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct job *j = list_entry(t, struct job, task);

    j->rc = rc;
    if (rc < 0) {
        snprintf(j->error, sizeof(j->error), "%.*s", (int)e->message_n, e->message);
        utf8_mend(j->error, strlen(j->error));
    } else if (result && result->bytes.n) {
        j->result = mem_dup_str(result->bytes);
    }
    task_unref(t);
}

static void job_over(void *arg)
{
    struct job *j = CHECKED(arg, struct job, JOB_MAGIC);

    FAULT("jobs.ran");
    job_ended(j);
}

static void task_destroyed(ath_task *t)
{
    struct job *j = list_entry(t, struct job, task);

    j->over = true;
    loop_post(jobs.o.home, job_over, j);
}

static const struct task_type job_type = {
    .name = "job", .end = task_ended, .destroy = task_destroyed, .top = true
};

static int run(ath_task *t, void *arg, ath_err *e)
{
    struct job *j = arg;

    FAULT("jobs.run");
    return j->runner->w.worker->run(t, e);
}

static void start(void *arg)
{
    struct job *j = arg;
    struct runner *r = j->runner;

    j->begun = true;
    task_init(&j->task, &job_type, j->loop, r->w.self, NULL);
    j->task.label = r->w.worker->cap.name;
    j->task.client = j->client.n ? db_client_find(j->client) : NULL;
    if (r->pace.deadline_ms)
        task_deadline(&j->task, loop_now_ms(j->loop) + r->pace.deadline_ms);
    task_run(&j->task, run, j);
}

void job_begin(struct job *j)
{
    ath_loop *l = task_work_loop();

    j->loop = l ? l : jobs.o.home;
    j->begun_ns = clock_ns();
    loop_post(j->loop, start, j);
}

/* ---- ended early ---- */

static void cancel(void *arg)
{
    struct job *j = arg;

    if (j->begun && !j->over) {
        task_cancel(&j->task);
        task_deadline(&j->task, loop_now_ms(j->loop) + j->runner->pace.grace_ms);
    }
    job_unref(j);
}

void job_fate(struct job *j, enum job_fate fate)
{
    int before = atomic_load(&j->fate);

    if ((int)fate <= before)
        return;
    atomic_store(&j->fate, fate);
    if (before != FATE_NONE)
        return;
    atomic_fetch_add(&j->refs, 1);
    loop_post(j->loop, cancel, j);
}

/* ---- what its code asks ---- */

/* The job that a task works for; NULL: none. */
static struct job *job_of(ath_task *t)
{
    for (; t; t = t->parent)
        if (t->type == &job_type)
            return CHECKED(list_entry(t, struct job, task), struct job, JOB_MAGIC);
    return NULL;
}

ath_str job_key(ath_task *t)
{
    struct job *j = job_of(t);

    return j ? j->key : ATH_S("");
}

ath_str job_args(ath_task *t)
{
    struct job *j = job_of(t);

    return j && j->args.p ? j->args : ATH_S("");
}

uint32_t job_attempt(ath_task *t)
{
    struct job *j = job_of(t);

    return j ? j->attempt : 0;
}

struct word { /* of a job, on its way home */
    struct job *job;
    char *text;
};

/* The latest word counts, if the lease is held when it is written. */
static void take_progress(void *arg)
{
    struct word *w = arg;
    struct job *j = w->job;

    if (atomic_load(&j->fate) == FATE_LOST) {
        free(w->text);
    } else {
        free(j->progress);
        j->progress = w->text;
        runner_pump(j->runner);
    }
    job_unref(j);
    free(w);
}

int job_progress(ath_task *t, ath_str json)
{
    struct job *j = job_of(t);
    struct word *w;

    if (!j)
        return ATH_E_BUG;
    if (atomic_load(&j->fate) == FATE_LOST || clock_ns() >= atomic_load(&j->until_ns))
        return ATH_E_LEASE;
    w = MEM_NEW(struct word);
    w->job = j;
    w->text = mem_dup_str(json);
    atomic_fetch_add(&j->refs, 1);
    loop_post(jobs.o.home, take_progress, w);
    return 0;
}

/* ---- its lease, for fenced queries ---- */

static bool lease_of(ath_task *t, struct db_lease *ret)
{
    struct job *j = job_of(t);
    struct queue_sql *sql;

    if (!j)
        return false;
    sql = atomic_load(&j->runner->family->sql);
    *ret = (struct db_lease){
        .sql = sql->fence,
        .param = { j->key, j->token },
        .until_ns = atomic_load(&j->fate) == FATE_LOST ? 0 : atomic_load(&j->until_ns),
    };
    return true;
}

void jobs_fence(void)
{
    db_leases(lease_of);
}
