/* core/config/tree.h - from YAML nodes to sections: the published shapes, and ours. */
#ifndef CORE_CONFIG_TREE_H
#define CORE_CONFIG_TREE_H

#include "config/config.h"

/* The main file: the lists of plugins, the published sections, sections of ours and of plugins. */
void tree_main(struct config *c, const struct conf_node *root, struct config_report *rep);

/* One file of plugins.d: a map of sections, none of them published. The main file's keys win. */
void tree_plugin_file(struct config *c, const struct conf_node *root,
                      struct config_report *rep);

#endif
