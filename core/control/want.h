/* core/control/want.h - what the SQL of a step wants to be there.
 *
 * A step is a file of plain SQL that runs as it stands on an empty database. Its statements are read
 * here as wishes, so that a database on which some of it is there gets the rest and nothing else:
 *
 *     CREATE TABLE t (columns, constraints)       the table, or each column and named constraint
 *     CREATE VIEW v (columns) AS ...              the view
 *     CREATE SEQUENCE s                           the sequence
 *     CREATE [UNIQUE] INDEX i ON t (...)          the index, or one that does the same
 *     ALTER TABLE t ADD COLUMN c ...              the column
 *     ALTER TABLE t ADD CONSTRAINT c ...          the constraint
 *     anything else                               runs whenever its step runs: it says IF NOT EXISTS,
 *                                                 ON CONFLICT, OR REPLACE
 *
 * Names are plain identifiers or schema.name. Constraints that matter have names.
 */
#ifndef CORE_CONTROL_WANT_H
#define CORE_CONTROL_WANT_H

#include <stdbool.h>

#include "base/arena.h"

enum want_kind {
    WANT_TABLE, WANT_VIEW, WANT_SEQUENCE, WANT_COLUMN, WANT_CONSTRAINT, WANT_INDEX, WANT_OTHER
};

enum want_constraint { WANT_CHECK, WANT_PRIMARY, WANT_UNIQUE, WANT_FOREIGN };

struct want {
    enum want_kind kind;
    enum want_constraint constraint;
    bool part;                   /* said inside of the CREATE TABLE before it: made with the table */
    bool unique;                 /* of an index */
    bool nullable;               /* of a column: may be null, or has a default */
    ath_str table;               /* that it is, or is of */
    ath_str name;                /* of the column, constraint or index */
    ath_str type;                /* of a column, as PostgreSQL spells it: "timestamp with time zone" */
    ath_str body;                /* what follows the name; of an index what follows the table; blanks
                                  * single */
    ath_str sql;                 /* the statement, without its semicolon; of a part empty */
    size_t name_at;              /* of what is created: where its name stands in `sql` */
    uint32_t line;               /* in its text, from 1 */
};

struct wants {
    struct want *at;
    size_t n, cap;
};

/* Adds the wishes of `sql`, which must outlive them. Refused with ATH_E_CONFIG when it ends inside of
 * a quote or a bracket. */
int wants_read(ath_arena *a, const char *sql, struct wants *ret, ath_err *e);

/* "schema.name" or "name": its last part. */
ath_str want_bare(ath_str name);

#endif
