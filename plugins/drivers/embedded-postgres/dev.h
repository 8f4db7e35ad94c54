/* Shared by the files of driver-embedded-postgres.
 *
 *     plugin.c  the command and its options
 *     dev.c     the flow: one step machine
 *     part.c    a child that is supervised: PostgreSQL, the server, the user's command
 *     place.c   the state folder: lock, orphans, key, configuration; blocking, on the pool
 *     ping.c    does the server answer?
 *     demo.sql  the databases and their data
 */
#ifndef EMBEDDED_POSTGRES_DEV_H
#define EMBEDDED_POSTGRES_DEV_H

#include <athena/plugin.h>

#include <stdbool.h>

#include "lib/buf.h"

struct options {
    int64_t port;
    ath_str state;
    int32_t fresh, exec;
    ath_str command;             /* words, each ended by a NUL */
};

enum { PATH_BYTES = 512, URI_BYTES = 2048 };

/* ---- place.c ---- */

struct place {
    const char *wanted;          /* --state; "": the usual place */
    bool fresh;
    char state[PATH_BYTES];
    char bin[PATH_BYTES];        /* PostgreSQL's programs */
    char pg[PATH_BYTES];         /* its folder, which also has its socket */
    char data[PATH_BYTES];
    char data_new[PATH_BYTES];   /* where initdb works: what it did not finish is never used */
    char user[64];               /* that PostgreSQL runs as; empty: ours */
    char config[PATH_BYTES];
    char key[64];                /* the administrator's */
    char api_key[96];            /* "ath_...": with every right to data */
    char control_uri[URI_BYTES], demo_uri[URI_BYTES];
    bool initialised;            /* there is a cluster already */
    int lock;                    /* descriptor; held until the process ends */
};

/* Everything before the first child. Blocks. */
int place_prepare(struct place *p, ath_err *e);

/* initdb has done its work. */
int place_keep_cluster(const struct place *p, ath_err *e);

/* Writes the server's configuration. */
int place_configure(const struct place *p, int64_t port, ath_err *e);

/* Has PostgreSQL said that it takes connections? */
bool place_database_ready(const struct place *p);

/* PostgreSQL of this place: stops it at once, but cleanly (SIGINT: "fast"). */
void place_database_stop(const struct place *p);

/* ---- ping.c ---- */

/* `port`, or any when that is 0, if it is free at the moment; else 0. */
int64_t ping_free_port(int64_t port);

/* Blocking: GET /ping at 127.0.0.1. */
bool ping(int64_t port);

/* ---- part.c ---- */

struct part {
    const char *name;            /* "PostgreSQL", as messages say it */
    const char *const *argv, *const *env;
    uint32_t flags, kill_after_ms;
    char log[PATH_BYTES + 16];   /* its lines go there; empty: they are not looked at */
    bool echo;                   /* and shown on standard output */
    void *owner;
    ath_then *over;              /* with d->arg: the part; p->running is false by then */

    ath_task *task;              /* its own, while it runs */
    bool running;
    int status, signal;
    char said[256];              /* its last line */
    void *file;
};

int part_start(ath_task *t, struct part *p, ath_err *e);
void part_stop(struct part *p);  /* TERM, later KILL; over() comes as always */

/* "ended with status 1: the last line", into `ret`. */
void part_how(const struct part *p, char *ret, size_t size);

/* ---- dev.c ---- */

int dev_run(ath_task *t, const void *options, ath_err *e);

extern const char demo_sql[];
extern const char idempotency_sql[]; /* of routes-gateway */

#endif
