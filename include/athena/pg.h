/* athena/pg.h - PostgreSQL.
 *
 * One ath_query is one trip: settings, statements and one Sync leave in one write, so its
 * statements are one transaction (unless flags say otherwise). Statements are prepared once per
 * connection, by their text and parameter types. SQL is fixed text or built from quoted names;
 * values are parameters, always.
 *
 * A transaction with decisions in between holds a session: `open`, queries on it, `close`.
 *
 * A COPY ... FROM STDIN is the last statement of its trip, and one transaction with those before it.
 * It takes as long as its task, or `timeout_ms`. When a row is refused, or the writer of `from` fails,
 * nothing of the trip has happened; of a refused row the error has the "line".
 */
#ifndef ATHENA_PG_H
#define ATHENA_PG_H

#include <athena/task.h>

/* clang-format off */

enum {                           /* of a statement, or of a query for all of its statements */
    ATH_PG_READ         = 1,     /* plain read: may be repeated, may share a Sync */
    ATH_PG_EACH         = 2,     /* a Sync after each: they stand alone */
    ATH_PG_ALONE        = 4,     /* nothing else in its trip: CREATE INDEX CONCURRENTLY */
    ATH_PG_READ_ONLY    = 8,     /* the transaction may not write */
    ATH_PG_REPEATABLE   = 16,    /* isolation: repeatable read */
    ATH_PG_SERIALIZABLE = 32,    /* isolation: serializable */
    ATH_PG_RAW          = 64,    /* a caller's own SQL: cleaned up behind it */
    ATH_PG_ROWS         = 128,   /* rows come in pieces: ask with `more` */
    ATH_PG_COPY         = 256,   /* the last one is COPY ... FROM STDIN: sends `from` */
    ATH_PG_FENCED       = 512,   /* of a job, on its loop: commits only while its lease is held; else
                                  * "lease_lost". On the control plane by the row of the job itself,
                                  * elsewhere by our clock: it ends there before the lease may */
    ATH_PG_OWN          = 1024,  /* of `open`: a new connection, not the pool's */
    ATH_PG_COMMITTED    = 2048,  /* isolation: read committed, whatever the database's default is */
    ATH_PG_OPERATOR     = 4096   /* `uri` is an operator's, not a caller's: it may lead anywhere and say
                                  * all that libpq knows; the server's own limit for statements is off */
};

typedef struct {
    const char     *sql;         /* $1, $2 ... never built from user text; lives until `then` */
    const ath_str  *param;       /* text form; p NULL: SQL null. The bytes live until `then` */
    const uint32_t *type;        /* type OIDs, 0: inferred; NULL: the server infers them all */
    uint32_t        param_count; /* at most 65535 */
    uint32_t        flags;       /* ATH_PG_* */
} ath_stmt;

typedef struct {                 /* one trip to one database */
    uint32_t size, flags;        /* ATH_PG_* for all of its statements */
    ath_str  client;             /* "": the request's or job's; "@control", "@auth", a name */
    ath_str  uri;                /* instead of a name: a connection URI; never logged */
    ath_session *session;        /* NULL: any connection of the pool */
    const ath_stmt *stmt;
    uint32_t stmt_size, stmt_count;
    const ath_pair *set;         /* settings, for this transaction only; quoted by the host */
    uint32_t set_count;
    uint32_t timeout_ms;         /* 0: what is left of the task's deadline */
    ath_stream *from;            /* what COPY ... FROM STDIN sends, of the task or one above it */
} ath_query;

/* A column of a result; frozen. name is borrowed from the rows. */
typedef struct {
    ath_str  name;
    uint32_t type;               /* OID */
    uint32_t relation;           /* OID of the table that it comes from; 0: none */
    int32_t  typmod;             /* -1: none */
    int32_t  attnum;             /* in that table; 0: none */
} ath_column;

/* Errors of operations: the database's own are mapped once to codes (unique_violation is
 * ATH_E_CONFLICT and so on; ath_err_api.get(e, "sqlstate")); ATH_E_UPSTREAM: no connection;
 * ATH_E_TIMEOUT: waited for a connection or an answer past the deadline; the statement is then
 * cancelled in the server. What has a "sqlstate" was refused, so nothing of it has happened; of
 * a COPY that failed without one, "outcome" is "none" or "unknown". */
typedef struct {
    uint32_t size, pad;
    /* d->rows: the first statement's result; d->count: rows that it returned or changed. Failed,
     * d->count: statements that were answered before. */
    ATH_OP(query, const ath_query *q);
    /* ATH_PG_ROWS: the rows of the last statement come in pieces of some 64 KiB, the first with the
     * query, then as d->rows; without rows: the end, and the transaction is over. Between two pieces
     * nothing is read, and the connection stays with the query. `timeout_ms` is of each piece. */
    ATH_OP(more, const ath_rows *rows);
    /* A connection that the task holds: d->session, for it and the tasks below it on its loop, one
     * query at a time. `q` names the database; its statements, if any, run first. With settings or
     * an isolation it begins a transaction, which they hold for; else the caller's own BEGIN does,
     * in any query. A query with an isolation is a transaction in itself and has no place in an
     * open one. What outlives a transaction (SET, advisory locks, LISTEN) wants ATH_PG_RAW, which
     * has it cleaned away, or ATH_PG_OWN. When a query is stopped or late, or the connection is
     * lost, what was open is rolled back, and later queries fail; close it and open another. */
    ATH_OP(open, const ath_query *q);
    /* Gives it back, rolled back if a transaction is open; so does the task's end. A query that
     * still runs is cancelled. */
    void (*close)(ath_session *s);
    /* Answers at the next notification on the channel that stmt[0].sql names: d->bytes is a JSON
     * array of the payloads since last time; an empty array means that some may be missed: so it is
     * when listening begins, after each reconnect, and when too many came between two calls. One
     * call per task and channel at a time; calls that follow go on where the last one ended. */
    ATH_OP(listen, const ath_query *q);

    /* Reading results, on the task's loop. Rows last until `then` returns, or as long as the task
     * when kept. Indexes are bounded: past the end is a null. */
    const ath_rows *(*next)(const ath_rows *rows);          /* of the next statement; NULL: none */
    const ath_rows *(*keep)(ath_task *t, const ath_rows *rows);
    uint32_t (*count)(const ath_rows *rows);
    uint32_t (*columns)(const ath_rows *rows, const ath_column **ret);      /* how many */
    ath_str  (*text)(const ath_rows *rows, uint32_t row, uint32_t col);     /* p NULL: null */
    uint64_t (*affected)(const ath_rows *rows);             /* rows changed, by the command tag */
    /* Of ATH_PG_RAW: microseconds from the answer before it to this one. 0: not measured. */
    uint64_t (*took_us)(const ath_rows *rows);
} ath_pg_api;

/* clang-format on */
#endif
