/* Running a script.
 *
 *     one transaction    BEGIN, the statements, COMMIT: one trip, pipelined. What fails leaves
 *                        nothing. The block is an explicit one, so that a procedure cannot commit
 *                        the half of it and LOCK TABLE has something to live in.
 *     one statement      itself, alone: VACUUM and the like work
 *     each for itself    a session, one statement after the other, up to the first that fails
 *
 * In every case the host cleans the connection before anybody else sees it (ATH_PG_RAW; G-15).
 *
 * What ran may have changed anything, also when it failed: procedures commit by themselves. So the
 * cache is told in any case, before the caller is answered.
 */
#include "query.h"

#include "lib/json.h"
#include "lib/sqlname.h"
#include "said.h"

static const struct query_config *config_of(ath_req *r)
{
    return ath_config_of(r);
}

static uint64_t now_ms(ath_req *r)
{
    return ath_host_->loop->now_ms(ath_host_->task->loop(r));
}

/* ---- the end ---- */

int run_changed(ath_req *r, ath_then *then, void *arg, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);

    return s->cache ? s->cache->changed(r, NULL, 0, then, arg, e) : 1;
}

static int well(ath_task *t, struct run *x, ath_err *e)
{
    x->took_ms = now_ms(t) - x->started_ms;
    answer_facts(t, x->script.count, x->data_rows, x->affected);
    return x->answer(t, x, e);
}

static int changed(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : well(t, d->arg, e);
}

static int finish(ath_task *t, struct run *x, ath_err *e)
{
    int rc = run_changed(t, changed, x, e);

    return rc == 1 ? well(t, x, e) : rc;
}

static int failed_changed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t;
    return said_again(d->arg, e);
}

static int fail(ath_task *t, ath_err *e)
{
    struct said *words = said_keep(ath_arena_of(t), e);
    int rc = run_changed(t, failed_changed, words, e);

    return rc == 0 ? 0 : said_again(words, e);
}

/* ---- which statement ---- */

static void detail(ath_err *e, const char *key, uint64_t v)
{
    char room[STR_U64_ROOM];

    ath_host_->err->detail(e, key, str_from_u64(v, room));
}

/* As much of the text as an error's details have room for. */
static ath_str excerpt(ath_str text)
{
    enum { MOST = 500 };
    size_t n = text.n < MOST ? text.n : MOST;

    while (n < text.n && n > 0 && (text.p[n] & 0xc0) == 0x80)
        n--;
    return str_from(text.p, n);
}

static void statement_details(ath_task *t, const struct run *x, uint32_t i, ath_err *e)
{
    const struct sql_statement *st = &x->script.stmt[i].of;
    struct buf b = BUF_ARENA(ath_arena_of(t));

    detail(e, "statement_index", i + 1);
    detail(e, "total_statements", x->script.count);
    detail(e, "line_start", st->line_start);
    detail(e, "line_end", st->line_end);
    if (!x->echo)
        return;
    buf_json(&b, excerpt(st->text));
    ath_host_->err->detail(e, "statement", buf_view(&b));
}

/* `i`: the statement that failed; past the last one: it was none of them (a lost connection, the
 * COMMIT). */
static void describe(ath_task *t, const struct run *x, uint32_t i, ath_err *e)
{
    if (i < x->script.count) {
        statement_details(t, x, i, e);
    } else {
        ath_host_->err->detail(e, "statement_index", ATH_S("null"));
        detail(e, "total_statements", x->script.count);
        ath_host_->err->detail(e, "line_start", ATH_S("null"));
        ath_host_->err->detail(e, "line_end", ATH_S("null"));
    }
    ath_host_->err->detail(e, "preprocess",
                           ATH_S("{\"rewritten_reserved_identifier_count\":0,"
                                 "\"rewritten_reserved_identifiers\":[]}"));
}

/* The database said it, or it did not answer in time; else no statement is to blame. */
static bool is_of_statement(const ath_err *e)
{
    return ath_host_->err->get(e, "sqlstate").n ||
           str_is(ath_host_->err->get(e, "code"), "query_timeout");
}

/* ---- results ---- */

/* Rows that a statement changed: of one that gives rows the tag says how many those are, unless it
 * is a change with RETURNING. */
static uint64_t affected_by(const struct sql_statement *st, const ath_rows *rows, bool gives_rows)
{
    static const char *const changes[] = { "INSERT", "UPDATE", "DELETE", "MERGE" };

    for (size_t i = 0; i < ATH_COUNT(changes); i++)
        if (sql_is(&st->verb, changes[i]))
            return ath_host_->pg->affected(rows);
    return gives_rows ? 0 : ath_host_->pg->affected(rows);
}

/* True when it has rows to show. */
static bool collect(struct run *x, uint32_t i, const ath_rows *rows)
{
    struct script_stmt *st = &x->script.stmt[i];
    const ath_column *c;
    bool gives_rows = ath_host_->pg->columns(rows, &c) > 0;

    st->returned = gives_rows ? ath_host_->pg->count(rows) : 0;
    st->affected = affected_by(&st->of, rows, gives_rows);
    st->took_us = ath_host_->pg->took_us(rows);
    x->affected += st->affected;
    if (gives_rows)
        x->data_rows = st->returned;
    return gives_rows;
}

static int show(ath_task *t, struct run *x, const ath_rows *rows, ath_err *e)
{
    buf_reset(&x->body);
    buf_str(&x->body, x->head);
    return rows_json(t, rows, &x->body, e);
}

/* ---- one trip ---- */

static int ran(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;
    const ath_rows *rows = d->rows, *last = NULL;
    uint64_t failed = d->count - x->before;
    int rc = 0;

    if (d->rc < 0) {
        describe(t, x, is_of_statement(e) && d->count >= x->before ? (uint32_t)failed : UINT32_MAX,
                 e);
        return fail(t, e);
    }
    for (uint32_t i = 0; i < x->before; i++)
        rows = ath_host_->pg->next(rows);
    for (uint32_t i = 0; i < x->script.count; i++, rows = ath_host_->pg->next(rows))
        if (collect(x, i, rows))
            last = rows;
    if (last && (rc = show(t, x, last, e)) < 0)
        return fail(t, e);
    return finish(t, x, e);
}

static ath_stmt stmt_of(const struct run *x, uint32_t i)
{
    return (ath_stmt){ .sql = x->script.stmt[i].sql,
                       .param = x->script.param,
                       .param_count = x->script.param_count };
}

static ath_str search_path(ath_req *r, const struct script *s)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_ident(&b, s->schema);
    buf_lit(&b, ", public");
    return buf_view(&b);
}

static int run_together(ath_req *r, struct run *x, ath_err *e)
{
    uint32_t n = x->script.count;
    ath_stmt *stmt = ath_new(ath_arena_of(r), (n + 2) * sizeof(*stmt));
    ath_pair set = { ATH_S("search_path"), { "", 0 } };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_RAW,
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .stmt_count = n > 1 ? n + 2 : n,
                    .timeout_ms = (uint32_t)config_of(r)->timeout_ms };

    x->before = n > 1;
    stmt[0].sql = "BEGIN";
    for (uint32_t i = 0; i < n; i++)
        stmt[x->before + i] = stmt_of(x, i);
    if (n > 1)
        stmt[n + 1].sql = "COMMIT";
    if (x->script.schema.n) {
        set.value = search_path(r, &x->script);
        q.set = &set;
        q.set_count = 1;
    }
    return ath_host_->pg->query(r, &q, ran, x, e);
}

/* A setting for the whole session, which ends with this request. */
static ath_stmt path_stmt(ath_req *r, const struct script *s)
{
    ath_str *param = ath_new(ath_arena_of(r), sizeof(*param));

    *param = search_path(r, s);
    return (ath_stmt){ .sql = "SELECT pg_catalog.set_config('search_path', $1, false)",
                       .param = param,
                       .param_count = 1 };
}

/* A Sync after each: what may not stand in a transaction with others does not. */
static int run_alone(ath_req *r, struct run *x, ath_err *e)
{
    ath_stmt stmt[2];
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_RAW | ATH_PG_EACH,
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .timeout_ms = (uint32_t)config_of(r)->timeout_ms };

    if (x->script.schema.n)
        stmt[q.stmt_count++] = path_stmt(r, &x->script);
    x->before = q.stmt_count;
    stmt[q.stmt_count++] = stmt_of(x, 0);
    return ath_host_->pg->query(r, &q, ran, x, e);
}

/* ---- each for itself ---- */

static int next(ath_task *t, struct run *x, ath_err *e);

static void leave(struct run *x)
{
    if (x->session)
        ath_host_->pg->close(x->session);
    x->session = NULL;
}

static int ran_one(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;
    int rc = d->rc;

    if (rc < 0)
        describe(t, x, is_of_statement(e) ? x->next : UINT32_MAX, e);
    else if (collect(x, x->next, d->rows))
        rc = show(t, x, d->rows, e);
    if (rc < 0) {
        leave(x);
        return fail(t, e);
    }
    x->next++;
    return next(t, x, e);
}

static int next(ath_task *t, struct run *x, ath_err *e)
{
    uint64_t most = config_of(t)->timeout_ms, took = now_ms(t) - x->started_ms;
    ath_stmt stmt;
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_RAW,
                    .session = x->session,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1,
                    .timeout_ms = took < most ? (uint32_t)(most - took) : 1 };

    if (x->next == x->script.count) {
        leave(x);
        return finish(t, x, e);
    }
    stmt = stmt_of(x, x->next);
    return ath_host_->pg->query(t, &q, ran_one, x, e);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;

    if (d->rc < 0) {
        describe(t, x, UINT32_MAX, e);
        return d->rc;
    }
    x->session = d->session;
    return next(t, x, e);
}

static int run_each(ath_req *r, struct run *x, ath_err *e)
{
    ath_stmt stmt;
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_RAW,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .timeout_ms = (uint32_t)config_of(r)->timeout_ms };

    if (x->script.schema.n)
        stmt = path_stmt(r, &x->script), q.stmt_count = 1;
    return ath_host_->pg->open(r, &q, opened, x, e);
}

int run_start(ath_req *r, struct run *x, ath_err *e)
{
    x->body = BUF_ARENA(ath_arena_of(r));
    buf_str(&x->body, x->head);
    buf_lit(&x->body, "[]");
    x->started_ms = now_ms(r);
    if (x->script.each && x->script.count > 1)
        return run_each(r, x, e);
    return x->script.each ? run_alone(r, x, e) : run_together(r, x, e);
}
