/* The tables of the fold. */
#include "statistics/statistics.h"

extern const char counts_sql[], indexes_sql[]; /* 0001_counts.sql, 0002_indexes.sql */

static const ath_step steps[] = {
    { .name = "counts", .sql = counts_sql, .version = 1 },
    { .name = "indexes", .sql = indexes_sql, .version = 2 },
};

const ath_schema statistics_schema = {
    ATH_CAP(ath_schema, ATH_CAP_SCHEMA, "statistics"),
    .client = "@control",
    ATH_ARRAY(step, steps),
};
