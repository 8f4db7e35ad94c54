/* Checks of the configuration and of the machine. */
#include <sys/resource.h>
#include <unistd.h>

#include "http/client.h"
#include "log/log.h"
#include "server/capabilities.h"
#include "server/doctor_priv.h"
#include "server/inspect.h"

static const struct core_config *core_of(const struct check *c)
{
    return &c->exam->setup->core;
}

static ath_str variable(const struct check *c, const char *name)
{
    ath_str value = { "", 0 };

    return env_get_z(&c->exam->setup->config->env, name, &value) ? str_trim(value)
                                                                 : (ath_str){ "", 0 };
}

/* ---- the configuration ---- */

int check_path(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    const struct config *config = c->exam->setup->config;

    (void)e;
    if (!config->path)
        return doctor_say(t, c, VERDICT_WARN,
                          "Name the file: --config PATH, or ATHENA_CONFIG_PATH.",
                          "no configuration file was found");
    if (config->discovered)
        return doctor_say(
            t, c, VERDICT_WARN, "Name the file: --config PATH, or ATHENA_CONFIG_PATH.",
            "%s was found by looking in the usual places (%s)", config->path, config->label);
    return doctor_say(t, c, VERDICT_OK, NULL, "%s (%s)", config->path, config->label);
}

static void put_notes(struct buf *b, const struct config_report *rep, int level)
{
    enum { NOTES_SHOWN = 5 };
    size_t shown = 0;

    for (size_t i = 0; i < rep->n && shown < NOTES_SHOWN; i++) {
        if (rep->note[i].level > level)
            continue;
        buf_z(b, shown++ ? "; " : ": ");
        config_note_line(&rep->note[i], b);
    }
}

int check_accepted(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    const struct config_report *rep = &c->exam->setup->report;
    struct buf b = ARENA_BUF(&t->arena);

    (void)e;
    if (rep->errors + rep->warnings == 0)
        return doctor_say(t, c, VERDICT_OK, NULL, "no errors, no warnings");
    put_notes(&b, rep, rep->errors ? ATH_ERROR : ATH_WARN);
    return doctor_say(t, c, rep->errors ? VERDICT_FAIL : VERDICT_WARN,
                      "athena check-config prints all of them.", "%zu errors, %zu warnings%s",
                      rep->errors, rep->warnings, buf_view(&b).p);
}

int check_plugins(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    const struct registry *r = c->exam->setup->registry;
    struct buf b = ARENA_BUF(&t->arena);

    (void)e;
    for (const struct refusal *f = r->refused; f; f = f->next)
        buf_printf(&b, "%s\"%s\": %.*s", b.n ? "; " : "", f->name,
                   STR_ARG(err_get(&f->err, "message")));
    if (r->fatal)
        return doctor_say(t, c, VERDICT_FAIL, "athena plugins lists what is installed.", "%s",
                          buf_view(&b).p);
    if (b.n)
        return doctor_say(t, c, VERDICT_WARN, "athena plugins lists what is installed.",
                          "%u are loaded; optional ones are not: %s", r->count, b.p);
    return doctor_say(t, c, VERDICT_OK, NULL, "%u are loaded", r->count);
}

int check_contracts(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    ath_str text = inspect(t, "openapi"), rest = text, line;
    unsigned paths = 0;

    (void)e;
    while (str_next(&rest, '\n', &line))
        paths += str_starts(line, "  /") && str_ends(line, ":");
    if (paths == 0)
        return doctor_say(t, c, VERDICT_FAIL,
                          "Name plugins that bring routes: routes-meta, routes-gateway.",
                          "the OpenAPI document lists no path");
    return doctor_say(t, c, VERDICT_OK, NULL, "the OpenAPI document lists %u paths", paths);
}

/* ---- keys ---- */

static bool has_admin_routes(const struct registry *r)
{
    struct capability *cap;

    for (uint32_t i = 0; (cap = registry_cap(r, ATH_CAP_ROUTES, i)); i++)
        for (uint32_t k = 0; k < cap->routes.route_count; k++)
            if (cap->routes.route[k].auth == ATH_AUTH_ADMIN)
                return true;
    return false;
}

int check_admin_key(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;

    (void)e;
    if (core_of(c)->server.admin_key.n)
        return doctor_say(t, c, VERDICT_OK, NULL, "it is set");
    if (!has_admin_routes(c->exam->setup->registry))
        return doctor_say(t, c, VERDICT_SKIP, NULL, "no route needs it");
    return doctor_say(t, c, VERDICT_FAIL, "Set ATHENA_KEY_12 in the environment or in .env.",
                      "it is not set: every route for administrators answers 500");
}

int check_secrets_key(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;

    (void)e;
    if (core_of(c)->server.secrets_key.n)
        return doctor_say(t, c, VERDICT_OK, NULL, "it is set");
    return doctor_say(t, c, VERDICT_WARN, "Set ATHENA_SECRETS_KEY, the same for all processes.",
                      "it is not set: connection URIs in the catalogue are stored as they are");
}

/* ---- the machine ---- */

int check_descriptors(ath_task *t, void *arg, ath_err *e)
{
    enum { OTHERS = 64 }; /* logs, pipes, listeners */
    struct check *c = arg;
    const struct core_config *core = core_of(c);
    uint64_t wanted = (uint64_t)core->server.connections + (uint64_t)core->pool.budget + OTHERS;
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return err_fail(e, ATH_E_BUG, "could not read the limit of open files: %m");
    if (r.rlim_max == RLIM_INFINITY || r.rlim_max >= wanted)
        return doctor_say(t, c, VERDICT_OK, NULL, "%llu may be open, %llu are needed at most",
                          (unsigned long long)r.rlim_max, (unsigned long long)wanted);
    return doctor_say(t, c, VERDICT_WARN,
                      "Raise it (LimitNOFILE= of the unit), or lower server.connections.",
                      "%llu may be open, but server.connections and pool.budget allow %llu",
                      (unsigned long long)r.rlim_max, (unsigned long long)wanted);
}

static bool sinks_spill(const struct check *c)
{
    struct registry *r = c->exam->setup->registry;
    const struct capability *cap;

    for (uint32_t i = 0; (cap = registry_cap(r, ATH_CAP_SINK, i)); i++) {
        struct log_queue_options o;
        log_queue_options_of(cap->self->all_field, sizeof(ath_field), cap->self->all_count,
                             registry_config(cap->self), &o);
        if (o.spill_bytes)
            return true;
    }
    return false;
}

/* All spools of this process together, as they are now. */
static struct spool_stats spools_now(void)
{
    struct log_sink_stats s[16];
    struct spool_stats all = { 0 };
    size_t n = log_sink_stats(s, ATH_COUNT(s));

    for (size_t i = 0; i < n; i++) {
        if (!s[i].spools)
            continue;
        all.events += s[i].spool.events;
        all.bytes += s[i].spool.bytes;
        all.most += s[i].spool.most;
        all.dropped_full += s[i].spool.dropped_full + s[i].spool.dropped_disk;
        all.in_memory |= s[i].spool.in_memory;
    }
    return all;
}

int check_spool(ath_task *t, void *arg, ath_err *e)
{
    static const char full[] = "They wait because the control plane is away, or because requests "
                               "need the machine: see athena_log_sink_paused.";
    struct check *c = arg;
    const char *folder = core_of(c)->server.state_dir.p;
    struct spool_stats now = spools_now();
    struct buf b = ARENA_BUF(&t->arena);

    (void)e;
    if (!sinks_spill(c))
        return doctor_say(t, c, VERDICT_OK, NULL, "no sink has one");
    if (access(folder, W_OK | X_OK) < 0)
        return doctor_say(t, c, VERDICT_WARN,
                          "Make it, for the user that the server runs as, or set server.state_dir: "
                          "rows of requests then outlive an outage of the control plane.",
                          "\"%s\" is no folder that can be written: rows wait in memory alone",
                          folder);
    buf_printf(&b, "%llu events wait in \"%s\", %llu MiB of %llu", (unsigned long long)now.events,
               folder, (unsigned long long)(now.bytes >> 20), (unsigned long long)(now.most >> 20));
    if (now.in_memory)
        return doctor_say(t, c, VERDICT_FAIL, "Is the disk full?",
                          "%s, and files cannot be written", b.p);
    if (now.dropped_full || now.bytes > now.most / 2)
        return doctor_say(t, c, VERDICT_WARN, full, "%s; %llu were lost", b.p,
                          (unsigned long long)now.dropped_full);
    return doctor_say(t, c, VERDICT_OK, NULL, "%s", c->exam->serving ? b.p : folder);
}

static int storage_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct check *c = d->arg;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    return doctor_say(t, c, VERDICT_OK, NULL,
                      "the settings are complete, and the endpoint answers (%d)", d->status);
}

/* Not signed: that the endpoint answers at all is what is asked. */
static int ask_storage(ath_task *t, struct check *c, ath_err *e)
{
    ath_str endpoint = variable(c, "ATHENA_BACKUP_S3_ENDPOINT");
    ath_str region = variable(c, "ATHENA_BACKUP_S3_REGION");
    struct buf url = ARENA_BUF(&t->arena);
    ath_fetch f = { .size = sizeof(f), .method = "HEAD", .timeout_ms = c->exam->limit_ms };

    if (endpoint.n)
        buf_str(&url, endpoint);
    else
        buf_printf(&url, "https://s3.%.*s.amazonaws.com", region.n ? (int)region.n : 9,
                   region.n ? region.p : "us-east-1");
    f.url = buf_view(&url);
    return client_fetch(t, &f, storage_answered, c, e);
}

int check_storage(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    bool access = variable(c, "ATHENA_BACKUP_S3_ACCESS_KEY").n > 0;
    bool secret = variable(c, "ATHENA_BACKUP_S3_SECRET_KEY").n > 0;

    if (variable(c, "ATHENA_BACKUP_S3_BUCKET").n == 0)
        return doctor_say(t, c, VERDICT_SKIP, NULL,
                          "ATHENA_BACKUP_S3_BUCKET is not set: no backups to S3");
    if (access != secret)
        return doctor_say(t, c, VERDICT_FAIL, "Set both, or neither.", "%s is set, %s is not",
                          access ? "ATHENA_BACKUP_S3_ACCESS_KEY" : "ATHENA_BACKUP_S3_SECRET_KEY",
                          access ? "ATHENA_BACKUP_S3_SECRET_KEY" : "ATHENA_BACKUP_S3_ACCESS_KEY");
    return ask_storage(t, c, e);
}

/* ---- tools ---- */

struct tool {
    struct check *check;
    char path[4096];
    const char *argv[3];
    ath_child child;
};

/* "pg_dump (PostgreSQL) 15.6 (Debian 15.6-1)" */
static void version_line(ath_task *t, void *arg, int fd, ath_str text)
{
    struct tool *tool = arg;
    size_t at = str_find(text, ')');

    (void)t;
    if (fd != 1 || tool->check->major || at + 2 >= text.n)
        return;
    for (at += 2;
         at < text.n && text.p[at] >= '0' && text.p[at] <= '9' && tool->check->major < 1000; at++)
        tool->check->major = tool->check->major * 10 + (text.p[at] - '0');
    doctor_note(tool->check, VERDICT_OK, NULL, "%s is of version %d", tool->path,
                tool->check->major);
}

static int tool_ended(ath_task *t, const ath_done *d, ath_err *e)
{
    struct tool *tool = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (!tool->check->major)
        return err_fail(e, ATH_E_UPSTREAM, "%s --version says no version (exit status %d)",
                        tool->path, d->status);
    task_done(t, NULL);
    return 0;
}

int check_tool(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    const char *name = c->about;
    struct tool *tool = ARENA_NEW(&t->arena, struct tool);
    const char *override =
        strcmp(name, "pg_dump") == 0 ? "ATHENA_PG_DUMP_PATH" : "ATHENA_PG_RESTORE_PATH";

    tool->check = c;
    if (!capabilities_find(name, override, tool->path, sizeof(tool->path)))
        return doctor_say(
            t, c, VERDICT_WARN,
            "Install PostgreSQL's client programs (postgresql-client), as new as the newest "
            "server.",
            "%s was not found (%s, PATH): no backups, no clones", name, override);
    tool->argv[0] = tool->path;
    tool->argv[1] = "--version";
    tool->child = (ath_child){ .size = sizeof(tool->child),
                               .argv = tool->argv,
                               .timeout_ms = c->exam->limit_ms,
                               .kill_after_ms = 500,
                               .line = version_line };
    return task_spawn(t, &tool->child, tool_ended, tool, e);
}

void judge_tools(struct exam *x)
{
    const struct check *newest = NULL;

    for (size_t i = 0; i < x->n; i++)
        if (x->check[i].run == check_client && (!newest || x->check[i].major > newest->major))
            newest = &x->check[i];
    for (size_t i = 0; i < x->n; i++) {
        struct check *c = &x->check[i];
        if (c->run == check_tool && c->verdict == VERDICT_OK && newest && newest->major > c->major)
            doctor_note(c, VERDICT_WARN, "Install the client programs of the newest server.",
                        "%s is older than the server of %s, which is of version %d", c->seen,
                        newest->name, newest->major);
    }
}
