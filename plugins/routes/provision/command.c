/* athena provision: the schema for one database, without a server of ours. */
#include "provision.h"

#include <unistd.h>

struct provisioned {
    ath_str uri, name, path;
    int32_t registers;
};

struct command { /* in the arena of its task */
    const struct provisioned *o;
    ath_str uri;
    uint64_t statements;
    ath_child child;
};

enum { URI_MOST = 8192 };

static const ath_field fields[] = {
    ATH_STR(
        struct provisioned, uri, "uri", "", NULL,
        "The database; - reads it from standard input. Better there or in ATHENA_PROVISION_URI, as "
        "others see words of a command.",
        .flags = ATH_CF_SECRET),
    ATH_STR(struct provisioned, name, "client_name", "provisioned", NULL,
            "Its name in the local file of clients.", .alias = "--client-name"),
    ATH_BOOL(struct provisioned, registers, "register", "false",
             "Put it into the local file of clients."),
    ATH_STR(struct provisioned, path, "clients_path", "config/clients.json", NULL, "That file.",
            .alias = "--clients-path"),
};

/* ---- the file of clients ---- */

static int added(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    if (d->status || d->signal)
        return ath_fail(e, ATH_E_UPSTREAM, "the client could not be put into the file");
    ath_host_->task->done(t, NULL);
    return 0;
}

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    struct command *x = d->arg;

    (void)t;
    (void)e;
    ath_host_->stream->end(x->child.in, d->rc);
    return 0;
}

static const char *text_of(ath_task *t, ath_str s)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_str(&b, s);
    return b.p ? b.p : "";
}

/* The URI goes through a pipe, which no list of processes shows. */
static int add_client(ath_task *t, struct command *x, ath_err *e)
{
    const char **argv = ath_new(ath_arena_of(t), 8 * sizeof(*argv));
    int rc;

    argv[0] = "athena";
    argv[1] = "clients";
    argv[2] = "add";
    argv[3] = "--path";
    argv[4] = text_of(t, x->o->path);
    argv[5] = text_of(t, x->o->name);
    argv[6] = "-";
    x->child = (ath_child){ .size = sizeof(x->child),
                            .flags = ATH_CHILD_IN | ATH_CHILD_SELF | ATH_CHILD_SHOW,
                            .argv = argv };
    if ((rc = ath_host_->task->spawn(t, &x->child, added, x, e)) < 0)
        return rc;
    return ath_host_->stream->write(t, x->child.in, x->uri, written, x, e);
}

/* ---- the schema ---- */

static int done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct command *x = d->arg;

    if (d->rc < 0)
        return d->rc;
    printf("\xe2\x9c\x94 Applied %llu statements.\n", (unsigned long long)d->count);
    fflush(stdout);
    if (x->o->registers)
        return add_client(t, x, e);
    ath_host_->task->done(t, NULL);
    return 0;
}

static ath_str read_line(ath_task *t)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    int c;

    while ((c = getchar()) != EOF && c != '\n' && b.n < URI_MOST)
        buf_char(&b, (char)c);
    return str_trim(buf_view(&b));
}

static ath_str uri_of(ath_task *t, ath_str given)
{
    if (!given.n)
        given = str_of(getenv("ATHENA_PROVISION_URI"));
    return str_is(given, "-") ? read_line(t) : str_trim(given);
}

/* What stands behind the last @ of the authority: host, port and database. */
static ath_str shown(ath_str uri)
{
    size_t end = str_find(uri, '?'), at = 0;

    for (size_t i = 0; i < end; i++)
        if (uri.p[i] == '@')
            at = i + 1;
    return at ? str_from(uri.p + at, end - at) : ATH_S("the database");
}

static int run(ath_task *t, const void *options, ath_err *e)
{
    struct command *x = ath_new(ath_arena_of(t), sizeof(*x));
    ath_str to;

    x->o = options;
    x->uri = uri_of(t, x->o->uri);
    if (!x->uri.n)
        return ath_fail(e, ATH_E_INPUT,
                        "no database is named: give --uri, or ATHENA_PROVISION_URI");
    to = shown(x->uri);
    printf("Provisioning %.*s\n", STR_ARG(to));
    fflush(stdout);
    return provision_run(t, client_uri_normal(ath_arena_of(t), x->uri), WORK_MS, done, x, e);
}

const ath_command provision_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "provision"),
    .summary = "Give a database the schema of tenants",
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct provisioned),
    .run = run,
};
