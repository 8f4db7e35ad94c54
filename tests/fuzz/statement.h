/* tests/fuzz/statement.h - what must hold of every statement that is built from a request: its
 * quotes are balanced, no byte stands outside of them that names and keywords do not have, and its
 * parameters are numbered from 1 without a gap.
 */
#ifndef TESTS_FUZZ_STATEMENT_H
#define TESTS_FUZZ_STATEMENT_H

#include <stdio.h>
#include <stdlib.h>

#include "dataplane/dataplane.h"

static inline void must(bool holds, const char *sql)
{
    if (holds)
        return;
    fprintf(stderr, "statement: %s\n", sql);
    abort();
}

/* Text of a request reaches a statement in one way only: between double quotes, as a name. */
static inline void check_statement(const char *sql, uint32_t params)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ .,()=<>@*$[]-:~";
    bool seen[DP_TEXT_TERMS] = { false };
    uint32_t numbers = 0;

    for (const char *p = sql; *p; p++) {
        if (*p == '"') {
            for (p++; *p && (*p != '"' || p[1] == '"'); p++)
                p += *p == '"';
            must(*p == '"', sql);
            continue;
        }
        must(strchr(plain, *p) != NULL && !(p[0] == '-' && p[1] == '-'), sql);
        if (*p == '$') {
            unsigned long n = strtoul(p + 1, NULL, 10);
            must(n >= 1 && n <= params, sql);
            if (n < DP_TEXT_TERMS && !seen[n]) {
                seen[n] = true;
                numbers++;
            }
        }
    }
    must(params >= DP_TEXT_TERMS || numbers == params, sql);
}

#endif
