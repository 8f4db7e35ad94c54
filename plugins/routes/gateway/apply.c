/* A pass: some entries of a backlog, done by its database.
 *
 *     catalogue -> [doubt: which are done already] -> bind -> send -> caches are told -> the log ->
 * end
 *                                                       \-> one by one, behind savepoints -/
 *
 * All statements and the mark, that these entries are done, are one trip, which is one transaction.
 * When the database refuses one of them, the entries are done again in one transaction with a
 * savepoint before each, and the refused ones are left out. Constraints that wait for the commit
 * are asked behind each entry, so that each stands for itself.
 *
 * What says nothing about an entry (no connection, a deadlock, a server that stops) ends the sweep,
 * and its entries are tried again. Whether the transaction was committed is then in doubt, so the
 * next pass looks at the mark first. Only the last transaction can be in doubt: the log knows those
 * before it, or their entries are in the mark again (`owed`).
 */
#include "buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "dataplane/refusal.h"
#include "lib/json.h"

enum { OID_TEXT = 25, LIMIT_MS = 600000, MARK_NUMBERS = 1 << 20, TRIP = 990 };

#define MARKS "athena.idempotency_keys"
#define ROUTE "deferred writes"

static const char look_sql[] =
    "SELECT body FROM " MARKS " WHERE client = $1 AND key_id = '' AND route = '" ROUTE
    "' AND key = $2";
static const char mark_sql[] =
    "INSERT INTO " MARKS " (client, key_id, route, key, request, status, body) "
    "VALUES ($1, '', '" ROUTE "', $2, '', 200, $3) "
    "ON CONFLICT (client, key_id, route, key) DO UPDATE SET body = EXCLUDED.body, "
    "created_at = pg_catalog.now()";

struct item {
    struct entry *entry;
    struct change c;
    bool ready;    /* its statements are there, and nothing was said against them */
    ath_str error; /* dp_refusal() */
};

struct pass {
    struct backlog *backlog;
    struct item *item;
    struct outcome *outcome;
    uint32_t n;
    const ath_snapshot *snapshot;
    bool begun, refreshed, looking, marks, over, ended;
    ath_stmt *stmt;
    uint32_t *owner; /* of each statement: an item, or n */
    uint32_t stmts, at;
    const char *before;
    ath_session *session;
    ath_str mark[3];
    ath_relation_name *changed;
    uint32_t changes;
    char failure[256];
    struct buf dead; /* lines for dead.jsonl, in the heap */
};

static const struct gateway_config *config(void)
{
    return buffer.config;
}

static ath_str name_of(const struct backlog *l)
{
    return str_of(l->client);
}

/* ---- the end ---- */

static void leave(struct pass *p)
{
    if (p->session)
        ath_host_->pg->close(p->session);
    p->session = NULL;
}

static int end(ath_task *t, struct pass *p, bool more)
{
    leave(p);
    p->ended = true;
    backlog_ended(p->backlog, p->outcome, p->n, more, NULL);
    ath_host_->task->done(t, NULL);
    return 0;
}

/* It says nothing about the entries. */
static int fail(ath_task *t, struct pass *p, const ath_err *e)
{
    leave(p);
    p->ended = true;
    p->backlog->doubt = true;
    (void)snprintf(p->failure, sizeof(p->failure), "%.*s",
                   STR_ARG(ath_host_->err->get(e, "message")));
    if (!p->backlog->failures)
        buffer_say(t, ATH_WARN, "deferred writes of client \"%s\" wait: %s", p->backlog->client,
                   p->failure);
    backlog_ended(p->backlog, NULL, 0, false, p->failure);
    ath_host_->task->done(t, NULL);
    return 0;
}

/* With the task, however it ends. */
static void pass_gone(void *arg)
{
    struct pass *p = arg;

    buf_free(&p->dead);
    if (p->ended)
        return;
    p->backlog->doubt = true;
    backlog_ended(p->backlog, NULL, 0, false, "the server is shutting down");
}

/* ---- what a failure means ---- */

enum meaning {
    AGAIN, /* nothing about the statement */
    LATE,  /* it took too long */
    NO     /* the statement is refused */
};

static enum meaning meaning_of(int rc, const ath_err *e)
{
    static const char *const passing[] = { "08",    "40",    "53", "57P", "58",
                                           "55P03", "55006", "28", "3D",  "25006" };
    ath_str state = ath_host_->err->get(e, "sql_state");

    if (rc == ATH_E_TIMEOUT || str_is(state, "57014"))
        return LATE;
    if (!state.n)
        return dp_is_definite(rc, e) ? NO : AGAIN;
    for (size_t i = 0; i < ATH_COUNT(passing); i++)
        if (str_starts(state, passing[i]))
            return AGAIN;
    return NO;
}

static void refuse(ath_task *t, struct item *x, const ath_err *e)
{
    x->ready = false;
    x->error = dp_refusal(ath_arena_of(t), e);
}

static void refuse_ready(ath_task *t, struct pass *p, const ath_err *e)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (p->item[i].ready)
            refuse(t, &p->item[i], e);
}

static uint32_t ready_count(const struct pass *p)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n; i++)
        n += p->item[i].ready;
    return n;
}

/* ---- the log ---- */

static int write_dead(const struct buf *lines)
{
    int dir = open(config()->deferred_dir.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, rc = 0;

    fd = dir < 0 ? -1 : openat(dir, "dead.jsonl", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, lines->p, lines->n) != (ssize_t)lines->n || fdatasync(fd) < 0)
        rc = errno ? -errno : -EIO;
    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    return rc;
}

/* On another thread. An entry goes only when it is known where it went. */
static int note(ath_task *t, void *arg, ath_err *e)
{
    struct pass *p = arg;
    struct wal_entry **gone = malloc((p->n + 1) * sizeof(*gone));
    uint32_t n = 0;
    int rc;

    (void)t;
    if (!gone)
        abort();
    rc = p->dead.n ? write_dead(&p->dead) : 0;
    for (uint32_t i = 0; i < p->n; i++) {
        if (rc < 0 && p->outcome[i].what == DEAD)
            p->outcome[i].what = REFUSED;
        if (p->outcome[i].what >= DEAD)
            gone[n++] = &p->item[i].entry->log;
    }
    if (rc < 0)
        ath_fail(e, ATH_E_LIMIT, "could not write dead.jsonl: %s", strerror(-rc));
    if (wal_done(buffer.wal, gone, n) < 0) {
        for (uint32_t i = 0; i < n; i++)
            buf_printf(&p->backlog->owed, "%s%llu", p->backlog->owed.n ? "," : "",
                       (unsigned long long)gone[i]->seq);
    } else {
        buf_reset(&p->backlog->owed);
    }
    free(gone);
    return rc < 0 ? ATH_E_LIMIT : 0;
}

static int noted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pass *p = d->arg;

    if (d->rc == ATH_E_CANCELED)
        return fail(t, p, e);
    if (d->rc < 0)
        buffer_say(t, ATH_ERROR, "%.*s", STR_ARG(ath_host_->err->get(e, "message")));
    if (p->backlog->failures)
        buffer_say(t, ATH_INFO, "deferred writes of client \"%s\" go on", p->backlog->client);
    p->backlog->doubt = false;
    return end(t, p, p->looking || p->n > 0);
}

static int write_log(ath_task *t, struct pass *p, ath_err *e)
{
    ath_done none = { .size = sizeof(none), .arg = p };

    if (!buffer.wal)
        return noted(t, &none, e);
    return ath_host_->task->work(t, note, noted, p, e) < 0 ? fail(t, p, e) : 0;
}

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pass *p = d->arg;

    return d->rc < 0 ? fail(t, p, e) : write_log(t, p, e);
}

/* ---- outcomes ---- */

static void say_dead(ath_task *t, struct pass *p, struct item *x)
{
    x->entry->attempts++;
    buffer_say(t, ATH_ERROR,
               "deferred %s of table \"%.*s\" of client \"%s\" was refused %u times and is %s",
               x->entry->kind == DP_UPDATE   ? "update"
               : x->entry->kind == DP_DELETE ? "delete"
                                             : "insert",
               STR_ARG(x->entry->part[PART_ASKED]), p->backlog->client, x->entry->attempts,
               buffer.wal ? "moved to dead.jsonl" : "given up");
    entry_line(&p->dead, x->entry, x->error);
    x->entry->attempts--;
}

static void changed_add(struct pass *p, const ath_relation_name *name)
{
    for (uint32_t i = 0; i < p->changes; i++)
        if (str_eq(p->changed[i].schema, name->schema) && str_eq(p->changed[i].name, name->name))
            return;
    p->changed[p->changes++] = *name;
}

/* All that are ready are committed, the others are refused. */
static int finish(ath_task *t, struct pass *p, ath_err *e)
{
    const struct gateway_state *s = ath_state_of(t);
    uint32_t applied = 0;
    int rc = 1;

    leave(p);
    p->changed = ath_new(ath_arena_of(t), (p->n + 1) * sizeof(*p->changed));
    for (uint32_t i = 0; i < p->n; i++) {
        struct item *x = &p->item[i];
        bool last = x->entry->attempts + 1 >= BUFFER_ATTEMPTS;
        p->outcome[i] = (struct outcome){ x->entry, x->ready ? DONE : last ? DEAD : REFUSED };
        applied += x->ready;
        if (x->ready)
            changed_add(p, &x->c.relation);
        else if (last)
            say_dead(t, p, x);
    }
    if (applied && !p->marks)
        buffer_metric(M_BUFFER_UNMARKED, NULL, applied);
    if (s->cache && p->changes)
        rc = s->cache->changed(t, p->changed, p->changes, told, p, e);
    return rc == 1 ? write_log(t, p, e) : rc < 0 ? fail(t, p, e) : 0;
}

/* ---- statements ---- */

static void put(struct pass *p, ath_stmt s, uint32_t owner)
{
    p->owner[p->stmts] = owner;
    p->stmt[p->stmts++] = s;
}

/* Room for all of them, with `around` more for each item. */
static void room(ath_task *t, struct pass *p, uint32_t around)
{
    uint32_t n = 8;

    for (uint32_t i = 0; i < p->n; i++)
        if (p->item[i].ready)
            n += p->item[i].c.sql.stmt_count + around;
    p->stmts = 0;
    p->stmt = ath_new(ath_arena_of(t), n * sizeof(*p->stmt));
    p->owner = ath_new(ath_arena_of(t), n * sizeof(*p->owner));
}

static void put_item(struct pass *p, uint32_t i)
{
    const struct dp_change *c = &p->item[i].c.sql;

    for (uint32_t k = 0; k < c->stmt_count; k++)
        put(p, c->stmt[k], i);
}

static ath_str lower(ath_task *t, ath_str s)
{
    char *p = ath_new(ath_arena_of(t), s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 32) : s.p[i];
    return str_from(p, s.n);
}

static void put_mark(ath_task *t, struct pass *p)
{
    static const uint32_t types[] = { OID_TEXT, OID_TEXT, OID_TEXT };
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (!p->marks)
        return;
    buf_char(&b, '[');
    buf_str(&b, buf_view(&p->backlog->owed));
    for (uint32_t i = 0; i < p->n; i++)
        if (p->item[i].ready)
            buf_printf(&b, "%s%llu", b.n > 1 ? "," : "",
                       (unsigned long long)p->item[i].entry->log.seq);
    buf_char(&b, ']');
    p->mark[2] = buf_view(&b);
    put(p, (ath_stmt){ .sql = mark_sql, .param = p->mark, .type = types, .param_count = 3 }, p->n);
}

static ath_query trip(const struct pass *p)
{
    return (ath_query){ .size = sizeof(ath_query),
                        .session = p->session,
                        .stmt = p->stmt,
                        .stmt_size = sizeof(*p->stmt),
                        .stmt_count = p->stmts,
                        .timeout_ms = (uint32_t)config()->query_timeout_ms };
}

static int send(ath_task *t, struct pass *p, ath_err *e);

/* The database has the table of marks and does not let us write into it. */
static void without_marks(ath_task *t, struct pass *p, const ath_err *e)
{
    p->backlog->unmarked = true;
    p->marks = false;
    buffer_say(
        t, ATH_WARN,
        "deferred writes of client \"%s\" cannot be marked as done, and may be done twice after a "
        "crash: %.*s",
        p->backlog->client, STR_ARG(ath_host_->err->get(e, "message")));
}

/* Fewer at a time, until one of them alone is late. */
static bool fewer(struct pass *p)
{
    uint32_t n = ready_count(p);

    if (n > 1)
        p->backlog->most = n / 2;
    return n > 1;
}

/* ---- one by one ---- */

static int go_on(ath_task *t, struct pass *p, ath_err *e);

static int gone_on(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pass *p = d->arg;
    enum meaning m;
    uint32_t owner;

    if (d->rc == 0) {
        p->before = NULL;
        return p->over ? finish(t, p, e) : go_on(t, p, e);
    }
    m = meaning_of(d->rc, e);
    owner = d->count < p->stmts ? p->owner[d->count] : p->n;
    if (m == AGAIN || (m == LATE && fewer(p)))
        return fail(t, p, e);
    if (m == LATE) { /* it is the only one, and nothing is left of the transaction */
        refuse_ready(t, p, e);
        return finish(t, p, e);
    }
    if (owner == p->n) {
        if (p->marks)
            without_marks(t, p, e);
        return fail(t, p, e);
    }
    refuse(t, &p->item[owner], e);
    p->before = "ROLLBACK TO SAVEPOINT entry";
    p->at = owner + 1;
    return go_on(t, p, e);
}

/* As many entries as one trip takes; the last trip commits. */
static int go_on(ath_task *t, struct pass *p, ath_err *e)
{
    ath_query q;

    room(t, p, 3);
    if (p->before)
        put(p, (ath_stmt){ .sql = p->before }, p->n);
    for (; p->at < p->n; p->at++) {
        if (!p->item[p->at].ready)
            continue;
        if (p->stmts + p->item[p->at].c.sql.stmt_count + 3 > TRIP)
            break;
        put(p, (ath_stmt){ .sql = "SAVEPOINT entry" }, p->at);
        put_item(p, p->at);
        put(p, (ath_stmt){ .sql = "SET CONSTRAINTS ALL IMMEDIATE" }, p->at);
        put(p, (ath_stmt){ .sql = "RELEASE SAVEPOINT entry" }, p->at);
    }
    p->over = p->at == p->n;
    if (p->over && ready_count(p))
        put_mark(t, p);
    if (p->over)
        put(p, (ath_stmt){ .sql = "COMMIT" }, p->n);
    q = trip(p);
    return ath_host_->pg->query(t, &q, gone_on, p, e) < 0 ? fail(t, p, e) : 0;
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pass *p = d->arg;

    if (d->rc < 0)
        return fail(t, p, e);
    p->session = d->session;
    p->before = "BEGIN";
    p->at = 0;
    return go_on(t, p, e);
}

static int one_by_one(ath_task *t, struct pass *p, ath_err *e)
{
    ath_query q = { .size = sizeof(q), .timeout_ms = (uint32_t)config()->query_timeout_ms };

    return ath_host_->pg->open(t, &q, opened, p, e) < 0 ? fail(t, p, e) : 0;
}

/* ---- all at once ---- */

static int sent(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pass *p = d->arg;

    if (d->rc == 0) {
        if (p->backlog->most < BUFFER_BATCH)
            p->backlog->most =
                p->backlog->most < BUFFER_BATCH / 2 ? p->backlog->most * 2 : BUFFER_BATCH;
        return finish(t, p, e);
    }
    switch (meaning_of(d->rc, e)) {
    case LATE: /* alone it shows whether that was the statement or the connection */
        if (fewer(p))
            return fail(t, p, e);
        break;
    case AGAIN:
        return fail(t, p, e);
    case NO:
        break;
    }
    if (p->marks && d->count + 1 == p->stmts) {
        without_marks(t, p, e);
        return send(t, p, e);
    }
    return one_by_one(t, p, e);
}

static int send(ath_task *t, struct pass *p, ath_err *e)
{
    ath_query q;

    if (!ready_count(p))
        return finish(t, p, e);
    room(t, p, 0);
    for (uint32_t i = 0; i < p->n; i++)
        if (p->item[i].ready)
            put_item(p, i);
    put_mark(t, p);
    if (p->stmts > TRIP)
        return one_by_one(t, p, e);
    q = trip(p);
    return ath_host_->pg->query(t, &q, sent, p, e) < 0 ? fail(t, p, e) : 0;
}

/* ---- binding ---- */

/* What the caller was allowed to write is what is written, whatever was made since. */
static int same_right(const struct entry *x, const ath_right *right, ath_err *e)
{
    if (!x->part[PART_TABLE].n ||
        (str_eq(x->part[PART_TABLE], right->table) &&
         (!x->part[PART_SCHEMA].n || str_eq(x->part[PART_SCHEMA], right->schema))))
        return 0;
    return ath_fail(e, ATH_E_DENIED, "\"%.*s\" is another table now", STR_ARG(x->part[PART_ASKED]));
}

static int bind_item(ath_task *t, struct pass *p, struct item *x, bool *ret_unknown, ath_err *e)
{
    const struct json *body;
    const ath_right *right;
    struct json_error why;
    int rc;

    body = json_read(x->entry->part[PART_BODY], JSON_ARENA(ath_arena_of(t)), DP_VALUES, &why);
    if (!body)
        return ath_raise(e, "malformed_json_payload", "malformed JSON payload: %s", why.why);
    if ((rc = change_read(t, &x->c, x->entry->kind, body, e)) < 0)
        return rc;
    x->c.w.head = true;
    rc = change_rebind(&x->c, p->snapshot, &right, ret_unknown, e);
    return rc < 0 ? rc : same_right(x->entry, right, e);
}

static int prepare(ath_task *t, struct pass *p, ath_err *e);

static int refreshed(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? fail(t, d->arg, e) : prepare(t, d->arg, e);
}

static int refresh(ath_task *t, struct pass *p, ath_err *e)
{
    const struct gateway_state *s = ath_state_of(t);
    uint64_t known = p->snapshot ? s->catalog->version(p->snapshot) : 0;

    p->refreshed = p->snapshot != NULL;
    p->begun = true;
    return s->catalog->refresh(t, known, refreshed, p, e) < 0 ? fail(t, p, e) : 0;
}

static int bind_all(ath_task *t, struct pass *p, ath_err *e)
{
    for (uint32_t i = 0; i < p->n; i++) {
        struct item *x = &p->item[i];
        bool unknown = false;
        int rc = bind_item(t, p, x, &unknown, e);
        x->ready = rc == 0;
        if (rc < 0 && unknown && !p->refreshed)
            return refresh(t, p, e);
        if (rc < 0)
            refuse(t, x, e);
    }
    return send(t, p, e);
}

/* ---- what is done already ---- */

static bool is_marked(const struct json *list, uint64_t seq)
{
    int64_t v;

    if (list && list->type == JSON_ARRAY)
        json_each(one, list)
        {
            if (json_i64(one, &v) && (uint64_t)v == seq)
                return true;
        }
    return false;
}

/* Those of the backlog that the mark names are done; there is no other pass of it meanwhile. */
static void take_marked(ath_task *t, struct pass *p, const struct json *list)
{
    uint32_t most = list && list->type == JSON_ARRAY ? list->count : 0;

    p->item = ath_new(ath_arena_of(t), (most + 1) * sizeof(*p->item));
    p->outcome = ath_new(ath_arena_of(t), (most + 1) * sizeof(*p->outcome));
    p->n = 0;
    pthread_mutex_lock(&buffer.lock);
    for (struct entry *x = p->backlog->first; x && p->n < most; x = x->next)
        if (is_marked(list, x->log.seq)) {
            p->item[p->n] = (struct item){ .entry = x };
            p->outcome[p->n++] = (struct outcome){ x, DONE };
        }
    pthread_mutex_unlock(&buffer.lock);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pass *p = d->arg;
    struct json_error why;
    ath_str body;

    if (d->rc < 0 && meaning_of(d->rc, e) != NO)
        return fail(t, p, e);
    if (d->rc < 0) /* it cannot be read, so it was never written */
        without_marks(t, p, e);
    body = d->rc < 0 || !ath_host_->pg->count(d->rows) ? (ath_str){ "[]", 2 }
                                                       : ath_cell(d->rows, 0, 0);
    take_marked(t, p, json_read(body, JSON_ARENA(ath_arena_of(t)), MARK_NUMBERS, &why));
    return write_log(t, p, e);
}

static int look(ath_task *t, struct pass *p, ath_err *e)
{
    static const uint32_t types[] = { OID_TEXT, OID_TEXT };
    ath_stmt *stmt = ath_new(ath_arena_of(t), sizeof(*stmt));

    *stmt = (ath_stmt){ .sql = look_sql, .param = p->mark, .type = types, .param_count = 2 };
    p->looking = true;
    p->stmt = stmt;
    p->stmts = 1;
    ath_query q = trip(p);
    return ath_host_->pg->query(t, &q, looked, p, e) < 0 ? fail(t, p, e) : 0;
}

/* ---- the beginning ---- */

static void say_unmarked(ath_task *t, struct backlog *l)
{
    if (!l->said)
        buffer_say(t, ATH_WARN,
                   "the database of client \"%s\" has no table " MARKS
                   ": after a crash some deferred "
                   "writes may be done twice (athena idempotency install)",
                   l->client);
    l->said = true;
}

static int prepare(ath_task *t, struct pass *p, ath_err *e)
{
    const struct gateway_state *s = ath_state_of(t);
    struct backlog *l = p->backlog;

    if (!(p->snapshot = s->catalog->get(t))) {
        if (!p->begun)
            return refresh(t, p, e);
        ath_raise(e, "backend_unavailable", "the catalogue could not be read");
        return fail(t, p, e);
    }
    p->marks = buffer.wal && !l->unmarked &&
               s->catalog->relation(p->snapshot, ATH_S("athena"), ATH_S("idempotency_keys"));
    if (buffer.wal && !p->marks && !l->unmarked)
        say_unmarked(t, l);
    if (!p->marks)
        l->doubt = false;
    return l->doubt ? look(t, p, e) : bind_all(t, p, e);
}

static int run(ath_task *t, void *arg, ath_err *e)
{
    struct pass *p = ath_new(ath_arena_of(t), sizeof(*p));
    struct entry *take[BUFFER_BATCH];

    p->backlog = arg;
    ath_host_->mem->own(ath_arena_of(t), p, pass_gone);
    if (!(p->n = backlog_take(p->backlog, take)))
        return end(t, p, false);
    p->item = ath_new(ath_arena_of(t), p->n * sizeof(*p->item));
    p->outcome = ath_new(ath_arena_of(t), p->n * sizeof(*p->outcome));
    for (uint32_t i = 0; i < p->n; i++)
        p->item[i].entry = take[i];
    if (buffer.wal) {
        p->mark[0] = lower(t, name_of(p->backlog));
        p->mark[1] = str_of(wal_id(buffer.wal));
    }
    return prepare(t, p, e);
}

void pass_begin(struct backlog *l)
{
    ath_host_->task->begin(ath_self_, &(ath_fork){ .size = sizeof(ath_fork),
                                                   .run = run,
                                                   .arg = l,
                                                   .timeout_ms = LIMIT_MS,
                                                   .client = name_of(l) });
}
