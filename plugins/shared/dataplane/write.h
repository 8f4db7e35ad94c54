/* plugins/shared/dataplane/write.h - inserting, updating and deleting: from a request to one trip.
 *
 *     dp_read_insert(&dp, body, &w)        what is asked, by names        no catalogue needed
 *     dp_write_rights(&dp, &w, &right)     what must be allowed first     whether or not it binds
 *     dp_bind_write(&dp, &w)               names to the catalogue         needs dp.snapshot
 *     dp_write_sql(&dp, &w, &change)       statements and their values    a pure function
 *     dp_change_rows(...)                  what was written, as JSON
 *
 * A request that has no such body fills the parts itself: dp_write_begin(), then
 * dp_read_selector() or root.schema and root.table, dp_where_add(), dp_write_rows(),
 * dp_write_set(), dp_write_target(), dp_read_items(), root.limit and root.order, and at last
 * dp_write_whole(), which is what refuses an update or delete without any condition.
 *
 * Every value is a parameter of its column's own type, so PostgreSQL decides what fits; nothing is
 * made canonical and no digit is lost. All statements of a change are one trip, which is one
 * transaction.
 */
#ifndef PLUGINS_SHARED_DATAPLANE_WRITE_H
#define PLUGINS_SHARED_DATAPLANE_WRITE_H

#include "dataplane/dataplane.h"

enum { DP_CELLS = 1 << 21,       /* rows times columns of one insert */
       DP_CHANGES = 256 };       /* statements of one change */

enum dp_kind { DP_INSERT = 1, DP_UPDATE = 2, DP_DELETE = 4 };

enum dp_conflict {
    DP_CONFLICT_FAILS,           /* a duplicate is an error */
    DP_CONFLICT_SKIPS,           /* the row is left out */
    DP_CONFLICT_SETS,            /* the row that is there gets `set` */
    DP_CONFLICT_MERGES           /* it gets the new row's values */
};

struct dp_change;

struct dp_write {
    enum dp_kind kind;
    struct dp_node root;         /* the table, what comes back; of update and delete which rows */
    const struct json **row;     /* of an insert: objects */
    uint32_t row_count;
    bool one;                    /* the body had an object, no array */
    bool nulls;                  /* missing keys are null, not DEFAULT */
    const struct json **set;     /* members: of an update, or of DP_CONFLICT_SETS */
    uint32_t set_count;
    enum dp_conflict conflict;
    ath_str *target;             /* columns; none: the primary key */
    uint32_t target_count;
    const struct json *id;       /* of a delete: resource_id */
    ath_str id_column;           /* its column's name; empty: dp_id_column() */
    bool counted, head;          /* the answer has `count`; its `data` is empty */
    bool strip_nulls;
    bool ids;                    /* the key of each row of an insert comes back, not only of one */
    /* after dp_bind_write() */
    const ath_attribute **column;     /* of an insert: those of all rows, as they appear */
    const struct json **cell;         /* row by row; NULL: the row does not have it */
    uint32_t column_count;
    bool mixed;                       /* some row lacks some column */
    const ath_attribute **set_column; /* of each member of `set` */
    const ath_attribute **key;        /* the conflict target */
    uint32_t key_count;
    const ath_attribute *id_attribute; /* what `resource_id` means; NULL: nothing does */
};

/* The body of a request. Raises the codes of contract 17, 19, 20. */
int dp_read_insert(struct dp *dp, const struct json *body, struct dp_write *w);
int dp_read_update(struct dp *dp, const struct json *body, struct dp_write *w);
int dp_read_delete(struct dp *dp, const struct json *body, struct dp_write *w);

/* Its parts. `begin` empties `w` and sets the codes that refusals are raised with. */
void dp_write_begin(struct dp *dp, enum dp_kind kind, struct dp_write *w);
int dp_write_rows(struct dp *dp, const struct json *rows, struct dp_write *w); /* object or array */
int dp_write_set(struct dp *dp, const struct json *object, struct dp_write *w);
int dp_write_target(struct dp *dp, ath_str columns, struct dp_write *w); /* "a,b" */
int dp_write_whole(struct dp *dp, struct dp_write *w);

int dp_bind_write(struct dp *dp, struct dp_write *w);

/* One right, on the relation that is meant. */
uint32_t dp_write_rights(struct dp *dp, const struct dp_write *w, const ath_right **ret);

/* The single column of the primary key, else a column "id"; NULL: neither. */
const ath_attribute *dp_id_column(const struct dp *dp, const ath_relation *r);

struct dp_change {               /* what is sent, in one trip without further flags */
    ath_stmt *stmt;
    struct dp_sql *sql;
    uint32_t stmt_count, cap;
    bool returns;                /* the statements give rows */
    bool keyed;                  /* their last column is the value of w->id_attribute */
};

int dp_write_sql(struct dp *dp, struct dp_write *w, struct dp_change *ret);

/* The database refused the change: says so in the route's own words where the contract has some.
 * Returns the new class of the error. */
int dp_write_failed(struct dp *dp, const struct dp_write *w, int rc);

/* Rows that were changed, by all results of the change; `rows` is that of its first statement. */
uint64_t dp_change_affected(const struct dp_change *c, const ath_rows *rows);

struct dp_changed {              /* what came back */
    uint32_t returned;           /* rows */
    ath_str id;                  /* text of the primary key; p NULL: none, or of several rows */
};

/* Appends the rows as an array, or as an object (null when there is none) of an insert whose body
 * had one. Returns the result behind the change's last one. */
const ath_rows *dp_change_rows(struct dp *dp, const struct dp_write *w, const struct dp_change *c,
                               const ath_rows *rows, struct dp_changed *ret, struct buf *b);

/* ---- inside ---- */

int dp_write_view(struct dp *dp, const struct dp_write *w); /* refused: it is a view */

#endif
