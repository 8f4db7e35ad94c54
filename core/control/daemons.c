/* One trip each time: this process's row, and who runs which family. */
#include "control/daemons.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "db/query.h"
#include "lib/json.h"
#include "lib/jsonread.h"
#include "log/log.h"
#include "log/metric.h"

enum { FACTS_MOST = 100000, BEAT_MS = 10000, OFFLINE_MS = 2000, FAMILY_NAME = 64 };

struct family {
    char name[FAMILY_NAME];
    uint64_t servers, daemons;
};

static struct {
    struct daemons_options o;
    char *known;
    char instance[UUID_TEXT]; /* of this process */
    atomic_bool again;        /* this id was written by us before */
    bool said;                /* that somebody else uses it */
    bool metrics;
    pthread_mutex_t lock; /* of what is below */
    char id[DAEMON_ID], base[DAEMON_ID];
    struct family family[DAEMON_FAMILIES_MOST];
    uint32_t families;
    bool looked;
} us = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- who we are ---- */

static void take_id(const char *id, bool base)
{
    pthread_mutex_lock(&us.lock);
    snprintf(us.id, sizeof(us.id), "%s", id);
    if (base)
        snprintf(us.base, sizeof(us.base), "%s", id);
    pthread_mutex_unlock(&us.lock);
}

void daemons_id(char ret_id[DAEMON_ID], char ret_base[DAEMON_ID])
{
    pthread_mutex_lock(&us.lock);
    memcpy(ret_id, us.id, DAEMON_ID);
    memcpy(ret_base, us.base, DAEMON_ID);
    pthread_mutex_unlock(&us.lock);
}

const char *daemons_host(void)
{
    static char host[256];
    const char *name = getenv("HOSTNAME");

    if (name && name[0])
        return name;
    if (!host[0] && (gethostname(host, sizeof(host) - 1) != 0 || !host[0]))
        snprintf(host, sizeof(host), "unknown-host");
    return host;
}

/* What is the same after a restart, and different for another process of the host (D-27). */
static void make_id(void)
{
    struct buf b = BUF_HEAP, what = BUF_HEAP;

    buf_printf(&what, "%s|%u", us.o.config_path ? us.o.config_path : "", us.o.port);
    for (const char *c = us.o.kind; *c; c++)
        buf_char(&b, *c == '_' ? '-' : *c);
    buf_printf(&b, "-%s-%08x", daemons_host(), str_hash(buf_view(&what)));
    take_id(b.p, true);
    buf_free(&b);
    buf_free(&what);
}

/* ---- what runs here ---- */

static bool is_true(const struct json *v)
{
    return v && v->type == JSON_TRUE;
}

/* What really runs here (D-28): a gate may be shut, and another process may be the one that runs
 * it. */
static bool is_live(const struct json *worker)
{
    const struct json *runner = json_get(worker, "runner"); /* queues have many */

    return is_true(json_get(worker, "open")) && (!runner || is_true(runner)) &&
           !str_is(json_text(json_get(worker, "worker")), daemons_worker.cap.name);
}

static ath_str worker_names(ath_task *t, const struct json *workers)
{
    struct buf b = ARENA_BUF(&t->arena);

    buf_char(&b, '[');
    json_each(w, workers)
    {
        if (!is_live(w))
            continue;
        if (b.n > 1)
            buf_char(&b, ',');
        buf_json(&b, json_text(json_get(w, "worker")));
    }
    buf_char(&b, ']');
    return buf_view(&b);
}

/* The first of them that is there: ticks and queues are described by different members. */
static void put_member(struct buf *b, const char *key, const struct json *from, const char *member,
                       const char *other)
{
    const struct json *v = json_get(from, member);

    v = v || !other ? v : json_get(from, other);
    buf_json_key(b, key);
    buf_str(b, v ? v->raw : ATH_S("null"));
}

/* Is it one that somebody should run, so that its family is this process's, too? */
static bool is_owned(const struct json *worker, const struct json *known)
{
    if (!known || !is_true(json_get(worker, "open")))
        return false;
    json_each(k, known)
    {
        if (str_eq(json_text(json_get(k, "worker")), json_text(json_get(worker, "worker"))))
            return true;
    }
    return false;
}

/* Of workers that have one runner of all processes each, this one may run none right now. */
static void put_families(struct buf *b, const struct json *workers, const struct json *known)
{
    ath_str last = { "", 0 };
    uint32_t n = 0;

    buf_json_key(b, "families");
    buf_char(b, '[');
    json_each(w, workers)
    {
        ath_str family = json_text(json_get(w, "family"));
        if (!is_owned(w, known) || str_eq(family, last))
            continue;
        buf_z(b, n++ ? "," : "");
        buf_json(b, family);
        last = family;
    }
    buf_char(b, ']');
}

static ath_str metadata(ath_task *t, const struct json *process, const struct json *workers)
{
    struct json_error why;
    bool serves = strcmp(us.o.kind, "api_inline") == 0;
    struct buf b = ARENA_BUF(&t->arena);
    size_t first;

    buf_char(&b, '{');
    buf_json_str(&b, "management_mode", str_of(us.o.mode));
    buf_json_str(&b, "runtime", str_of(serves ? "api" : us.o.kind));
    put_member(&b, "pid", process, "pid", NULL);
    if (us.o.port)
        buf_json_int(&b, "port", us.o.port);
    buf_json_str(&b, "instance", str_of(us.instance));
    put_families(&b, workers,
                 json_read(str_of(us.known), (struct json_memory){ arena_raw, &t->arena },
                           FACTS_MOST, &why));
    buf_lit(&b, ",\"workers\":{");
    first = b.n;
    json_each(w, workers)
    {
        if (!is_live(w))
            continue;
        if (b.n > first)
            buf_char(&b, ',');
        buf_json(&b, json_text(json_get(w, "worker")));
        buf_lit(&b, ":{");
        put_member(&b, "last_tick", w, "last_run_at", "last_claim_at");
        put_member(&b, "errors", w, "failures", "failed");
        buf_char(&b, '}');
    }
    buf_lit(&b, "}}");
    return buf_view(&b);
}

/* ---- the families ---- */

const char daemons_families_sql[] =
    "select k.family, count(distinct d.daemon_id) filter (where d.runtime_kind = 'api_inline'), "
    "count(distinct d.daemon_id) filter (where d.runtime_kind <> 'api_inline'), "
    "coalesce(string_agg(distinct d.daemon_id, ', '), '') "
    "from jsonb_to_recordset($1::jsonb) as k(worker text, family text) "
    "left join public.daemon_runtime_registry d "
    "on d.last_seen_at > now() - interval '60 seconds' and "
    "(d.workers_json ? k.worker or d.metadata_json->'families' ? k.family) "
    "group by k.family order by k.family";

const char *daemons_state(uint64_t servers, uint64_t daemons)
{
    return servers && daemons ? "doubled" : servers || daemons ? "ok" : "none";
}

static void take_families(const ath_rows *rows)
{
    uint32_t n = rows ? db_rows_count(rows) : 0;

    pthread_mutex_lock(&us.lock);
    us.looked = true;
    us.families = n < DAEMON_FAMILIES_MOST ? n : DAEMON_FAMILIES_MOST;
    for (uint32_t i = 0; i < us.families; i++) {
        struct family *f = &us.family[i];
        snprintf(f->name, sizeof(f->name), "%.*s", STR_ARG(db_rows_text(rows, i, 0)));
        f->servers = f->daemons = 0;
        str_u64(db_rows_text(rows, i, 1), &f->servers);
        str_u64(db_rows_text(rows, i, 2), &f->daemons);
    }
    pthread_mutex_unlock(&us.lock);
}

void daemons_families_json(struct buf *b)
{
    pthread_mutex_lock(&us.lock);
    buf_z(b, us.looked ? "[" : "null");
    for (uint32_t i = 0; us.looked && i < us.families; i++) {
        const struct family *f = &us.family[i];
        buf_z(b, i ? ",{" : "{");
        buf_json_str(b, "family", str_of(f->name));
        buf_json_int(b, "servers", (int64_t)f->servers);
        buf_json_int(b, "daemons", (int64_t)f->daemons);
        buf_json_str(b, "state", str_of(daemons_state(f->servers, f->daemons)));
        buf_char(b, '}');
    }
    buf_z(b, us.looked ? "]" : "");
    pthread_mutex_unlock(&us.lock);
}

static void put_metrics(struct buf *b, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&us.lock);
    if (us.looked)
        metric_head(b, "athena_worker_family_runners", "gauge",
                    "Processes that are online and run workers of the family.");
    for (uint32_t i = 0; us.looked && i < us.families; i++)
        buf_printf(b, "athena_worker_family_runners{family=\"%s\"} %llu\n", us.family[i].name,
                   (unsigned long long)(us.family[i].servers + us.family[i].daemons));
    pthread_mutex_unlock(&us.lock);
}

/* ---- the heartbeat ---- */

static int done(ath_task *t)
{
    task_done(t, NULL);
    return 0;
}

static int ask(ath_task *t, const ath_stmt *stmt, uint32_t n, uint32_t limit_ms, ath_then *then,
               ath_err *e)
{
    static const ath_pair set[] = { { ATH_S("lock_timeout"), ATH_S("1s") } };
    const ath_query q = { .size = sizeof(q),
                          .client = ATH_S("@control"),
                          .stmt = stmt,
                          .stmt_size = sizeof(*stmt),
                          .stmt_count = n,
                          .set = set,
                          .set_count = ATH_COUNT(set),
                          .timeout_ms = limit_ms };

    return db_query(t, &q, then, NULL, e);
}

static int beat(ath_task *t, ath_err *e);

/* Somebody else writes the same row: ours gets a name beside it (D-26). */
static int step_aside(ath_task *t, const ath_rows *before, ath_err *e)
{
    ath_str kind = db_rows_text(before, 0, 0);
    struct buf id = ARENA_BUF(&t->arena);

    buf_printf(&id, "%s:%s", us.id, us.o.kind);
    if (str_is(kind, us.o.kind))
        buf_printf(&id, "-%.8s", us.instance);
    if (!us.said)
        log_write(ATH_WARN, "athena::daemons",
                  "daemon id \"%s\" is used by another live process (kind %.*s, pid %.*s, host "
                  "%.*s); this one shows as \"%s\"",
                  us.id, STR_ARG(kind), STR_ARG(db_rows_text(before, 0, 1)),
                  STR_ARG(db_rows_text(before, 0, 2)), id.p);
    us.said = true;
    us.again = false;
    take_id(id.p, false);
    return beat(t, e);
}

/* Of the row before: kind, pid, host, whether it is ours, whether it is live; and whether it was
 * written now. The first time a live row of our kind is our own from before a restart. */
static int beaten(ath_task *t, const ath_done *d, ath_err *e)
{
    bool there, ours, live;

    if (d->rc < 0)
        return d->rc;
    take_families(db_rows_next(d->rows));
    there = db_rows_text(d->rows, 0, 0).p != NULL;
    ours = str_is(db_rows_text(d->rows, 0, 3), "t");
    live = str_is(db_rows_text(d->rows, 0, 4), "t");
    if (there && !ours && live && !us.said &&
        (us.again || !str_is(db_rows_text(d->rows, 0, 0), us.o.kind)))
        return step_aside(t, d->rows, e);
    us.again = true;
    return done(t);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    take_families(d->rows);
    return done(t);
}

static const char beat_sql[] =
    "with before as (select runtime_kind, metadata_json->>'pid' as pid, host, "
    "coalesce(metadata_json->>'instance' = $6, false) as ours, "
    "last_seen_at > now() - interval '60 seconds' as live "
    "from public.daemon_runtime_registry where daemon_id = $1), "
    "beat as (insert into public.daemon_runtime_registry as r (daemon_id, runtime_kind, host, "
    "version, workers_json, metadata_json, started_at, last_seen_at) "
    "values ($1, $8, $2, $3, coalesce((select jsonb_agg(w order by w) "
    "from jsonb_array_elements_text($4::jsonb) w), '[]'), $5::jsonb, "
    "to_timestamp($7::float8 / 1000), now()) "
    "on conflict (daemon_id) do update set runtime_kind = excluded.runtime_kind, "
    "host = excluded.host, version = excluded.version, workers_json = excluded.workers_json, "
    "metadata_json = excluded.metadata_json, started_at = excluded.started_at, "
    "last_seen_at = excluded.last_seen_at "
    "where r.runtime_kind = excluded.runtime_kind "
    "or r.last_seen_at <= now() - interval '60 seconds' returning 1) "
    "select b.runtime_kind, b.pid, b.host, b.ours, b.live, exists (select from beat) "
    "from (select) one left join before b on true";

static int look(ath_task *t, const ath_stmt *families, ath_err *e)
{
    return us.known ? ask(t, families, 1, BEAT_MS, looked, e) : done(t);
}

static int beat(ath_task *t, ath_err *e)
{
    struct json_memory mem = { arena_raw, &t->arena };
    const struct json *process, *workers;
    ath_str known = str_of(us.known);
    ath_stmt stmt[] = { { .sql = beat_sql },
                        { .sql = daemons_families_sql, .param = &known, .param_count = 1 } };
    struct json_error why;

    if (!us.o.shows)
        return look(t, &stmt[1], e);
    process = json_read(us.o.inspect(t, "process"), mem, FACTS_MOST, &why);
    workers = json_read(us.o.inspect(t, "workers"), mem, FACTS_MOST, &why);
    if (!process || !workers)
        return err_fail(e, ATH_E_BUG, "this process is not known");
    ath_str param[] = { arena_str(&t->arena, str_of(us.id)),
                        json_text(json_get(process, "host")),
                        json_text(json_get(process, "version")),
                        worker_names(t, workers),
                        metadata(t, process, workers),
                        str_of(us.instance),
                        json_get(process, "started_at_unix_ms")->text,
                        str_of(us.o.kind) };
    ath_str *kept = arena_raw(&t->arena, sizeof(param));
    memcpy(kept, param, sizeof(param));
    stmt[0].param = kept;
    stmt[0].param_count = ATH_COUNT(param);
    return ask(t, stmt, us.known ? 2 : 1, BEAT_MS, beaten, e);
}

static int run(ath_job *j, ath_err *e)
{
    return us.o.control ? beat(j, e) : done(j);
}

static void pace(const void *config, ath_pace *p)
{
    (void)config;
    p->poll_ms = us.o.every_ms;
}

const ath_worker daemons_worker = { ATH_CAP(ath_worker, ATH_CAP_WORKER, "daemon_heartbeat"),
                                    .family = "core", .pace = pace, .run = run,
                                    .flags = ATH_WK_LOCAL };

/* ---- the end ---- */

static int ended(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)d, (void)e; /* a control plane that is away finds out by itself */
    return done(t);
}

static int end(ath_task *t, void *arg, ath_err *e)
{
    ath_str *instance = arena_raw(&t->arena, sizeof(*instance));
    const ath_stmt stmt = { .sql = "update public.daemon_runtime_registry set last_seen_at = "
                                   "least(last_seen_at, now() - interval '61 seconds') "
                                   "where metadata_json->>'instance' = $1",
                            .param = instance,
                            .param_count = 1 };

    (void)arg;
    *instance = str_of(us.instance);
    return ask(t, &stmt, 1, OFFLINE_MS, ended, e) < 0 ? done(t) : 0;
}

void daemons_end(void)
{
    if (us.o.control && us.again)
        task_begin(NULL, task_work_loop(), &(ath_fork){ .size = sizeof(ath_fork), .run = end });
}

/* ---- life ---- */

void daemons_setup(const struct daemons_options *o)
{
    char given[DAEMON_ID];

    us.o = *o;
    us.known = o->known ? mem_dup_z(o->known) : NULL;
    us.again = us.said = us.looked = false;
    rand_uuid(us.instance);
    snprintf(given, sizeof(given), "%.*s", STR_ARG(str_trim(o->id)));
    if (given[0])
        take_id(given, true);
    else
        make_id();
    if (!us.metrics)
        metric_source(put_metrics, NULL);
    us.metrics = true;
}

void daemons_stop(void)
{
    free(us.known);
    us.known = NULL;
}
