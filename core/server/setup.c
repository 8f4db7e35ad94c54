/* From a path to a checked configuration and loaded plugins. */
#include "server/setup.h"

#include <stdio.h>
#include <string.h>

#include "auth/can.h"
#include "auth/store.h"
#include "cache/cache.h"
#include "control/clients.h"
#include "control/probe.h"
#include "db/catalog.h"
#include "io/secrets.h"
#include "plugin/host.h"
#include "server/doctor.h"

/* What a configuration without a list of plugins loads: a decision of whoever builds the packages.
 */
static const char default_plugins[] = ATHENA_DEFAULT_PLUGINS;

uint32_t setup_default_plugins(ath_arena *a, const char **ret)
{
    ath_str rest = str_of(default_plugins), name;
    uint32_t n = 0;

    while (str_next(&rest, ' ', &name) && n < DEFAULT_PLUGINS_MOST)
        if (name.n)
            ret[n++] = arena_str(a, name).p;
    return n;
}

static void take_names(struct setup *s)
{
    struct config *c = s->config;
    size_t room = c->plugin_count + DEFAULT_PLUGINS_MOST;

    s->plugin = arena_alloc(&c->arena, room * sizeof(*s->plugin));
    s->optional = arena_alloc(&c->arena, room * sizeof(*s->optional));
    for (uint32_t i = 0; i < c->plugin_count; i++) {
        const char *z = arena_str(&c->arena, c->plugin[i].name).p;
        if (c->plugin[i].optional)
            s->optional[s->optional_count++] = z;
        else
            s->plugin[s->plugin_count++] = z;
    }
    if (!c->plugins_stated)
        s->plugin_count += setup_default_plugins(&c->arena, s->plugin + s->plugin_count);
}

struct client_options client_options_of(const struct core_config *c)
{
    return (struct client_options){ .ca_file = c->server.ca_file.p,
                                    .idle_ms = c->api.pool_idle_timeout_ms,
                                    .agent = "athena" };
}

struct setup_options setup_options_of(const struct cli *cli)
{
    return (struct setup_options){ .config_path = cli->config.n ? cli->config.p : NULL,
                                   .cli = cli };
}

int setup_open(struct setup *s, const struct setup_options *o, ath_err *e)
{
    struct config_options options = { .path = o->config_path,
                                      .seed = o->seed,
                                      .optional = o->optional };
    int rc;

    *s = (struct setup){ .role = o->role };
    config_report_init(&s->report);
    s->registry = registry_new();
    rc = config_open(&options, &s->config, &s->report);
    if (!s->config)
        return err_fail(e, rc < 0 ? rc : ATH_E_CONFIG, "%s",
                        s->report.summary ? s->report.summary : "no configuration");
    if (o->cli)
        cli_override(o->cli, s->config);
    core_config_fill(s->config, &s->core, &s->report);
    config_clients(s->config, &s->core, &s->clients, &s->report);
    take_names(s);
    s->plugin_dir = plugin_dir(o->plugin_dir                 ? o->plugin_dir
                               : s->core.server.plugin_dir.n ? s->core.server.plugin_dir.p
                                                             : NULL);
    registry_offer(s->registry, "athena.catalog", 1, &catalog_service);
    registry_offer(s->registry, "athena.secrets", 1, &secrets_service);
    registry_offer(s->registry, "athena.doctor", 1, &doctor_service);
    registry_offer(s->registry, "athena.clients", 1, &clients_service);
    registry_offer(s->registry, "athena.cluster", 1, &cluster_service);
    registry_offer(s->registry, "athena.auth", 1, &store_service);
    registry_offer(s->registry, "athena.rights", 1, &rights_service);
    /* Others tell this process of their writes by Redis alone; the process that answers requests is
     * where its own are made. */
    if (s->role && !s->role->serves && s->core.server.redis_url.n == 0)
        s->core.cache.enabled = false;
    if (s->core.cache.enabled)
        registry_offer(s->registry, "athena.cache", 1, &cache_service);
    if ((rc = secrets_start(s->core.server.secrets_key, e)) < 0)
        config_error(&s->report, &(struct config_place){ .name = "server.secrets_key" }, "%s",
                     e->message);
    if (s->report.errors)
        return err_fail(e, ATH_E_CONFIG, "%s",
                        s->report.summary ? s->report.summary : "configuration not accepted");
    return 0;
}

/* plugin_fill: a plugin's section, by the configuration's own rules. */
static int fill(void *arg, const char *section, const ath_field *field, uint32_t count,
                void *config, ath_arena *a, ath_err *e)
{
    struct setup *s = arg;
    struct config_table *t = ARENA_NEW(a, struct config_table);

    *t = (struct config_table){ .section = section,
                                .field = field,
                                .field_size = sizeof(*field),
                                .field_count = count,
                                .plugin = true };
    if (config_fill(s->config, t, config, &s->report) < 0)
        return err_fail(e, ATH_E_CONFIG, "its configuration is not accepted");
    return 0;
}

static struct load_options load_options(struct setup *s, uint32_t kinds)
{
    return (struct load_options){
        .dir = s->plugin_dir,
        .plugin = s->plugin,
        .plugin_count = s->plugin_count,
        .optional = s->optional,
        .optional_count = s->optional_count,
        .kinds = kinds,
        .host = host_table(),
        .fill = fill,
        .fill_arg = s,
    };
}

int setup_load(struct setup *s, uint32_t kinds, ath_err *e)
{
    struct load_options o = load_options(s, kinds);

    return registry_load(s->registry, &o, e);
}

int setup_load_role(struct setup *s, ath_err *e)
{
    const struct role *r = s->role;
    uint32_t kinds = r->serves ? SETUP_SERVES : r->all ? PLUGIN_SINK | PLUGIN_WORKER : PLUGIN_SINK;
    struct load_options o = load_options(s, kinds);

    o.family = r->family;
    o.family_count = r->families;
    o.sparse = !r->serves && !s->config->plugins_stated;
    return registry_load(s->registry, &o, e);
}

int setup_load_command(struct setup *s, const char *word, ath_err *e)
{
    struct load_options o = load_options(s, 0);

    return registry_load_command(s->registry, &o, word, e);
}

/* Those of a list that are not loaded: of other roles they need not even be installed. */
static size_t take_absent(const struct registry *r, const char *const *name, uint32_t n,
                          const char **ret)
{
    size_t taken = 0;

    for (uint32_t i = 0; i < n; i++)
        if (!registry_find(r, str_of(name[i])))
            ret[taken++] = name[i];
    return taken;
}

void setup_check_keys(struct setup *s)
{
    struct registry *r = s->registry;
    ath_arena *a = &s->config->arena;
    size_t core = core_table_count(), n = 0, names = 0;
    const struct config_table **all = arena_alloc(a, (core + r->count) * sizeof(*all));
    const char **other = arena_alloc(
        a, (r->installed.count + s->plugin_count + s->optional_count + 1) * sizeof(*other));

    for (size_t i = 0; i < core; i++)
        all[n++] = core_tables[i];
    for (uint32_t i = 0; i < r->count; i++) {
        struct config_table *t = ARENA_NEW(a, struct config_table);
        *t = (struct config_table){ .section = r->self[i]->name,
                                    .field = r->self[i]->all_field,
                                    .field_size = sizeof(ath_field),
                                    .field_count = r->self[i]->all_count,
                                    .plugin = true };
        all[n++] = t;
    }
    for (uint32_t i = 0; i < r->installed.count; i++)
        if (!registry_find(r, str_of(r->installed.plugin[i].name)))
            other[names++] = r->installed.plugin[i].name;
    names += take_absent(r, s->plugin, s->plugin_count, other + names);
    names += take_absent(r, s->optional, s->optional_count, other + names);
    config_check_keys(s->config, all, n, other, names, &s->report);
}

int setup_reload(struct setup *running, struct setup *fresh, const struct setup_options *o,
                 bool *ret_changed, ath_err *e)
{
    int rc = setup_open(fresh, o, e);

    if (rc < 0)
        return rc;
    return registry_reload(running->registry, fill, fresh, ret_changed, e);
}

void setup_print(struct setup *s, int level, const ath_err *e)
{
    struct buf b = BUF_HEAP;

    config_report_print(&s->report, level, stderr);
    registry_print_refusals(s->registry, &b);
    fwrite(buf_view(&b).p, 1, b.n, stderr);
    if (e && !s->report.errors && !s->report.summary) {
        fprintf(stderr, "athena: %s\n", e->message);
        if (e->hint_n)
            fprintf(stderr, "    hint: %s\n", e->hint);
    }
    buf_free(&b);
}

void setup_close(struct setup *s)
{
    registry_free(s->registry);
    config_close(s->config);
    config_report_free(&s->report);
}
