/* core/config/reference.h - help, manual and sample file, made from the tables.
 *
 * The same tables check the file, so what is printed here is what is read. Used for the core's
 * sections and for each plugin's. Nothing of a running configuration is shown.
 */
#ifndef CORE_CONFIG_REFERENCE_H
#define CORE_CONFIG_REFERENCE_H

#include "config/field.h"

/* For a terminal: key, type, default, range, where else it is read, one sentence. */
void reference_help(struct buf *b, const struct config_table *t);

/* A section of a Markdown page: heading, table. */
void reference_markdown(struct buf *b, const struct config_table *t);

/* A section of a sample file: every key, commented out, with its default. Published sections are
 * lists of one-key maps, ours are maps. `stated`: key, value, key, value ..., NULL: these stand there
 * for real, because what we ship decides otherwise than an old file; may be NULL. */
void reference_sample(struct buf *b, const struct config_table *t, const char *const *stated);

/* The head of a sample main file: the list of plugins, and one client, whose URI is in
 * $POSTGRES_APP_URI. */
void reference_sample_head(struct buf *b, const char *const *plugins, size_t n);

#endif
