/* Backlogs, sweeps, and those who wait for them; see buffer.h. */
#include "buffer.h"

#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "lib/json.h"

enum { RETRY_FIRST_MS = 1000, RETRY_MOST_MS = 60000 };

struct buffer buffer = { .lock = PTHREAD_MUTEX_INITIALIZER, .opening = PTHREAD_MUTEX_INITIALIZER };

struct ring { /* of a backlog: a round waits for a sweep after this one */
    struct ring *next;
    struct round *round;
    uint64_t sweep;
    bool all;
};

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

uint64_t buffer_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void buffer_say(ath_task *t, int level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, t, level, fmt, ap);
    va_end(ap);
}

void buffer_metric(uint32_t metric, const char *label, double v)
{
    ath_str of = str_of(label);

    ath_host_->log->put(ath_self_, metric, label ? &of : NULL, v);
}

/* A gauge is the sum of what the threads say: each says what it has added and taken away. */
void buffer_count(int64_t entries, int64_t bytes)
{
    static _Thread_local int64_t mine;

    buffer.count += (uint64_t)entries;
    buffer.bytes += (uint64_t)bytes;
    mine += entries;
    buffer_metric(M_BUFFER_ENTRIES, NULL, (double)mine);
}

/* ---- backlogs; with the lock ---- */

struct backlog *backlog_of(ath_str client)
{
    struct backlog **at = &buffer.backlogs, *l;

    for (; (l = *at); at = &l->next)
        if (str_ieq(str_of(l->client), client))
            return l;
    l = must(calloc(1, sizeof(*l) + client.n + 1));
    memcpy(l->client, client.p, client.n);
    l->most = BUFFER_BATCH;
    return *at = l;
}

static struct table *table_of(struct backlog *l, const struct entry *x)
{
    ath_str schema = x->part[PART_SCHEMA], name = x->part[PART_TABLE];
    struct table **at = &l->tables, *t;

    for (; (t = *at); at = &t->next)
        if (str_eq(t->schema, schema) && str_eq(t->name, name))
            return t;
    t = must(calloc(1, sizeof(*t) + schema.n + name.n + 1));
    t->schema = str_from(t->text, schema.n);
    t->name = str_from(t->text + schema.n, name.n);
    str_put(str_put(t->text, schema), name);
    return *at = t;
}

/* Its share of the bounds was taken before. */
void backlog_push(struct entry *x)
{
    struct backlog *l = x->backlog = backlog_of(x->part[PART_CLIENT]);

    x->table = table_of(l, x);
    x->table->entries++;
    x->table->fresh++;
    x->next = NULL;
    *(l->last ? &l->last->next : &l->first) = x;
    l->last = x;
    l->count++;
}

void backlog_sweep(struct backlog *l, bool all)
{
    if (l->running) {
        l->again = true;
        return;
    }
    l->running = true;
    l->again = false;
    l->all = all;
    l->sweep++;
    l->cursor = 0;
    l->upto = l->last ? l->last->log.seq : 0;
    l->ok = l->dead = 0;
    buf_reset(&l->touched);
    pass_begin(l);
}

static bool is_due(const struct backlog *l, const struct entry *x, uint64_t now)
{
    return x->log.seq > l->cursor && x->log.seq <= l->upto &&
           (l->all || x->attempts == 0 || x->due_ms <= now);
}

/* Whether a sweep would try anything. */
static bool has_due(const struct backlog *l, uint64_t now)
{
    if (l->doubt || l->owed.n)
        return true;
    for (const struct entry *x = l->first; x; x = x->next)
        if (x->attempts == 0 || x->due_ms <= now)
            return true;
    return false;
}

static bool is_time(const struct backlog *l, enum sweep which, uint64_t now)
{
    if (which == SWEEP_ALL)
        return true;
    return l->failures ? l->retry_ms <= now : which == SWEEP_TIME;
}

void buffer_sweep_due(enum sweep which)
{
    uint64_t now = buffer_now_ms();

    for (struct backlog *l = buffer.backlogs; l; l = l->next)
        if (!l->running && l->count && is_time(l, which, now) && has_due(l, now))
            backlog_sweep(l, false);
}

static bool is_full(const struct backlog *l)
{
    return buffer.closing ||
           (buffer.config->deferred_most && l->count >= (uint64_t)buffer.config->deferred_most);
}

/* After something was kept. */
static void sweep_full(void)
{
    for (struct backlog *l = buffer.backlogs; l; l = l->next)
        if (!l->running && l->count && !l->failures && is_full(l) &&
            l->last->log.seq > l->upto) /* what was refused alone waits for its time */
            backlog_sweep(l, false);
}

/* ---- rounds ---- */

static void round_unref(struct round *o)
{
    if (--o->refs)
        return;
    buf_free(&o->touched);
    free(o);
}

/* Its request is over. */
static void round_gone(void *arg)
{
    struct round *o = arg;

    pthread_mutex_lock(&buffer.lock);
    o->bell = NULL;
    round_unref(o);
    pthread_mutex_unlock(&buffer.lock);
}

/* On its loop. */
static void round_ring(void *arg)
{
    struct round *o = arg;
    ath_stream *bell;

    pthread_mutex_lock(&buffer.lock);
    bell = o->bell;
    round_unref(o);
    pthread_mutex_unlock(&buffer.lock);
    if (bell)
        ath_host_->stream->end(bell, 0);
}

struct round *round_new(ath_task *t)
{
    struct round *o = must(calloc(1, sizeof(*o)));

    o->refs = 1;
    o->loop = ath_host_->task->loop(t);
    o->bell = ath_host_->stream->open(t, 0);
    ath_host_->mem->own(ath_arena_of(t), o, round_gone);
    return o;
}

void round_join(struct round *o, struct backlog *l, bool all)
{
    struct ring *k = must(calloc(1, sizeof(*k)));

    *k = (struct ring){ .next = l->rings, .round = o, .sweep = l->sweep, .all = all };
    l->rings = k;
    o->pending++;
    o->refs++;
    backlog_sweep(l, all);
}

int round_wait(ath_task *t, struct round *o, ath_then *then, void *arg, ath_err *e)
{
    return ath_host_->stream->read(t, o->bell, then, arg, e);
}

static void round_tell(struct round *o, const struct backlog *l, uint32_t left, const char *failure)
{
    o->ok += l->ok;
    o->total += l->ok + l->dead + left;
    if (l->touched.n && o->touched.n)
        buf_char(&o->touched, ',');
    buf_str(&o->touched, buf_view((struct buf *)(uintptr_t)&l->touched));
    if (failure && !o->failed) {
        o->failed = true;
        (void)snprintf(o->words, sizeof(o->words), "%s", failure);
    }
    if (--o->pending)
        round_unref(o);
    else /* its reference goes along */
        ath_host_->loop->post(o->loop, round_ring, o);
}

/* ---- the end of a sweep; with the lock ---- */

static uint32_t left_of(const struct backlog *l)
{
    uint32_t n = 0;

    for (const struct entry *x = l->first; x && x->log.seq <= l->upto; x = x->next)
        n++;
    return n;
}

/* A sweep that failed tells everybody: the next one would find the same. */
static void sweep_tell(struct backlog *l, const char *failure)
{
    struct ring **at = &l->rings;
    uint32_t left = l->rings ? left_of(l) : 0;

    while (*at) {
        struct ring *k = *at;
        if (k->sweep >= l->sweep && !failure) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        round_tell(k->round, l, left, failure);
        free(k);
    }
}

/* Somebody may have asked for it before its time, which says nothing new. */
static void back_off(struct backlog *l)
{
    uint64_t ms = RETRY_FIRST_MS;

    if (l->failures && buffer_now_ms() < l->retry_ms)
        return;
    for (uint32_t i = 0; i < l->failures && ms < RETRY_MOST_MS; i++)
        ms *= 2;
    l->failures++;
    l->retry_ms = buffer_now_ms() + (ms < RETRY_MOST_MS ? ms : RETRY_MOST_MS);
}

static void sweep_end(struct backlog *l, const char *failure)
{
    bool all = false;

    if (failure)
        back_off(l);
    else
        l->failures = 0;
    l->running = false;
    sweep_tell(l, failure);
    for (const struct ring *k = l->rings; k; k = k->next)
        all |= k->all;
    if (l->rings || (l->again && !failure))
        backlog_sweep(l, all);
    else if (l->count && is_full(l) && !failure && l->last->log.seq > l->upto)
        backlog_sweep(l, false);
}

/* ---- passes ---- */

uint32_t backlog_take(struct backlog *l, struct entry **ret)
{
    uint64_t now = buffer_now_ms();
    size_t bytes = 0;
    uint32_t n = 0;

    pthread_mutex_lock(&buffer.lock);
    for (struct entry *x = l->first; x && n < l->most && bytes < BUFFER_BATCH_BYTES; x = x->next) {
        if (!is_due(l, x, now))
            continue;
        bytes += x->log.text.n;
        ret[n++] = x;
    }
    pthread_mutex_unlock(&buffer.lock);
    return n;
}

static void touch(struct backlog *l, const struct entry *x)
{
    struct buf b = BUF_HEAP;

    buf_char(&b, '[');
    buf_json(&b, x->part[PART_CLIENT]);
    buf_char(&b, ',');
    buf_json(&b, x->part[PART_ASKED]);
    buf_char(&b, ']');
    if (!l->touched.n || !memmem(l->touched.p, l->touched.n, b.p, b.n)) {
        if (l->touched.n)
            buf_char(&l->touched, ',');
        buf_str(&l->touched, buf_view(&b));
    }
    buf_free(&b);
}

static void tried(struct entry *x)
{
    uint64_t ms = RETRY_FIRST_MS;

    x->table->fresh -= x->attempts == 0;
    for (uint32_t i = 0; i < x->attempts && ms < RETRY_MOST_MS; i++)
        ms *= 2;
    x->attempts++;
    x->due_ms = buffer_now_ms() + (ms < RETRY_MOST_MS ? ms : RETRY_MOST_MS);
}

/* Names that callers make up must not stay. */
static void table_leave(struct backlog *l, const struct entry *x)
{
    struct table *t = x->table, **at = &l->tables;

    t->fresh -= x->attempts == 0;
    if (--t->entries)
        return;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    free(t);
}

/* Those that are DONE or DEAD; `of` is in the backlog's order. */
static void take_out(struct backlog *l, const struct outcome *of, uint32_t n)
{
    struct entry **at = &l->first, *before = NULL;

    for (uint32_t i = 0; i < n; i++) {
        struct entry *x = of[i].entry;
        if (of[i].what < DEAD)
            continue;
        while (*at != x) {
            before = *at;
            at = &before->next;
        }
        *at = x->next;
        if (l->last == x)
            l->last = before;
        l->count--;
        table_leave(l, x);
        buffer_count(-1, -(int64_t)x->log.text.n);
        entry_free(x);
    }
}

static void account(struct backlog *l, const struct outcome *of, uint32_t n)
{
    uint32_t ok = 0, refused = 0, dead = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct entry *x = of[i].entry;
        if (x->log.seq > l->cursor)
            l->cursor = x->log.seq;
        ok += of[i].what == DONE;
        dead += of[i].what == DEAD;
        refused += of[i].what == REFUSED;
        if (of[i].what == DONE)
            touch(l, x);
        else if (of[i].what == REFUSED)
            tried(x);
    }
    l->ok += ok;
    l->dead += dead;
    if (ok)
        buffer_metric(M_BUFFER_WRITES, "applied", ok);
    if (refused)
        buffer_metric(M_BUFFER_WRITES, "refused", refused);
    if (dead)
        buffer_metric(M_BUFFER_WRITES, "dead", dead);
}

void backlog_ended(struct backlog *l, const struct outcome *of, uint32_t n, bool more,
                   const char *failure)
{
    pthread_mutex_lock(&buffer.lock);
    account(l, of, n);
    take_out(l, of, n);
    if (more && !failure)
        pass_begin(l);
    else
        sweep_end(l, failure);
    pthread_mutex_unlock(&buffer.lock);
}

/* ---- putting ---- */

struct put {
    struct wal_group *group;
    ath_then *then;
    void *arg;
};

/* Room for one more, and that it is ours to keep. */
static bool reserve(size_t bytes)
{
    const struct gateway_config *c = buffer.config;
    bool room;

    pthread_mutex_lock(&buffer.lock);
    room = !buffer.closing && buffer.count < (uint64_t)c->deferred_max_entries &&
           buffer.bytes + bytes <= c->deferred_max_bytes;
    if (room)
        buffer_count(1, (int64_t)bytes);
    pthread_mutex_unlock(&buffer.lock);
    return room;
}

static void put_gone(void *arg)
{
    struct put *p = arg;

    wal_leave(buffer.wal, p->group);
}

static int commit(ath_task *t, void *arg, ath_err *e)
{
    struct put *p = arg;
    int rc = wal_commit(buffer.wal, p->group);

    (void)t;
    return rc < 0 ? ath_fail(e, ATH_E_LIMIT, "%s", strerror(-rc)) : 0;
}

static void say_full(ath_task *t, bool full, const ath_err *e)
{
    bool changed;

    pthread_mutex_lock(&buffer.lock);
    changed = buffer.said_full != full;
    buffer.said_full = full;
    pthread_mutex_unlock(&buffer.lock);
    if (changed && full)
        buffer_say(
            t, ATH_ERROR, "deferred writes cannot be kept in \"%.*s\" and are done at once: %.*s",
            STR_ARG(buffer.config->deferred_dir), STR_ARG(ath_host_->err->get(e, "message")));
    else if (changed)
        buffer_say(t, ATH_WARN, "deferred writes are kept again");
}

static int committed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct put *p = d->arg;
    ath_done mine = { .size = sizeof(mine), .rc = d->rc, .arg = p->arg };

    say_full(t, d->rc < 0, e);
    pthread_mutex_lock(&buffer.lock);
    sweep_full();
    pthread_mutex_unlock(&buffer.lock);
    return p->then(t, &mine, e);
}

static int put_memory(ath_req *r, struct entry *x, struct put *p, ath_err *e)
{
    ath_done done = { .size = sizeof(done), .arg = p->arg };

    pthread_mutex_lock(&buffer.lock);
    x->log.seq = ++buffer.seq;
    backlog_push(x);
    sweep_full();
    pthread_mutex_unlock(&buffer.lock);
    return p->then(r, &done, e);
}

static int put_now(ath_req *r, const struct draft *d, ath_then *then, void *arg, ath_err *e)
{
    struct put *p = ath_new(ath_arena_of(r), sizeof(*p));
    struct entry *x = entry_new(d);

    if (!x || !reserve(x->log.text.n)) {
        entry_free(x);
        buffer_metric(M_BUFFER_WRITES, "inline", 1);
        return 1;
    }
    *p = (struct put){ .then = then, .arg = arg };
    if (!buffer.wal)
        return put_memory(r, x, p, e);
    p->group = wal_add(buffer.wal, &x->log);
    ath_host_->mem->own(ath_arena_of(r), p, put_gone);
    return ath_host_->task->work(r, commit, committed, p, e);
}

struct later { /* until it is known whether the log is ours */
    struct draft draft;
    const ath_relation_name *relation;
    uint32_t n;
    ath_then *then;
    void *arg;
};

static int put_opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct later *x = d->arg;
    ath_done none = { .size = sizeof(none), .rc = ATH_E_RETRY, .arg = x->arg };
    int rc;

    if (atomic_load(&buffer.state) == BUFFER_OPEN &&
        (rc = put_now(t, &x->draft, x->then, x->arg, e)) != 1)
        return rc;
    return x->then(t, &none, e);
}

int buffer_put(ath_req *r, const struct draft *d, ath_then *then, void *arg, ath_err *e)
{
    struct later *x;
    int rc;

    switch (atomic_load(&buffer.state)) {
    case BUFFER_OFF:
    case BUFFER_FOREIGN:
        return 1;
    case BUFFER_OPEN:
        return put_now(r, d, then, arg, e);
    case BUFFER_SHUT:
        break;
    }
    x = ath_new(ath_arena_of(r), sizeof(*x));
    *x = (struct later){ .draft = *d, .then = then, .arg = arg };
    if ((rc = deferred_open(r, put_opened, x, e)) != 1)
        return rc;
    return atomic_load(&buffer.state) == BUFFER_OPEN ? put_now(r, d, then, arg, e) : 1;
}

/* ---- settling ---- */

/* What is no plain table may write to any. */
static bool is_plain(ath_task *t, const ath_relation_name *name)
{
    const struct gateway_state *s = ath_host_->task->state(t, ath_self_);
    const ath_snapshot *snapshot = s->catalog->get(t);
    const ath_relation *r =
        snapshot ? s->catalog->relation(snapshot, name->schema, name->name) : NULL;

    return r && r->kind == ATH_REL_TABLE;
}

static bool waits(const struct backlog *l, const ath_relation_name *relation, uint32_t n, bool any)
{
    for (const struct table *t = l->tables; t; t = t->next) {
        if (!t->fresh)
            continue;
        if (any)
            return true;
        for (uint32_t i = 0; i < n; i++)
            if (str_eq(t->name, relation[i].name) &&
                (str_eq(t->schema, relation[i].schema) || !t->schema.n || !relation[i].schema.n))
                return true;
    }
    return false;
}

struct settle {
    struct round *round;
    ath_then *then;
    void *arg;
};

static int settled(ath_task *t, const ath_done *d, ath_err *e)
{
    struct settle *s = d->arg;
    ath_done mine = { .size = sizeof(mine), .rc = d->rc, .arg = s->arg };

    if (d->rc == 0 && s->round->failed)
        mine.rc =
            ath_raise(e, "backend_unavailable",
                      "writes that came before this one could not be done: %s", s->round->words);
    return s->then(t, &mine, e);
}

static int settle_now(ath_task *t, const ath_relation_name *relation, uint32_t n, ath_then *then,
                      void *arg, ath_err *e)
{
    ath_str client = ath_host_->req->info(t, "client");
    bool any = n == 0, wait = false;
    struct backlog *l;
    struct settle *s;

    if (!client.n)
        return 1;
    for (uint32_t i = 0; i < n; i++)
        any |= !is_plain(t, &relation[i]);
    pthread_mutex_lock(&buffer.lock);
    for (l = buffer.backlogs; l && !wait; l = wait ? l : l->next)
        wait = str_ieq(str_of(l->client), client) && waits(l, relation, n, any);
    pthread_mutex_unlock(&buffer.lock);
    if (!wait)
        return 1;
    s = ath_new(ath_arena_of(t), sizeof(*s));
    *s = (struct settle){ .round = round_new(t), .then = then, .arg = arg };
    pthread_mutex_lock(&buffer.lock);
    round_join(s->round, backlog_of(client), false);
    pthread_mutex_unlock(&buffer.lock);
    return round_wait(t, s->round, settled, s, e);
}

static int settle_opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct later *x = d->arg;
    ath_done done = { .size = sizeof(done), .arg = x->arg };
    int rc = 1;

    if (atomic_load(&buffer.state) == BUFFER_OPEN)
        rc = settle_now(t, x->relation, x->n, x->then, x->arg, e);
    return rc == 1 ? x->then(t, &done, e) : rc;
}

int buffer_settle(ath_task *t, const ath_relation_name *relation, uint32_t n, ath_then *then,
                  void *arg, ath_err *e)
{
    enum state state = atomic_load(&buffer.state);
    struct later *x;
    int rc;

    if (state == BUFFER_OPEN)
        return settle_now(t, relation, n, then, arg, e);
    if (state != BUFFER_SHUT)
        return 1;
    x = ath_new(ath_arena_of(t), sizeof(*x));
    *x = (struct later){ .relation = relation, .n = n, .then = then, .arg = arg };
    if ((rc = deferred_open(t, settle_opened, x, e)) != 1)
        return rc;
    return atomic_load(&buffer.state) == BUFFER_OPEN ? settle_now(t, relation, n, then, arg, e) : 1;
}

const ath_writes gateway_writes = { .size = sizeof(ath_writes), .settle = buffer_settle };
