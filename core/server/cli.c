/* Words to a command and its options. One pass: a word is a switch, an option with its value, the
 * command, or an argument of it. What is wrong stops at once with the nearest right word.
 */
#include "server/cli.h"

#include <ctype.h>

#include "base/version.h"
#include "config/field.h"
#include "config/value.h"

/* clang-format off */
static const ath_field global_fields[] = {
    ATH_STR(struct cli, config, "config", "", NULL, "The configuration file; else ATHENA_CONFIG_PATH, else the usual places.", .alias = "--config-path -c"),
    ATH_STR(struct cli, env_file, "env_file", "", NULL, "Variables in the form of a .env file; they win over the environment."),
    ATH_STR(struct cli, pipelines_path, "pipelines_path", "config/pipelines.yaml", NULL, "The registry of pipelines."),
    ATH_STR(struct cli, roles, "roles", "", NULL, "What the process is, between commas: serve, daemon, worker:FAMILY."),
    ATH_INT(struct cli, port, "port", "-1", "0..65535", "TCP port; 0 picks a free one."),
    ATH_INT(struct cli, max_workers, "max_workers", "-1", "0..256", "HTTP loops."),
    ATH_STR(struct cli, url, "url", "", NULL, "Of commands: the server that they ask; else ATHENA_URL, else http://localhost and the configured port."),
    ATH_STR(struct cli, admin_key, "admin_key", "", NULL, "Of commands: the key that they show it; else ATHENA_ADMIN_KEY, else ATHENA_KEY_12 or the configured one.", .flags = ATH_CF_SECRET),
    ATH_BOOL(struct cli, api_only, "api_only", "false", "Accepted: the server is the default."),
    ATH_BOOL(struct cli, cdc_only, "cdc_only", "false", "Not offered by this server."),
    ATH_BOOL(struct cli, json, "json", "false", "Print what is for programs: JSON."),
    ATH_BOOL(struct cli, help, "help", "false", "This text, or the command's.", .alias = "-h"),
    ATH_BOOL(struct cli, version, "version", "false", "The version.", .alias = "-V"),
};
static const ath_field worker_fields[] = {
    ATH_STR(struct cli_worker_options, family, "family", NULL, NULL, "clone, backup, deferred, typesense, ...", .flags = ATH_CF_ARG),
};
static const ath_field reference_fields[] = {
    ATH_STR(struct cli_reference_options, section, "section", "", NULL, "One section or plugin only; core: all that is not a plugin's.", .flags = ATH_CF_ARG),
    ATH_BOOL(struct cli_reference_options, markdown, "markdown", "false", "As a Markdown page."),
    ATH_BOOL(struct cli_reference_options, sample, "sample", "false", "As a sample file, every key commented out."),
};
static const ath_field completion_fields[] = {
    ATH_STR(struct cli_completion_options, shell, "shell", NULL, "bash|zsh|fish", "bash, zsh or fish.", .flags = ATH_CF_ARG),
};
#define CLIENTS_PATH ATH_STR(struct cli_clients_options, path, "path", "config/clients.json", NULL, "The file.", .alias = "--clients-path")
#define CLIENTS_NAME ATH_STR(struct cli_clients_options, name, "name", NULL, NULL, "The client.", .flags = ATH_CF_ARG)
static const ath_field clients_list_fields[] = { CLIENTS_PATH };
static const ath_field clients_name_fields[] = { CLIENTS_PATH, CLIENTS_NAME };
static const ath_field clients_add_fields[] = {
    CLIENTS_PATH, CLIENTS_NAME,
    ATH_STR(struct cli_clients_options, uri, "uri", NULL, NULL, "Its connection URI.", .flags = ATH_CF_ARG | ATH_CF_SECRET),
};
static const ath_field migrate_fields[] = {
    ATH_STR(struct cli_migrate_options, action, "action", "status", "status|up|partition-logs", "What to do.", .flags = ATH_CF_ARG),
    ATH_STR(struct cli_migrate_options, component, "component", "", NULL, "Only this one: logging, auth, or a plugin's."),
    ATH_BOOL(struct cli_migrate_options, dry_run, "dry_run", "false", "Of up: show the statements, run none."),
    ATH_BOOL(struct cli_migrate_options, apply, "apply", "false", "Of partition-logs: do it; without it the steps are shown."),
};
struct help_options { ath_str topic; };
static const ath_field help_fields[] = {
    ATH_STR(struct help_options, topic, "topic...", "", NULL, "A command.", .flags = ATH_CF_ARG),
};

#define RUN(m) .run = offsetof(struct cli_runs, m)
#define OPTIONS(type, a) ATH_ARRAY(field, a), .options_size = sizeof(type)
#define INSIDE .run = SIZE_MAX

static const struct cli_command commands[] = {
    { .name = "serve", .also = "server", .summary = "Run the HTTP server, and workers unless daemon.enabled.", RUN(serve) },
    { .name = "daemon", .summary = "Run all worker families.", RUN(daemon) },
    { .name = "worker", .arguments = "FAMILY", .summary = "Run one worker family.", RUN(worker), OPTIONS(struct cli_worker_options, worker_fields) },
    { .name = "pressure-worker", .summary = "Run the workers of the family pressure: the same as worker pressure.", RUN(worker) },
    { .name = "check-config", .also = "--check-config", .summary = "Read the configuration, say all that is wrong, and end.", RUN(check_config) },
    { .name = "config-reference", .also = "--help-config", .arguments = "[SECTION]", .summary = "Print every key of the core and of the plugins.", RUN(config_reference), OPTIONS(struct cli_reference_options, reference_fields) },
    { .name = "plugins", .also = "--list-plugins", .summary = "List the installed plugins.", RUN(plugins) },
    { .name = "doctor", .summary = "Go through the operator's checklist: a verdict and a hint for each.", RUN(doctor) },
    { .name = "diag", .summary = "Describe this machine, as JSON.", RUN(diag) },
    { .name = "clients list", .summary = "List the clients of the local file.", RUN(clients_list), OPTIONS(struct cli_clients_options, clients_list_fields) },
    { .name = "clients add", .arguments = "NAME URI", .summary = "Put a client into the local file.", RUN(clients_add), OPTIONS(struct cli_clients_options, clients_add_fields) },
    { .name = "clients remove", .arguments = "NAME", .summary = "Take a client out of the local file.", RUN(clients_remove), OPTIONS(struct cli_clients_options, clients_name_fields) },
    { .name = "clients set-default", .arguments = "NAME", .summary = "Choose the local file's default client.", RUN(clients_set_default), OPTIONS(struct cli_clients_options, clients_name_fields) },
    { .name = "completion", .arguments = "SHELL", .summary = "Print what completes these commands in bash, zsh or fish.", RUN(completion), OPTIONS(struct cli_completion_options, completion_fields) },
    { .name = "migrate", .arguments = "[status|up|partition-logs]", .summary = "Look at or add the tables of the control plane.", RUN(migrate), OPTIONS(struct cli_migrate_options, migrate_fields) },
    { .name = "version", .summary = "Print the version.", INSIDE },
    { .name = "help", .arguments = "[COMMAND]", .summary = "Explain a command.", INSIDE, OPTIONS(struct help_options, help_fields) },
};

/* Executables' names, with `-` for `_`; the second word is the command's argument. */
static const struct { const char *link, *command, *argument; } links[] = {
    { "athena-server", "serve", NULL },
    { "athena-daemon", "daemon", NULL },
    { "athena-clone-worker", "worker", "clone" },
    { "athena-backup-worker", "worker", "backup" },
    { "athena-deferred-query-worker", "worker", "deferred" },
    { "athena-typesense-worker", "worker", "typesense" },
    { "athena-client-pressure-worker", "worker", "pressure" },
    { "athena-daemon-legacy-workers", "worker", "upkeep" },
};
/* clang-format on */

struct parse {
    struct cli *cli;
    const struct cli_finder *finder;
    FILE *err;
    int argc, at;
    char *const *argv;
    bool options_ended;
    uint32_t arguments; /* taken so far */
    struct buf rest;    /* of a "..." argument */
};

static const struct config_table global_table = { .section = "", ATH_ARRAY(field, global_fields) };

const struct cli_command *cli_command_at(size_t i)
{
    return i < ATH_COUNT(commands) ? &commands[i] : NULL;
}

struct config_table cli_table(const struct cli_command *c)
{
    if (!c)
        return global_table;
    return (struct config_table){ .section = c->name,
                                  .field = c->field,
                                  .field_size = c->field_size,
                                  .field_count = c->field_count };
}

/* ---- mistakes ---- */

ATH_PRINTF(3, 4)
static int wrong(struct parse *p, ath_str near, const char *fmt, ...)
{
    va_list ap;

    fputs("athena: ", p->err);
    va_start(ap, fmt);
    vfprintf(p->err, fmt, ap);
    va_end(ap);
    fputs("\n    hint: ", p->err);
    if (near.n)
        fprintf(p->err, "Did you mean \"%.*s\"? ", STR_ARG(near));
    fputs("Run athena --help to see all commands and options.\n", p->err);
    return 2;
}

static bool each_word(ath_str *rest, ath_str *ret)
{
    while (str_next(rest, ' ', ret))
        if (ret->n)
            return true;
    return false;
}

static ath_str nearest_command(struct parse *p, const char *word)
{
    struct config_nearest near;
    const char *name, *summary;

    nearest_begin(&near, str_of(word));
    for (size_t i = 0; i < ATH_COUNT(commands); i++) {
        ath_str rest = str_of(commands[i].also), piece;
        nearest_try(&near, str_of(commands[i].name));
        while (each_word(&rest, &piece))
            nearest_try(&near, piece);
    }
    for (size_t i = 0; p->finder && (name = p->finder->name(p->finder->arg, i, &summary)); i++)
        nearest_try(&near, str_of(name));
    return near.best;
}

/* The i-th command of several words that begins with this one: the core's, then plugins'. */
static const struct cli_command *group_at(struct parse *p, const char *word, size_t i)
{
    const char *prefix = arena_printf(&p->cli->arena, "%s ", word).p;

    for (size_t k = 0; k < ATH_COUNT(commands); k++)
        if (str_starts(str_of(commands[k].name), prefix) && i-- == 0)
            return &commands[k];
    return p->finder && p->finder->member ? p->finder->member(p->finder->arg, word, i) : NULL;
}

static uint32_t count_words(const char *name)
{
    ath_str rest = str_of(name), piece;
    uint32_t n = 0;

    while (each_word(&rest, &piece))
        n++;
    return n;
}

static void help_line(struct parse *p, const struct cli_command *c)
{
    fprintf(p->err, "  %s%s%s\n      %s\n", c->name, c->arguments ? " " : "",
            c->arguments ? c->arguments : "", c->summary);
}

/* `help clients`: all that begin with the word. False: none does. */
static bool help_group(struct parse *p, const char *word)
{
    const struct cli_command *c;

    if (!group_at(p, word, 0))
        return false;
    fprintf(p->err, "Commands of athena %s:\n", word);
    for (size_t i = 0; (c = group_at(p, word, i)); i++)
        help_line(p, c);
    return true;
}

/* The first word is shared by several commands: what was meant is one of them. */
static int unknown_member(struct parse *p, const char *const *word, uint32_t n)
{
    struct buf given = ARENA_BUF(&p->cli->arena);
    const struct cli_command *c;
    struct config_nearest near;
    uint32_t most = 1;

    for (size_t i = 0; (c = group_at(p, word[0], i)); i++)
        if (count_words(c->name) > most)
            most = count_words(c->name);
    for (uint32_t i = 0; i < n && i < most; i++)
        buf_printf(&given, "%s%s", i ? " " : "", word[i]);
    nearest_begin(&near, buf_view(&given));
    for (size_t i = 0; (c = group_at(p, word[0], i)); i++)
        nearest_try(&near, str_of(c->name));
    wrong(p, near.best, "unknown command \"%.*s\"", STR_ARG(buf_view(&given)));
    fprintf(p->err, "    hint: athena help %s lists those that begin so.\n", word[0]);
    return 2;
}

static int unknown_command(struct parse *p, const char *const *word, uint32_t n)
{
    int rc;

    if (group_at(p, word[0], 0))
        return unknown_member(p, word, n);
    rc = wrong(p, nearest_command(p, word[0]), "unknown command \"%s\"", word[0]);
    if (strcmp(word[0], "build") == 0)
        fputs("    hint: This is the Athena server, not cargo; it is built with cmake.\n", p->err);
    return rc;
}

/* ---- fields as options ---- */

ath_str cli_spelled(ath_arena *a, const char *key)
{
    ath_str s = arena_printf(a, "--%s", key);

    for (char *c = (char *)(uintptr_t)s.p; *c; c++)
        *c = *c == '_' ? '-' : *c;
    return s;
}

static bool named(struct parse *p, const ath_field *f, ath_str word)
{
    ath_str rest = str_of(f->alias), alias;

    if (f->flags & ATH_CF_ARG)
        return false;
    if (str_eq(word, cli_spelled(&p->cli->arena, f->key)))
        return true;
    while (each_word(&rest, &alias))
        if (str_eq(word, alias))
            return true;
    return false;
}

static bool option_find(struct parse *p, const struct config_table *t, ath_str word, ath_field *ret)
{
    for (uint32_t i = 0; i < t->field_count; i++) {
        config_field(t, i, ret);
        if (named(p, ret, word))
            return true;
    }
    return false;
}

static void option_near(struct parse *p, const struct config_table *t, struct config_nearest *near)
{
    ath_field f;

    for (uint32_t i = 0; i < t->field_count; i++) {
        config_field(t, i, &f);
        if (!(f.flags & ATH_CF_ARG))
            nearest_try(near, cli_spelled(&p->cli->arena, f.key));
    }
}

static int unknown_option(struct parse *p, ath_str word)
{
    struct config_table own = p->cli->command ? cli_table(p->cli->command) : global_table;
    struct config_nearest near;

    nearest_begin(&near, word);
    option_near(p, &own, &near);
    option_near(p, &global_table, &near);
    return wrong(p, near.best, "unknown option \"%.*s\"%s%s", STR_ARG(word),
                 p->cli->command ? " of athena " : "",
                 p->cli->command ? p->cli->command->name : "");
}

static int set(struct parse *p, const ath_field *f, ath_str value, void *base, const char *name)
{
    ath_err e;

    if (config_set(f, value, base, &e) == 0)
        return CLI_GO;
    return wrong(p, (ath_str){ "", 0 }, "%s is \"%.*s\", but %s", name,
                 f->flags & ATH_CF_SECRET ? 8 : (int)value.n,
                 f->flags & ATH_CF_SECRET ? "(secret)" : value.p, e.message);
}

/* Everybody may read the words of a process: a secret is taken out of them. */
static ath_str hide(struct parse *p, ath_str secret)
{
    ath_str copy = arena_str(&p->cli->arena, secret);

    memset((char *)(uintptr_t)secret.p, 'x', secret.n);
    return copy;
}

static int take_option(struct parse *p, const char *arg)
{
    ath_str word = str_from(arg, str_find(str_of(arg), '=')), value = { NULL, 0 };
    struct config_table own = { 0 };
    void *base = p->cli;
    ath_field f;

    if (strncmp(arg, "--", 2) != 0)
        word = str_of(arg);
    if (p->cli->command)
        own = cli_table(p->cli->command);
    if (option_find(p, &own, word, &f))
        base = p->cli->options;
    else if (!option_find(p, &global_table, word, &f))
        return unknown_option(p, word);
    if (arg[word.n] == '=')
        value = str_of(arg + word.n + 1);
    else if (f.type == ATH_T_BOOL)
        value = ATH_S("true");
    else if (p->at < p->argc)
        value = str_of(p->argv[p->at++]);
    else
        return wrong(p, (ath_str){ "", 0 }, "%.*s needs a value", STR_ARG(word));
    if (f.flags & ATH_CF_SECRET)
        value = hide(p, value);
    return set(p, &f, value, base, arena_str(&p->cli->arena, word).p);
}

/* ---- commands ---- */

uint32_t cli_words(const char *name, const char *const *word, uint32_t n)
{
    ath_str rest = str_of(name), piece;
    uint32_t taken = 0;

    while (each_word(&rest, &piece)) {
        if (taken == n || !str_is(piece, word[taken]))
            return 0;
        taken++;
    }
    return taken;
}

/* How many of the words are its name, or another spelling of it; 0: it is called otherwise. */
static uint32_t is_called(const struct cli_command *c, const char *const *word, uint32_t n)
{
    ath_str rest = str_of(c->also), piece;

    while (each_word(&rest, &piece))
        if (str_is(piece, word[0]))
            return 1;
    return cli_words(c->name, word, n);
}

static const struct cli_command *builtin(const char *const *word, uint32_t n, uint32_t *ret_taken)
{
    const struct cli_command *found = NULL;
    uint32_t taken;

    for (size_t i = 0; i < ATH_COUNT(commands); i++)
        if ((taken = is_called(&commands[i], word, n)) > (found ? *ret_taken : 0)) {
            found = &commands[i];
            *ret_taken = taken;
        }
    return found;
}

static const struct cli_command *builtin_word(const char *word)
{
    uint32_t taken;

    return builtin(&word, 1, &taken);
}

/* The core's own, else a plugin's. */
static const struct cli_command *any_command(struct parse *p, const char *const *word, uint32_t n,
                                             uint32_t *ret_taken)
{
    const struct cli_command *c = builtin(word, n, ret_taken);

    if (!c && p->finder && (c = p->finder->find(p->finder->arg, word, n)))
        *ret_taken = cli_words(c->name, word, n);
    return c;
}

/* Fills the options with their defaults: the tables' own are right by construction. */
static void choose(struct parse *p, const struct cli_command *c)
{
    struct config_table t = cli_table(c);
    ath_field f;

    p->cli->command = c;
    p->cli->options = arena_alloc(&p->cli->arena, c->options_size ? c->options_size : 1);
    p->arguments = 0;
    for (uint32_t i = 0; i < t.field_count; i++) {
        long double v = 0;
        config_field(&t, i, &f);
        if (f.type == ATH_T_STR)
            *(ath_str *)((char *)p->cli->options + f.off) = str_of(f.def ? f.def : "");
        else if (value_number(f.type, str_of(f.key), str_of(f.def ? f.def : "0"), &v))
            value_store(f.type, v, (char *)p->cli->options + f.off);
    }
}

static bool asks_for_help(const struct parse *p)
{
    for (int i = p->at; i < p->argc; i++)
        if (strcmp(p->argv[i], "--help") == 0 || strcmp(p->argv[i], "-h") == 0)
            return true;
    return false;
}

static int take_command(struct parse *p, const char *first)
{
    const char *word[CLI_WORDS_MOST] = { first };
    const struct cli_command *c;
    uint32_t n = 1, taken = 0;

    while (n < CLI_WORDS_MOST && p->at + (int)n - 1 < p->argc && p->argv[p->at + (int)n - 1][0] != '-') {
        word[n] = p->argv[p->at + (int)n - 1];
        n++;
    }
    c = any_command(p, word, n, &taken);
    if (!c && n == 1 && help_group(p, first))
        return asks_for_help(p) ? 0 : 2;
    if (!c)
        return unknown_command(p, word, n);
    p->at += (int)taken - 1;
    choose(p, c);
    return CLI_GO;
}

static int take_argument(struct parse *p, const char *word)
{
    struct config_table t = cli_table(p->cli->command);
    uint32_t position = 0;
    ath_field f;

    for (uint32_t i = 0; i < t.field_count; i++) {
        bool rest;
        config_field(&t, i, &f);
        if (!(f.flags & ATH_CF_ARG))
            continue;
        rest = str_ends(str_of(f.key), "...");
        if (position++ < p->arguments && !rest)
            continue;
        if (rest) {
            buf_mem(&p->rest, word, strlen(word) + 1);
            *(ath_str *)((char *)p->cli->options + f.off) = buf_view(&p->rest);
            return CLI_GO;
        }
        p->arguments++;
        return set(p, &f, f.flags & ATH_CF_SECRET ? hide(p, str_of(word)) : str_of(word),
                   p->cli->options, f.key);
    }
    return wrong(p, (ath_str){ "", 0 }, "athena %s does not take the word \"%s\"",
                 p->cli->command->name, word);
}

static int take(struct parse *p, const char *word)
{
    const struct cli_command *spelled_out;

    if (!p->options_ended && strcmp(word, "--") == 0) {
        p->options_ended = true;
        return CLI_GO;
    }
    if (!p->options_ended && word[0] == '-' && word[1]) {
        spelled_out = builtin_word(word);
        if (!spelled_out)
            return take_option(p, word);
        choose(p, spelled_out);
        return CLI_GO;
    }
    return p->cli->command ? take_argument(p, word) : take_command(p, word);
}

const char *cli_link(const char *command, const char *argument)
{
    for (size_t i = 0; i < ATH_COUNT(links); i++)
        if (strcmp(links[i].command, command) == 0 &&
            (argument ? links[i].argument && strcmp(links[i].argument, argument) == 0
                      : !links[i].argument))
            return links[i].link;
    return NULL;
}

/* What the executable's name stands for. */
static int take_link(struct parse *p, const char *program)
{
    const char *slash = strrchr(program, '/');
    char name[64];
    size_t n = 0;

    for (const char *c = slash ? slash + 1 : program; *c && n < sizeof(name) - 1; c++)
        name[n++] = *c == '_' ? '-' : *c;
    name[n] = 0;
    for (size_t i = 0; i < ATH_COUNT(links); i++) {
        if (strcmp(links[i].link, name) != 0)
            continue;
        p->cli->link = links[i].link;
        choose(p, builtin_word(links[i].command));
        return links[i].argument ? take_argument(p, links[i].argument) : CLI_GO;
    }
    choose(p, builtin_word("serve"));
    return CLI_GO;
}

static int missing_arguments(struct parse *p)
{
    struct config_table t = cli_table(p->cli->command);
    uint32_t position = 0;
    ath_field f;

    for (uint32_t i = 0; i < t.field_count; i++) {
        config_field(&t, i, &f);
        if (!f.def && !(f.flags & ATH_CF_ARG) &&
            (f.type != ATH_T_STR || !((ath_str *)((char *)p->cli->options + f.off))->n))
            return wrong(p, (ath_str){ "", 0 }, "athena %s needs %s", t.section,
                         cli_spelled(&p->cli->arena, f.key).p);
        if (f.flags & ATH_CF_ARG && position++ >= p->arguments && !f.def && !p->rest.n)
            return wrong(p, (ath_str){ "", 0 }, "athena %s needs the word %s", t.section, f.key);
    }
    return CLI_GO;
}

/* ---- help ---- */

static void help_fields_of(struct parse *p, const struct config_table *t)
{
    ath_field f;

    for (uint32_t i = 0; i < t->field_count; i++) {
        ath_str rest, alias;
        config_field(t, i, &f);
        if (f.flags & ATH_CF_ARG)
            continue;
        fprintf(p->err, "  %s%s", cli_spelled(&p->cli->arena, f.key).p,
                f.type == ATH_T_BOOL  ? ""
                : f.type == ATH_T_STR ? " TEXT"
                                      : " N");
        rest = str_of(f.alias);
        while (each_word(&rest, &alias))
            fprintf(p->err, ", %.*s", STR_ARG(alias));
        fprintf(p->err, "\n      %s\n", f.help ? f.help : "");
    }
}

static int help_all(struct parse *p)
{
    const char *name, *summary = "";

    fputs("usage: athena [OPTIONS] [COMMAND [ARGUMENTS]]\n\nCommands (none: serve):\n", p->err);
    for (size_t i = 0; i < ATH_COUNT(commands); i++)
        help_line(p, &commands[i]);
    for (size_t i = 0; p->finder && (name = p->finder->name(p->finder->arg, i, &summary)); i++)
        fprintf(p->err, "  %s\n      %s\n", name, summary ? summary : "");
    fputs("\nOptions:\n", p->err);
    help_fields_of(p, &global_table);
    return 0;
}

static int help_command(struct parse *p, const struct cli_command *c)
{
    struct config_table t = cli_table(c);

    fprintf(p->err, "usage: athena [OPTIONS] %s%s%s\n\n%s\n", c->name, c->arguments ? " " : "",
            c->arguments ? c->arguments : "", c->summary ? c->summary : "");
    if (t.field_count)
        fputs("\nOptions and arguments:\n", p->err);
    for (uint32_t i = 0; i < t.field_count; i++) {
        ath_field f;
        config_field(&t, i, &f);
        if (f.flags & ATH_CF_ARG)
            fprintf(p->err, "  %s\n      %s\n", f.key, f.help ? f.help : "");
    }
    help_fields_of(p, &t);
    return 0;
}

/* `help backup create` */
static int help_topic(struct parse *p, ath_str topic)
{
    const char *word[CLI_WORDS_MOST];
    const struct cli_command *c;
    uint32_t n = 0, taken;

    for (size_t at = 0; at < topic.n && n < CLI_WORDS_MOST; at += strlen(topic.p + at) + 1)
        word[n++] = topic.p + at;
    if (n == 0)
        return help_all(p);
    if ((c = any_command(p, word, n, &taken)))
        return help_command(p, c);
    return help_group(p, word[0]) ? 0 : unknown_command(p, word, n);
}

/* ---- the whole line ---- */

/* Options that answer by themselves, and commands that need nothing else. */
static int answer(struct parse *p, bool worded, FILE *out)
{
    struct cli *cli = p->cli;

    if (cli->version) {
        fprintf(p->err, "athena %s\n", athena_version);
        return 0;
    }
    if (cli->help)
        return worded ? help_command(p, cli->command) : help_all(p);
    if (strcmp(cli->command->name, "version") == 0) {
        fprintf(out, "%s\n", athena_version);
        return 0;
    }
    if (strcmp(cli->command->name, "help") == 0)
        return help_topic(p, ((struct help_options *)cli->options)->topic);
    if (cli->max_workers == 0) {
        fputs("athena: Invalid --max-workers value: must be greater than 0.\n", p->err);
        return 1;
    }
    if (cli->cdc_only)
        return wrong(p, (ath_str){ "", 0 }, "--cdc-only is not offered by this server");
    return missing_arguments(p);
}

int cli_parse(int argc, char *const *argv, const struct cli_finder *finder, struct cli *ret,
              FILE *out, FILE *err)
{
    struct parse p = {
        .cli = ret, .finder = finder, .err = err, .argc = argc, .argv = argv, .at = 1
    };
    bool worded;
    int rc = CLI_GO;

    *ret = (struct cli){ .port = -1,
                         .max_workers = -1,
                         .config = { "", 0 },
                         .url = { "", 0 },
                         .admin_key = { "", 0 },
                         .roles = { "", 0 },
                         .pipelines_path = ATH_S("config/pipelines.yaml") };
    arena_init(&ret->arena);
    p.rest = ARENA_BUF(&ret->arena);
    while (rc == CLI_GO && p.at < argc)
        rc = take(&p, argv[p.at++]);
    if (rc != CLI_GO)
        return rc;
    worded = ret->command != NULL;
    if (!worded)
        rc = take_link(&p, argc > 0 ? argv[0] : "athena");
    return rc == CLI_GO ? answer(&p, worded, out) : rc;
}

int cli_run(const struct cli *cli, const struct cli_runs *runs, FILE *err)
{
    cli_run_fn *run;

    memcpy(&run, (const char *)runs + cli->command->run, sizeof(run));
    if (run)
        return run(cli);
    fprintf(err, "athena: %s is not offered by this build\n", cli->command->name);
    return 1;
}

void cli_free(struct cli *cli)
{
    arena_free(&cli->arena);
}

void cli_override(const struct cli *cli, struct config *c)
{
    char text[24];

    if (cli->port >= 0) {
        snprintf(text, sizeof(text), "%lld", (long long)cli->port);
        config_override(c, "api", "port", text, "--port");
    }
    if (cli->max_workers > 0) {
        snprintf(text, sizeof(text), "%lld", (long long)cli->max_workers);
        config_override(c, "server", "loops", text, "--max-workers");
        config_override(c, "api", "http_workers", text, "--max-workers");
    }
}
