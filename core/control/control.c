/* The parts' keeper: a task of its own for each, whose children are the part's lives. */
#include "control/control.h"

#include <stdatomic.h>
#include <string.h>

#include "lib/text.h"
#include "log/log.h"

enum { PAUSE_FIRST_MS = 250, PAUSE_MOST_MS = 10000 };

struct keeper {
    const struct control_part *part;
    ath_task *task; /* NULL: it has not begun, or has ended */
    uint64_t pause_ms;
    bool failing; /* it has been said */
    atomic_bool well;
};

static struct keeper keepers[CONTROL_PARTS_MOST];
static size_t keeper_count;
static ath_loop *home;
static atomic_bool stopping;

static int live(ath_task *t, struct keeper *k, ath_err *e);

static void begin_from(size_t first);

static int paused(ath_task *t, const ath_done *d, ath_err *e)
{
    return live(t, d->arg, e);
}

/* What a life ends with. One that failed after a while of being well pauses shortly again. */
static int lived(ath_task *t, const ath_done *d, ath_err *e)
{
    struct keeper *k = d->arg;

    if (atomic_load(&stopping) || (d->rc == 0 && k->part->once)) {
        atomic_store(&k->well, d->rc == 0);
        task_done(t, NULL);
        if (d->rc == 0 && !atomic_load(&stopping))
            begin_from((size_t)(k - keepers) + 1);
        return 0;
    }
    if (atomic_exchange(&k->well, false))
        k->pause_ms = PAUSE_FIRST_MS;
    if (d->rc < 0 && !k->failing)
        log_write(ATH_WARN, "athena::control", "%s of the control plane: %.*s", k->part->name,
                  (int)e->message_n, e->message);
    k->failing |= d->rc < 0;
    k->pause_ms = k->pause_ms < PAUSE_MOST_MS / 2 ? k->pause_ms * 2 : PAUSE_MOST_MS;
    return task_after(t, k->pause_ms, paused, k, e);
}

static int live(ath_task *t, struct keeper *k, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = k->part->run };

    if (!atomic_load(&stopping))
        return task_fork(t, &f, lived, k, e);
    task_done(t, NULL);
    return 0;
}

static void gone(void *arg)
{
    struct keeper *k = arg;

    k->task = NULL;
}

static int keep(ath_task *t, void *arg, ath_err *e)
{
    struct keeper *k = arg;

    k->task = t;
    k->pause_ms = PAUSE_FIRST_MS;
    arena_own(&t->arena, k, gone);
    return live(t, k, e);
}

/* That part and those behind it, up to the first that has to be done before the others. */
static void begin_from(size_t first)
{
    for (size_t i = first; i < keeper_count; i++) {
        task_begin(NULL, home,
                   &(ath_fork){ .size = sizeof(ath_fork), .run = keep, .arg = &keepers[i] });
        if (keepers[i].part->once)
            break;
    }
}

void control_start(ath_loop *on, const struct control_part *part, size_t n)
{
    home = on;
    atomic_store(&stopping, false);
    keeper_count = n < CONTROL_PARTS_MOST ? n : CONTROL_PARTS_MOST;
    for (size_t i = 0; i < keeper_count; i++) {
        memset(&keepers[i], 0, sizeof(keepers[i]));
        keepers[i].part = &part[i];
    }
    begin_from(0);
}

static void cancel(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < keeper_count; i++)
        if (keepers[i].task)
            task_cancel(keepers[i].task);
}

void control_drain(void)
{
    if (!home || atomic_exchange(&stopping, true))
        return;
    loop_post(home, cancel, NULL);
}

void control_part_is_well(const char *name)
{
    for (size_t i = 0; i < keeper_count; i++) {
        struct keeper *k = &keepers[i];
        if (strcmp(k->part->name, name) != 0)
            continue;
        atomic_store(&k->well, true);
        if (k->failing)
            log_write(ATH_INFO, "athena::control", "%s of the control plane works again", name);
        k->failing = false;
    }
}

bool control_part_well(const char *name)
{
    for (size_t i = 0; i < keeper_count; i++)
        if (strcmp(keepers[i].part->name, name) == 0)
            return atomic_load(&keepers[i].well);
    return false;
}
