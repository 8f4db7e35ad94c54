/* ath_host_ of test programs. */
#include "support/testhost.h"

#include "base/arena.h"
#include "base/err.h"
#include "lib/text.h"

static const struct fake_rows *of(const ath_rows *rows)
{
    return (const struct fake_rows *)(const void *)rows;
}

static uint32_t fake_count(const ath_rows *rows)
{
    return of(rows)->count;
}

static uint32_t fake_columns(const ath_rows *rows, const ath_column **ret)
{
    *ret = of(rows)->column;
    return of(rows)->columns;
}

static ath_str fake_text(const ath_rows *rows, uint32_t row, uint32_t col)
{
    return str_of(of(rows)->cell[row * of(rows)->columns + col]);
}

static uint64_t fake_affected(const ath_rows *rows)
{
    return of(rows)->count;
}

static const ath_rows *fake_next(const ath_rows *rows)
{
    return fake_rows(of(rows)->next);
}

static const ath_err_api err_api = { .size = sizeof(err_api),
                                     .fail = err_fail_v,
                                     .raise = err_raise_v,
                                     .hint = err_hint_v,
                                     .detail = err_detail,
                                     .get = err_get };
static const ath_mem_api mem_api = { .size = sizeof(mem_api),
                                     .alloc = arena_alloc,
                                     .own = arena_own };
static const ath_pg_api fake_pg = { .size = sizeof(fake_pg),
                                    .count = fake_count,
                                    .columns = fake_columns,
                                    .text = fake_text,
                                    .next = fake_next,
                                    .affected = fake_affected };

static ath_host host = { .size = sizeof(host), .err = &err_api, .mem = &mem_api, .pg = &fake_pg };

const ath_host *ath_host_ = &host;

void testhost_pg(const ath_pg_api *pg)
{
    host.pg = pg ? pg : &fake_pg;
}
