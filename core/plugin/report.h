/* core/plugin/report.h - what is installed and what became of it: `athena plugins`, inspection. */
#ifndef CORE_PLUGIN_REPORT_H
#define CORE_PLUGIN_REPORT_H

#include "lib/buf.h"
#include "plugin/registry.h"

struct plugin_row { /* texts live as long as the registry; never NULL */
    const char *name, *version, *kind, *file;
    const char *needs, *offers, *summary;
    const char *state;             /* "loaded", "started" ..., "refused", "not enabled" */
    const char *why;               /* of a refusal */
    uint16_t abi_major, abi_minor; /* 0.0: it has no note */
};

/* One row for each plugin of the folder, by name, then one for each name that was asked for and is
 * not there. The rows are the registry's. The summaries of plugins that are not loaded are found by
 * loading them as data; `host` NULL: they stay empty. */
uint32_t report_rows(struct registry *r, const ath_host *host, const struct plugin_row **ret);

/* The same as a table for people, and as an array of objects with a line end. */
void report_print(struct registry *r, const ath_host *host, struct buf *b);
void report_json(struct registry *r, const ath_host *host, struct buf *b);

#endif
