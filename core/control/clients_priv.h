/* core/control/clients_priv.h - what the files that follow the catalogue share. */
#ifndef CORE_CONTROL_CLIENTS_PRIV_H
#define CORE_CONTROL_CLIENTS_PRIV_H

#include <stdatomic.h>

#include "control/clients.h"
#include "control/record.h"

extern struct clients_options clients_options;

/* ---- clients.c: what is known. Changed on the follower's loop alone. ---- */

/* One row, as of now. `broken`: why its secrets cannot be read; NULL: they can. */
void known_apply(const struct record *r, const char *broken);
void known_gone(ath_str name);   /* there is no such row any more */

/* All rows were applied between these two: what was not is gone. */
void known_round_begin(void);
void known_round_end(void);

/* One that has no row, unless the name is another's. */
void known_adopt(ath_str name, ath_str uri);
bool known_is_another(ath_str name, ath_str uri); /* it is known, and does not lead there */

void known_settle(void);         /* nobody waits for the first reading any more */
bool known_is_settled(void);

/* Clients of the catalogue that were to be connected a while ago: how it went, each once. False: no
 * more. */
bool known_next_load(ath_str *ret_name, bool *ret_failed, ath_arena *a);

/* ---- follow.c ---- */

/* Has it read again before anybody else's wish; what is returned is answered when follow_answered()
 * is not below it. Any thread. */
uint64_t follow_want(ath_str name);
uint64_t follow_adopt(ath_str name, ath_str uri);    /* the same behind known_adopt() */
uint64_t follow_answered(void);
bool follow_tried(void);         /* the first reading was */
bool follow_fails(void);         /* the last one */

/* ---- wait.c ---- */

/* Names that were looked up and not found are not looked up again for a while, unless they appear. */
bool wait_is_missing(ath_str name);
void wait_is_there(ath_str name);

/* ---- sync.c: rows of the table, and what a start changes in them ---- */

/* Columns of the table that a row is made of, in the order that record_read() wants. */
#define RECORD_COLUMNS                                                                             \
    "c.client_name, c.athena_client_id::text, c.description, c.pg_uri, c.pg_uri_env_var, "         \
    "c.config_uri_template, c.source, c.is_active, c.is_frozen, c.metadata::text, c.updated_at::text"

/* Its columns begin at `col`. Texts are in the arena or of the rows. NULL, or why its secrets cannot be
 * read. */
const char *record_read(const ath_rows *rows, uint32_t row, uint32_t col, ath_arena *a,
                        struct record *ret);

/* What the start writes: JSON arrays for the statements in sync_sql, all of them or none. */
struct sync_plan {
    ath_str insert, update, touch;
    bool changes;
};
void sync_plan(const ath_rows *rows, ath_arena *a, struct sync_plan *ret);
extern const char sync_insert_sql[], sync_update_sql[], sync_touch_sql[], sync_notify_sql[];

#endif
