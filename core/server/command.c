/* Commands of the core that only look, and the runner of plugins' commands.
 *
 * A plugin's command is a task on the control loop of a process that has loaded that plugin and what
 * it needs, and nothing else; of the configuration's clients a database is opened when it is asked
 * something. INT and TERM cancel the task; it ends when it has cleaned up.
 */
#include "server/command.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "config/reference.h"
#include "db/client.h"
#include "io/task.h"
#include "http/client.h"
#include "http/router.h"
#include "plugin/host.h"
#include "plugin/order.h"
#include "plugin/report.h"
#include "plugin/stage.h"
#include "server/databases.h"
#include "server/loops.h"
#include "server/table.h"

static void say(const ath_err *e)
{
    fprintf(stderr, "athena: %.*s\n", (int)e->message_n, e->message);
    if (e->hint_n)
        fprintf(stderr, "    hint: %.*s\n", (int)e->hint_n, e->hint);
}

int command_check_config(const struct cli *cli)
{
    struct setup_options o = setup_options_of(cli);
    struct router *router = router_new();
    struct buf text = BUF_HEAP;
    struct setup s;
    ath_err e;
    int rc;

    err_reset(&e);
    rc = setup_open(&s, &o, &e);
    if (s.config) { /* plugins' sections are looked at even when the core's have errors */
        int loaded = setup_load(&s, SETUP_SERVES, &e);
        if (loaded == 0)
            loaded = registry_routes(s.registry, router, &e);
        setup_check_keys(&s);
        if (rc == 0)
            rc = s.report.errors ? ATH_E_CONFIG : loaded;
        if (rc == 0 && (rc = config_boot_policy(&s.core, &s.clients, &text)) < 0)
            err_fail(&e, rc, "%s", buf_view(&text).p);
    }
    setup_print(&s, ATH_WARN, rc < 0 ? &e : NULL);
    if (rc == 0)
        printf("%s: configuration accepted, %u plugins, %zu clients\n",
               s.config->path ? s.config->path : "no file", s.registry->count, s.clients.usable);
    buf_free(&text);
    router_free(router);
    setup_close(&s);
    return rc < 0;
}

/* ---- the reference ---- */

static void put_table(struct buf *b, const char *format, const struct config_table *t)
{
    static const char *const shipped[] = { "enforce_api_keys", "true", "unenforced_scope", "data",
                                           NULL };

    if (strcmp(format, "markdown") == 0)
        reference_markdown(b, t);
    else if (strcmp(format, "sample") == 0)
        reference_sample(b, t, strcmp(t->section, "gateway") == 0 ? shipped : NULL);
    else
        reference_help(b, t);
}

/* `section`: one of them, "core" for all of the core's, or NULL for everything. */
static bool wanted(const char *section, const char *name, bool of_core, bool *found)
{
    bool yes = !section || strcmp(section, name) == 0 || (of_core && strcmp(section, "core") == 0);

    *found |= yes;
    return yes;
}

static void put_plugin(struct buf *b, struct setup *s, const char *format, uint32_t i)
{
    const struct installed_plugin *p = &s->registry->installed.plugin[i];
    struct config_table t;
    ath_self *self;
    ath_err e;

    err_reset(&e);
    if (p->rc < 0 || load_open(s->registry, p, host_table(), &self, &e) < 0) {
        fprintf(stderr, "athena: plugin \"%s\" is left out: %s\n", p->name,
                p->rc < 0 ? p->why->message : e.message);
        return;
    }
    t = (struct config_table){ .section = self->name, .title = self->d.summary,
                               .field = self->all_field, .field_size = sizeof(ath_field),
                               .field_count = self->all_count, .plugin = true };
    if (t.field_count)
        put_table(b, format, &t);
}

int command_reference(const struct cli *cli)
{
    const char *sample_plugins[DEFAULT_PLUGINS_MOST];
    const struct cli_reference_options *want = cli->options;
    const char *format = want->markdown ? "markdown" : want->sample ? "sample" : "text";
    const char *section = want->section.n ? want->section.p : NULL;
    struct setup_options options = setup_options_of(cli);
    struct buf b = BUF_HEAP;
    bool found = false;
    struct setup s;
    ath_err e;

    err_reset(&e);
    options.optional = true;
    (void)setup_open(&s, &options, &e); /* only for the plugins' folder: its own errors do not matter */
    if (installed_read(&s.registry->installed, s.plugin_dir, &e) < 0)
        say(&e);
    if (strcmp(format, "sample") == 0 && (!section || strcmp(section, "core") == 0))
        reference_sample_head(&b, sample_plugins,
                              setup_default_plugins(&s.registry->arena, sample_plugins));
    for (size_t i = 0; i < core_table_count(); i++)
        if (wanted(section, core_tables[i]->section, true, &found))
            put_table(&b, format, core_tables[i]);
    for (uint32_t i = 0; i < s.registry->installed.count; i++)
        if (wanted(section, s.registry->installed.plugin[i].name, false, &found))
            put_plugin(&b, &s, format, i);
    fwrite(buf_view(&b).p, 1, b.n, stdout);
    buf_free(&b);
    setup_close(&s);
    if (!found)
        fprintf(stderr, "athena: no section \"%s\" in the configuration\n", section);
    return found ? 0 : 1;
}

int command_plugins(const struct cli *cli)
{
    struct setup_options options = setup_options_of(cli);
    struct buf b = BUF_HEAP;
    struct setup s;
    ath_err e;
    int rc;

    err_reset(&e);
    options.optional = true;
    rc = setup_open(&s, &options, &e);
    if (s.config)
        rc = setup_load(&s, SETUP_SERVES, &e);
    if (cli->json)
        report_json(s.registry, host_table(), &b);
    else
        report_print(s.registry, host_table(), &b);
    fwrite(buf_view(&b).p, 1, b.n, stdout);
    if (rc < 0)
        say(&e);
    buf_free(&b);
    setup_close(&s);
    return rc < 0;
}

/* ---- commands of plugins ---- */

struct command {
    ath_task task;               /* first */
    const char *label;
    ath_self *self;              /* whose code it is; NULL: the core's own */
    ath_run *run;
    void *arg;
    const ath_command *shown;    /* how people read its JSON; NULL: as it is */
    struct registry *started;    /* plugins that it needs; NULL: none */
    const struct cli *cli;
    struct loops loops;
    uv_signal_t signal[2];
    int status;
    bool ended;
};

static void command_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct command *c = (struct command *)t;

    c->status = rc < 0 ? 1 : result ? result->status : 0;
    if (rc < 0)
        say(e);
    else if (result && result->bytes.n && c->shown && c->shown->columns && !c->cli->json)
        table_print(result->bytes, c->shown->rows, c->shown->columns, stdout);
    else if (result && result->bytes.n)
        table_json(result->bytes, stdout);
    c->ended = true;
    for (size_t i = 0; i < ATH_COUNT(c->signal); i++)
        uv_close((uv_handle_t *)&c->signal[i], NULL);
}

static void rooms_fini(ath_loop *l, void *arg)
{
    (void)arg;
    client_loop_fini(l);
    db_loop_fini(l);
}

static void command_destroy(ath_task *t)
{
    struct command *c = (struct command *)t;

    loops_each(&c->loops, 0, rooms_fini, NULL);
    if (c->started)
        stage_down(c->started);
    loops_stop(&c->loops);
}

static void on_signal(uv_signal_t *h, int number)
{
    struct command *c = h->data;

    (void)number;
    task_cancel(&c->task);
}

static int run_first(ath_task *t, void *arg, ath_err *e)
{
    struct command *c = arg;

    return c->run(t, c->arg, e);
}

static void command_start(void *arg)
{
    static const struct task_type type = { .name = "command", .end = command_end, .destroy = command_destroy };
    static const int number[] = { SIGINT, SIGTERM };
    struct command *c = arg;
    ath_loop *l = loops_control(&c->loops);

    task_init(&c->task, &type, l, c->self, NULL);
    c->task.label = c->label;
    for (size_t i = 0; i < ATH_COUNT(number); i++) {
        uv_signal_init(&l->uv, &c->signal[i]);
        c->signal[i].data = c;
        uv_signal_start(&c->signal[i], on_signal, number[i]);
        uv_unref((uv_handle_t *)&c->signal[i]);
    }
    task_run(&c->task, run_first, c);
    task_unref(&c->task);
}

struct init {
    ath_err *e;
    int rc;
};

static void databases_init(ath_loop *l, void *arg)
{
    struct init *i = arg;

    if (i->rc == 0)
        i->rc = db_loop_init(l, i->e);
}

static int begin(struct command *c, const struct setup *databases, ath_err *e)
{
    struct init i = { .e = e };
    int rc;

    if ((rc = loops_new(&c->loops, 0, 1, e)) < 0 ||
        (rc = databases_start(databases, c->loops.all, c->loops.count, e)) < 0 ||
        (rc = loops_start(&c->loops, e)) < 0)
        return rc;
    loops_each(&c->loops, 0, databases_init, &i);
    if (i.rc == 0 && c->started)
        i.rc = stage_up(c->started, c->loops.all, c->loops.count, e);
    if (i.rc < 0)
        loops_each(&c->loops, 0, rooms_fini, NULL);
    return i.rc;
}

/* Where the command's calls of routes go, and what they show there. */
static void remote_set(struct command *c, const struct core_config *core)
{
    const char *url = c->cli->url.n ? c->cli->url.p : getenv("ATHENA_URL");
    const char *key = c->cli->admin_key.n ? c->cli->admin_key.p : getenv("ATHENA_ADMIN_KEY");

    if (!url || !url[0])
        url = arena_printf((ath_arena *)(uintptr_t)&c->cli->arena, "http://localhost:%lld",
                           (long long)core->api.port).p;
    client_remote(url, key && key[0] ? key : core->server.admin_key.p);
}

static int run_loaded(struct command *c, const struct setup *databases, ath_err *e)
{
    struct client_options http = client_options_of(&databases->core);
    int rc;

    signal(SIGPIPE, SIG_IGN);
    remote_set(c, &databases->core);
    if ((rc = client_start(&http, e)) == 0)
        rc = begin(c, databases, e);
    if (rc < 0)
        loops_stop(&c->loops);
    else
        loop_post(loops_control(&c->loops), command_start, c);
    if (c->loops.count)
        loop_run(loops_control(&c->loops));
    loops_free(&c->loops);
    db_stop();
    client_remote(NULL, NULL);
    client_stop();
    return rc < 0 ? rc : c->status;
}

/* ---- finding them ---- */

/* Opens the configuration (which may be missing) for the folder of the plugins, once. */
static struct setup *found_setup(struct commands *c)
{
    struct setup_options o = { .optional = true };
    ath_err e;

    if (!c->setup) {
        err_reset(&e);
        c->setup = MEM_NEW(struct setup);
        c->rc = setup_open(c->setup, &o, &e);
        if (c->rc == 0)
            c->rc = installed_read(&c->setup->registry->installed, c->setup->plugin_dir, &e);
    }
    return c->setup;
}

/* What offers commands that begin with the word; < 0: nothing does, or it was refused, which is said. */
static int load_word(struct commands *c, const char *word)
{
    struct setup *s = found_setup(c);
    ath_err e;

    if (c->rc < 0 || (c->loaded && strcmp(c->loaded, word) == 0))
        return c->rc;
    err_reset(&e);
    c->loaded = word;
    if ((c->rc = setup_load_command(s, word, &e)) < 0 && c->rc != ATH_E_MISSING)
        setup_print(s, ATH_ERROR, &e);
    return c->rc;
}

static const struct cli_command *take(struct commands *c, struct capability *cap)
{
    c->found = (struct cli_command){
        .name = cap->command.cap.name, .summary = cap->command.summary,
        .field = cap->command.field, .field_size = sizeof(ath_field),
        .field_count = cap->command.field_count, .options_size = cap->command.options_size,
        .run = offsetof(struct cli_runs, plugin), .data = c,
    };
    c->cap = cap;
    return &c->found;
}

static const struct cli_command *find(void *arg, const char *const *word, uint32_t n)
{
    struct commands *c = arg;
    struct capability *cap;
    uint32_t taken;

    if (load_word(c, word[0]) < 0 || !(cap = registry_command(c->setup->registry, word, n, &taken)))
        return NULL;
    return take(c, cap);
}

static const struct cli_command *member(void *arg, const char *word, size_t i)
{
    struct commands *c = arg;
    struct capability *cap;
    size_t n = strlen(word);

    if (load_word(c, word) < 0)
        return NULL;
    for (uint32_t k = 0; (cap = registry_cap(c->setup->registry, ATH_CAP_COMMAND, k)); k++) {
        const char *name = cap->command.cap.name;
        if (strncmp(name, word, n) == 0 && name[n] == ' ' && i-- == 0)
            return take(c, cap);
    }
    return NULL;
}

/* The words that the notes offer, "command.dev". */
static const char *name_at(void *arg, size_t i, const char **ret_summary)
{
    struct setup *s = found_setup(arg);
    size_t n = 0;

    *ret_summary = "";
    for (uint32_t p = 0; p < s->registry->installed.count; p++) {
        ath_str offers = str_of(note_offers(&s->registry->installed.plugin[p].note)), word;
        while (order_word(&offers, &word, NULL))
            if (str_starts(word, "command.") && n++ == i) {
                *ret_summary = s->registry->installed.plugin[p].name;
                return arena_str(&s->registry->arena, str_after(word, 8)).p;
            }
    }
    return NULL;
}

struct cli_finder commands_finder(struct commands *c)
{
    return (struct cli_finder){ .arg = c, .find = find, .member = member, .name = name_at };
}

void commands_free(struct commands *c)
{
    if (c->setup)
        setup_close(c->setup);
    free(c->setup);
}

/* The one that --config names, which was not known yet when the command was looked for. */
static int run_with(struct command *c, const struct setup *found, const struct cli *cli, ath_err *e)
{
    struct setup_options o = setup_options_of(cli);
    struct setup named;
    int rc;

    if (!cli->config.n)
        return run_loaded(c, found, e);
    rc = setup_open(&named, &o, e);
    if (rc == 0)
        rc = run_loaded(c, &named, e);
    setup_close(&named);
    return rc;
}

struct plugin_run {
    const struct capability *cap;
    const void *options;
};

static int run_plugin(ath_task *t, void *arg, ath_err *e)
{
    const struct plugin_run *r = arg;

    return r->cap->command.run(t, r->options, e);
}

int command_plugin(const struct cli *cli)
{
    const struct commands *found = cli->command->data;
    struct plugin_run run = { .cap = found->cap, .options = cli->options };
    struct command *c = MEM_NEW(struct command);
    ath_err e;
    int rc;

    err_reset(&e);
    c->label = found->cap->command.cap.name;
    c->self = found->cap->self;
    c->run = run_plugin;
    c->arg = &run;
    c->shown = &found->cap->command;
    c->started = found->setup->registry;
    c->cli = cli;
    rc = run_with(c, found->setup, cli, &e);
    if (rc < 0)
        say(&e);
    free(c);
    return rc < 0 ? 1 : rc;
}

int command_task(const struct cli *cli, struct setup *s, const char *label, ath_run *run, void *arg)
{
    struct command *c = MEM_NEW(struct command);
    ath_err e;
    int rc;

    err_reset(&e);
    c->label = label;
    c->run = run;
    c->arg = arg;
    c->cli = cli;
    rc = run_loaded(c, s, &e);
    if (rc < 0)
        say(&e);
    free(c);
    return rc < 0 ? 1 : rc;
}
