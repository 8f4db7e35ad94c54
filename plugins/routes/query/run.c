/* Running a script.
 *
 *     one transaction    BEGIN, the statements, COMMIT. The block is an explicit one, so that a
 *                        procedure cannot commit the half of it and LOCK TABLE has something to
 *                        live in.
 *     one statement      itself, alone: VACUUM and the like work
 *     each for itself    one after the other, up to the first that fails
 *
 * A trip has statements that give no rows and, last, one that may: its rows come in pieces and are
 * written as they come, so no result is ever in memory as a whole but as the JSON that the answer
 * consists of, which has a limit. What fits into one trip is one; else a session holds the
 * connection between them:
 *
 *     send()  ->  ran()  [ ->  more() ... ]  ->  sent()  ->  the next one, or the end
 *
 * With an idempotency key a script is always one transaction, the key's: dp_once() begins it and,
 * behind the last statement, keeps the answer in it and commits both (dataplane/once.h). Ours are
 * the trips in between, on its session. Constraints that wait for the COMMIT are asked before it:
 * what they refuse is the script's refusal then, and is kept like any other.
 *
 * In every case the host cleans the connection before anybody else sees it (ATH_PG_RAW; G-15).
 *
 * The cache is told before the caller is answered. PostgreSQL knows whether a transaction has
 * written: then it has a number. So a block asks for that before its COMMIT, and reading scripts
 * leave the cache alone; a single reading statement is put into a block for the same reason. What
 * runs outside of a block may have changed anything, also when it failed: procedures commit by
 * themselves.
 */
#include "query.h"

#include "dataplane/once.h"
#include "lib/json.h"
#include "lib/sqlname.h"
#include "said.h"

struct once {
    struct dp_ask ask; /* first; whether the database has the table of keys */
    struct dp_once of;
    struct run *run;
};

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

static int reply(ath_task *t, const struct run *x)
{
    return ath_reply(t, 200, "application/json", buf_view(&x->body));
}

static int changed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : reply(t, d->arg);
}

/* It is committed. */
static int tell(ath_task *t, struct run *x, ath_err *e)
{
    int rc = x->block && !x->wrote ? 1 : run_changed(t, changed, x, e);

    return rc == 1 ? reply(t, x) : rc;
}

static void leave(struct run *x)
{
    if (x->session)
        ath_host_->pg->close(x->session);
    x->session = NULL;
}

static int finish(ath_task *t, struct run *x, ath_err *e)
{
    x->took_ms = now_ms(t) - x->started_ms;
    answer_facts(t, x->script.count, x->data_rows, x->affected);
    x->answer(t, x);
    if (x->once) {
        x->once->of.body = buf_view(&x->body);
        return dp_once_keep(t, &x->once->of, e);
    }
    leave(x);
    return tell(t, x, e);
}

static int failed_changed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t;
    return said_again(d->arg, e);
}

/* What is open is rolled back: of a block all there was. */
static int fail(ath_task *t, struct run *x, int rc, ath_err *e)
{
    struct said *words;

    if (x->once)
        return dp_once_refused(t, &x->once->of, rc, e);
    leave(x);
    if (x->block)
        return rc;
    words = said_keep(ath_arena_of(t), e);
    rc = run_changed(t, failed_changed, words, e);
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

static bool is_change(const struct sql_statement *st)
{
    return sql_is(&st->verb, "INSERT") || sql_is(&st->verb, "UPDATE") ||
           sql_is(&st->verb, "DELETE") || sql_is(&st->verb, "MERGE");
}

static bool gives_rows(const ath_rows *rows)
{
    const ath_column *c;

    return ath_host_->pg->columns(rows, &c) > 0;
}

static int add_rows(struct run *x, const ath_rows *rows, ath_err *e)
{
    int rc = rows_add(&x->writer, rows, &x->body, e);

    return rc < 0 || !x->once ? rc : dp_once_fits(x->body.n, e);
}

/* Rows to show: those of an earlier statement go. */
static int begin_rows(ath_task *t, struct run *x, const ath_rows *rows, ath_err *e)
{
    buf_reset(&x->body);
    buf_str(&x->body, x->head);
    rows_begin(t, rows, &x->writer, &x->body);
    return add_rows(x, rows, e);
}

/* The tag of what gives rows counts those, which are no changes unless it is RETURNING. */
static int end_rows(struct run *x, uint32_t i, ath_err *e)
{
    struct script_stmt *st = &x->script.stmt[i];

    st->returned = x->data_rows = x->writer.count;
    st->affected = is_change(&st->of) ? st->returned : 0;
    x->affected += st->affected;
    return rows_end(&x->body, e);
}

/* A result that is there as a whole. */
static int take(ath_task *t, struct run *x, uint32_t i, const ath_rows *rows, ath_err *e)
{
    struct script_stmt *st = &x->script.stmt[i];
    int rc;

    st->took_us = ath_host_->pg->took_us(rows);
    if (gives_rows(rows))
        return (rc = begin_rows(t, x, rows, e)) < 0 ? rc : end_rows(x, i, e);
    st->affected = ath_host_->pg->affected(rows);
    x->affected += st->affected;
    return 0;
}

/* ---- one trip ---- */

static int sent(ath_task *t, struct run *x, ath_err *e);

static uint32_t last_of(const struct run *x)
{
    return x->first + x->count - 1;
}

/* The rows of the last statement have been read. */
static int ended(ath_task *t, struct run *x, ath_err *e)
{
    uint64_t us = (now_ms(t) - x->sent_ms) * 1000;
    int rc;

    for (uint32_t i = x->first; i < last_of(x); i++)
        us -= us > x->script.stmt[i].took_us ? x->script.stmt[i].took_us : us;
    x->script.stmt[last_of(x)].took_us = us;
    if (x->writing && (rc = end_rows(x, last_of(x), e)) < 0)
        return fail(t, x, rc, e);
    return sent(t, x, e);
}

static int more(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;
    int rc;

    if (d->rc < 0) {
        describe(t, x, is_of_statement(e) ? last_of(x) : UINT32_MAX, e);
        return fail(t, x, d->rc, e);
    }
    if (!d->rows)
        return ended(t, x, e);
    if (x->writing && (rc = add_rows(x, d->rows, e)) < 0) {
        describe(t, x, last_of(x), e);
        return fail(t, x, rc, e);
    }
    return ath_host_->pg->more(t, d->rows, more, x, e);
}

/* The first piece of the last statement's rows, or that there are none. */
static int pieces(ath_task *t, struct run *x, const ath_done *d, const ath_rows *rows, ath_err *e)
{
    struct script_stmt *st = &x->script.stmt[last_of(x)];
    int rc;

    x->writing = gives_rows(rows);
    if (x->writing && (rc = begin_rows(t, x, rows, e)) < 0) {
        describe(t, x, last_of(x), e);
        return fail(t, x, rc, e);
    }
    if (!x->writing)
        x->affected += (st->affected = ath_host_->pg->affected(rows));
    return ath_host_->pg->more(t, d->rows, more, x, e);
}

static void blame(ath_task *t, const struct run *x, uint64_t answered, ath_err *e)
{
    bool mine = answered >= x->before && answered - x->before < x->count;

    describe(t, x,
             is_of_statement(e) && mine ? x->first + (uint32_t)(answered - x->before) : UINT32_MAX,
             e);
}

static int ran(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;
    const ath_rows *rows = d->rows;
    int rc;

    if (d->rc < 0) {
        blame(t, x, d->count, e);
        return fail(t, x, d->rc, e);
    }
    for (uint32_t i = 0; i < x->before; i++)
        rows = ath_host_->pg->next(rows);
    for (uint32_t i = x->first; i < x->first + x->count; i++, rows = ath_host_->pg->next(rows)) {
        if (x->script.stmt[i].of.rows)
            return pieces(t, x, d, rows, e);
        if ((rc = take(t, x, i, rows, e)) < 0) {
            describe(t, x, i, e);
            return fail(t, x, rc, e);
        }
    }
    if (x->ends)
        x->wrote = ath_cell(x->once ? ath_host_->pg->next(rows) : rows, 0, 0).p != NULL;
    return sent(t, x, e);
}

/* ---- the way of trips ---- */

/* Reading statements have no need to stand alone. */
static bool in_block(ath_req *r, const struct run *x)
{
    const struct query_state *s = ath_state_of(r);
    const struct sql_statement *first = &x->script.stmt[0].of;

    if (x->script.each || x->script.count > 1)
        return !x->script.each;
    return s->cache && first->rows && !is_change(first);
}

/* The script's search path: of this transaction, or of the session, which ends with the request. */
static ath_stmt path_stmt(ath_req *r, const struct run *x)
{
    ath_str *param = ath_new(ath_arena_of(r), 2 * sizeof(*param));
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_ident(&b, x->script.schema);
    buf_lit(&b, ", public");
    param[0] = buf_view(&b);
    param[1] = x->script.each ? ATH_S("false") : ATH_S("true");
    return (ath_stmt){ .sql = "SELECT pg_catalog.set_config('search_path', $1, $2)",
                       .param = param,
                       .param_count = 2 };
}

/* Statements up to the first that may give rows; of a script that is no block one at a time. */
static uint32_t trip_size(const struct run *x)
{
    uint32_t n = 1;

    while (x->block && x->first + n < x->script.count && !x->script.stmt[x->first + n - 1].of.rows)
        n++;
    return n;
}

static uint32_t end_fill(const struct run *x, ath_stmt *to)
{
    static const char asking[] = "SELECT pg_catalog.txid_current_if_assigned()";

    to[0].sql = x->once ? "SET CONSTRAINTS ALL IMMEDIATE" : asking;
    to[1].sql = x->once ? asking : "COMMIT";
    return 2;
}

static uint32_t trip_fill(ath_req *r, struct run *x, ath_stmt *to)
{
    uint32_t n = 0;

    if (x->first == 0 && x->block)
        to[n++].sql = x->once ? DP_ONCE_SAVEPOINT : "BEGIN";
    if (x->first == 0 && x->script.schema.n)
        to[n++] = path_stmt(r, x);
    x->before = n;
    for (uint32_t i = x->first; i < x->first + x->count; i++)
        to[n++] = (ath_stmt){ .sql = x->script.stmt[i].sql,
                              .param = x->script.param,
                              .param_count = x->script.param_count,
                              .flags = x->script.stmt[i].of.rows ? ATH_PG_ROWS : 0 };
    x->ends = x->block && x->first + x->count == x->script.count &&
              !(x->count && x->script.stmt[last_of(x)].of.rows);
    return x->ends ? n + end_fill(x, to + n) : n;
}

static int send(ath_req *r, struct run *x, ath_err *e)
{
    uint64_t most = config_of(r)->timeout_ms, took = now_ms(r) - x->started_ms;
    ath_stmt *stmt;
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_RAW | (x->script.each ? ATH_PG_EACH : 0),
                    .session = x->session,
                    .stmt_size = sizeof(*stmt),
                    .timeout_ms = took < most ? (uint32_t)(most - took) : 1 };

    x->count = x->first < x->script.count ? trip_size(x) : 0;
    stmt = ath_new(ath_arena_of(r), (x->count + 4) * sizeof(*stmt));
    q.stmt = stmt;
    q.stmt_count = trip_fill(r, x, stmt);
    x->sent_ms = now_ms(r);
    x->writing = false;
    return ath_host_->pg->query(r, &q, ran, x, e);
}

/* A trip is over. */
static int sent(ath_task *t, struct run *x, ath_err *e)
{
    x->first += x->count;
    if (x->first < x->script.count || (x->block && !x->ends))
        return send(t, x, e);
    return finish(t, x, e);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct run *x = d->arg;

    if (d->rc < 0) {
        describe(t, x, UINT32_MAX, e);
        return d->rc;
    }
    x->session = d->session;
    return send(t, x, e);
}

static bool one_trip(const struct run *x)
{
    bool rows = false;

    for (uint32_t i = 0; i < x->script.count; i++)
        rows = rows || x->script.stmt[i].of.rows;
    return x->block ? !rows : x->script.count == 1;
}

/* ---- with an idempotency key ---- */

static int once_run(ath_req *r, struct dp_once *o, ath_err *e)
{
    struct once *x = o->arg;

    x->run->session = o->session;
    return send(r, x->run, e);
}

/* The table may be gone, which a newer catalogue knows. */
static int once_failed(ath_req *r, struct dp_once *o, int rc, ath_err *e)
{
    struct once *x = o->arg;

    if ((rc = dp_ask_failed(r, &x->ask, rc, e)) < 0)
        describe(r, x->run, UINT32_MAX, e);
    return rc;
}

static int once_committed(ath_req *r, struct dp_once *o, ath_err *e)
{
    return tell(r, ((struct once *)o->arg)->run, e);
}

static int once_bind(ath_req *r, struct dp_ask *a, ath_err *e)
{
    int rc = dp_once_installed(a->catalog, a->snapshot, &a->unknown, e);

    return rc < 0 ? rc : dp_once(r, &((struct once *)a)->of, e);
}

/* All that decides what is done stands in the body. */
static int start_once(ath_req *r, struct run *x, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);

    x->block = true;
    x->once = ath_new(ath_arena_of(r), sizeof(*x->once));
    x->once->run = x;
    x->once->ask = (struct dp_ask){ .catalog = s->catalog, .bind = once_bind };
    x->once->of = (struct dp_once){ .key = x->script.key,
                                    .request = ath_host_->req->body(r),
                                    .begin = "BEGIN",
                                    .effect.timeout_ms = (uint32_t)config_of(r)->timeout_ms,
                                    .run = once_run,
                                    .failed = once_failed,
                                    .committed = once_committed,
                                    .arg = x->once };
    return dp_ask(r, &x->once->ask, e);
}

/* ---- the start ---- */

static void release(void *arg)
{
    struct run *x = arg;

    buf_free(&x->body);
}

/* What certainly reads needs not wait for what others have deferred. */
static bool only_reads(const struct run *x)
{
    static const char *const verb[] = { "SELECT", "VALUES", "TABLE", "SHOW", "EXPLAIN" };

    for (uint32_t i = 0; i < x->script.count; i++) {
        size_t k = 0;
        while (k < ATH_COUNT(verb) && !sql_is(&x->script.stmt[i].of.verb, verb[k]))
            k++;
        if (k == ATH_COUNT(verb))
            return false;
    }
    return true;
}

static int start(ath_req *r, struct run *x, ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_RAW,
                    .stmt_size = sizeof(ath_stmt),
                    .timeout_ms = (uint32_t)config_of(r)->timeout_ms };

    x->started_ms = now_ms(r);
    if (x->script.key.n)
        return start_once(r, x, e);
    x->block = in_block(r, x);
    return one_trip(x) ? send(r, x, e) : ath_host_->pg->open(r, &q, opened, x, e);
}

static int settled(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : start(t, d->arg, e);
}

int run_start(ath_req *r, struct run *x, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);
    int rc = 1;

    ath_host_->mem->own(ath_arena_of(r), x, release);
    x->body = BUF_HEAP;
    buf_str(&x->body, x->head);
    buf_lit(&x->body, "[]");
    if (s->writes && !only_reads(x)) /* whatever it writes to */
        rc = s->writes->settle(r, NULL, 0, settled, x, e);
    return rc == 1 ? start(r, x, e) : rc;
}
