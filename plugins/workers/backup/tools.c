/* A list of places is made first, on a thread of the pool; then versions are asked of those whose
 * place does not say enough, one after the other, until the right one is known. */
#include "tools.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"

enum {
    PLACES = 64,
    PATH_BYTES = 1024,
    KNOWN = 64,
    VERSION_BYTES = 24,
    VERSION_MS = 10000,
    KILL_AFTER_MS = 10000,
    JOBS_MOST = 4
};

static const char *const names[] = { [TOOL_DUMP] = "pg_dump", [TOOL_RESTORE] = "pg_restore" };
static const char *const settings[] = {
    [TOOL_DUMP] = "ATHENA_PG_DUMP_PATH", [TOOL_RESTORE] = "ATHENA_PG_RESTORE_PATH"
};

/* ---- what is known of programs ---- */

struct known {
    char path[PATH_BYTES], version[VERSION_BYTES];
    struct stat st;
    uint32_t major;
};

static struct known known[KNOWN];
static size_t known_n;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_mtime == b->st_mtime &&
           a->st_size == b->st_size;
}

/* Under the lock; NULL: not known, or another file by now. */
static struct known *find(const char *path, const struct stat *st)
{
    for (size_t i = 0; i < known_n; i++)
        if (strcmp(known[i].path, path) == 0)
            return is_same(&known[i].st, st) ? &known[i] : NULL;
    return NULL;
}

static bool recall(const char *path, struct known *ret)
{
    const struct known *k = NULL;
    struct stat st;

    pthread_mutex_lock(&lock);
    if (stat(path, &st) == 0 && (k = find(path, &st)) != NULL)
        *ret = *k;
    pthread_mutex_unlock(&lock);
    return k != NULL;
}

static void remember(const struct known *new)
{
    size_t at = 0;

    pthread_mutex_lock(&lock);
    while (at < known_n && strcmp(known[at].path, new->path) != 0)
        at++;
    if (at == KNOWN)
        at = 0;
    known_n += at == known_n;
    known[at] = *new;
    pthread_mutex_unlock(&lock);
}

/* ---- places ---- */

struct place {
    char path[PATH_BYTES];
    bool decides; /* the operator's word: no other is looked for */
};

struct search {
    struct tool_want w;
    struct tool *ret;
    ath_arena *arena; /* of who asked */
    const struct backup_config *cfg;
    struct place place[PLACES];
    size_t n, at;
    struct known asked; /* the one whose version is asked */
    struct known best;  /* major 0: none yet */
    struct known old;   /* the newest of those that are too old */
    const char *argv[3];
    ath_child child;
};

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

ATH_PRINTF(3, 4) static void add(struct search *s, bool decides, const char *fmt, ...)
{
    struct place *p = &s->place[s->n];
    va_list ap;
    int n;

    if (s->n == PLACES)
        return;
    va_start(ap, fmt);
    n = vsnprintf(p->path, sizeof(p->path), fmt, ap);
    va_end(ap);
    p->decides = decides;
    if (n > 0 && (size_t)n < sizeof(p->path) && is_program(p->path))
        s->n++;
}

/* "<dir>/<major>/bin" of all majors that there are. */
static void add_majors(struct search *s, const char *dir)
{
    DIR *d = opendir(dir);
    int64_t major;

    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        if (str_i64(str_of(entry->d_name), &major))
            add(s, false, "%s/%s/bin/%s", dir, entry->d_name, names[s->w.kind]);
    closedir(d);
}

static void add_path(struct search *s)
{
    ath_str rest = str_of(getenv("PATH")), dir;

    while (str_next(&rest, ':', &dir))
        if (dir.n)
            add(s, false, "%.*s/%s", STR_ARG(dir), names[s->w.kind]);
}

/* pg_restore is the one beside a pg_dump that is configured alone. */
static void add_configured(struct search *s)
{
    ath_str dump = s->cfg->pg_dump, own = s->w.kind == TOOL_DUMP ? dump : s->cfg->pg_restore;
    const char *slash = dump.n ? strrchr(dump.p, '/') : NULL;

    if (own.n)
        add(s, true, "%.*s", STR_ARG(own));
    else if (slash)
        add(s, true, "%.*s/%s", (int)(slash - dump.p), dump.p, names[s->w.kind]);
}

static void add_all(struct search *s)
{
    ath_str dir = s->cfg->tools_dir;

    add_configured(s);
    if (dir.n && access(dir.p, X_OK) == 0) {
        add(s, false, "%s/%u/bin/%s", dir.p, s->w.major, names[s->w.kind]);
        add_majors(s, dir.p);
    }
    add_path(s);
    add_majors(s, "/usr/lib/postgresql");
}

/* ---- the path of a caller (D-42) ---- */

static void free_path(char **p)
{
    free(*p);
}

static bool is_same_path(const char *real, ath_str other)
{
    __attribute__((cleanup(free_path))) char *o = other.n ? realpath(other.p, NULL) : NULL;

    return o && strcmp(real, o) == 0;
}

static bool is_inside(const char *real, ath_str dir)
{
    __attribute__((cleanup(free_path))) char *d = dir.n ? realpath(dir.p, NULL) : NULL;
    size_t n = d ? strlen(d) : 0;

    return d && strncmp(real, d, n) == 0 && real[n] == '/';
}

static int add_override(struct search *s, ath_err *e)
{
    char path[PATH_BYTES];
    __attribute__((cleanup(free_path))) char *real = NULL;
    const struct backup_config *cfg = s->cfg;

    snprintf(path, sizeof(path), "%.*s", STR_ARG(s->w.override));
    real = realpath(path, NULL);
    if (!real)
        return ath_fail(e, ATH_E_INPUT,
                        "%s binary could not be resolved (PATH/env/download). Set %s to override.",
                        names[s->w.kind], settings[s->w.kind]);
    if (!is_inside(real, cfg->tools_dir) &&
        !is_same_path(real, s->w.kind == TOOL_DUMP ? cfg->pg_dump : cfg->pg_restore))
        return ath_fail(e, ATH_E_INPUT, "Invalid pg tool path");
    add(s, true, "%s", real);
    return 0;
}

static int list_places(ath_task *t, void *arg, ath_err *e)
{
    struct search *s = arg;

    (void)t;
    if (s->w.override.n)
        return add_override(s, e);
    add_all(s);
    return 0;
}

/* ---- versions ---- */

/* "pg_dump (PostgreSQL) 15.6 (Debian 15.6-1)" */
static void version_line(ath_task *t, void *arg, int fd, ath_str text)
{
    struct search *s = arg;
    size_t at = str_find(text, ')');
    ath_str rest = str_trim(str_after(text, at + 1));

    (void)t;
    if (fd != 1 || s->asked.major)
        return;
    rest.n = str_find(rest, ' ');
    snprintf(s->asked.version, sizeof(s->asked.version), "%.*s", STR_ARG(rest));
    s->asked.major = (uint32_t)strtoul(s->asked.version, NULL, 10);
}

static int look(ath_task *t, struct search *s, ath_err *e);

static int version_told(ath_task *t, const ath_done *d, ath_err *e)
{
    struct search *s = d->arg;

    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc == 0 && s->asked.major)
        remember(&s->asked);
    else
        s->at++; /* whatever it is, it is none */
    return look(t, s, e);
}

static int ask_version(ath_task *t, struct search *s, ath_err *e)
{
    s->asked = (struct known){ 0 };
    snprintf(s->asked.path, sizeof(s->asked.path), "%s", s->place[s->at].path);
    stat(s->asked.path, &s->asked.st);
    s->argv[0] = s->asked.path;
    s->argv[1] = "--version";
    s->child = (ath_child){ .size = sizeof(s->child),
                            .argv = s->argv,
                            .timeout_ms = VERSION_MS,
                            .kill_after_ms = 500,
                            .line = version_line };
    return ath_host_->task->spawn(t, &s->child, version_told, s, e);
}

/* True: none that follows can be better. */
static bool judge(struct search *s, const struct known *k, bool decides)
{
    if (k->major < s->w.major) {
        if (k->major > s->old.major)
            s->old = *k;
        return decides;
    }
    if (!s->best.major || (s->w.major ? k->major < s->best.major : k->major > s->best.major))
        s->best = *k;
    return decides || k->major == s->w.major;
}

static ath_str keep(ath_arena *a, const char *text)
{
    struct buf b = BUF_ARENA(a);

    buf_z(&b, text);
    return buf_view(&b);
}

static int settle(ath_task *t, struct search *s, ath_err *e)
{
    const char *name = names[s->w.kind];

    if (s->best.major) {
        s->ret->path = keep(s->arena, s->best.path);
        s->ret->version = keep(s->arena, s->best.version);
        s->ret->major = s->best.major;
        ath_host_->task->done(t, NULL);
        return 0;
    }
    if (s->old.major)
        return ath_fail(e, ATH_E_CONFIG,
                        "%s %s (%s) is older than %s, which is of version %u: install the client "
                        "programs of PostgreSQL %u, or name their folder in ATHENA_PG_TOOLS_DIR",
                        name, s->old.version, s->old.path, s->w.because, s->w.major, s->w.major);
    return ath_fail(e, ATH_E_RETRY,
                    "%s: nothing was found in %s, ATHENA_PG_TOOLS_DIR, PATH or /usr/lib/postgresql",
                    s->w.kind == TOOL_DUMP ? "pg_dump resolution failed" : "pg_restore not found",
                    settings[s->w.kind]);
}

static int look(ath_task *t, struct search *s, ath_err *e)
{
    struct known k;

    for (; s->at < s->n; s->at++) {
        if (!recall(s->place[s->at].path, &k))
            return ask_version(t, s, e);
        if (judge(s, &k, s->place[s->at].decides))
            break;
    }
    return settle(t, s, e);
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : look(t, d->arg, e);
}

static int search(ath_task *t, void *arg, ath_err *e)
{
    return ath_host_->task->work(t, list_places, listed, arg, e);
}

int tool_find(ath_task *t, const struct tool_want *w, struct tool *ret, ath_then *then, void *arg,
              ath_err *e)
{
    struct search *s = ath_new(ath_arena_of(t), sizeof(*s));
    ath_fork f = { .size = sizeof(f), .run = search, .arg = s };

    s->w = *w;
    s->ret = ret;
    s->arena = ath_arena_of(t);
    s->cfg = ath_config_of(t);
    return ath_host_->task->fork(t, &f, then, arg, e);
}

/* ---- running one ---- */

static void tool_line(ath_task *t, void *arg, int fd, ath_str text)
{
    struct tool_run *r = arg;

    (void)t, (void)fd;
    if (r->line)
        r->line(r->line_arg, text);
}

static int tool_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct tool_run *r = d->arg;
    ath_done mine = *d;

    mine.arg = r->arg;
    return r->then(t, &mine, e);
}

int tool_run(ath_task *t, struct tool_run *r, ath_then *then, void *arg, ath_err *e)
{
    r->argv[0] = r->tool->path.p;
    memcpy(&r->argv[1], r->args, sizeof(r->args));
    r->then = then;
    r->arg = arg;
    r->child = (ath_child){ .size = sizeof(r->child),
                            .flags = ATH_CHILD_WHOLE,
                            .argv = r->argv,
                            .env = r->files->env,
                            .kill_after_ms = KILL_AFTER_MS,
                            .line = tool_line };
    return ath_host_->task->spawn(t, &r->child, tool_over, r, e);
}

const char *tool_jobs(ath_task *t)
{
    const struct backup_config *cfg = ath_config_of(t);
    struct buf b = BUF_ARENA(ath_arena_of(t));
    long n = cfg->jobs ? (long)cfg->jobs : sysconf(_SC_NPROCESSORS_ONLN);

    if (!cfg->jobs && n > JOBS_MOST)
        n = JOBS_MOST;
    buf_printf(&b, "%ld", n < 1 ? 1 : n);
    return b.p;
}
