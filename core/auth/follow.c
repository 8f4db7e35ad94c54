/* Following the key store: one life of the part "keys" (control.h).
 *
 * The task waits for notifications and for its next tick all the time. A round reads everything
 * that is in memory; beside it up to LOOKUPS readings look up what somebody waits for, each all
 * that came meanwhile. So a slow database makes those wait who must, and nobody else.
 *
 * Readings have numbers. What a reading brings never replaces what one that began later has
 * brought; and a look-up that a round has overtaken may have brought what the round was told to
 * replace, so another round follows.
 *
 * What the tables of this database lack is asked once, and again when a reading stumbles.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/store_priv.h"
#include "control/control.h"
#include "control/schema.h"
#include "db/query.h"
#include "lib/text.h"
#include "log/log.h"

enum {
    LOOKUPS = 3,
    TICK_MS = 250,
    READ_MS = 15000,
    PROBE_MS = 10000, /* what is incomplete may be completed */
    USES_MOST = 2000
};

#define CHANNEL   "athena_auth_changed"
#define COMPONENT "auth"

struct reading {
    uint64_t seq;                    /* 0: none is under way */
    struct buf ids;                  /* of the keys */
    struct buf tables_sql, keys_sql; /* its own: a probe beside it may find other tables */
    bool tables;                     /* a round */
    bool again;                      /* it has stumbled once */
    bool last;                       /* of uses: whenever the ones before were written */
};

static struct {
    ath_task *task;
    bool deaf, round, probed, failing, deaf_to_uses, complained;
    bool told;               /* of a change, since the last probe */
    bool well;               /* it could be read in this life */
    bool making;             /* when it was probed, this process had yet to bring it up */
    uint64_t seq, round_seq; /* of the last reading, and round, that has begun */
    uint64_t round_ms, probe_ms;
    uint64_t missing_ms; /* since when it is this that is missing; 0: nobody was told of any */
    uint64_t failing_ms; /* since when nothing can be read */
    struct shape shape;
    struct buf missing;
    struct reading reading[1 + LOOKUPS], uses; /* reading[0]: the round */
} self;

static _Atomic(ath_loop *) home;
static atomic_bool wanted;

static int kick(ath_task *t, ath_err *e);

/* ---- from other threads ---- */

static void kick_here(void *arg)
{
    ath_err e;

    (void)arg;
    err_reset(&e);
    if (self.task && kick(self.task, &e) < 0)
        task_end(self.task, e.rc, &e, NULL);
}

void store_kick(void)
{
    ath_loop *l = atomic_load(&home);

    if (l)
        loop_post(l, kick_here, NULL);
}

void store_changed(void)
{
    atomic_store(&wanted, true);
    store_kick();
}

/* ---- asking ---- */

static int ask(ath_task *t, const ath_stmt *stmt, uint32_t n, ath_then *then, struct reading *r,
               ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_READ,
                    .client = ATH_S("@keys"),
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

/* ---- what there is to read ---- */

static void complain(void)
{
    log_write(ATH_WARN, "athena::keys", "the key store lacks %s: %s; to add it: athena migrate up",
              self.missing.p,
              self.shape.keys
                  ? self.shape.old ? "it counts as empty" : "keys that need it are refused"
                  : "no key can be checked");
}

/* Once, until it is something else: at once when it is the first thing, and nobody is about to make
 * it; what is left of something else when it stays so.
 */
static void say_shape(uint64_t now)
{
    struct buf missing = BUF_HEAP;
    bool first = !self.missing.n || !self.missing_ms;

    shape_say(&self.shape, &missing);
    if (str_eq(buf_view(&missing), buf_view(&self.missing))) {
        buf_free(&missing);
    } else {
        if (!missing.n && self.complained)
            log_write(ATH_INFO, "athena::keys", "the key store is complete now");
        buf_free(&self.missing);
        self.missing = missing;
        self.missing_ms = first ? 0 : now;
        self.complained = false;
    }
    if (self.missing.n && !self.complained && !self.making && now - self.missing_ms >= PROBE_MS) {
        self.complained = true;
        self.missing_ms = now;
        complain();
    }
}

static int read_all(ath_task *t, struct reading *r, ath_err *e);

static int probed(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    shape_read(d->rows, &self.shape);
    self.probed = true;
    self.told = false;
    self.probe_ms = loop_now_ms(t->loop);
    say_shape(self.probe_ms);
    return read_all(t, d->arg, e);
}

static int probe(ath_task *t, struct reading *r, ath_err *e)
{
    const ath_stmt stmt = { .sql = shape_sql };

    self.making = schema_is_pending(COMPONENT);
    return ask(t, &stmt, 1, probed, r, e);
}

/* What was missing while this process had yet to make it. */
static bool is_made(void)
{
    return self.missing.n && self.making && !schema_is_pending(COMPONENT);
}

/* Whoever makes tables may be at work right now, or has just told of it. */
static bool is_incomplete(uint64_t now)
{
    return self.missing.n && (self.told || is_made() || now - self.probe_ms >= PROBE_MS);
}

/* Somebody has changed the tables since they were looked at. */
static bool is_shape_lost(const ath_err *e)
{
    ath_str code = err_get(e, "code");

    return str_is(code, "undefined_table") || str_is(code, "undefined_column") ||
           str_is(code, "insufficient_privilege");
}

/* ---- a reading ---- */

static void take_keys(const struct reading *r, const ath_rows *rows)
{
    for (uint32_t i = 0; i < db_rows_count(rows); i++) {
        uint64_t digest[2];
        keyrow_digest(rows, i, &self.shape, digest);
        if (!memory_has(db_rows_text(rows, i, 0), digest, r->seq))
            memory_key(keyrow_read(rows, i, &self.shape), r->seq);
    }
}

/* What somebody asked for, and did not come. */
static void take_missing(const struct reading *r)
{
    void *at = NULL;
    ath_str id;

    while (look_asked(r->seq, &at, &id))
        memory_missing(id, r->seq);
}

static int all_read(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reading *r = d->arg;
    const ath_rows *keys = d->rows;

    if (d->rc < 0 && is_shape_lost(e) && !r->again) {
        r->again = true;
        return probe(t, r, e);
    }
    if (d->rc < 0)
        return d->rc;
    if (r->tables) {
        memory_tables(tables_read(d->rows, &self.shape));
        keys = db_rows_next(d->rows);
    }
    if (keys)
        take_keys(r, keys);
    if (r->tables)
        memory_gone(r->seq);
    else
        take_missing(r);
    return end(t);
}

static int read_all(ath_task *t, struct reading *r, ath_err *e)
{
    ath_str ids = buf_view(&r->ids);
    ath_stmt stmt[2] = { 0 };

    buf_reset(&r->tables_sql);
    buf_reset(&r->keys_sql);
    shape_sql_tables(&self.shape, &r->tables_sql);
    shape_sql_keys(&self.shape, &r->keys_sql);
    stmt[0].sql = r->tables_sql.p;
    stmt[1] = (ath_stmt){ .sql = r->keys_sql.p, .param = &ids, .param_count = 1 };

    if (r->tables)
        return ask(t, stmt, self.shape.keys ? 2 : 1, all_read, r, e);
    if (!self.shape.keys)
        return err_raise(e, "undefined_table", "the auth database has no table \"api_keys\"");
    return ask(t, &stmt[1], 1, all_read, r, e);
}

static int read_run(ath_task *t, void *arg, ath_err *e)
{
    return self.probed && !(((struct reading *)arg)->tables && is_incomplete(loop_now_ms(t->loop)))
               ? read_all(t, arg, e)
               : probe(t, arg, e);
}

/* ---- one life of readings ---- */

/* Columns that are not there may just be being made. */
static void say_reading(int rc, const ath_err *e, uint64_t now)
{
    bool lost = rc < 0 && is_shape_lost(e);

    if (rc == 0 && self.failing)
        log_write(ATH_INFO, "athena::keys", "the key store can be read again");
    if (rc == 0) {
        self.failing = false;
        self.failing_ms = 0;
        self.well = true;
        return;
    }
    if (!self.failing_ms)
        self.failing_ms = now;
    if (self.failing ||
        (lost && (self.well || schema_is_pending(COMPONENT)) && now - self.failing_ms < PROBE_MS))
        return;
    self.failing = true;
    log_write(ATH_WARN, "athena::keys", "the key store cannot be read: %.*s%s", (int)e->message_n,
              e->message, lost ? "; to add what is missing: athena migrate up" : "");
}

static int was_read(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reading *r = d->arg;
    uint64_t seq = r->seq;

    r->seq = 0;
    if (d->rc == ATH_E_CANCELED) {
        look_answer(seq, ATH_E_UPSTREAM);
        return d->rc;
    }
    if (r->tables) {
        say_reading(d->rc, e, loop_now_ms(t->loop));
        memory_read(d->rc == 0, d->rc == ATH_E_UPSTREAM || d->rc == ATH_E_TIMEOUT);
        if (d->rc == 0)
            control_part_is_well("keys");
    } else if (d->rc == 0 && seq < self.round_seq) {
        self.round = true;
    }
    look_answer(seq, d->rc);
    return kick(t, e);
}

static int begin(ath_task *t, struct reading *r, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = read_run, .arg = r };

    r->again = false;
    return task_fork(t, &f, was_read, r, e);
}

static int begin_round(ath_task *t, ath_err *e)
{
    struct reading *r = &self.reading[0];

    self.round = false;
    self.round_ms = loop_now_ms(t->loop);
    r->seq = self.round_seq = ++self.seq;
    r->tables = true;
    buf_reset(&r->ids);
    look_take(LOOK_TABLES, r->seq, NULL);
    memory_ids(&r->ids, r->seq);
    return begin(t, r, e);
}

static int begin_lookups(ath_task *t, ath_err *e)
{
    for (size_t i = 1; i <= LOOKUPS; i++) {
        struct reading *r = &self.reading[i];
        if (r->seq)
            continue;
        buf_reset(&r->ids);
        if (!look_take(LOOK_KEYS, self.seq + 1, &r->ids))
            return 0;
        r->seq = ++self.seq;
        if (begin(t, r, e) < 0)
            return e->rc;
    }
    return 0;
}

static int kick(ath_task *t, ath_err *e)
{
    if (atomic_exchange(&wanted, false))
        self.round = self.told = true;
    self.told |= look_waits(LOOK_TABLES);
    if ((self.round || look_waits(LOOK_TABLES)) && !self.reading[0].seq && begin_round(t, e) < 0)
        return e->rc;
    return look_waits(LOOK_KEYS) ? begin_lookups(t, e) : 0;
}

/* ---- last uses ---- */

static const char uses_sql[] =
    "update api_keys k set last_used_at = now() - make_interval(secs => u.ago::float8 / 1000) from "
    "jsonb_to_recordset($1::jsonb) as u(id bigint, ago bigint) where k.id = u.id and "
    "(k.last_used_at is null or k.last_used_at <= now() - make_interval(secs => "
    "(u.ago + $2::bigint)::float8 / 1000))";

static int uses_written(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t;
    self.uses.seq = 0;
    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0 && !self.deaf_to_uses)
        log_write(ATH_WARN, "athena::keys", "last uses of keys could not be written: %.*s",
                  (int)e->message_n, e->message);
    self.deaf_to_uses = d->rc < 0;
    return 0;
}

static int uses_asked(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : end(t);
}

static int uses_run(ath_task *t, void *arg, ath_err *e)
{
    struct reading *r = arg;
    char every[STR_U64_ROOM];
    ath_str param[] = { buf_view(&r->ids),
                        str_from_u64(r->last ? 0 : store_options.use_ms, every) };
    const ath_stmt stmt = { .sql = uses_sql, .param = param, .param_count = 2 };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@keys"),
                    .timeout_ms = READ_MS,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return db_query(t, &q, uses_asked, r, e);
}

/* As a JSON array; false: there are none. On the follower's loop. */
static bool uses_take(struct buf *json, bool all)
{
    static struct use use[USES_MOST];
    uint32_t n = self.shape.keys ? memory_uses(use, USES_MOST, all) : 0;

    buf_reset(json);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(json, "%s{\"id\":%lld,\"ago\":%llu}", i ? "," : "[", (long long)use[i].internal,
                   (unsigned long long)use[i].ago_ms);
    buf_char(json, ']');
    return n > 0;
}

/* Those that are due, by one statement. */
static int write_uses(ath_task *t, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = uses_run, .arg = &self.uses };

    if (self.uses.seq || store_state() != STORE_WELL || !uses_take(&self.uses.ids, false))
        return 0;
    self.uses.seq = ++self.seq;
    return task_fork(t, &f, uses_written, NULL, e);
}

/* What is left at the end, in a task that the drain waits for. */
static int flush_done(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == 0)
        return end(t);
    log_write(ATH_WARN, "athena::keys", "last uses of keys could not be written: %.*s",
              (int)e->message_n, e->message);
    return d->rc;
}

static int flush_run(ath_task *t, void *arg, ath_err *e)
{
    struct reading *r = ARENA_NEW(&t->arena, struct reading);
    ath_fork f = { .size = sizeof(f), .run = uses_run, .arg = r };

    (void)arg;
    r->ids = ARENA_BUF(&t->arena);
    r->last = true;
    return uses_take(&r->ids, true) ? task_fork(t, &f, flush_done, NULL, e) : end(t);
}

void store_drain(void)
{
    ath_fork f = { .size = sizeof(f), .run = flush_run };
    ath_loop *l = atomic_load(&home);

    if (l && store_state() == STORE_WELL)
        task_begin(NULL, l, &f);
}

/* ---- listening ---- */

static bool hears(ath_task *t);

/* Where nobody may listen (a standby, a pooler), looking has to do. */
static int heard(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0) {
        self.deaf = true;
        return 0;
    }
    self.deaf = !hears(t);
    memory_drop_others();
    self.round = self.told = true;
    return kick(t, e);
}

static bool hears(ath_task *t)
{
    return db_hears(t, "@auth", CHANNEL, heard);
}

/* ---- looking ---- */

static int look_later(ath_task *t, ath_err *e);

static bool is_time(ath_task *t)
{
    uint64_t every = store_options.ttl_ms ? store_options.ttl_ms : TICK_MS;

    return self.failing || is_made() || loop_now_ms(t->loop) - self.round_ms >= every;
}

static int ticked(ath_task *t, const ath_done *d, ath_err *e)
{
    int rc;

    if (d->rc < 0)
        return d->rc;
    if (self.deaf)
        self.deaf = !hears(t);
    memory_age();
    self.round = self.round || is_time(t);
    if ((rc = write_uses(t, e)) < 0 || (rc = kick(t, e)) < 0)
        return rc;
    return look_later(t, e);
}

static int look_later(ath_task *t, ath_err *e)
{
    return task_after(t, TICK_MS, ticked, NULL, e);
}

static void life_over(void *arg)
{
    (void)arg;
    self.task = NULL;
    for (size_t i = 0; i < ATH_COUNT(self.reading); i++) {
        if (self.reading[i].seq)
            look_answer(self.reading[i].seq, ATH_E_UPSTREAM);
        self.reading[i].seq = 0;
        buf_free(&self.reading[i].ids);
        buf_free(&self.reading[i].tables_sql);
        buf_free(&self.reading[i].keys_sql);
    }
    self.uses.seq = 0;
    buf_free(&self.uses.ids);
    buf_free(&self.missing);
    self.probed = self.failing = self.well = false;
    self.failing_ms = 0;
}

int store_follow(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    self.task = t;
    self.round = true;
    arena_own(&t->arena, &self, life_over);
    atomic_store(&home, t->loop);
    self.deaf = !hears(t);
    if (kick(t, e) < 0)
        return e->rc;
    return look_later(t, e);
}
