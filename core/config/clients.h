/* core/config/clients.h - the databases that the configuration names: `postgres_clients`, and the
 * dedicated URI of the logging client.
 */
#ifndef CORE_CONFIG_CLIENTS_H
#define CORE_CONFIG_CLIENTS_H

#include "config/core_fields.h"

struct config_client {
    ath_str name;                /* trimmed and in lower case: what requests are matched by */
    ath_str shown;               /* as written, with its blanks */
    ath_str uri;                 /* resolved; a secret. Empty when there is a problem */
    ath_str text;                /* as written: a URI, or ${...}; a secret. Empty: it has no entry of
                                  * its own */
    ath_str variable;            /* the one that ${...} names, empty: the URI is literal */
    struct config_place at;
    const char *problem;         /* why the URI cannot be used, in the contract's words; NULL */
    bool logging_override;       /* the URI comes from gateway.logging_pg_uri */
};

struct config_clients {
    struct config_client *client; /* in the order of the file */
    size_t n;
    size_t usable;               /* without a problem */
};

/* Names that collide are a warning (the first one counts), unusable URIs are a warning each. */
int config_clients(const struct config *c, const struct core_config *cc,
                   struct config_clients *ret, struct config_report *rep);

/* Resolves a URI as it stands in a file or a catalogue. NULL: *ret_uri is usable. Else the reason;
 * the variable's value is never part of it. Both live as long as the configuration. */
const char *config_uri(const struct config *c, ath_str text, ath_str *ret_uri);

/* The same by the name of a variable (`pg_uri_env_var`). */
const char *config_uri_variable(const struct config *c, ath_str name, ath_str *ret_uri);

/* May the server start with these clients? 0, with an empty or a warning text in `ret_text`; or
 * ATH_E_CONFIG and the words of the refusal. A database that is merely down does not count. */
int config_boot_policy(const struct core_config *cc, const struct config_clients *clients,
                       struct buf *ret_text);

#endif
