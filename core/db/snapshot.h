/* core/db/snapshot.h - a database's catalogue at one moment; never changes once it is made.
 *
 * Counted by references, from any thread. All it holds lies in its own arena.
 */
#ifndef CORE_DB_SNAPSHOT_H
#define CORE_DB_SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>

#include <athena/service/catalog.h>

#include "base/arena.h"
#include "base/map.h"

/* Beyond these a snapshot is cut, and says so. */
enum { SNAPSHOT_RELATIONS = 50000, SNAPSHOT_COLUMNS = 500000, SNAPSHOT_OTHERS = 200000,
       SNAPSHOT_FUNCTIONS = 50000 };

struct snapshot_type {
    uint32_t oid, element, base, relation; /* relation: of a composite the OID of its pg_class */
    char kind, category;
    ath_str name;                /* quoted, with its schema */
};

struct ath_snapshot {
    atomic_uint refs;
    uint64_t version;
    bool cut;
    ath_arena arena;
    ath_str stamp;               /* of the catalogue tables when it was read */
    ath_relation *relation;      /* by OID */
    uint32_t relations;
    ath_relation *composite;     /* composite types without a table; by OID, nowhere by name */
    uint32_t composites;
    struct map by_name;          /* "schema\0name" */
    ath_function *function;      /* by schema, name, OID */
    uint32_t functions;
    struct map by_function;      /* "schema\0name": the first of that name */
    struct snapshot_type *type;  /* by OID */
    uint32_t types;
    ath_str *path;               /* the search path's schemas */
    uint32_t paths;
};

/* The trip that reads one, and the cheap look whether anything has changed. */
extern const ath_query snapshot_query, stamp_query;

/* Makes one from the answer to snapshot_query. */
ath_snapshot *snapshot_read(const ath_rows *rows);
void snapshot_unref(ath_snapshot *s); /* accepts NULL */

const ath_relation *snapshot_relation(const ath_snapshot *s, ath_str schema, ath_str name);
const struct snapshot_type *snapshot_type(const ath_snapshot *s, uint32_t oid);
const ath_function *snapshot_function(const ath_snapshot *s, ath_str schema, ath_str name,
                                      uint32_t i);
const ath_relation *snapshot_row_type(const ath_snapshot *s, uint32_t type);

#endif
