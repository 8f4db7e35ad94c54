/* The text of a configuration file through YAML, shapes, the core's tables and the clients; the
 * same bytes as a .env file; and whatever was reported, printed.
 */
#include "config/clients.h"
#include "config/published.h"
#include "config/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill_all(struct config *c, struct config_report *rep)
{
    struct core_config core;
    struct config_clients clients;
    struct buf text = BUF_HEAP;

    core_config_fill(c, &core, rep);
    if (config_clients(c, &core, &clients, rep) == 0)
        config_boot_policy(&core, &clients, &text);
    config_check_keys(c, core_tables, core_table_count(), NULL, 0, rep);
    buf_free(&text);
}

static void as_file(ath_str text, bool plugin_file)
{
    static const char *const env[] = { "X=1", "ATHENA_API_PORT=5000", NULL };
    struct config c = { .path = "config.yaml", .folder = "." };
    const struct conf_node *root = NULL;
    struct config_report rep;
    static FILE *null;

    if (!null)
        null = fopen("/dev/null", "w");
    config_report_init(&rep);
    arena_init(&c.arena);
    c.env = (struct config_env){ .arena = &c.arena, .real = env };
    if (yaml_parse(&c.arena, "config.yaml", text, &root, &rep) == 0) {
        if (plugin_file)
            tree_plugin_file(&c, root, &rep);
        else
            tree_main(&c, root, &rep);
        fill_all(&c, &rep);
    }
    config_report_print(&rep, ATH_INFO, null);
    arena_free(&c.arena);
    map_free(&c.sections);
    config_report_free(&rep);
}

static void as_env(ath_str text)
{
    ath_arena a;
    struct config_env env = { .arena = &a };
    unsigned line;

    arena_init(&a);
    env_parse(&env, text, &line);
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ath_str text = { (const char *)data, size };

    as_file(text, false);
    as_file(text, true);
    as_env(text);
    return 0;
}
