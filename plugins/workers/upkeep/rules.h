/* What retention deletes, as a table. */
#ifndef RULES_H
#define RULES_H

#include "upkeep.h"

enum { RULE_CONTROL, RULE_AUTH, RULE_TENANT };

/* SQL texts are fixed: "@" stands for the schema of the rule's table, with its dot; "o" is the row;
 * $1 is `keep` in ms, $4 is `number`. */
struct rule {
    const char *table;           /* as metrics call it; found by to_regclass(), then in public */
    const char *schema;          /* NULL: as above; else there alone */
    const char *time;            /* the column that tells a row's age */
    const char *or_time;         /* where that is no timestamp in an old database; NULL: the
                                  * table is left alone there */
    const char *where;           /* more to it; NULL: nothing more */
    const char *victims;         /* instead of the oldest ones by `time`: SQL that gives ctids; $2
                                  * is any text, $3 how many. NULL: those */
    const char *action;          /* instead of deleting: what follows "update table o set"; NULL */
    size_t keep;                 /* offset of the uint64_t in upkeep_config; 0: for ever */
    size_t number;               /* offset of an int64_t, for $4; 0: the rule has none */
    uint32_t slice;              /* rows at once; 0: 5000 */
    uint8_t place;               /* RULE_*: whose database */
    uint8_t counted;             /* 1 + enum statistics_kind: its rows are in the statistics */
};

extern const struct rule upkeep_rules[];
extern const uint32_t upkeep_rule_count;

#endif
