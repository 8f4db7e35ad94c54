/* What has happened to jobs, in order: public.athena_job_events. Written in batches beside the
 * work; while it cannot be, the newest wait, a bounded number, and what is dropped is counted.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "jobs/jobs_priv.h"
#include "lib/json.h"
#include "log/log.h"

enum {
    WAITING_MOST = 20000,
    BATCH_MOST = 500,
    WRITE_MS = 200,
    AGAIN_MS = 5000,
    ANCHOR_MS = 3600 * 1000,
    KEEP_MS = 600000, /* between two looks for what is old */
    SAY_MS = 3600 * 1000
};

struct event {
    struct list node;
    const char *queue, *level, *message;
    uint64_t at_us;
    char *data; /* JSON; NULL: none */
    char key[];
};

static struct {
    ath_task *root;
    struct list waiting;
    uint32_t waiting_n;
    uint64_t dropped, write_at_ms, keep_at_ms, said_ms;
    bool writing, draining; /* draining: the last batch is on its way */
    struct deadline timer;
} events;

/* ---- noting ---- */

static void event_free(struct event *v)
{
    free(v->data);
    free(v);
}

static void drop_oldest(void)
{
    event_free(list_entry(list_pop(&events.waiting), struct event, node));
    events.waiting_n--;
    events.dropped++;
}

static char *data_of(const struct job *j, ath_str text, bool json)
{
    struct buf b = BUF_HEAP;

    buf_char(&b, '{');
    if (j->attempt)
        buf_json_int(&b, "attempt", j->attempt);
    if (text.n && json) {
        buf_json_key(&b, "progress");
        buf_str(&b, text);
    } else if (text.n) {
        buf_json_str(&b, "error", text);
    }
    buf_char(&b, '}');
    return b.p;
}

static void write_soon(uint64_t ms)
{
    uint64_t at = loop_now_ms(jobs.o.home) + ms;

    if (!events.writing && (!events.timer.at_ms || events.timer.at_ms > at))
        deadline_set(jobs.o.home, &events.timer, at);
}

void event_note(const char *queue, ath_str key, const char *level, const char *message, char *data)
{
    struct event *v;

    if (!events.root) {
        free(data);
        return;
    }
    v = mem_new(sizeof(*v) + key.n + 1);
    *v = (struct event){ .queue = queue, .level = level, .message = message, .data = data };
    v->at_us = clock_wall_ns() / 1000u;
    memcpy(v->key, key.p, key.n);
    list_push(&events.waiting, &v->node);
    if (++events.waiting_n > WAITING_MOST)
        drop_oldest();
    write_soon(WRITE_MS);
}

void event_put(struct runner *r, const struct job *j, const char *level, const char *message,
               ath_str data)
{
    event_note(r->family->queue->cap.name, j->key, level, message,
               data_of(j, data, strcmp(message, "progress") == 0));
}

/* ---- writing ---- */

static const char insert_sql[] =
    "INSERT INTO athena_job_events (queue, job_key, at, daemon_id, level, message, data) "
    "SELECT q, k, timestamptz 'epoch' + at * interval '1 microsecond', $1, l, m, d::jsonb "
    "FROM unnest($2, $3, $4, $5, $6, $7) WITH ORDINALITY e(q, k, at, l, m, d, n) ORDER "
    "BY n";

static void written(uint32_t n)
{
    while (n-- && !list_empty(&events.waiting)) {
        event_free(list_entry(list_pop(&events.waiting), struct event, node));
        events.waiting_n--;
    }
}

struct batch {
    uint32_t n;
    uint64_t dropped; /* what had been dropped when it began */
};

static int inserted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct batch *b = d->arg;
    uint64_t gone = events.dropped - b->dropped; /* of its first ones, meanwhile */

    (void)e;
    if (d->rc < 0)
        return d->rc;
    written(gone < b->n ? b->n - (uint32_t)gone : 0);
    task_done(t, NULL);
    return 0;
}

static int insert(ath_task *t, void *arg, ath_err *e)
{
    static const uint32_t type[] = { 25, 1009, 1009, 1016, 1009, 1009, 1009 };
    struct batch *batch = ARENA_NEW(&t->arena, struct batch);
    struct buf b[6];
    ath_str param[7] = { str_of(jobs.id) };

    (void)arg;
    batch->dropped = events.dropped;
    for (int i = 0; i < 6; i++) {
        b[i] = ARENA_BUF(&t->arena);
        buf_char(&b[i], '{');
    }
    list_each (node, next, &events.waiting) {
        struct event *v = list_entry(node, struct event, node);
        if (batch->n++ == BATCH_MOST)
            break;
        array_add(&b[0], str_of(v->queue));
        array_add(&b[1], str_of(v->key));
        array_add(&b[2], arena_printf(&t->arena, "%llu", (unsigned long long)v->at_us));
        array_add(&b[3], str_of(v->level));
        array_add(&b[4], str_of(v->message));
        array_add(&b[5], str_of(v->data));
    }
    batch->n = batch->n > BATCH_MOST ? BATCH_MOST : batch->n;
    for (int i = 0; i < 6; i++) {
        buf_char(&b[i], '}');
        param[i + 1] = buf_view(&b[i]);
    }
    return jobs_ask(t, insert_sql, param, type, 7, inserted, batch, e);
}

static void say_failure(const ath_err *e)
{
    uint64_t now = loop_now_ms(jobs.o.home);

    if (e->rc == ATH_E_CANCELED || (events.said_ms && now - events.said_ms < SAY_MS) ||
        (jobs_is_missing(e) && !jobs_may_tell_missing(now)))
        return;
    events.said_ms = now;
    log_write(ATH_WARN, "athena::jobs", "events of jobs cannot be written: %.*s%s",
              (int)e->message_n, e->message,
              jobs_is_missing(e) ? "; to add it: athena migrate up" : "");
}

static int insert_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t;
    events.writing = false;
    if (d->rc < 0) {
        if (str_starts(err_get(e, "sqlstate"), "22")) /* one of them cannot be stored */
            written(BATCH_MOST);
        say_failure(e);
    }
    if (jobs.stopping && !jobs.alive)
        events_drain();
    else if (d->rc < 0)
        write_soon(AGAIN_MS);
    else
        write_soon(events.waiting_n > BATCH_MOST ? 0 : events.waiting_n ? WRITE_MS : KEEP_MS);
    return 0;
}

/* ---- what is old ---- */

static int delete_old(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return jobs_ask(t,
                    "DELETE FROM athena_job_events WHERE seq IN (SELECT seq FROM athena_job_events "
                    "WHERE at < statement_timestamp() - interval '30 days' ORDER BY at LIMIT 5000 "
                    "FOR UPDATE SKIP LOCKED)",
                    NULL, NULL, 0, jobs_done, NULL, e);
}

static int delete_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)d, (void)e;
    events.writing = false;
    if (jobs.stopping && !jobs.alive)
        events_drain();
    else
        write_soon(events.waiting_n ? 0 : KEEP_MS);
    return 0;
}

static void begin(ath_run *run, ath_then *over)
{
    ath_err e;

    err_reset(&e);
    events.writing = task_fork(events.root, &(ath_fork){ .size = sizeof(ath_fork), .run = run },
                               over, NULL, &e) == 0;
}

static void fired(struct deadline *d)
{
    uint64_t now = loop_now_ms(jobs.o.home);

    (void)d;
    if (!events.root || events.writing)
        return;
    if (events.waiting_n) {
        begin(insert, insert_over);
    } else if (now >= events.keep_at_ms && jobs.runner_count) {
        events.keep_at_ms = now + pace_jitter(KEEP_MS);
        begin(delete_old, delete_over);
    }
}

/* ---- life ---- */

static void root_gone(void *arg)
{
    (void)arg;
    events.root = NULL;
    deadline_clear(&events.timer);
    while (!list_empty(&events.waiting))
        drop_oldest();
}

static int anchor(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == 0)
        return task_after(t, ANCHOR_MS, anchor, NULL, e);
    task_done(t, NULL);
    return 0;
}

static int root(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    events.root = t;
    t->label = "jobs";
    arena_own(&t->arena, &events, root_gone);
    events.keep_at_ms = loop_now_ms(t->loop) + rand_u64() % KEEP_MS;
    write_soon(KEEP_MS);
    return task_after(t, ANCHOR_MS, anchor, NULL, e);
}

void events_start(void)
{
    list_init(&events.waiting);
    deadline_init(&events.timer, fired);
    events.waiting_n = 0;
    events.dropped = events.said_ms = 0;
    events.writing = false;
    task_begin(NULL, jobs.o.home, &(ath_fork){ .size = sizeof(ath_fork), .run = root });
}

/* What waits is written first, once. */
void events_drain(void)
{
    if (!events.root || events.writing)
        return;
    if (events.waiting_n && !events.draining) {
        events.draining = events.waiting_n <= BATCH_MOST;
        begin(insert, insert_over);
    }
    if (!events.writing) {
        ath_task *t = events.root;
        events.root = NULL;
        task_done(t, NULL);
    }
}
