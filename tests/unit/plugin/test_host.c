/* core/plugin: the host's table as plugin code sees it, in tasks on a real loop. */
#include "fixtures/plugins/probe.h"

#include <semaphore.h>

#include "http/http.h"
#include "io/task.h"
#include "log/metric.h"
#include "plugin/host.h"
#include "plugin/stage.h"
#include "unit/plugin/fixtures.h"

struct job { /* a task of the test's own, run to its end */
    ath_task task;
    ath_loop *loop;
    ath_self *self;
    ath_run *run;
    sem_t ended;
    int rc;
    uint64_t count;
    char text[1024];
};

static void job_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct job *j = (struct job *)t;

    j->rc = rc;
    if (rc < 0 && e)
        snprintf(j->text, sizeof(j->text), "%s", e->message);
    else if (result)
        snprintf(j->text, sizeof(j->text), "%.*s", STR_ARG(result->bytes));
    j->count = result ? result->count : 0;
    task_unref(t);
}

static void job_destroy(ath_task *t)
{
    sem_post(&((struct job *)t)->ended);
}

static const struct task_type job_type = { .name = "job", .end = job_end, .destroy = job_destroy };

static void job_start(void *arg)
{
    struct job *j = arg;

    task_init(&j->task, &job_type, j->loop, j->self, NULL);
    task_deadline(&j->task, loop_now_ms(j->loop) + 10000);
    task_run(&j->task, j->run, NULL);
}

static ath_str inspect(ath_task *t, const char *what)
{
    return arena_printf(&t->arena, "a %s", what);
}

static ath_loop *loop;
static struct registry *r;
static const struct probe *probe;

static void begin(void)
{
    const char *name = "driver-probe";
    struct load_options o = { .dir = fix_dir,
                              .plugin = &name,
                              .plugin_count = 1,
                              .kinds = PLUGIN_DRIVER,
                              .drivers = true,
                              .host = host_table(),
                              .fill = fix_fill };
    ath_err e;

    fix_begin();
    fix_put("driver-probe", NULL);
    r = registry_new();
    ck_assert_msg(registry_load(r, &o, &e) == 0, "%s", fix_refusals(r));
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "test", &loop, &e), 0);
    ck_assert_int_eq(loop_start(loop, &e), 0);
    ck_assert_int_eq(stage_up(r, &loop, 1, &e), 0);
    probe = r->self[0]->cap[0].driver.vtable;
}

static void run(struct job *j, ath_run *what)
{
    *j = (struct job){ .loop = loop, .self = r->self[0], .run = what };
    sem_init(&j->ended, 0, 0);
    loop_post(loop, job_start, j);
    sem_wait(&j->ended);
    sem_destroy(&j->ended);
}

static void end(void)
{
    stage_down(r);
    loop_stop(loop);
    loop_join(loop);
    loop_free(loop);
    registry_free(r);
    fix_end();
}

START_TEST(a_plugin_sees_its_things_and_what_is_not_built)
{
    struct buf b = BUF_HEAP;
    struct job j;

    begin();
    host_inspect(inspect);
    run(&j, probe->whole);
    ck_assert_int_eq(j.rc, 0);
    ck_assert_str_eq(
        j.text,
        "child 1 7, state shared, local own, inspect a colour, job yes, fetch yes, session yes");
    metric_render(&b);
    ck_assert_ptr_nonnull(strstr(b.p, "athena_probe_total{who=\"probe\"} 2"));
    buf_free(&b);
    host_inspect(NULL);

    run(&j, probe->old_structs);
    ck_assert_int_eq(j.rc, 0);
    ck_assert_str_eq(j.text, "old");
    ck_assert_uint_eq(j.count, 0); /* it lies behind what an older plugin's struct has */
    end();
}
END_TEST

static const ath_host *called;
static int denied;

static int allow(struct req *q, const ath_right *right, uint32_t n, ath_err *e)
{
    (void)q, (void)right, (void)n;
    return denied ? err_raise(e, "forbidden", "no") : 0;
}

/* A request of the test's own making; only what the checks look at is filled. */
START_TEST(rights_are_asked_before_queries)
{
    struct http h = { .allow = allow };
    struct route route = { .def = { .flags = ATH_RT_ASKS },
                           .plugin = "routes-x",
                           .label = "GET /x" };
    struct req q = { .http = &h, .match = { .route = &route }, .task = { .type = &request_type } };
    ath_query query = { .size = sizeof(query) };
    ath_who who = { .size = offsetof(ath_who, client) };
    ath_err e;

    called = host_table();
    ck_assert_int_eq(called->pg->query(&q.task, &query, NULL, NULL, &e), ATH_E_BUG);
    ck_assert_str_eq(e.message,
                     "plugin \"routes-x\" queries a database before it asked for rights in GET /x");
    denied = 1;
    ck_assert_int_eq(called->req->allow(&q.task, NULL, 0, &e), ATH_E_DENIED);
    ck_assert(!q.asked);
    denied = 0;
    ck_assert_int_eq(called->req->allow(&q.task, NULL, 0, &e), 0);
    ck_assert(q.asked);
    who.client = ATH_S("untouched");
    q.who.client = ATH_S("acme");
    q.who.key_id = ATH_S("k1");
    called->req->who(&q.task, &who);
    ck_assert(str_is(who.key_id, "k1") && str_is(who.client, "untouched"));
    ck_assert_uint_eq(who.size, offsetof(ath_who, client));
}
END_TEST

SUITE("plugin host", a_plugin_sees_its_things_and_what_is_not_built,
      rights_are_asked_before_queries)
