/* athena migrate: the components one after the other, then what came of them, in one piece. */
#include <stdio.h>

#include "control/migrate.h"
#include "control/migratejson.h"
#include "control/partition.h"
#include "io/task.h"
#include "lib/json.h"
#include "server/command.h"
#include "server/schemas.h"

enum { EXIT_CURRENT = 0, EXIT_FAILED = 1, EXIT_PENDING = 3 };

struct migrating {
    const struct cli *cli;
    const struct cli_migrate_options *o;
    struct migration m[SCHEMA_COMPONENTS_MOST];
    size_t at, n;                /* the next component; in `m` */
    bool up;
    struct partitioning logs;
    int status;
};

/* ---- what people read ---- */

static void put_line(struct buf *b, const char *component, ath_str client, const char *version,
                     const char *wanted, const char *state)
{
    buf_printf(b, "%-16s %-20.*s %-8s %-8s %s\n", component, STR_ARG(client), version, wanted,
               state);
}

static void put_table(struct buf *b, const struct migrating *g)
{
    put_line(b, "COMPONENT", ATH_S("CLIENT"), "VERSION", "WANTED", "STATE");
    for (size_t i = 0; i < g->n; i++) {
        const struct migration *m = &g->m[i];
        char version[16], wanted[16];
        snprintf(version, sizeof(version), "%u", m->version);
        snprintf(wanted, sizeof(wanted), "%u", m->wanted);
        put_line(b, m->component->name, m->client, version, wanted, migrate_word(m->state));
    }
}

static void put_error(struct buf *b, const struct migration *m)
{
    if (m->err.message_n)
        buf_printf(b, "%s: %.*s\n", m->component->name, (int)m->err.message_n, m->err.message);
    if (m->err.message_n && m->err.hint_n)
        buf_printf(b, "    hint: %.*s\n", (int)m->err.hint_n, m->err.hint);
}

/* What a run would add by itself is not listed: the steps say it. */
static bool is_told(const struct migration *m, const struct finding *f)
{
    bool added = f->kind == FIND_TABLE || f->kind == FIND_COLUMN || f->kind == FIND_INDEX ||
                 f->kind == FIND_CONSTRAINT;

    return !added || m->state == MIGRATE_CURRENT || m->state == MIGRATE_FORM;
}

static void put_findings(struct buf *b, const struct migration *m)
{
    for (const struct finding *f = m->found; f; f = f->next) {
        if (!is_told(m, f))
            continue;
        buf_printf(b, "%s: %.*s\n", m->component->name, STR_ARG(f->message));
        if (f->command.n)
            buf_printf(b, "    mended by: %.*s\n", STR_ARG(f->command));
    }
}

static void put_steps(struct buf *b, const struct migration *m, bool statements)
{
    for (uint32_t i = 0; m->step && i < m->component->steps; i++) {
        const struct migrate_step *s = &m->step[i];
        const struct mutation *x = s->first;
        if (s->changed)
            buf_printf(b, "%s: step %u (%s) ran with another text\n", m->component->name,
                       s->step->version, s->step->name);
        if (!s->wanted)
            continue;
        buf_printf(b, "%s: step %u (%s) is to be run: %u statements\n", m->component->name,
                   s->step->version, s->step->name, s->count);
        for (uint32_t k = 0; statements && k < s->count; k++, x = x->next)
            buf_printf(b, "%.*s;\n", STR_ARG(x->sql));
    }
}

static void put_text(struct buf *b, const struct migrating *g)
{
    put_table(b, g);
    for (size_t i = 0; i < g->n; i++) {
        const struct migration *m = &g->m[i];
        if (g->up && m->ran)
            buf_printf(b, "%s: %u statements were run\n", m->component->name, m->ran);
        put_steps(b, m, g->o->dry_run);
        put_findings(b, m);
        put_error(b, m);
    }
    b->n -= b->n > 0; /* the last newline, which comes with printing it */
    b->p[b->n] = 0;
}

static void put_json(struct buf *b, const struct migrating *g)
{
    buf_lit(b, "{\"components\":[");
    for (size_t i = 0; i < g->n; i++) {
        if (i)
            buf_char(b, ',');
        migrate_json(b, &g->m[i], true);
    }
    buf_char(b, ']');
    buf_json_int(b, "status", g->status);
    buf_char(b, '}');
}

/* ---- running ---- */

static void judge(struct migrating *g, const struct migration *m)
{
    bool pending = m->state == MIGRATE_PENDING || (m->state == MIGRATE_DENIED && !g->up);

    if (m->state == MIGRATE_CURRENT || g->status == EXIT_FAILED)
        return;
    g->status = pending ? EXIT_PENDING : EXIT_FAILED;
}

static int next(ath_task *t, struct migrating *g, ath_err *e);

static int ran(ath_task *t, const ath_done *d, ath_err *e)
{
    struct migrating *g = d->arg;
    struct migration *m = &g->m[g->n++];

    if (d->rc < 0)
        err_copy(&m->err, e);
    judge(g, m);
    return next(t, g, e);
}

static int finish(ath_task *t, struct migrating *g, ath_err *e)
{
    struct buf b = ARENA_BUF(&t->arena);

    if (g->n == 0 && g->o->component.n)
        return err_fail(e, ATH_E_INPUT, "no component \"%.*s\" with a database that is configured",
                        STR_ARG(g->o->component));
    if (g->n == 0)
        return err_fail(e, ATH_E_CONFIG, "gateway.logging_client names no database");
    if (g->cli->json)
        put_json(&b, g);
    else
        put_text(&b, g);
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .bytes = buf_view(&b),
                              .status = g->status });
    return 0;
}

static int next(ath_task *t, struct migrating *g, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = migrate_run, .arg = &g->m[g->n] };
    const struct component *c;
    ath_str client;

    while ((c = schema_component(g->at++, &client))) {
        if (!client.n || c->client[0] != '@' ||
            (g->o->component.n && !str_is(g->o->component, c->name)))
            continue;
        g->m[g->n] = (struct migration){ .component = c, .client = client, .arena = &t->arena,
                                         .apply = g->up && !g->o->dry_run, .thorough = g->up };
        return task_fork(t, &f, ran, g, e);
    }
    return finish(t, g, e);
}

/* ---- partition-logs ---- */

static void put_log(struct buf *b, const struct partition_log *log, bool applied)
{
    static const char *const word[] = {
        [PARTITION_MISSING] = "is missing", [PARTITION_DONE] = "is partitioned",
        [PARTITION_POSSIBLE] = "is one table", [PARTITION_REFUSED] = "cannot be partitioned",
    };
    const char *step;

    buf_printf(b, "%s%s %s%s%.*s", b->n ? "\n" : "", log->table, word[log->state],
               log->reason.n ? ": " : "", STR_ARG(log->reason));
    if (log->state != PARTITION_POSSIBLE || applied)
        return;
    buf_printf(b, ", %llu bytes, about %llu rows; with --apply:",
               (unsigned long long)log->bytes, (unsigned long long)log->rows);
    for (size_t i = 0; (step = partition_step(i)); i++)
        buf_printf(b, "\n    %zu. %s", i + 1, step);
}

static void put_log_json(struct buf *b, const struct partition_log *log)
{
    static const char *const word[] = {
        [PARTITION_MISSING] = "missing", [PARTITION_DONE] = "partitioned",
        [PARTITION_POSSIBLE] = "table", [PARTITION_REFUSED] = "refused",
    };

    buf_lit(b, "{");
    buf_json_str(b, "table", str_of(log->table));
    buf_json_str(b, "state", str_of(word[log->state]));
    buf_json_bool(b, "converted", log->converted);
    buf_json_int(b, "bytes", (int64_t)log->bytes);
    buf_json_int(b, "estimated_rows", (int64_t)log->rows);
    buf_json_str(b, "reason", log->reason);
    buf_lit(b, "}");
}

static int partitioned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct migrating *g = d->arg;
    struct buf b = ARENA_BUF(&t->arena);

    (void)e;
    if (d->rc < 0)
        return d->rc;
    if (g->cli->json)
        buf_lit(&b, "{\"logs\":[");
    for (size_t i = 0; i < PARTITION_LOGS; i++) {
        const struct partition_log *log = &g->logs.log[i];
        if (g->cli->json && i)
            buf_lit(&b, ",");
        if (g->cli->json)
            put_log_json(&b, log);
        else
            put_log(&b, log, g->logs.apply);
        if (log->state == PARTITION_POSSIBLE && g->status != EXIT_FAILED)
            g->status = EXIT_PENDING;
        if (log->state == PARTITION_REFUSED)
            g->status = EXIT_FAILED;
    }
    if (g->cli->json)
        buf_lit(&b, "]}");
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .bytes = buf_view(&b),
                              .status = g->status });
    return 0;
}

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct migrating *g = ARENA_NEW(&t->arena, struct migrating);
    ath_fork f = { .size = sizeof(f), .run = partition_run, .arg = &g->logs };

    g->cli = arg;
    g->o = g->cli->options;
    g->up = str_is(g->o->action, "up");
    g->logs = (struct partitioning){ .apply = g->o->apply, .arena = &t->arena };
    return str_is(g->o->action, "partition-logs") ? task_fork(t, &f, partitioned, g, e)
                                                  : next(t, g, e);
}

int command_migrate(const struct cli *cli)
{
    struct setup_options o = setup_options_of(cli);
    struct setup s;
    ath_err e;
    int status = EXIT_FAILED;

    err_reset(&e);
    if (setup_open(&s, &o, &e) < 0 || setup_load(&s, SETUP_SERVES, &e) < 0) {
        setup_print(&s, ATH_ERROR, &e);
    } else {
        schemas_setup(&s);
        status = command_task(cli, &s, "migrate", begin, (void *)(uintptr_t)cli);
    }
    setup_close(&s);
    return status;
}
