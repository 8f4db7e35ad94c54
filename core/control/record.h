/* core/control/record.h - a client as the catalogue has it (table athena_clients), and the two
 * decisions that need nothing else: where it leads, and what a start writes into its row.
 */
#ifndef CORE_CONTROL_RECORD_H
#define CORE_CONTROL_RECORD_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "config/env.h"

/* Texts with p NULL are null in the table; URIs are plain here, whatever lies in the table. */
struct record {
    ath_str name;                /* as written */
    ath_str id, description, uri, variable, template, source, metadata, updated;
    bool active, frozen;
    bool outdated;               /* its secrets are not sealed as they would be now */
};

/* The same client, as the configuration names it. */
struct record_config {
    ath_str name;
    ath_str text;                /* as it stands there: a URI, or ${NAME} */
    ath_str variable;            /* the NAME; empty: the text is a URI */
};

/* Where it leads: pg_uri, else the variable, else the template; a loopback URI, or none, is replaced
 * by the public one of the metadata's route bindings. NULL: *ret_uri is usable, else why not, in the
 * contract's words; no secret is part of it. Texts are in the arena. */
const char *record_uri(const struct record *r, const struct config_env *env, ath_arena *a,
                       ath_str *ret_uri);

/* The same for tools that stay with the server for long: the private URI of the metadata
 * (network.private_pg_uri, else the source of a route binding), else the template, else as above. */
const char *record_tool_uri(const struct record *r, const struct config_env *env, ath_arena *a,
                            ath_str *ret_uri);

/* What lies in the row after a start of a process that is configured so. `r` is changed; false: it
 * is as it should be. Unless `overwrite`, whatever an operator may have changed stays: URIs that are
 * not those of the last start, activity, freeze, description, metadata. */
bool record_merge(struct record *r, const struct record_config *c, bool overwrite);

/* A new row for it. */
struct record record_of_config(const struct record_config *c);

/* The metadata say that it was frozen for new requests only. */
bool record_drains(const struct record *r);

/* Does the text lead to the machine itself? */
bool record_is_loopback(ath_str uri);

#endif
