/* Command lines: what is chosen, what is set, what is refused and with which exit status. */
#include "config/core_fields.h"
#include "server/cli.h"
#include "support/check_main.h"

struct create_options { ath_str name, command; int64_t depth; int32_t fresh; };

static const ath_field create_fields[] = {
    ATH_STR(struct create_options, name, "name", NULL, NULL, "Its name.", .flags = ATH_CF_ARG),
    ATH_INT(struct create_options, depth, "max_depth", "3", "1..9", "How deep.", .alias = "-d"),
    ATH_BOOL(struct create_options, fresh, "fresh", "false", "Anew."),
    ATH_STR(struct create_options, command, "exec...", "", NULL, "What to run.", .flags = ATH_CF_ARG),
};
static const struct cli_command create = {
    .name = "backup create", .summary = "Make one.", ATH_ARRAY(field, create_fields),
    .options_size = sizeof(struct create_options), .run = offsetof(struct cli_runs, plugin),
};

static const struct cli_command *find(void *arg, const char *const *word, uint32_t n)
{
    (void)arg;
    return cli_words(create.name, word, n) ? &create : NULL;
}

static const char *name(void *arg, size_t i, const char **ret_summary)
{
    (void)arg;
    *ret_summary = create.summary;
    return i == 0 ? create.name : NULL;
}

static const struct cli_finder finder = { .find = find, .name = name };
static struct cli cli;
static char out[8192], err[8192];

/* The words of one line, cut at blanks; the first is the executable. */
static int parse(const char *line)
{
    static char copy[256];
    char *argv[20];
    FILE *o = fmemopen(out, sizeof(out), "w"), *e = fmemopen(err, sizeof(err), "w");
    int argc = 0, rc;

    cli_free(&cli);
    memset(out, 0, sizeof(out));
    memset(err, 0, sizeof(err));
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *save = NULL, *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    rc = cli_parse(argc, argv, &finder, &cli, o, e);
    fclose(o);
    fclose(e);
    return rc;
}

#define goes(line, command_) \
    do { \
        ck_assert_msg(parse(line) == CLI_GO, "%s: %s", (line), err); \
        ck_assert_str_eq(cli.command->name, (command_)); \
    } while (0)
#define refused(line, status, said) \
    do { \
        ck_assert_int_eq(parse(line), (status)); \
        ck_assert_msg(strstr(err, (said)) != NULL, "no \"%s\" in: %s", (said), err); \
    } while (0)

START_TEST(the_command_is_found)
{
    goes("athena", "serve");
    goes("/usr/sbin/athena_rs --port=4052", "serve");
    goes("athena server", "serve");
    goes("athena --api-only", "serve");
    goes("athena --check-config -c /etc/x.yaml", "check-config");
    ck_assert(str_is(cli.config, "/etc/x.yaml"));
    goes("athena --help-config routes-x --sample", "config-reference");
    const struct cli_reference_options *r = cli.options;
    ck_assert(str_is(r->section, "routes-x") && r->sample && !r->markdown);
    goes("athena --list-plugins", "plugins");
    goes("athena worker clone", "worker");
    ck_assert(str_is(((const struct cli_worker_options *)cli.options)->family, "clone"));
}
END_TEST

START_TEST(the_executables_name_chooses)
{
    static const char *const family[][2] = {
        { "athena-clone-worker", "clone" }, { "/x/athena_backup_worker", "backup" },
        { "athena_deferred_query_worker", "deferred" }, { "athena-typesense-worker", "typesense" },
        { "athena_client_pressure_worker", "pressure" }, { "athena_daemon_legacy_workers", "upkeep" },
    };

    for (size_t i = 0; i < ATH_COUNT(family); i++) {
        goes(family[i][0], "worker");
        ck_assert(str_is(((const struct cli_worker_options *)cli.options)->family, family[i][1]));
    }
    goes("athena_daemon --config /c", "daemon");
    goes("athena_rs pressure-worker", "pressure-worker");
    goes("athena-server", "serve");
    goes("athena-clone-worker --check-config", "check-config");
    ck_assert_int_eq(parse("athena_daemon --version"), 0);
}
END_TEST

START_TEST(global_options_stand_anywhere)
{
    goes("athena --port 80 serve", "serve");
    ck_assert_int_eq(cli.port, 80);
    goes("athena serve --port=81 --max-workers 3 --config-path a --config b", "serve");
    ck_assert(cli.port == 81 && cli.max_workers == 3 && str_is(cli.config, "b"));
    ck_assert(str_is(cli.pipelines_path, "config/pipelines.yaml"));
    goes("athena", "serve");
    ck_assert(cli.port == -1 && cli.max_workers == -1 && cli.config.n == 0);
}
END_TEST

START_TEST(a_secret_does_not_stay_among_the_words_of_the_process)
{
    char program[] = "athena", option[] = "--admin-key", value[] = "s3cret", both[] = "--admin-key=s3cret",
         word[] = "plugins";
    char *argv[] = { program, option, value, word }, *other[] = { program, both, word };

    cli_free(&cli);
    ck_assert_int_eq(cli_parse(4, argv, &finder, &cli, stdout, stderr), CLI_GO);
    ck_assert_str_eq(cli.admin_key.p, "s3cret");
    ck_assert_str_eq(value, "xxxxxx");
    cli_free(&cli);
    ck_assert_int_eq(cli_parse(3, other, &finder, &cli, stdout, stderr), CLI_GO);
    ck_assert_str_eq(cli.admin_key.p, "s3cret");
    ck_assert_str_eq(both, "--admin-key=xxxxxx");
}
END_TEST

START_TEST(commands_of_plugins_are_found_by_two_words)
{
    const struct create_options *o;

    goes("athena backup create nightly", "backup create");
    o = cli.options;
    ck_assert(str_is(o->name, "nightly") && o->depth == 3 && !o->fresh && o->command.n == 0);
    goes("athena -c x backup create nightly -d 4 --fresh -- sh -c true", "backup create");
    o = cli.options;
    ck_assert(o->depth == 4 && o->fresh && str_is(cli.config, "x"));
    ck_assert_uint_eq(o->command.n, 11);
    ck_assert_mem_eq(o->command.p, "sh\0-c\0true", 11);
    refused("athena backup create", 2, "athena backup create needs the word name");
    refused("athena backup create x --max-depth 10", 2, "--max-depth is \"10\", but must be within 1..9");
    refused("athena backup create x --frish", 2, "Did you mean \"--fresh\"?");
    refused("athena backup creat", 2, "unknown command \"backup\"");
}
END_TEST

START_TEST(commands_have_up_to_three_words)
{
    static const char *const word[] = { "admin", "clients", "list", "x" };
    const struct cli_clients_options *o;

    ck_assert_uint_eq(cli_words("admin clients list", word, 4), 3);
    ck_assert_uint_eq(cli_words("admin clients", word, 4), 2);
    ck_assert_uint_eq(cli_words("admin clients list", word, 2), 0);
    ck_assert_uint_eq(cli_words("admin keys", word, 4), 0);
    goes("athena clients add shop postgres://a:b@c/d --path x", "clients add");
    o = cli.options;
    ck_assert(str_is(o->name, "shop") && str_is(o->uri, "postgres://a:b@c/d") && str_is(o->path, "x"));
    goes("athena --json clients list", "clients list");
    ck_assert(cli.json);
    refused("athena clients", 2, "  clients set-default NAME\n"); /* what may follow */
    refused("athena clients --help", 0, "Commands of athena clients:\n");
    refused("athena clients lst", 2, "athena help clients lists those that begin so");
    refused("athena clients lst", 2, "unknown command \"clients lst\"\n    hint: Did you mean \"clients list\"?");
    refused("athena help clients", 0, "  clients set-default NAME\n");
}
END_TEST

START_TEST(wrong_usage_ends_with_two_and_the_nearest_word)
{
    refused("athena bogus", 2, "athena: unknown command \"bogus\"\n    hint: Run athena --help");
    refused("athena srve", 2, "Did you mean \"serve\"?");
    refused("athena --prot 1", 2, "unknown option \"--prot\"\n    hint: Did you mean \"--port\"?");
    refused("athena serve --bogus=secret", 2, "unknown option \"--bogus\" of athena serve");
    ck_assert_ptr_null(strstr(err, "secret"));
    refused("athena --port x serve", 2, "--port is \"x\", but must be a whole number");
    refused("athena --port 70000", 2, "--port is \"70000\", but must be within 0..65535");
    refused("athena --config", 2, "--config needs a value");
    refused("athena serve now", 2, "athena serve does not take the word \"now\"");
    refused("athena worker", 2, "athena worker needs the word family");
    refused("athena build --release", 2, "not cargo");
    refused("athena --max-workers 0 server", 1, "Invalid --max-workers value: must be greater than 0.");
}
END_TEST

START_TEST(help_and_version_end_with_nothing)
{
    refused("athena --help", 0, "usage: athena [OPTIONS] [COMMAND");
    ck_assert_ptr_nonnull(strstr(err, "  backup create\n      Make one.\n"));
    ck_assert_ptr_nonnull(strstr(err, "  --config TEXT, --config-path, -c\n"));
    refused("athena backup create -h", 0, "usage: athena [OPTIONS] backup create");
    refused("athena help backup create", 0, "  --max-depth N, -d\n      How deep.\n");
    refused("athena help nope", 2, "unknown command \"nope\"");
    refused("athena -V", 0, "athena 0.");
    ck_assert_int_eq(parse("athena version"), 0);
    ck_assert(out[0] == '0' && err[0] == 0);
}
END_TEST

static const struct cli *ran;

static int run_it(const struct cli *c)
{
    ran = c;
    return 7;
}

START_TEST(the_chosen_command_runs)
{
    const struct cli_runs runs = { .serve = run_it, .plugin = run_it };

    goes("athena", "serve");
    ck_assert_int_eq(cli_run(&cli, &runs, stderr), 7);
    ck_assert_ptr_eq(ran, &cli);
    goes("athena backup create x", "backup create");
    ck_assert_int_eq(cli_run(&cli, &runs, stderr), 7);
    goes("athena daemon", "daemon");
    FILE *null = fopen("/dev/null", "w");
    ck_assert_int_eq(cli_run(&cli, &runs, null), 1);
    fclose(null);
}
END_TEST

START_TEST(flags_beat_the_file)
{
    static const char *const env[] = { "ATHENA_API_PORT=5001", NULL };
    struct config_options o = { .environ = env, .cwd = "/nonexistent", .optional = true };
    struct config_report rep;
    struct core_config core;
    struct config *c;

    config_report_init(&rep);
    ck_assert_int_eq(config_open(&o, &c, &rep), 0);
    goes("athena --port 80 --max-workers 2", "serve");
    cli_override(&cli, c);
    ck_assert_int_eq(core_config_fill(c, &core, &rep), 0);
    ck_assert(core.api.port == 80 && core.server.loops == 2 && rep.n == 0);
    config_close(c);
    config_report_free(&rep);
    cli_free(&cli);
}
END_TEST

SUITE("cli", the_command_is_found, the_executables_name_chooses, global_options_stand_anywhere,
      a_secret_does_not_stay_among_the_words_of_the_process,
      commands_of_plugins_are_found_by_two_words, commands_have_up_to_three_words, wrong_usage_ends_with_two_and_the_nearest_word,
      help_and_version_end_with_nothing, the_chosen_command_runs, flags_beat_the_file)
