/* Turns.
 *
 * All decisions are made under one lock, which is touched when connections are opened and closed,
 * never by a query. The lists are short: pools that want a connection and have none.
 */
#include "db/fair.h"

#include <pthread.h>

#include "base/clock.h"

enum { NONE, WAITS, GRANTED };
enum { LINE_LEAST = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list waiting = { &waiting, &waiting }, granted = { &granted, &granted };
static bool on;
static uint64_t budget, reserve, few, line_most, line_budget;
static void (*tell)(ath_loop *l);
static atomic_uint_fast64_t seats, turns, reserved, given, reclaimed, waited_ns;
static atomic_uint_fast64_t line_total, line_count;

void fair_start(const struct db_options *o, uint32_t loops, void (*to)(ath_loop *l))
{
    pgbudget_init(o->budget);
    on = o->fair;
    budget = o->budget;
    reserve = on ? (o->budget + 2) / 4 : 0;
    few = loops;
    line_most = o->waiting_max;
    line_budget = o->waiting_budget;
    tell = to;
    list_init(&waiting);
    list_init(&granted);
    atomic_store(&line_total, 0);
    atomic_store(&line_count, 0);
    atomic_store(&seats, 0);
}

bool fair_on(void)
{
    return on;
}

void fair_seat_init(struct fair_seat *s, struct db_client *c, ath_loop *l)
{
    s->client = c;
    s->loop = l;
    list_init(&s->node);
}

bool fair_waits(const struct fair_seat *s)
{
    return atomic_load_explicit(&s->state, memory_order_relaxed) != NONE;
}

static unsigned held_by(const struct db_client *c)
{
    return atomic_load_explicit(&c->connections, memory_order_relaxed);
}

/* `more`: with so many on top of those that there are. */
static bool in_reserve(unsigned more)
{
    return pgbudget_used() + more + reserve > budget;
}

static bool may_take(const struct db_client *c)
{
    return held_by(c) < few || !in_reserve(1);
}

/* ---- turns ---- */

static void seat_down(struct fair_seat *s, uint32_t size)
{
    s->size = size;
    s->since_ns = clock_ns();
    atomic_store(&s->state, WAITS);
    atomic_fetch_add(&seats, 1);
    list_push(&waiting, &s->node);
}

static void seat_up(struct fair_seat *s, int state)
{
    list_unlink(&s->node);
    if (atomic_exchange(&s->state, (unsigned char)state) == WAITS)
        atomic_fetch_sub(&seats, 1);
}

static bool before(const struct fair_seat *a, const struct fair_seat *b)
{
    unsigned of_a = held_by(a->client), of_b = held_by(b->client);

    return of_a < of_b || (of_a == of_b && a->size < b->size);
}

/* Of those that hold fewest the one that waits longest. */
static struct fair_seat *first_seat(void)
{
    struct fair_seat *best = NULL;

    list_each (node, next, &waiting) {
        struct fair_seat *s = list_entry(node, struct fair_seat, node);
        if (held_by(s->client) < s->client->pool_max && (!best || before(s, best)))
            best = s;
    }
    return best;
}

/* Who may not have it now will not be passed by somebody who holds more. */
static void give_turn(void)
{
    struct fair_seat *s = on ? first_seat() : NULL;

    if (!s || !may_take(s->client) ||
        pgbudget_take(&s->client->connections, s->client->pool_max) != PGBUDGET_TAKEN)
        return;
    seat_up(s, GRANTED);
    list_push(&granted, &s->node);
    atomic_fetch_add(&turns, 1);
    atomic_fetch_add(&waited_ns, clock_ns() - s->since_ns);
    tell(s->loop);
}

enum pgbudget_room fair_take(struct fair_seat *s, uint32_t size, bool *ret_reserve)
{
    struct db_client *c = s->client;
    enum pgbudget_room room = PGBUDGET_PROCESS_FULL;

    *ret_reserve = false;
    if (!on)
        return pgbudget_take(&c->connections, c->pool_max);
    pthread_mutex_lock(&lock);
    if (held_by(c) >= c->pool_max)
        room = PGBUDGET_CLIENT_FULL;
    else if (may_take(c))
        room = pgbudget_take(&c->connections, c->pool_max);
    if (room == PGBUDGET_PROCESS_FULL && atomic_load(&s->state) == NONE)
        seat_down(s, size);
    if (room == PGBUDGET_TAKEN && in_reserve(0)) {
        *ret_reserve = true;
        atomic_fetch_add(&reserved, 1);
    }
    pthread_mutex_unlock(&lock);
    return room;
}

void fair_give(struct db_client *c)
{
    pthread_mutex_lock(&lock);
    pgbudget_give(&c->connections);
    give_turn();
    pthread_mutex_unlock(&lock);
}

void fair_freed(void)
{
    pthread_mutex_lock(&lock);
    give_turn();
    pthread_mutex_unlock(&lock);
}

void fair_leave(struct fair_seat *s)
{
    if (!fair_waits(s))
        return;
    pthread_mutex_lock(&lock);
    if (atomic_load(&s->state) == GRANTED) {
        pgbudget_give(&s->client->connections);
        seat_up(s, NONE);
        give_turn();
    } else {
        seat_up(s, NONE);
    }
    pthread_mutex_unlock(&lock);
}

struct fair_seat *fair_next(const ath_loop *l)
{
    struct fair_seat *found = NULL;

    pthread_mutex_lock(&lock);
    list_each (node, next, &granted) {
        struct fair_seat *s = list_entry(node, struct fair_seat, node);
        if (s->loop == l && !found)
            found = s;
    }
    if (found)
        seat_up(found, NONE);
    pthread_mutex_unlock(&lock);
    return found;
}

/* Equal shares differ by one at least when they do not divide: nothing moves for that. */
bool fair_is_wanted(const struct fair_seat *of, uint32_t size)
{
    unsigned holds = held_by(of->client);
    bool yes = false;

    pthread_mutex_lock(&lock);
    list_each (node, next, &waiting) {
        const struct fair_seat *s = list_entry(node, struct fair_seat, node);
        if (held_by(s->client) + 1 < holds ||
            (s != of && s->client == of->client && s->size + 1 < size))
            yes = true;
    }
    yes = yes || (in_reserve(0) && holds > few);
    pthread_mutex_unlock(&lock);
    return yes;
}

/* ---- what is held for long, and lines ---- */

bool fair_may_hold(const struct db_client *c)
{
    if (!pgbudget_may_hold(&c->held, c->pool_max))
        return false;
    return !on || atomic_load_explicit(&c->held, memory_order_relaxed) < few ||
           !pgbudget_held_most();
}

bool fair_hold(struct db_client *c)
{
    return fair_may_hold(c) && pgbudget_hold(&c->held, c->pool_max);
}

static uint64_t line_share(void)
{
    uint64_t lines = atomic_load(&line_count), share = lines ? line_budget / lines : line_budget;

    return share > LINE_LEAST ? share : LINE_LEAST;
}

uint64_t fair_line(const struct db_client *c, uint64_t *told, uint64_t now)
{
    uint64_t elsewhere = atomic_load_explicit(&c->waiting, memory_order_relaxed);
    uint64_t most, share;

    if (!on)
        return line_most;
    atomic_fetch_add(&line_total, now - *told);
    atomic_fetch_add(&line_count, (uint64_t)(now > 0) - (uint64_t)(*told > 0));
    *told = now;
    elsewhere = elsewhere > now ? elsewhere - now : 0;
    most = line_most > elsewhere ? line_most - elsewhere : 1;
    share = atomic_load(&line_total) > line_budget / 2 ? line_share() : line_budget;
    return share < most ? share : most;
}

/* ---- figures ---- */

void fair_count_given(void)
{
    atomic_fetch_add(&given, 1);
}

void fair_count_reclaimed(void)
{
    atomic_fetch_add(&reclaimed, 1);
}

void fair_stats(struct fair_stats *ret)
{
    *ret = (struct fair_stats){
        .budget = budget,
        .used = pgbudget_used(),
        .reserve = reserve,
        .waiting = atomic_load(&seats),
        .turns = atomic_load(&turns),
        .reserved = atomic_load(&reserved),
        .given = atomic_load(&given),
        .reclaimed = atomic_load(&reclaimed),
        .waited_ns = atomic_load(&waited_ns),
    };
}
