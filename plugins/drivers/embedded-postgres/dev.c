/* `athena dev`, as a step machine:
 *
 *     prepare -> init -> start -> seed -> migrate -> key -> serve -> run
 *                 |________|_______|________|_________|_____|_______|
 *                                                                   v
 *                                        done <- stop database <- stop server
 *                 by a failure, a cancel (Ctrl-C), a child that ended, the end of --exec's command
 *
 * PostgreSQL, the server and the command are parts: forks whose ends come at any time. All else is
 * one wait at a time. Each continuation notes what happened and steps; the machine alone decides.
 * A cancel sends TERM to every child at once. For PostgreSQL that means "no new clients", which
 * suits: the server finishes its requests, and then PostgreSQL is told to be quick.
 */
#include <stdio.h>
#include <unistd.h>

#include <athena/service/secrets.h>

#include "dev.h"

#define BIT(s)      (1u << (s))
#define FOR_EVER_MS (100u * 365 * 24 * 3600 * 1000ull)

enum {
    PAUSE_MS = 30,
    START_LIMIT_MS = 120000, /* recovery after a crash included */
    PING_LIMIT_MS = 60000,
    PORT_TRIES = 5,
    ARGS = 24,
    INTERRUPTED = 130, /* what a shell says of a command that Ctrl-C ended */
    NOT_STARTED = 127,
    SUSPEND = 1
};

/* clang-format off */
enum dev_state {
    DEV_PREPARE, DEV_INIT, DEV_START, DEV_SEED, DEV_MIGRATE, DEV_KEY, DEV_SERVE, DEV_RUN, DEV_STOP_SERVER,
    DEV_STOP_DATABASE, DEV_DONE
};
/* clang-format on */

/* clang-format off */
static const struct { const char *name; uint32_t next; } states[] = {
    [DEV_PREPARE]       = { "prepare",       BIT(DEV_INIT) | BIT(DEV_START) | BIT(DEV_STOP_SERVER) },
    [DEV_INIT]          = { "init",          BIT(DEV_START) | BIT(DEV_STOP_SERVER) },
    [DEV_START]         = { "start",         BIT(DEV_SEED) | BIT(DEV_STOP_SERVER) },
    [DEV_SEED]          = { "seed",          BIT(DEV_MIGRATE) | BIT(DEV_STOP_SERVER) },
    [DEV_MIGRATE]       = { "migrate",       BIT(DEV_KEY) | BIT(DEV_STOP_SERVER) },
    [DEV_KEY]           = { "key",           BIT(DEV_SERVE) | BIT(DEV_STOP_SERVER) },
    [DEV_SERVE]         = { "serve",         BIT(DEV_RUN) | BIT(DEV_STOP_SERVER) },
    [DEV_RUN]           = { "run",           BIT(DEV_STOP_SERVER) },
    [DEV_STOP_SERVER]   = { "stop server",   BIT(DEV_STOP_DATABASE) },
    [DEV_STOP_DATABASE] = { "stop database", BIT(DEV_DONE) },
    [DEV_DONE]          = { "done",          0 },
};
/* clang-format on */

struct dev {
    const struct options *o;
    ath_task *task;
    enum dev_state state;
    bool waiting;  /* for the one operation of this state */
    bool entered;  /* this state has begun */
    bool stopping; /* wanted: the way down */
    bool answered; /* the server did */
    int rc;        /* of the failure that stops it; 0: none */
    char why[512];
    int status;        /* exit status */
    uint64_t since_ms; /* when this state began */
    unsigned ports;    /* tried */
    int64_t port;
    struct place place;
    struct part database, server, command;
    struct buf tool;        /* what initdb, psql or the migration said last */
    const char *argv[ARGS]; /* of the tool */
    const char *tool_name;
};

static int dev_step(struct dev *d, ath_err *e);

static uint64_t now_ms(const struct dev *d)
{
    return ath_host_->loop->now_ms(ath_host_->task->loop(d->task));
}

static void move(struct dev *d, enum dev_state to)
{
    if (!(states[d->state].next & BIT(to))) {
        fprintf(stderr, "athena dev: no way from state \"%s\" to \"%s\"\n", states[d->state].name,
                states[to].name);
        abort();
    }
    d->state = to;
    d->entered = false;
    d->since_ms = now_ms(d);
}

/* The first failure counts; what comes after it is its consequence. */
static void failed(struct dev *d, int rc, ath_str words)
{
    if (d->rc == 0 && !d->stopping) {
        d->rc = rc;
        snprintf(d->why, sizeof(d->why), "%.*s", STR_ARG(words));
    }
    d->stopping = true;
}

static void failed_by(struct dev *d, int rc, const ath_err *e)
{
    if (rc == ATH_E_CANCELED)
        d->stopping = true;
    else
        failed(d, rc, ath_host_->err->get(e, "message"));
}

/* ---- continuations ---- */

/* Of the one operation of a state. */
static int on_done(ath_task *t, const ath_done *done, ath_err *e)
{
    struct dev *d = done->arg;

    (void)t;
    d->waiting = false;
    if (done->rc < 0)
        failed_by(d, done->rc, e);
    return dev_step(d, e);
}

static int on_tool(ath_task *t, const ath_done *done, ath_err *e)
{
    struct dev *d = done->arg;

    if (done->rc == 0 && (done->status || done->signal)) {
        ath_str said = buf_view(&d->tool);
        char words[400];

        snprintf(words, sizeof(words), "%s failed: %.*s", d->tool_name,
                 (int)(said.n < 300 ? said.n : 300), said.p);
        failed(d, ATH_E_UPSTREAM, str_of(words));
    }
    return on_done(t, done, e);
}

static void on_tool_line(ath_task *t, void *arg, int fd, ath_str text)
{
    struct dev *d = arg;

    (void)t;
    if (fd != 2 || d->tool.n > 4096)
        return;
    if (d->tool.n)
        buf_lit(&d->tool, "; ");
    buf_str(&d->tool, text);
}

static void part_failed(struct dev *d, const struct part *p)
{
    char words[400];

    part_how(p, words, sizeof(words));
    failed(d, ATH_E_UPSTREAM, str_of(words));
}

/* PostgreSQL and the server should not end by themselves. A server that found its free port taken
 * meanwhile gets another one. */
static int on_part_over(ath_task *t, const ath_done *done, ath_err *e)
{
    struct part *p = done->arg;
    struct dev *d = p->owner;

    (void)t;
    if (done->rc == ATH_E_CANCELED)
        d->stopping = true;
    else if (p == &d->server && d->state == DEV_SERVE && d->o->port == 0 && d->ports < PORT_TRIES)
        d->entered = false;
    else
        part_failed(d, p);
    return dev_step(d, e);
}

static int on_command_over(ath_task *t, const ath_done *done, ath_err *e)
{
    struct part *p = done->arg;
    struct dev *d = p->owner;

    (void)t;
    d->status = p->signal ? 128 + p->signal : p->status;
    if (done->rc == ATH_E_CANCELED) {
        d->status = INTERRUPTED;
    } else if (done->rc < 0) {
        d->status = NOT_STARTED;
        fprintf(stderr, "athena dev: %s\n", p->said);
    }
    d->stopping = true;
    return dev_step(d, e);
}

/* ---- children ---- */

ATH_PRINTF(2, 3) static const char *text(struct dev *d, const char *fmt, ...)
{
    struct buf out = BUF_ARENA(ath_arena_of(d->task));
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&out, fmt, ap);
    va_end(ap);
    return buf_view(&out).p;
}

/* "athena --as-child OPTIONS PROGRAM NAME ...": PostgreSQL's programs refuse root. If we are
 * killed, PostgreSQL is told to stop (2: SIGINT) and not killed, too. Returns where its arguments
 * go. */
static const char **drop_to_user(struct dev *d, const char *argv[ARGS], const char *program)
{
    const char *user = d->place.user;

    d->tool_name = program;
    argv[0] = "athena";
    argv[1] = "--as-child";
    argv[2] = text(d, "death=2,parent=%d%s%s", (int)getpid(), user[0] ? ",user=" : "", user);
    argv[3] = text(d, "%s/%s", d->place.bin, program);
    argv[4] = argv[3]; /* they look for each other beside it */
    return argv + 5;
}

static int run_tool(struct dev *d, ath_child *c, ath_err *e)
{
    c->size = sizeof(*c);
    c->flags |= ATH_CHILD_SELF;
    c->argv = d->argv;
    c->line = on_tool_line;
    buf_reset(&d->tool);
    d->waiting = true;
    return ath_host_->task->spawn(d->task, c, on_tool, d, e);
}

static int run_initdb(struct dev *d, ath_err *e)
{
    const char **a = drop_to_user(d, d->argv, "initdb");
    static const char *const rest[] = { "-U",   "postgres",    "--auth=trust", "-E",
                                        "UTF8", "--no-locale", "--no-sync",    NULL };
    ath_child c = { 0 };

    *a++ = "-D";
    *a++ = d->place.data_new;
    memcpy(a, rest, sizeof(rest));
    return run_tool(d, &c, e);
}

static int on_fed(ath_task *t, const ath_done *done, ath_err *e)
{
    (void)t, (void)e;
    ath_host_->stream->end(done->arg, done->rc < 0 ? done->rc : 0);
    return 0;
}

static int run_psql(struct dev *d, const char *database, const char *sql, ath_err *e)
{
    const char **a = drop_to_user(d, d->argv, "psql");
    ath_child c = { .flags = ATH_CHILD_IN };
    int rc;

    *a++ = "-XqAt";
    *a++ = "-v";
    *a++ = "ON_ERROR_STOP=1";
    *a++ = "-h";
    *a++ = d->place.pg;
    *a++ = "-U";
    *a++ = "postgres";
    *a++ = database;
    *a = NULL;
    if ((rc = run_tool(d, &c, e)) < 0)
        return rc;
    return ath_host_->stream->write(d->task, c.in, str_of(sql), on_fed, c.in, e);
}

/* The key store knows ATHENA_KEY, by its digest as it knows every key. */
static int make_key(struct dev *d, ath_err *e)
{
    const ath_secrets *secrets = ath_host_->service(ath_self_, "athena.secrets", 1);
    const char *public_id = d->place.api_key + 4, *secret = public_id + 17, *sql;
    unsigned char bytes[32];
    char salt[65];
    ath_str hash;

    secrets->random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(salt + 2 * i, 3, "%02x", bytes[i]);
    hash = secrets->sha256(ath_arena_of(d->task), str_of(text(d, "%s:%s", salt, secret)));
    sql = text(d,
               "with k as (insert into api_keys (public_id, name, description, key_salt, key_hash) "
               "values ('%.16s', 'athena dev', 'ATHENA_KEY of athena dev', '%s', '%s') on conflict "
               "(public_id) do update set key_salt = excluded.key_salt, key_hash = "
               "excluded.key_hash, is_active = true, expires_at = null returning id) insert into "
               "api_key_right_grants (api_key_id, right_id) select k.id, r.id from k, "
               "api_key_rights r where r.name in ('*.read', '*.write', '*.delete', "
               "'gateway.query', 'gateway.rpc.execute') on conflict do nothing;\n",
               public_id, salt, hash.p);
    return run_psql(d, "athena_logging", sql, e);
}

static int start_database(struct dev *d, ath_err *e)
{
    const char **argv = ath_new(ath_arena_of(d->task), sizeof(*argv) * ARGS);
    const char **a = drop_to_user(d, argv, "postgres");

    *a++ = "-D";
    *a++ = d->place.data;
    *a++ = "-c";
    *a++ = "listen_addresses=";
    *a++ = "-c";
    *a++ = text(d, "unix_socket_directories=%s", d->place.pg);
    *a++ = "-c";
    *a++ = "max_connections=150";
    *a++ =
        "-c"; /* what the first start makes can be made again: then it need not wait for the disk */
    *a++ = d->place.initialised ? "fsync=on" : "fsync=off";
    *a = NULL;
    d->database = (struct part){ .name = "PostgreSQL",
                                 .argv = argv,
                                 .flags = ATH_CHILD_SELF,
                                 .kill_after_ms = 30000,
                                 .owner = d,
                                 .over = on_part_over };
    snprintf(d->database.log, sizeof(d->database.log), "%s/postgres.log", d->place.state);
    return part_start(d->task, &d->database, e);
}

/* The server sees little of our environment, so that a developer's variables do not change it. */
static const char *const *server_env(struct dev *d)
{
    static const char *const passed[] = {
        "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",    "LSAN_OPTIONS",      "TZ",
        "TMPDIR",       "RUST_LOG",      "LD_LIBRARY_PATH", "ATHENA_PLUGIN_DIR", "NO_COLOR"
    };
    const char **env = ath_new(ath_arena_of(d->task), sizeof(*env) * (ATH_COUNT(passed) + 2));
    size_t n = 0;

    env[n++] = text(d, "ATHENA_KEY_12=%s", d->place.key);
    for (size_t i = 0; i < ATH_COUNT(passed); i++)
        if (getenv(passed[i]))
            env[n++] = text(d, "%s=%s", passed[i], getenv(passed[i]));
    return env;
}

/* So that the first request finds the control plane complete. */
static int run_migration(struct dev *d, ath_err *e)
{
    ath_child c = { .env = server_env(d) };
    int rc = place_configure(&d->place, d->o->port, e);

    if (rc < 0)
        return rc;
    d->tool_name = "athena migrate up";
    d->argv[0] = "athena";
    d->argv[1] = "migrate";
    d->argv[2] = "up";
    d->argv[3] = "--config";
    d->argv[4] = d->place.config;
    d->argv[5] = NULL;
    return run_tool(d, &c, e);
}

static int start_server(struct dev *d, ath_err *e)
{
    const char **argv = ath_new(ath_arena_of(d->task), sizeof(*argv) * ARGS);
    int rc;

    d->ports++;
    d->port = ping_free_port(d->o->port);
    if (!d->port)
        return ath_fail(e, ATH_E_CONFLICT, "port %lld is in use; --port 0 picks a free one",
                        (long long)d->o->port);
    if ((rc = place_configure(&d->place, d->port, e)) < 0)
        return rc;
    argv[0] = "athena";
    argv[1] = "serve";
    argv[2] = "--roles";
    argv[3] = "serve,daemon"; /* those workers, too, that want a process of their own: nobody else
                                 has one */
    argv[4] = "--config";
    argv[5] = d->place.config;
    argv[6] = "--port";
    argv[7] = text(d, "%lld", (long long)d->port);
    d->server = (struct part){ .name = "the server",
                               .argv = argv,
                               .env = server_env(d),
                               .flags = ATH_CHILD_SELF,
                               .kill_after_ms = 9000,
                               .echo = !d->o->exec,
                               .owner = d,
                               .over = on_part_over };
    snprintf(d->server.log, sizeof(d->server.log), "%s/server.log", d->place.state);
    return part_start(d->task, &d->server, e);
}

static int start_command(struct dev *d, ath_err *e)
{
    ath_arena *a = ath_arena_of(d->task);
    ath_str rest = d->o->command, word;
    size_t words = 0, vars = 0, n = 0;
    const char **argv, **env;

    for (size_t i = 0; i < rest.n; i++)
        words += rest.p[i] == 0;
    while (environ[vars])
        vars++;
    argv = ath_new(a, sizeof(*argv) * (words + 1));
    env = ath_new(a, sizeof(*env) * (vars + 6));
    while (n < words && str_next(&rest, 0, &word))
        argv[n++] = word.p;
    n = 0;
    env[n++] = text(d, "ATHENA_URL=http://127.0.0.1:%lld", (long long)d->port);
    env[n++] = text(d, "ATHENA_KEY=%s", d->place.api_key);
    env[n++] = text(d, "ATHENA_ADMIN_KEY=%s", d->place.key);
    env[n++] = "ATHENA_CLIENT=demo";
    env[n++] = text(d, "DATABASE_URL=%s", d->place.demo_uri);
    for (size_t i = 0, ours = n; i < vars; i++) {
        bool set = false;
        for (size_t k = 0; k < ours && !set; k++)
            set = strncmp(environ[i], env[k], strcspn(env[k], "=") + 1) == 0;
        if (!set)
            env[n++] = environ[i];
    }
    d->command = (struct part){ .name = "the command",
                                .argv = argv,
                                .env = env,
                                .flags = ATH_CHILD_SHOW,
                                .owner = d,
                                .over = on_command_over };
    return part_start(d->task, &d->command, e);
}

/* ---- the machine ---- */

static int pause_then(struct dev *d, ath_err *e)
{
    d->waiting = true;
    return ath_host_->task->after(d->task, PAUSE_MS, on_done, d, e);
}

static int prepare_run(ath_task *t, void *arg, ath_err *e)
{
    struct dev *d = arg;

    (void)t;
    return place_prepare(&d->place, e);
}

static int ping_run(ath_task *t, void *arg, ath_err *e)
{
    struct dev *d = arg;

    (void)t, (void)e;
    d->answered = ping(d->port);
    if (!d->answered)
        usleep(PAUSE_MS * 1000);
    return 0;
}

static int work_then(struct dev *d, ath_run *blocking, ath_err *e)
{
    d->waiting = true;
    return ath_host_->task->work(d->task, blocking, on_done, d, e);
}

static void announce(const struct dev *d)
{
    const struct place *p = &d->place;
    long long port = d->port;

    printf("\n  Athena runs at http://127.0.0.1:%lld (Ctrl-C stops it)\n\n"
           "    client     demo: customers, products, orders, order_items, customer_totals\n"
           "    key        %s\n"
           "               (every right to data; the administrator's: %s)\n"
           "    database   %s\n"
           "    state      %s\n\n"
           "  Try:\n\n"
           "    curl -s http://127.0.0.1:%lld/health\n\n"
           "    curl -s http://127.0.0.1:%lld/gateway/fetch -H 'X-Athena-Client: demo' \\\n"
           "      -H 'X-Athena-Key: %s' -H 'Content-Type: application/json' \\\n"
           "      -d '{\"table_name\":\"customers\",\"limit\":3}'\n\n"
           "    curl -s http://127.0.0.1:%lld/gateway/fetch -H 'X-Athena-Client: demo' \\\n"
           "      -H 'X-Athena-Key: %s' -H 'Content-Type: application/json' \\\n"
           "      -d '{\"table_name\":\"orders\",\"columns\":[\"id\",\"total\"],"
           "\"conditions\":[{\"eq_column\":\"status\",\"eq_value\":\"paid\"}],\"limit\":3}'\n\n",
           port, p->api_key, p->key, p->demo_uri, p->state, port, port, p->api_key, port,
           p->api_key);
    fflush(stdout);
}

/* What a state starts when it is entered. */
static int begin_state(struct dev *d, ath_err *e)
{
    d->entered = true;
    switch (d->state) {
    case DEV_PREPARE:
        return work_then(d, prepare_run, e);
    case DEV_INIT:
        return run_initdb(d, e);
    case DEV_START:
        return start_database(d, e);
    case DEV_SEED:
        return run_psql(d, "postgres", text(d, "%s\n%s", demo_sql, idempotency_sql), e);
    case DEV_MIGRATE:
        return run_migration(d, e);
    case DEV_KEY:
        return make_key(d, e);
    case DEV_SERVE:
        return start_server(d, e);
    case DEV_RUN:
        if (d->o->exec)
            return start_command(d, e);
        announce(d);
        return 0;
    case DEV_STOP_SERVER:
        part_stop(&d->command);
        part_stop(&d->server);
        return 0;
    case DEV_STOP_DATABASE:
        if (d->database.running)
            place_database_stop(&d->place);
        return 0;
    case DEV_DONE:
        break;
    }
    return 0;
}

/* Asks again later, or gives up. */
static int again(struct dev *d, uint64_t limit_ms, const char *gave_up, ath_err *e)
{
    if (now_ms(d) - d->since_ms > limit_ms)
        return ath_fail(e, ATH_E_TIMEOUT, "%s", gave_up);
    return d->state == DEV_SERVE ? work_then(d, ping_run, e) : pause_then(d, e);
}

static int finish(struct dev *d, ath_err *e)
{
    ath_done result = { .size = sizeof(result), .status = d->status };

    if (d->rc < 0)
        return ath_fail(e, d->rc, "%s", d->why);
    ath_host_->task->done(d->task, &result);
    return 0;
}

/* What the state waits for has come? Returns SUSPEND when the end of a part must tell. */
static int advance(struct dev *d, ath_err *e)
{
    int rc;

    switch (d->state) {
    case DEV_PREPARE:
        move(d, d->place.initialised ? DEV_START : DEV_INIT);
        return 0;
    case DEV_INIT:
        rc = place_keep_cluster(&d->place, e);
        if (rc == 0)
            move(d, DEV_START);
        return rc;
    case DEV_START:
        if (!place_database_ready(&d->place))
            return again(d, START_LIMIT_MS, "PostgreSQL did not start in time", e);
        move(d, DEV_SEED);
        return 0;
    case DEV_SEED:
        move(d, DEV_MIGRATE);
        return 0;
    case DEV_MIGRATE:
        move(d, DEV_KEY);
        return 0;
    case DEV_KEY:
        move(d, DEV_SERVE);
        return 0;
    case DEV_SERVE:
        if (!d->answered)
            return again(d, PING_LIMIT_MS, "the server did not answer in time", e);
        move(d, DEV_RUN);
        return 0;
    case DEV_RUN:
        return SUSPEND;
    case DEV_STOP_SERVER:
        if (d->command.running || d->server.running)
            return SUSPEND;
        move(d, DEV_STOP_DATABASE);
        return 0;
    case DEV_STOP_DATABASE:
        if (d->database.running)
            return SUSPEND;
        move(d, DEV_DONE);
        return 0;
    case DEV_DONE:
        break;
    }
    return 0;
}

/* Goes on from what has happened until there is something to wait for. */
static int dev_step(struct dev *d, ath_err *e)
{
    while (!d->waiting) {
        int rc;

        if (d->stopping && d->state < DEV_STOP_SERVER)
            move(d, DEV_STOP_SERVER);
        if (d->state == DEV_DONE)
            return finish(d, e);
        rc = d->entered ? advance(d, e) : begin_state(d, e);
        if (rc == SUSPEND)
            return 0;
        if (rc < 0) {
            d->waiting = false; /* it could not be started */
            failed_by(d, rc, e);
        }
    }
    return 0;
}

/* The wait of a state may be over when it comes, or be one that a cancel does not end. */
static int on_cancel(ath_task *t, const ath_done *done, ath_err *e)
{
    struct dev *d = done->arg;

    (void)t;
    d->stopping = true;
    return dev_step(d, e);
}

int dev_run(ath_task *t, const void *options, ath_err *e)
{
    struct dev *d = ath_new(ath_arena_of(t), sizeof(*d));
    int rc;

    d->o = options;
    d->task = t;
    d->place.wanted = d->o->state.p;
    d->place.fresh = d->o->fresh;
    d->tool = BUF_ARENA(ath_arena_of(t));
    if (d->o->exec && d->o->command.n == 0)
        return ath_fail(e, ATH_E_INPUT, "--exec needs a command: athena dev --exec -- COMMAND ...");
    if (!d->o->exec && d->o->command.n)
        return ath_fail(e, ATH_E_INPUT, "a command needs --exec: athena dev --exec -- COMMAND ...");
    if ((rc = ath_host_->task->after(t, FOR_EVER_MS, on_cancel, d, e)) < 0)
        return rc;
    return dev_step(d, e);
}
