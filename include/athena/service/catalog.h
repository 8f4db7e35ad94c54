/* athena/service/catalog.h - "athena.catalog@1": what a database holds, from memory.
 *
 * The host reads the catalogue of each database in the background and keeps it as snapshots that
 * never change. `get` gives the current one; it stays valid as long as the task. A name that is not
 * in it may be new: `refresh` waits until a snapshot newer than the given one is there (many callers
 * share one reading), then look again, once.
 *
 * Names are as the database has them. Everything returned is borrowed from the snapshot.
 */
#ifndef ATHENA_SERVICE_CATALOG_H
#define ATHENA_SERVICE_CATALOG_H

#include <athena/plugin.h>

typedef struct ath_snapshot ath_snapshot;

enum { ATH_REL_TABLE = 1, ATH_REL_PARTITIONED, ATH_REL_VIEW, ATH_REL_MATVIEW, ATH_REL_FOREIGN };
enum { ATH_COL_NOT_NULL = 1, ATH_COL_DEFAULT = 2, ATH_COL_GENERATED = 4, ATH_COL_IDENTITY = 8,
       ATH_COL_PRIMARY = 16 };
enum { ATH_REL_TRIGGERS = 1,     /* somebody's own, enabled: what is stored may differ from what was sent */
       ATH_REL_RULES = 2 };      /* rewrite rules besides a view's own: a write may be something else */

typedef struct {
    uint32_t size, flags;        /* ATH_COL_* */
    ath_str  name, type_name;    /* type_name: as format_type() prints it: "numeric(10,2)" */
    uint32_t type, base_type;    /* OIDs; base_type: of a domain what lies below, else the same */
    uint32_t element, number;    /* element: of an array its elements' type, else 0; attnum */
    char     kind, category;     /* pg_type.typtype (b e r c d m), typcategory (N S B D A ...) */
    char     pad[6];
} ath_attribute;

typedef struct {                 /* primary key, unique constraint or unique index */
    uint32_t size, primary;
    ath_str  name;
    const uint32_t *number;      /* attnums */
    uint32_t number_count, pad;
} ath_key;

typedef struct ath_relation ath_relation;
typedef struct {                 /* a foreign key: columns of `from` refer to columns of `to` */
    uint32_t size, count;
    ath_str  name;
    const ath_relation *from, *to;
    const uint32_t *from_number, *to_number; /* attnums, `count` of each */
    char     on_delete, on_update; /* of the row referred to, as pg_constraint has it: a no action,
                                    * r restrict, c cascade, n set null, d set default */
    char     pad[6];
} ath_reference;

struct ath_relation {
    uint32_t size, kind;         /* ATH_REL_* */
    uint32_t oid, pad;
    ath_str  schema, name;
    const ath_attribute *column; /* in attnum order, without dropped ones */
    uint32_t column_size, column_count;
    const ath_key *key;          /* the primary key first */
    uint32_t key_size, key_count;
    const ath_reference *const *out;         /* foreign keys that it holds */
    const ath_reference *const *in;          /* foreign keys that refer to it */
    uint32_t out_count, in_count;
    uint32_t flags, more_pad;    /* ATH_REL_TRIGGERS, ATH_REL_RULES */
};

typedef struct {                 /* what a function takes or gives */
    uint32_t size;
    char     mode;               /* pg_proc.proargmodes: i in, o out, b both, v variadic, t table */
    char     pad[3];
    ath_attribute as;            /* name: empty, it has none; flags: ATH_COL_DEFAULT or 0; number: from
                                  * 1 */
} ath_argument;

typedef struct {                 /* a function, procedure or aggregate: one signature */
    uint32_t size, oid;
    ath_str  schema, name;
    char     kind;               /* pg_proc.prokind: f function, p procedure, a aggregate, w window */
    char     volatility;         /* pg_proc.provolatile: i, s, v */
    char     set;                /* 1: gives a set */
    char     pad[5];
    const ath_argument *argument; /* all of them in order, also those that only give */
    uint32_t argument_size, argument_count;
    ath_attribute result;        /* name: the function's; type: "void" and "record" too */
    const ath_attribute *column; /* of what it gives, when that is a row whose columns are known */
    uint32_t column_size, column_count;
} ath_function;

typedef struct {
    uint32_t size, pad;
    /* The snapshot of the task's client; NULL: none was read yet, use refresh. */
    const ath_snapshot *(*get)(ath_task *t);
    uint64_t (*version)(const ath_snapshot *s);
    /* Waits for a snapshot whose version is greater than `known` (0: any), reading at most once a
     * second; when the database has not changed, the same one may come back. Then call get(). */
    ATH_OP(refresh, uint64_t known);
    /* schema empty: the first of the connection's search path that has it ("public" by default). */
    const ath_relation *(*relation)(const ath_snapshot *s, ath_str schema, ath_str name);
    const ath_attribute *(*column)(const ath_relation *r, ath_str name);
    /* All relations, `i` from 0; NULL: past the end. */
    const ath_relation *(*at)(const ath_snapshot *s, uint32_t i);
    /* The type's name as SQL takes it in a cast ("pg_catalog.int4", "public.mood"); empty: unknown. */
    ath_str (*type_name)(const ath_snapshot *s, uint32_t oid);
    /* The `i`th of the functions that share a name, from 0; NULL: there are no more. Those of
     * pg_catalog and information_schema are not known here. */
    const ath_function *(*function)(const ath_snapshot *s, ath_str schema, ath_str name,
                                    uint32_t i);
    /* The relation whose rows have this type; NULL: none. */
    const ath_relation *(*row_type)(const ath_snapshot *s, uint32_t type);
} ath_catalog;

#endif
