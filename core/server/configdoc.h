/* core/server/configdoc.h - the process's configuration as a JSON document, for operators' routes:
 * the sections as in the file (lists of one-key objects, texts as written), secrets as "***".
 */
#ifndef CORE_SERVER_CONFIGDOC_H
#define CORE_SERVER_CONFIGDOC_H

#include "config/config.h"
#include "lib/buf.h"

/* Of postgres_clients only `client` and `control` (empty: none) are in it. `own`: nothing but what
 * belongs to `client`. */
void config_document(struct buf *b, const struct config *c, ath_str control, ath_str client,
                     bool own);

/* Array of the names of configured clients but `control`, in their order. */
void config_document_names(struct buf *b, const struct config *c, ath_str control);

#endif
