/* core/server/setup.h - configuration and plugins of one process, before anything runs.
 *
 * serve, check-config, plugins and plugins' commands all begin here; they differ in which plugins
 * they take and in what they do afterwards.
 */
#ifndef CORE_SERVER_SETUP_H
#define CORE_SERVER_SETUP_H

#include "config/clients.h"
#include "http/client.h"
#include "plugin/load.h"
#include "server/cli.h"
#include "server/role.h"

struct setup_options {
    const char *config_path;     /* --config; NULL: discovery */
    const char *plugin_dir;      /* --plugin-dir; NULL: the configuration's */
    const struct cli *cli;       /* whose flags stand for keys; NULL: none */
    bool seed;                   /* a missing file is written */
    bool optional;               /* no file at all is fine */
    const struct role *role;     /* of a process that runs on; NULL: it only looks */
};

/* What a configuration without a list of plugins loads, and the sample names: decided by the build,
 * the core itself knows no plugin. Fills `ret` and returns how many. */
enum { DEFAULT_PLUGINS_MOST = 32 };
uint32_t setup_default_plugins(ath_arena *a, const char **ret);

/* How this process makes requests of its own; the texts are the configuration's. */
struct client_options client_options_of(const struct core_config *c);

/* What the global options of a command line say. */
struct setup_options setup_options_of(const struct cli *cli);

struct setup {
    struct config *config;
    struct config_report report;
    struct core_config core;
    struct config_clients clients;
    struct registry *registry;
    const struct role *role;     /* NULL: none */
    const char *plugin_dir;
    const char **plugin, **optional; /* names, in the configuration's arena */
    uint32_t plugin_count, optional_count;
};

/* Reads the configuration and fills the core's tables. < 0: see s->report; s is usable for printing
 * and must be closed in any case. */
int setup_open(struct setup *s, const struct setup_options *o, ath_err *e);

/* The kinds of a serving process. */
enum { SETUP_SERVES = PLUGIN_ROUTES | PLUGIN_SINK | PLUGIN_WORKER | PLUGIN_DRIVER };

/* Loads the plugins of these kinds (PLUGIN_*) and fills their tables. < 0: s->report and the
 * registry's refusals have the words. */
int setup_load(struct setup *s, uint32_t kinds, ath_err *e);

/* The same for what a role takes. Which workers then run is decided later: see workers.h. */
int setup_load_role(struct setup *s, ath_err *e);

/* Loads what the command WORD needs. ATH_E_MISSING: nobody offers it. */
int setup_load_command(struct setup *s, const char *word, ath_err *e);

/* Keys that nobody asked for: to be called after loading. */
void setup_check_keys(struct setup *s);

/* Reads the configuration again for HUP: a setup of its own, without plugins, whose values the
 * plugins of `running` are filled from. The caller keeps it as long as the process when it counts. */
int setup_reload(struct setup *running, struct setup *fresh, const struct setup_options *o,
                 bool *ret_changed, ath_err *e);

/* All errors (and warnings, with `level` ATH_WARN) and refusals, on standard error; then `e`, unless
 * it only sums up the report. NULL: nothing more failed. */
void setup_print(struct setup *s, int level, const ath_err *e);

void setup_close(struct setup *s);

#endif
