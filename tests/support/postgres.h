/* A real PostgreSQL of one's own: a cluster in a temporary folder, reached through a socket there.
 *
 * The newest installed server is taken, or the one whose bin folder ATHENA_TEST_PG_BIN names. As
 * root it runs as user "postgres", because PostgreSQL refuses root. A step that fails ends the
 * program with its words: without a server there is nothing to test.
 */
#ifndef TESTS_SUPPORT_POSTGRES_H
#define TESTS_SUPPORT_POSTGRES_H

#include <stdbool.h>
#include <stddef.h>

struct postgres;

struct postgres_options {
    const char *conf;            /* lines for postgresql.conf */
    bool tcp;                    /* listens on 127.0.0.1 too */
    bool tls;                    /* if it can: with its own certificate, by openssl; implies tcp */
};

struct postgres *postgres_start(const struct postgres_options *o); /* NULL: none */
void postgres_free(struct postgres *p); /* stops it and removes its folder; accepts NULL */

const char *postgres_uri(const struct postgres *p);    /* of database "postgres", by the socket */
const char *postgres_folder(const struct postgres *p); /* where the socket is */
const char *postgres_bin(const struct postgres *p);    /* where its programs are */
int postgres_port(const struct postgres *p);           /* 5432 unless it listens on TCP */
bool postgres_tls(const struct postgres *p); /* it and libpq have TLS; prints so when they do not */

void postgres_down(struct postgres *p, const char *mode); /* "fast", "immediate" */
void postgres_up(struct postgres *p);
void postgres_restart(struct postgres *p);                /* fast */
void postgres_kill(struct postgres *p);                   /* kill -9 of the postmaster */

/* Runs SQL by a connection of its own. */
void postgres_sql(struct postgres *p, const char *sql);
void postgres_value(struct postgres *p, const char *sql, char *ret, size_t n); /* first cell */
long postgres_number(struct postgres *p, const char *sql);

#endif
