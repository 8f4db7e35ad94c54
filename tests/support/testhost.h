/* tests/support/testhost.h - a host for code that is written against ath_host_: errors and memory
 * are the core's, results are tables that a test writes down. What a plugin does with sockets, loops
 * or databases is not here.
 */
#ifndef TESTS_SUPPORT_TESTHOST_H
#define TESTS_SUPPORT_TESTHOST_H

#include <athena/plugin.h>

struct fake_rows {               /* behind a const ath_rows * */
    const ath_column *column;
    uint32_t columns, count;
    const char *const *cell;     /* row by row; NULL: null */
    const struct fake_rows *next;
};

static inline const ath_rows *fake_rows(const struct fake_rows *r)
{
    return (const ath_rows *)(const void *)r;
}

/* Results of another kind: the table of database calls that ath_host_ shows from now on; NULL: the
 * one for struct fake_rows. */
void testhost_pg(const ath_pg_api *pg);

#endif
