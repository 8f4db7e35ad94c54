/* Shapes of files: what the published server took, what it refused, and our own sections. */
#include "config_case.h"

/* A file that must be refused, and the whole of what is said. */
static void refused(const char *yaml, const char *said)
{
    struct config_case k;

    case_begin(&k);
    ck_assert_int_eq(case_open(&k, yaml), ATH_E_CONFIG);
    has(case_notes(&k), said);
    case_end(&k);
}

START_TEST(published_mistakes_are_refused_with_their_place)
{
    refused("hosts: []\nauthenticator: []\napi: []\npostgres_clients: []\n",
            "athena: Failed to load config 'config.yaml': missing field `urls`. Looked in:\n"
            "- explicit config path (config.yaml)\n");
    refused("", "missing field `urls`");
    refused(HEAD "api:\n- port: [4252]\n",
            "config.yaml:6:9: api[0].port: invalid type: sequence, expected a string\n");
    refused(HEAD "api:\n- port: {a: 1}\n",
            "api[0].port: invalid type: map, expected a string at line 6 column 9. Looked in:");
    refused(HEAD "api: yes\n", "api: invalid type: string, expected a sequence");
    refused(HEAD "api: []\nurls: []\n", "config.yaml:6:1: duplicate field `urls`");
    refused(HEAD "api: []\n---\nfoo: 1\n", "containing more than one document is not supported");
    refused("urls: []\n\thosts: []\n", "found character that cannot start any token at line 2 "
                                       "column 1, while scanning for the next token");
    refused(HEAD "api: []\nvalidation_ranges:\n  config:\n    api.port: {min: 5000}\n",
            "config.yaml:8:15: validation_ranges.config.api.port: missing field `max`");
    refused(HEAD "api: []\nloki: *secret\n", "an alias names no anchor");
    refused("a: &x [*x]\n", "inside of what it names");
    refused("- 1\n", "config.yaml:1:1: invalid type: sequence, expected a map of sections");
}
END_TEST

START_TEST(every_mistake_of_a_file_is_said_at_once)
{
    struct config_case k;
    const char *said;

    case_begin(&k);
    ck_assert_int_eq(case_open(&k, HEAD "api:\n- port: [1]\n- 5\ngateway: no\n"), ATH_E_CONFIG);
    said = case_notes(&k);
    has(said, "config.yaml:6:9: api[0].port");
    has(said, "config.yaml:7:3: api[1]: invalid type: string, expected a map");
    has(said, "config.yaml:8:10: gateway: invalid type");
    ck_assert_uint_eq(k.rep.errors, 3);
    case_end(&k);
}
END_TEST

START_TEST(the_first_item_wins_and_inside_an_item_the_last)
{
    struct config_case k;

    case_begin(&k);
    ck_assert_int_eq(case_core(&k, HEAD "api:\n- port: 4252\n  port: 4253\n- port: 4254\n"
                                   "- keep_alive_secs: \"\"\n- keep_alive_secs: 33\n"
                                   "- tcp_keepalive_secs: 80\n  cache_ttl: 300\n"), 0);
    ck_assert_int_eq(k.core.api.port, 4253);
    ck_assert_uint_eq(k.core.api.keep_alive_ms, 15000); /* the empty first one hides the second */
    ck_assert_uint_eq(k.core.api.tcp_keepalive_ms, 80000);
    ck_assert_uint_eq(k.core.api.cache_ttl_ms, 300000);
    case_end(&k);
}
END_TEST

START_TEST(a_section_may_be_a_map_and_anchors_work)
{
    struct config_case k;

    case_begin(&k);
    ck_assert_int_eq(case_core(&k, "urls:\nhosts: ~\nauthenticator: []\npostgres_clients:\n"
                                   "api: &a\n  port: \"4252\"\n  cache_ttl: >-\n    300\ndaemon: *a\n"), 0);
    ck_assert_int_eq(k.core.api.port, 4252);
    ck_assert_uint_eq(k.core.api.cache_ttl_ms, 300000);
    case_end(&k);
}
END_TEST

START_TEST(unknown_published_keys_warn_once_with_the_nearest)
{
    struct config_case k;
    const char *said;

    case_begin(&k);
    ck_assert_int_eq(case_core(&k, HEAD "api:\n- prot: 1\n- nonsense_entirely: 2\nzzz: 5\n"
                                   "gatway: []\nnest: {a: [1]}\nstorage:\n"
                                   "- insert_window_max_batch: 200\n"), 0);
    config_check_keys(k.c, core_tables, core_table_count(), NULL, 0, &k.rep);
    config_check_keys(k.c, core_tables, core_table_count(), NULL, 0, &k.rep);
    said = case_notes(&k);
    has(said, "warning: config.yaml:6:3: unknown key \"prot\" of section \"api\" is ignored\n"
              "    hint: Did you mean \"port\"?\n");
    has(said, "unknown key \"nonsense_entirely\" of section \"api\" is ignored\nwarning");
    has(said, "config.yaml:9:1: unknown section \"gatway\" is ignored\n    hint: Did you mean \"gateway\"?");
    has(said, "config.yaml:12:3: insert_window_max_batch belongs under gateway");
    ck_assert_int_eq(k.core.gateway.insert_window_max_batch, 200);
    ck_assert_uint_eq(k.rep.warnings, 6);
    ck_assert_uint_eq(k.rep.errors, 0);
    case_end(&k);
}
END_TEST

START_TEST(plugins_and_their_files_are_read)
{
    struct config_case k;

    case_begin(&k);
    case_file(&k, "plugins.d/b.yaml", "routes-b:\n  one: 1\n  two: 2\n");
    case_file(&k, "plugins.d/a.yaml", "# nothing\n");
    case_file(&k, "plugins.d/ignored.txt", "[");
    ck_assert_int_eq(case_open(&k, "plugins: [routes-a, routes-b]\noptional_plugins: [sink-x]\n"
                                   "routes-b:\n  two: 22\n"), 0);
    ck_assert(!k.c->published && k.c->plugins_stated);
    ck_assert_uint_eq(k.c->plugin_count, 3);
    ck_assert(str_is(k.c->plugin[1].name, "routes-b") && !k.c->plugin[1].optional);
    ck_assert(str_is(k.c->plugin[2].name, "sink-x") && k.c->plugin[2].optional);
    ck_assert(str_is(config_key(k.c, str_of("routes-b"), str_of("one"))->value->text, "1"));
    ck_assert(str_is(config_key(k.c, str_of("routes-b"), str_of("two"))->value->text, "22"));
    case_end(&k);
}
END_TEST

START_TEST(mistakes_in_plugin_files_are_refused)
{
    struct config_case k;
    const char *said;

    case_begin(&k);
    case_file(&k, "plugins.d/a.yaml", "routes-a:\n  x: 1\n  x: 2\napi: []\n");
    case_file(&k, "plugins.d/b.yaml", "routes-a:\n  x: 3\nroutes-b: [1]\n");
    case_file(&k, "plugins.d/c.yaml", "routes-c: [\n");
    ck_assert_int_eq(case_open(&k, "plugins: {a: b}\n"), ATH_E_CONFIG);
    config_report_free(&k.rep);
    config_close(k.c);
    ck_assert_int_eq(case_open(&k, "plugins: routes-a, routes-b\n"), ATH_E_CONFIG);
    said = case_notes(&k);
    has(said, "plugins.d/a.yaml:3:3: key \"x\" of section \"routes-a\" stands twice\n"
              "    hint: The other one is at plugins.d/a.yaml:2:3.\n");
    has(said, "plugins.d/a.yaml:4:1: \"api\" belongs into the main file");
    has(said, "plugins.d/b.yaml:2:3: key \"x\" of section \"routes-a\" stands twice");
    has(said, "plugins.d/b.yaml:3:12: section \"routes-b\" is a string, but must be a map");
    has(said, "plugins.d/c.yaml:2:1: did not find expected node content");
    has(said, "5 errors; configuration not accepted\n");
    case_end(&k);
}
END_TEST

START_TEST(a_tree_is_bounded)
{
    struct buf b = BUF_HEAP;
    struct config_case k;

    case_begin(&k);
    buf_lit(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++)
        buf_printf(&b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    ck_assert_int_eq(case_open(&k, b.p), ATH_E_CONFIG);
    has(case_notes(&k), "the file holds too many values, aliases included");
    case_end(&k);

    case_begin(&k);
    buf_reset(&b);
    buf_lit(&b, "a: ");
    for (int i = 0; i < 100; i++)
        buf_char(&b, '[');
    ck_assert_int_eq(case_open(&k, b.p), ATH_E_CONFIG);
    has(case_notes(&k), "nested too deeply");
    case_end(&k);
    buf_free(&b);
}
END_TEST

SUITE("config tree", published_mistakes_are_refused_with_their_place,
      every_mistake_of_a_file_is_said_at_once, the_first_item_wins_and_inside_an_item_the_last,
      a_section_may_be_a_map_and_anchors_work, unknown_published_keys_warn_once_with_the_nearest,
      plugins_and_their_files_are_read, mistakes_in_plugin_files_are_refused, a_tree_is_bounded)
