/* core/plugin/load.h - from a list of names to loaded, checked and configured plugins.
 *
 * The checks, in this order, each with words of its own: file regular and not writable by anybody;
 * note; layout, ABI; name; needs met, no circle (so far nothing of the file has run); dlopen,
 * entry; descriptor as the note says; fields, capabilities, gates, routes; error codes and metrics
 * new; configuration. All refusals are collected (registry_print_refusals), so that one start shows
 * them all. No plugin is initialised here: see stage.h.
 */
#ifndef CORE_PLUGIN_LOAD_H
#define CORE_PLUGIN_LOAD_H

#include "plugin/registry.h"

struct http_hook;
struct router;

/* Fills `config` from the section of that name by `count` fields; texts live in the arena or as
 * long as the process. < 0: values do not fit; `e` says so, in one line (each value may be reported
 * elsewhere). */
typedef int plugin_fill(void *arg, const char *section, const ath_field *field, uint32_t count,
                        void *config, ath_arena *a, ath_err *e);

struct load_options {
    const char *dir;           /* of plugin_dir() */
    const char *const *plugin; /* names that must load */
    uint32_t plugin_count;
    const char *const *optional; /* names that may fail */
    uint32_t optional_count;
    uint32_t kinds; /* PLUGIN_*: which of the names this role takes. Drivers among them come only
                       when somebody taken needs them */
    const char *const *family; /* "worker-FAMILY" of these comes too, listed or not */
    uint32_t family_count;
    bool sparse; /* names are a stock list: what is not installed of it is not missed */
    bool any_provider;  /* what is needed may come from all that is installed */
    bool drivers;       /* take named drivers for their own sake too */
    const ath_host *host;
    plugin_fill *fill; /* NULL: configurations stay zero (listing, tests) */
    void *fill_arg;
};

/* Once per registry, on the main thread. < 0: something that must load was refused; `e` counts, the
 * words are in r->refused. */
int registry_load(struct registry *r, const struct load_options *o, ath_err *e);

/* Loads only what offers "command.WORD" and what that needs. ATH_E_MISSING: no plugin does. The
 * names, kinds and any_provider of `o` are not looked at. */
int registry_load_command(struct registry *r, const struct load_options *o, const char *word,
                          ath_err *e);

/* Enters all routes. A route that is there already is a refusal of the plugin that comes later. < 0
 * as for registry_load(). */
int registry_routes(struct registry *r, struct router *router, ath_err *e);

/* What plugins do to requests before routing, providers first; *ret lives as long as the registry. */
uint32_t registry_hooks(struct registry *r, const struct http_hook **ret);

/* Reads all configurations again. When all are good, fields marked ATH_CF_RELOAD take their new
 * values for tasks that begin from now on, and *ret_changed says whether there were any; otherwise
 * nothing changes. */
int registry_reload(struct registry *r, plugin_fill *fill, void *arg, bool *ret_changed,
                    ath_err *e);

/* Opens one installed plugin as data, for listing: its descriptor, without configuration. */
int load_open(struct registry *r, const struct installed_plugin *p, const ath_host *host,
              ath_self **ret, ath_err *e);

#endif
