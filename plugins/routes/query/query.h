/* plugins/routes/query/query.h - SQL of callers: POST /gateway/query, /query/sql, /gateway/sql and
 * /query/count; functions: POST /gateway/rpc, GET and POST /rpc/{function_name}.
 *
 * A new file adds its handlers here, its routes to the table in plugin.c, and its bodies to
 * openapi.yaml.
 */
#ifndef ROUTES_QUERY_H
#define ROUTES_QUERY_H

#include <athena/service/cache.h>
#include <athena/service/writes.h>
#include <athena/service/deferred.h>

#include "dataplane/ask.h"
#include "dataplane/dataplane.h"
#include "dataplane/route.h"
#include "sqltext/sqltext.h"

struct query_config {
    uint64_t timeout_ms;       /* of one request's statements together */
    uint64_t max_body_bytes;   /* of /gateway/query */
    uint64_t max_result_bytes; /* of the rows of one answer, as JSON; 0: any */
    int64_t max_rows;          /* as of a fetch; 0: any number */
    int64_t pieces_above;      /* more rows of a call than these are sent in pieces */
    int32_t get_volatile;      /* GET may call functions that may write */
};

struct query_state {
    const ath_catalog *catalog;
    const ath_cache *cache;       /* NULL: nobody offers it */
    const ath_writes *writes;     /* the same */
    const ath_deferred *deferred; /* NULL: there is no queue */
};

/* ---- script.c: what a body asks for ---- */

enum { SCRIPT_STATEMENTS = 990 }; /* ours come on top: the host takes 1000 in one trip */

struct script_stmt {
    struct sql_statement of;
    const char *sql;                      /* its text, ended by NUL */
    uint64_t returned, affected, took_us; /* once it has run */
};

struct script {
    ath_str text, schema; /* schema empty: none was given */
    ath_str key;          /* to run once; empty: nobody asked for it */
    bool each;            /* per_statement */
    struct script_stmt *stmt;
    uint32_t count;
    ath_str *param;
    uint32_t param_count;
};

/* The request's body as JSON; `most`: bytes, 0: as the server allows. */
int script_body(ath_req *r, uint64_t most, const struct json **ret, ath_err *e);
/* query, schema_name, execution_mode and params of it; idempotency_key, or the header. */
int script_read(ath_req *r, const struct json *body, struct script *ret, ath_err *e);

/* ---- rows.c: rows as JSON ---- */

struct rows_column {
    uint32_t at;
    ath_str prefix;              /* ,"name": */
    struct typed type;
};

struct rows_writer {
    struct rows_column *column;
    uint32_t columns;
    uint64_t count, most;        /* rows so far; bytes */
};

/* The array of a result's rows, behind what `b` holds, piece by piece. */
void rows_begin(ath_req *r, const ath_rows *rows, struct rows_writer *w, struct buf *b);
int rows_add(struct rows_writer *w, const ath_rows *rows, struct buf *b, ath_err *e);
int rows_end(struct buf *b, ath_err *e);
/* Of a fetch; `ret` begins with {"data":. */
int rows_fetched(ath_req *r, const struct dp_fetch *f, const struct dp_query *q,
                 const ath_rows *rows, struct buf *ret, ath_err *e);

/* ---- run.c: running it ---- */

struct run;
struct once;
typedef void run_answer(ath_req *r, struct run *x);

struct run {                     /* in the request's arena */
    struct script script;
    run_answer *answer;          /* it went well: writes what stands behind the rows in its body */
    ath_str head;                /* what stands in front of the rows in its body */
    bool echo;                   /* errors show the statement that failed */
    /* set by run_start() and when it has run */
    struct once *once;           /* with an idempotency key */
    struct buf body;             /* the head and the array of the last rows */
    uint64_t data_rows, affected;
    uint64_t started_ms, took_ms;
    ath_session *session;        /* NULL: one trip is enough */
    bool block, wrote;           /* BEGIN and COMMIT around it; whether it wrote, known with those */
    /* the trip that is under way */
    uint32_t first, count;       /* its statements */
    uint32_t before;             /* ours in front of them */
    uint64_t sent_ms;
    struct rows_writer writer;   /* of its last statement */
    bool writing, ends;          /* rows are written; what ends it all is in it */
};

/* The caller's rights have been asked. */
int run_start(ath_req *r, struct run *x, ath_err *e);

/* Tells the cache that anything may have changed, then calls `then` with `arg`. */
int run_changed(ath_req *r, ath_then *then, void *arg, ath_err *e);

/* ---- what answers share (answer.c) ---- */

void answer_statements(struct buf *b, const struct script *s);
void answer_preprocess(struct buf *b);
void answer_facts(ath_req *r, uint64_t statements, uint64_t returned, uint64_t affected);
ath_str answer_backend(ath_req *r);

/* The right to run SQL. */
int query_allowed(ath_req *r, ath_err *e);

/* ---- routes ---- */

int query_init(ath_self *s, const void *config, void **ret_state, ath_err *e);
ath_handler query_gateway, query_defer;               /* query.c */
ath_handler query_sql;                                /* sql.c */
ath_handler query_count;                              /* count.c */
ath_handler query_rpc, query_rpc_get, query_rpc_post; /* rpc.c */

extern const char openapi_yaml[]; /* openapi.yaml */

extern const ath_command query_command; /* command.c */

#endif
