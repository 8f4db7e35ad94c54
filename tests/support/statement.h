/* tests/support/statement.h - what must hold of every statement, whatever a request holds: its quotes
 * are balanced, no byte stands outside of them that names and keywords do not have, and its parameters
 * are numbered from 1 without a gap. For fuzzers: what does not hold ends the program.
 */
#ifndef TESTS_SUPPORT_STATEMENT_H
#define TESTS_SUPPORT_STATEMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATEMENT_SEEN = 200 }; /* parameters that are looked for one by one */

static inline void statement_must(bool holds, const char *sql)
{
    if (holds)
        return;
    fprintf(stderr, "statement: %s\n", sql);
    abort();
}

/* Text of a request reaches a statement in one way only: between double quotes, as a name. */
static inline void statement_check(const char *sql, uint32_t params)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ .,()=<>@*$[]-:~";
    bool seen[STATEMENT_SEEN] = { false };
    uint32_t numbers = 0;

    for (const char *p = sql; *p; p++) {
        if (*p == '"') {
            for (p++; *p && (*p != '"' || p[1] == '"'); p++)
                p += *p == '"';
            statement_must(*p == '"', sql);
            continue;
        }
        statement_must(strchr(plain, *p) != NULL && !(p[0] == '-' && p[1] == '-'), sql);
        if (*p == '$') {
            unsigned long n = strtoul(p + 1, NULL, 10);
            statement_must(n >= 1 && n <= params, sql);
            if (n < STATEMENT_SEEN && !seen[n]) {
                seen[n] = true;
                numbers++;
            }
        }
    }
    statement_must(params >= STATEMENT_SEEN || numbers == params, sql);
}

#endif
