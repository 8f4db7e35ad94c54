/* What the tables print, and that the printed sample is a file that loads without a word. */
#include "config_case.h"

static const char *const shipped[] = { "enforce_api_keys", "true", NULL };

static const struct config_table *table(const char *section)
{
    for (size_t i = 0; core_tables[i]; i++)
        if (strcmp(core_tables[i]->section, section) == 0)
            return core_tables[i];
    return NULL;
}

START_TEST(the_sample_loads_and_says_nothing)
{
    static const char *const plugins[] = { "routes-meta", "sink-stdout" };
    struct config_clients clients;
    struct config_case k;
    struct buf b = BUF_HEAP;

    case_begin(&k);
    case_env(&k, "POSTGRES_APP_URI=postgres://app@db.internal/app");
    reference_sample_head(&b, plugins, ATH_COUNT(plugins));
    for (size_t i = 0; core_tables[i]; i++)
        reference_sample(&b, core_tables[i], shipped);
    ck_assert_int_eq(case_core(&k, b.p), 0);
    config_check_keys(k.c, core_tables, core_table_count(), NULL, 0, &k.rep);
    config_clients(k.c, &k.core, &clients, &k.rep);
    ck_assert_uint_eq(clients.usable, 1);
    ck_assert_msg(k.rep.n == 0, "%s", case_notes(&k));
    ck_assert(k.core.gateway.enforce_api_keys && k.core.enforce_stated && !k.c->published);
    has(b.p, "plugins: [routes-meta, sink-stdout]\n");
    has(b.p, "# TCP port; of --port, 0 picks a free one. (4052..65535)\n#- port: 4052\n");
    has(b.p, "\n- enforce_api_keys: true\n");
    has(b.p, "  # How long a stop waits for running requests and jobs. (0..1h)\n  #drain_timeout: 30s\n");
    case_end(&k);
    buf_free(&b);
}
END_TEST

/* The same file with every key set to its default must load as well: the defaults are valid text. */
START_TEST(every_default_can_be_written_down)
{
    struct config_case k;
    struct buf b = BUF_HEAP, yaml = BUF_HEAP;

    case_begin(&k);
    for (size_t i = 0; core_tables[i]; i++)
        reference_sample(&b, core_tables[i], NULL);
    for (const char *p = b.p; *p; p++) /* "#key: value" is a key, "# words" a comment */
        if (*p != '#' || p[1] == ' ')
            buf_char(&yaml, *p);
    ck_assert_int_eq(case_core(&k, yaml.p), 0);
    config_check_keys(k.c, core_tables, core_table_count(), NULL, 0, &k.rep);
    ck_assert_msg(k.rep.n == 0, "%s", case_notes(&k));
    ck_assert(k.c->last->first != NULL); /* they are no comments any more */
    case_end(&k);
    buf_free(&b);
    buf_free(&yaml);
}
END_TEST

START_TEST(help_and_manual_show_every_key)
{
    struct buf help = BUF_HEAP, page = BUF_HEAP;
    ath_field f;

    reference_help(&help, table("server"));
    reference_markdown(&page, table("server"));
    for (uint32_t i = 0; i < table("server")->field_count; i++) {
        config_field(table("server"), i, &f);
        has(help.p, f.key);
        has(page.p, f.key);
    }
    has(help.p, "\n  admin_key  text, default \"\", secret\n      The administrator's fixed key; empty: admin "
                "routes are closed.\n      also read from ATHENA_KEY_12, ATHENA_SERVER_ADMIN_KEY\n");
    has(page.p, "| `log_filter` | text |  | info | Reloads. Levels to log");
    has(page.p, "| `RUST_LOG`, `ATHENA_SERVER_LOG_FILTER` |\n");
    buf_reset(&page);
    reference_markdown(&page, table("gateway"));
    has(page.p, "| word | all\\|data\\|none | all |");
    buf_free(&help);
    buf_free(&page);
}
END_TEST

SUITE("config reference", the_sample_loads_and_says_nothing, every_default_can_be_written_down,
      help_and_manual_show_every_key)
