/* Tables: precedence, clamping of published places, strictness of ours, units, strides. */
#include "config_case.h"

struct sample {
    ath_str path, format, secret, list;
    int64_t rows;
    int32_t on;
    uint64_t wait_ms, size;
    double share;
};

static const ath_field fields[] = {
    ATH_STR(struct sample, path, "path", "/tmp/x", NULL, "Where."),
    ATH_STR(struct sample, format, "format", "text", "text|json", "How."),
    ATH_STR(struct sample, secret, "secret", "", "red|blue", "Hush.", .flags = ATH_CF_SECRET, .alias = "$SECRET"),
    ATH_STR(struct sample, list, "list", "", NULL, "Some."),
    ATH_INT(struct sample, rows, "max_rows", "1000", "1..5000", "Rows.", .alias = "$OWN_ROWS gateway.max_rows"),
    ATH_BOOL(struct sample, on, "on", "true", "Switch."),
    ATH_MSEC(struct sample, wait_ms, "wait", "5s", "10ms..10m", "Time.", .alias = "gateway.resilience_timeout_secs"),
    ATH_BYTES(struct sample, size, "size", "64k", "1k..1g", "Bytes."),
    ATH_REAL(struct sample, share, "share", "0.5", "0..1", "Part."),
};
static const struct config_table table = { .section = "routes-x", ATH_ARRAY(field, fields), .plugin = true };

#define OWN "plugins: [routes-x]\n"

static int fill(struct config_case *k, const char *yaml, struct sample *s)
{
    int rc = case_open(k, yaml);

    memset(s, 0, sizeof(*s));
    return rc < 0 ? rc : config_fill(k->c, &table, s, &k->rep);
}

START_TEST(every_type_is_read)
{
    struct config_case k;
    struct sample s;

    case_begin(&k);
    ck_assert_int_eq(fill(&k, OWN "routes-x:\n  path: \"\"\n  format: json\n  list: [a, b c]\n"
                              "  max_rows: 7\n  on: Off\n  wait: 2m\n  size: 2 MiB\n  share: 0.25\n", &s), 0);
    ck_assert(str_is(s.path, "") && str_is(s.format, "json") && str_is(s.list, "a,b c"));
    ck_assert_int_eq(s.rows, 7);
    ck_assert_int_eq(s.on, 0);
    ck_assert_uint_eq(s.wait_ms, 120000);
    ck_assert_uint_eq(s.size, 2 << 20);
    ck_assert(s.share > 0.249 && s.share < 0.251);
    case_end(&k);

    case_begin(&k);
    ck_assert_int_eq(fill(&k, OWN "routes-x:\n  max_rows:\n", &s), 0);
    ck_assert(str_is(s.path, "/tmp/x") && s.rows == 1000 && s.on == 1 && s.wait_ms == 5000 && s.size == 65536);
    case_end(&k);
}
END_TEST

START_TEST(our_own_sections_are_strict_and_every_error_has_its_place)
{
    struct config_case k;
    struct sample s;
    const char *said;

    case_begin(&k);
    case_file(&k, "plugins.d/routes-x.yaml", "routes-x:\n  max_rowz: 5\n  max_rows: 0\n  wait: soon\n"
              "  format: jsn\n  on: maybe\n  secret: swordfish\n  size: ${NOT_SET_ANYWHERE}\n"
              "  share: 2\n  path: {a: b}\n");
    ck_assert_int_eq(fill(&k, OWN, &s), ATH_E_CONFIG); /* a map as a value */
    config_report_free(&k.rep);
    ck_assert_int_eq(config_fill(k.c, &table, &s, &k.rep), ATH_E_CONFIG);
    said = case_notes(&k);
    has(said, "plugins.d/routes-x.yaml:2:3: unknown key \"max_rowz\" of plugin \"routes-x\"\n"
              "    hint: Did you mean \"max_rows\"? Run athena --help-config routes-x to see all keys.\n"
              "plugins.d/routes-x.yaml:3:13: max_rows is 0, but must be within 1..5000\n"
              "plugins.d/routes-x.yaml:4:9: wait is \"soon\", but must be a duration such as 250ms, 5s or 10m\n"
              "plugins.d/routes-x.yaml:5:11: format is \"jsn\", but must be one of text, json\n"
              "plugins.d/routes-x.yaml:6:7: on is \"maybe\", but must be true or false\n"
              "plugins.d/routes-x.yaml:7:11: secret is \"(secret)\", but must be one of red, blue\n"
              "plugins.d/routes-x.yaml:8:9: size names variable \"NOT_SET_ANYWHERE\", which is not set\n"
              "    hint: Set it, or write ${NOT_SET_ANYWHERE:-default}.\n"
              "plugins.d/routes-x.yaml:9:10: share is 2, but must be within 0..1\n"
              "8 errors; configuration not accepted\n");
    hasnt(said, "swordfish");
    case_end(&k);
}
END_TEST

static int64_t rows_with(const char *yaml, const char *env1, const char *env2, const char *flag,
                         const char *source)
{
    struct config_case k;
    struct sample s = { 0 };

    case_begin(&k);
    if (env1)
        case_env(&k, env1);
    if (env2)
        case_env(&k, env2);
    ck_assert_int_eq(case_open(&k, yaml), 0);
    if (flag)
        config_override(k.c, "routes-x", "max_rows", flag, "--max-rows");
    ck_assert_int_eq(config_fill(k.c, &table, &s, &k.rep), 0);
    ck_assert_str_eq(config_source(k.c, &table, "max_rows"), source);
    case_end(&k);
    return s.rows;
}

START_TEST(places_count_in_their_order)
{
    const char *both = OWN "routes-x:\n  max_rows: 3\ngateway:\n- max_rows: 2\n";
    const char *alias = OWN "gateway:\n- max_rows: 2\n";

    ck_assert_int_eq(rows_with(OWN, NULL, NULL, NULL, "default"), 1000);
    ck_assert_int_eq(rows_with(alias, NULL, NULL, NULL, "file"), 2);
    ck_assert_int_eq(rows_with(both, NULL, NULL, NULL, "file"), 3);
    ck_assert_int_eq(rows_with(both, "ATHENA_GATEWAY_MAX_ROWS= 4 ", NULL, NULL, "environment"), 4);
    ck_assert_int_eq(rows_with(both, "ATHENA_GATEWAY_MAX_ROWS=4", "ATHENA_ROUTES_X_MAX_ROWS=5", NULL, "environment"), 5);
    ck_assert_int_eq(rows_with(both, "ATHENA_ROUTES_X_MAX_ROWS=5", "OWN_ROWS=6", NULL, "environment"), 6);
    ck_assert_int_eq(rows_with(both, "OWN_ROWS=6", NULL, "7", "command line"), 7);
    ck_assert_int_eq(rows_with(both, "OWN_ROWS=  ", NULL, NULL, "file"), 3);
}
END_TEST

START_TEST(the_unit_of_a_bare_number_is_in_its_name)
{
    struct config_case k;
    struct sample s;

    case_begin(&k);
    ck_assert_int_eq(fill(&k, OWN "gateway:\n- resilience_timeout_secs: 45\n", &s), 0);
    ck_assert_uint_eq(s.wait_ms, 45000);
    case_end(&k);
    case_begin(&k);
    ck_assert_int_eq(fill(&k, OWN "gateway:\n- resilience_timeout_secs: 5\n", &s), 0);
    ck_assert_uint_eq(s.wait_ms, 30000); /* the published minimum, in seconds */
    has(case_notes(&k), "provided=5 corrected=30 min=30 max=600 reason=BelowMin");
    case_end(&k);
    case_begin(&k);
    ck_assert_int_eq(fill(&k, OWN "routes-x:\n  wait: 45\n", &s), 0);
    ck_assert_uint_eq(s.wait_ms, 45);
    case_end(&k);
}
END_TEST

START_TEST(a_field_without_default_is_required)
{
    static const ath_field one[] = { ATH_STR(struct sample, path, "path", NULL, NULL, "Where to append.") };
    static const struct config_table t = { .section = "sink-x", ATH_ARRAY(field, one), .plugin = true };
    struct config_case k;
    struct sample s;

    case_begin(&k);
    ck_assert_int_eq(case_open(&k, OWN "sink-x:\n"), 0);
    ck_assert_int_eq(config_fill(k.c, &t, &s, &k.rep), ATH_E_CONFIG);
    has(case_notes(&k), "config.yaml:2:1: plugin \"sink-x\" needs the key \"path\": Where to append.\n");
    case_end(&k);
    case_begin(&k);
    ck_assert_int_eq(case_open(&k, OWN "sink-x: 5\n"), 0);
    ck_assert_int_eq(config_fill(k.c, &t, &s, &k.rep), ATH_E_CONFIG);
    has(case_notes(&k), "config.yaml:2:9: section \"sink-x\" is a string, but must be a map");
    case_end(&k);
}
END_TEST

/* A table of a plugin built against an older and a newer header. */
START_TEST(tables_are_walked_by_their_stride)
{
    struct old_field { ath_field f; } old[2];       /* as long as ours, but read without `alias` */
    struct new_field { ath_field f; void *more[3]; } newer[2] = { { .more = { &old } } };
    struct sample s;
    struct config_case k;
    size_t old_size = offsetof(ath_field, alias);
    char packed[2 * sizeof(ath_field)];

    newer[0].f = fields[0];
    newer[1].f = fields[4];
    memcpy(packed, &fields[0], old_size);
    memcpy(packed + old_size, &fields[4], old_size);
    case_begin(&k);
    ck_assert_int_eq(case_open(&k, OWN "routes-x:\n  path: p\ngateway:\n- max_rows: 9\n"), 0);
    struct config_table t = { .section = "routes-x", .field = &newer[0].f, .field_size = sizeof(newer[0]), .field_count = 2 };
    ck_assert_int_eq(config_fill(k.c, &t, &s, &k.rep), 0);
    ck_assert(str_is(s.path, "p") && s.rows == 9);
    t.field = (const ath_field *)(const void *)packed;
    t.field_size = (uint32_t)old_size;
    ck_assert_int_eq(config_fill(k.c, &t, &s, &k.rep), 0);
    ck_assert(str_is(s.path, "p") && s.rows == 1000); /* it had no alias */
    case_end(&k);
}
END_TEST

START_TEST(a_wrong_table_is_said_and_not_trusted)
{
    static const ath_field wrong[] = {
        ATH_INT(struct sample, rows, "a", "many", NULL, "x"),
        ATH_INT(struct sample, rows, "b", "1", "one..two", "x"),
        ATH_STR(struct sample, format, "c", "xml", "text|json", "x"),
    };
    static const struct config_table t = { .section = "routes-x", ATH_ARRAY(field, wrong) };
    struct config_case k;
    struct sample s;

    case_begin(&k);
    ck_assert_int_eq(case_open(&k, OWN), 0);
    ck_assert_int_eq(config_fill(k.c, &t, &s, &k.rep), ATH_E_CONFIG);
    ck_assert_uint_eq(k.rep.errors, 3);
    case_end(&k);
}
END_TEST

struct clamp {
    const char *yaml, *env;
    int64_t port;
    const char *said;
};

START_TEST(published_ports_are_clamped_and_said)
{
    static const struct clamp clamps[] = {
        { "api:\n- port: 4252\n", NULL, 4252, NULL },
        { "api:\n- port: 80\n", NULL, 4052, "provided=80 corrected=4052 min=4052 max=65535 reason=BelowMin\n    hint: To have it so, add `\"api.port\"" },
        { "api:\n- port: 70000\n", NULL, 65535, "reason=AboveMax" },
        { "api:\n- port: abc\n", NULL, 4052, "config.yaml:6:9: Normalized numeric configuration value using configured range key=api.port provided=abc corrected=4052" },
        { "api:\n- port: ${VA_P}\n", NULL, 4052, NULL },
        { "api:\n- port: ${VA_P}\n", "VA_P=4300", 4300, NULL },
        { "api:\n- port: ${VA_P:-4301}\n", NULL, 4301, NULL },
        { "api:\n- port: 5000\n", "ATHENA_API_PORT=4123", 4123, NULL },
        { "api:\n- port: 5000\n", "ATHENA_API_PORT=  ", 5000, NULL },
        { "api:\n- port: 5000\n", "ATHENA_API_PORT=abc", 4052, "environment variable ATHENA_API_PORT: Normalized numeric environment value using configured range env_key=ATHENA_API_PORT provided=abc" },
        { "api:\n- port: 80\nvalidation_ranges:\n  config:\n    api.port: {min: 80, max: 100}\n", NULL, 80, NULL },
        { "api:\n- port: 1234\nvalidation_ranges:\n  config:\n    api.port: {min: 2000, max: 1000}\n", NULL, 1234, NULL },
        { "api: []\nvalidation_ranges:\n  config:\n    api.port: {min: 4252, max: 5000}\n", NULL, 4252, NULL },
        { "api:\n- port: 99\nvalidation_ranges:\n  config:\n    api.port: {min: 99.5, max: 1000.5}\n", NULL, 100, "min=100 max=1000" },
        { "api:\n- port: 70000\nvalidation_ranges:\n  config:\n    api.port: {min: 1, max: 1000000}\n", NULL, 65535, "max=65535" },
        { "api:\n- port: 80\nvalidation_ranges:\n  config:\n    api.port: {min: .inf, max: 9}\n", NULL, 4052, "is not finite" },
        { "api: []\nvalidation_ranges:\n  config:\n    typesense.x: {min: 1, max: 9}\n", NULL, 4052, "has no effect" },
    };

    for (size_t i = 0; i < ATH_COUNT(clamps); i++) {
        struct config_case k;
        struct buf yaml = BUF_HEAP;
        case_begin(&k);
        if (clamps[i].env)
            case_env(&k, clamps[i].env);
        buf_printf(&yaml, HEAD "%s", clamps[i].yaml);
        ck_assert_int_eq(case_core(&k, yaml.p), 0);
        ck_assert_msg(k.core.api.port == clamps[i].port, "%zu: %ld", i, (long)k.core.api.port);
        if (clamps[i].said)
            has(case_notes(&k), clamps[i].said);
        else
            ck_assert_msg(k.rep.n == 0, "%zu: %s", i, case_notes(&k));
        buf_free(&yaml);
        case_end(&k);
    }
}
END_TEST

START_TEST(a_flag_is_not_clamped_but_must_make_sense)
{
    struct config_case k;

    case_begin(&k);
    ck_assert_int_eq(case_open(&k, HEAD "api:\n- port: 5000\n"), 0);
    config_override(k.c, "api", "port", "80", "--port");
    ck_assert_int_eq(core_config_fill(k.c, &k.core, &k.rep), 0);
    ck_assert_int_eq(k.core.api.port, 80);
    config_override(k.c, "api", "port", "70000", "--port");
    ck_assert_int_eq(core_config_fill(k.c, &k.core, &k.rep), ATH_E_CONFIG);
    has(case_notes(&k), "--port: port is 70000, but must be within 0..65535");
    case_end(&k);
}
END_TEST

START_TEST(variables_of_the_pools_are_clamped)
{
    struct config_case k;
    const char *said;

    case_begin(&k);
    case_env(&k, "ATHENA_PG_POOL_MAX_CONNECTIONS=9999");
    case_env(&k, "ATHENA_PG_POOL_ACQUIRE_TIMEOUT_SECS=abc");
    case_env(&k, "ATHENA_LOGGING_POOL_MAX_CONNECTIONS=1");
    case_env(&k, "ATHENA_PG_POOL_TEST_BEFORE_ACQUIRE=perhaps");
    ck_assert_int_eq(case_core(&k, "server: {}\npool:\n  idle_timeout: 1s\n  max_connections: 5\n"), 0);
    said = case_notes(&k);
    ck_assert_int_eq(k.core.pool.max_connections, 500);
    ck_assert_int_eq(k.core.pool.logging_max_connections, 2);
    ck_assert_uint_eq(k.core.pool.acquire_timeout_ms, 8000);
    ck_assert_uint_eq(k.core.pool.idle_timeout_ms, 1000); /* ours, in our range */
    has(said, "env_key=ATHENA_PG_POOL_MAX_CONNECTIONS provided=9999 corrected=500 min=100 max=500 reason=AboveMax");
    has(said, "env_key=ATHENA_PG_POOL_ACQUIRE_TIMEOUT_SECS provided=abc corrected=8 min=8 max=300 reason=ParseError");
    has(said, "ATHENA_PG_POOL_TEST_BEFORE_ACQUIRE is \"perhaps\", which is not true or false; the default is used: true");
    case_end(&k);
}
END_TEST

START_TEST(defaults_are_the_documented_ones)
{
    struct config_case k;

    case_begin(&k);
    ck_assert_int_eq(case_core(&k, HEAD "api: []\n"), 0);
    ck_assert_uint_eq(k.rep.n, 0);
    ck_assert(k.c->published && !k.core.enforce_stated && !k.core.gateway.enforce_api_keys);
    ck_assert_int_eq(k.core.api.port, 4052);
    ck_assert_uint_eq(k.core.api.keep_alive_ms, 15000);
    ck_assert_uint_eq(k.core.server.idle_timeout_ms, 15000);
    ck_assert_uint_eq(k.core.gateway.deferred_query_retention_ms, 2592000000ull);
    ck_assert_uint_eq(k.core.gateway.log_retention_ms, 1209600000ull);
    ck_assert_int_eq(k.core.pool.max_connections, 100);
    ck_assert_int_eq(k.core.pool.logging_max_connections, 10);
    ck_assert_int_eq(k.core.gateway.raw_sql.per_second, 20);
    ck_assert(str_is(k.core.gateway.admission_store_backend, "redis"));
    ck_assert(str_is(k.core.server.host, "0.0.0.0") && str_is(k.core.server.log_filter, "info"));
    case_end(&k);
}
END_TEST

START_TEST(published_words_fall_back_and_ours_do_not)
{
    struct config_case k;
    const char *said;

    case_begin(&k);
    case_env(&k, "RUST_LOG=");
    case_env(&k, "ATHENA_CORS_ALLOWED_ORIGINS=https://b, https://c");
    ck_assert_int_eq(case_core(&k, HEAD "api:\n- cors_allowed_origins: https://a, https://b\n"
                                   "gateway:\n- admission_store_backend: etcd\n- api_key_fail_mode: FAIL_OPEN\n"
                                   "- admission_limit_enabled: perhaps\n- unenforced_scope: some\n"
                                   "- enforce_api_keys: definitely\n"), ATH_E_CONFIG);
    said = case_notes(&k);
    has(said, "warning: config.yaml:8:28: gateway.admission_store_backend is \"etcd\", which is not one of memory|redis; the default is used: redis");
    has(said, "gateway.admission_limit_enabled is \"perhaps\", which is not true or false; the default is used: false");
    has(said, "\nconfig.yaml:11:21: unenforced_scope is \"some\", but must be one of all, data, none\n");
    has(said, "\nconfig.yaml:12:21: enforce_api_keys is \"definitely\", but must be true or false\n");
    ck_assert_uint_eq(k.rep.errors, 2);
    ck_assert(str_is(k.core.gateway.api_key_fail_mode, "fail_open"));
    ck_assert(str_is(k.core.api.cors_allowed_origins, "https://a, https://b,https://c"));
    ck_assert(str_is(k.core.server.log_filter, "error") && k.core.enforce_stated);
    case_end(&k);
}
END_TEST

SUITE("config field", every_type_is_read, our_own_sections_are_strict_and_every_error_has_its_place,
      places_count_in_their_order, the_unit_of_a_bare_number_is_in_its_name,
      a_field_without_default_is_required, tables_are_walked_by_their_stride,
      a_wrong_table_is_said_and_not_trusted, published_ports_are_clamped_and_said,
      a_flag_is_not_clamped_but_must_make_sense, variables_of_the_pools_are_clamped,
      defaults_are_the_documented_ones, published_words_fall_back_and_ours_do_not)
