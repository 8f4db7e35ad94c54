/* Counters are a table per database under its lock. What was not told is one short list: when there
 * is too much of one database, it says "anything" of that.
 */
#include "cache/database.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "lib/text.h"

enum { COUNTERS_FIRST = 256, COUNTERS_MOST = 1 << 18 };

struct counter {
    uint32_t unit; /* 0: free */
    uint32_t pad;
    uint64_t changes;
};

struct database {
    struct database *next;
    char *id;
    pthread_mutex_t lock;
    uint64_t all;
    struct counter *counter;
    uint32_t cap, n;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list and of what is untold */
static struct database *databases;
static struct untold untold[UNTOLD_MOST];
static atomic_uint untold_n;
static uint64_t untold_number;

struct database *database_of(ath_str id)
{
    struct database *d;

    pthread_mutex_lock(&lock);
    for (d = databases; d && !str_is(id, d->id); d = d->next)
        ;
    if (!d) {
        d = MEM_NEW(struct database);
        d->id = mem_dup_str(id);
        pthread_mutex_init(&d->lock, NULL);
        d->cap = COUNTERS_FIRST;
        d->counter = mem_new(d->cap * sizeof(*d->counter));
        d->next = databases;
        databases = d;
    }
    pthread_mutex_unlock(&lock);
    return d;
}

void database_stop(void)
{
    while (databases) {
        struct database *d = databases;
        databases = d->next;
        pthread_mutex_destroy(&d->lock);
        free(d->counter);
        free(d->id);
        free(d);
    }
    atomic_store(&untold_n, 0);
}

ath_str database_id(const struct database *d)
{
    return str_of(d->id);
}

/* ---- counters ---- */

static struct counter *counter_of(struct counter *in, uint32_t cap, uint32_t unit)
{
    uint32_t i = unit * 2654435761u & (cap - 1);

    while (in[i].unit && in[i].unit != unit)
        i = (i + 1) & (cap - 1);
    return &in[i];
}

void database_read(struct database *d, const uint32_t *unit, uint32_t n, uint64_t *ret)
{
    pthread_mutex_lock(&d->lock);
    ret[0] = d->all;
    for (uint32_t i = 0; i < n; i++)
        ret[i + 1] = counter_of(d->counter, d->cap, unit[i])->changes;
    pthread_mutex_unlock(&d->lock);
}

static void grow(struct database *d)
{
    uint32_t cap = d->cap * 2;
    struct counter *to = mem_new(cap * sizeof(*to));

    for (uint32_t i = 0; i < d->cap; i++)
        if (d->counter[i].unit)
            *counter_of(to, cap, d->counter[i].unit) = d->counter[i];
    free(d->counter);
    d->counter = to;
    d->cap = cap;
}

void database_change(struct database *d, const uint32_t *unit, uint32_t n)
{
    pthread_mutex_lock(&d->lock);
    if (n == 0 || d->n >= COUNTERS_MOST)
        d->all++;
    for (uint32_t i = 0; i < n && d->n < COUNTERS_MOST; i++) {
        struct counter *c = counter_of(d->counter, d->cap, unit[i]);
        c->changes++;
        if (c->unit)
            continue;
        c->unit = unit[i];
        if (++d->n * 2 > d->cap)
            grow(d);
    }
    pthread_mutex_unlock(&d->lock);
}

/* ---- what is untold ---- */

static void drop_at(uint32_t i)
{
    untold[i] = untold[atomic_load(&untold_n) - 1];
    atomic_fetch_sub(&untold_n, 1);
}

static void drop_all_of(struct database *d)
{
    for (uint32_t i = atomic_load(&untold_n); i-- > 0;)
        if (untold[i].database == d)
            drop_at(i);
}

/* The list is full: what most of it is about becomes "anything". */
static void shorten(void)
{
    struct database *most = NULL;
    uint32_t best = 0;

    for (struct database *d = databases; d; d = d->next) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < UNTOLD_MOST; i++)
            n += untold[i].database == d;
        if (n > best) {
            best = n;
            most = d;
        }
    }
    drop_all_of(most);
    untold[atomic_load(&untold_n)] = (struct untold){ most, DATABASE_ALL, ++untold_number };
    atomic_fetch_add(&untold_n, 1);
}

static void add_one(struct database *d, uint32_t unit)
{
    for (uint32_t i = 0; i < atomic_load(&untold_n); i++)
        if (untold[i].database == d && (untold[i].unit == unit || untold[i].unit == DATABASE_ALL)) {
            untold[i].number = ++untold_number;
            return;
        }
    if (atomic_load(&untold_n) == UNTOLD_MOST) {
        shorten();
        add_one(d, unit); /* which may say it already */
        return;
    }
    untold[atomic_load(&untold_n)] = (struct untold){ d, unit, ++untold_number };
    atomic_fetch_add(&untold_n, 1);
}

void untold_add(struct database *d, const uint32_t *unit, uint32_t n)
{
    pthread_mutex_lock(&lock);
    if (n == 0) {
        drop_all_of(d);
        add_one(d, DATABASE_ALL);
    }
    for (uint32_t i = 0; i < n; i++)
        add_one(d, unit[i]);
    pthread_mutex_unlock(&lock);
}

uint32_t untold_count(void)
{
    return atomic_load_explicit(&untold_n, memory_order_acquire);
}

uint32_t untold_copy(struct untold ret[UNTOLD_MOST])
{
    uint32_t n;

    pthread_mutex_lock(&lock);
    n = atomic_load(&untold_n);
    memcpy(ret, untold, n * sizeof(*ret));
    pthread_mutex_unlock(&lock);
    return n;
}

void untold_drop(const struct untold *told, uint32_t n)
{
    pthread_mutex_lock(&lock);
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = atomic_load(&untold_n); i-- > 0;)
            if (untold[i].database == told[k].database && untold[i].unit == told[k].unit &&
                untold[i].number == told[k].number)
                drop_at(i);
    pthread_mutex_unlock(&lock);
}
