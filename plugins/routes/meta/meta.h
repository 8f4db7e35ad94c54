/* plugins/routes/meta/meta.h - the routes that say who the server is and how it feels. */
#ifndef ROUTES_META_H
#define ROUTES_META_H

#include <athena/plugin.h>

struct meta_config {
    int32_t metrics;             /* all of them, or the three of a server that hides them */
};

ath_handler meta_root, meta_ping, meta_health, meta_cluster, meta_ready;   /* health.c */
ath_handler meta_metrics, meta_openapi, meta_openapi_wss, meta_docs;       /* documents.c */
ath_handler meta_registry, meta_entries, meta_entry, meta_errors;          /* registry.c */

extern const char openapi_yaml[];                                          /* openapi.yaml */

#endif
