/* plugins/workers/backup/site.h - the server that a restore or a drill goes to, commanded from a database
 * that it leaves alone.
 *
 * A database cannot be made, renamed or dropped from within, so what is said to the server goes to its
 * `postgres` or `template1`; what is said to one database goes there. Statements are sent with the
 * operator's URI, of which only the database is another.
 */
#ifndef WORKERS_BACKUP_SITE_H
#define WORKERS_BACKUP_SITE_H

#include <stdbool.h>

#include "flow.h"
#include "lib/buf.h"

struct site {
    ath_task *home;              /* what is found out lives as long as it */
    ath_str uri;                 /* as the operator gave it: a secret */
    ath_str database;            /* that it names, there or not */
    ath_str via;                 /* where commands go */
    ath_str server;              /* system identifier of the cluster */
    ath_str user;                /* whom it signs in as */
    ath_str oid, owner;          /* of the database; empty: there is none */
    ath_str create;              /* what CREATE DATABASE is to say to make one like it */
    ath_str comment;             /* its comment; p NULL: none */
    ath_str size;                /* its bytes */
    uint32_t major, tries;
    bool super, creates, owns, listed; /* listed: the database has privileges of its own */
    int32_t limit;               /* of its connections; -1: none */
};

/* Statements for a database of the server; empty: `via`. As ath_pg_api.query. */
int site_ask(ath_task *t, const struct site *s, ath_str database, const ath_stmt *stmt, uint32_t n,
             uint32_t flags, ath_then *then, void *arg, ath_err *e);

/* One statement that takes no parameters and no company: CREATE DATABASE. */
int site_command(ath_task *t, const struct site *s, const struct buf *sql, ath_then *then, void *arg,
                 ath_err *e);

/* A step of a flow (flow.h): fills in what follows `database`; home, uri and database are given. */
int site_look(ath_task *t, struct site *s, ath_then *then, void *arg, ath_err *e);
int site_looked(struct site *s, const ath_done *d, ath_err *e);

/* The URI with another database. */
ath_str site_uri(ath_arena *a, ath_str uri, ath_str database);

/* ATH_E_DENIED unless its role may make databases and rename this one; says what else could be done. */
int site_may_swap(const struct site *s, ath_err *e);

/* A step: is the database one that this installation lives in (D-43)? Asked of itself, as a URI may call
 * it anything. `part`: "@control" or "@auth". */
int site_guard(ath_task *t, const char *part, ath_then *then, void *arg, ath_err *e);
int site_guarded(const struct site *s, const char *part, const ath_done *d, ath_err *e);

#endif
