/* Counters that never pass their bounds. */
#include "db/pgbudget.h"

static atomic_uint used, held_all;
static uint64_t most;

void pgbudget_init(uint64_t process_max)
{
    atomic_store(&used, 0);
    atomic_store(&held_all, 0);
    most = process_max;
}

static bool step_up(atomic_uint *n, uint64_t max)
{
    unsigned now = atomic_load_explicit(n, memory_order_relaxed);

    do {
        if (now >= max)
            return false;
    } while (!atomic_compare_exchange_weak(n, &now, now + 1));
    return true;
}

/* The process's share first, and given back last: so whoever looks never sees clients with more
 * connections than the process may have. A client that is full does not touch it. */
enum pgbudget_room pgbudget_take(atomic_uint *client, uint64_t client_max)
{
    if (atomic_load_explicit(client, memory_order_relaxed) >= client_max)
        return PGBUDGET_CLIENT_FULL;
    if (!step_up(&used, most))
        return PGBUDGET_PROCESS_FULL;
    if (step_up(client, client_max))
        return PGBUDGET_TAKEN;
    atomic_fetch_sub(&used, 1);
    return PGBUDGET_CLIENT_FULL;
}

void pgbudget_give(atomic_uint *client)
{
    atomic_fetch_sub(client, 1);
    atomic_fetch_sub(&used, 1);
}

unsigned pgbudget_used(void)
{
    return atomic_load(&used);
}

/* ---- those that are held ---- */

static uint64_t share_of(uint64_t max)
{
    uint64_t share = max - (max + 3) / 4;

    if (share + 2 > max)
        share = max > 2 ? max - 2 : 1;
    return share ? share : 1;
}

bool pgbudget_may_hold(const atomic_uint *held, uint64_t client_max)
{
    return atomic_load_explicit(held, memory_order_relaxed) < share_of(client_max) &&
           atomic_load_explicit(&held_all, memory_order_relaxed) < share_of(most);
}

bool pgbudget_held_most(void)
{
    return 4 * (uint64_t)atomic_load(&held_all) >= 3 * share_of(most);
}

bool pgbudget_hold(atomic_uint *held, uint64_t client_max)
{
    if (!step_up(&held_all, share_of(most)))
        return false;
    if (step_up(held, share_of(client_max)))
        return true;
    atomic_fetch_sub(&held_all, 1);
    return false;
}

void pgbudget_let_go(atomic_uint *held)
{
    atomic_fetch_sub(held, 1);
    atomic_fetch_sub(&held_all, 1);
}

bool pgbudget_take_own(void)
{
    if (!step_up(&held_all, share_of(most)))
        return false;
    if (step_up(&used, most))
        return true;
    atomic_fetch_sub(&held_all, 1);
    return false;
}

void pgbudget_give_own(void)
{
    atomic_fetch_sub(&used, 1);
    atomic_fetch_sub(&held_all, 1);
}
