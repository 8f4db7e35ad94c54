/* core/jobs/locks.h - who runs what may run only once per control plane.
 *
 * One dedicated connection per process holds an advisory lock for each name that the process runs.
 * While it stands nobody else runs them; when the process dies, PostgreSQL frees them, and another
 * process that asks (each does, every second or two) takes over. When only the connection dies, the
 * owner is told, ends what it runs, and asks again.
 */
#ifndef CORE_JOBS_LOCKS_H
#define CORE_JOBS_LOCKS_H

#include "io/task.h"

enum { LOCK_CLASS = 0x41544845 }; /* "ATHE": the first key of all our advisory locks */

struct lock {                    /* of the owner's; the loop's alone while the locks run */
    int32_t key;
    bool wanted;                 /* given back, when it is held and not wanted any more */
    bool held;
};

/* The second key of a name: the contract's number where it has one, else a hash above all those. */
int32_t lock_key(const char *name);

/* Begins to ask for those that are wanted, on `home`. `lost` runs there whenever locks that were
 * held are not any more. Once; `lock` must live until the loops have stopped. */
void locks_start(ath_loop *home, struct lock *lock, size_t n, void (*lost)(void));
void locks_drain(void);          /* on `home`: gives all of them back and asks for none again */

#endif
