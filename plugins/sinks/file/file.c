/* One log file. Only names of our own are renamed or removed: NAME and NAME.1 to NAME.keep. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static int reopen(struct logfile *f)
{
    struct stat st;
    struct tm tm;
    int fd = open(f->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    f->out.fd = fd;
    f->size = (uint64_t)st.st_size;
    f->day[0] = 0;
    if (st.st_size > 0 && localtime_r(&st.st_mtime, &tm))
        strftime(f->day, sizeof(f->day), "%Y-%m-%d", &tm);
    while (f->out.done > 0 && f->out.text.p[f->out.done - 1] != '\n')
        f->out.done--;
    return 0;
}

int logfile_open(struct logfile *f, const char *dir, const char *name)
{
    int n = snprintf(f->path, sizeof(f->path) - 16, "%s/%s", dir, name);

    f->out.fd = -1;
    if (n < 0 || (size_t)n >= sizeof(f->path) - 16)
        return -ENAMETOOLONG;
    return reopen(f);
}

void logfile_close(struct logfile *f)
{
    if (f->out.fd >= 0)
        close(f->out.fd);
    f->out.fd = -1;
}

static void shift(const struct logfile *f, int64_t keep)
{
    char from[sizeof(f->path)], to[sizeof(f->path)];

    for (int64_t i = keep; i > 0; i--) {
        snprintf(to, sizeof(to), "%.*s.%d", (int)sizeof(to) - 16, f->path, (int)i);
        if (i > 1)
            snprintf(from, sizeof(from), "%.*s.%d", (int)sizeof(from) - 16, f->path, (int)i - 1);
        else
            snprintf(from, sizeof(from), "%s", f->path);
        rename(from, to); /* a gap in the numbers is no failure */
    }
}

int logfile_rotate(struct logfile *f, const struct rotation *r, const char *day)
{
    bool big = r->size && f->size >= r->size;
    bool old = r->daily && f->day[0] && strcmp(f->day, day) != 0;

    if (f->out.fd >= 0 && !big && !old)
        return 0;
    if (f->out.fd >= 0) {
        logfile_close(f);
        shift(f, r->keep);
    }
    return reopen(f);
}

int logfile_flush(struct logfile *f)
{
    size_t before = f->out.done, all = f->out.text.n;
    int rc = logout_flush(&f->out);

    f->size += (rc == 0 ? all : f->out.done) - before;
    return rc;
}

int logfile_mkdir(const char *dir)
{
    char path[4096];
    size_t n = strlen(dir);

    if (n == 0 || n >= sizeof(path))
        return n ? -ENAMETOOLONG : -ENOENT;
    memcpy(path, dir, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        path[i] = 0;
        if (mkdir(path, 0750) < 0 && errno != EEXIST && errno != EISDIR)
            return -errno;
        path[i] = i < n ? '/' : 0;
    }
    return 0;
}

int logfile_room(const char *dir, uint64_t *ret_mib)
{
    struct statvfs v;
    struct stat st;
    char path[4096];
    size_t n = strlen(dir);

    if (n == 0 || n >= sizeof(path))
        return n ? -ENAMETOOLONG : -ENOENT;
    memcpy(path, dir, n + 1);
    while (stat(path, &st) < 0) { /* up to what is there */
        char *slash = strrchr(path, '/');
        if (errno != ENOENT)
            return -errno;
        if (!slash)
            memcpy(path, ".", 2);
        else
            slash[slash == path] = 0;
    }
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    if (access(path, W_OK | X_OK) < 0 || statvfs(path, &v) < 0)
        return -errno;
    *ret_mib = (uint64_t)v.f_bavail * v.f_frsize >> 20;
    return 0;
}
