/* core/cache/relations.h - what reading a relation reads, and what writing to it changes.
 *
 * Counted as changed or not is a unit: a table, or all tables of one inheritance tree (a partitioned
 * table with its partitions), named by the lowest OID among them. A view is none: reading it reads
 * the units below it.
 *
 *     reads     the unit; of a view those of what it names, of a table with row policies also those
 *               that the policies name
 *     changes   the unit; those that a foreign key's action reaches; of a view those it reads
 *
 * Opaque is what cannot be followed: foreign tables, catalogues, functions that are not immutable in
 * a view or a policy. Wide is what may change anything: a table with triggers or rules of its users.
 *
 * A set never changes once it is made, and is counted by references. It is the database's at one
 * moment; `stamp` says whether that still holds.
 */
#ifndef CORE_CACHE_RELATIONS_H
#define CORE_CACHE_RELATIONS_H

#include <stdatomic.h>
#include <stdbool.h>

#include <athena/service/cache.h>

#include "base/arena.h"
#include "base/map.h"

enum { UNITS_MOST = 64, RELATIONS_MOST = 50000 };

struct units {                   /* a set of them, ascending */
    const uint32_t *oid;
    uint32_t n;
};

struct relation {
    uint32_t oid, unit;
    ath_str schema, name;        /* by_name's key is schema, NUL, name */
    char kind;                   /* pg_class.relkind */
    bool opaque, wide, watched;  /* watched: our trigger is on it */
    bool reads_known, changes_known; /* false: not to be kept; may be anything */
    struct units reads, changes;
};

struct relations {
    atomic_uint refs;
    ath_arena arena;
    struct map by_name;
    struct relation *relation;   /* by OID */
    uint32_t count;
    bool watched;                /* one of them is, at least */
    bool replica;                /* it lags behind: nothing of it may be kept */
    ath_str id;                  /* of the database, the same by whatever name it is reached */
    ath_str stamp;
};

/* The cheap look whether anything has changed. The plain one is for roles that may not see the
 * cluster's identifier: its id is empty. */
extern const ath_query relations_look, relations_look_plain;

/* The trip that reads the rest, and what becomes of both. */
extern const ath_query relations_query;
struct relations_head {
    ath_str id, stamp;
    bool replica;
};
struct relations_head relations_head_of(const ath_rows *look); /* borrowed */
struct relations *relations_read(const struct relations_head *head, const ath_rows *rows);
void relations_ref(struct relations *r);
void relations_unref(void *r);   /* accepts NULL */

const struct relation *relations_find(const struct relations *r, ath_str schema, ath_str name);

const struct relation *relations_by_oid(const struct relations *r, uint32_t oid);

/* What these read or change together. False: it cannot be followed, or is too much. */
bool relations_reads(const struct relations *r, const ath_relation_name *name, uint32_t n,
                     uint32_t ret[UNITS_MOST], uint32_t *ret_n);
bool relations_changes(const struct relations *r, const ath_relation_name *name, uint32_t n,
                       uint32_t ret[UNITS_MOST], uint32_t *ret_n);

#endif
