/* core/io/io_priv.h - what the files of this folder tell each other. */
#ifndef CORE_IO_IO_PRIV_H
#define CORE_IO_IO_PRIV_H

#include "io/task.h"

/* Called by loop_new() and loop_free(). */
void wheel_new(ath_loop *l);
void wheel_close(ath_loop *l);
void wheel_free(ath_loop *l);
void task_loop_new(ath_loop *l);
void task_loop_free(ath_loop *l);
void resolver_free(ath_loop *l);

/* Tasks that task_begin() has posted and no loop has seen yet. */
uint64_t begun_waiting(void);

/* The task has ended with `rc` or is gone: what it reads is dropped, what it owns ends with a failure. */
void stream_task_over(ath_task *t, int rc);

#endif
