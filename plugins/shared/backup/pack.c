/* Packing: four stages on three slots that go round, so that disk, processors and network work at
 * once.
 *
 *     fill      a slot with the next megabyte of the tar: headers, and what the files hold
 *     squeeze   the slot filled before: gzip, seal, digest of what will be stored    } side by
 *     inspect   the same bytes, as whoever unpacks will: their files, tables, rows   } side
 *     write     what was squeezed before that
 *
 * A turn is over when all of its stages are; then the slots move on. All of it is a task of its
 * own: a stage that fails ends it, and with it the stream.
 */
#include "backup/archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include "backup/content.h"
#include "backup/sha.h"
#include "backup/tar.h"

enum { BLOCK = 1 << 20, SLOTS = 3, ROOT_NAME = sizeof("dump/") - 1 };

struct span { /* of a slot: bytes that are compressed by one level */
    size_t n;
    bool tight;
};

struct slot {
    struct buf tar, out;
    struct span *span;
    size_t spans, room;
    bool last;
    uint64_t moved; /* of the files, up to here */
};

struct file {
    char *name;
    uint64_t bytes;
};

struct packing {
    struct archive_pack *o;
    bool dry; /* nothing is squeezed and written */
    struct file *file;
    size_t files, room, next;
    int folder, fd; /* fd: of the file under way; -1: none */
    uint64_t left;  /* of it */
    struct slot slot[SLOTS];
    unsigned turn, running;
    bool filled, written;
    uint64_t moved;
    z_stream z;
    bool tight;
    struct seal *seal;
    struct buf zipped;
    EVP_MD_CTX *sha;
    struct tar tar;
    struct content *content;
};

static void packing_free(void *arg)
{
    struct packing *p = arg;

    for (size_t i = 0; i < p->files; i++)
        free(p->file[i].name);
    free(p->file);
    for (size_t i = 0; i < SLOTS; i++) {
        buf_free(&p->slot[i].tar);
        buf_free(&p->slot[i].out);
        free(p->slot[i].span);
    }
    buf_free(&p->zipped);
    if (p->fd >= 0)
        close(p->fd);
    if (p->folder >= 0)
        close(p->folder);
    deflateEnd(&p->z);
    seal_free(p->seal);
    EVP_MD_CTX_free(p->sha);
    content_free(p->content);
}

static struct slot *slot_of(struct packing *p, unsigned behind)
{
    return &p->slot[(p->turn + SLOTS - behind) % SLOTS];
}

/* ---- the folder ---- */

static int io_fail(const char *what, const char *name, ath_err *e)
{
    int why = errno;
    int rc = why == ENOENT ? ATH_E_MISSING : ATH_E_UPSTREAM;

    return ath_fail(e, rc, "could not %s \"%s\": %s", what, name, strerror(why));
}

static int add_file(struct packing *p, const char *name, ath_err *e)
{
    struct stat st;

    if (fstatat(p->folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return io_fail("look at", name, e);
    if (!S_ISREG(st.st_mode))
        return ath_fail(e, ATH_E_INPUT, "\"%s\" in the dump's folder is no file", name);
    if (p->files == MANIFEST_FILES)
        return ath_fail(e, ATH_E_TOO_LARGE, "the dump has more than %d files", MANIFEST_FILES);
    if (p->files == p->room) {
        p->room = p->room ? 2 * p->room : 64;
        if (!(p->file = realloc(p->file, p->room * sizeof(*p->file))))
            abort();
    }
    p->file[p->files] = (struct file){ .bytes = (uint64_t)st.st_size };
    manifest_set(&p->file[p->files++].name, str_of(name));
    p->o->folder_bytes += (uint64_t)st.st_size;
    return 0;
}

/* toc.dat first: who reads the stream knows early what comes. */
static int file_order(const void *a, const void *b)
{
    const char *x = ((const struct file *)a)->name, *y = ((const struct file *)b)->name;
    int first = (strcmp(y, "toc.dat") == 0) - (strcmp(x, "toc.dat") == 0);

    return first ? first : strcmp(x, y);
}

static int list_files(struct packing *p, ath_err *e)
{
    int fd = dup(p->folder), rc = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir) {
        rc = io_fail("read", "dump", e);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    for (struct dirent *d; rc == 0 && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            rc = add_file(p, d->d_name, e);
    closedir(dir);
    if (p->files)
        qsort(p->file, p->files, sizeof(*p->file), file_order);
    return rc;
}

static int open_folder(struct packing *p, ath_err *e)
{
    struct buf path = BUF_HEAP;
    int rc = 0;

    buf_str(&path, p->o->folder);
    buf_char(&path, 0);
    p->folder = open(path.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->folder < 0)
        rc = io_fail("open", path.p, e);
    buf_free(&path);
    return rc;
}

/* ---- fill ---- */

static void span_more(struct slot *s, size_t n, bool tight)
{
    if (s->spans && s->span[s->spans - 1].tight == tight) {
        s->span[s->spans - 1].n += n;
        return;
    }
    if (s->spans == s->room) {
        s->room = s->room ? 2 * s->room : 16;
        if (!(s->span = realloc(s->span, s->room * sizeof(*s->span))))
            abort();
    }
    s->span[s->spans++] = (struct span){ .n = n, .tight = tight };
}

static bool is_tight(const struct packing *p)
{
    ath_str name = str_of(p->file[p->next].name);

    return str_ends(name, ".gz") || str_ends(name, ".lz4") || str_ends(name, ".zst");
}

static int put_head(struct slot *s, const char *name, const struct stat *st, ath_err *e)
{
    size_t before = s->tar.n;
    struct buf path = BUF_HEAP;
    int rc;

    buf_lit(&path, "dump/");
    buf_z(&path, name);
    rc = tar_put_head(&s->tar, buf_view(&path), st, e);
    buf_free(&path);
    span_more(s, s->tar.n - before, false);
    return rc;
}

static int file_begin(struct packing *p, struct slot *s, ath_err *e)
{
    struct file *f = &p->file[p->next];
    struct stat st;

    p->fd = openat(p->folder, f->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (p->fd < 0 || fstat(p->fd, &st) < 0)
        return io_fail("open", f->name, e);
    if ((uint64_t)st.st_size != f->bytes)
        return ath_fail(e, ATH_E_CONFLICT, "\"%s\" changes while it is packed", f->name);
    posix_fadvise(p->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    p->left = f->bytes;
    return put_head(s, f->name, &st, e);
}

static int file_end(struct packing *p, struct slot *s, ath_err *e)
{
    size_t before = s->tar.n;
    char more;

    if (read(p->fd, &more, 1) != 0)
        return ath_fail(e, ATH_E_CONFLICT, "\"%s\" changes while it is packed",
                        p->file[p->next].name);
    close(p->fd);
    p->fd = -1;
    tar_put_pad(&s->tar, p->file[p->next].bytes);
    span_more(s, s->tar.n - before, false);
    p->next++;
    return 0;
}

static int file_more(struct packing *p, struct slot *s, ath_err *e)
{
    size_t room = BLOCK - s->tar.n, want = p->left < room ? (size_t)p->left : room;
    char *to = buf_room(&s->tar, want);
    ssize_t n = read(p->fd, to, want);

    if (n < 0)
        return io_fail("read", p->file[p->next].name, e);
    if (n == 0)
        return ath_fail(e, ATH_E_CONFLICT, "\"%s\" changes while it is packed",
                        p->file[p->next].name);
    buf_end(&s->tar, to + n);
    span_more(s, (size_t)n, is_tight(p));
    p->left -= (uint64_t)n;
    p->moved += (uint64_t)n;
    return 0;
}

static int fill_begin(struct packing *p, struct slot *s, ath_err *e)
{
    struct stat st;
    int rc = open_folder(p, e);

    if (rc < 0 || (rc = list_files(p, e)) < 0)
        return rc;
    if (fstat(p->folder, &st) < 0)
        return io_fail("look at", "dump", e);
    return put_head(s, "", &st, e);
}

static int fill(ath_task *t, void *arg, ath_err *e) /* on the pool */
{
    struct packing *p = arg;
    struct slot *s = slot_of(p, 0);
    int rc = p->folder < 0 ? fill_begin(p, s, e) : 0;

    (void)t;
    while (rc == 0 && s->tar.n < BLOCK && p->next < p->files) {
        if (p->fd < 0)
            rc = file_begin(p, s, e);
        else if (p->left)
            rc = file_more(p, s, e);
        else
            rc = file_end(p, s, e);
    }
    if (rc == 0 && p->next == p->files) {
        tar_put_end(&s->tar);
        span_more(s, 2 * TAR_BLOCK, false);
        s->last = true;
    }
    s->moved = p->moved;
    return rc;
}

/* ---- squeeze ---- */

static int pass_on(struct packing *p, struct slot *s, bool last, ath_err *e)
{
    size_t before = s->out.n;
    int rc = 0;

    if (p->seal)
        rc = seal_feed(p->seal, buf_view(&p->zipped), last, &s->out, e);
    else
        buf_str(&s->out, buf_view(&p->zipped));
    buf_reset(&p->zipped);
    sha_more(p->sha, str_after(buf_view(&s->out), before));
    p->o->manifest.bytes += s->out.n - before;
    return rc;
}

static void deflate_more(struct packing *p, int flush)
{
    int rc;

    do {
        p->z.next_out = (Bytef *)buf_room(&p->zipped, 65536);
        p->z.avail_out = 65536;
        rc = deflate(&p->z, flush);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            abort();
        buf_end(&p->zipped, (char *)p->z.next_out);
    } while (p->z.avail_out == 0 || (flush == Z_FINISH && rc != Z_STREAM_END));
}

/* What is compressed already is stored. A change of the level first ends what was put in before. */
static void set_level(struct packing *p, bool tight)
{
    if (p->tight == tight)
        return;
    p->tight = tight;
    deflate_more(p, Z_BLOCK);
    p->z.next_out = (Bytef *)buf_room(&p->zipped, 65536);
    p->z.avail_out = 65536;
    if (deflateParams(&p->z, tight ? 0 : p->o->level, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    buf_end(&p->zipped, (char *)p->z.next_out);
}

static int squeeze(ath_task *t, void *arg, ath_err *e) /* on the pool */
{
    struct packing *p = arg;
    struct slot *s = slot_of(p, 1);
    ath_str tar = buf_view(&s->tar);

    (void)t;
    for (size_t i = 0; i < s->spans; i++) {
        set_level(p, s->span[i].tight);
        p->z.next_in = (Bytef *)(uintptr_t)tar.p;
        p->z.avail_in = (uInt)s->span[i].n;
        deflate_more(p, Z_NO_FLUSH);
        tar = str_after(tar, s->span[i].n);
    }
    if (s->last)
        deflate_more(p, Z_FINISH);
    return pass_on(p, s, s->last, e);
}

/* ---- inspect ---- */

static int on_entry(void *arg, ath_str name, bool folder, uint64_t bytes, ath_err *e)
{
    struct packing *p = arg;

    (void)bytes;
    return folder ? 0 : content_entry(p->content, name, e);
}

static int on_data(void *arg, ath_str bytes, ath_err *e)
{
    struct packing *p = arg;

    return content_data(p->content, bytes, e);
}

static int on_done(void *arg, ath_err *e)
{
    struct packing *p = arg;

    return content_done(p->content, e);
}

static const struct tar_sink sink = { on_entry, on_data, on_done };

static int inspect(ath_task *t, void *arg, ath_err *e) /* on the pool */
{
    struct packing *p = arg;
    struct slot *s = slot_of(p, 1);
    int rc = tar_feed(&p->tar, buf_view(&s->tar), e);

    (void)t;
    if (rc < 0 || !s->last)
        return rc;
    if ((rc = tar_end(&p->tar, e)) == 0)
        rc = content_finish(p->content, &p->o->manifest, e);
    return rc;
}

/* ---- turns ---- */

static int turn(ath_task *t, struct packing *p, ath_err *e);

static void slot_reset(struct slot *s)
{
    buf_reset(&s->tar);
    buf_reset(&s->out);
    s->spans = 0;
    s->last = false;
}

static int stage_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct packing *p = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (--p->running)
        return 0;
    p->filled |= slot_of(p, 0)->last;
    p->written |= slot_of(p, 2)->last;
    slot_reset(slot_of(p, 2));
    if (p->o->moved && !p->written)
        p->o->moved(p->o->moved_arg, slot_of(p, 1)->moved);
    p->turn++;
    return turn(t, p, e);
}

static int finish(ath_task *t, struct packing *p)
{
    sha_end(p->sha, p->o->manifest.sha256);
    if (p->seal)
        memcpy(p->o->manifest.seal_key, seal_id(p->seal), SEAL_ID + 1);
    if (!p->dry)
        ath_host_->stream->end(p->o->out, 0);
    ath_host_->task->done(t, NULL);
    return 0;
}

static int start(ath_task *t, struct packing *p, ath_run *stage, ath_err *e)
{
    int rc = ath_host_->task->work(t, stage, stage_over, p, e);

    if (rc == 0)
        p->running++;
    return rc;
}

static int turn(ath_task *t, struct packing *p, ath_err *e)
{
    struct slot *full = slot_of(p, 1), *out = slot_of(p, 2);
    int rc = 0;

    if (p->written)
        return finish(t, p);
    if (!p->filled)
        rc = start(t, p, fill, e);
    if (rc == 0 && full->tar.n && !p->dry)
        rc = start(t, p, squeeze, e);
    if (rc == 0 && full->tar.n)
        rc = start(t, p, inspect, e);
    if (rc == 0 && out->out.n) {
        rc = ath_host_->stream->write(t, p->o->out, buf_view(&out->out), stage_over, p, e);
        p->running += rc == 0;
    }
    if (rc < 0 || p->running)
        return rc;
    p->written |= out->last; /* a turn with nothing to do: of a dry run, or held back by the seal */
    slot_reset(out);
    p->turn++;
    return turn(t, p, e);
}

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct packing *p = ath_new(ath_arena_of(t), sizeof(*p));

    p->o = arg;
    p->dry = !p->o->out;
    p->folder = p->fd = -1;
    p->o->folder_bytes = 0;
    if (deflateInit2(&p->z, p->o->level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return ath_fail(e, ATH_E_BUG, "there is no gzip level %d", p->o->level);
    sha_begin(&p->sha);
    if (!p->dry && p->o->ring && p->o->ring->n)
        p->seal = seal_begin(p->o->ring);
    p->content = content_begin(p->o->rows, true, 0);
    tar_begin(&p->tar, &sink, p);
    ath_host_->mem->own(ath_arena_of(t), p, packing_free);
    return turn(t, p, e);
}

int archive_pack(ath_task *t, struct archive_pack *p, ath_then *then, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = begin, .arg = p };

    return ath_host_->task->fork(t, &f, then, arg, e);
}

int archive_count(ath_task *t, struct archive_pack *p, ath_then *then, void *arg, ath_err *e)
{
    p->out = NULL;
    return archive_pack(t, p, then, arg, e);
}
