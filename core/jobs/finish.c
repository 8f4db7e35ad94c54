/* From a job's end to its row. What has ended while one batch is written is the next batch.
 *
 * How it fails: without an answer the batch stays, and is written again, as long as its leases
 * last; if it was written after all, the second try finds no token and takes the jobs for lost,
 * which harms nothing: their rows say what they should. A batch that is refused (a result that is
 * no JSON) is written one by one, and the job whose own words are refused is dead by that.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "jobs/jobs_priv.h"

enum { FINISH_MOST = 500 };

/* ---- what it is ---- */

static enum job_end end_of(const struct job *j)
{
    switch (atomic_load(&j->fate)) {
    case FATE_LOST:
        return END_LOST;
    case FATE_CANCELED:
        if (j->rc < 0)
            return END_CANCELED;
        break;
    case FATE_STOPPED:
        if (j->rc < 0)
            return END_HANDED_BACK;
        break;
    default:
        break;
    }
    if (j->rc == 0)
        return END_DONE;
    if (j->rc == ATH_E_LEASE)
        return END_LOST;
    if (j->rc == ATH_E_CANCELED && jobs.stopping)
        return END_HANDED_BACK;
    return j->rc == ATH_E_RETRY && j->attempt < j->most ? END_RETRY : END_DEAD;
}

static const char *state_of(const struct job *j)
{
    const ath_queue *q = j->runner->family->queue;

    switch (j->end) {
    case END_DONE:
        return q->done;
    case END_RETRY:
        return queue_state_again(q);
    case END_CANCELED:
        return queue_state_canceled(q);
    case END_HANDED_BACK:
        return q->waiting;
    default:
        return q->dead;
    }
}

static ath_str error_of(const struct job *j)
{
    switch (j->end) {
    case END_RETRY:
    case END_DEAD:
        return str_of(j->error);
    case END_CANCELED:
        return j->runner->family->queue->canceled ? (ath_str){ 0 } : ATH_S("cancelled by operator");
    default:
        return (ath_str){ 0 };
    }
}

static void tell(struct runner *r, const struct job *j)
{
    static const char *const level[ENDS] = { "info", "warn", "error", "info", "info", "warn" };
    static const char *const message[ENDS] = { "completed", "put back",    "failed",
                                               "canceled",  "handed back", "lease lost" };

    if (j->end != END_DONE || !(r->family->queue->flags & ATH_QUEUE_QUIET))
        event_put(r, j, level[j->end], message[j->end], error_of(j));
    pthread_mutex_lock(&r->lock);
    r->seen.ended[j->end]++;
    r->seen.running = r->running_n;
    r->seen.last_end_ns = clock_wall_ns();
    pthread_mutex_unlock(&r->lock);
}

static void drop(struct runner *r, struct job *j)
{
    list_unlink(&j->node);
    tell(r, j);
    job_unref(j);
}

void job_ended(struct job *j)
{
    struct runner *r = j->runner;

    list_unlink(&j->node);
    r->running_n--;
    j->end = end_of(j);
    if (j->end == END_LOST) {
        drop(r, j);
    } else {
        list_push(&r->ended, &j->node);
        r->ended_n++;
    }
    runner_pump(r);
}

/* ---- one batch ---- */

struct arrays {
    struct buf key, token, state, error, result, delay, back, final;
};

static void arrays_begin(struct arrays *a, ath_arena *arena)
{
    struct buf *all[] = { &a->key,    &a->token, &a->state, &a->error,
                          &a->result, &a->delay, &a->back,  &a->final };

    for (size_t i = 0; i < ATH_COUNT(all); i++) {
        *all[i] = ARENA_BUF(arena);
        buf_char(all[i], '{');
    }
}

static void arrays_add(struct arrays *a, ath_arena *arena, const struct job *j)
{
    const ath_pace *p = &j->runner->pace;
    bool again = j->end == END_RETRY || j->end == END_HANDED_BACK;
    uint64_t ms = pace_backoff(p->retry_ms, p->retry_most_ms, j->attempt, rand_u64());

    array_add(&a->key, j->key);
    array_add(&a->token, j->token);
    array_add(&a->state, str_of(state_of(j)));
    array_add(&a->error, error_of(j));
    array_add(&a->result, j->end == END_DONE && j->result ? str_of(j->result) : (ath_str){ 0 });
    array_add(&a->delay, j->end == END_RETRY ? arena_printf(arena, "%llu", (unsigned long long)ms)
                                             : (ath_str){ 0 });
    array_add(&a->back, j->end == END_HANDED_BACK ? ATH_S("1") : ATH_S("0"));
    array_add(&a->final, again ? ATH_S("f") : ATH_S("t"));
}

static ath_str closed(struct buf *b)
{
    buf_char(b, '}');
    return buf_view(b);
}

static void take_batch(struct runner *r)
{
    uint32_t most = r->one_by_one ? 1 : FINISH_MOST;

    while (r->writing_n < most && !list_empty(&r->ended)) {
        list_push(&r->writing, list_pop(&r->ended));
        r->ended_n--;
        r->writing_n++;
    }
    r->one_by_one -= r->one_by_one > 0;
}

static void batch_back(struct runner *r)
{
    while (!list_empty(&r->writing)) {
        struct list *node = r->writing.prev;
        list_unlink(node);
        list_push_front(&r->ended, node);
        r->ended_n++;
    }
    r->writing_n = 0;
}

/* Rows that came back were written; the others' leases were not held any more. */
static void written(struct runner *r, const ath_rows *rows)
{
    for (uint32_t i = 0; i < db_rows_count(rows); i++) {
        struct job *j = job_find(&r->writing, db_rows_text(rows, i, 0));
        if (j)
            drop(r, j);
    }
    list_each (node, next, &r->writing) {
        struct job *j = list_entry(node, struct job, node);
        j->end = END_LOST;
        drop(r, j);
    }
    r->writing_n = 0;
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    FAULT("jobs.finished");
    written(r, d->rows);
    task_done(t, NULL);
    return 0;
}

static int finish(ath_task *t, void *arg, ath_err *e)
{
    static const uint32_t type[] = { 0, 0, 1009, 1009, 1009, 1016, 1007, 1000 };
    struct runner *r = arg;
    struct arrays a;

    arrays_begin(&a, &t->arena);
    list_each (node, next, &r->writing)
        arrays_add(&a, &t->arena, list_entry(node, struct job, node));
    FAULT("jobs.finish");
    return jobs_ask(t, atomic_load(&r->family->sql)->finish,
                    (ath_str[]){ closed(&a.key), closed(&a.token), closed(&a.state),
                                 closed(&a.error), closed(&a.result), closed(&a.delay),
                                 closed(&a.back), closed(&a.final) },
                    type, ATH_COUNT(type), answered, r, e);
}

/* Refused for what a job said: by its own words alone it is dead. */
static void refused(struct runner *r, const ath_err *e)
{
    struct job *j = list_entry(r->writing.next, struct job, node);
    uint32_t n = r->writing_n;

    if (n == 1 && j->result) {
        free(j->result);
        j->result = NULL;
        j->end = END_DEAD;
        snprintf(j->error, sizeof(j->error), "the result was refused: %.*s", (int)e->message_n,
                 e->message);
    } else if (n == 1) {
        runner_failed(r, "the end of a job cannot be written", e);
    }
    batch_back(r);
    if (n > 1)
        r->one_by_one = n;
}

static int finish_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    (void)t;
    r->finishing = false;
    if (d->rc == 0) {
        runner_works(r);
        if (r->pace.per_client)
            r->more = true; /* a client's next may run now */
    } else if (!list_empty(&r->writing) && str_starts(err_get(e, "sqlstate"), "22")) {
        refused(r, e);
    } else {
        batch_back(r);
        runner_failed(r, "the ends of jobs cannot be written", e);
    }
    runner_pump(r);
    return 0;
}

int finish_begin(struct runner *r, ath_err *e)
{
    int rc;

    take_batch(r);
    rc = task_fork(r->root, &(ath_fork){ .size = sizeof(ath_fork), .run = finish, .arg = r },
                   finish_over, r, e);
    if (rc < 0)
        batch_back(r);
    return rc;
}
