/* A round runs migrate_run() for one component after the other, each in a task of its own, and
 * writes what came of it into the process's memory: `known`, behind a lock. */
#include "control/schema.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "control/control.h"
#include "control/migrate.h"
#include "control/migratejson.h"
#include "lib/json.h"
#include "log/log.h"
#include "log/metric.h"

enum {
    SAY_MS = 3600 * 1000, /* between two warnings, and two attempts of what failed */
    LOOK_MS = 600 * 1000, /* while all is well */
    LOOK_SOON_MS = 20 * 1000,
    NAMES_SAID = 12
};

struct known {
    enum migrate_state state;
    uint32_t tables;             /* missing */
    struct buf json;             /* its object; empty: it was not reached yet */
    uint64_t said_ms, failed_ms; /* of the home loop alone; 0: not yet */
};

static struct schema_options options;
static struct known known[SCHEMA_COMPONENTS_MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

const struct component *schema_component(size_t n, ath_str *ret_client)
{
    const struct component *c = n < core_component_count ? &core_components[n]
                                : n - core_component_count < options.extras
                                    ? &options.extra[n - core_component_count]
                                    : NULL;

    if (!c || n >= SCHEMA_COMPONENTS_MOST)
        return NULL;
    *ret_client = strcmp(c->client, "@control") == 0 ? str_of(options.control_client)
                  : strcmp(c->client, "@auth") == 0  ? str_of(options.auth_client)
                                                     : str_of(c->client);
    return c;
}

/* ---- what is known ---- */

static void put_unknown(struct buf *b, const struct component *c, ath_str client)
{
    buf_char(b, '{');
    buf_json_str(b, "component", str_of(c->name));
    buf_json_str(b, "client", client);
    buf_lit(b, ",\"state\":\"unknown\"}");
}

static void learn(struct known *k, const struct migration *m)
{
    struct buf b = BUF_HEAP, old;

    migrate_json(&b, m, false);
    pthread_mutex_lock(&lock);
    old = k->json;
    k->json = b;
    k->state = m->state;
    k->tables = m->tables;
    pthread_mutex_unlock(&lock);
    buf_free(&old);
}

void schema_json(struct buf *b)
{
    static const char *const word[] = { "auto", "check", "off" };
    const struct component *c;
    ath_str client;

    buf_char(b, '{');
    buf_json_str(b, "bootstrap", str_of(word[options.mode]));
    buf_json_key(b, "components");
    buf_char(b, '[');
    pthread_mutex_lock(&lock);
    for (size_t i = 0; (c = schema_component(i, &client)); i++) {
        if (i)
            buf_char(b, ',');
        if (known[i].json.n) {
            buf_str(b, buf_view(&known[i].json));
            continue;
        }
        put_unknown(b, c, client);
    }
    pthread_mutex_unlock(&lock);
    buf_lit(b, "]}");
}

bool schema_is_pending(const char *component)
{
    const struct component *c;
    bool pending = false;
    ath_str client;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; options.mode == SCHEMA_AUTO && (c = schema_component(i, &client)); i++)
        if (client.n && !known[i].json.n && strcmp(c->name, component) == 0)
            pending = true;
    pthread_mutex_unlock(&lock);
    return pending;
}

static void put_metric(struct buf *b, void *arg)
{
    uint64_t missing = 0;

    (void)arg;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < SCHEMA_COMPONENTS_MOST; i++)
        missing += known[i].tables;
    pthread_mutex_unlock(&lock);
    metric_head(b, "athena_schema_missing_tables", "gauge",
                "Tables that this server needs and does not find.");
    buf_printf(b, "athena_schema_missing_tables %llu\n", (unsigned long long)missing);
}

/* ---- saying it ---- */

static void say_findings(const struct migration *m)
{
    struct buf names = BUF_HEAP;
    uint32_t n = 0;

    for (const struct finding *f = m->found; f; f = f->next) {
        if (f->kind != FIND_TABLE && f->kind != FIND_COLUMN)
            continue;
        if (n++ < NAMES_SAID)
            buf_printf(&names, "%s%.*s", names.n ? ", " : "", STR_ARG(f->object));
    }
    if (n > NAMES_SAID)
        buf_printf(&names, " and %u more", n - NAMES_SAID);
    log_write(ATH_WARN, "athena::schema",
              "schema \"%s\" in the database of client \"%.*s\": missing are %s%s%.*s; to add it: "
              "athena migrate up --component %s",
              m->component->name, STR_ARG(m->client), n ? names.p : "steps",
              m->err.message_n ? ": " : "", (int)m->err.message_n, m->err.message,
              m->component->name);
    buf_free(&names);
}

/* Tables of an old form are for an operator to move. */
static void say_forms(const struct migration *m)
{
    for (const struct finding *f = m->found; f; f = f->next)
        if (f->kind == FIND_FORM)
            log_write(
                ATH_WARN, "athena::schema",
                "schema \"%s\" in the database of client \"%.*s\": %.*s; to move it away: %.*s "
                "Then: athena migrate up --component %s",
                m->component->name, STR_ARG(m->client), STR_ARG(f->message), STR_ARG(f->command),
                m->component->name);
}

static void say(struct known *k, const struct migration *m, uint64_t now)
{
    if (m->state == MIGRATE_CURRENT || (k->said_ms && now - k->said_ms < SAY_MS))
        return;
    k->said_ms = now;
    if (m->state == MIGRATE_FORM)
        say_forms(m);
    else
        say_findings(m);
}

/* ---- a round ---- */

struct round {
    struct migration m;
    size_t at;
};

static int next(ath_task *t, struct round *r, ath_err *e);

static void looked_at(ath_task *t, struct round *r)
{
    struct known *k = &known[r->at];
    uint64_t now = loop_now_ms(t->loop);

    if (r->m.state == MIGRATE_FAILED)
        k->failed_ms = now;
    learn(k, &r->m);
    say(k, &r->m, now);
}

/* Without the control plane there is nothing to go on with; the keys' database may be another. */
static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct round *r = d->arg;
    bool control = strcmp(r->m.component->client, "@control") == 0;

    if (d->rc < 0 && control)
        return d->rc;
    if (d->rc < 0)
        log_write(ATH_WARN, "athena::schema", "schema \"%s\" was not looked at: %.*s",
                  r->m.component->name, (int)e->message_n, e->message);
    else
        looked_at(t, r);
    r->at++;
    return next(t, r, e);
}

/* What failed is not tried again at every look. */
static bool may_apply(const struct known *k, uint64_t now)
{
    return options.mode == SCHEMA_AUTO && (!k->failed_ms || now - k->failed_ms >= SAY_MS);
}

static int next(ath_task *t, struct round *r, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = migrate_run, .arg = &r->m };
    const struct component *c;
    ath_str client;

    while ((c = schema_component(r->at, &client)) && (!client.n || c->client[0] != '@'))
        r->at++;
    if (!c) {
        task_done(t, NULL);
        return 0;
    }
    r->m = (struct migration){ .component = c,
                               .client = client,
                               .arena = &t->arena,
                               .apply = may_apply(&known[r->at], loop_now_ms(t->loop)) };
    return task_fork(t, &f, looked, r, e);
}

int schema_begin(ath_task *t, void *arg, ath_err *e)
{
    struct round *r = ARENA_NEW(&t->arena, struct round);

    (void)arg;
    if (options.mode == SCHEMA_OFF) {
        task_done(t, NULL);
        return 0;
    }
    return next(t, r, e);
}

/* ---- again and again ---- */

static int round_over(ath_task *t, const ath_done *d, ath_err *e);

static int again(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = schema_begin };

    return d->rc < 0 ? d->rc : task_fork(t, &f, round_over, NULL, e);
}

static uint64_t pause_ms(void)
{
    const struct component *c;
    uint64_t ms = LOOK_MS;
    ath_str client;

    for (size_t i = 0; (c = schema_component(i, &client)); i++)
        if (client.n && known[i].state != MIGRATE_CURRENT)
            ms = LOOK_SOON_MS;
    return ms;
}

static int round_over(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    control_part_is_well("schema watch");
    return task_after(t, pause_ms(), again, NULL, e);
}

int schema_follow(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    control_part_is_well("schema watch");
    return task_after(t, pause_ms(), again, NULL, e);
}

/* ---- life ---- */

void schema_setup(const struct schema_options *o)
{
    options = *o;
    metric_source(put_metric, NULL);
}

void schema_stop(void)
{
    for (size_t i = 0; i < SCHEMA_COMPONENTS_MOST; i++)
        buf_free(&known[i].json);
    memset(known, 0, sizeof(known));
}
