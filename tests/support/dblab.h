/* Event loops with databases on them, and questions asked from the test's thread.
 *
 *     struct lab *lab = lab_start(&options, 2);
 *     struct ask *a = ask_new("acme", ATH_PG_READ, "SELECT $1::int + 1");
 *     ask_param(a, "41");
 *     lab_send(lab, 0, &a, 1);         all of one call are asked in the same turn of the loop
 *     ck_assert(ask_wait(a, 5000));    false: it hangs
 *     ck_assert_str_eq(a->cell, "42");
 *     ask_free(a);
 */
#ifndef TESTS_SUPPORT_DBLAB_H
#define TESTS_SUPPORT_DBLAB_H

#include <pthread.h>

#include "db/query.h"

struct lab;

/* `loops` HTTP loops and one work loop behind them. */
struct lab *lab_start(const struct db_options *o, uint32_t loops);
void lab_stop(struct lab *lab);
ath_loop *lab_loop(struct lab *lab, uint32_t i);
struct db_options lab_options(void); /* something small and quick */

struct ask {
    ath_task task;
    ath_loop *loop;
    ath_query q;
    ath_stmt stmt[16];
    ath_str param[16][4];
    uint32_t type[16][4];
    ath_pair set[4];
    ath_run *instead;            /* runs in place of the query */
    void *arg;
    /* filled when it has ended */
    int rc;                      /* of db_query, or of the operation */
    bool refused;                /* db_query said no */
    ath_err err;
    char cell[4096];             /* row 0, column 0 of the first statement; "<null>" */
    uint32_t rows;
    char cells[16][64];          /* the same of each statement */
    uint64_t affected[16];
    uint32_t results;
    uint64_t done_ns;
    bool gone;                   /* its task was freed */
    pthread_mutex_t lock;
    pthread_cond_t over;
};

struct ask *ask_new(const char *client, uint32_t flags, const char *sql);
void ask_param(struct ask *a, const char *value);     /* of the last statement; NULL: null */
void ask_type(struct ask *a, uint32_t type);          /* of the value given last */
void ask_stmt(struct ask *a, const char *sql);        /* one more statement */
void ask_set(struct ask *a, const char *name, const char *value);
bool ask_wait(struct ask *a, int ms);
void ask_free(struct ask *a);                         /* once it is over */
void ask_leave(struct ask *a);                        /* as if its client left */
void ask_end(struct ask *a);                          /* from code that runs `instead` */

void lab_send(struct lab *lab, uint32_t loop, struct ask **a, size_t n);

/* One question, asked, waited for and freed; fails the test unless it works. */
void lab_get(struct lab *lab, const char *client, uint32_t flags, const char *sql, char *ret, size_t n);

#endif
