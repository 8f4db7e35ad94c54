/* Who holds a client: each loop counts its own, the last one tells. */
#include <stdlib.h>

#include "base/mem.h"
#include "db/db_priv.h"

struct running {
    const struct db_client *client;
    struct op *op;
    atomic_uint left, sum;
};

struct on_loop {
    struct running *all;
    ath_loop *loop;
};

/* On the loop of who asked. */
static void tell(void *arg)
{
    struct running *r = arg;

    r->op->done.count = atomic_load(&r->sum);
    op_finish(r->op, 0);
    free(r);
}

static void count_here(void *arg)
{
    struct on_loop *x = arg;
    struct running *r = x->all;

    atomic_fetch_add(&r->sum, task_count_top(x->loop, r->client));
    free(x);
    if (atomic_fetch_sub(&r->left, 1) == 1)
        loop_post(r->op->task->loop, tell, r);
}

int db_client_running(ath_task *t, const struct db_client *c, ath_then *then, void *arg, ath_err *e)
{
    struct running *r;
    int rc = task_may_start(t, e);

    if (rc < 0)
        return rc;
    r = MEM_NEW(struct running);
    r->client = c;
    r->op = op_new(t, then, arg);
    atomic_store(&r->left, db_process.loop_count);
    for (uint32_t i = 0; i < db_process.loop_count; i++) {
        struct on_loop *x = MEM_NEW(struct on_loop);
        *x = (struct on_loop){ r, db_process.loops[i] };
        loop_post(x->loop, count_here, x);
    }
    return 0;
}
