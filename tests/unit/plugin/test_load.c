/* core/plugin: what is refused and in which words, what is loaded and how it looks afterwards. */
#include "http/router.h"
#include "log/log.h"
#include "log/metric.h"
#include "plugin/report.h"
#include "unit/plugin/fixtures.h"

/* One plugin that must be refused, and what is said. Whether its code may have run says `ran`. */
static void refused(const char *fixture, bool ran, const char *words)
{
    struct registry *r;
    ath_err e;

    fix_begin();
    fix_put(fixture, NULL);
    r = registry_new();
    ck_assert_int_eq(fix_load(r, fixture, &e), ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "1 plugin was refused");
    ck_assert_str_eq(fix_refusals(r), words);
    ck_assert_uint_eq(r->count, 0);
    ck_assert_int_eq(getenv("ATHENA_FIXTURE_RAN") != NULL, ran);
    registry_free(r);
    fix_end();
}

START_TEST(refusals_before_any_code_runs)
{
    refused("sink-major", false,
            "plugin file \"DIR/sink-major.so\" is built for ABI 2.0, this server offers 1.0\n"
            "    hint: Install the plugin's package for this version of athena.\n");
    refused(
        "sink-minor", false,
        "plugin file \"DIR/sink-minor.so\" needs at least ABI 1.1, this server offers 1.0\n"
        "    hint: Update athena, or build the plugin with -DATH_ABI_MINOR=0u if it can do without "
        "what is newer.\n");
    refused("hooks-unknown", false,
            "plugin file \"DIR/hooks-unknown.so\" is of no kind\n"
            "    hint: Names begin with routes-, sink-, worker- or driver-.\n");
    refused("sink-needy", false,
            "plugin \"sink-needy\" needs \"storage.none@1\", which nothing enabled offers\n");
}
END_TEST

START_TEST(refusals_of_what_was_opened)
{
    refused("sink-noentry", true,
            "plugin file \"DIR/sink-noentry.so\" has no entry athena_plugin_v1\n");
    refused("sink-liar", true,
            "plugin \"sink-liar\" describes itself with version \"1.0.1\", but its note says "
            "\"1.0.0\"\n");
    refused("sink-outside", true,
            "plugin \"sink-outside\" has field \"on\" outside its struct of 8 bytes\n");
    refused(
        "sink-promises", true,
        "plugin \"sink-promises\" offers \"storage.air@1\" in its note, but has no such thing\n");
    refused("routes-noauth", true,
            "plugin \"routes-noauth\" has route GET /fixture without an auth class (.auth is 0)\n");
    refused(
        "routes-nogate", true,
        "plugin \"routes-nogate\" has gate \"absent\" of \"fixture\", which is none of its keys\n");
    refused(
        "routes-gatetype", true,
        "plugin \"routes-gatetype\" has gate \"number\" of \"fixture\", which is no BOOL key\n");
}
END_TEST

START_TEST(files_that_are_not_what_they_seem)
{
    struct registry *r = registry_new();
    ath_err e;

    fix_begin();
    fix_put("sink-good", "sink-other");
    fix_put("sink-good", "sink-open");
    fix_run("chmod 0757", "/sink-open.so");
    fix_run("echo nothing >", "/sink-text.so");
    fix_put("sink-good", "sink-short");
    fix_run("truncate -s 3000", "/sink-short.so");
    ck_assert_int_eq(fix_load(r, "sink-other sink-open sink-text sink-short", &e), ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "4 plugins were refused");
    ck_assert(
        str_starts(str_of(fix_refusals(r)),
                   "plugin file \"DIR/sink-other.so\" calls itself \"sink-good\"\n"
                   "plugin file \"DIR/sink-open.so\" may be written by anybody (mode 0757)\n"
                   "    hint: Its code would run as the server: see where it comes from, then "
                   "run chmod o-w.\n"
                   "plugin file \"DIR/sink-text.so\" is no ELF file\n"
                   "plugin file \"DIR/sink-short.so\" is cut short: it refers to "));
    ck_assert_ptr_null(getenv("ATHENA_FIXTURE_RAN"));
    registry_free(r);
    fix_end();
}
END_TEST

START_TEST(all_refusals_are_collected_and_optional_ones_are_not_fatal)
{
    struct registry *r = registry_new();
    ath_err e;

    fix_begin();
    fix_put("sink-good", NULL);
    fix_put("sink-needy", NULL);
    fix_put("driver-east", NULL);
    fix_put("driver-west", NULL);
    fix_put("sink-beyond", NULL);
    ck_assert_int_eq(
        fix_load(r, "sink-god sink-good sink-beyond driver-east driver-west ?sink-needy", &e),
        ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "4 plugins were refused");
    ck_assert_str_eq(
        fix_refusals(r),
        "plugin \"sink-god\" is not installed; in \"DIR\" there is: driver-east, driver-west, "
        "sink-beyond, "
        "sink-good, sink-needy\n"
        "    hint: Did you mean \"sink-good\"?\n"
        "optional: plugin \"sink-needy\" needs \"storage.none@1\", which nothing enabled offers\n"
        "plugin \"driver-east\" needs itself: driver-east -> driver-west -> driver-east\n"
        "plugin \"driver-west\" needs itself: driver-east -> driver-west -> driver-east\n"
        "plugin \"sink-beyond\" needs \"ring.east@1\" of plugin \"driver-east\", which was "
        "refused\n");
    ck_assert_uint_eq(r->count, 1);
    registry_free(r);

    r = registry_new();
    ck_assert_int_eq(fix_load(r, "sink-good ?sink-needy", &e), 0);
    ck_assert_uint_eq(r->fatal, 0);
    ck_assert_ptr_nonnull(r->refused);
    registry_free(r);
    fix_end();
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_named)
{
    struct registry *r = registry_new();
    struct load_options o = { .dir = "/nowhere/plugins", .host = &fix_host };
    ath_err e;

    ck_assert_int_eq(registry_load(r, &o, &e), ATH_E_CONFIG);
    ck_assert_str_eq(
        e.message, "could not read plugin folder \"/nowhere/plugins\": No such file or directory");
    registry_free(r);
}
END_TEST

START_TEST(drivers_come_when_they_are_needed_and_listed)
{
    struct registry *r = registry_new();
    const char *names[] = { "sink-life", "driver-counter" };
    struct load_options o = {
        .dir = fix_dir,
        .plugin = names,
        .plugin_count = 2,
        .kinds = PLUGIN_ROUTES | PLUGIN_DRIVER,
        .host = &fix_host,
        .fill = fix_fill,
    };
    uint32_t journal = sizeof(journal);
    ath_err e;

    fix_begin();
    fix_put("sink-life", NULL);
    fix_put("driver-counter", NULL);
    registry_offer(r, "test.journal", 1, &journal);
    ck_assert_int_eq(registry_load(r, &o, &e), 0);
    ck_assert_uint_eq(r->count, 0); /* no sinks in this role, so nobody needs the driver */
    registry_free(r);

    r = registry_new();
    registry_offer(r, "test.journal", 1, &journal);
    o.kinds |= PLUGIN_SINK;
    ck_assert_int_eq(registry_load(r, &o, &e), 0);
    ck_assert_uint_eq(r->count, 2);
    ck_assert_str_eq(r->self[0]->name, "driver-counter");
    ck_assert_str_eq(r->self[1]->name, "sink-life");
    ck_assert_ptr_nonnull(registry_service(r->self[1], "life.counter", 1));
    ck_assert_ptr_null(registry_service(r->self[1], "life.counter", 2));
    ck_assert_ptr_null(registry_service(r->self[0], "life.counter", 1)); /* it did not list it */
    ck_assert_ptr_eq(registry_service(r->self[0], "test.journal", 1), &journal);
    registry_free(r);

    r = registry_new();
    registry_offer(r, "test.journal", 1, &journal);
    o.plugin_count = 1;
    ck_assert_int_eq(registry_load(r, &o, &e), ATH_E_CONFIG);
    ck_assert_str_eq(
        fix_refusals(r),
        "plugin \"sink-life\" needs \"life.counter@1\", which nothing enabled offers\n"
        "    hint: Plugin \"driver-counter\" is installed and offers it: add it to plugins.\n");
    registry_free(r);
    fix_end();
}
END_TEST

START_TEST(a_command_loads_only_its_plugin)
{
    struct registry *r = registry_new();
    struct load_options o = { .dir = fix_dir, .host = &fix_host, .fill = fix_fill };
    const char *words[] = { "fixture", "show", "--all" };
    struct capability *c;
    uint32_t n;
    ath_err e;

    fix_begin();
    fix_put("sink-good", NULL);
    fix_put("driver-commands", NULL);
    ck_assert_int_eq(registry_load_command(r, &o, "nothing", &e), ATH_E_MISSING);
    ck_assert_int_eq(registry_load_command(r, &o, "fixture", &e), 0);
    ck_assert_uint_eq(r->count, 1);
    ck_assert_ptr_nonnull(c = registry_command(r, words, 3, &n));
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(c->command.summary, "Shows");
    ck_assert_ptr_null(registry_command(r, words, 1, &n));
    registry_free(r);
    fix_end();
}
END_TEST

static const struct route *route_of(struct router *router, const char *method, const char *path)
{
    struct route_match m;
    ath_arena a;

    arena_init(&a);
    router_find(router, str_of(method), str_of(path), &a, &m);
    arena_free(&a);
    return m.route;
}

START_TEST(routes_collide_and_gates_close)
{
    struct registry *r = registry_new();
    struct router *router = router_new();
    const struct route *route;
    ath_err e;
    bool changed;

    fix_begin();
    fix_put("routes-one", NULL);
    fix_put("routes-two", NULL);
    ck_assert_int_eq(fix_load(r, "routes-one routes-two", &e), 0);
    ck_assert_int_eq(registry_routes(r, router, &e), ATH_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(fix_refusals(r), "routes-one"));
    ck_assert_ptr_nonnull(strstr(fix_refusals(r), "routes-two"));
    ck_assert_ptr_nonnull(strstr(fix_refusals(r), "/fixture"));
    router_free(router);
    registry_free(r);

    fix_put("routes-gated", NULL);
    r = registry_new();
    router = router_new();
    ck_assert_int_eq(fix_load(r, "routes-gated", &e), 0);
    ck_assert_int_eq(registry_routes(r, router, &e), 0);
    ck_assert_ptr_nonnull(route = route_of(router, "GET", "/fixture"));
    ck_assert_str_eq(route->plugin, "routes-gated");
    ck_assert_str_eq(route->label, "GET /fixture");
    ck_assert_ptr_eq(route->self, r->self[0]);

    fix_key = "on"; /* no RELOAD key: nothing changes */
    fix_value = "no";
    ck_assert_int_eq(registry_reload(r, fix_fill, NULL, &changed, &e), 0);
    ck_assert(!changed);
    ck_assert_ptr_nonnull(route_of(router, "GET", "/fixture"));
    router_free(router);
    registry_free(r);

    r = registry_new();
    router = router_new();
    ck_assert_int_eq(fix_load(r, "routes-gated", &e), 0);
    ck_assert_int_eq(registry_routes(r, router, &e), 0);
    ck_assert_ptr_null(route_of(router, "GET", "/fixture"));
    fix_key = NULL;
    router_free(router);
    registry_free(r);
    fix_end();
}
END_TEST

struct fixture_config { /* as bad.c has it */
    int64_t number;
    int32_t on;
};

START_TEST(configs_are_filled_reloaded_and_kept_by_who_has_them)
{
    struct registry *r = registry_new();
    const struct fixture_config *before, *after;
    struct log_queue_options q = { 0 };
    ath_self *s;
    ath_err e;
    bool changed;

    fix_begin();
    fix_put("sink-good", NULL);
    ck_assert_int_eq(fix_load(r, "sink-good", &e), 0);
    ck_assert_ptr_nonnull(s = registry_find(r, ATH_S("sink-good")));
    before = registry_config(s);
    ck_assert(before->number == 7 && before->on == 1);
    log_queue_options_of(s->all_field, sizeof(ath_field), s->all_count, before, &q);
    ck_assert(q.queue_events == 128000 && q.batch == 1024 && q.flush_ms == 50);

    fix_key = "number";
    fix_value = "8";
    ck_assert_int_eq(registry_reload(r, fix_fill, NULL, &changed, &e), 0);
    ck_assert(changed);
    after = registry_config(s);
    ck_assert(after != before && after->number == 8 && before->number == 7);
    fix_value = "wrong";
    ck_assert_int_eq(registry_reload(r, fix_fill, NULL, &changed, &e), ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "file:1:1: number of sink-good is wrong");
    ck_assert_ptr_eq(registry_config(s), after);
    registry_free(r);

    r = registry_new();
    ck_assert_int_eq(fix_load(r, "sink-good", &e), ATH_E_CONFIG);
    ck_assert_str_eq(fix_refusals(r), "file:1:1: number of sink-good is wrong\n");
    fix_key = NULL;
    registry_free(r);
    fix_end();
}
END_TEST

START_TEST(codes_and_metrics_are_known_to_all_and_only_once)
{
    struct registry *r = registry_new();
    ath_err e;

    fix_begin();
    fix_put("routes-codes", NULL);
    fix_put("routes-codes-again", NULL);
    ck_assert_int_eq(fix_load(r, "routes-codes routes-codes-again", &e), ATH_E_CONFIG);
    ck_assert_str_eq(fix_refusals(r), "plugin \"routes-codes-again\" cannot be loaded: error code "
                                      "\"fixture_is_tired\" exists already\n");
    ck_assert_uint_eq(r->count, 1);
    ck_assert_int_eq(err_raise(&e, "fixture_is_tired", "so tired"), ATH_E_LIMIT);
    ck_assert_uint_eq(err_entry(&e)->status, 422);
    registry_free(r);
    ck_assert_ptr_nonnull(err_lookup("fixture_is_tired")); /* the table outlives the registry */
    fix_end();
}
END_TEST

START_TEST(the_list_shows_everything_installed)
{
    struct registry *r = registry_new();
    const struct plugin_row *row;
    struct buf b = BUF_HEAP;
    ath_err e;

    fix_begin();
    fix_put("sink-good", NULL);
    fix_put("sink-major", NULL);
    fix_put("driver-commands", NULL);
    ck_assert_int_eq(fix_load(r, "sink-good ?sink-gone", &e), 0);
    ck_assert_uint_eq(report_rows(r, &fix_host, &row), 4);
    ck_assert_str_eq(row[0].name, "driver-commands");
    ck_assert_str_eq(row[0].state, "not enabled");
    ck_assert_str_eq(row[0].offers, "command.fixture");
    ck_assert_str_eq(row[0].summary, "A fixture");
    ck_assert_str_eq(row[1].state, "loaded");
    ck_assert_str_eq(row[1].kind, "sink");
    ck_assert_str_eq(row[1].version, "1.0.0");
    ck_assert_str_eq(row[2].state, "refused");
    ck_assert_ptr_nonnull(strstr(row[2].why, "ABI 2.0"));
    ck_assert_uint_eq(row[2].abi_major, 2);
    ck_assert_str_eq(row[3].name, "sink-gone");
    ck_assert_ptr_nonnull(strstr(row[3].why, "is not installed"));
    report_print(r, &fix_host, &b);
    ck_assert_ptr_nonnull(
        strstr(b.p, "sink-good                    1.0.0     1.0  loaded       A fixture\n"));
    buf_free(&b);
    registry_free(r);
    fix_end();
}
END_TEST

SUITE("plugin load", refusals_before_any_code_runs, refusals_of_what_was_opened,
      files_that_are_not_what_they_seem, all_refusals_are_collected_and_optional_ones_are_not_fatal,
      a_folder_that_is_not_there_is_named, drivers_come_when_they_are_needed_and_listed,
      a_command_loads_only_its_plugin, routes_collide_and_gates_close,
      configs_are_filled_reloaded_and_kept_by_who_has_them,
      codes_and_metrics_are_known_to_all_and_only_once, the_list_shows_everything_installed)
