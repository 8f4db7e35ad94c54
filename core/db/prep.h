/* core/db/prep.h - what is prepared on one connection, least recently used first out.
 *
 * A statement is found by its text and its parameter types (the types of a text that was seen
 * before may differ, and then it is another statement). The name it has on the server is made of
 * their hash and never used twice on a connection, so a statement that went wrong is simply
 * forgotten.
 */
#ifndef CORE_DB_PREP_H
#define CORE_DB_PREP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct shape;

/* One statement of a trip, as it goes to libpq. */
struct trip_stmt {
    const char *sql;
    const char *const *value;
    const uint32_t *type;        /* NULL: the server infers them */
    size_t sql_n;
    uint32_t n;
    uint64_t hash;               /* prep_hash() of the above */
};

enum { PREP_SQL_MAX = 16384 };   /* longer texts are not kept */

struct prep {
    struct list lru;
    struct prep *next;           /* of the same bucket */
    uint64_t hash;
    uint32_t n, uses;            /* uses: in flight right now; then it stays */
    char name[32];
    bool forgotten;              /* out of the table; freed with its last use */
    struct shape *shape;         /* its columns; NULL: it has none, or did not run yet */
    uint32_t *type;              /* NULL: inferred */
    char sql[];
};

struct prep_table {
    struct prep **bucket;
    uint32_t mask, count, max, serial;
    bool sparing;                /* between two rounds of making room */
    struct list lru;             /* least recently used first */
};

uint64_t prep_hash(const struct trip_stmt *s, uint64_t seed);

void prep_init(struct prep_table *t, uint64_t max);
void prep_free(struct prep_table *t);
struct prep *prep_find(struct prep_table *t, const struct trip_stmt *s); /* NULL: not prepared */
struct prep *prep_add(struct prep_table *t, const struct trip_stmt *s);

/* Once the table is full: one after the other to DEALLOCATE, until an eighth is free; NULL: no
 * more. It is forgotten by this; the caller holds a use of it. */
struct prep *prep_spare(struct prep_table *t);

void prep_forget(struct prep_table *t, struct prep *p);
void prep_forget_all(struct prep_table *t); /* after DISCARD ALL */

static inline struct prep *prep_use(struct prep *p)
{
    p->uses++;
    return p;
}
void prep_unuse(struct prep *p);

#endif
