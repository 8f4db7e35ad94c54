/* sink-ndjson: rows of requests as lines of JSON, a file for each kind of row.
 *
 * The members of a line are the facts of the row, in their order; a file is opened when its first
 * row comes and again when the logs are (USR1). A disk that is full keeps the batch waiting in the
 * host's queue; the batch is formatted once. A folder that cannot be used switches the files off,
 * in words.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/json.h"
#include "logline/logline.h"
#include "logline/sink_fields.h"

struct config {
    int32_t enabled;
    ath_str dir;
    SINK_QUEUE_MEMBERS;
};

enum { FILES = 3, PATH_MOST = 4096 };
static const struct {
    const char *event, *name;
} files[FILES] = {
    { "gateway_request", "gateway_request.log" },
    { "gateway_operation", "gateway_operation.log" },
    { "api_key_auth", "api_key_auth.log" },
};

struct sink {
    const struct config *cfg;
    bool off;   /* the folder is not usable */
    bool waits; /* the last batch did not go out whole */
    struct logout file[FILES];
};

ATH_PRINTF(1, 2) static void warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, NULL, ATH_WARN, fmt, ap);
    va_end(ap);
}

/* ---- lines ---- */

/* What is no column of the published lines. */
static bool is_member(const ath_fact *f)
{
    static const char *const inner[] = { "client_known" };

    for (size_t i = 0; i < ATH_COUNT(inner); i++)
        if (str_is(f->key, inner[i]))
            return false;
    return f->value.p || !str_is(f->key, "cache_key_hashed"); /* left out when it is null */
}

static void put_value(struct buf *b, const ath_fact *f)
{
    if (!f->value.p)
        buf_lit(b, "null");
    else if (f->form == ATH_V_PLAIN || f->form == ATH_V_TEXT)
        buf_json(b, f->value);
    else
        buf_str(b, f->value);
}

static void put_line(struct buf *b, const ath_event *e)
{
    size_t from = b->n;

    buf_char(b, '{');
    for (uint32_t i = 0; i < e->fact_count; i++) {
        if (!is_member(&e->fact[i]))
            continue;
        if (b->n > from + 1)
            buf_char(b, ',');
        buf_json(b, e->fact[i].key);
        buf_char(b, ':');
        put_value(b, &e->fact[i]);
    }
    buf_lit(b, "}\n");
    if (!str_utf8(str_from(b->p + from, b->n - from)))
        utf8_mend(b->p + from, b->n - from);
}

/* ---- files ---- */

static int path_of(const struct sink *s, const char *name, char path[PATH_MOST])
{
    int n = snprintf(path, PATH_MOST, "%s/%s", s->cfg->dir.p, name);

    return n < 0 || n >= PATH_MOST ? -ENAMETOOLONG : 0;
}

static int file_open(struct sink *s, int i)
{
    char path[PATH_MOST];
    int rc = path_of(s, files[i].name, path);

    if (rc < 0)
        return rc;
    s->file[i].fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    return s->file[i].fd < 0 ? -errno : 0;
}

static int probe(const struct sink *s)
{
    char path[PATH_MOST];
    int fd, rc = path_of(s, ".athena_write_probe", path);

    if (rc < 0)
        return rc;
    if (mkdir(s->cfg->dir.p, 0750) < 0 && errno != EEXIST)
        return -errno;
    if ((fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0)
        return -errno;
    close(fd);
    unlink(path);
    return 0;
}

static int sink_open(void *state, ath_err *e)
{
    struct sink *s = state;
    int rc;

    if (!s->cfg->enabled)
        return ath_fail(e, ATH_E_MISSING, "traffic files are not enabled");
    rc = probe(s);
    s->off = rc < 0;
    errno = -rc;
    if (s->off)
        warn("no traffic files are written, folder \"%s\" cannot be used: %m", s->cfg->dir.p);
    return 0;
}

static void sink_close(void *state)
{
    struct sink *s = state;

    for (int i = 0; i < FILES; i++) {
        if (s->file[i].fd >= 0)
            close(s->file[i].fd);
        s->file[i].fd = -1;
    }
}

static int put_out(struct sink *s, int i)
{
    int rc = 0;

    if (s->file[i].text.n == 0)
        return 0;
    if (s->file[i].fd < 0)
        rc = file_open(s, i);
    return rc < 0 ? rc : logout_flush(&s->file[i]);
}

static void format(struct sink *s, const ath_event *const *batch, size_t n)
{
    for (size_t k = 0; k < n; k++)
        for (int i = 0; i < FILES; i++)
            if (str_is(batch[k]->name, files[i].event))
                put_line(&s->file[i].text, batch[k]);
}

static int sink_write(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    struct sink *s = state;

    if (s->off)
        return 0;
    if (!s->waits)
        format(s, batch, n);
    s->waits = true;
    for (int i = 0; i < FILES; i++) {
        int rc = put_out(s, i);
        errno = -rc;
        if (rc < 0)
            return ath_fail(e, ATH_E_RETRY, "could not write file \"%s/%s\": %m", s->cfg->dir.p,
                            files[i].name);
    }
    s->waits = false;
    return 0;
}

/* ---- life ---- */

static int init(ath_self *self, const void *config, void **state, ath_err *e)
{
    struct sink *s = calloc(1, sizeof(*s));

    (void)self;
    if (!s)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    s->cfg = config;
    for (int i = 0; i < FILES; i++)
        s->file[i].fd = -1;
    *state = s;
    return 0;
}

static void fini(void *state)
{
    struct sink *s = state;

    if (!s)
        return;
    for (int i = 0; i < FILES; i++)
        logout_free(&s->file[i]);
    free(s);
}

static const ath_field fields[] = {
    ATH_BOOL(struct config, enabled, "enabled", "false",
             "Write rows of requests and operations to files instead of tables.",
             .alias = "gateway.linux_file_logging_enabled"),
    ATH_STR(struct config, dir, "dir", "/var/log/athena", NULL, "Folder of those files.",
            .alias = "gateway.linux_file_logging_dir"),
    SINK_QUEUE_FIELDS(struct config),
};

static const ath_sink sink = {
    ATH_CAP(ath_sink, ATH_CAP_SINK, "ndjson"),
    .events = "gateway_request gateway_operation api_key_auth",
    .open = sink_open,
    .write = sink_write,
    .close = sink_close,
};
static const ath_cap *const caps[] = { &sink.cap, NULL };

ATH_PLUGIN("sink-ndjson", "1.0.0", "", "", .summary = "Rows of requests as NDJSON files",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct config), .cap = caps,
           .init = init, .fini = fini);
