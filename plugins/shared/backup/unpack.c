/* Unpacking: the stream fills one buffer while a thread of the pool takes the other one apart,
 *
 *     digest of what is stored -> seal -> gzip -> tar -> content (files, tables) and the folder
 *
 * and at the end asks each of them whether it was whole.
 */
#include "backup/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "backup/content.h"
#include "backup/sha.h"
#include "backup/tar.h"

enum { BLOCK = 512 << 10 };

struct unpacking {
    struct archive_unpack *o;
    struct buf in[2]; /* the one that is filled, and the one that is worked on */
    unsigned filling;
    bool reading, working, ended, last;
    uint64_t moved;
    EVP_MD_CTX *sha;
    struct buf head; /* until it is known whether it is sealed */
    bool known;
    struct seal *seal;
    struct buf opened;
    struct gunzip *gunzip;
    struct tar tar;
    struct content *content;
    int folder, fd; /* -1: none */
    uint64_t most, bytes;
};

static void unpacking_free(void *arg)
{
    struct unpacking *u = arg;

    buf_free(&u->in[0]);
    buf_free(&u->in[1]);
    buf_free(&u->head);
    buf_free(&u->opened);
    EVP_MD_CTX_free(u->sha);
    seal_free(u->seal);
    gunzip_free(u->gunzip);
    content_free(u->content);
    if (u->fd >= 0)
        close(u->fd);
    if (u->folder >= 0)
        close(u->folder);
}

/* ---- the folder ---- */

static int disk_fail(const char *name, ath_err *e)
{
    int why = errno;

    if (why == EEXIST)
        return ath_fail(e, ATH_E_INPUT, "the archive holds \"%s\" twice", name);
    return ath_fail(e, why == ENOSPC || why == EDQUOT ? ATH_E_LIMIT : ATH_E_UPSTREAM,
                    "could not write \"%s\": %s", name, strerror(why));
}

/* The folders on the way to it; what is there must be a folder and no link. */
static int make_folders(struct unpacking *u, ath_str name, bool self, ath_err *e)
{
    char path[TAR_NAME];
    struct stat st;

    for (size_t i = 0; i <= name.n; i++) {
        if (i < name.n ? name.p[i] != '/' : !self)
            continue;
        memcpy(path, name.p, i);
        path[i] = 0;
        if (mkdirat(u->folder, path, 0700) < 0 && errno != EEXIST)
            return disk_fail(path, e);
        if (fstatat(u->folder, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return disk_fail(path, e);
        if (!S_ISDIR(st.st_mode))
            return ath_fail(e, ATH_E_INPUT, "the archive holds \"%s\" as a file and as a folder",
                            path);
    }
    return 0;
}

static int make_file(struct unpacking *u, ath_str name, ath_err *e)
{
    int rc = make_folders(u, name, false, e);

    if (rc < 0)
        return rc;
    u->fd = openat(u->folder, name.p, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return u->fd < 0 ? disk_fail(name.p, e) : 0;
}

static int write_all(struct unpacking *u, ath_str bytes, ath_err *e)
{
    while (bytes.n) {
        ssize_t n = write(u->fd, bytes.p, bytes.n);
        if (n < 0 && errno != EINTR)
            return disk_fail(u->tar.name, e);
        if (n > 0)
            bytes = str_after(bytes, (size_t)n);
    }
    return 0;
}

/* ---- what the tar holds ---- */

static int on_entry(void *arg, ath_str name, bool folder, uint64_t bytes, ath_err *e)
{
    struct unpacking *u = arg;
    int rc;

    if (folder)
        return u->folder < 0 ? 0 : make_folders(u, name, true, e);
    if (u->most && (bytes > u->most || (u->bytes += bytes) > u->most))
        return ath_fail(e, ATH_E_TOO_LARGE,
                        "the archive holds more than the %llu bytes that it may hold",
                        (unsigned long long)u->most);
    rc = content_entry(u->content, name, e);
    return rc < 0 || u->folder < 0 ? rc : make_file(u, name, e);
}

static int on_data(void *arg, ath_str bytes, ath_err *e)
{
    struct unpacking *u = arg;
    int rc = content_data(u->content, bytes, e);

    return rc < 0 || u->folder < 0 ? rc : write_all(u, bytes, e);
}

static int on_done(void *arg, ath_err *e)
{
    struct unpacking *u = arg;
    int rc = content_done(u->content, e), fd = u->fd;

    if (fd < 0)
        return rc;
    u->fd = -1;
    if (close(fd) < 0 && rc == 0)
        rc = disk_fail(u->tar.name, e);
    return rc;
}

static const struct tar_sink sink = { on_entry, on_data, on_done };

static int unzipped(void *arg, ath_str bytes, ath_err *e)
{
    struct unpacking *u = arg;

    return tar_feed(&u->tar, bytes, e);
}

/* ---- from the stored bytes inwards ---- */

static int feed_opened(struct unpacking *u, ath_str bytes, bool last, ath_err *e)
{
    int rc;

    if (!u->seal)
        return gunzip_feed(u->gunzip, bytes, e);
    buf_reset(&u->opened);
    rc = seal_feed(u->seal, bytes, last, &u->opened, e);
    return rc < 0 ? rc : gunzip_feed(u->gunzip, buf_view(&u->opened), e);
}

static int look_at_head(struct unpacking *u, ath_err *e)
{
    bool sealed = seal_is(buf_view(&u->head));

    u->known = true;
    if (u->o->told && u->o->told->seal_key[0] && !sealed)
        return ath_fail(e, ATH_E_INPUT,
                        "the archive is not what its manifest says: it is not sealed");
    if (sealed && (!u->o->ring || !u->o->ring->n))
        return ath_fail(e, ATH_E_CONFIG,
                        "the archive is sealed, and backup.encryption_keys holds no key");
    if (sealed)
        u->seal = seal_open_begin(u->o->ring);
    return 0;
}

static int feed(struct unpacking *u, ath_str bytes, bool last, ath_err *e)
{
    int rc;

    sha_more(u->sha, bytes);
    u->o->manifest.bytes += bytes.n;
    if (u->known)
        return feed_opened(u, bytes, last, e);
    buf_str(&u->head, bytes);
    if (u->head.n < SEAL_HEAD && !last)
        return 0;
    if ((rc = look_at_head(u, e)) == 0)
        rc = feed_opened(u, buf_view(&u->head), last, e);
    buf_free(&u->head);
    return rc;
}

static void set_dump(struct unpacking *u)
{
    struct buf b = BUF_HEAP;

    buf_str(&b, u->o->folder);
    buf_char(&b, '/');
    buf_str(&b, content_folder(u->content));
    manifest_set(&u->o->dump, buf_view(&b));
    buf_free(&b);
}

static int finish(struct unpacking *u, ath_err *e)
{
    struct manifest *found = &u->o->manifest;
    int rc;

    sha_end(u->sha, found->sha256);
    if (u->seal)
        memcpy(found->seal_key, seal_id(u->seal), SEAL_ID + 1);
    if ((rc = gunzip_end(u->gunzip, e)) < 0 || (rc = tar_end(&u->tar, e)) < 0 ||
        (rc = content_finish(u->content, found, e)) < 0)
        return rc;
    if (u->o->told && (rc = manifest_compare(found, u->o->told, e)) < 0)
        return rc;
    if (u->folder >= 0)
        set_dump(u);
    return 0;
}

static int open_folder(struct unpacking *u, ath_err *e)
{
    struct buf path = BUF_HEAP;
    int rc = 0;

    buf_str(&path, u->o->folder);
    buf_char(&path, 0);
    u->folder = open(path.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->folder < 0)
        rc = disk_fail(path.p, e);
    buf_free(&path);
    return rc;
}

static int take_apart(ath_task *t, void *arg, ath_err *e) /* on the pool */
{
    struct unpacking *u = arg;
    int rc = 0;

    (void)t;
    if (u->folder < 0 && u->o->folder.n)
        rc = open_folder(u, e);
    if (rc == 0)
        rc = feed(u, buf_view(&u->in[!u->filling]), u->last, e);
    return rc < 0 || !u->last ? rc : finish(u, e);
}

/* ---- turns ---- */

static int go_on(ath_task *t, struct unpacking *u, ath_err *e);

static int worked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct unpacking *u = d->arg;

    if (d->rc < 0)
        return d->rc;
    u->working = false;
    if (u->o->moved)
        u->o->moved(u->o->moved_arg, u->moved);
    if (u->last) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    return go_on(t, u, e);
}

static int came(ath_task *t, const ath_done *d, ath_err *e)
{
    struct unpacking *u = d->arg;

    if (d->rc < 0)
        return d->rc;
    u->reading = false;
    u->ended = d->bytes.n == 0;
    u->moved += d->bytes.n;
    buf_str(&u->in[u->filling], d->bytes);
    return go_on(t, u, e);
}

static int go_on(ath_task *t, struct unpacking *u, ath_err *e)
{
    struct buf *fill = &u->in[u->filling];
    int rc = 0;

    if (!u->working && (fill->n || u->ended)) {
        u->last = u->ended;
        u->filling = !u->filling;
        fill = &u->in[u->filling];
        buf_reset(fill);
        u->working = true;
        rc = ath_host_->task->work(t, take_apart, worked, u, e);
    }
    if (rc == 0 && !u->reading && !u->ended && fill->n < BLOCK) {
        u->reading = true;
        rc = ath_host_->stream->read(t, u->o->in, came, u, e);
    }
    return rc;
}

static uint64_t most_of(const struct archive_unpack *o)
{
    uint64_t sum = 0;

    if (!o->told)
        return o->most_bytes;
    for (size_t i = 0; i < o->told->files; i++)
        sum += o->told->file[i].bytes;
    return o->most_bytes && o->most_bytes < sum ? o->most_bytes : sum;
}

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct unpacking *u = ath_new(ath_arena_of(t), sizeof(*u));

    u->o = arg;
    u->folder = u->fd = -1;
    u->most = most_of(u->o);
    sha_begin(&u->sha);
    u->gunzip = gunzip_begin(unzipped, u);
    u->content = content_begin(u->o->rows, !(u->o->by_digest && u->o->told), u->o->most_files);
    tar_begin(&u->tar, &sink, u);
    ath_host_->mem->own(ath_arena_of(t), u, unpacking_free);
    return go_on(t, u, e);
}

int archive_unpack(ath_task *t, struct archive_unpack *u, ath_then *then, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = begin, .arg = u };

    return ath_host_->task->fork(t, &f, then, arg, e);
}
