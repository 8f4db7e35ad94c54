/* The exam: which checks there are, running them side by side, and the document.
 *
 * The exam is a task below whoever asked; each check is a task below the exam, LANES of them at a
 * time, so that a thousand clients do not connect at once. A check that ends without a verdict has
 * failed with the words of its error.
 */
#include "server/doctor.h"

#include <time.h>

#include "base/clock.h"
#include "base/version.h"
#include "control/schema.h"
#include "db/client.h"
#include "lib/json.h"
#include "log/log.h"
#include "server/doctor_priv.h"

enum { LANES = 16, LIMIT_MS = 5000, PLUGINS_MOST = 256 };

static struct setup *process;
static bool serves;

void doctor_start(struct setup *s, bool serving)
{
    process = s;
    serves = serving;
}

/* ---- what a check says ---- */

static void note_v(struct check *c, enum verdict v, const char *hint, const char *fmt, va_list ap)
{
    struct buf words = BUF_HEAP, b = ARENA_BUF(c->exam->arena);

    buf_vprintf(&words, fmt, ap);
    log_redact(&b, buf_view(&words)); /* words of others, too, are shown */
    buf_free(&words);
    c->verdict = v;
    c->seen = buf_view(&b).p;
    c->hint = hint && *hint ? arena_str(c->exam->arena, str_of(hint)).p : NULL;
}

void doctor_note(struct check *c, enum verdict v, const char *hint, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    note_v(c, v, hint, fmt, ap);
    va_end(ap);
}

int doctor_say(ath_task *t, struct check *c, enum verdict v, const char *hint, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    note_v(c, v, hint, fmt, ap);
    va_end(ap);
    task_done(t, NULL);
    return 0;
}

/* ---- the list ---- */

struct check *doctor_add(struct exam *x, const char *name, ath_run *run, const void *about)
{
    struct check *c;

    if (x->n == x->room) {
        struct check *more = arena_alloc(x->arena, (x->room * 2 + 32) * sizeof(*more));
        if (x->n)
            memcpy(more, x->check, x->n * sizeof(*more));
        x->check = more;
        x->room = x->room * 2 + 32;
    }
    c = &x->check[x->n++];
    *c = (struct check){ .name = name, .run = run, .about = about, .exam = x };
    return c;
}

static const char *named(struct exam *x, const char *kind, const char *name)
{
    return arena_printf(x->arena, "%s.%s", kind, name).p;
}

/* A plugin's check, as that plugin's code. */
static int check_of_plugin(ath_task *t, void *arg, ath_err *e)
{
    struct check *c = arg;
    const struct capability *cap = c->about;

    t->self = cap->self;
    t->client = NULL;
    return cap->check.run(t, NULL, e);
}

/* The components of the two databases that are ours, where they are configured. */
static void add_schemas(struct exam *x)
{
    const struct component *component;
    ath_str client;

    for (size_t i = 0; (component = schema_component(i, &client)); i++)
        if (client.n && component->client[0] == '@')
            doctor_add(x, named(x, "schema", component->name), check_schema, component);
}

static void add_clients(struct exam *x)
{
    for (size_t i = 0; i < db_client_count(); i++) {
        struct db_client *client = db_client_at(i);
        doctor_add(x, named(x, "client", client->shown), check_client, client);
    }
}

static void add_plugins(struct exam *x)
{
    struct capability *cap;

    for (uint32_t i = 0;
         i < PLUGINS_MOST && (cap = registry_cap(x->setup->registry, ATH_CAP_CHECK, i)); i++)
        doctor_add(x, named(x, cap->self->name, cap->check.cap.name), check_of_plugin, cap);
}

static void list_checks(struct exam *x)
{
    static const struct {
        const char *name;
        ath_run *run;
        const void *about;
    } fixed[] = {
        { "config.path", check_path, NULL },
        { "config.accepted", check_accepted, NULL },
        { "plugins.loaded", check_plugins, NULL },
        { "admin.key", check_admin_key, NULL },
        { "secrets.key", check_secrets_key, NULL },
        { "logging.client", check_logging, NULL },
        { "auth.client", check_auth, NULL },
        { "clock.skew", check_clock, NULL },
        { "contracts.served", check_contracts, NULL },
        { "queue.deferred", check_deferred, NULL },
        { "jobs.backup", check_backups, NULL },
        { "jobs.clone", check_clones, NULL },
        { "jobs.typesense", check_syncs, NULL },
        { "workers.ownership", check_workers, NULL },
        { "tools.pg_dump", check_tool, "pg_dump" },
        { "tools.pg_restore", check_tool, "pg_restore" },
        { "redis", check_redis, NULL },
        { "storage.s3", check_storage, NULL },
        { "limits.descriptors", check_descriptors, NULL },
        { "logs.spool", check_spool, NULL },
    };

    for (size_t i = 0; i < ATH_COUNT(fixed); i++)
        doctor_add(x, fixed[i].name, fixed[i].run, fixed[i].about);
    add_schemas(x);
    add_clients(x);
    add_plugins(x);
}

/* ---- the document ---- */

static const char *const verdict_word[VERDICTS] = { "skip", "ok", "warn", "fail", "skip" };

static void put_check(struct buf *b, const struct check *c)
{
    buf_char(b, '{');
    buf_json_str(b, "name", str_of(c->name));
    buf_json_str(b, "verdict", str_of(verdict_word[c->verdict]));
    buf_json_str(b, "seen", str_of(c->seen ? c->seen : ""));
    buf_json_key(b, "hint");
    if (c->hint)
        buf_json(b, str_of(c->hint));
    else
        buf_lit(b, "null");
    buf_json_int(b, "took_ms", (int64_t)(c->took_ns / 1000000u));
    buf_char(b, '}');
}

static void put_counts(struct buf *b, const int64_t count[VERDICTS])
{
    buf_lit(b, ",\"counts\":{");
    for (int v = VERDICT_OK; v < VERDICTS; v++)
        buf_json_int(b, verdict_word[v], count[v]);
    buf_char(b, '}');
}

static void put_now(struct buf *b)
{
    time_t now = (time_t)(clock_wall_ns() / 1000000000u);
    char text[32];
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_json_str(b, "generated_at", str_of(text));
}

void doctor_document(struct exam *x, struct buf *b)
{
    int64_t count[VERDICTS] = { 0 };

    for (size_t i = 0; i < x->n; i++)
        count[x->check[i].verdict ? x->check[i].verdict : VERDICT_SKIP]++;
    buf_char(b, '{');
    buf_json_str(b, "status",
                 count[VERDICT_FAIL]   ? ATH_S("fail")
                 : count[VERDICT_WARN] ? ATH_S("warn")
                                       : ATH_S("ok"));
    buf_json_str(b, "version", str_of(athena_version));
    put_now(b);
    buf_json_int(b, "took_ms", (int64_t)((clock_ns() - x->began_ns) / 1000000u));
    put_counts(b, count);
    buf_lit(b, ",\"checks\":[");
    for (size_t i = 0; i < x->n; i++) {
        if (i)
            buf_char(b, ',');
        put_check(b, &x->check[i]);
    }
    buf_lit(b, "]}");
}

/* ---- running ---- */

static int exam_over(struct exam *x)
{
    struct buf b = ARENA_BUF(x->arena);
    ath_done result = { .size = sizeof(result) };

    judge_tools(x);
    doctor_document(x, &b);
    result.bytes = buf_view(&b);
    task_done(x->task, &result);
    return 0;
}

static int exam_on(struct exam *x, ath_err *e);

static void judge(struct check *c, const ath_done *d, const ath_err *e)
{
    c->took_ns = clock_ns() - c->began_ns;
    if (d->rc == ATH_E_TIMEOUT)
        doctor_note(c, VERDICT_FAIL, NULL, "no answer within %u ms", c->exam->limit_ms);
    else if (d->rc < 0)
        doctor_note(c, VERDICT_FAIL, err_get(e, "hint").p, "%.*s", STR_ARG(err_get(e, "message")));
    else if (!c->verdict) /* of a plugin: one line, or nothing to add */
        doctor_note(c, VERDICT_OK, NULL, "%.*s", STR_ARG(d->bytes));
}

static int checked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct check *c = d->arg;
    struct exam *x = c->exam;

    (void)t;
    judge(c, d, e);
    x->running--;
    return exam_on(x, e);
}

static int exam_on(struct exam *x, ath_err *e)
{
    while (x->next < x->n && x->running < LANES) {
        struct check *c = &x->check[x->next++];
        ath_fork f = { .size = sizeof(f), .timeout_ms = x->limit_ms, .run = c->run, .arg = c };
        int rc;
        c->began_ns = clock_ns();
        if ((rc = task_fork(x->task, &f, checked, c, e)) < 0)
            return rc;
        x->running++;
    }
    return x->running ? 0 : exam_over(x);
}

static int exam_begin(ath_task *t, void *arg, ath_err *e)
{
    struct exam *x = arg;

    x->task = t;
    x->arena = &t->arena;
    x->began_ns = clock_ns();
    t->self = NULL; /* the core's own from here on */
    t->client = NULL;
    list_checks(x);
    return exam_on(x, e);
}

static int examine(ath_task *t, uint32_t limit_ms, ath_then *then, void *arg, ath_err *e)
{
    struct exam *x = ARENA_NEW(&t->arena, struct exam);
    ath_fork f = { .size = sizeof(f), .run = exam_begin, .arg = x };

    if (!process)
        return err_raise(e, "feature_unavailable", "the server is starting");
    x->setup = process;
    x->serving = serves;
    x->limit_ms = limit_ms ? limit_ms : LIMIT_MS;
    return task_fork(t, &f, then, arg, e);
}

const ath_doctor doctor_service = { .size = sizeof(ath_doctor), .examine = examine };
