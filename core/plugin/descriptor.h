/* core/plugin/descriptor.h - a plugin's tables: checked, and copied into ours.
 *
 * The plugin's code runs in our process, so this is no defence against malice: it turns the
 * mistakes that a plugin's author can make into words at load instead of a crash later.
 */
#ifndef CORE_PLUGIN_DESCRIPTOR_H
#define CORE_PLUGIN_DESCRIPTOR_H

#include "plugin/registry.h"

/* Fills s->d, its capabilities and the fields that it is configured by, from what the entry
 * returned. s->name, s->note, s->path and s->kind are set. Refusals (ATH_E_ABI) name the plugin. */
int descriptor_take(ath_self *s, const ath_plugin *theirs, ath_arena *a, ath_err *e);

#endif
