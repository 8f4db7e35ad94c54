/* core/log/thread.h - what each thread that logs has: the word that says that it looks at the
 * sinks, and the blocks that its events stood in, for its next ones.
 *
 * A sink's thread gives a block back to the thread that took it: by one compare-and-swap onto a
 * list that its owner takes whole. What belongs to a thread is never freed; a new thread goes on
 * with what an ended one left.
 */
#ifndef CORE_LOG_THREAD_H
#define CORE_LOG_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_thread;

/* Memory that events stand in together. */
struct block {
    atomic_uint refs;
    uint32_t room;               /* bytes at `at` */
    struct log_thread *home;     /* NULL: made for one large event, and freed */
    struct block *next;          /* while it is not used */
    /* what stands in it from its last use: so many events and facts, and of each event what its
     * facts were copied from; NULL: something else */
    uint32_t events, facts;
    const void *copied[2];
    _Alignas(16) char at[];
};

enum { BLOCK_ROOM = 4096 - 64 }; /* of blocks that are used again */

/* With room for `n` bytes and `refs` not set; NULL: memory is out. */
struct block *block_take(size_t n);
void block_release(struct block *b); /* one of its references; any thread */
void block_give_back(struct block *b); /* it has none */

/* Marks this thread as one that looks at sinks, so that none is freed meanwhile. */
void log_enter(void);
void log_leave(void);
void log_wait_readers(void);     /* until every thread that was inside has left once */

#endif
