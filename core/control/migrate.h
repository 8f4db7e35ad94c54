/* core/control/migrate.h - brings one component's tables to what this program wants, or says what is
 * missing.
 *
 *     look -> decide -> step -> look -> decide -> ... -> end
 *                        |
 *                        +-- begin, lock (or pause and begin again), look, add, audit, record, commit
 *                            [lock of the session, look, add concurrently, record]
 *
 * What has run is in public.athena_schema_version. A step runs when it is not recorded, or when
 * something that it brings is missing again; what it adds is what is missing then, as seen behind the
 * lock. So programs that start together take turns, one that was killed is followed by one that goes
 * on, and a second run changes nothing.
 *
 * Nobody waits inside of PostgreSQL for the lock: what waits there holds a snapshot, and an index
 * that is made concurrently waits for every snapshot.
 */
#ifndef CORE_CONTROL_MIGRATE_H
#define CORE_CONTROL_MIGRATE_H

#include "base/err.h"
#include "control/plan.h"
#include "control/steps.h"

enum { MIGRATE_LOCK_CLASS = 0x41544845, MIGRATE_LOCK_KEY = 1 };

enum migrate_state {
    MIGRATE_UNKNOWN,             /* its database was not reached yet */
    MIGRATE_CURRENT,
    MIGRATE_PENDING,             /* steps are to be run */
    MIGRATE_FORM,                /* tables of an old form stand in the way */
    MIGRATE_DENIED,              /* the role may not make tables, or nothing can be written */
    MIGRATE_FAILED               /* a step failed: `err` */
};

struct migrate_step {
    const struct step *step;
    bool recorded, changed;      /* changed: it ran with another text */
    bool wanted;                 /* it is to be run */
    struct mutation *first;      /* what it would add then: */
    uint32_t count;              /* so many of the list */
    /* private to migrate.c */
    struct wants wants;
    char checksum[65];
    bool done;
};

struct migration {
    /* from the caller */
    const struct component *component;
    ath_str client;              /* its database's name, for messages and the audit log; ends in NUL */
    ath_arena *arena;            /* where the result is; of the caller's task */
    bool apply;
    bool thorough;               /* what only rows that are there may refuse is tried again, too */
    /* the result */
    enum migrate_state state;
    uint32_t version, wanted;    /* the last recorded step; the last there is */
    struct migrate_step *step;   /* component->steps of them */
    struct finding *found;
    uint32_t tables, columns, forms; /* missing; of an old form */
    uint32_t ran;                /* statements that were run */
    ath_err err;
};

/* A task's code (ath_run), `arg` is the struct migration: ends well when the database was looked at,
 * whatever the state is then; badly when it cannot be reached. */
int migrate_run(ath_task *t, void *arg, ath_err *e);

/* What a session says first: names are found as search_path says, then in public, and never in the
 * tenants' schema athena, which has an athena_clients of its own; statements take as long as they
 * take. */
enum { MIGRATE_SESSION = 2 };
extern const ath_stmt migrate_session[MIGRATE_SESSION];

const char *migrate_word(enum migrate_state state); /* "current", "pending", ... */

#endif
