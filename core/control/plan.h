/* core/control/plan.h - what is missing, as statements that add it and as words about the rest.
 *
 * Only additions are planned. What stands in the way of one (a table of another form, a view in a
 * table's place) is found and said together with the command that an operator would give; it is
 * never changed here.
 */
#ifndef CORE_CONTROL_PLAN_H
#define CORE_CONTROL_PLAN_H

#include "control/have.h"

struct mutation {
    struct mutation *next;
    const struct want *want;
    const char *operation;       /* "create_table", "add_column", ...: a word of the audit log */
    ath_str label;               /* "add column api_keys.virgin_mode" */
    ath_str sql;
    bool concurrently;           /* outside of a transaction */
};

enum finding_kind {
    FIND_TABLE, FIND_COLUMN, FIND_INDEX, FIND_CONSTRAINT, /* missing */
    FIND_FORM,                   /* of an old form that does not fit: nothing of its component can be done */
    FIND_TYPE,                   /* a column of another type, which is coped with */
    FIND_NARROW,                 /* a check that refuses what is written today */
    FIND_KEY                     /* no primary key, where new databases have one */
};

struct finding {
    struct finding *next;
    enum finding_kind kind;
    ath_str object, message;
    ath_str command;             /* SQL or a command of ours that mends it; empty: nothing has to be done */
};

struct plan {
    ath_arena *arena;
    const struct have *have;
    struct map made;             /* tables that an earlier wish of the plan makes */
    struct mutation *first, **last;
    struct finding *found, **found_last;
    uint32_t count;              /* mutations */
    uint32_t needed;             /* of them: without which something does not work */
    uint32_t tried;              /* of them: rows that are there may refuse them */
    uint32_t tables, columns, forms; /* findings of these kinds */
};

struct plan *plan_new(ath_arena *a, const struct have *h);

/* The additions for the wishes of one step, in their order. Statements that are no additions are
 * among them; `needed` does not count those. */
void plan_step(struct plan *p, const struct wants *w);

/* What the database has not, or has in another form. */
void plan_find(struct plan *p, const struct wants *w);

const char *finding_word(enum finding_kind kind); /* "missing_table" */

#endif
