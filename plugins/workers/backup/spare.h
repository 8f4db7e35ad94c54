/* plugins/workers/backup/spare.h - a database beside another one: made, dressed like it, put in its place,
 * dropped; and the rows of the control plane that say which ones are ours.
 *
 * A database is noted before it is made (athena_backup_scratch), under a name with 64 random bits, so a
 * database of that name is ours whatever was killed. One that is set aside is noted before that happens
 * (athena_backup_kept), with the OIDs of both, so afterwards the server itself says on which side of
 * the swap everything stands.
 */
#ifndef WORKERS_BACKUP_SPARE_H
#define WORKERS_BACKUP_SPARE_H

#include "site.h"

enum { SPARE_NAME = 63 };        /* of a name of PostgreSQL, in bytes */

struct spare {
    const struct site *site;
    ath_str job;                 /* its id */
    ath_str client;              /* p NULL: the database was named by URI */
    ath_str sealed;              /* that URI, sealed; p NULL: the client's */
    ath_str name, oid;           /* of the spare database */
    ath_str aside;               /* what the replaced one is called */
};

/* "DATABASE_athena_WORD_JOB_RANDOM", DATABASE cut so that it fits, between characters. */
ath_str spare_name(ath_arena *a, ath_str database, const char *word, ath_str job, uint64_t random);

/* All of these are steps of a flow: an operation each, or FLOW_NEXT. */
int spare_note(ath_task *t, struct spare *x, const char *purpose, ath_then *then, void *arg,
               ath_err *e);                                         /* before it is made */
int spare_create(ath_task *t, struct spare *x, ath_then *then, void *arg, ath_err *e);
int spare_find(ath_task *t, struct spare *x, ath_then *then, void *arg, ath_err *e); /* its OID */
int spare_found(struct spare *x, const ath_done *d, ath_err *e);
int spare_note_oid(ath_task *t, struct spare *x, ath_then *then, void *arg, ath_err *e);

/* Settings, privileges, limit and comment of the live one: asked, then given. */
int spare_ask_dress(ath_task *t, struct spare *x, ath_then *then, void *arg, ath_err *e);
int spare_dress(ath_task *t, struct spare *x, const ath_rows *dress, ath_then *then, void *arg,
                ath_err *e);

/* The two renames, one transaction, while the lease is held. Sessions of both databases are told to end,
 * also those that come while it waits for the others. Without a live one: one rename. */
struct swap {
    const struct site *site;
    ath_str live, live_oid;      /* empty OID: there is none */
    ath_str aside;               /* its name afterwards */
    ath_str spare, spare_oid;    /* what takes its place */
    bool closed;                 /* the spare one lets nobody in yet */
};
int swap_run(ath_task *t, struct swap *s, ath_then *then, void *arg, ath_err *e);

/* Drops a database that is ours, if it is there and, where an OID is known, still that one. */
int spare_drop(ath_task *t, const struct site *site, ath_str name, ath_str oid, ath_then *then,
               void *arg, ath_err *e);

#endif
