/* plugins/shared/provision/provision.h - the schema of a tenant: tables of accounts, chats, files, mails
 * and payments, in the schemas "athena" and "billing".
 *
 * tenant.sql is one script, made by one transaction under an advisory lock: all of it or nothing (P5),
 * and two at once wait for each other. It may run any number of times. Tables that are there in a
 * reduced form get the columns that they lack, and nothing that is there is changed, so it also runs
 * on a database that was a client of the published server (C22).
 */
#ifndef PLUGINS_SHARED_PROVISION_H
#define PLUGINS_SHARED_PROVISION_H

#include <athena/plugin.h>

enum { PROVISION_CONNECT_MS = 10000 };

extern const char tenant_sql[];

/* The statements of a script, each ended by a NUL; in the arena. */
uint32_t provision_statements(ath_arena *a, ath_str script, ath_str **ret);

/* What the script makes: "billing.billing_payments", in its order; in the arena. */
uint32_t provision_tables(ath_arena *a, ath_str script, ath_str **ret);

/* What a table that is there in another form may lack of a CREATE TABLE: ALTER TABLE ... ADD COLUMN IF
 * NOT EXISTS ..., without NOT NULL where there is no default. Empty: it is no CREATE TABLE IF NOT EXISTS,
 * or has nothing but keys. In the arena. */
ath_str provision_lacking(ath_arena *a, ath_str statement);

/* Runs the script on the database of an operator's `uri`, which lives until `then`. An operation:
 * d->count statements were executed. It fails as a whole, in the words of the published interface:
 * "failed to connect to Postgres: ..." within PROVISION_CONNECT_MS (ATH_E_UPSTREAM), "statement 3/98
 * failed: create table ... - ..." (what the database said). timeout_ms: of the transaction; 0: what
 * is left of the task. */
int provision_run(ath_task *t, ath_str uri, uint32_t timeout_ms, ath_then *then, void *arg,
                  ath_err *e);

/* "statement i/n failed: <120 bytes of it at most>… — why"; cut between characters. */
ath_str provision_failure(ath_arena *a, uint64_t i, uint32_t n, ath_str statement, ath_str why);

#endif
