/* What a pool takes of what all have together, and gives back.
 *
 * The normal path: pgshare_take() counts one more connection. When there is no room the pools of
 * all loops are asked, by posting (answer()): an idle connection closes at once, else the next that
 * becomes idle in the pool that has most (pgshare_gives()). What became free thereby is handed to
 * whose turn it is (fair.h), here by pgshare_granted().
 */
#include <stdlib.h>

#include "base/mem.h"
#include "db/pgpool_priv.h"

enum { ASK_EVERY_MS = 50 };

/* Somebody needs a connection: a client that holds `holds` of them, or, when only another loop of
 * the same client can give it, that client. */
struct call_for {
    struct db_client *client; /* NULL: any */
    ath_loop *loop;
    const struct db_client *who; /* only to be compared */
    uint32_t holds, size;        /* its client; its pool on the loop that asks */
};

static uint32_t holds(const struct pgpool *p)
{
    return atomic_load_explicit(&p->client->connections, memory_order_relaxed);
}

static struct pgconn *oldest_idle(const struct pgpool *p)
{
    return list_empty(&p->idle) ? NULL : list_entry(p->idle.prev, struct pgconn, node);
}

/* ---- first come, first served ---- */

static void give_any(struct db_loop *on, const struct db_client *c)
{
    list_each (node, next, &on->pools) {
        struct pgpool *p = list_entry(node, struct pgpool, node);
        if ((c && p->client != c) || p->size == 0 || (c && p->size <= p->base))
            continue;
        if (oldest_idle(p)) {
            pgpool_close_conn(p, oldest_idle(p));
            return;
        }
        if (p->size > p->base)
            p->give = p->give_fair + 1;
    }
}

/* ---- by turns ---- */

static bool spares(const struct pgpool *p, const struct pgconn *c, const struct call_for *call)
{
    return holds(p) > call->holds || p->client == call->who ||
           loop_now_ms(p->loop) - c->idle_since_ms >= FAIR_IDLE_MS;
}

/* Of those that hold most the one that was not used for longest. */
static struct pgpool *idle_one(struct db_loop *on, const struct call_for *call)
{
    struct pgpool *best = NULL;

    list_each (node, next, &on->pools) {
        struct pgpool *p = list_entry(node, struct pgpool, node);
        const struct pgconn *c = oldest_idle(p);
        if (!c || !spares(p, c, call))
            continue;
        if (!best || holds(p) > holds(best) ||
            (holds(p) == holds(best) && c->idle_since_ms < oldest_idle(best)->idle_since_ms))
            best = p;
    }
    return best;
}

static bool may_spare(const struct pgpool *p, const struct call_for *call)
{
    if (p->give >= p->size)
        return false;
    return holds(p) > call->holds + 1 || (p->client == call->who && p->size > call->size + 1);
}

static struct pgpool *busy_one(struct db_loop *on, const struct call_for *call)
{
    struct pgpool *best = NULL;

    list_each (node, next, &on->pools) {
        struct pgpool *p = list_entry(node, struct pgpool, node);
        if (may_spare(p, call) && (!best || holds(p) > holds(best)))
            best = p;
    }
    return best;
}

static void give_fair(struct db_loop *on, const struct call_for *call)
{
    struct pgpool *p = idle_one(on, call);

    if (p) {
        pgpool_close_conn(p, oldest_idle(p));
        fair_count_reclaimed();
    } else if ((p = busy_one(on, call))) {
        p->give++;
        p->give_fair++;
    }
}

bool pgshare_gives(struct pgpool *p)
{
    if (p->give_fair) {
        p->give--;
        p->give_fair--;
        if (!fair_is_wanted(&p->seat, p->size))
            return false;
        fair_count_given();
        return true;
    }
    if (p->size <= p->base)
        return false;
    p->give--;
    return true;
}

/* ---- asking ---- */

static void answer(void *arg)
{
    struct call_for *call = arg;
    struct db_loop *on = db_loop_of(call->loop);

    if (on && fair_on() && !call->client)
        give_fair(on, call);
    else if (on)
        give_any(on, call->client);
    free(call);
}

static void ask(struct pgpool *p, struct db_client *only, uint32_t for_one_with)
{
    uint64_t now = loop_now_ms(p->loop);

    if (now - p->asked_ms < ASK_EVERY_MS)
        return;
    p->asked_ms = now;
    for (uint32_t i = 0; i < db_process.loop_count; i++) {
        ath_loop *l = db_process.loops[i];
        struct call_for *call;
        if (only && l == p->loop)
            continue;
        call = MEM_NEW(struct call_for);
        *call = (struct call_for){ only, l, p->client, for_one_with, p->size };
        loop_post(l, answer, call);
    }
}

/* The reserve is to be filled again by those with more than few. */
bool pgshare_take(struct pgpool *p)
{
    enum pgbudget_room room = PGBUDGET_PROCESS_FULL;
    bool reserve = false;

    if (!fair_waits(&p->seat))
        room = fair_take(&p->seat, p->size, &reserve);
    if (reserve)
        ask(p, NULL, db_process.loop_count);
    if (room == PGBUDGET_CLIENT_FULL && p->size < p->base)
        ask(p, p->client, 0);
    else if (room == PGBUDGET_PROCESS_FULL && (p->size < p->base || fair_on()))
        ask(p, NULL, holds(p));
    return room == PGBUDGET_TAKEN;
}

/* ---- turns ---- */

static void open_granted(void *arg)
{
    ath_loop *l = arg;
    struct fair_seat *s;

    while (db_loop_of(l) && (s = fair_next(l)) != NULL) {
        struct pgpool *p = container_of(s, struct pgpool, seat);
        if (p->waiting && p->target && p->fails == 0)
            pgpool_open_taken(p);
        else
            fair_give(p->client);
    }
}

void pgshare_granted(ath_loop *l)
{
    loop_post(l, open_granted, l);
}
