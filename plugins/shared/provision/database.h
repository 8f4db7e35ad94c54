/* plugins/shared/provision/database.h - CREATE DATABASE, and URIs of databases beside others.
 *
 * Nothing here asks anybody; texts are in the arena.
 */
#ifndef PLUGINS_SHARED_PROVISION_DATABASE_H
#define PLUGINS_SHARED_PROVISION_DATABASE_H

#include <athena/plugin.h>

#include "lib/buf.h"

enum database_option {
    DATABASE_OWNER, DATABASE_TEMPLATE, DATABASE_TABLESPACE, /* names */
    DATABASE_ENCODING, DATABASE_COLLATE, DATABASE_CTYPE,    /* literals */
    DATABASE_OPTIONS
};
extern const char *const database_option[DATABASE_OPTIONS]; /* "owner", ..., as in requests */

struct database_order {
    ath_str name;                /* as typed; after database_check() as PostgreSQL will have it */
    ath_str option[DATABASE_OPTIONS]; /* p NULL: not said */
};

/* Trims and folds what is a name; ATH_E_INPUT in the words of the published interface. */
int database_check(ath_arena *a, struct database_order *o, ath_err *e);

/* CREATE DATABASE of an order that was checked. */
ath_str database_create_sql(ath_arena *a, const struct database_order *o);

/* The URI with another database, its other parts as they are; a "dbname" among its parameters, which
 * would win, is left out. ATH_E_INPUT: it names no database that could be replaced. */
int database_uri(ath_arena *a, ath_str uri, ath_str name, ath_str *ret, ath_err *e);

/* Where a URI leads: user and hosts of it, folded and sorted, so that URIs of one server's databases
 * have the same; and the database. False: it is no URI. */
struct database_place {
    ath_str server;              /* "app@db1:5432,db2:5432" */
    ath_str database;
};
bool database_place(ath_arena *a, ath_str uri, struct database_place *ret);

#endif
