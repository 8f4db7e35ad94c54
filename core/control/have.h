/* core/control/have.h - what of the wanted relations a database has, as of one look at its catalogue.
 *
 * A name without a schema is looked for as the session's search_path finds it, then in public.
 */
#ifndef CORE_CONTROL_HAVE_H
#define CORE_CONTROL_HAVE_H

#include <stdbool.h>

#include "base/map.h"
#include "control/want.h"
#include "io/task.h"

struct have_column { struct have_column *next; ath_str name, type; };
struct have_constraint { struct have_constraint *next; ath_str name, body; char type; };
struct have_index { struct have_index *next; ath_str name, body; bool valid, unique; };

struct have_relation {
    ath_str name, schema;        /* as it was asked for; where it is */
    char kind;                   /* pg_class.relkind: r p v m S f */
    bool owned;                  /* the role may alter it */
    uint64_t bytes;              /* of its rows; of a partitioned one of all partitions */
    struct have_column *column;
    struct have_constraint *constraint;
    struct have_index *index;
};

struct have {
    bool may_create;             /* tables in the schema public */
    bool standby;                /* nothing can be written here */
    bool audit;                  /* there is a public.database_audit_log */
    bool versioned;              /* there is a public.athena_schema_version */
    struct map relation;         /* by wanted name; struct have_relation */
};

/* Asks on the session for all relations that `w` speaks of; `then` gives d->rows to have_parse(). */
int have_ask(ath_task *t, ath_session *s, const struct wants *w, ath_then *then, void *arg,
             ath_err *e);

/* Everything is in `a`. */
struct have *have_parse(ath_arena *a, const ath_rows *rows);

const struct have_relation *have_relation(const struct have *h, ath_str name); /* NULL: not there */
const struct have_column *have_column(const struct have_relation *r, ath_str name);
const struct have_constraint *have_constraint(const struct have_relation *r, ath_str name);
const struct have_index *have_index(const struct have_relation *r, ath_str name);

/* A valid index that does what `body` says ("(a, b DESC) WHERE ..."), whatever its name. */
bool have_equal_index(const struct have_relation *r, ath_str body, bool unique);

#endif
