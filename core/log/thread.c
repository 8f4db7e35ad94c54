/* The threads that log. */
#include "log/thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"

enum { KEPT_MOST = 1024 }; /* blocks per thread: 4 MiB */

struct log_thread {
    struct log_thread *next;
    bool taken; /* by a living thread; under the lock */
    atomic_uint inside;
    struct block *free;               /* its own */
    _Atomic(struct block *) returned; /* others put, it alone takes */
    atomic_uint kept;                 /* blocks in both */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_thread *threads; /* only grows at its head */
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local struct log_thread *self;

static void thread_end(void *arg)
{
    struct log_thread *t = arg;

    pthread_mutex_lock(&lock);
    t->taken = false;
    pthread_mutex_unlock(&lock);
    self = NULL;
}

static void key_make(void)
{
    pthread_key_create(&key, thread_end);
}

static struct log_thread *thread_take(void)
{
    struct log_thread *t;

    pthread_once(&once, key_make);
    pthread_mutex_lock(&lock);
    for (t = threads; t && t->taken; t = t->next) {
    }
    if (!t) {
        t = MEM_NEW(struct log_thread);
        t->next = threads;
        threads = t;
    }
    t->taken = true;
    pthread_mutex_unlock(&lock);
    pthread_setspecific(key, t);
    return self = t;
}

static struct log_thread *me(void)
{
    return self ? self : thread_take();
}

/* ---- looking at the sinks ---- */

void log_enter(void)
{
    atomic_store(&me()->inside, 1);
}

void log_leave(void)
{
    atomic_store_explicit(&self->inside, 0, memory_order_release);
}

void log_wait_readers(void)
{
    static const struct timespec moment = { .tv_nsec = 50000 };

    pthread_mutex_lock(&lock);
    for (struct log_thread *t = threads; t; t = t->next)
        while (t != self && atomic_load(&t->inside))
            nanosleep(&moment, NULL);
    pthread_mutex_unlock(&lock);
}

/* ---- blocks ---- */

static struct block *block_new(size_t room, struct log_thread *home)
{
    struct block *b = malloc(sizeof(*b) + room);

    if (b) {
        b->room = (uint32_t)room;
        b->home = home;
        b->events = b->facts = 0;
    }
    return b;
}

struct block *block_take(size_t n)
{
    struct log_thread *t = me();
    struct block *b = t->free;

    if (n > BLOCK_ROOM)
        return n < UINT32_MAX ? block_new(n, NULL) : NULL;
    if (!b && atomic_load_explicit(&t->returned, memory_order_relaxed))
        b = atomic_exchange_explicit(&t->returned, NULL, memory_order_acquire);
    if (!b)
        return block_new(BLOCK_ROOM, t);
    t->free = b->next;
    atomic_fetch_sub_explicit(&t->kept, 1, memory_order_relaxed);
    return b;
}

void block_give_back(struct block *b)
{
    struct log_thread *t = b->home;
    struct block *head;

    if (!t || atomic_fetch_add_explicit(&t->kept, 1, memory_order_relaxed) >= KEPT_MOST) {
        if (t)
            atomic_fetch_sub_explicit(&t->kept, 1, memory_order_relaxed);
        free(b);
        return;
    }
    head = atomic_load_explicit(&t->returned, memory_order_relaxed);
    do
        b->next = head;
    while (!atomic_compare_exchange_weak_explicit(&t->returned, &head, b, memory_order_release,
                                                  memory_order_relaxed));
}

void block_release(struct block *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        block_give_back(b);
}
