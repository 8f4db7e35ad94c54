/* core/config/config.h - the configuration of one process, read once and then only looked at.
 *
 *     config_open()        finds and reads the main file, plugins.d/ beside it, the .env files
 *     config_fill()        sets one table's struct from it (field.h); core first, then each plugin
 *     config_check_keys()  says which keys nobody asked for
 *
 * All texts handed out live as long as the configuration. Read-only after it is open, so any thread
 * may look. Everything that is wrong goes into the report; a config may exist with errors in it.
 */
#ifndef CORE_CONFIG_CONFIG_H
#define CORE_CONFIG_CONFIG_H

#include "base/map.h"
#include "config/env.h"
#include "config/yaml.h"

struct config_key {              /* one key of a section, with its value as it stands */
    ath_str name;
    const struct conf_node *value;
    struct config_place at;      /* of the key */
    uint32_t item;               /* of the section's list, from 1; 0: from plugins.d */
    struct config_key *next;
};

struct published_section;

struct config_section {
    ath_str name;
    struct config_place at;
    const struct published_section *published; /* NULL: ours or a plugin's */
    struct config_key *first, *last;
    struct map keys;
    const struct conf_node *odd; /* its value, when that is no map */
    struct config_section *next;
};

struct config_override {         /* a value of the command line */
    ath_str section, key, value;
    const char *flag;            /* "--port" */
    struct config_override *next;
};

struct config_range {            /* an entry of validation_ranges */
    ath_str place;               /* "api.port", or a variable's name */
    double min, max;
    struct config_place at;
    struct config_range *next;
};

struct config_name {             /* of `plugins:` or `optional_plugins:` */
    ath_str name;
    struct config_place at;
    bool optional;
};

struct config {
    ath_arena arena;
    struct config_env env;
    const char *path;            /* of the main file; NULL: none was needed or found */
    const char *label;           /* how it was found, as the start-up banner says it */
    const char *folder;          /* of the main file; companion files are looked for there */
    const char *dotenv;          /* the .env beside it */
    const char *dotenv_status;   /* "loaded", "not found", "parse failed" */
    bool discovered, seeded;
    bool published;              /* written for the published server: names none of our own keys */
    bool plugins_stated;         /* it has a list of plugins */
    struct config_section *first, *last;
    struct map sections;
    struct config_override *overrides;
    struct config_range *ranges;
    struct config_name *plugin;
    uint32_t plugin_count;
};

struct config_options {
    const char *path;            /* of --config; NULL or "": ATHENA_CONFIG_PATH, then discovery */
    const char *const *environ;  /* NULL: the process's own */
    const char *cwd;             /* NULL: "." */
    bool seed;                   /* write a default file when discovery finds none */
    bool optional;               /* no file at all is fine */
};

/* *ret is set whenever the return is 0 or the errors are in `rep`: it then serves check-config.
 * ATH_E_CONFIG: rep->summary has the contract's words when the main file could not be loaded. */
int config_open(const struct config_options *o, struct config **ret, struct config_report *rep);
void config_close(struct config *c); /* NULL: nothing */

/* Stands for a flag: beats everything and is not clamped. Before the section is filled. */
void config_override(struct config *c, const char *section, const char *key, const char *value,
                     const char *flag);

const struct config_section *config_section(const struct config *c, ath_str name);
const struct config_key *config_key(const struct config *c, ath_str section, ath_str key);

/* The folder's file, or the same below the current directory, when that exists; else the first. */
const char *config_companion(const struct config *c, ath_arena *a, const char *path);

/* Cuts the next item off a comma list; trimmed, empty ones dropped. */
bool config_item(ath_str *rest, ath_str *ret_item);

#endif
