/* plugins/routes/provision/provision.h - databases for tenants: made on servers that are clients already,
 * given the tenants' schema, registered as clients.
 *
 *     schema.c    POST /admin/provision: the schema for one database; what of it is there
 *     local.c     databases of a client's server, listed; for operators, and for a client's own key
 *     create.c    a database made there: the request
 *     make.c      and the work, step by step, with what is undone when a step fails (P7)
 *     work.c      work that goes on when its request is over (P6)
 *     command.c   athena provision
 *
 * The session that makes a database holds an advisory lock until all is done, so of two requests for the
 * same name one is refused. A database carries a mark in its comment while it is not done: when the
 * process dies there, the same request finds its own database and goes on with it.
 */
#ifndef ROUTES_PROVISION_H
#define ROUTES_PROVISION_H

#include <athena/service/clients.h>
#include <athena/service/secrets.h>

#include "admin/admin.h"
#include "clients/register.h"
#include "provision/database.h"
#include "provision/provision.h"

struct provision_config {
    int32_t enabled;
    ath_str expected_tables;
    uint64_t route_ms, connect_ms;
    ath_str wildcard;            /* pattern of tenants' hosts */
};

struct provision_state {
    const ath_clients *clients;
    const ath_secrets *secrets;
};

enum { ANSWER_MS = 10000, WORK_MS = 3600000 }; /* of a question to a client; of one step of work */

/* ---- work.c ---- */

struct work {                    /* on the heap: of a request and of what it began */
    ath_run *run;                /* ends by work_done() or by failing */
    char *input;                 /* JSON: what the handler made of the request */
    size_t input_n;
    int32_t refs, status;        /* status: of the answer; 0: it failed */
    bool over, asked;            /* asked: somebody waits */
    ath_stream *gate;            /* of the request, while it waits */
    char *code, *title, *words;  /* of a failure */
    struct buf body;
};

/* Starts `run` with the struct as its argument and answers for it: with its body, with its failure,
 * with 504 after the route's time, or at once with 202 when the request prefers that. `input` is
 * copied. Only tasks of the request's loop see the struct. */
int work_begin(ath_req *r, ath_run *run, ath_str input, ath_err *e);
/* The task of the work is over; `body` is copied. */
int work_done(ath_task *t, struct work *w, int status, ath_str body);

/* ---- what both kinds of routes ask for ---- */

/* The failure's own words under another title; with a code of provisioning_*, or its own. */
int provision_fail(ath_err *e, const char *code, const char *title, const char *prefix);
/* The expected tables; a JSON array. */
ath_str provision_expected(ath_task *t);

extern const char openapi_yaml[];
extern const ath_command provision_command;

ath_handler provision_schema, provision_status;           /* schema.c */
ath_handler local_list, local_list_own;                   /* local.c */
ath_handler local_create, local_create_own;               /* create.c */
ath_run make_run;                                         /* make.c */

#endif
