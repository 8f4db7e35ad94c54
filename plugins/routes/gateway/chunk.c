/* Writing what waited in a lane. A task for itself: no caller who leaves takes the others along.
 *
 *     wait -> take -> connection -> pieces ... -> commit -> tell
 *
 * A piece is a range of rows behind a savepoint, and begins with all of them. Constraints that wait
 * for the commit are checked with the piece, so that each caller's row stands for itself. A piece
 * that fails, or gives back another number of rows than it had, is undone and becomes two; a single
 * row that fails is its caller's refusal. When something else goes wrong (the connection, a
 * deadlock, the time) the transaction is gone, nothing is written, and all are told so.
 */
#include "window.h"

#include <stdlib.h>

#include "dataplane/refusal.h"
#include "lib/json.h"

enum { DEPTH = 40 };

struct range {
    uint32_t from, to;
};

struct chunk {
    struct lane *lane;
    struct chunk_row *row;
    uint32_t rows, depth;
    struct range left[DEPTH]; /* still to write; the last one first */
    struct range now;
    uint64_t due_ms;    /* when it takes what waits; 0: at once */
    const char *before; /* what undoes or ends the last piece */
    ath_session *session;
    struct outcome *outcome;
};

struct outcome {
    ath_str refusal, row, id;
};

static const char undo[] = "ROLLBACK TO SAVEPOINT piece", done_with[] = "RELEASE SAVEPOINT piece";

void chunk_leave(struct waiter *x)
{
    x->chunk->row[x->place].waiter = NULL;
}

/* ---- the end ---- */

static ath_str copied(ath_arena *a, ath_str s)
{
    char *p;

    if (!s.p)
        return s;
    p = ath_new(a, s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return str_from(p, s.n);
}

static void tell_all(struct chunk *k)
{
    for (uint32_t i = 0; i < k->rows; i++) {
        struct waiter *x = k->row[i].waiter;
        if (!x)
            continue;
        x->refusal = copied(ath_arena_of(x->task), k->outcome[i].refusal);
        x->row = copied(ath_arena_of(x->task), k->outcome[i].row);
        x->id = copied(ath_arena_of(x->task), k->outcome[i].id);
        k->row[i].waiter = NULL;
        waiter_tell(x);
    }
}

/* Registered with the chunk's memory, so that nobody waits for a chunk that was stopped. */
static void chunk_gone(void *arg)
{
    struct chunk *k = arg;

    for (uint32_t i = 0; i < k->rows; i++)
        if (k->row[i].waiter)
            k->outcome[i] = (struct outcome){
                .refusal = ATH_S("{\"code\":\"insert_window_response_channel_dropped\",\"message\":"
                                 "\"the insert was stopped before it was done\"}")
            };
    tell_all(k);
    lane_unref(k->lane);
}

static int end(ath_task *t, struct chunk *k)
{
    if (k->session)
        ath_host_->pg->close(k->session);
    k->session = NULL;
    tell_all(k);
    ath_host_->task->done(t, NULL);
    return 0;
}

/* Nothing of it is written: those who have no refusal of their own get this one. */
static int fail_all(ath_task *t, struct chunk *k, const ath_err *e)
{
    ath_str words = dp_refusal(ath_arena_of(t), e);

    for (uint32_t i = 0; i < k->rows; i++)
        if (!k->outcome[i].refusal.p)
            k->outcome[i] = (struct outcome){ .refusal = words };
    return end(t, k);
}

static int committed(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? fail_all(t, d->arg, e) : end(t, d->arg);
}

/* ---- pieces ---- */

static int next_piece(ath_task *t, struct chunk *k, ath_err *e);

static int go_on(ath_task *t, struct chunk *k, ath_err *e)
{
    return next_piece(t, k, e) < 0 ? fail_all(t, k, e) : 0;
}

static void halve(struct chunk *k)
{
    uint32_t middle = k->now.from + (k->now.to - k->now.from) / 2;

    k->left[k->depth++] = (struct range){ middle, k->now.to };
    k->left[k->depth++] = (struct range){ k->now.from, middle };
}

static void keep_rows(ath_task *t, struct chunk *k, const ath_rows *rows)
{
    const struct gateway_config *cfg = ath_config_of(t);
    struct dp dp = { .arena = ath_arena_of(t), .fold = cfg->fold_names };
    struct dp_item star = { .star = true };
    struct dp_fetch f = { .root = { .item = &star } };
    bool keyed = lane_shape(k->lane)->keyed;
    const ath_column *of;
    uint32_t columns = ath_host_->pg->columns(rows, &of);

    for (uint32_t i = 0; i < ath_host_->pg->count(rows); i++) {
        struct outcome *to = &k->outcome[k->now.from + i];
        const struct waiter *x = k->row[k->now.from + i].waiter;
        struct buf b = dp_buf(&dp);
        if (!x)
            continue;
        dp_rows_json(&dp, &f, &(struct dp_span){ rows, i, 1, keyed }, x->c->w.strip_nulls, &b);
        to->row = buf_view(&b);
        if (keyed)
            to->id = copied(dp.arena, ath_cell(rows, i, columns - 1));
    }
}

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    struct chunk *k = d->arg;
    uint32_t n = k->now.to - k->now.from;
    const ath_rows *rows;

    if (d->rc < 0 && !dp_is_definite(d->rc, e))
        return fail_all(t, k, e);
    k->before = undo;
    if (d->rc < 0) {
        if (n == 1)
            k->outcome[k->now.from].refusal = dp_refusal(ath_arena_of(t), e);
        else
            halve(k);
        return go_on(t, k, e);
    }
    rows = ath_host_->pg->next(ath_host_->pg->next(d->rows));
    if (ath_host_->pg->count(rows) != n && n > 1) {
        halve(k);
        return go_on(t, k, e);
    }
    k->before = done_with;
    keep_rows(t, k, rows);
    return go_on(t, k, e);
}

/* {"1","2",NULL}: a column of the piece. */
static ath_str list_of(ath_arena *a, const struct chunk *k, uint32_t column, char delimiter)
{
    struct buf b = BUF_ARENA(a);

    buf_char(&b, '{');
    for (uint32_t i = k->now.from; i < k->now.to; i++) {
        ath_str v = k->row[i].value[column];
        if (i > k->now.from)
            buf_char(&b, delimiter);
        if (v.p)
            dp_element(&b, v);
        else
            buf_lit(&b, "NULL");
    }
    buf_char(&b, '}');
    return buf_view(&b);
}

static ath_stmt statement(ath_arena *a, const struct chunk *k)
{
    const struct shape *s = lane_shape(k->lane);
    ath_str *list;

    if (k->now.to - k->now.from == 1)
        return (ath_stmt){ .sql = s->one,
                           .param = k->row[k->now.from].value,
                           .type = s->one_type,
                           .param_count = s->columns };
    list = ath_new(a, s->columns * sizeof(*list));
    for (uint32_t i = 0; i < s->columns; i++)
        list[i] = list_of(a, k, i, typed_of(s->many_type[i]).delimiter);
    return (
        ath_stmt){ .sql = s->many, .param = list, .type = s->many_type, .param_count = s->columns };
}

static int next_piece(ath_task *t, struct chunk *k, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(t);
    ath_stmt stmt[4] = { { .sql = k->before } };
    ath_query q = { .size = sizeof(q),
                    .session = k->session,
                    .stmt = stmt,
                    .stmt_size = sizeof(stmt[0]),
                    .stmt_count = 4,
                    .timeout_ms = (uint32_t)cfg->query_timeout_ms };

    if (!k->depth) {
        stmt[1] = (ath_stmt){ .sql = "COMMIT" };
        q.stmt_count = 2;
        return ath_host_->pg->query(t, &q, committed, k, e);
    }
    k->now = k->left[--k->depth];
    if (lane_shape(k->lane)->alone && k->now.to - k->now.from > 1) {
        k->left[k->depth++] = (struct range){ k->now.from + 1, k->now.to };
        k->now.to = k->now.from + 1;
    }
    stmt[1] = (ath_stmt){ .sql = "SAVEPOINT piece" };
    stmt[2] = statement(ath_arena_of(t), k);
    stmt[3] = (ath_stmt){ .sql = "SET CONSTRAINTS ALL IMMEDIATE" };
    return ath_host_->pg->query(t, &q, written, k, e);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct chunk *k = d->arg;

    if (d->rc < 0)
        return fail_all(t, k, e);
    k->session = d->session;
    k->before = "BEGIN";
    return go_on(t, k, e);
}

/* ---- the beginning ---- */

static int take(ath_task *t, struct chunk *k, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(t);
    ath_query q = { .size = sizeof(q), .timeout_ms = (uint32_t)cfg->query_timeout_ms };

    k->rows = lane_take(k->lane, t, k, k->due_ms, &k->row);
    if (!k->rows)
        return end(t, k);
    k->outcome = ath_new(ath_arena_of(t), k->rows * sizeof(*k->outcome));
    k->left[k->depth++] = (struct range){ 0, k->rows };
    return ath_host_->pg->open(t, &q, opened, k, e) < 0 ? fail_all(t, k, e) : 0;
}

static int due(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : take(t, d->arg, e);
}

struct begin { /* from the caller's turn of the loop to the chunk's */
    struct lane *lane;
    uint64_t due_ms;
};

static int run(ath_task *t, void *arg, ath_err *e)
{
    struct begin *b = arg;
    struct chunk *k = ath_new(ath_arena_of(t), sizeof(*k));
    uint64_t now = ath_host_->loop->now_ms(ath_host_->task->loop(t));

    k->lane = b->lane;
    k->due_ms = b->due_ms;
    free(b);
    ath_host_->mem->own(ath_arena_of(t), k, chunk_gone);
    if (k->due_ms > now)
        return ath_host_->task->after(t, k->due_ms - now, due, k, e);
    return take(t, k, e);
}

void chunk_begin(ath_task *beside, struct lane *l, uint64_t due_ms)
{
    struct begin *b = malloc(sizeof(*b));

    if (!b)
        abort();
    *b = (struct begin){ l, due_ms };
    ath_host_->task->begin(
        ath_self_, &(ath_fork){ .size = sizeof(ath_fork), .run = run, .arg = b, .beside = beside });
}
