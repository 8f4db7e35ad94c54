/* Counting what was restored, by the server itself. pg_restore has said that all went well, and
 * every byte that it read was checked: a row that is missing now was never put in, and no digest is
 * needed to see that (a drill makes those, too).
 *
 * The server has counted what it was given while it was loaded, and nobody else was there: where
 * that is the number that is expected, the table is not read once more. Where it is not (a server
 * that forgets some of these figures, or was restarted) the rows themselves are counted. */
#include "restore.h"

#include <stdio.h>

#include "lib/sqlname.h"

enum { BATCH = 50 };

struct counting {
    struct flow flow;
    const struct site *site;
    ath_str database;
    const struct listing *listing;
    const struct manifest *m;
    bool *known; /* of each table: the server's own figure is the one expected */
    size_t at, to;
    size_t asked[BATCH];
};

#define COUNTING(flow) ((struct counting *)(flow))

/* Tables of extensions are made by CREATE EXTENSION, which the archive has instead of them. */
static const char tables_sql[] =
    "select count(*) from pg_class c where c.relkind in ('r', 'p') and c.relpersistence <> 't'"
    " and c.relnamespace not in (select oid from pg_namespace where nspname like 'pg\\_%'"
    " or nspname = 'information_schema') and not exists (select from pg_depend d"
    " where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')";

static int ask_tables(ath_task *t, struct flow *f, ath_err *e)
{
    struct counting *x = COUNTING(f);
    ath_stmt stmt = { .sql = tables_sql };

    return site_ask(t, x->site, x->database, &stmt, 1, 0, flow_then, x, e);
}

static int took_tables(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct counting *x = COUNTING(f);
    int64_t n = -1;

    (void)t;
    if (d->rc < 0)
        return d->rc;
    (void)str_i64(ath_cell(d->rows, 0, 0), &n);
    if (n == x->listing->tables)
        return 0;
    return ath_fail(e, ATH_E_INPUT, "the archive has %u tables, and %lld were restored",
                    x->listing->tables, (long long)n);
}

/* ---- what the server has counted ---- */

static const char inserted_sql[] =
    "select n.i - 1 from unnest($1::text[], $2::text[], $3::int8[]) with ordinality"
    " as n(schema, name, rows, i) join pg_namespace s on s.nspname = n.schema"
    " join pg_class c on c.relnamespace = s.oid and c.relname = n.name"
    " where pg_stat_get_tuples_inserted(c.oid) = n.rows and pg_stat_get_tuples_deleted(c.oid) = 0";

static void put_item(struct buf *b, const char *text)
{
    buf_z(b, b->n ? ",\"" : "{\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_char(b, '\\');
        buf_char(b, *text);
    }
    buf_char(b, '"');
}

static int ask_inserted(ath_task *t, struct flow *f, ath_err *e)
{
    struct counting *x = COUNTING(f);
    ath_arena *a = ath_arena_of(t);
    struct buf list[] = { BUF_ARENA(a), BUF_ARENA(a), BUF_ARENA(a) };
    ath_str *p = ath_new(a, ATH_COUNT(list) * sizeof(*p));
    ath_stmt stmt = { .sql = inserted_sql, .param = p, .param_count = ATH_COUNT(list) };
    char number[STR_U64_ROOM + 1];

    if (!x->m || !x->m->rows || !x->m->tables)
        return FLOW_NEXT;
    x->known = ath_new(a, x->m->tables * sizeof(*x->known));
    for (size_t i = 0; i < x->m->tables; i++) {
        snprintf(number, sizeof(number), "%llu", (unsigned long long)x->m->table[i].rows);
        put_item(&list[0], x->m->table[i].schema);
        put_item(&list[1], x->m->table[i].name);
        put_item(&list[2], number);
    }
    for (size_t i = 0; i < ATH_COUNT(list); i++) {
        buf_char(&list[i], '}');
        p[i] = buf_view(&list[i]);
    }
    return site_ask(t, x->site, x->database, &stmt, 1, 0, flow_then, x, e);
}

static int took_inserted(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct counting *x = COUNTING(f);
    int64_t at;

    (void)t, (void)e;
    if (d->rc < 0)
        return d->rc;
    for (uint32_t i = 0; i < ath_host_->pg->count(d->rows); i++)
        if (str_i64(ath_cell(d->rows, i, 0), &at) && at >= 0 && (uint64_t)at < x->m->tables)
            x->known[at] = true;
    return 0;
}

/* ---- the others ---- */

/* ONLY: each table has its own rows in the archive, whoever inherits from it. */
static int ask_rows(ath_task *t, struct flow *f, ath_err *e)
{
    struct counting *x = COUNTING(f);
    ath_stmt stmt[BATCH] = { 0 };
    uint32_t n = 0;

    if (!x->known)
        return FLOW_NEXT;
    for (x->to = x->at; x->to < x->m->tables && n < BATCH; x->to++) {
        struct buf b = BUF_ARENA(ath_arena_of(t));
        if (x->known[x->to])
            continue;
        buf_lit(&b, "select count(*) from only ");
        buf_ident2(&b, str_of(x->m->table[x->to].schema), str_of(x->m->table[x->to].name));
        x->asked[n] = x->to;
        stmt[n++].sql = b.p;
    }
    x->at = x->to;
    return n ? site_ask(t, x->site, x->database, stmt, n, 0, flow_then, x, e) : FLOW_NEXT;
}

static int took_rows(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct counting *x = COUNTING(f);
    const ath_rows *r = d->rows;

    (void)t;
    if (d->rc < 0)
        return d->rc;
    for (uint32_t i = 0; r; i++, r = ath_host_->pg->next(r)) {
        const struct manifest_table *m = &x->m->table[x->asked[i]];
        uint64_t n = 0;
        (void)str_u64(ath_cell(r, 0, 0), &n);
        if (n != m->rows)
            return ath_fail(e, ATH_E_INPUT,
                            "table \"%s.%s\" has %llu rows in the archive, and %llu were restored",
                            m->schema, m->name, (unsigned long long)m->rows, (unsigned long long)n);
    }
    return FLOW_AGAIN;
}

static const struct flow_step steps[] = {
    { ask_tables, took_tables },
    { ask_inserted, took_inserted },
    { ask_rows, took_rows },
    { NULL, NULL },
};

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct counting *x = arg;

    x->flow.step = steps;
    return flow_run(t, &x->flow, e);
}

int count_check(ath_task *t, const struct site *s, ath_str database, const struct listing *listing,
                const struct manifest *m, ath_then *then, void *arg, ath_err *e)
{
    struct counting *x = ath_new(ath_arena_of(t), sizeof(*x));
    ath_fork f = { .size = sizeof(f), .run = begin, .arg = x };

    *x = (struct counting){ .site = s, .database = database, .listing = listing, .m = m };
    return ath_host_->task->fork(t, &f, then, arg, e);
}
