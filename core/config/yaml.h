/* core/config/yaml.h - YAML as a tree in which every node knows its file, line and column.
 *
 * Bounded: bytes, depth, nodes, and the size that aliases unfold to. Scalars keep their text as
 * written (4052 and "4052" are the same four bytes). Aliases share the node they name. Several
 * documents in one file are refused. The tree lives in the arena.
 */
#ifndef CORE_CONFIG_YAML_H
#define CORE_CONFIG_YAML_H

#include "base/err.h"
#include "config/report.h"

enum { YAML_MOST_BYTES = 4 << 20, YAML_MOST_NODES = 200000, YAML_MOST_DEPTH = 40 };

enum conf_kind { CONF_TEXT = 1, CONF_MAP, CONF_LIST };

struct conf_link {               /* an item of a list (no key) or a pair of a map */
    const struct conf_node *key, *value;
    struct conf_link *next;
};

struct conf_node {
    enum conf_kind kind;
    bool plain;                  /* a scalar without quotes */
    struct config_place at;
    ath_str text;                /* of CONF_TEXT; ends in NUL */
    struct conf_link *first, *last;
    uint32_t weight;             /* nodes in it, aliases unfolded */
};

/* "string", "map", "sequence" */
const char *conf_kind_name(enum conf_kind kind);

/* The value of `key` in a map (the last one, when it stands twice), NULL: none. */
const struct conf_node *conf_get(const struct conf_node *map, const char *key);

/* Parses `text`. An empty document gives *ret NULL. `file` must live as long as the tree. Errors go
 * into the report, one per file: YAML cannot be read past its first mistake. */
int yaml_parse(ath_arena *a, const char *file, ath_str text, const struct conf_node **ret,
               struct config_report *rep);

/* Reads the file first. ATH_E_MISSING: it cannot be opened or read (the message is strerror's);
 * ATH_E_CONFIG: it was reported. */
int yaml_read(ath_arena *a, const char *file, const struct conf_node **ret,
              struct config_report *rep, ath_err *e);

/* The bytes of a file of at most `most` bytes. */
int config_file_read(ath_arena *a, const char *file, size_t most, ath_str *ret, ath_err *e);

#endif
