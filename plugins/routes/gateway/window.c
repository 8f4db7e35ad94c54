/* Lanes and those who wait in them. */
#include "window.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { LANES = 64 }; /* buckets */

struct lane {
    struct lane *next; /* of the same bucket */
    struct window *window;
    struct shape shape;
    uint64_t due_ms; /* when its next chunk is taken; 0: none was begun */
    uint32_t bucket, refs, waiting;
    struct waiter *first, *last;
};

struct window {
    struct lane *bucket[LANES];
};

static atomic_uint queued; /* in all lanes of the process */

struct window *window_new(void)
{
    return calloc(1, sizeof(struct window));
}

/* Nobody waits any more when a loop ends: callers and chunks are tasks. */
void window_free(struct window *w)
{
    free(w);
}

/* ---- lanes ---- */

static char *copy_text(ath_str s)
{
    char *p = malloc(s.n + 1);

    if (!p)
        abort();
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

static uint32_t *copy_types(const uint32_t *from, uint32_t n)
{
    uint32_t *p = malloc((n + 1) * sizeof(*p));

    if (!p)
        abort();
    if (n)
        memcpy(p, from, n * sizeof(*p));
    return p;
}

/* The statement of several rows: made of the one row, twice. False: it has no such form. */
static bool many_of(const struct change *c, struct dp_change *ret)
{
    struct dp dp = c->dp;
    struct dp_write w = c->w;
    const struct json **cell = dp_new(&dp, 2 * w.column_count * sizeof(*cell));

    memcpy(cell, w.cell, w.column_count * sizeof(*cell));
    memcpy(cell + w.column_count, w.cell, w.column_count * sizeof(*cell));
    w.cell = cell;
    w.row_count = 2;
    return dp_write_sql(&dp, &w, ret) == 0 && ret->stmt_count == 1 &&
           ret->stmt[0].param_count == w.column_count && ret->keyed == c->sql.keyed;
}

static bool fits(const struct lane *l, const struct waiter *x, ath_str client)
{
    const ath_stmt *s = x->c->sql.stmt;

    return l->shape.alone == x->alone && l->shape.columns == s->param_count &&
           strcmp(l->shape.one, s->sql) == 0 && str_ieq(str_of(l->shape.client), client) &&
           memcmp(l->shape.one_type, s->type, s->param_count * sizeof(*s->type)) == 0;
}

static struct lane *lane_new(struct window *w, const struct waiter *x, ath_str client,
                             uint32_t bucket)
{
    const ath_stmt *s = x->c->sql.stmt;
    struct dp_change many;
    struct lane *l;

    if (!many_of(x->c, &many))
        return NULL;
    if (!(l = calloc(1, sizeof(*l))))
        abort();
    l->shape = (struct shape){ .client = copy_text(client),
                               .one = copy_text(str_of(s->sql)),
                               .many = copy_text(str_of(many.stmt[0].sql)),
                               .one_type = copy_types(s->type, s->param_count),
                               .many_type = copy_types(many.stmt[0].type, s->param_count),
                               .columns = s->param_count,
                               .keyed = x->c->sql.keyed,
                               .alone = x->alone };
    l->window = w;
    l->bucket = bucket;
    l->next = w->bucket[bucket];
    w->bucket[bucket] = l;
    return l;
}

static struct lane *lane_of(struct window *w, const struct waiter *x, ath_str client)
{
    uint32_t bucket = str_hash(str_of(x->c->sql.stmt->sql)) % LANES;

    for (struct lane *l = w->bucket[bucket]; l; l = l->next)
        if (fits(l, x, client))
            return l;
    return lane_new(w, x, client, bucket);
}

/* A lane is kept by those who wait and by the chunks that were begun for it. */
void lane_unref(struct lane *l)
{
    struct lane **at = &l->window->bucket[l->bucket];

    if (--l->refs)
        return;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    free(l->shape.client);
    free(l->shape.one);
    free(l->shape.many);
    free(l->shape.one_type);
    free(l->shape.many_type);
    free(l);
}

const struct shape *lane_shape(const struct lane *l)
{
    return &l->shape;
}

/* ---- waiting ---- */

static void unlink_waiter(struct waiter *x)
{
    struct lane *l = x->lane;

    *(x->before ? &x->before->next : &l->first) = x->next;
    *(x->next ? &x->next->before : &l->last) = x->before;
    x->lane = NULL;
    l->waiting--;
    atomic_fetch_sub_explicit(&queued, 1, memory_order_relaxed);
    lane_unref(l);
}

/* Its request is over, told or not. */
static void waiter_gone(void *arg)
{
    struct waiter *x = arg;

    if (x->lane)
        unlink_waiter(x);
    if (x->chunk)
        chunk_leave(x);
}

void waiter_tell(struct waiter *x)
{
    x->chunk = NULL;
    ath_host_->stream->end(x->bell, 0);
}

static const ath_str *copy_values(ath_arena *a, const ath_str *from, uint32_t n)
{
    ath_str *to = ath_new(a, (n + 1) * sizeof(*to));

    for (uint32_t i = 0; i < n; i++) {
        char *p = from[i].p ? ath_new(a, from[i].n + 1) : NULL;
        if (from[i].n)
            memcpy(p, from[i].p, from[i].n);
        to[i] = (ath_str){ p, from[i].n };
    }
    return to;
}

uint32_t lane_take(struct lane *l, ath_task *t, struct chunk *k, uint64_t due_ms,
                   struct chunk_row **ret)
{
    const struct gateway_config *cfg = ath_config_of(t);
    uint32_t most = (uint32_t)cfg->window_batch, n = l->waiting < most ? l->waiting : most;
    ath_arena *a = ath_arena_of(t);

    *ret = ath_new(a, (n + 1) * sizeof(**ret));
    for (uint32_t i = 0; i < n; i++) {
        struct waiter *x = l->first;
        (*ret)[i] =
            (struct chunk_row){ x, copy_values(a, x->c->sql.stmt->param, l->shape.columns) };
        unlink_waiter(x);
        x->chunk = k;
        x->place = i;
    }
    if (due_ms && due_ms == l->due_ms)
        l->due_ms = 0;
    if (l->waiting && !l->due_ms) {
        l->refs++;
        chunk_begin(t, l, 0);
    }
    return n;
}

static void push(struct lane *l, struct waiter *x)
{
    x->lane = l;
    x->next = NULL;
    x->before = l->last;
    *(l->last ? &l->last->next : &l->first) = x;
    l->last = x;
    l->waiting++;
    l->refs++;
    atomic_fetch_add_explicit(&queued, 1, memory_order_relaxed);
}

/* The place for one more batch than is written is there always. */
static bool overloaded(const struct gateway_config *cfg, struct pressure *ret)
{
    uint32_t most = (uint32_t)cfg->window_queue, least = 2 * (uint32_t)cfg->window_batch, high;

    ret->most = most > least ? most : least;
    high = (uint32_t)ceil(ret->most * cfg->window_watermark);
    ret->pending = atomic_load_explicit(&queued, memory_order_relaxed);
    return ret->pending >= (high ? high : 1);
}

/* Who fills the lane need not wait for the window's end; who would wait longer than allowed begins
 * a chunk earlier than the one before. Nobody waits so long that the insert cannot be done in the
 * time that is left. */
static void arm(ath_req *r, struct lane *l, const struct waiter *x)
{
    const struct gateway_config *cfg = ath_config_of(r);
    uint64_t left = ath_host_->task->left_ms(r) / 2;
    uint64_t now = ath_host_->loop->now_ms(ath_host_->task->loop(r));
    uint64_t due = now + (x->window_ms < left ? x->window_ms : left);

    if (l->waiting % (uint32_t)cfg->window_batch == 0) {
        l->refs++;
        chunk_begin(r, l, 0);
    } else if (!l->due_ms || due < l->due_ms) {
        l->due_ms = due;
        l->refs++;
        chunk_begin(r, l, due);
    }
}

int window_join(ath_req *r, struct waiter *x, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);
    const struct gateway_local *local = ath_local_of(r);
    struct lane *l;
    int rc;

    if (overloaded(cfg, &x->pressure))
        return WINDOW_FULL;
    if (!(l = lane_of(local->window, x, ath_host_->req->info(r, "client"))))
        return WINDOW_NO;
    x->task = r;
    x->bell = ath_host_->stream->open(r, 0);
    ath_host_->mem->own(ath_arena_of(r), x, waiter_gone);
    push(l, x);
    if ((rc = ath_host_->stream->read(r, x->bell, x->told, x->arg, e)) < 0)
        return rc; /* its request ends, and takes it out of the lane */
    arm(r, l, x);
    return 0;
}
