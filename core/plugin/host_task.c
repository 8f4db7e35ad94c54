/* ath_task_api: tasks, with what belongs to the asking plugin. */
#include "io/task.h"

#include "db/client.h"
#include "plugin/abi.h"
#include "plugin/host.h"

static ath_arena *arena(ath_task *t)
{
    return &t->arena;
}

static ath_loop *loop(ath_task *t)
{
    return t->loop;
}

static const void *config(ath_task *t, ath_self *s)
{
    return registry_task_config(t, s);
}

static void *state(ath_task *t, ath_self *s)
{
    (void)t;
    return s->state;
}

static void *local(ath_task *t, ath_self *s)
{
    return t->loop->local ? t->loop->local[s->number] : NULL;
}

static int spawn(ath_task *t, ath_child *c, ath_then *then, void *arg, ath_err *e)
{
    ath_child ours;
    int rc;

    if (c->size == sizeof(*c))
        return task_spawn(t, c, then, arg, e);
    abi_copy(&ours, sizeof(ours), c, c->size);
    if ((rc = task_spawn(t, &ours, then, arg, e)) == 0) {
        c->in = ours.in;
        c->out = ours.out;
    }
    return rc;
}

static int fork_below(ath_task *t, const ath_fork *f, ath_then *then, void *arg, ath_err *e)
{
    ath_fork ours;

    abi_copy(&ours, sizeof(ours), f, f->size);
    if (t->self) /* what is forked sees what its parent sees, on another loop too */
        registry_task_view(t, t->self->registry);
    return task_fork(t, &ours, then, arg, e);
}

static void begin(ath_self *s, const ath_fork *f)
{
    ath_fork ours;

    abi_copy(&ours, sizeof(ours), f, f->size);
    if (ours.client.n && !ours.beside)
        task_begin_for(s, db_client_find(ours.client), &ours);
    else
        task_begin(s, NULL, &ours);
}

static void done(ath_task *t, const ath_done *result)
{
    ath_done ours;

    if (!result || result->size == sizeof(*result)) {
        task_done(t, result);
        return;
    }
    abi_copy(&ours, sizeof(ours), result, result->size);
    task_done(t, &ours);
}

const ath_task_api host_task = {
    .size = sizeof(host_task),
    .arena = arena,
    .loop = loop,
    .config = config,
    .state = state,
    .local = local,
    .dir = task_dir,
    .left_ms = task_left_ms,
    .after = task_after,
    .work = task_work,
    .spawn = spawn,
    .fork = fork_below,
    .begin = begin,
    .cancel = task_cancel,
    .done = done,
};
