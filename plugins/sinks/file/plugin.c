/* sink-file: success.log and error.log.
 *
 * ERROR events go to error.log, without the request's prefix; all others to success.log. The folder
 * is `dir`, which must be usable; when it is not set, the first usable one of the published list,
 * and a server without any runs without files.
 *
 * A write that fails (a full disk) keeps what did not go and asks the host for the same batch
 * again; the host counts what its queue must drop meanwhile. The batch is formatted once.
 */
#include <errno.h>
#include <unistd.h>

#include "file.h"
#include "logline/sink_fields.h"

struct config {
    ath_str dir, first_dir;
    uint64_t rotate_size;
    int32_t rotate_daily, date;
    int64_t keep;
    SINK_QUEUE_MEMBERS;
};

enum { SUCCESS, ERROR, FILES };
static const char *const names[FILES] = { "success.log", "error.log" };

struct sink {
    const struct config *cfg;
    struct rotation rotation;
    bool off;   /* no folder is usable */
    bool waits; /* the last batch did not go out whole */
    struct logline line;
    struct logfile file[FILES];
};

ATH_PRINTF(1, 2) static void warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, NULL, ATH_WARN, fmt, ap);
    va_end(ap);
}

static void sink_close(void *state)
{
    struct sink *s = state;

    for (int i = 0; i < FILES; i++)
        logfile_close(&s->file[i]);
}

static int open_in(struct sink *s, const char *dir)
{
    int rc = logfile_mkdir(dir);

    for (int i = 0; i < FILES && rc == 0; i++)
        rc = logfile_open(&s->file[i], dir, names[i]);
    if (rc < 0)
        sink_close(s);
    return rc;
}

enum { FOLDERS = 4 };

struct folders {
    char first[4096], last[4096];
    const char *list[FOLDERS];
    size_t begin; /* the first one counts only when it is given */
};

/* The published order. */
static void folders_of(const struct config *cfg, struct folders *ret)
{
    const char *tmp = getenv("TMPDIR");
    ath_str given = str_trim(cfg->first_dir);

    snprintf(ret->first, sizeof(ret->first), "%.*s", STR_ARG(given));
    snprintf(ret->last, sizeof(ret->last), "%s/athena/log", tmp && tmp[0] ? tmp : "/tmp");
    ret->list[0] = ret->first;
    ret->list[1] = "/var/log/athena";
    ret->list[2] = "./var/log/athena";
    ret->list[3] = ret->last;
    ret->begin = given.n ? 0 : 1;
}

static void search(struct sink *s)
{
    struct folders f;
    const char **list = f.list;
    int rc = -ENOENT;

    folders_of(s->cfg, &f);
    for (size_t i = f.begin; i < FOLDERS && (rc = open_in(s, list[i])) < 0; i++) {
        errno = -rc;
        if (i + 1 < FOLDERS)
            warn("tracing file logging status unable to initialize tracing log files at %s (%m); "
                 "using %s (set ATHENA_TRACING_LOG_DIR to pin a writable directory)",
                 list[i], list[i + 1]);
        else
            warn(
                "tracing file logging status unable to initialize tracing log files at %s (%m); "
                "no log files are written (set ATHENA_TRACING_LOG_DIR to pin a writable directory)",
                list[i]);
    }
    s->off = rc < 0;
}

static int sink_open(void *state, ath_err *e)
{
    struct sink *s = state;
    int rc;

    s->off = false;
    if (s->cfg->dir.n == 0) {
        search(s);
        return 0;
    }
    if ((rc = open_in(s, s->cfg->dir.p)) == 0)
        return 0;
    errno = -rc;
    return ath_fail(e, ATH_E_CONFIG, "could not open log files in \"%s\": %m", s->cfg->dir.p);
}

static void format(struct sink *s, const ath_event *const *batch, size_t n)
{
    unsigned flags = s->cfg->date ? LOGLINE_DATE : 0;

    for (size_t i = 0; i < n; i++) {
        bool error = batch[i]->level == ATH_ERROR;
        logline_text(&s->line, &s->file[error ? ERROR : SUCCESS].out.text, batch[i],
                     flags | (error ? 0 : LOGLINE_SPAN));
    }
}

static int put_out(struct sink *s, struct logfile *f)
{
    char day[11];
    int rc;

    if (f->out.text.n == 0)
        return 0;
    snprintf(day, sizeof(day), "%.10s", s->line.clock);
    if ((rc = logfile_rotate(f, &s->rotation, day)) < 0 || (rc = logfile_flush(f)) < 0)
        return rc;
    memcpy(f->day, day, sizeof(day));
    return 0;
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
        int rc = put_out(s, &s->file[i]);
        errno = -rc;
        if (rc < 0)
            return ath_fail(e, ATH_E_RETRY, "could not write file \"%s\": %m", s->file[i].path);
    }
    s->waits = false;
    return 0;
}

static int init(ath_self *self, const void *config, void **state, ath_err *e)
{
    struct sink *s = calloc(1, sizeof(*s));

    (void)self;
    if (!s)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    s->cfg = config;
    s->rotation = (struct rotation){ .size = s->cfg->rotate_size,
                                     .daily = s->cfg->rotate_daily != 0,
                                     .keep = s->cfg->keep };
    for (int i = 0; i < FILES; i++)
        s->file[i].out.fd = -1;
    *state = s;
    return 0;
}

static void fini(void *state)
{
    struct sink *s = state;

    if (!s)
        return;
    for (int i = 0; i < FILES; i++)
        logout_free(&s->file[i].out);
    logline_free(&s->line);
    free(s);
}

/* ---- the doctor's look at the folder ---- */

enum { FREE_LEAST = 256 }; /* MiB */

static int room_in(ath_task *t, const char *dir, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_done good = { .size = sizeof(good) };
    uint64_t free_mib = 0;
    int rc = logfile_room(dir, &free_mib);

    if (rc < 0) {
        errno = -rc;
        return ath_fail(e, ATH_E_CONFIG, "no log files can be written in \"%s\": %m", dir);
    }
    if (free_mib < FREE_LEAST)
        return ath_fail(e, ATH_E_LIMIT, "only %llu MiB are free for log files in \"%s\"",
                        (unsigned long long)free_mib, dir);
    buf_printf(&b, "%s can be written, %llu MiB are free", dir, (unsigned long long)free_mib);
    good.bytes = buf_view(&b);
    ath_host_->task->done(t, &good);
    return 0;
}

/* A folder that was asked for must be usable; of the others the first one that is counts. */
static int check_folder(ath_task *t, void *arg, ath_err *e)
{
    const struct sink *s = ath_state_of(t);
    struct folders f;
    uint64_t ignored;
    size_t i;

    (void)arg;
    if (s->cfg->dir.n)
        return room_in(t, s->cfg->dir.p, e);
    folders_of(s->cfg, &f);
    for (i = f.begin; i > 0 && i + 1 < FOLDERS && logfile_room(f.list[i], &ignored) < 0;)
        i++;
    return room_in(t, f.list[i], e);
}

static const ath_field fields[] = {
    ATH_STR(struct config, dir, "dir", "", NULL,
            "Folder of success.log and error.log; the server does not start when it is not usable. "
            "Empty: the first usable of first_dir, /var/log/athena, ./var/log/athena and the "
            "temporary folder's athena/log."),
    ATH_STR(struct config, first_dir, "first_dir", "", NULL,
            "Folder to try first when dir is not set.", .alias = "$ATHENA_TRACING_LOG_DIR"),
    ATH_BYTES(struct config, rotate_size, "rotate_size", "0", NULL,
              "Start a new file when one has reached this size; 0: never."),
    ATH_BOOL(struct config, rotate_daily, "rotate_daily", "false", "Start new files each day."),
    ATH_INT(struct config, keep, "keep", "7", "1..1000",
            "Old files to keep after rotation: success.log.1 is the newest."),
    ATH_BOOL(struct config, date, "date", "false",
             "Begin each line with date, time and zone instead of the time alone.",
             .alias = "$ATHENA_LOG_DATE"),
    SINK_QUEUE_FIELDS(struct config),
};

static const ath_sink sink = {
    ATH_CAP(ath_sink, ATH_CAP_SINK, "file"),
    .events = "*",
    .open = sink_open,
    .write = sink_write,
    .close = sink_close,
};
static const ath_check folder = {
    ATH_CAP(ath_check, ATH_CAP_CHECK, "folder"),
    .summary = "Log files can be written, and there is room for them",
    .run = check_folder,
};
static const ath_cap *const caps[] = { &sink.cap, &folder.cap, NULL };

ATH_PLUGIN("sink-file", "1.0.0", "", "", .summary = "success.log and error.log",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct config), .cap = caps,
           .init = init, .fini = fini);
