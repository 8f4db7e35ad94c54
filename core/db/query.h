/* core/db/query.h - the ABI's database calls (ath_pg_api); the public header documents them.
 *
 * One ath_query is one trip. Trips that are only ATH_PG_READ and that arrive in the same turn of
 * the loop may share a connection and a Sync; when one of them fails, those behind it are run
 * again, each with its own Sync, so that nobody sees another's error. All others have a Sync of
 * their own and run as one transaction.
 */
#ifndef CORE_DB_QUERY_H
#define CORE_DB_QUERY_H

#include <stdbool.h>

#include "db/client.h"

int db_query(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e);
int db_open(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e);
void db_close(ath_session *s);

/* The search path of trips to "@control" that say none themselves; empty: that of the connection.
 * Any thread, any time. */
void db_control_path(ath_str path);

/* What ATH_PG_FENCED asks: does the task's job hold its lease? */
struct db_lease {
    const char *sql;             /* on the control plane: $1 and $2 find the row of the lease and keep others
                                  * from claiming it; a setting named DB_LEASE_LOST: it is not held */
    ath_str param[2];            /* live as long as the task */
    uint64_t until_ns;           /* held until then at least, by clock_ns() */
};
#define DB_LEASE_LOST "athena_lease_lost"
/* Who knows; before the loops serve. It says false of a task that works for no job. */
void db_leases(bool (*of)(ath_task *t, struct db_lease *ret));

/* One statement without parameters, on a session. */
int db_ask(ath_task *t, ath_session *s, const char *sql, uint32_t flags, ath_then *then, void *arg,
           ath_err *e);

int db_listen(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e);
/* The next notification of the channel, for who can do without; false: there will be none. */
bool db_hears(ath_task *t, const char *client, const char *channel, ath_then *then);
int db_more(ath_task *t, const ath_rows *rows, ath_then *then, void *arg, ath_err *e);

const ath_rows *db_rows_next(const ath_rows *rows);
const ath_rows *db_rows_keep(ath_task *t, const ath_rows *rows);
uint32_t db_rows_count(const ath_rows *rows);
uint32_t db_rows_columns(const ath_rows *rows, const ath_column **ret);
ath_str db_rows_text(const ath_rows *rows, uint32_t row, uint32_t col);
uint64_t db_rows_affected(const ath_rows *rows);
uint64_t db_rows_took_us(const ath_rows *rows);

/* SQLSTATE to the contract's code (gateway.md 9.2, the last column). `message`, `detail` ... are
 * PostgreSQL's; what may be shown is put into `e`. */
struct db_failure {
    const char *sqlstate, *message, *detail, *hint, *position;
    const char *constraint, *table, *schema, *column;
    const char *function;        /* of PostgreSQL's source */
    const char *context;         /* where it was: in which line of a COPY */
};
int db_fail(const struct db_failure *f, ath_err *e);

/* Whether what PostgreSQL says with it may quote values of rows, or SQL text: callers are told, logs
 * are not. */
bool db_state_quotes(const char *sqlstate);

#endif
