/* Writing the log; see wal.h.
 *
 *     added   numbered and in the open group, under `lock`
 *     commit  under `sync`: the group is closed, written behind the last segment and forced to the
 *             disk; then its entries belong to their segment
 *     done    a note in the same way; then the entries leave their segment, and segments without
 * any go, oldest first: a note may be about entries of older ones
 *
 * A write that failed is cut off again. After a failed fdatasync nobody knows what the disk has, so
 * the segment is cut too and not written to any more.
 */
#include "wal/wal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"

enum {
    NAME = 32,
    IDLE_MOST = 1 << 20, /* a segment without entries is used on up to this size */
    SPARSE = 4           /* so many times the bytes of the entries may lie on the disk */
};

static const char ending[] = ".wal", lock_name[] = "lock";

struct wal_segment {
    struct wal_segment *next; /* younger */
    uint64_t number, end;
    struct wal_entry *oldest, *newest;
    uint64_t left; /* entries that are not done */
};

struct wal_group {
    uint32_t refs; /* under `lock` */
    bool over;     /* this and `rc` under `sync` */
    int rc;
    struct buf bytes;
    struct wal_entry *first, *last;
};

struct wal {
    struct wal_options o;
    char *folder;
    char id[UUID_TEXT];
    int dir, locked;
    pthread_mutex_t lock; /* of the next three */
    struct wal_group *open;
    uint64_t seq;         /* the last number given */
    pthread_mutex_t sync; /* of all below */
    struct wal_segment *first, *last;
    int fd;                   /* of the last one, when it is written to; -1: there is none */
    uint64_t number, pending; /* pending: bytes of entries that are not done */
    struct buf owed;          /* numbers that are done, and no note of it is on the disk */
    struct wal_stats stats;
};

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

__attribute__((format(printf, 3, 4))) static void say(const struct wal *w, int level,
                                                      const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    w->o.say(w->o.arg, level, text);
}

static void name_of(const struct wal_segment *g, char ret[NAME])
{
    (void)snprintf(ret, NAME, "%016llx%s", (unsigned long long)g->number, ending);
}

static bool write_at(int fd, const char *p, size_t n, uint64_t at)
{
    while (n) {
        ssize_t done = pwrite(fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return true;
}

/* ---- segments; under `sync` ---- */

static void entry_joins(struct wal_segment *g, struct wal_entry *e)
{
    e->segment = g;
    e->newer = NULL;
    e->older = g->newest;
    *(g->newest ? &g->newest->newer : &g->oldest) = e;
    g->newest = e;
    g->left++;
}

static void entry_leaves(struct wal_entry *e)
{
    struct wal_segment *g = e->segment;

    *(e->older ? &e->older->newer : &g->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &g->newest) = e->older;
    e->segment = NULL;
    g->left--;
}

static void stop_writing(struct wal *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

static void segment_push(struct wal *w, struct wal_segment *g)
{
    *(w->last ? &w->last->next : &w->first) = g;
    w->last = g;
    w->stats.segments++;
    w->stats.bytes += g->end;
}

/* The oldest one. */
static void segment_remove(struct wal *w)
{
    struct wal_segment *g = w->first;
    char name[NAME];

    if (g == w->last)
        stop_writing(w);
    name_of(g, name);
    if (unlinkat(w->dir, name, 0) < 0 && errno != ENOENT)
        say(w, ATH_ERROR, "could not remove \"%s/%s\", which is done: %s", w->folder, name,
            strerror(errno));
    w->first = g->next;
    if (!w->first)
        w->last = NULL;
    w->stats.segments--;
    w->stats.bytes -= g->end;
    free(g);
}

/* 0 or -errno. Its head is forced to the disk with what follows it. */
static int segment_begin(struct wal *w)
{
    struct wal_segment *g = must(calloc(1, sizeof(*g)));
    struct wal_head head;
    char name[NAME];
    int why, fd;

    g->number = ++w->number;
    g->end = sizeof(head);
    name_of(g, name);
    wal_head_make(&head, w->id);
    fd = openat(w->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 && write_at(fd, (const char *)&head, sizeof(head), 0) && fsync(w->dir) == 0) {
        stop_writing(w);
        w->fd = fd;
        segment_push(w, g);
        return 0;
    }
    why = errno ? errno : EIO;
    if (fd >= 0) {
        close(fd);
        unlinkat(w->dir, name, 0);
    }
    free(g);
    return -why;
}

static int segment_for(struct wal *w, size_t n)
{
    struct wal_segment *g = w->last;

    if (w->fd >= 0 && (g->end + n <= w->o.segment || g->end == sizeof(struct wal_head)))
        return 0;
    return segment_begin(w);
}

/* All of it is on the disk, or nothing of it is in the log. */
static int write_bytes(struct wal *w, ath_str bytes)
{
    struct wal_segment *g;
    int rc = segment_for(w, bytes.n), why;

    if (rc < 0)
        return rc;
    g = w->last;
    w->stats.commits++;
    if (write_at(w->fd, bytes.p, bytes.n, g->end) && fdatasync(w->fd) == 0) {
        g->end += bytes.n;
        w->stats.bytes += bytes.n;
        return 0;
    }
    why = errno ? errno : EIO;
    if (ftruncate(w->fd, (off_t)g->end) < 0 || why == EIO || fdatasync(w->fd) < 0)
        stop_writing(w);
    return -why;
}

/* ---- adding ---- */

static void record_put(struct buf *b, enum wal_kind kind, uint64_t seq, ath_str bytes)
{
    static const char zeros[8];
    struct wal_record r;

    wal_record_make(&r, kind, seq, bytes);
    buf_mem(b, (const char *)&r, sizeof(r));
    buf_str(b, bytes);
    buf_mem(b, zeros, wal_padded(bytes.n) - bytes.n);
}

/* With `lock`. It is the log's too, until it is over. */
static struct wal_group *open_group(struct wal *w)
{
    if (!w->open) {
        w->open = must(calloc(1, sizeof(*w->open)));
        w->open->refs = 1;
    }
    w->open->refs++;
    return w->open;
}

struct wal_group *wal_add(struct wal *w, struct wal_entry *entry)
{
    struct wal_group *g;

    pthread_mutex_lock(&w->lock);
    g = open_group(w);
    entry->seq = ++w->seq;
    entry->next = NULL;
    *(g->last ? &g->last->next : &g->first) = entry;
    g->last = entry;
    record_put(&g->bytes, WAL_IS_ENTRY, entry->seq, entry->text);
    pthread_mutex_unlock(&w->lock);
    return g;
}

void wal_leave(struct wal *w, struct wal_group *g)
{
    bool last;

    pthread_mutex_lock(&w->lock);
    last = --g->refs == 0;
    pthread_mutex_unlock(&w->lock);
    if (!last)
        return;
    buf_free(&g->bytes);
    free(g);
}

/* ---- committing; under `sync` ---- */

static void group_over(struct wal *w, struct wal_group *g)
{
    g->rc = g->bytes.n ? write_bytes(w, buf_view(&g->bytes)) : 0;
    g->over = true;
    buf_free(&g->bytes);
    if (!g->first)
        return;
    if (g->rc < 0) {
        w->o.failed(w->o.arg, g->first);
        return;
    }
    for (struct wal_entry *e = g->first; e; e = e->next) {
        entry_joins(w->last, e);
        w->pending += e->text.n;
    }
    w->o.kept(w->o.arg, g->first);
}

static void commit_open(struct wal *w)
{
    struct wal_group *g;

    pthread_mutex_lock(&w->lock);
    g = w->open;
    w->open = NULL;
    pthread_mutex_unlock(&w->lock);
    if (!g)
        return;
    group_over(w, g);
    wal_leave(w, g);
}

int wal_commit(struct wal *w, struct wal_group *g)
{
    int rc = 0;

    pthread_mutex_lock(&w->sync);
    if (!g || !g->over) /* what is not over is the open one: groups end in their order */
        commit_open(w);
    if (g)
        rc = g->rc;
    pthread_mutex_unlock(&w->sync);
    return rc;
}

/* ---- done; under `sync` ---- */

/* Entries of the oldest segment, behind all others: it can go then. */
static int move_oldest(struct wal *w)
{
    struct wal_segment *g = w->first;
    struct buf b = BUF_HEAP;
    int rc;

    for (struct wal_entry *e = g->oldest; e; e = e->newer)
        record_put(&b, WAL_IS_ENTRY, e->seq, e->text);
    rc = write_bytes(w, buf_view(&b));
    buf_free(&b);
    while (rc == 0 && g->oldest) {
        struct wal_entry *e = g->oldest;
        entry_leaves(e);
        entry_joins(w->last, e);
    }
    return rc;
}

static bool is_sparse(const struct wal *w)
{
    return w->first != w->last && w->stats.bytes > SPARSE * (w->pending + 2 * w->o.segment);
}

static void sweep(struct wal *w)
{
    uint64_t before = w->stats.segments;

    while (w->first && w->first->left == 0 && w->first != w->last)
        segment_remove(w);
    while (is_sparse(w) && w->first->left && move_oldest(w) == 0)
        while (w->first->left == 0 && w->first != w->last)
            segment_remove(w);
    if (w->first && w->first == w->last && w->first->left == 0 && w->first->end > IDLE_MOST)
        segment_remove(w);
    if (w->stats.segments < before && fsync(w->dir) < 0)
        say(w, ATH_WARN, "could not sync folder \"%s\": %s", w->folder, strerror(errno));
}

/* A note of all that is owed. When there is no entry left but in segments that are gone with it,
 * none is needed. */
static int note(struct wal *w)
{
    struct buf b = BUF_HEAP;
    int rc;

    record_put(&b, WAL_IS_DONE, 0, buf_view(&w->owed));
    rc = write_bytes(w, buf_view(&b));
    buf_free(&b);
    return rc;
}

int wal_done(struct wal *w, struct wal_entry *const *entry, uint32_t n)
{
    int rc;

    pthread_mutex_lock(&w->sync);
    for (uint32_t i = 0; i < n; i++) {
        buf_mem(&w->owed, (const char *)&entry[i]->seq, sizeof(entry[i]->seq));
        entry_leaves(entry[i]);
        w->pending -= entry[i]->text.n;
    }
    rc = w->owed.n ? note(w) : 0;
    if (rc < 0) /* the disk may be full of what is done */
        while (w->first && w->first->left == 0)
            segment_remove(w);
    if (rc == 0 || !w->first) {
        buf_free(&w->owed);
        rc = 0;
    }
    sweep(w);
    pthread_mutex_unlock(&w->sync);
    return rc;
}

/* ---- opening ---- */

struct found {
    uint64_t seq;
    ath_str text; /* in the bytes of its file */
    struct wal_segment *segment;
};

struct opening { /* what the segments say */
    struct found *entry;
    uint64_t *done;
    size_t entries, entries_room, dones, dones_room;
    struct wal_segment *segment; /* that is read */
    uint64_t seq;                /* the highest */
    struct buf *file;            /* of each segment */
    size_t files;
};

static void *one_more(void *list, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return list;
    *room = *room * 2 + 64;
    return must(reallocarray(list, *room, size));
}

static void see(void *arg, const struct wal_record *r, const char *bytes)
{
    struct opening *o = arg;

    if (r->kind == WAL_IS_ENTRY) {
        o->entry = one_more(o->entry, o->entries, &o->entries_room, sizeof(*o->entry));
        o->entry[o->entries++] = (struct found){ r->seq, { bytes, r->n }, o->segment };
        o->seq = r->seq > o->seq ? r->seq : o->seq;
        return;
    }
    for (uint32_t i = 0; i + 8 <= r->n; i += 8) {
        o->done = one_more(o->done, o->dones, &o->dones_room, sizeof(*o->done));
        memcpy(&o->done[o->dones], bytes + i, 8);
        o->seq = o->done[o->dones] > o->seq ? o->done[o->dones] : o->seq;
        o->dones++;
    }
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int file_load(const struct wal *w, const char *name, struct buf *b)
{
    int fd = openat(w->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), rc = 0;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        rc = -errno;
    } else if (st.st_size > 0) {
        char *to = buf_room(b, (size_t)st.st_size);
        size_t n = 0;
        ssize_t got = 0;
        while (n < (size_t)st.st_size && (got = read(fd, to + n, (size_t)st.st_size - n)) > 0)
            n += (size_t)got;
        rc = got < 0 ? -errno : 0;
        buf_end(b, to + n);
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

static void keep_damaged(struct wal *w, const char *name, uint64_t bytes)
{
    char kept[NAME + 16];

    (void)snprintf(kept, sizeof(kept), "%.16s.damaged", name);
    if (linkat(w->dir, name, w->dir, kept, 0) < 0 && errno != EEXIST)
        say(w, ATH_WARN, "could not keep \"%s/%s\": %s", w->folder, kept, strerror(errno));
    say(w, ATH_ERROR, "\"%s/%s\" is damaged: %llu bytes are no entries; it is kept as \"%s\"",
        w->folder, name, (unsigned long long)bytes, kept);
}

static int load(struct wal *w, struct opening *o, uint64_t number, bool last, ath_err *e)
{
    struct wal_segment *g = must(calloc(1, sizeof(*g)));
    struct buf *b = &o->file[o->files++];
    struct wal_read read;
    char name[NAME];
    int rc;

    g->number = number;
    name_of(g, name);
    if ((rc = file_load(w, name, b)) < 0) {
        free(g);
        return ath_fail(e, ATH_E_CONFIG, "could not read \"%s/%s\": %s", w->folder, name,
                        strerror(-rc));
    }
    o->segment = g;
    g->end = b->n;
    if (last && b->n <= sizeof(struct wal_head) &&
        !wal_read(b->p ? b->p : "", b->n, &read, see, o)) { /* a process was killed making it */
        (void)unlinkat(w->dir, name, 0);
        free(g);
        return 0;
    }
    segment_push(w, g);
    if (!wal_read(b->p ? b->p : "", b->n, &read, see, o)) {
        keep_damaged(w, name, b->n);
        return 0;
    }
    memcpy(w->id, read.id, sizeof(w->id));
    w->stats.torn += read.torn;
    w->stats.damaged += read.damaged;
    if (read.damaged)
        keep_damaged(w, name, read.damaged);
    if (read.torn)
        say(w, ATH_WARN,
            "the last %llu bytes of \"%s/%s\" are torn: nobody was told that they are kept",
            (unsigned long long)read.torn, w->folder, name);
    return 0;
}

static bool is_segment(const char *name, uint64_t *ret)
{
    char *end;

    if (strlen(name) != 16 + sizeof(ending) - 1 || strcmp(name + 16, ending) != 0)
        return false;
    *ret = strtoull(name, &end, 16);
    return end == name + 16;
}

static uint64_t *segments_there(const struct wal *w, size_t *ret_n)
{
    int fd = openat(w->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    uint64_t *list = NULL, number;
    const struct dirent *one;
    size_t n = 0, room = 0;

    while (d && (one = readdir(d)))
        if (is_segment(one->d_name, &number)) {
            list = one_more(list, n, &room, sizeof(*list));
            list[n++] = number;
        }
    if (d)
        closedir(d);
    if (n)
        qsort(list, n, sizeof(*list), by_number);
    *ret_n = n;
    return list;
}

static int by_seq(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    if (x->seq != y->seq)
        return x->seq < y->seq ? -1 : 1;
    return (x->segment->number > y->segment->number) - (x->segment->number < y->segment->number);
}

/* An entry that was moved is there twice when the process was killed in between: the later one
 * counts. */
static void hand_out(struct wal *w, struct opening *o)
{
    size_t d = 0;

    if (o->entries)
        qsort(o->entry, o->entries, sizeof(*o->entry), by_seq);
    if (o->dones)
        qsort(o->done, o->dones, sizeof(*o->done), by_number);
    for (size_t i = 0; i < o->entries; i++) {
        const struct found *f = &o->entry[i];
        struct wal_entry *entry;
        while (d < o->dones && o->done[d] < f->seq)
            d++;
        if ((d < o->dones && o->done[d] == f->seq) ||
            (i + 1 < o->entries && o->entry[i + 1].seq == f->seq))
            continue;
        entry = w->o.found(w->o.arg, f->seq, f->text);
        if (!entry) {
            buf_mem(&w->owed, (const char *)&f->seq, sizeof(f->seq));
            continue;
        }
        entry->seq = f->seq;
        entry_joins(f->segment, entry);
        w->pending += entry->text.n;
    }
}

static int load_all(struct wal *w, ath_err *e)
{
    struct opening o = { 0 };
    size_t n;
    uint64_t *number = segments_there(w, &n);
    int rc = 0;

    o.file = must(calloc(n + 1, sizeof(*o.file)));
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = load(w, &o, w->number = number[i], i + 1 == n, e);
    w->seq = o.seq;
    if (rc == 0)
        hand_out(w, &o);
    for (size_t i = 0; i < o.files; i++)
        buf_free(&o.file[i]);
    free(o.file);
    free(o.entry);
    free(o.done);
    free(number);
    return rc;
}

static int make_folder(const char *path, ath_err *e)
{
    char part[4096];
    size_t n = strlen(path);

    if (!n || n >= sizeof(part))
        return ath_fail(e, ATH_E_CONFIG, "\"%s\" is no folder", path);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != 0)
            continue;
        part[i] = 0;
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return ath_fail(e, ATH_E_CONFIG, "could not make folder \"%s\": %s", part,
                            strerror(errno));
        part[i] = i < n ? '/' : 0;
    }
    return 0;
}

static int take_lock(struct wal *w, ath_err *e)
{
    char who[32] = "";
    ssize_t n;

    w->locked = openat(w->dir, lock_name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (w->locked < 0)
        return ath_fail(e, ATH_E_CONFIG, "could not write into folder \"%s\": %s", w->folder,
                        strerror(errno));
    if (flock(w->locked, LOCK_EX | LOCK_NB) < 0) {
        n = pread(w->locked, who, sizeof(who) - 1, 0);
        return ath_fail(e, ATH_E_CONFLICT, "\"%s/%s\" is locked by process %.*s", w->folder,
                        lock_name, n > 1 ? (int)n - 1 : 1, n > 1 ? who : "?");
    }
    (void)snprintf(who, sizeof(who), "%d\n", (int)getpid());
    if (ftruncate(w->locked, 0) < 0 || !write_at(w->locked, who, strlen(who), 0)) {
        /* the number is for people; a full disk shows when the first segment is made */
    }
    return 0;
}

static void wal_free(struct wal *w)
{
    while (w->first) {
        struct wal_segment *g = w->first;
        w->first = g->next;
        free(g);
    }
    stop_writing(w);
    if (w->locked >= 0)
        close(w->locked);
    if (w->dir >= 0)
        close(w->dir);
    buf_free(&w->owed);
    pthread_mutex_destroy(&w->lock);
    pthread_mutex_destroy(&w->sync);
    free(w->folder);
    free(w);
}

int wal_open(const struct wal_options *o, struct wal **ret, ath_err *e)
{
    struct wal *w = must(calloc(1, sizeof(*w)));
    int rc;

    w->o = *o;
    w->o.segment = o->segment ? o->segment : WAL_SEGMENT;
    w->folder = must(strdup(o->folder));
    w->dir = w->locked = w->fd = -1;
    pthread_mutex_init(&w->lock, NULL);
    pthread_mutex_init(&w->sync, NULL);
    rc = make_folder(w->folder, e);
    if (rc == 0 && (w->dir = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        rc = ath_fail(e, ATH_E_CONFIG, "could not open folder \"%s\": %s", w->folder,
                      strerror(errno));
    if (rc == 0)
        rc = take_lock(w, e);
    if (rc == 0)
        rc = load_all(w, e);
    if (rc < 0) {
        wal_free(w);
        return rc;
    }
    if (!w->id[0])
        uuid_make(w->id);
    sweep(w);
    *ret = w;
    return 0;
}

void wal_close(struct wal *w)
{
    bool left = false;

    if (!w)
        return;
    wal_commit(w, NULL);
    for (const struct wal_segment *g = w->first; g; g = g->next)
        left |= g->left > 0;
    while (!left && w->first)
        segment_remove(w);
    wal_free(w);
}

const char *wal_id(const struct wal *w)
{
    return w->id;
}

void wal_stats(struct wal *w, struct wal_stats *ret)
{
    pthread_mutex_lock(&w->sync);
    *ret = w->stats;
    pthread_mutex_unlock(&w->sync);
}
