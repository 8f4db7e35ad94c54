/* The waiting line and who goes out of it.
 *
 * The normal path: pgpool_submit() puts a trip into a line and defers flush(); at the end of the
 * turn flush() gives waiting trips to idle connections, opens what is missing and arms the tick,
 * which only runs while there is something to watch. on_ready() and the others are the connections'
 * hooks.
 *
 * How it fails: see on_lost(). Reads are run again once, on another connection; of anything else it
 * is not known whether it happened, and its caller is told so.
 */
#include "db/pgpool.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "db/pgpool_priv.h"
#include "db/pieces.h"
#include "db/session.h"
#include "lib/text.h"
#include "log/log.h"

enum {
    WIDTH = 2, /* connections that plain reads flow over, of one loop */
    GROUP_MIN = 8,
    GROUP_MAX = 64,  /* reads in front of one Sync */
    OPENING_MAX = 4, /* connections that are being opened, of one loop */
    TICK_MS = 10,
    IDLE_TICK_MS = 1000,
    WIDEN_MS = 10,   /* waiting for so long asks for more width */
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 2000,
    ANSWER_GRACE_MS = 5000, /* beyond the server's own statement_timeout */
    GROUP_US = 10000,   /* what the reads of a group may take together, by what is known of them */
    SLOW_US = GROUP_US, /* a read that has taken so long, in the mean, goes alone */
    UNKNOWN_US = 500,
    PACE_MS = 200, /* a measure of the line takes so long at least */
};

static const struct pgconn_hooks hooks;

/* ---- counting ---- */

static void count_waiting(struct pgpool *p, int by)
{
    p->waiting += (uint32_t)by;
    atomic_fetch_add_explicit(&p->client->waiting, (unsigned)by, memory_order_relaxed);
}

static void set_idle(struct pgpool *p, struct pgconn *c, bool idle)
{
    list_unlink(&c->node);
    if (idle)
        list_push_front(&p->idle, &c->node);
    else
        list_push(&p->busy, &c->node);
    p->idle_n += idle ? 1 : (uint32_t)-1;
    atomic_fetch_add_explicit(&p->client->idle, idle ? 1u : (unsigned)-1, memory_order_relaxed);
}

/* It is held no longer. */
static void let_go(struct pgpool *p, struct pgconn *c)
{
    if (unlikely(c->holds))
        pgbudget_let_go(&p->client->held);
    c->holds = false;
}

/* Out of the lists and out of the counts; it is closed first, as another loop may open one in its place
 * at once. */
static void forget(struct pgpool *p, struct pgconn *c)
{
    if (c->state == PGCONN_IDLE)
        set_idle(p, c, false);
    if (c->counted)
        p->flowing--;
    c->counted = false;
    let_go(p, c);
    list_unlink(&c->node);
    p->size--;
    pgconn_hang_up(c);
    fair_give(p->client);
}

void pgpool_close_conn(struct pgpool *p, struct pgconn *c)
{
    if (c->session)
        session_lost(c);
    forget(p, c);
    pgconn_close(c);
}

/* ---- opening ---- */

static uint64_t backoff_ms(const struct pgpool *p)
{
    uint64_t ms = BACKOFF_MIN_MS;

    for (uint32_t i = 1; i < p->fails && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms / 2 + rand_u64() % (ms / 2 + 1);
}

struct pgconn_options pgpool_connect_options(void)
{
    const struct db_options *o = &db_process.options;

    return (struct pgconn_options){
        .connect_ms = o->connect_timeout_ms,
        .prepared_max = o->prepared_max,
        .statement_ms = o->query_timeout_ms,
        .answer_ms = o->query_timeout_ms ? o->query_timeout_ms + ANSWER_GRACE_MS : 0,
    };
}

static uint64_t pool_max(const struct pgpool *p)
{
    return p->client->pool_max;
}

void pgpool_open_taken(struct pgpool *p)
{
    struct pgconn_options how = pgpool_connect_options();
    struct pgconn *c;

    how.rotate = p->rotate;
    c = pgconn_open(p->loop, p->target, &how, &hooks, p);
    list_push(&p->opening, &c->node);
    p->opening_n++;
    p->size++;
}

bool pgpool_open_one(struct pgpool *p)
{
    if (!pgshare_take(p))
        return false;
    pgpool_open_taken(p);
    return true;
}

static bool is_down(const struct pgpool *p)
{
    return p->fails > 0 && p->size == p->opening_n;
}

/* ---- the line ---- */

static struct trip *first_of(struct list *line)
{
    struct list *node = list_first(line);

    return node ? list_entry(node, struct trip, node) : NULL;
}

static void out_of_line(struct pgpool *p, struct trip *t)
{
    list_unlink(&t->node);
    p->held_waiting -= t->holds;
    count_waiting(p, -1);
}

static void refuse_line(struct pgpool *p, struct list *line)
{
    struct trip *t;

    while ((t = first_of(line)) != NULL) {
        out_of_line(p, t);
        trip_finish(t, client_shut(p->client, trip_err(t)));
    }
}

static void refuse_lines(struct pgpool *p)
{
    refuse_line(p, &p->shared);
    refuse_line(p, &p->own);
    refuse_line(p, &p->held);
}

/* As many as those who wait can use. */
static void open_missing(struct pgpool *p)
{
    uint32_t want = 0;

    if (p->fails > 0)
        return; /* the tick tries again when the time has come */
    if (unlikely(!p->target)) {
        refuse_lines(p);
        return;
    }
    list_each (node, next, &p->own)
        if (++want == OPENING_MAX)
            break;
    if (!list_empty(&p->shared) && p->flowing < p->width)
        want++;
    if (!list_empty(&p->held) && fair_may_hold(p->client))
        want++;
    while (p->opening_n < want && p->opening_n < OPENING_MAX && pgpool_open_one(p))
        ;
}

static struct cost *cost_of(struct pgpool *p, uint64_t hash)
{
    return &p->cost[hash % PGPOOL_COSTS];
}

static uint32_t expected_us(struct pgpool *p, uint64_t hash)
{
    const struct cost *k = cost_of(p, hash);

    return k->tag == (uint32_t)(hash >> 32) ? k->us : UNKNOWN_US;
}

static struct list *line_of(struct pgpool *p, const struct trip *t)
{
    if (t->plain && !t->alone && expected_us(p, t->stmt->hash) <= SLOW_US)
        return &p->shared;
    return t->holds ? &p->held : &p->own;
}

static void send_group(struct pgpool *p, struct pgconn *c, struct list *line, uint32_t most)
{
    uint32_t us = 0;
    struct trip *t;

    set_idle(p, c, false);
    for (uint32_t i = 0; i < most && (t = first_of(line)) != NULL; i++) {
        us += expected_us(p, t->stmt->hash);
        if (i && us > GROUP_US)
            break;
        out_of_line(p, t);
        pgconn_add(c, t);
    }
    if (line == &p->shared) {
        c->counted = true;
        p->flowing++;
    }
    pgconn_sync(c);
}

/* The reads of this turn are spread evenly over the connections they may use, but not thinly. */
static uint32_t group_size(struct pgpool *p)
{
    uint32_t lanes = p->width - p->flowing, n = 0;

    if (lanes > p->idle_n)
        lanes = p->idle_n;
    list_each (node, next, &p->shared)
        if (++n == GROUP_MAX * lanes)
            break;
    n = (n + lanes - 1) / lanes;
    return n < GROUP_MIN ? GROUP_MIN : n;
}

static void send_own(struct pgpool *p, struct pgconn *c, struct trip *t)
{
    if (t->plain) {
        send_group(p, c, &p->own, 1);
        return;
    }
    set_idle(p, c, false);
    out_of_line(p, t);
    pgconn_run(c, t);
}

/* The first of those that keep their connection, when its turn has come. */
static bool send_held(struct pgpool *p, struct pgconn *c, const struct trip *own,
                      const struct trip *shared)
{
    struct trip *t = first_of(&p->held);

    if (likely(!t) || (own && own->order < t->order) || (shared && shared->order < t->order) ||
        !fair_hold(p->client))
        return false;
    set_idle(p, c, false);
    out_of_line(p, t);
    c->holds = true;
    if (t->session)
        session_given(t, c);
    else
        pgconn_run(c, t);
    return true;
}

struct ending {
    struct db_client *client;
    ath_loop *loop;
};

static void end_here(void *arg)
{
    struct ending *end = arg;
    struct pgpool *p = db_loop_of(end->loop) ? end->client->pool[end->loop->index] : NULL;

    if (p && !p->target && !p->size && !p->waiting)
        pgpool_close_of(end->client, end->loop);
    free(end);
}

/* Not from inside its own code. */
static void end_later(struct pgpool *p)
{
    struct ending *end = MEM_NEW(struct ending);

    *end = (struct ending){ p->client, p->loop };
    loop_post(p->loop, end_here, end);
}

static void arm(struct pgpool *p)
{
    uint64_t now = loop_now_ms(p->loop), at = 0;

    if (p->waiting)
        at = now + TICK_MS;
    else if (p->fails)
        at = p->retry_ms > now ? p->retry_ms : now + TICK_MS;
    else if (p->size)
        at = now + IDLE_TICK_MS;
    else if (!p->target)
        end_later(p);
    if (at && (!p->tick.at_ms || p->tick.at_ms > at))
        deadline_set(p->loop, &p->tick, at);
}

/* Nobody waits any more. */
static void line_over(struct pgpool *p)
{
    p->pace_us = p->paced_ms = 0;
    p->line_most = fair_line(p->client, &p->line_told, 0);
    fair_leave(&p->seat);
}

static void flush(void *arg)
{
    struct pgpool *p = arg;

    for (;;) {
        struct trip *own = first_of(&p->own);
        struct trip *shared = p->flowing < p->width ? first_of(&p->shared) : NULL;
        struct list *node = list_first(&p->idle);
        struct pgconn *c = node ? list_entry(node, struct pgconn, node) : NULL;
        if (!c)
            break;
        if (send_held(p, c, own, shared))
            continue;
        if (!own && !shared)
            break;
        if (own && (!shared || own->order < shared->order))
            send_own(p, c, own);
        else
            send_group(p, c, &p->shared, group_size(p));
    }
    if (p->waiting)
        open_missing(p);
    else if (unlikely(p->paced_ms))
        line_over(p);
    arm(p);
}

static void flush_later(struct pgpool *p)
{
    loop_defer(p->loop, &p->flush);
}

static int timed_out(const struct pgpool *p, ath_err *e, const char *what, uint64_t retry_ms)
{
    int rc = err_raise(e, "pool_timeout", "%s of client \"%s\"", what, p->client->shown);
    char text[STR_U64_ROOM];

    err_detail(e, "retry_after", str_from_u64(retry_ms / 1000 + 1, text));
    return rc;
}

/* How long a newcomer will wait, as the line has moved lately. */
static uint64_t line_ms(const struct pgpool *p)
{
    return (uint64_t)(p->waiting - p->held_waiting) * p->pace_us / 1000;
}

static int admit_slow(const struct pgpool *p, ath_task *t, uint32_t timeout_ms, ath_err *e)
{
    uint64_t left = task_left_ms(t), most = db_process.options.acquire_timeout_ms;

    if (timeout_ms && timeout_ms < left)
        left = timeout_ms;
    if (most < left)
        left = most;
    if (line_ms(p) / 2 <= left)
        return 0;
    return timed_out(p, e, "the line for a connection is too long for the time that is left",
                     line_ms(p));
}

int pgpool_admit(const struct pgpool *p, ath_task *t, uint32_t timeout_ms, ath_err *e)
{
    uint64_t now = loop_now_ms(p->loop);

    if (unlikely(is_down(p)))
        return client_unavailable(p->client, p->retry_ms > now ? p->retry_ms - now : 0, e);
    if (unlikely(p->waiting >= p->line_most))
        return timed_out(p, e, "too many requests wait for a connection", line_ms(p));
    if (unlikely(p->pace_us))
        return admit_slow(p, t, timeout_ms, e);
    return 0;
}

void pgpool_submit(struct pgpool *p, struct trip *t)
{
    t->pool = p;
    t->arrived_ms = loop_now_ms(p->loop);
    t->order = p->order++;
    list_push(line_of(p, t), &t->node);
    p->held_waiting += t->holds;
    count_waiting(p, 1);
    flush_later(p);
}

void pgpool_leave(struct trip *t)
{
    if (t->conn)
        pgconn_drop(t);
    else
        out_of_line(t->pool, t);
}

/* To the front: it has waited before. */
static void requeue(struct pgpool *p, struct trip *t)
{
    trip_restart(t);
    list_push_front(line_of(p, t), &t->node);
    p->held_waiting += t->holds;
    count_waiting(p, 1);
    flush_later(p);
}

static void fail_line(struct pgpool *p, struct list *line)
{
    struct trip *t;

    while ((t = first_of(line)) != NULL) {
        out_of_line(p, t);
        trip_finish(t,
                    client_unavailable(p->client, p->retry_ms - loop_now_ms(p->loop), trip_err(t)));
    }
}

/* ---- what connections report ---- */

/* The remainder goes to the first loops. */
static uint32_t min_share(const struct pgpool *p)
{
    uint64_t n = db_process.loop_count;

    if (p->client->direct)
        return 0;
    return (uint32_t)((db_process.options.pool_min + n - 1 - p->loop->index) / n);
}

static bool is_old(const struct pgconn *c)
{
    uint64_t most = db_process.options.max_lifetime_ms;

    /* A tenth apart, by address, so that those opened together do not close together. */
    return most && loop_now_ms(c->loop) - c->opened_ms > most - (uintptr_t)c / 64 % 16 * most / 160;
}

static void on_ready(struct pgconn *c)
{
    struct pgpool *p = c->owner;

    if (!c->served) {
        c->served = true;
        p->opening_n--;
        if (c->target == p->target)
            p->fails = 0;
        client_is_up(p->client, c->target, NULL);
    }
    if (c->session) {
        session_ready(c);
        return;
    }
    if (c->counted)
        p->flowing--;
    c->counted = false;
    let_go(p, c);
    set_idle(p, c, true);
    if (c->retire || c->target != p->target || is_old(c)) {
        pgpool_close_conn(p, c);
    } else if (unlikely(p->give > 0) && pgshare_gives(p)) {
        pgpool_close_conn(p, c);
    }
    flush_later(p);
}

static void on_again(struct pgconn *c, struct trip *t)
{
    if (t->session)
        session_again(t);
    else
        requeue(c->owner, t);
}

static void on_stuck(struct pgconn *c)
{
    struct pgpool *p = c->owner;

    if (c->counted)
        p->flowing--;
    c->counted = false;
    flush_later(p);
}

/* Its mean moves by an eighth with each. In a group the first answer that is seen counts for all
 * the time that passed, those read together with it for none: only their mean says something. */
static void on_answered(struct pgconn *c, const struct trip *t, uint64_t us)
{
    struct cost *k = cost_of(c->owner, t->stmt->hash);
    uint32_t tag = (uint32_t)(t->stmt->hash >> 32), now = us > 10000000 ? 10000000 : (uint32_t)us;

    if (k->tag != tag)
        *k = (struct cost){ tag, c->shared ? now / 8 : now };
    else
        k->us += ((int32_t)now - (int32_t)k->us) / 8;
}

void pgpool_trip_lost(struct trip *t, const ath_err *why)
{
    ath_err *e = trip_err(t);
    bool sure = t->undone || (t->flags & ATH_PG_READ);

    t->unsure = !t->undone;
    err_raise(e, "connection_error", "the connection was lost%s: %.*s",
              sure ? "" : "; whether the statement took effect is not known",
              why ? why->message_n : 6, why ? why->message : "closed");
    err_detail(e, "retry_after", str_of("1"));
    trip_outcome(t, e);
    trip_finish(t, e->rc);
}

static void trip_lost(struct pgpool *p, struct trip *t, const ath_err *why)
{
    bool again = (t->flags & ATH_PG_READ) && !(t->flags & ATH_PG_RAW) && t->tries == 0;

    pgconn_detach(t);
    if (again && !t->session && !(t->pieces && t->pieces->begun)) {
        t->tries++;
        requeue(p, t);
    } else {
        pgpool_trip_lost(t, why);
    }
}

static void on_connect_failed(struct pgpool *p, const struct db_target *through, const ath_err *why)
{
    p->opening_n--;
    if (through != p->target)
        return; /* it leads elsewhere now */
    p->fails++;
    p->rotate++;
    p->retry_ms = loop_now_ms(p->loop) + backoff_ms(p);
    client_is_up(p->client, through, why);
    if (!is_down(p))
        return;
    fail_line(p, &p->shared);
    fail_line(p, &p->own);
    fail_line(p, &p->held);
}

static void on_lost(struct pgconn *c, const ath_err *why)
{
    struct pgpool *p = c->owner;
    bool opening = c->state == PGCONN_RESOLVING || c->state == PGCONN_CONNECTING;

    /* From the last to the first: each goes to the front of its line. */
    while (!list_empty(&c->trips))
        trip_lost(p, list_entry(c->trips.prev, struct trip, node), p->client->direct ? NULL : why);
    if (c->session)
        session_lost(c);
    forget(p, c);
    if (opening)
        on_connect_failed(p, c->target, why);
    flush_later(p);
}

static const struct pgconn_hooks hooks = {
    .ready = on_ready,
    .again = on_again,
    .stuck = on_stuck,
    .answered = on_answered,
    .lost = on_lost,
};

/* ---- time ---- */

static bool expire(struct pgpool *p, struct list *line, uint64_t now)
{
    struct trip *t;
    bool long_wait = false;

    while ((t = first_of(line)) != NULL) {
        uint64_t waited = now - t->arrived_ms;
        long_wait = waited >= WIDEN_MS;
        if (waited < db_process.options.acquire_timeout_ms)
            break;
        out_of_line(p, t);
        trip_finish(t, timed_out(p, trip_err(t), "no connection became free in time", line_ms(p)));
    }
    return long_wait;
}

/* Those that were not needed for long, the least recently used first, down to this loop's share of
 * the minimum. */
static void close_unused(struct pgpool *p, uint64_t now)
{
    uint64_t most = p->client->idle_ms;

    for (struct list *node = p->idle.prev, *before; node != &p->idle; node = before) {
        struct pgconn *c = list_entry(node, struct pgconn, node);
        before = node->prev;
        if (is_old(c) || (most && now - c->idle_since_ms > most && p->size > min_share(p)))
            pgpool_close_conn(p, c);
    }
}

/* Those who came and do not wait have left. As long as nobody leaves, the pace slows down. */
static void measure_pace(struct pgpool *p, uint64_t now)
{
    uint64_t left = p->order - p->waiting, ms = now - p->paced_ms, us;

    if (!p->waiting)
        return;
    if (!p->paced_ms) {
        p->paced_ms = now;
        p->paced_n = left;
        return;
    }
    if (ms < PACE_MS)
        return;
    if (left <= p->paced_n) {
        p->pace_us = p->pace_us < ms * 1000 ? ms * 1000 : p->pace_us;
        return;
    }
    us = ms * 1000 / (left - p->paced_n);
    p->pace_us = p->pace_us ? (3 * p->pace_us + us) / 4 : us;
    p->paced_ms = now;
    p->paced_n = left;
}

/* Counted here and not where trips leave: that way is walked for each of them. */
static void tell_served(struct pgpool *p)
{
    uint64_t left = p->order - p->waiting;

    if (left == p->told)
        return;
    atomic_fetch_add(&p->client->served, left - p->told);
    atomic_store(&p->client->used_ns, clock_wall_ns());
    p->told = left;
}

/* Mostly before it was told; a trip between two ticks was told already. */
void pgpool_uncount(struct db_client *c, ath_loop *l)
{
    struct pgpool *p = c->pool ? c->pool[l->index] : NULL;

    if (!p)
        return;
    if (p->order - p->waiting > p->told)
        p->told++;
    else
        atomic_fetch_sub(&c->served, 1);
}

/* Nobody's own URI is knocked at without a request. */
static void try_again(struct pgpool *p)
{
    if (!p->target || (p->client->direct && !p->waiting))
        p->fails = 0;
    else
        pgpool_open_one(p);
}

static void on_tick(struct deadline *d)
{
    struct pgpool *p = container_of(d, struct pgpool, tick);
    uint64_t now = loop_now_ms(p->loop);
    bool waits;

    measure_pace(p, now);
    p->line_most = fair_line(p->client, &p->line_told, p->waiting);
    tell_served(p);
    waits = expire(p, &p->shared, now);
    expire(p, &p->own, now);
    expire(p, &p->held, now);
    if (waits && p->width < pool_max(p))
        p->width++;
    else if (!p->waiting && p->width > WIDTH)
        p->width--;
    if (!p->waiting)
        fair_leave(&p->seat);
    if (p->fails && now >= p->retry_ms && p->opening_n == 0)
        try_again(p);
    close_unused(p, now);
    flush(p);
}

/* ---- life ---- */

struct pgpool *pgpool_of(struct db_client *c, ath_loop *l)
{
    struct pgpool *p = c->pool[l->index];
    uint64_t base = c->pool_max / db_process.loop_count;

    if (likely(p != NULL))
        return p;
    p = MEM_NEW(struct pgpool);
    p->client = c;
    p->loop = l;
    p->target = client_target(c);
    p->base = base ? (uint32_t)base : 1;
    p->width = WIDTH;
    p->line_most = fair_line(c, &p->line_told, 0);
    fair_seat_init(&p->seat, c, l);
    list_init(&p->shared);
    list_init(&p->own);
    list_init(&p->held);
    list_init(&p->idle);
    list_init(&p->busy);
    list_init(&p->opening);
    deferred_init(&p->flush, flush, p);
    deadline_init(&p->tick, on_tick);
    list_push(&db_loop_of(l)->pools, &p->node);
    c->pool[l->index] = p;
    return p;
}

struct db_client *pgpool_client(const struct pgpool *p)
{
    return p->client;
}

void pgpool_warm(struct pgpool *p)
{
    while (p->target && p->fails == 0 && p->size < min_share(p) && pgpool_open_one(p))
        ;
    arm(p);
}

/* Nobody waits until one at a silent host is given up. */
static void close_attempts(struct pgpool *p)
{
    list_each (node, next, &p->opening) {
        struct pgconn *c = list_entry(node, struct pgconn, node);
        if (c->served || c->session || !list_empty(&c->trips))
            continue;
        p->opening_n--;
        pgpool_close_conn(p, c);
    }
}

static void take_target(struct pgpool *p, struct db_target *target)
{
    target_unref(p->target);
    p->target = target;
    p->fails = p->rotate = 0;
    list_each (node, next, &p->idle)
        pgpool_close_conn(p, list_entry(node, struct pgconn, node));
    close_attempts(p);
    flush_later(p);
}

void pgpool_retarget(struct pgpool *p)
{
    take_target(p, client_target(p->client));
}

void pgpool_shut(struct pgpool *p)
{
    take_target(p, NULL);
}

static void end_line(struct pgpool *p, struct list *line)
{
    struct trip *t;

    while ((t = first_of(line)) != NULL) {
        out_of_line(p, t);
        trip_finish(t, err_raise(trip_err(t), "server_draining", "the server stops"));
    }
}

static void close_list(struct pgpool *p, struct list *conns)
{
    while (!list_empty(conns)) {
        struct pgconn *c = list_entry(conns->next, struct pgconn, node);
        while (!list_empty(&c->trips)) {
            struct trip *t = list_entry(c->trips.next, struct trip, node);
            pgconn_detach(t);
            trip_finish(t, err_raise(trip_err(t), "server_draining", "the server stops"));
        }
        pgpool_close_conn(p, c);
    }
}

static void pool_close(struct pgpool *p)
{
    end_line(p, &p->shared);
    end_line(p, &p->own);
    end_line(p, &p->held);
    close_list(p, &p->opening);
    close_list(p, &p->busy);
    close_list(p, &p->idle);
    tell_served(p);
    line_over(p);
    deadline_clear(&p->tick);
    deferred_cancel(&p->flush);
    list_unlink(&p->node);
    p->client->pool[p->loop->index] = NULL;
    target_unref(p->target);
    free(p);
}

void pgpool_close_of(struct db_client *c, ath_loop *l)
{
    if (c->pool[l->index])
        pool_close(c->pool[l->index]);
}

void pgpool_close_all(struct db_loop *on)
{
    while (!list_empty(&on->pools))
        pool_close(list_entry(on->pools.next, struct pgpool, node));
}
