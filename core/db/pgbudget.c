/* Two counters that never pass their bounds. */
#include "db/pgbudget.h"

static atomic_uint used;
static uint64_t most;

void pgbudget_init(uint64_t process_max)
{
    atomic_store(&used, 0);
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
