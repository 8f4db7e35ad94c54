/* `athena doctor`: the process as `serve` would make it, but for listening and logging, examined
 * once.
 *
 * A configuration with errors is examined as far as it goes; one that cannot be read at all is a
 * document of two lines. Work that plugins began is cancelled at the end, as when a server stops.
 */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "db/client.h"
#include "http/client.h"
#include "http/router.h"
#include "lib/jsonread.h"
#include "log/log.h"
#include "plugin/host.h"
#include "plugin/stage.h"
#include "server/databases.h"
#include "server/doctor.h"
#include "server/doctor_priv.h"
#include "server/inspect.h"
#include "server/loops.h"
#include "server/schemas.h"

enum { WAIT_MS = 10, LEAVE_MS = 2000, CHECKS_MOST = 100000 };

struct visit {
    ath_task task; /* first */
    struct setup *setup;
    struct loops loops;
    struct router *router;
    uv_timer_t step;
    uint64_t until_ms;
    struct buf document;
    ath_err err;
    int rc;
};

/* ---- on the terminal ---- */

static const char *colour(ath_str verdict)
{
    static const char *const of[][2] = {
        { "ok", "\033[32m" },
        { "warn", "\033[33m" },
        { "fail", "\033[31m" },
        { "skip", "\033[2m" },
    };

    for (size_t i = 0; i < ATH_COUNT(of); i++)
        if (str_is(verdict, of[i][0]))
            return of[i][1];
    return "";
}

/* One line, whatever a message holds; and nothing that a terminal obeys. */
static void print_text(ath_str s)
{
    for (size_t i = 0; i < s.n; i++)
        putchar(iscntrl((unsigned char)s.p[i]) ? ' ' : s.p[i]);
}

static void print_check(const struct json *c, int width, bool coloured)
{
    ath_str verdict = json_text(json_get(c, "verdict")), name = json_text(json_get(c, "name"));
    ath_str seen = json_text(json_get(c, "seen")), hint = json_text(json_get(c, "hint"));

    printf("%s%-4.*s%s  %-*.*s  ", coloured ? colour(verdict) : "", STR_ARG(verdict),
           coloured ? "\033[0m" : "", width, STR_ARG(name));
    print_text(seen);
    printf("  (%.*s ms)\n", STR_ARG(json_get(c, "took_ms")->text));
    if (hint.n && !str_is(verdict, "ok"))
        printf("      %*s  hint: %.*s\n", width, "", STR_ARG(hint));
}

static void print_people(const struct json *document)
{
    const struct json *checks = json_get(document, "checks"),
                      *counts = json_get(document, "counts");
    bool coloured = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    size_t width = 0;

    json_each(c, checks) if (json_text(json_get(c, "name")).n > width) width =
        json_text(json_get(c, "name")).n;
    json_each(c, checks) print_check(c, (int)width, coloured);
    printf("%u checks in %.*s ms:", checks->count, STR_ARG(json_get(document, "took_ms")->text));
    json_each(n, counts)
        printf(" %.*s %.*s%s", STR_ARG(n->text), STR_ARG(n->key), n->next ? "," : "\n");
}

/* 1: something has failed. */
static int print_document(ath_str text, bool json)
{
    ath_arena arena;
    struct json_error why;
    const struct json *document;
    int status;

    arena_init(&arena);
    document = json_read(text, (struct json_memory){ arena_raw, &arena }, CHECKS_MOST, &why);
    if (json || !document)
        printf("%.*s\n", STR_ARG(text));
    else
        print_people(document);
    status = str_is(json_text(json_get(document, "status")), "fail");
    arena_free(&arena);
    return status;
}

/* There is no process to be examined: one line says why. */
static int print_refusal(struct setup *s, const char *name, const char *hint, ath_str why,
                         bool json)
{
    ath_arena arena;
    struct exam x = { .setup = s, .arena = &arena, .began_ns = clock_ns() };
    struct buf b = BUF_HEAP;
    int status;

    arena_init(&arena);
    doctor_note(doctor_add(&x, name, NULL, NULL), VERDICT_FAIL, hint, "%.*s", STR_ARG(why));
    doctor_document(&x, &b);
    status = print_document(buf_view(&b), json);
    buf_free(&b);
    arena_free(&arena);
    return status;
}

/* ---- the process ---- */

static void rooms_fini(ath_loop *l, void *arg)
{
    (void)arg;
    client_loop_fini(l);
    db_loop_fini(l);
}

static void databases_init(ath_loop *l, void *arg)
{
    struct visit *v = arg;

    if (v->rc == 0)
        v->rc = db_loop_init(l, &v->err);
}

static void cut(ath_loop *l, void *arg)
{
    (void)arg;
    task_cancel_all(l);
}

static void leave_step(uv_timer_t *h)
{
    struct visit *v = h->data;

    if (task_alive() && uv_now(h->loop) < v->until_ms)
        return;
    uv_close((uv_handle_t *)h, NULL);
    loops_each(&v->loops, 0, rooms_fini, NULL);
    stage_down(v->setup->registry);
    loops_stop(&v->loops);
}

static void leave(struct visit *v)
{
    ath_loop *l = loops_control(&v->loops);

    stage_drain(v->setup->registry);
    loops_each(&v->loops, 0, cut, NULL);
    uv_timer_init(&l->uv, &v->step);
    v->step.data = v;
    uv_update_time(&l->uv);
    v->until_ms = uv_now(&l->uv) + LEAVE_MS;
    uv_timer_start(&v->step, leave_step, 0, WAIT_MS);
}

static void visit_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct visit *v = (struct visit *)t;

    v->rc = rc;
    if (rc < 0)
        err_copy(&v->err, e);
    else
        buf_str(&v->document, result->bytes);
}

static void visit_destroy(ath_task *t)
{
    leave((struct visit *)t);
}

static int examined(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    task_done(t, d);
    return 0;
}

static int examine(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return doctor_service.examine(t, 0, examined, NULL, e);
}

static void visit_start(void *arg)
{
    static const struct task_type type = { .name = "command",
                                           .end = visit_end,
                                           .destroy = visit_destroy };
    struct visit *v = arg;

    task_init(&v->task, &type, loops_control(&v->loops), NULL, NULL);
    v->task.label = "doctor";
    task_run(&v->task, examine, v);
    task_unref(&v->task);
}

static const char *name_or_null(ath_str name)
{
    return name.n ? name.p : NULL;
}

/* What plugins lack is for the checks to say. */
static void load(struct visit *v)
{
    const struct gateway_config *g = &v->setup->core.gateway;
    struct inspect_sources from = { .logging_client = name_or_null(g->logging_client) };
    ath_err e;

    err_reset(&e);
    from.router = v->router = router_new();
    if (setup_load(v->setup, SETUP_SERVES, &e) == 0)
        (void)registry_routes(v->setup->registry, v->router, &e);
    schemas_setup(v->setup);
    setup_check_keys(v->setup);
    host_inspect(inspect);
    (void)inspect_start(&from, &e);
}

static int begin(struct visit *v)
{
    struct client_options http = client_options_of(&v->setup->core);
    struct loops *l = &v->loops;
    int rc;

    signal(SIGPIPE, SIG_IGN);
    load(v);
    if ((rc = client_start(&http, &v->err)) < 0 || (rc = loops_new(l, 0, 1, &v->err)) < 0 ||
        (rc = databases_start(v->setup, l->all, l->count, &v->err)) < 0 ||
        (rc = loops_start(l, &v->err)) < 0)
        return rc;
    loops_each(l, 0, databases_init, v);
    if ((rc = v->rc) == 0)
        rc = stage_up(v->setup->registry, l->all, l->count, &v->err);
    if (rc < 0)
        loops_each(l, 0, rooms_fini, NULL);
    return rc;
}

static int visit(struct setup *s, bool json)
{
    struct visit *v = MEM_NEW(struct visit);
    int status;

    v->setup = s;
    err_reset(&v->err);
    doctor_start(s, false);
    v->rc = begin(v);
    if (v->rc < 0)
        loops_stop(&v->loops);
    else
        loop_post(loops_control(&v->loops), visit_start, v);
    if (v->loops.count)
        loop_run(loops_control(&v->loops));
    loops_free(&v->loops);
    schema_stop();
    inspect_stop();
    db_stop();
    client_stop();
    router_free(v->router);
    status = v->rc < 0 ? print_refusal(s, "process", "athena serve would not start either.",
                                       err_get(&v->err, "message"), json)
                       : print_document(buf_view(&v->document), json);
    buf_free(&v->document);
    free(v);
    return status;
}

int command_doctor(const struct cli *cli)
{
    struct setup_options o = setup_options_of(cli);
    struct setup s;
    ath_err e;
    int status;

    err_reset(&e);
    (void)log_filter("error", &e); /* what the checks cause is not news */
    (void)setup_open(&s, &o, &e);  /* what is wrong with it is the first thing to be said */
    if (s.config && !s.report.summary)
        status = visit(&s, cli->json);
    else
        status = print_refusal(
            &s, "config.path", "Name the file: --config PATH, or ATHENA_CONFIG_PATH.",
            s.report.summary ? str_of(s.report.summary) : ATH_S("no configuration"), cli->json);
    setup_close(&s);
    return status;
}
