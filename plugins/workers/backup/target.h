/* plugins/workers/backup/target.h - the database of a job, and how tools sign in to it.
 *
 * A tool is told "service=athena" and finds the rest in two files of the run's folder, which nobody else
 * can read: the service file has the parameters of the URI, the password file the password. So neither
 * the process list nor an environment holds a secret, and percent-encoded passwords mean what they mean
 * to libpq, which takes the URI apart (D-41).
 */
#ifndef WORKERS_BACKUP_TARGET_H
#define WORKERS_BACKUP_TARGET_H

#include <stdbool.h>

#include "backup.h"

enum { TARGET_WORDS = 64 };

struct target {
    ath_str uri;                 /* a secret */
    ath_str shown;               /* the same for people */
    ath_str host;                /* the first one, as it is named; empty: none */
    ath_str database;            /* empty: libpq's default */
    bool local;                  /* on this machine, or a socket */
    bool says_sslmode;
    uint32_t words;
    ath_str key[TARGET_WORDS], value[TARGET_WORDS]; /* of libpq, decoded; a secret */
};

/* Takes a URI apart (postgres://, postgresql://, athena://, or libpq's keywords). Texts are in the arena;
 * messages repeat nothing of it. */
int target_read(ath_arena *a, ath_str uri, struct target *ret, ath_err *e);

/* The database of a job: its own URI (`sealed`, as the row keeps it, else that of the payload, which the
 * published server leaves as it is), else its client's (D-44). */
int target_of(ath_arena *a, const struct backup_payload *p, ath_str sealed, struct target *ret,
              ath_err *e);

struct target_files {            /* for a tool; texts in the arena */
    const char *env[3];          /* PGSERVICEFILE, PGPASSFILE when the URI has a password, NULL */
};

/* Writes the two files into `dir`. It blocks, shortly. */
int target_sign_in(ath_arena *a, const struct target *t, ath_str dir, struct target_files *ret,
                   ath_err *e);

/* What --dbname is given, with another database or sslmode than the URI says where those are not
 * NULL or empty. A database on this machine is asked without TLS unless the URI wants it. */
const char *target_conninfo(ath_arena *a, const struct target *t, ath_str database,
                            const char *sslmode);

#endif
