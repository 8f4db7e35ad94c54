/* The life of the write buffer: opening its log, what the published server left there, the clock,
 * the route that flushes, the stop.
 *
 * The log is opened by the first request that writes or by the first tick, and only in a process
 * that serves: commands, checks and workers leave it alone. While another process has it, this one
 * executes at once, and takes the log over when that one has gone.
 */
#include "buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/json.h"

enum { TICK_MS = 1000, VALUES = 100000, PUBLISHED_MOST = 256 << 20 };

static const char published_name[] = "pending.wal";

static uint64_t next_ms; /* when all backlogs are swept again; under the buffer's lock */

/* ---- memory for reading JSON on another thread ---- */

struct block {
    struct block *next;
    _Alignas(16) char bytes[];
};

static void *scratch_alloc(ath_arena *a, size_t n)
{
    struct block **first = (struct block **)(void *)a, *b = calloc(1, sizeof(*b) + n);

    if (!b)
        abort();
    b->next = *first;
    *first = b;
    return b->bytes;
}

static void scratch_free(struct block **first)
{
    while (*first) {
        struct block *b = *first;
        *first = b->next;
        free(b);
    }
}

/* ---- what the log tells ---- */

static void add(struct entry *x)
{
    pthread_mutex_lock(&buffer.lock);
    buffer_count(1, (int64_t)x->log.text.n);
    pthread_mutex_unlock(&buffer.lock);
}

static struct wal_entry *on_found(void *arg, uint64_t seq, ath_str text)
{
    struct entry *x = entry_read(text);

    (void)arg;
    if (!x) {
        buffer_say(NULL, ATH_ERROR, "entry %llu of the log of deferred writes cannot be read",
                   (unsigned long long)seq);
        return NULL;
    }
    x->log.seq = seq;
    add(x);
    pthread_mutex_lock(&buffer.lock);
    backlog_push(x);
    x->backlog->doubt = true;
    pthread_mutex_unlock(&buffer.lock);
    return &x->log;
}

static void on_kept(void *arg, struct wal_entry *first)
{
    (void)arg;
    pthread_mutex_lock(&buffer.lock);
    for (struct wal_entry *next; first; first = next) {
        next = first->next;
        backlog_push((struct entry *)first);
    }
    pthread_mutex_unlock(&buffer.lock);
}

static void on_failed(void *arg, struct wal_entry *first)
{
    (void)arg;
    pthread_mutex_lock(&buffer.lock);
    for (struct wal_entry *next; first; first = next) {
        next = first->next;
        buffer_count(-1, -(int64_t)first->text.n);
        entry_free((struct entry *)first);
    }
    pthread_mutex_unlock(&buffer.lock);
}

static void on_say(void *arg, int level, const char *text)
{
    (void)arg;
    buffer_say(NULL, level, "%s", text);
}

/* ---- the published server's file ---- */

struct taking {
    struct block *scratch;
    char which[64]; /* of the file: what is taken from it says so */
    uint64_t skip;  /* lines that were taken before the process was killed */
    uint64_t taken, bad;
};

static bool put_conditions(struct buf *b, const struct json *list)
{
    bool any = false;

    if (!list || list->type != JSON_ARRAY)
        return false;
    buf_lit(b, ",\"conditions\":[");
    json_each(c, list)
    {
        const struct json *value = json_get(c, "value");
        if (!value || !json_text(json_get(c, "column")).n)
            return false;
        buf_z(b, any ? ",{" : "{");
        buf_json_str(b, "eq_column", json_text(json_get(c, "column")));
        buf_json_key(b, "eq_value");
        buf_str(b, value->raw);
        buf_char(b, '}');
        any = true;
    }
    buf_char(b, ']');
    return any;
}

/* Its operation as the body of a request. 0: it is none. */
static enum dp_kind body_of(struct buf *b, ath_str table, const struct json *operation)
{
    ath_str op = json_text(json_get(operation, "op"));
    const struct json *set = json_get(operation, "set_payload"),
                      *row = json_get(operation, "payload");

    buf_char(b, '{');
    buf_json_str(b, "table_name", table);
    if (str_is(op, "insert") && row) {
        buf_json_key(b, "insert_body");
        buf_str(b, row->raw);
        buf_char(b, '}');
        return DP_INSERT;
    }
    if (!put_conditions(b, json_get(operation, "conditions")))
        return 0;
    if (str_is(op, "update") && set) {
        buf_json_key(b, "data");
        buf_str(b, set->raw);
    }
    buf_char(b, '}');
    return str_is(op, "delete") ? DP_DELETE : str_is(op, "update") && set ? DP_UPDATE : 0;
}

static struct entry *published_entry(struct taking *k, ath_str line)
{
    struct json_memory mem = { scratch_alloc, (ath_arena *)(void *)&k->scratch };
    struct json_error why;
    const struct json *doc = json_read(line, mem, VALUES, &why);
    struct buf body = BUF_HEAP;
    struct draft d = { .taken_over = true };
    struct entry *x = NULL;
    int64_t at = 0;

    d.part[PART_ID] = json_text(json_get(doc, "id"));
    d.part[PART_CLIENT] = json_text(json_get(doc, "client_name"));
    d.part[PART_ASKED] = json_text(json_get(doc, "table_name"));
    d.part[PART_REQUEST] = str_of(k->which);
    if (json_get(doc, "created_at_unix_ms"))
        json_i64(json_get(doc, "created_at_unix_ms"), &at);
    d.at_ms = (uint64_t)at;
    if (doc && d.part[PART_CLIENT].n && d.part[PART_ASKED].n)
        d.kind = body_of(&body, d.part[PART_ASKED], json_get(doc, "operation"));
    d.part[PART_BODY] = buf_view(&body);
    if (d.kind)
        x = entry_new(&d);
    buf_free(&body);
    scratch_free(&k->scratch);
    return x;
}

static void take_line(struct taking *k, ath_str line)
{
    struct entry *x;
    struct wal_group *g;

    if (!str_trim(line).n)
        return;
    if (!(x = published_entry(k, line))) {
        k->bad++;
        return;
    }
    if (k->skip) {
        k->skip--;
        entry_free(x);
        return;
    }
    add(x);
    g = wal_add(buffer.wal, &x->log);
    wal_leave(buffer.wal, g);
    k->taken++;
}

static uint64_t taken_before(const char *which)
{
    uint64_t n = 0;

    pthread_mutex_lock(&buffer.lock);
    for (const struct backlog *l = buffer.backlogs; l; l = l->next)
        for (const struct entry *x = l->first; x; x = x->next)
            n += x->taken_over && str_is(x->part[PART_REQUEST], which);
    pthread_mutex_unlock(&buffer.lock);
    return n;
}

/* What could not be read stays in a file beside. */
static void leave_published(const char *path, const struct taking *k)
{
    struct buf kept = BUF_HEAP;

    buf_printf(&kept, "%s.bad", path);
    if (k->bad ? rename(path, kept.p) < 0 : unlink(path) < 0)
        buffer_say(NULL, ATH_ERROR, "could not remove \"%s\", whose writes are in the log now: %s",
                   path, strerror(errno));
    buffer_say(NULL, ATH_WARN,
               "%llu deferred writes were taken over from \"%s\"; %llu lines of it were none%s",
               (unsigned long long)k->taken, path, (unsigned long long)k->bad,
               k->bad ? " (kept as pending.wal.bad)" : "");
    buf_free(&kept);
}

static void take_published(const char *folder)
{
    struct taking k = { 0 };
    struct buf path = BUF_HEAP, text = BUF_HEAP;
    ath_str rest, line;
    struct stat st;
    int rc;

    buf_printf(&path, "%s/%s", folder, published_name);
    if (stat(path.p, &st) < 0) {
        buf_free(&path);
        return;
    }
    (void)snprintf(k.which, sizeof(k.which), "%llu-%llu-%lld.%09ld", (unsigned long long)st.st_ino,
                   (unsigned long long)st.st_size, (long long)st.st_mtim.tv_sec,
                   st.st_mtim.tv_nsec);
    k.skip = taken_before(k.which);
    rc = file_read(path.p, PUBLISHED_MOST, &text);
    for (rest = buf_view(&text); rc == 0 && rest.n;) {
        size_t n = str_find(rest, '\n');
        line = str_from(rest.p, n);
        rest = n < rest.n ? str_after(rest, n + 1) : (ath_str){ "", 0 };
        take_line(&k, line);
    }
    if (rc == 0 && (rc = wal_commit(buffer.wal, NULL)) == 0)
        leave_published(path.p, &k);
    else
        buffer_say(NULL, ATH_ERROR, "could not take over \"%s\": %s", path.p, strerror(-rc));
    buf_free(&path);
    buf_free(&text);
}

/* ---- opening ---- */

struct opening {
    ath_then *then;
    void *arg;
};

static int open_log(ath_err *e)
{
    struct wal_options o = { .folder = buffer.config->deferred_dir.p,
                             .found = on_found,
                             .kept = on_kept,
                             .failed = on_failed,
                             .say = on_say };
    int rc;

    if (!buffer.config->deferred_wal)
        return 0;
    if ((rc = wal_open(&o, &buffer.wal, e)) < 0)
        return rc;
    if (buffer.count)
        buffer_say(NULL, ATH_WARN, "%llu deferred writes of an earlier run are done now",
                   (unsigned long long)buffer.count);
    take_published(o.folder);
    return 0;
}

/* On another thread; one at a time, the others find it done. */
static int open_run(ath_task *t, void *arg, ath_err *e)
{
    enum state state;

    (void)t, (void)arg;
    pthread_mutex_lock(&buffer.opening);
    state = atomic_load(&buffer.state);
    if (state == BUFFER_SHUT || state == BUFFER_FOREIGN) {
        state = open_log(e) < 0 ? BUFFER_FOREIGN : BUFFER_OPEN;
        if (state == BUFFER_FOREIGN && !buffer.said_foreign)
            buffer_say(NULL, ATH_ERROR, "deferred writes are done at once: %.*s",
                       STR_ARG(ath_host_->err->get(e, "message")));
        if (state == BUFFER_OPEN && buffer.said_foreign)
            buffer_say(NULL, ATH_WARN, "deferred writes are kept here from now on");
        buffer.said_foreign = state == BUFFER_FOREIGN;
        next_ms = buffer_now_ms() + buffer.config->deferred_window_ms;
        atomic_store(&buffer.state, state);
    }
    pthread_mutex_unlock(&buffer.opening);
    return 0;
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct opening *x = d->arg;
    ath_done done = { .size = sizeof(done), .rc = d->rc, .arg = x->arg };

    pthread_mutex_lock(&buffer.lock);
    buffer_count(0, 0);
    buffer_sweep_due(SWEEP_TIME); /* what was found */
    pthread_mutex_unlock(&buffer.lock);
    return x->then(t, &done, e);
}

static bool serves(ath_task *t)
{
    struct json_error why;
    const struct json *process =
        json_read(ath_host_->inspect(t, "process"), JSON_ARENA(ath_arena_of(t)), VALUES, &why);
    const struct json *v = json_get(process, "serves");

    return v && v->type == JSON_TRUE;
}

static int begin_open(ath_task *t, ath_then *then, void *arg, ath_err *e)
{
    struct opening *x = ath_new(ath_arena_of(t), sizeof(*x));

    *x = (struct opening){ then, arg };
    return ath_host_->task->work(t, open_run, opened, x, e);
}

int deferred_open(ath_task *t, ath_then *then, void *arg, ath_err *e)
{
    if (atomic_load(&buffer.state) != BUFFER_SHUT)
        return 1;
    if (!serves(t)) {
        atomic_store(&buffer.state, BUFFER_OFF);
        return 1;
    }
    return begin_open(t, then, arg, e);
}

/* ---- the clock ---- */

static uint64_t period_of(const struct gateway_config *c)
{
    return c->deferred_window_ms && c->deferred_window_ms < TICK_MS ? c->deferred_window_ms
                                                                    : TICK_MS;
}

static void pace(const void *config, ath_pace *p)
{
    p->poll_ms = period_of(config);
}

/* Whether it is time for all backlogs; else only those whose database was away. */
static bool is_time(void)
{
    const struct gateway_config *c = buffer.config;
    uint64_t now = buffer_now_ms();

    if (!c->deferred_window_ms || now + period_of(c) / 10 < next_ms)
        return false;
    next_ms = now + c->deferred_window_ms;
    return true;
}

static int over(ath_task *t)
{
    ath_host_->task->done(t, NULL);
    return 0;
}

static int swept(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    pthread_mutex_lock(&buffer.lock);
    buffer_sweep_due(is_time() ? SWEEP_TIME : SWEEP_RETRY);
    pthread_mutex_unlock(&buffer.lock);
    return d->rc < 0 ? d->rc : over(t);
}

static int commit_left(ath_task *t, void *arg, ath_err *e)
{
    (void)t, (void)arg, (void)e;
    wal_commit(buffer.wal, NULL); /* who waited for it is gone, so nobody is to be told */
    return 0;
}

static int tick(ath_task *t, ath_err *e)
{
    ath_done none = { .size = sizeof(none) };

    if (atomic_load(&buffer.state) != BUFFER_OPEN)
        return over(t);
    if (!buffer.wal || !buffer.count)
        return swept(t, &none, e);
    return ath_host_->task->work(t, commit_left, swept, NULL, e);
}

static int tick_opened(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : tick(t, e);
}

static int run(ath_job *t, ath_err *e)
{
    int rc = 1;

    if (atomic_load(&buffer.state) == BUFFER_SHUT)
        rc = deferred_open(t, tick_opened, NULL, e);
    else if (atomic_load(&buffer.state) == BUFFER_FOREIGN)
        rc = begin_open(t, tick_opened, NULL, e);
    return rc == 1 ? tick(t, e) : rc;
}

const ath_worker deferred_flusher = {
    ATH_CAP(ath_worker, ATH_CAP_WORKER, "deferred_write_flusher"),
    .family = "gateway",
    .gate = "deferred_writes",
    .pace = pace,
    .run = run,
    .flags = ATH_WK_LOCAL,
};

/* ---- POST /gateway/deferred/flush ---- */

static int answer_off(ath_req *r)
{
    return ath_reply(r, 200, "application/json",
                     ATH_S("{\"failed\":0,\"flushed\":0,\"message\":\"Deferred writes are not "
                           "enabled\",\"status\":\"success\",\"total\":0}"));
}

static int flushed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct round *o = d->arg;
    struct buf b = BUF_ARENA(ath_arena_of(t));

    (void)e;
    if (d->rc < 0)
        return d->rc;
    buf_printf(&b, "{\"failed\":%u,\"invalidated_tables\":[", o->total - o->ok);
    buf_str(&b, buf_view(&o->touched));
    buf_printf(&b, "],\"status\":\"success\",\"succeeded\":%u,\"total\":%u}", o->ok, o->total);
    return ath_reply(t, 200, "application/json", buf_view(&b));
}

/* The route is open to all, so that it is this that decides: a key is wanted also where others are not
 * asked for one (D-01). */
static int may_flush(ath_req *r, ath_who *who, ath_err *e)
{
    *who = (ath_who){ .size = sizeof(*who) };
    ath_host_->req->who(r, who);
    if (buffer.config->deferred_public || who->flags & (ATH_WHO_ADMIN | ATH_WHO_KEY))
        return 0;
    return ath_raise(e, "api_key_required",
                     "flushing deferred writes needs an API key with the right gateway.write");
}

/* A key that is bound to a client flushes that client's writes. */
static int flush_now(ath_req *r, ath_err *e)
{
    struct round *o = round_new(r);
    ath_done none = { .size = sizeof(none), .arg = o };
    ath_who who;
    bool any = false;

    if (may_flush(r, &who, e) < 0)
        return ATH_E_AUTH;
    pthread_mutex_lock(&buffer.lock);
    for (struct backlog *l = buffer.backlogs; l; l = l->next) {
        bool foreign = who.flags & ATH_WHO_KEY && who.client.n &&
                       !str_ieq(who.client, str_of(l->client));
        if (!l->count || foreign)
            continue;
        round_join(o, l, true);
        any = true;
    }
    pthread_mutex_unlock(&buffer.lock);
    return any ? round_wait(r, o, flushed, o, e) : flushed(r, &none, e);
}

static int flush_opened(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    return atomic_load(&buffer.state) == BUFFER_OFF ? answer_off(t) : flush_now(t, e);
}

int deferred_flush(ath_req *r, ath_err *e)
{
    ath_done none = { .size = sizeof(none) };
    ath_who who;
    int rc;

    if ((rc = may_flush(r, &who, e)) < 0)
        return rc;
    rc = deferred_open(r, flush_opened, NULL, e);
    return rc == 1 ? flush_opened(r, &none, e) : rc;
}

/* ---- athena doctor ---- */

static uint64_t lines_of(const char *folder, const char *name)
{
    struct buf path = BUF_HEAP, text = BUF_HEAP;
    uint64_t n = 0;

    buf_printf(&path, "%s/%s", folder, name);
    if (file_read(path.p, PUBLISHED_MOST, &text) == 0)
        for (size_t i = 0; i < text.n; i++)
            n += text.p[i] == '\n';
    buf_free(&path);
    buf_free(&text);
    return n;
}

struct look {
    char words[160];
};

static int look_run(ath_task *t, void *arg, ath_err *e)
{
    struct look *x = arg;
    const char *folder = buffer.config->deferred_dir.p;
    uint64_t dead = lines_of(folder, "dead.jsonl");

    (void)t;
    if (access(folder, W_OK | X_OK) < 0 && errno != ENOENT)
        return ath_fail(e, ATH_E_CONFIG, "folder \"%s\" of deferred writes cannot be written: %s",
                        folder, strerror(errno));
    (void)snprintf(x->words, sizeof(x->words), "%llu writes were given up (dead.jsonl)",
                   (unsigned long long)dead);
    return 0;
}

static int look_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct look *x = d->arg;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    ath_host_->task->done(t, &(ath_done){ .size = sizeof(ath_done), .bytes = str_of(x->words) });
    return 0;
}

static int check(ath_task *t, void *arg, ath_err *e)
{
    struct look *x = ath_new(ath_arena_of(t), sizeof(*x));

    (void)arg;
    if (!buffer.config->deferred || !buffer.config->deferred_wal)
        return over(t);
    return ath_host_->task->work(t, look_run, look_over, x, e);
}

const ath_check deferred_check = {
    ATH_CAP(ath_check, ATH_CAP_CHECK, "deferred_writes"),
    .summary = "The folder of deferred writes can be written; how many were given up",
    .run = check,
};

/* ---- life ---- */

/* The folder, or where it would be made, is one that can be written. */
static int usable(const char *path, ath_err *e)
{
    char part[4096];
    size_t n = strlen(path);
    struct stat st;

    if (!n || n >= sizeof(part))
        return ath_fail(e, ATH_E_CONFIG, "deferred_writes.wal_dir \"%s\" is no folder", path);
    memcpy(part, path, n + 1);
    while (stat(part, &st) < 0 && errno == ENOENT) {
        char *slash = strrchr(part, '/');
        if (slash == part)
            slash[1] = 0;
        else if (slash)
            *slash = 0;
        else
            memcpy(part, ".", 2);
    }
    if (stat(part, &st) == 0 && S_ISDIR(st.st_mode) && access(part, W_OK | X_OK) == 0)
        return 0;
    return ath_fail(e, ATH_E_CONFIG,
                    "deferred_writes.wal_dir \"%s\" cannot be used: \"%s\" is no folder that can "
                    "be written",
                    path, part);
}

int deferred_init(const struct gateway_config *config, ath_err *e)
{
    buffer.config = config;
    atomic_store(&buffer.state, config->deferred ? BUFFER_SHUT : BUFFER_OFF);
    return config->deferred && config->deferred_wal ? usable(config->deferred_dir.p, e) : 0;
}

void deferred_drain(void)
{
    pthread_mutex_lock(&buffer.lock);
    buffer.closing = true;
    buffer_sweep_due(SWEEP_ALL);
    pthread_mutex_unlock(&buffer.lock);
}

static void backlog_free(struct backlog *l)
{
    for (struct entry *next, *x = l->first; x; x = next) {
        next = x->next;
        entry_free(x);
    }
    for (struct table *next, *t = l->tables; t; t = next) {
        next = t->next;
        free(t);
    }
    buf_free(&l->touched);
    buf_free(&l->owed);
    free(l);
}

void deferred_fini(void)
{
    if (buffer.count)
        buffer_say(NULL, ATH_WARN, "%llu deferred writes %s", (unsigned long long)buffer.count,
                   buffer.wal ? "wait for the next start" : "are lost");
    wal_close(buffer.wal);
    for (struct backlog *next, *l = buffer.backlogs; l; l = next) {
        next = l->next;
        backlog_free(l);
    }
    buffer.wal = NULL;
    buffer.backlogs = NULL;
    buffer.count = buffer.bytes = 0;
}
