/* From the registry's capabilities to what core/jobs runs. */
#include "server/workers.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "control/daemons.h"
#include "jobs/jobs.h"
#include "jobs/ticks.h"
#include "lib/json.h"
#include "log/log.h"

enum { WORKERS_MOST = 64, QUEUES_MOST = 64 };

struct found {
    struct tick_worker tick[WORKERS_MOST];
    struct job_worker job[WORKERS_MOST];
    const ath_queue *queue[QUEUES_MOST];
    size_t ticks, jobs, queues;
};

static bool runs_here(const struct setup *s, const ath_worker *w)
{
    return role_runs(s->role, w, s->core.daemon.enabled);
}

/* ---- a process of workers without workers ---- */

static bool is_open(const struct capability *c)
{
    return __atomic_load_n(&c->open, __ATOMIC_RELAXED) != 0;
}

/* One that somebody should run, and not each process for itself. */
static bool is_known(const struct capability *c)
{
    return is_open(c) && !(c->worker.flags & ATH_WK_LOCAL);
}

static bool any_runs(const struct setup *s)
{
    const struct capability *c;

    for (uint32_t i = 0; (c = registry_cap(s->registry, ATH_CAP_WORKER, i)); i++)
        if (runs_here(s, &c->worker) && is_known(c))
            return true;
    return false;
}

/* What is there of this family, and what is in its way. */
static void say_family(const struct setup *s, const char *family, struct buf *b)
{
    const struct capability *c;
    uint32_t found = 0;

    for (uint32_t i = 0; (c = registry_cap(s->registry, ATH_CAP_WORKER, i)); i++) {
        if (strcmp(c->worker.family, family) != 0)
            continue;
        buf_printf(b, "%s%s is switched off by %s.%s", found++ ? ", " : "", c->worker.cap.name,
                   c->self->name, c->gate ? c->gate->key : "?");
    }
    if (!found)
        buf_printf(b, "no plugin \"worker-%s\" is in \"%s\"", family, s->plugin_dir);
}

int workers_check(const struct setup *s, ath_err *e)
{
    const struct role *r = s->role;
    struct buf b = BUF_HEAP;

    if (r->serves || any_runs(s))
        return 0;
    err_fail(e, ATH_E_CONFIG,
             "%s did not start any workers; enable the corresponding worker "
             "settings before booting this binary",
             r->kind);
    for (uint32_t i = 0; i < r->families; i++) {
        buf_z(&b, i ? "; " : "");
        say_family(s, r->family[i], &b);
    }
    if (r->all)
        buf_lit(&b, "no plugin in the list of plugins has a worker that is switched on");
    err_hint(e, "Expected, but %.*s.", STR_ARG(buf_view(&b)));
    buf_free(&b);
    return e->rc;
}

/* ---- who runs what ---- */

void workers_known(const struct setup *s, struct buf *b)
{
    const struct capability *c;
    uint32_t n = 0;

    buf_char(b, '[');
    for (uint32_t i = 0; (c = registry_cap(s->registry, ATH_CAP_WORKER, i)); i++) {
        if (!is_known(c))
            continue;
        buf_z(b, n++ ? ",{" : "{");
        buf_json_str(b, "worker", str_of(c->worker.cap.name));
        buf_json_str(b, "family", str_of(c->worker.family));
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

bool workers_inline(const struct setup *s, ath_str family)
{
    static const struct role server = { .serves = true };
    const struct capability *c;

    for (uint32_t i = 0; (c = registry_cap(s->registry, ATH_CAP_WORKER, i)); i++)
        if (is_known(c) && str_is(family, c->worker.family) &&
            role_runs(&server, &c->worker, s->core.daemon.enabled))
            return true;
    return false;
}

/* ---- the programs ---- */

static const struct setup *running; /* what was started */

static void put_program(struct buf *b, const struct role *r, const char *kind, const char *command)
{
    const struct capability *c;
    const char *binary = r->serves ? "athena_rs" : r->kind;
    uint32_t n = 0;

    if (r->families == 1 && !cli_link("worker", r->family[0]))
        binary = "athena"; /* it has no name of its own */
    buf_z(b, b->p[b->n - 1] == '[' ? "{" : ",{");
    buf_json_str(b, "binary", str_of(binary));
    buf_json_str(b, "command", str_of(command));
    buf_json_str(b, "runtime_kind", str_of(kind));
    buf_json_key(b, "workers");
    buf_char(b, '[');
    for (uint32_t i = 0; (c = registry_cap(running->registry, ATH_CAP_WORKER, i)); i++) {
        if (!role_runs(r, &c->worker, running->core.daemon.enabled))
            continue;
        buf_z(b, n++ ? "," : "");
        buf_json(b, str_of(c->worker.cap.name));
    }
    buf_lit(b, "]}");
}

/* One for each family of the loaded plugins; true: there is one. */
static bool put_families(struct buf *b)
{
    const struct capability *c;
    const char *last = "";

    for (uint32_t i = 0; (c = registry_cap(running->registry, ATH_CAP_WORKER, i)); i++) {
        struct role r = role_of_family(c->worker.family);
        char command[ROLE_KIND];
        if (c->worker.flags & ATH_WK_LOCAL || strcmp(c->worker.family, last) == 0)
            continue;
        snprintf(command, sizeof(command), "athena worker %s", c->worker.family);
        put_program(b, &r, r.kind, command);
        last = c->worker.family;
    }
    return last[0] != 0;
}

void workers_programs_json(struct buf *b)
{
    const struct role server = { .serves = true }, daemon = role_of_family(NULL);

    buf_char(b, '[');
    if (running) {
        put_program(b, &server, "api", "athena serve");
        if (put_families(b))
            put_program(b, &daemon, daemon.kind, "athena daemon");
    }
    buf_char(b, ']');
}

/* ---- the start ---- */

static const int32_t always = 1;

static const void *no_config(const ath_self *self)
{
    (void)self;
    return NULL;
}

static void add(struct found *f, const struct capability *c)
{
    if (c->worker.queue && f->jobs < WORKERS_MOST)
        f->job[f->jobs++] = (struct job_worker){ .worker = &c->worker,
                                                 .self = c->self,
                                                 .plugin = c->self->name,
                                                 .open = &c->open,
                                                 .config = registry_config };
    else if (!c->worker.queue && f->ticks < WORKERS_MOST)
        f->tick[f->ticks++] = (struct tick_worker){ .worker = &c->worker,
                                                    .self = c->self,
                                                    .plugin = c->self->name,
                                                    .open = &c->open,
                                                    .config = registry_config };
}

/* Those of the role, the core's own heartbeat, and queues of routes, whose workers may run in
 * another process. */
static void find(const struct setup *s, struct found *f)
{
    const struct capability *c;

    for (uint32_t i = 0; (c = registry_cap(s->registry, ATH_CAP_WORKER, i)); i++) {
        if (!runs_here(s, &c->worker))
            continue;
        add(f, c);
        if (c->worker.schedule && c->worker.schedule->queue && f->queues < QUEUES_MOST)
            f->queue[f->queues++] = c->worker.schedule->queue;
    }
    if (f->ticks < WORKERS_MOST)
        f->tick[f->ticks++] = (struct tick_worker){
            .worker = &daemons_worker, .plugin = "athena", .open = &always, .config = no_config
        };
    for (uint32_t i = 0; (c = registry_cap(s->registry, ATH_CAP_QUEUE, i)); i++)
        if (f->queues < QUEUES_MOST)
            f->queue[f->queues++] = &c->queue;
}

void workers_start(const struct setup *s, ath_loop *home)
{
    static struct found f; /* large; the start is done once */
    bool control = s->core.gateway.logging_client.n > 0;
    char id[DAEMON_ID], base[DAEMON_ID];

    running = s;
    f = (struct found){ 0 };
    find(s, &f);
    daemons_id(id, base);
    if (s->core.daemon.enabled && s->role->serves)
        log_write(ATH_INFO, "athena::workers",
                  "Daemon mode enabled in config; API runtime skips "
                  "daemon-owned background workers");
    jobs_start(&(struct jobs_options){ .home = home,
                                       .id = id,
                                       .base_id = base,
                                       .worker = f.job,
                                       .worker_count = f.jobs,
                                       .queue = f.queue,
                                       .queue_count = f.queues,
                                       .drain_ms = s->core.server.drain_timeout_ms,
                                       .control = control });
    ticks_start(home, f.tick, f.ticks, control);
}
