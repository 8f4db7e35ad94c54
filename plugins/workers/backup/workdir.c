/* All of it blocks, so it runs on threads of the pool; only a run that nobody waits for any more
 * has its folder removed where its arena goes. */
#include "workdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "backup.h"
#include "lib/uuid.h"

enum { PATH_BYTES = 1024, STALE_S = 24 * 3600, ROOM_LEAST = 1 << 20 };

#define OWNER ".owner"

/* ---- removing ---- */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void let_go(struct workdir *w)
{
    if (w->path.n)
        remove_tree(w->path.p);
    w->path = (ath_str){ "", 0 };
    if (w->lock >= 0)
        close(w->lock);
    w->lock = -1;
}

static void gone(void *arg)
{
    let_go(arg);
}

/* ---- what others left ---- */

static bool is_ours(const char *name)
{
    return str_starts(str_of(name), "athena_backup_") ||
           str_starts(str_of(name), "athena_restore_");
}

/* Nobody holds its lock; or it has none and is old. */
static bool is_left(const char *path)
{
    char owner[PATH_BYTES];
    struct stat st;
    bool left;
    int fd;

    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return false;
    if ((size_t)snprintf(owner, sizeof(owner), "%s/" OWNER, path) >= sizeof(owner))
        return false;
    fd = open(owner, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT && st.st_mtime + STALE_S < time(NULL);
    left = flock(fd, LOCK_EX | LOCK_NB) == 0;
    close(fd);
    return left;
}

static void sweep(const char *base)
{
    DIR *d = opendir(base);
    char path[PATH_BYTES];

    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        if (is_ours(entry->d_name) &&
            (size_t)snprintf(path, sizeof(path), "%s/%s", base, entry->d_name) < sizeof(path) &&
            is_left(path))
            remove_tree(path);
    closedir(d);
}

struct sweeping {
    char base[PATH_BYTES];
};

static int sweep_blocking(ath_task *t, void *arg, ath_err *e)
{
    struct sweeping *s = arg;

    (void)t, (void)e;
    sweep(s->base);
    free(s);
    return 0;
}

static int swept(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)d, (void)e;
    ath_host_->task->done(t, NULL);
    return 0;
}

static int sweep_run(ath_task *t, void *arg, ath_err *e)
{
    return ath_host_->task->work(t, sweep_blocking, swept, arg, e);
}

static const char *base_of(ath_str base)
{
    return base.n ? base.p : "/tmp";
}

void workdir_sweep(ath_str base)
{
    struct sweeping *s = calloc(1, sizeof(*s));
    ath_fork f = { .size = sizeof(f), .run = sweep_run, .arg = s };

    if (!s)
        return;
    snprintf(s->base, sizeof(s->base), "%s", base_of(base));
    ath_host_->task->begin(ath_self_, &f);
}

/* ---- making ---- */

struct making {
    struct workdir *w;
    char path[PATH_BYTES];
    ath_then *then;
    void *arg;
};

/* The lock is held before it has the name by which it is looked for. */
static int take_lock(const char *path)
{
    char made[PATH_BYTES + 16], name[PATH_BYTES + 16];
    int fd;

    snprintf(made, sizeof(made), "%s/.new", path);
    snprintf(name, sizeof(name), "%s/" OWNER, path);
    fd = open(made, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) < 0 || rename(made, name) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int make_blocking(ath_task *t, void *arg, ath_err *e)
{
    struct making *m = arg;

    (void)t;
    sweep(m->w->base.p);
    if (mkdir(m->path, 0700) < 0)
        return ath_fail(e, ATH_E_RETRY, "could not make work folder \"%s\": %s", m->path,
                        strerror(errno));
    m->w->lock = take_lock(m->path);
    if (m->w->lock >= 0)
        return 0;
    remove_tree(m->path);
    return ath_fail(e, ATH_E_RETRY, "could not lock work folder \"%s\": %s", m->path,
                    strerror(errno));
}

static int make_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct making *m = d->arg;
    ath_done mine = *d;

    if (d->rc == 0)
        m->w->path = str_of(m->path);
    mine.arg = m->arg;
    return m->then(t, &mine, e);
}

int workdir_make(ath_task *t, const char *kind, struct workdir *w, ath_then *then, void *arg,
                 ath_err *e)
{
    const struct backup_config *cfg = ath_config_of(t);
    ath_arena *a = w->arena ? w->arena : ath_arena_of(t);
    struct making *m = ath_new(a, sizeof(*m));
    char uuid[UUID_TEXT];

    uuid_make(uuid);
    w->base = str_of(base_of(cfg->work_dir));
    w->path = (ath_str){ "", 0 };
    w->lock = -1;
    *m = (struct making){ .w = w, .then = then, .arg = arg };
    if ((size_t)snprintf(m->path, sizeof(m->path), "%s/athena_%s_%s", w->base.p, kind, uuid) >=
        sizeof(m->path) - 64)
        return ath_fail(e, ATH_E_CONFIG, "the path of work folder \"%s\" is too long", w->base.p);
    ath_host_->mem->own(a, w, gone);
    return ath_host_->task->work(t, make_blocking, make_over, m, e);
}

struct waiting {
    ath_then *then;
    void *arg, *what;
    uint64_t bytes;
};

static int remove_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct waiting *x = d->arg;
    ath_done mine = *d;

    mine.arg = x->arg;
    return x->then(t, &mine, e);
}

static int remove_work(ath_task *t, void *arg, ath_err *e)
{
    struct waiting *x = arg;

    (void)t, (void)e;
    let_go(x->what);
    return 0;
}

int workdir_remove(ath_task *t, struct workdir *w, ath_then *then, void *arg, ath_err *e)
{
    struct waiting *x = ath_new(ath_arena_of(t), sizeof(*x));

    *x = (struct waiting){ .then = then, .arg = arg, .what = w };
    return ath_host_->task->work(t, remove_work, remove_over, x, e);
}

/* ---- measuring ---- */

static uint64_t bytes_of(const char *path)
{
    DIR *d = opendir(path);
    uint64_t sum = 0;
    struct stat st;

    if (!d)
        return 0;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size;
    closedir(d);
    return sum;
}

static int bytes_work(ath_task *t, void *arg, ath_err *e)
{
    struct waiting *x = arg;

    (void)t, (void)e;
    x->bytes = bytes_of(x->what);
    return 0;
}

static int bytes_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct waiting *x = d->arg;
    ath_done mine = *d;

    mine.arg = x->arg;
    mine.count = x->bytes;
    return x->then(t, &mine, e);
}

int workdir_bytes(ath_task *t, ath_str path, ath_then *then, void *arg, ath_err *e)
{
    struct waiting *x = ath_new(ath_arena_of(t), sizeof(*x));

    *x = (struct waiting){ .then = then, .arg = arg, .what = (void *)(uintptr_t)path.p };
    return ath_host_->task->work(t, bytes_work, bytes_over, x, e);
}

bool workdir_is_full(const struct workdir *w, uint64_t written, ath_err *e)
{
    struct statvfs fs;
    uint64_t left;

    if (statvfs(w->base.p, &fs) < 0)
        return false;
    left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (left >= ROOM_LEAST && fs.f_favail > 0)
        return false;
    ath_fail(e, ATH_E_RETRY, "work folder \"%s\" is full: %llu bytes were written, %llu are left",
             w->base.p, (unsigned long long)written, (unsigned long long)left);
    return true;
}
