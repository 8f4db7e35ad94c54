/* How far a writer's batches are in the tables, in athena_log_writers. */
#include "sink.h"

#include "lib/sqlname.h"

enum { DONE_BITS = 17, ALL = (1 << DONE_BITS) - 1 }; /* no piece has as many events as ALL */

const char *part_name(int part)
{
    return part == PART_SUMS ? "sums" : about[part].event;
}

uint64_t standing_of(const struct pieces *p, size_t done)
{
    uint32_t i = 0;

    while (i + 1 < p->count && done > p->at[i].events)
        done -= p->at[i++].events;
    return p->at[i].number << DONE_BITS | done;
}

size_t standing_at(const struct standing *g, int part, const struct pieces *p)
{
    uint64_t number = g->number[part] >> DONE_BITS, done = g->number[part] & ALL;
    size_t at = 0;

    for (uint32_t i = 0; i < p->count && p->at[i].number <= number; i++)
        at += p->at[i].number < number || done > p->at[i].events ? p->at[i].events : done;
    return at;
}

uint64_t standing_of_sums(uint64_t piece)
{
    return piece << DONE_BITS | ALL;
}

bool standing_has_sums(const struct standing *g, uint64_t piece)
{
    return g->number[PART_SUMS] >= standing_of_sums(piece);
}

int standing_ask(ath_task *t, const struct tables *k, const struct standing *g, ath_then *then,
                 void *arg, ath_err *e)
{
    struct buf sql = BUF_ARENA(ath_arena_of(t));
    ath_str *param = ath_new(ath_arena_of(t), sizeof(*param));
    ath_stmt stmt = { .param = param, .param_count = 1, .flags = ATH_PG_READ };
    ath_query q = { .size = sizeof(q),
                    .client = place_client(k->place),
                    .timeout_ms = 5000,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    buf_lit(&sql, "select part, number from ");
    table_put_name(&sql, k, WRITERS);
    buf_lit(&sql, " where writer = $1::uuid");
    stmt.sql = buf_view(&sql).p;
    *param = str_of(g->writer);
    return ath_host_->pg->query(t, &q, then, arg, e);
}

void standing_take(struct standing *g, const ath_rows *rows)
{
    const ath_pg_api *pg = ath_host_->pg;
    uint32_t n = pg->count(rows);

    for (int part = 0; part < PARTS; part++) {
        g->number[part] = 0;
        for (uint32_t i = 0; i < n; i++)
            if (str_is(pg->text(rows, i, 0), part_name(part)))
                str_u64(pg->text(rows, i, 1), &g->number[part]);
    }
    g->known = true;
}

/* athena_log_writers.number may not be null. */
static const char head[] = "insert into ";
static const char tail[] =
    " as w (writer, part, number) values ($1::uuid, $2, $3::bigint) on conflict (writer, part) do "
    "update set seen_at = now(), number = case when w.number = $4::bigint then excluded.number end";

ath_stmt standing_move(ath_task *t, const struct tables *k, const struct standing *g, int part,
                       uint64_t to)
{
    ath_arena *a = ath_arena_of(t);
    struct buf sql = BUF_ARENA(a), number = BUF_ARENA(a), from = BUF_ARENA(a);
    ath_str *param = ath_new(a, 4 * sizeof(*param));

    buf_z(&sql, head);
    table_put_name(&sql, k, WRITERS);
    buf_z(&sql, tail);
    buf_u64(&number, to);
    buf_u64(&from, g->number[part]);
    param[0] = str_of(g->writer);
    param[1] = str_of(part_name(part));
    param[2] = buf_view(&number);
    param[3] = buf_view(&from);
    return (ath_stmt){ .sql = buf_view(&sql).p, .param = param, .param_count = 4 };
}

bool standing_refused(const ath_err *e)
{
    return str_is(ath_host_->err->get(e, "sqlstate"), "23502") &&
           str_is(ath_host_->err->get(e, "table"), about[WRITERS].name);
}
