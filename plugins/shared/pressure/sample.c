#include "pressure/sample.h"

#include "sqltext/sqltext.h"

static bool begins_well(ath_str sql)
{
    struct sql_scan s = { .text = sql, .line = 1 };
    struct sql_token t;

    return sql_next(&s, &t) && (sql_is(&t, "SELECT") || sql_is(&t, "WITH"));
}

static bool has_param(ath_str sql)
{
    struct sql_scan s = { .text = sql, .line = 1 };
    struct sql_token t;

    while (sql_next(&s, &t))
        if (t.kind == SQL_PARAM || t.kind == SQL_BROKEN)
            return true;
    return false;
}

bool sample_is_safe(ath_str sql)
{
    struct sql_scan s = { .text = sql, .line = 1 };
    struct sql_statement one, another;

    if (sql.n > SAMPLE_BYTES || str_find(sql, ';') < sql.n || !begins_well(sql) || has_param(sql))
        return false;
    return sql_statement(&s, &one) && !one.broken && sql_is(&one.verb, "SELECT") &&
           !sql_statement(&s, &another);
}
