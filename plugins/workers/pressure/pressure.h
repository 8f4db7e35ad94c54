/* What the files of worker-pressure share. */
#ifndef PRESSURE_H
#define PRESSURE_H

#include <athena/plugin.h>

#include "lib/buf.h"
#include "lib/jsonread.h"
#include "pressure/formula.h"

/* Macros, because SQL says them, too. */
#define PRESSURE_WINDOWS 2    /* hours of one tick */
#define PRESSURE_CLIENTS 1000 /* of one hour: those with most requests */
#define PRESSURE_TABLES  5000 /* of one hour: those with most work */
#define PRESSURE_SAMPLES 10   /* statements of one client that are planned */

struct pressure_config {
    ath_str logging_client;
    int32_t on; /* gate */
    uint64_t every_ms, monitor_every_ms;
};

/* How used up the connections of each client are, as the processes last said. */
struct loads {
    const ath_rows *rows; /* name in lower case, saturation */
    double logging;       /* of the logging client, when it is known: */
    bool known;
};
bool load_of(const struct loads *l, ath_str client, double *ret); /* false: not known */

/* An hour, as a task of its own below the tick: its rows are written all at once. arg: the window.
 */
struct window {
    ath_str start; /* "2026-05-20T03:00:00Z" */
    const struct loads *loads;
};
ath_run window_run;

/* A client's plans, as a task below that of its hour. arg: the plan. */
struct plan {
    ath_str client, start;
    uint64_t until_ms;  /* loop time after which no more is asked for */
    double cost;        /* of the most expensive statement; < 0: none is known */
    const char *reason; /* why not */
};
ath_run plan_run;

/* A trip of the control plane; `then` as of ath_pg_api.query. */
struct ask {
    const ath_stmt *stmt;
    uint32_t count, flags, limit_ms;
};
int pressure_ask(ath_task *t, const struct ask *a, ath_then *then, void *arg, ath_err *e);
int pressure_done(ath_task *t);
ath_str pressure_keep(ath_task *t, ath_str s); /* copied into the task's arena; p NULL stays so */
ath_str pressure_text(ath_task *t, double v);
double pressure_real(const ath_rows *rows, uint32_t row, uint32_t col); /* null: 0 */
int64_t pressure_int(const ath_rows *rows, uint32_t row, uint32_t col);

/* The statements, and what they are given. */
extern const char loads_sql[];    /* $1 how old a load may be, in ms */
extern const char standing_sql[]; /* $1 the same, $2 the logging client */
extern const char claim_sql[];
extern const char release_sql[]; /* $1 id, $2 claimed_at, $3 status, $4 error */
extern const char missing_sql[]; /* $1 the end, $2 hours back, $3 whether those without rows, too */
extern const char
    noted_sql[]; /* $1 start, $2 status, $3 skip reason, $4 error, $5 timeout?, $6 saturation */
extern const char clients_sql[]; /* $1 start */
extern const char tables_sql[];  /* $1 start */
extern const char samples_sql[]; /* $1 start, $2 client */
extern const char write_sql[];   /* $1 start, $2 saturation, $3 meta, $4 clients, $5 tables */

#endif
