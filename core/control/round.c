/* A deadline that begins a task, and the end of that task, which sets the deadline again. */
#include "control/round.h"

#include "base/rand.h"

static uint64_t about(uint64_t ms)
{
    return ms - ms / 10 + rand_u64() % (ms / 5 + 1);
}

static void ended(void *arg)
{
    struct round *r = arg;

    r->task = NULL;
    r->begun = false;
    if (r->over)
        r->over(r->arg);
    if (r->every_ms && !r->stopped)
        deadline_set(r->home, &r->due, loop_now_ms(r->home) + about(r->every_ms));
}

static int first(ath_task *t, void *arg, ath_err *e)
{
    struct round *r = arg;

    r->task = t;
    t->label = r->label;
    arena_own(&t->arena, r, ended);
    if (!r->stopped)
        return r->run(t, r->arg, e);
    task_done(t, NULL);
    return 0;
}

void round_begin(struct round *r)
{
    if (r->begun || r->stopped)
        return;
    r->begun = true;
    deadline_clear(&r->due);
    task_begin(r->self, r->home, &(ath_fork){ .size = sizeof(ath_fork), .run = first, .arg = r });
}

static void on_due(struct deadline *d)
{
    round_begin(list_entry(d, struct round, due));
}

void round_init(struct round *r, uint64_t first_ms)
{
    r->task = NULL;
    r->begun = r->stopped = false;
    deadline_init(&r->due, on_due);
    if (first_ms)
        deadline_set(r->home, &r->due, loop_now_ms(r->home) + 1 + rand_u64() % first_ms);
}

void round_stop(struct round *r)
{
    r->stopped = true;
    deadline_clear(&r->due);
    if (r->task)
        task_cancel(r->task);
}
