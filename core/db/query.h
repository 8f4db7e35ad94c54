/* core/db/query.h - the ABI's database calls (ath_pg_api); the public header documents them.
 *
 * One ath_query is one trip. Trips that are only ATH_PG_READ and that arrive in the same turn of
 * the loop may share a connection and a Sync; when one of them fails, those behind it are run
 * again, each with its own Sync, so that nobody sees another's error. All others have a Sync of
 * their own and run as one transaction.
 */
#ifndef CORE_DB_QUERY_H
#define CORE_DB_QUERY_H

#include "db/client.h"

int db_query(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e);
int db_open(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e);
void db_close(ath_session *s);
int db_listen(ath_task *t, const ath_query *q, ath_then *then, void *arg, ath_err *e);
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
};
int db_fail(const struct db_failure *f, ath_err *e);

/* Whether what PostgreSQL says with it may quote values of rows, or SQL text: callers are told, logs
 * are not. */
bool db_state_quotes(const char *sqlstate);

#endif
