/* One turn after the other, each a task of its own, so that what a row needs goes with it.
 *
 * The turn holds a session whose transaction began with the row's lock. `fire` is the plugin's, a
 * task below it; then the next time is written and all of it is committed by one trip. A connection
 * that is lost at the commit leaves open whether it happened, and nothing here has to know: the row
 * is due, or it is not.
 */
#include "jobs/schedule.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "jobs/jobs_priv.h"
#include "lib/json.h"
#include "log/log.h"
#include "log/metric.h"

enum {
    OFF_MOST = 1000, /* rows that are put off at once */
    OFF_FIRST_MS = 60000,
    OFF_MOST_MS = 3600 * 1000,
    FIRE_MS = 60000 /* most of one `fire` */
};

struct off { /* a row that is put off */
    char *key;
    uint64_t until_ms;
    uint32_t failures; /* in a row; 0: it waits for its last job */
};

struct schedule {
    const ath_schedule *s;
    const char *name; /* of its worker */
    ath_arena arena;
    struct schedule_sql sql;
    struct off off[OFF_MOST];
    uint32_t off_n;
    uint64_t period_ms;
    pthread_mutex_t lock; /* of what follows */
    uint64_t fired, skipped, missed, failed, put_off, last_fired_ns;
    int64_t late_ms;
};

struct turn { /* of the tick's task; one after the other */
    struct schedule *s;
    ath_str key; /* empty: no row yet */
    char key_text[256];
    ath_session *session;
    struct schedule_row row;
    enum schedule_move move;
    int64_t next_us;
    ath_str job; /* that was put in */
};

/* ---- what is put off ---- */

static struct off *off_find(struct schedule *s, ath_str key)
{
    for (uint32_t i = 0; i < s->off_n; i++)
        if (str_is(key, s->off[i].key))
            return &s->off[i];
    return NULL;
}

static void off_drop(struct schedule *s, struct off *o)
{
    free(o->key);
    *o = s->off[--s->off_n];
}

/* When there are too many, the one whose time comes first makes room. */
static struct off *off_add(struct schedule *s, ath_str key)
{
    struct off *first = &s->off[0];

    if (s->off_n == OFF_MOST) {
        for (uint32_t i = 1; i < s->off_n; i++)
            if (s->off[i].until_ms < first->until_ms)
                first = &s->off[i];
        off_drop(s, first);
    }
    s->off[s->off_n] = (struct off){ .key = mem_dup_str(key) };
    return &s->off[s->off_n++];
}

/* Not `failed`: until the next look. */
static void put_off(struct schedule *s, ath_str key, bool failed)
{
    struct off *o = off_find(s, key);
    uint64_t ms = s->period_ms / 2;

    if (!o)
        o = off_add(s, key);
    o->failures = failed ? o->failures + 1 : 0;
    if (failed)
        ms = pace_jitter(OFF_FIRST_MS << (o->failures < 8 ? o->failures - 1 : 7));
    o->until_ms = loop_now_ms(jobs.o.home) + (ms < OFF_MOST_MS ? ms : OFF_MOST_MS);
}

/* Those whose time has come are tried again; that they have failed is kept until one works. */
static ath_str keys_off(struct schedule *s, ath_arena *a)
{
    struct buf b = ARENA_BUF(a);
    uint64_t now = loop_now_ms(jobs.o.home), n = 0;

    buf_char(&b, '{');
    for (uint32_t i = 0; i < s->off_n; i++) {
        if (s->off[i].until_ms <= now)
            continue;
        array_add(&b, str_of(s->off[i].key));
        n++;
    }
    buf_char(&b, '}');
    pthread_mutex_lock(&s->lock);
    s->put_off = n;
    pthread_mutex_unlock(&s->lock);
    return buf_view(&b);
}

/* ---- what is said ---- */

/* Beside the events of the queue's jobs: "schedule/KEY". */
static void tell(const struct turn *u, const char *level, const char *message, struct buf *data)
{
    char key[sizeof(u->key_text) + 16];

    buf_char(data, '}');
    snprintf(key, sizeof(key), "schedule/%.*s", STR_ARG(u->key));
    event_note(u->s->s->queue ? u->s->s->queue->cap.name : u->s->name, str_of(key), level, message,
               mem_dup_str(buf_view(data)));
}

static struct buf data_of(const struct turn *u, ath_arena *a)
{
    struct buf b = ARENA_BUF(a);

    buf_char(&b, '{');
    if (u->row.known)
        buf_json_time(&b, "due", (uint64_t)u->row.due_us * 1000u);
    buf_json_time(&b, "next", (uint64_t)u->next_us * 1000u);
    return b;
}

static void tell_fired(struct turn *u, ath_arena *a)
{
    struct schedule *s = u->s;
    struct buf data = data_of(u, a);

    buf_json_str(&data, "job", u->job);
    tell(u, "info", "fired", &data);
    if (s->s->queue)
        jobs_wake(s->s->queue->cap.name);
    pthread_mutex_lock(&s->lock);
    s->fired++;
    s->late_ms = (u->row.now_us - u->row.due_us) / 1000;
    s->last_fired_ns = clock_wall_ns();
    pthread_mutex_unlock(&s->lock);
}

static void tell_moved(struct turn *u, ath_arena *a)
{
    struct schedule *s = u->s;
    struct buf data = data_of(u, a);
    bool skip = u->move == SCHEDULE_SKIP, fire = u->move == SCHEDULE_FIRE;

    if (u->move == SCHEDULE_SET)
        return;
    tell(u, skip ? "warn" : "info",
         skip   ? "skipped: its last job still waits or runs"
         : fire ? "skipped: nothing was to be put in"
                : "missed: too late for its run",
         &data);
    pthread_mutex_lock(&s->lock);
    *(skip || fire ? &s->skipped : &s->missed) += 1;
    pthread_mutex_unlock(&s->lock);
}

static void tell_failed(struct turn *u, ath_arena *a, const ath_err *e)
{
    struct schedule *s = u->s;
    const struct off *o = off_find(s, u->key);
    struct buf data = ARENA_BUF(a);

    if (o->failures == 1)
        log_write(ATH_WARN, "athena::jobs",
                  "a schedule cannot be carried out: worker=%s key=%.*s error=\"%.*s\"", s->name,
                  STR_ARG(u->key), (int)e->message_n, e->message);
    buf_char(&data, '{');
    buf_json_str(&data, "error", (ath_str){ e->message, e->message_n });
    tell(u, "error", "failed", &data);
    pthread_mutex_lock(&s->lock);
    s->failed++;
    pthread_mutex_unlock(&s->lock);
}

/* ---- a turn ---- */

static int committed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct turn *u = d->arg;
    struct off *o;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    FAULT("schedule.committed");
    if ((o = off_find(u->s, u->key)))
        off_drop(u->s, o);
    if (u->move == SCHEDULE_FIRE && u->job.n)
        tell_fired(u, &t->arena);
    else
        tell_moved(u, &t->arena);
    db_close(u->session);
    task_done(t, NULL);
    return 0;
}

static int advance(ath_task *t, struct turn *u, ath_err *e)
{
    bool fired = u->move == SCHEDULE_FIRE && u->job.n;
    ath_str param[] = { u->key, arena_printf(&t->arena, "%lld", (long long)u->next_us), u->job };
    ath_stmt stmt[] = { { .sql = fired ? u->s->sql.fired : u->s->sql.moved,
                          .param = param,
                          .param_count = fired && u->s->s->last_job ? 3 : 2 },
                        { .sql = "COMMIT" } };

    FAULT("schedule.advance");
    return db_query(t,
                    &(ath_query){ .size = sizeof(ath_query),
                                  .session = u->session,
                                  .timeout_ms = STATEMENT_MS,
                                  ATH_ARRAY(stmt, stmt) },
                    committed, u, e);
}

static int fired(ath_task *t, const ath_done *d, ath_err *e)
{
    struct turn *u = d->arg;

    if (d->rc < 0)
        return d->rc;
    FAULT("schedule.fired");
    if (d->count)
        u->job = arena_str(&t->arena, d->bytes);
    return advance(t, u, e);
}

static int fire(ath_task *t, void *arg, ath_err *e)
{
    struct turn *u = arg;
    ath_due *due = ARENA_NEW(&t->arena, ath_due);

    *due = (ath_due){ .size = sizeof(*due),
                      .key = u->key,
                      .row = u->row.row,
                      .due_us = u->row.due_us,
                      .now_us = u->row.now_us,
                      .session = u->session };
    t->label = u->s->name;
    return u->s->s->fire(t, due, e);
}

static int hold(ath_task *t, struct turn *u)
{
    put_off(u->s, u->key, false);
    db_close(u->session);
    task_done(t, NULL);
    return 0;
}

static int decided(ath_task *t, struct turn *u, ath_err *e)
{
    if (schedule_decide(u->s->s, &u->row, &u->move, &u->next_us, e) < 0)
        return e->rc;
    if (u->move == SCHEDULE_HOLD)
        return hold(t, u);
    if (u->move == SCHEDULE_FIRE)
        return task_fork(
            t,
            &(ath_fork){ .size = sizeof(ath_fork), .timeout_ms = FIRE_MS, .run = fire, .arg = u },
            fired, u, e);
    return advance(t, u, e);
}

static void take_row(ath_task *t, struct turn *u, const ath_rows *rows)
{
    const ath_column *columns;
    uint32_t at = db_rows_columns(rows, &columns) - PICK_OWN;
    uint64_t late = u->s->s->late_ms ? u->s->s->late_ms : 2 * u->s->period_ms;
    struct schedule_row *r = &u->row;

    *r = (struct schedule_row){ .row = db_rows_keep(t, rows), .late_us = (int64_t)late * 1000 };
    snprintf(u->key_text, sizeof(u->key_text), "%s", db_rows_text(r->row, 0, at + PICK_KEY).p);
    u->key = str_of(u->key_text);
    r->known = str_i64(db_rows_text(r->row, 0, at + PICK_DUE), &r->due_us);
    str_i64(db_rows_text(r->row, 0, at + PICK_NOW), &r->now_us);
    r->missed = db_rows_text(r->row, 0, at + PICK_MISSED);
    r->overlap = db_rows_text(r->row, 0, at + PICK_OVERLAP);
    r->busy = str_is(db_rows_text(r->row, 0, at + PICK_BUSY), "t");
}

static int picked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct turn *u = d->arg;

    if (d->rc < 0)
        return d->rc;
    u->session = d->session;
    if (db_rows_count(d->rows) == 0) {
        db_close(u->session);
        task_done(t, NULL);
        return 0;
    }
    take_row(t, u, d->rows);
    FAULT("schedule.picked");
    return decided(t, u, e);
}

static int turn(ath_task *t, void *arg, ath_err *e)
{
    static const uint32_t type[] = { 1009, 1009 };
    struct turn *u = arg;
    ath_str *param = arena_alloc(&t->arena, 2 * sizeof(*param));
    ath_stmt stmt = { .sql = u->s->sql.pick, .param = param, .type = type, .param_count = 2 };

    param[0] = jobs.pins;
    param[1] = keys_off(u->s, &t->arena);
    return db_open(t,
                   &(ath_query){ .size = sizeof(ath_query),
                                 .flags = ATH_PG_COMMITTED,
                                 .client = ATH_S("@control"),
                                 .timeout_ms = STATEMENT_MS,
                                 .stmt = &stmt,
                                 .stmt_size = sizeof(stmt),
                                 .stmt_count = 1 },
                   picked, u, e);
}

/* ---- a look ---- */

static int next_turn(ath_task *t, struct turn *u, ath_err *e);

/* Without a row nothing is due, or nobody could be asked. One that fails holds up no other. */
static int turn_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct turn *u = d->arg;

    if (d->rc == ATH_E_CANCELED || (d->rc < 0 && !u->key.n))
        return d->rc;
    if (d->rc < 0) {
        put_off(u->s, u->key, true);
        tell_failed(u, &t->arena, e);
    }
    if (!u->key.n || u->s->off_n == OFF_MOST) {
        task_done(t, NULL);
        return 0;
    }
    return next_turn(t, u, e);
}

static int next_turn(ath_task *t, struct turn *u, ath_err *e)
{
    *u = (struct turn){ .s = u->s };
    return task_fork(t, &(ath_fork){ .size = sizeof(ath_fork), .run = turn, .arg = u }, turn_over,
                     u, e);
}

int schedule_look(ath_task *t, struct schedule *s, uint64_t period_ms, ath_err *e)
{
    struct turn *u = ARENA_NEW(&t->arena, struct turn);

    u->s = s;
    s->period_ms = period_ms;
    return next_turn(t, u, e);
}

/* ---- what is seen ---- */

void schedule_json(struct buf *b, struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->s->queue)
        buf_json_str(b, "queue", str_of(s->s->queue->cap.name));
    buf_json_int(b, "fired", (int64_t)s->fired);
    buf_json_int(b, "skipped", (int64_t)s->skipped);
    buf_json_int(b, "missed", (int64_t)s->missed);
    buf_json_int(b, "failed", (int64_t)s->failed);
    buf_json_int(b, "put_off", (int64_t)s->put_off);
    buf_json_time(b, "last_fired_at", s->last_fired_ns);
    buf_json_int(b, "last_late_ms", s->late_ms);
    pthread_mutex_unlock(&s->lock);
}

void schedule_metric_head(struct buf *b, int metric)
{
    if (metric == SCHEDULE_RUNS)
        metric_head(b, "athena_schedule_runs_total", "counter",
                    "Runs of schedules that were due, by what became of them.");
    else if (metric == SCHEDULE_LATE)
        metric_head(b, "athena_schedule_late_seconds", "gauge", "How late the last run was made.");
    else
        metric_head(b, "athena_schedule_put_off", "gauge",
                    "Schedules that have failed here and wait to be tried again.");
}

static void put_runs(struct buf *b, const struct schedule *s)
{
    const struct {
        const char *outcome;
        uint64_t n;
    } runs[] = { { "fired", s->fired },
                 { "skipped", s->skipped },
                 { "missed", s->missed },
                 { "failed", s->failed } };

    for (size_t i = 0; i < ATH_COUNT(runs); i++)
        buf_printf(b, "athena_schedule_runs_total{schedule=\"%s\",outcome=\"%s\"} %llu\n", s->name,
                   runs[i].outcome, (unsigned long long)runs[i].n);
}

void schedule_metric(struct buf *b, int metric, struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    if (metric == SCHEDULE_RUNS)
        put_runs(b, s);
    else if (metric == SCHEDULE_LATE)
        buf_printf(b, "athena_schedule_late_seconds{schedule=\"%s\"} %.3f\n", s->name,
                   (double)s->late_ms / 1e3);
    else
        buf_printf(b, "athena_schedule_put_off{schedule=\"%s\"} %llu\n", s->name,
                   (unsigned long long)s->put_off);
    pthread_mutex_unlock(&s->lock);
}

/* ---- life ---- */

struct schedule *schedule_new(const ath_worker *w)
{
    struct schedule *s = MEM_NEW(struct schedule);

    s->s = w->schedule;
    s->name = w->cap.name;
    arena_init(&s->arena);
    s->sql = schedule_make(&s->arena, s->s);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void schedule_free(struct schedule *s)
{
    if (!s)
        return;
    while (s->off_n)
        off_drop(s, &s->off[0]);
    pthread_mutex_destroy(&s->lock);
    arena_free(&s->arena);
    free(s);
}
