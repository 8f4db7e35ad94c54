/* Following the catalogue: one life of the part "clients" (control.h).
 *
 * The task waits for two things all the time, notifications and the time of the next look. Whatever
 * asks for a reading leaves a wish; kick() begins one reading at a time, in a child, which acts by
 * what it read. A life that fails is begun anew by its keeper, and then reads everything.
 *
 * A table that is not there, or lacks a column, is no failure: nobody has made it yet.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "control/clients_priv.h"
#include "control/control.h"
#include "db/query.h"
#include "lib/json.h"
#include "lib/jsonread.h"
#include "log/log.h"

enum {
    READ_MS = 15000,
    WISHES_BYTES = 65536,
    PAYLOADS = 100000,
    STAMP_ROOM = 96,
    TICK_MS = 1000,
    ABSENT_SAID = 10
};

#define CHANNEL "athena_clients"

static const char stamp_sql[] =
    "select coalesce(max(greatest(updated_at, created_at, deleted_at))::text, '') || ' ' || "
    "count(*) filter (where deleted_at is null) from athena_clients";
static const char all_sql[] =
    "select " RECORD_COLUMNS " from athena_clients c where c.deleted_at is null "
    "order by c.id limit 20001";
static const char some_sql[] =
    "select n.v, " RECORD_COLUMNS " from jsonb_array_elements_text($1::jsonb) as n(v) "
    "left join athena_clients c on lower(c.client_name) = lower(btrim(n.v)) and "
    "c.deleted_at is null";

/* All processes count into the same. */
static const char failed_sql[] =
    "with was as (select athena_client_id, "
    "case when (metadata #>> '{load_failures,since}')::timestamptz > "
    "now() - make_interval(secs => $2::float8) "
    "then coalesce((metadata #>> '{load_failures,count}')::int, 0) else 0 end + 1 as n "
    "from athena_clients where lower(client_name) = lower($1) and deleted_at is null for update), "
    "done as (update athena_clients c set metadata = c.metadata || jsonb_build_object("
    "'load_failures', jsonb_build_object('count', was.n, 'since', case when was.n = 1 then now() "
    "else (c.metadata #>> '{load_failures,since}')::timestamptz end)), "
    "is_active = c.is_active and was.n < $3::int, "
    "updated_at = case when was.n < $3::int then c.updated_at else now() end "
    "from was where c.athena_client_id = was.athena_client_id returning c.is_active) "
    "select pg_notify('" CHANNEL "', $1) from done where not is_active";
static const char loaded_sql[] =
    "update athena_clients set metadata = metadata - 'load_failures' "
    "where lower(client_name) = lower($1) and deleted_at is null and metadata ? 'load_failures'";

enum reading_kind { NOTHING, READ_STAMP, READ_SOME, READ_ALL, COUNT_LOAD };

struct reading { /* one at a time */
    enum reading_kind kind;
    struct buf names; /* of READ_SOME: a JSON array */
    uint64_t ticket;
    bool synced; /* the rows are as this process's start wants them */
};

static struct { /* the follower's loop alone */
    ath_task *task;
    bool reading, deaf, all, stamp, synced, disabling;
    uint32_t absent;    /* readings that did not find the table */
    uint64_t looked_ms; /* when the table was last looked at */
    struct reading now;
    char seen[STAMP_ROOM];
} self;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct buf wishes; /* under it: members of a JSON array */
static bool wish_all;
static uint64_t asked;
static struct adoption {         /* the newest first */
    struct adoption *next;
    size_t name_n;
    char texts[];                /* the name, then the URI, both ended */
} *adoptions;
static pthread_mutex_t adopting = PTHREAD_MUTEX_INITIALIZER; /* where nobody follows */
static atomic_uint_fast64_t answered;
static atomic_bool tried, fails;
static _Atomic(ath_loop *) home;

static int kick(ath_task *t, ath_err *e);

/* ---- wishes ---- */

/* In the follower's loop, which changes what is known, or where there is none. */
static void adopt_waiting(void)
{
    struct adoption *a, *next;

    pthread_mutex_lock(&lock);
    a = adoptions;
    adoptions = NULL;
    pthread_mutex_unlock(&lock);
    for (; a; a = next) {
        ath_str uri = str_of(a->texts + a->name_n + 1);
        next = a->next;
        known_adopt(str_from(a->texts, a->name_n), uri);
        explicit_bzero(a->texts + a->name_n + 1, uri.n);
        free(a);
    }
}

static void kick_here(void *arg)
{
    ath_err e;

    (void)arg;
    err_reset(&e);
    adopt_waiting();
    if (self.task)
        kick(self.task, &e);
    else
        atomic_store(&answered, UINT64_MAX); /* nobody is there to do it */
}

uint64_t follow_want(ath_str name)
{
    ath_loop *l = atomic_load(&home);
    uint64_t ticket;

    pthread_mutex_lock(&lock);
    ticket = ++asked;
    if (wishes.n + name.n > WISHES_BYTES) {
        buf_reset(&wishes);
        wish_all = true;
    } else if (!wish_all) {
        if (wishes.n)
            buf_char(&wishes, ',');
        buf_json(&wishes, name);
    }
    pthread_mutex_unlock(&lock);
    if (l)
        loop_post(l, kick_here, NULL);
    return ticket;
}

uint64_t follow_adopt(ath_str name, ath_str uri)
{
    struct adoption *a = mem_new(sizeof(*a) + name.n + uri.n + 2);

    a->name_n = name.n;
    memcpy(a->texts, name.p, name.n);
    memcpy(a->texts + name.n + 1, uri.p, uri.n);
    pthread_mutex_lock(&lock);
    a->next = adoptions;
    adoptions = a;
    pthread_mutex_unlock(&lock);
    if (!atomic_load(&home)) {
        pthread_mutex_lock(&adopting);
        adopt_waiting();
        pthread_mutex_unlock(&adopting);
    }
    return follow_want(name);
}

uint64_t follow_answered(void)
{
    return atomic_load(&home) ? atomic_load(&answered) : UINT64_MAX;
}

bool follow_tried(void)
{
    return atomic_load(&tried);
}

bool follow_fails(void)
{
    return atomic_load(&fails);
}

/* ---- asking ---- */

static int ask(ath_task *t, const ath_stmt *stmt, uint32_t n, ath_then *then, struct reading *r,
               ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .timeout_ms = READ_MS,
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .stmt_count = n };

    return db_query(t, &q, then, r, e);
}

static int end(ath_task *t)
{
    task_done(t, NULL);
    return 0;
}

static void keep_stamp(const ath_rows *rows)
{
    ath_str text = db_rows_text(rows, 0, 0);

    snprintf(self.seen, sizeof(self.seen), "%.*s", STR_ARG(text));
}

/* ---- everything ---- */

static int read_rows(ath_task *t, struct reading *r, ath_err *e);

static void apply_all(ath_task *t, const ath_rows *rows)
{
    uint32_t n = db_rows_count(rows);

    if (n > CLIENTS_MOST) {
        log_write(ATH_WARN, "athena::clients",
                  "the catalogue has more than %d clients: the oldest %d are followed",
                  CLIENTS_MOST, CLIENTS_MOST);
        n = CLIENTS_MOST;
    }
    known_round_begin();
    for (uint32_t i = 0; i < n; i++) {
        struct record r;
        const char *broken = record_read(rows, i, 0, &t->arena, &r);
        known_apply(&r, broken);
    }
    known_round_end();
}

/* Written or not: the next start tries it again, and what lies there counts. */
static int synced(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reading *r = d->arg;

    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0)
        log_write(ATH_WARN, "athena::clients",
                  "configured clients could not be written into the catalogue: %s", e->message);
    r->synced = self.synced = true;
    return read_rows(t, r, e);
}

static int write_plan(ath_task *t, struct reading *r, const struct sync_plan *p, ath_err *e)
{
    ath_str *both = arena_alloc(&t->arena, 2 * sizeof(*both));
    ath_str *touch = arena_alloc(&t->arena, sizeof(*touch));
    ath_stmt stmt[] = {
        { .sql = sync_insert_sql, .param = &both[0], .param_count = 1 },
        { .sql = sync_update_sql, .param = &both[1], .param_count = 1 },
        { .sql = sync_touch_sql, .param = touch, .param_count = 1 },
        { .sql = sync_notify_sql, .param = both, .param_count = 2 },
    };

    both[0] = p->insert;
    both[1] = p->update;
    *touch = p->touch;
    return ask(t, stmt, ATH_COUNT(stmt), synced, r, e);
}

static int all_read(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reading *r = d->arg;
    struct sync_plan plan;
    const ath_rows *rows;

    if (d->rc < 0)
        return d->rc;
    rows = db_rows_next(d->rows);
    if (!r->synced) {
        sync_plan(rows, &t->arena, &plan);
        return write_plan(t, r, &plan, e);
    }
    keep_stamp(d->rows);
    if (clients_options.loading)
        apply_all(t, rows);
    return end(t);
}

static int read_rows(ath_task *t, struct reading *r, ath_err *e)
{
    const ath_stmt stmt[] = { { .sql = stamp_sql }, { .sql = all_sql } };

    return ask(t, stmt, ATH_COUNT(stmt), all_read, r, e);
}

static int path_read(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    db_control_path(db_rows_text(d->rows, 0, 0));
    return read_rows(t, d->arg, e);
}

/* A schema "athena" in the path belongs to a tenant, and has an athena_clients of its own. Asked
 * under the client's name, as the path of "@control" is what comes of it. */
static const char path_sql[] =
    "select case when 'athena' = any(current_schemas(false)) then concat_ws(', ', (select "
    "string_agg(quote_ident(s), ', ' order by n) from unnest(current_schemas(false)) with "
    "ordinality as x(s, n) where s not in ('athena', 'public')), 'public') else '' end";

static int read_all(ath_task *t, struct reading *r, ath_err *e)
{
    const ath_stmt stmt = { .sql = path_sql };
    ath_query q = { .size = sizeof(q),
                    .client = clients_options.control,
                    .timeout_ms = READ_MS,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return db_query(t, &q, path_read, r, e);
}

/* ---- some of it ---- */

static int some_read(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    for (uint32_t i = 0; i < db_rows_count(d->rows); i++) {
        struct record r;
        const char *broken = record_read(d->rows, i, 1, &t->arena, &r);
        if (r.name.p)
            known_apply(&r, broken);
        else
            known_gone(db_rows_text(d->rows, i, 0));
    }
    return end(t);
}

static int read_some(ath_task *t, struct reading *r, ath_err *e)
{
    ath_str names = buf_view(&r->names);
    const ath_stmt stmt = { .sql = some_sql, .param = &names, .param_count = 1 };

    return ask(t, &stmt, 1, some_read, r, e);
}

static int stamp_read(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    self.all = self.all || !str_is(db_rows_text(d->rows, 0, 0), self.seen);
    return end(t);
}

/* ---- how loading went ---- */

static int counted(ath_task *t, const ath_done *d, ath_err *e);

/* The next client of whom it is known now. */
static int count_next(ath_task *t, struct reading *r, ath_err *e)
{
    char window[32], most[32];
    ath_str param[3];
    ath_stmt stmt = { .param = param };
    bool failed;

    if (!known_next_load(&param[0], &failed, &t->arena))
        return end(t);
    snprintf(window, sizeof(window), "%llu",
             (unsigned long long)(clients_options.failures_window_ms / 1000));
    snprintf(most, sizeof(most), "%lld", (long long)clients_options.failures_most);
    param[1] = str_of(window);
    param[2] = str_of(most);
    stmt.sql = failed ? failed_sql : loaded_sql;
    stmt.param_count = failed ? 3 : 1;
    r->synced = failed;
    self.disabling = failed;
    return ask(t, &stmt, 1, counted, r, e);
}

static int counted(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0)
        log_write(ATH_WARN, "athena::clients", "how a client was loaded could not be noted: %s",
                  e->message);
    else if (self.disabling && db_rows_count(d->rows))
        log_write(ATH_WARN, "athena::clients",
                  "a client of the catalogue was made inactive: it could not be loaded %lld times",
                  (long long)clients_options.failures_most);
    return count_next(t, d->arg, e);
}

/* ---- one reading after the other ---- */

static int read_run(ath_task *t, void *arg, ath_err *e)
{
    struct reading *r = arg;
    const ath_stmt stamp = { .sql = stamp_sql };

    if (r->kind == READ_ALL)
        return read_all(t, r, e);
    if (r->kind == READ_SOME)
        return read_some(t, r, e);
    if (r->kind == COUNT_LOAD)
        return count_next(t, r, e);
    return ask(t, &stamp, 1, stamp_read, r, e);
}

static bool is_absent(const ath_err *e)
{
    ath_str code = err_get(e, "code");

    return str_is(code, "undefined_table") || str_is(code, "undefined_column");
}

/* Whoever makes it may be at work right now. */
static void say_absent(bool absent, const ath_err *e)
{
    if (absent && ++self.absent == ABSENT_SAID)
        log_write(ATH_WARN, "athena::clients",
                  "the catalogue of clients is not there, only configured clients are served: %s; to "
                  "add it: athena migrate up",
                  e->message);
    else if (!absent && self.absent >= ABSENT_SAID)
        log_write(ATH_INFO, "athena::clients", "the catalogue of clients is there now");
    if (!absent)
        self.absent = 0;
}

static int was_read(ath_task *t, const ath_done *d, ath_err *e)
{
    bool absent = d->rc < 0 && is_absent(e);
    enum reading_kind kind = self.now.kind;

    self.reading = false;
    atomic_store(&fails, d->rc < 0 && !absent);
    atomic_store(&tried, true);
    atomic_store(&answered, self.now.ticket);
    known_settle();
    if (d->rc < 0 && !absent)
        return d->rc;
    if (d->rc == 0 || kind != COUNT_LOAD)
        say_absent(absent, e);
    if (absent)
        self.seen[0] = 0; /* whatever it will say is news */
    control_part_is_well("clients");
    return kick(t, e);
}

/* What is wished for; all of it comes before parts. */
static enum reading_kind next_kind(struct reading *r)
{
    enum reading_kind kind = NOTHING;

    buf_free(&r->names);
    pthread_mutex_lock(&lock);
    r->ticket = asked;
    if (self.all || wish_all) {
        kind = READ_ALL;
    } else if (wishes.n) {
        kind = READ_SOME;
        buf_char(&r->names, '[');
        buf_str(&r->names, buf_view(&wishes));
        buf_char(&r->names, ']');
    }
    if (kind != NOTHING) {
        buf_reset(&wishes);
        wish_all = false;
        self.all = false;
    }
    pthread_mutex_unlock(&lock);
    return kind;
}

static int kick(ath_task *t, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = read_run, .arg = &self.now };

    if (self.reading)
        return 0;
    self.now.kind = next_kind(&self.now);
    if (self.now.kind == NOTHING && self.stamp) {
        self.now.kind = READ_STAMP;
        self.stamp = false;
    }
    if (self.now.kind == NOTHING)
        return 0;
    self.now.synced = self.synced;
    self.reading = true;
    return task_fork(t, &f, was_read, NULL, e);
}

/* ---- notifications ---- */

static bool hears(ath_task *t);

/* Names of clients; an empty one, and none at all, stand for any. */
static void take_payloads(ath_str text)
{
    const struct json *list;
    struct json_error why;
    ath_arena a;

    arena_init(&a);
    list = json_read(text, (struct json_memory){ arena_alloc, &a }, PAYLOADS, &why);
    if (!list || !list->count)
        self.all = true;
    else
        json_each(v, list)
        {
            if (json_text(v).n)
                follow_want(json_text(v));
            else
                self.all = true;
        }
    arena_free(&a);
}

/* Where nobody may listen (a standby, a pooler), looking has to do. */
static int heard(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0) {
        self.deaf = true;
        return 0;
    }
    if (clients_options.loading)
        take_payloads(d->bytes);
    self.deaf = !hears(t);
    return kick(t, e);
}

static bool hears(ath_task *t)
{
    return db_hears(t, "@control", CHANNEL, heard);
}

/* ---- looking ---- */

static int look_later(ath_task *t, ath_err *e);

static int count_loads(ath_task *t, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = read_run, .arg = &self.now };

    if (self.reading || !clients_options.auto_disable || self.absent)
        return 0;
    pthread_mutex_lock(&lock);
    self.now.ticket = atomic_load(&answered);
    pthread_mutex_unlock(&lock);
    self.now.kind = COUNT_LOAD;
    self.reading = true;
    return task_fork(t, &f, was_read, NULL, e);
}

/* Every now and then; and more often for a table that somebody will make. */
static bool is_time_to_look(ath_task *t)
{
    uint64_t now = loop_now_ms(t->loop);

    if (!self.absent &&
        (!clients_options.loading || now - self.looked_ms < clients_options.poll_ms))
        return false;
    self.looked_ms = now;
    return true;
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    int rc;

    if (d->rc < 0)
        return d->rc;
    if (self.deaf)
        self.deaf = !hears(t);
    self.stamp = is_time_to_look(t);
    rc = count_loads(t, e);
    if (rc == 0)
        rc = kick(t, e);
    return rc < 0 ? rc : look_later(t, e);
}

static int look_later(ath_task *t, ath_err *e)
{
    uint64_t ms = clients_options.poll_ms < TICK_MS ? clients_options.poll_ms : TICK_MS;

    return task_after(t, ms, looked, NULL, e);
}

static void life_over(void *arg)
{
    (void)arg;
    self.task = NULL;
    self.reading = false;
    buf_free(&self.now.names);
    atomic_store(&tried, true);
    known_settle();
    pthread_mutex_lock(&lock);
    atomic_store(&answered, asked);
    pthread_mutex_unlock(&lock);
}

int clients_follow(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    self.task = t;
    self.all = true;
    self.reading = false;
    arena_own(&t->arena, &self, life_over);
    atomic_store(&home, t->loop);
    self.looked_ms = loop_now_ms(t->loop);
    self.deaf = !hears(t);
    if (kick(t, e) < 0)
        return e->rc;
    return look_later(t, e);
}
