/* Flights hang in chains by key; the lock of a chain guards its flights and their waiters. */
#include "cache/flight.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

enum { CHAINS = 64 };

struct flight {
    struct list node;
    struct cache_key key;
    struct list waiting;
};

static struct chain {
    pthread_mutex_t lock;
    struct list flights;
} chains[CHAINS];

void flight_start(void)
{
    for (size_t i = 0; i < CHAINS; i++) {
        pthread_mutex_init(&chains[i].lock, NULL);
        list_init(&chains[i].flights);
    }
}

void flight_stop(void)
{
    for (size_t i = 0; i < CHAINS; i++)
        pthread_mutex_destroy(&chains[i].lock);
}

static struct chain *chain_of(const struct cache_key *k)
{
    return &chains[k->w[1] % CHAINS];
}

struct flight *flight_join(const struct cache_key *key, struct flight_wait *w)
{
    struct chain *c = chain_of(key);
    struct flight *f = NULL;

    list_init(&w->node);
    w->key = *key;
    w->entry = NULL;
    pthread_mutex_lock(&c->lock);
    list_each (node, next, &c->flights) {
        f = list_entry(node, struct flight, node);
        if (cache_key_same(&f->key, key))
            break;
        f = NULL;
    }
    if (f) {
        list_push(&f->waiting, &w->node);
        f = NULL;
    } else {
        f = MEM_NEW(struct flight);
        f->key = *key;
        list_init(&f->waiting);
        list_push(&c->flights, &f->node);
    }
    pthread_mutex_unlock(&c->lock);
    return f;
}

/* False: nobody waits. Under the chain's lock. */
static bool wake_next(struct flight *f, struct entry *entry, struct flight *leads)
{
    struct list *node = list_pop(&f->waiting);
    struct flight_wait *w;

    if (!node)
        return false;
    w = list_entry(node, struct flight_wait, node);
    w->entry = entry ? entry_ref(entry) : NULL;
    w->flight = leads;
    loop_post(w->loop, w->woken, w->arg);
    return true;
}

static void end(struct flight *f, struct entry *entry, bool leads)
{
    struct chain *c = chain_of(&f->key);
    bool led = false;

    pthread_mutex_lock(&c->lock);
    while (!led && wake_next(f, entry, leads ? f : NULL))
        led = leads;
    if (!led)
        list_unlink(&f->node);
    pthread_mutex_unlock(&c->lock);
    if (!led)
        free(f);
}

void flight_end(struct flight *f, struct entry *entry)
{
    end(f, entry, !entry);
}

void flight_dissolve(struct flight *f)
{
    end(f, NULL, false);
}

bool flight_leave(struct flight_wait *w)
{
    struct chain *c = chain_of(&w->key);
    bool waits;

    pthread_mutex_lock(&c->lock);
    waits = !list_empty(&w->node);
    list_unlink(&w->node);
    pthread_mutex_unlock(&c->lock);
    return waits;
}
