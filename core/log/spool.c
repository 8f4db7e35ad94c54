/* Segments of records.
 *
 *     segment   head, records one after the other
 *     record    mark (sizes, number, checksum), body, kinds
 *
 * The head says how far the segment is done. That is written after each record without waiting, so
 * that a process that was killed goes on where it stood, but for the one record under way.
 *
 * A segment file appears under its name when it is locked and has its head: it is made as
 * ".<name>.new" and renamed. So whoever sees a file and gets its lock has a segment without an
 * owner. Only the thread that takes looks for those.
 */
#include "log/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "lib/check.h"
#include "lib/uuid.h"
#include "log/log.h"

enum {
    VERSION = 1,
    NAME_ROOM = 96,
    RECORD_MOST = 64 << 20,
    KEPT_MOST = 1 << 20,
    HAND_MOST = 4 << 20,
    SWEEP_S = 60
};
enum { MARK = 0x6d687461 }; /* "athm" */
static const char magic[8] = "ATHSPOOL";
static const char ending[] = ".spool";

struct head {
    char magic[8];
    uint64_t version, target;
    char writer[40];
    uint64_t check; /* of all above */
    uint64_t done;  /* the records before this place are done */
};

struct mark {
    uint32_t mark, events;
    uint64_t number;
    uint32_t body, kinds;
    uint64_t check; /* of all above, body and kinds */
};

struct segment {
    struct list node;
    char name[NAME_ROOM]; /* empty: in memory */
    char writer[UUID_TEXT];
    int fd;
    bool again, gone; /* gone: let go while some of its records are in hand */
    uint64_t done, end, events;
};

struct spool {
    struct spool_options o;
    char *folder;
    int dir;
    char writer[UUID_TEXT];
    uint64_t segment_most, last_ns;
    bool looked;          /* for segments of others; what is wrong with those is said once */
    pthread_mutex_t lock; /* of all below */
    struct list all;      /* oldest first */
    struct segment *open; /* that is written to; NULL: none */
    struct segment *in_hand;
    uint64_t in_hand_end, in_hand_events, memory;
    atomic_uint_fast64_t size; /* of all segments, done or not */
    atomic_uint_fast64_t bytes, events, put, done, adopted, full, disk, torn;
    atomic_bool in_memory;
};

static uint64_t mark_check(const struct mark *m, ath_str body, ath_str kinds)
{
    uint64_t h = check_of(1, m, offsetof(struct mark, check));

    return check_of(check_of(h, body.p, body.n), kinds.p, kinds.n);
}

static uint64_t record_size(const struct mark *m)
{
    return sizeof(*m) + m->body + m->kinds;
}

static bool read_at(int fd, void *to, size_t n, uint64_t at)
{
    while (n) {
        ssize_t got = pread(fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to = (char *)to + got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return true;
}

/* Sizes that can be; the checksum is looked at when the record is read. */
static bool mark_read(const struct segment *g, uint64_t at, uint64_t end, struct mark *m)
{
    return at + sizeof(*m) <= end && read_at(g->fd, m, sizeof(*m), at) && m->mark == MARK &&
           m->body <= RECORD_MOST && m->kinds <= RECORD_MOST && at + record_size(m) <= end;
}

/* ---- segments; with the lock ---- */

static void segment_free(struct segment *g)
{
    close(g->fd);
    free(g);
}

/* It is over: all its records are done, or let go. */
static void segment_remove(struct spool *s, struct segment *g)
{
    list_unlink(&g->node);
    if (g->name[0])
        unlinkat(s->dir, g->name, 0);
    else
        s->memory -= g->end;
    if (s->open == g)
        s->open = NULL;
    atomic_fetch_sub(&s->size, g->end);
    atomic_fetch_sub(&s->bytes, g->end - g->done);
    atomic_fetch_sub(&s->events, g->events);
    g->gone = true;
    if (s->in_hand != g)
        segment_free(g);
}

static bool head_write(const struct spool *s, struct segment *g)
{
    struct head h = { .version = VERSION, .target = s->o.target, .done = sizeof(h) };

    memcpy(h.magic, magic, sizeof(magic));
    memcpy(h.writer, s->writer, sizeof(s->writer));
    h.check = check_of(0, &h, offsetof(struct head, check));
    g->done = g->end = sizeof(h);
    return pwrite(g->fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h);
}

static bool file_make(struct spool *s, struct segment *g)
{
    char fresh[NAME_ROOM + 8];
    uint64_t now = clock_wall_ns();
    int why;

    s->last_ns = now > s->last_ns ? now : s->last_ns + 1; /* names are in the order of time */
    snprintf(g->name, sizeof(g->name), "%016llx-%s%s", (unsigned long long)s->last_ns, s->writer,
             ending);
    snprintf(fresh, sizeof(fresh), ".%s.new", g->name);
    g->fd = openat(s->dir, fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (g->fd >= 0 && flock(g->fd, LOCK_EX | LOCK_NB) == 0 && head_write(s, g) &&
        renameat(s->dir, fresh, s->dir, g->name) == 0)
        return true;
    why = errno;
    if (g->fd >= 0) {
        close(g->fd);
        unlinkat(s->dir, fresh, 0);
    }
    g->name[0] = 0;
    errno = why;
    return false;
}

static bool memory_make(struct spool *s, struct segment *g)
{
    if (s->memory >= SPOOL_MEMORY || (g->fd = memfd_create("spool", MFD_CLOEXEC)) < 0)
        return false;
    if (head_write(s, g)) {
        s->memory += g->end;
        return true;
    }
    close(g->fd);
    return false;
}

static void say_disk(struct spool *s, bool in_memory, int why)
{
    if (atomic_exchange(&s->in_memory, in_memory) == in_memory)
        return;
    if (in_memory)
        log_write(ATH_ERROR, "athena::log",
                  "spool of sink \"%s\" in \"%s\" cannot be written, events wait in memory: %s",
                  s->o.name, s->folder, strerror(why));
    else
        log_write(ATH_WARN, "athena::log", "spool of sink \"%s\" is written again", s->o.name);
}

/* A new one to write to. Each one is tried as a file, so a disk that has room again is used. */
static struct segment *segment_open(struct spool *s, bool file)
{
    struct segment *g = MEM_NEW(struct segment);
    bool made = file && file_make(s, g);
    int why = errno;

    memcpy(g->writer, s->writer, sizeof(g->writer));
    if (file)
        say_disk(s, !made, why);
    if (!made && !memory_make(s, g)) {
        free(g);
        return NULL;
    }
    list_push(&s->all, &g->node);
    atomic_fetch_add(&s->size, g->end);
    s->open = g;
    return g;
}

/* ---- letting go ---- */

/* All events of records behind `at` are counted. */
static void count_rest(struct spool *s, const struct segment *g, uint64_t at)
{
    struct buf kinds = BUF_HEAP;
    struct mark m;

    for (; mark_read(g, at, g->end, &m); at += record_size(&m)) {
        char *to;
        buf_reset(&kinds);
        to = buf_room(&kinds, m.kinds);
        if (!read_at(g->fd, to, m.kinds, at + sizeof(m) + m.body))
            break;
        buf_end(&kinds, to + m.kinds);
        s->o.lost(s->o.arg, buf_view(&kinds));
    }
    buf_free(&kinds);
}

/* With the lock. The records in hand are being sent, so they are not lost. */
static void segment_drop(struct spool *s, struct segment *g, atomic_uint_fast64_t *counter)
{
    uint64_t events = g->events;

    if (s->in_hand == g) {
        events -= s->in_hand_events;
        count_rest(s, g, s->in_hand_end);
    } else {
        count_rest(s, g, g->done);
    }
    atomic_fetch_add(counter, events);
    segment_remove(s, g);
}

static bool make_room(struct spool *s, uint64_t bytes)
{
    while (atomic_load(&s->size) + bytes > s->o.bytes) {
        struct list *oldest = list_first(&s->all);
        if (!oldest)
            return false;
        segment_drop(s, list_entry(oldest, struct segment, node), &s->full);
    }
    return true;
}

/* ---- putting ---- */

/* All of it, or the segment is as it was. */
static bool record_write(const struct segment *g, struct mark *m, ath_str body, ath_str kinds)
{
    struct iovec piece[] = { { m, sizeof(*m) },
                             { (void *)(uintptr_t)body.p, body.n },
                             { (void *)(uintptr_t)kinds.p, kinds.n } };
    ssize_t n = pwritev(g->fd, piece, ATH_COUNT(piece), (off_t)g->end);
    int why = n < 0 ? errno : ENOSPC;

    if (n == (ssize_t)record_size(m))
        return true;
    if (ftruncate(g->fd, (off_t)g->end) < 0) {
        /* what stands there is behind the end, and the next record is written over it */
    }
    errno = why;
    return false;
}

static struct segment *segment_for(struct spool *s, uint64_t bytes)
{
    struct segment *g = s->open;
    bool memory = g && !g->name[0];
    uint64_t most = memory ? SPOOL_MEMORY / 4 : s->segment_most;

    if (memory && g->done == g->end) /* it was left because of the disk: try that again */
        return segment_open(s, true);
    if (g && (g->end + bytes <= most || g->end == sizeof(struct head)))
        return g;
    return segment_open(s, true);
}

static int put(struct spool *s, struct mark *m, ath_str body, ath_str kinds)
{
    uint64_t bytes = record_size(m);
    struct segment *g = make_room(s, bytes) ? segment_for(s, bytes) : NULL;

    if (g && !record_write(g, m, body, kinds)) {
        if (g->name[0])
            say_disk(s, true, errno);
        g = g->name[0] ? segment_open(s, false) : NULL;
        if (g && !record_write(g, m, body, kinds))
            g = NULL;
    }
    if (!g)
        return ATH_E_LIMIT;
    g->end += bytes;
    g->events += m->events;
    s->memory += g->name[0] ? 0 : bytes;
    atomic_fetch_add(&s->size, bytes);
    atomic_fetch_add(&s->bytes, bytes);
    atomic_fetch_add(&s->events, m->events);
    atomic_fetch_add(&s->put, m->events);
    return 0;
}

int spool_put(struct spool *s, uint64_t number, uint32_t events, ath_str body, ath_str kinds)
{
    struct mark m = { .mark = MARK,
                      .events = events,
                      .number = number,
                      .body = (uint32_t)body.n,
                      .kinds = (uint32_t)kinds.n };
    int rc;

    m.check = mark_check(&m, body, kinds);
    pthread_mutex_lock(&s->lock);
    rc = put(s, &m, body, kinds);
    pthread_mutex_unlock(&s->lock);
    if (rc < 0) {
        atomic_fetch_add(&s->disk, events);
        s->o.lost(s->o.arg, kinds);
    }
    return rc;
}

/* ---- taking ---- */

/* The record at `at`, behind the bytes that are in the hand already. */
static bool record_read(const struct segment *g, uint64_t at, const struct mark *m,
                        struct spool_hand *h)
{
    size_t n = (size_t)m->body + m->kinds;
    char *to = buf_room(&h->bytes, n);
    ath_str body = str_from(to, m->body), kinds = str_from(to + m->body, m->kinds);

    if (!read_at(g->fd, to, n, at + sizeof(*m)) || mark_check(m, body, kinds) != m->check)
        return false;
    buf_end(&h->bytes, to + n);
    h->record[h->count++] = (struct spool_record){ body, kinds, m->events, m->number };
    h->events += m->events;
    h->end = at + record_size(m);
    return true;
}

/* The bytes move while there are more of them. */
static void records_place(struct spool_hand *h)
{
    const char *at = h->bytes.p;

    for (uint32_t i = 0; i < h->count; i++) {
        struct spool_record *r = &h->record[i];
        r->body.p = at;
        r->kinds.p = at + r->body.n;
        at += r->body.n + r->kinds.n;
    }
}

/* False: not even one. */
static bool hand_fill(const struct segment *g, uint64_t events, struct spool_hand *h)
{
    struct mark m;

    buf_reset(&h->bytes);
    h->count = 0;
    h->events = 0;
    h->end = g->done;
    h->writer = g->writer;
    h->again = g->again;
    while (h->count < ATH_PIECES_MOST && mark_read(g, h->end, g->end, &m) &&
           (h->count == 0 || (h->events + m.events <= events && h->bytes.n < HAND_MOST)))
        if (!record_read(g, h->end, &m, h))
            break;
    records_place(h);
    return h->count > 0;
}

/* The first with a record; those that are done go, but for the one that is written to. */
static struct segment *first_waiting(struct spool *s)
{
    struct list *node = s->all.next;

    while (node != &s->all) {
        struct segment *g = list_entry(node, struct segment, node);
        node = node->next;
        if (g->done < g->end)
            return g;
        if (g != s->open)
            segment_remove(s, g);
    }
    return NULL;
}

bool spool_next(struct spool *s, uint64_t events, struct spool_hand *h)
{
    struct segment *g;

    pthread_mutex_lock(&s->lock);
    while ((g = first_waiting(s)) && !hand_fill(g, events, h)) {
        log_write(ATH_WARN, "athena::log",
                  "spool of sink \"%s\": \"%s\" is damaged at %llu, %llu events are lost",
                  s->o.name, g->name, (unsigned long long)g->done, (unsigned long long)g->events);
        segment_drop(s, g, &s->torn);
    }
    s->in_hand = h->segment = g;
    s->in_hand_end = h->end;
    s->in_hand_events = h->events;
    pthread_mutex_unlock(&s->lock);
    return g != NULL;
}

/* Small ones are used on, larger ones give their pages back before they are written to a disk. */
static bool worn(const struct spool *s, const struct segment *g)
{
    return g->done == g->end && (g != s->open || g->end > KEPT_MOST);
}

void spool_done(struct spool *s, struct spool_hand *h)
{
    struct segment *g = h->segment;

    pthread_mutex_lock(&s->lock);
    s->in_hand = NULL;
    atomic_fetch_add(&s->done, h->events);
    if (g->gone) {
        segment_free(g);
    } else {
        atomic_fetch_sub(&s->bytes, h->end - g->done);
        atomic_fetch_sub(&s->events, h->events);
        g->events -= h->events;
        g->done = h->end;
        if (worn(s, g)) {
            segment_remove(s, g);
        } else if (pwrite(g->fd, &g->done, sizeof(g->done), offsetof(struct head, done)) < 0) {
            /* after a crash it comes again, and whoever counts by writer and number knows it */
        }
    }
    h->segment = NULL;
    pthread_mutex_unlock(&s->lock);
}

void spool_hand_free(struct spool_hand *h)
{
    buf_free(&h->bytes);
}

/* ---- segments of processes that have gone ---- */

static bool head_read(struct segment *g, uint64_t target, const char **ret_why)
{
    struct stat st;
    struct head h;

    *ret_why = "it is no segment";
    if (fstat(g->fd, &st) < 0 || !read_at(g->fd, &h, sizeof(h), 0) ||
        memcmp(h.magic, magic, sizeof(magic)) != 0 || h.version != VERSION ||
        h.check != check_of(0, &h, offsetof(struct head, check)))
        return false;
    *ret_why = "its events are for another place";
    if (h.target != target)
        return false;
    memcpy(g->writer, h.writer, sizeof(g->writer));
    g->done = h.done >= sizeof(h) && h.done <= (uint64_t)st.st_size ? h.done : sizeof(h);
    g->end = (uint64_t)st.st_size;
    return true;
}

/* As far as records are whole. */
static void walk(const struct spool *s, struct segment *g)
{
    uint64_t at = g->done, size = g->end;
    struct mark m;

    for (; mark_read(g, at, size, &m); at += record_size(&m))
        g->events += m.events;
    g->end = at;
    if (at < size)
        log_write(ATH_WARN, "athena::log",
                  "spool of sink \"%s\": the last %llu bytes of \"%s\" are torn", s->o.name,
                  (unsigned long long)(size - at), g->name);
}

static void insert(struct spool *s, struct segment *g)
{
    struct list *before = s->all.next;

    while (before != &s->all) {
        const struct segment *other = list_entry(before, struct segment, node);
        if (!other->name[0] || strcmp(other->name, g->name) > 0)
            break;
        before = before->next;
    }
    list_push(before, &g->node);
    atomic_fetch_add(&s->size, g->end);
    atomic_fetch_add(&s->bytes, g->end - g->done);
    atomic_fetch_add(&s->events, g->events);
    atomic_fetch_add(&s->adopted, g->events);
}

static bool is_ours(struct spool *s, const char *name)
{
    bool ours = false;

    pthread_mutex_lock(&s->lock);
    for (struct list *node = s->all.next; node != &s->all; node = node->next)
        ours |= strcmp(list_entry(node, struct segment, node)->name, name) == 0;
    pthread_mutex_unlock(&s->lock);
    return ours;
}

/* Its lock, and it is still there: who had it may have removed it meanwhile. */
static bool take_over(int fd)
{
    struct stat st;

    return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0;
}

static void adopt(struct spool *s, const char *name)
{
    struct segment *g;
    const char *why;
    int fd = openat(s->dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || !take_over(fd)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    g = MEM_NEW(struct segment);
    g->fd = fd;
    g->again = true;
    snprintf(g->name, sizeof(g->name), "%s", name);
    if (!head_read(g, s->o.target, &why)) {
        if (!s->looked)
            log_write(ATH_WARN, "athena::log", "spool of sink \"%s\": \"%s\" is left alone: %s",
                      s->o.name, name, why);
        segment_free(g);
        return;
    }
    walk(s, g);
    pthread_mutex_lock(&s->lock);
    insert(s, g);
    pthread_mutex_unlock(&s->lock);
}

/* Made by a process that was killed before it had its name. */
static void sweep(const struct spool *s, const char *name)
{
    int fd = openat(s->dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_mtime + SWEEP_S < clock_wall_ns() / 1000000000u &&
        take_over(fd))
        unlinkat(s->dir, name, 0);
    close(fd);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n > m && n < NAME_ROOM && strcmp(name + n - m, end) == 0;
}

void spool_adopt(struct spool *s)
{
    int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *one;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((one = readdir(d))) {
        if (ends_with(one->d_name, ".new"))
            sweep(s, one->d_name);
        else if (one->d_name[0] != '.' && ends_with(one->d_name, ending) &&
                 !is_ours(s, one->d_name))
            adopt(s, one->d_name);
    }
    closedir(d);
    s->looked = true;
}

/* ---- life ---- */

static int folder_open(struct spool *s, ath_err *e)
{
    if (mkdir(s->folder, 0700) < 0 && errno != EEXIST)
        return err_fail(e, ATH_E_CONFIG, "could not make folder \"%s\": %s", s->folder,
                        strerror(errno));
    s->dir = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir < 0 || faccessat(s->dir, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return err_fail(e, ATH_E_CONFIG, "could not write into folder \"%s\": %s", s->folder,
                        strerror(errno));
    return 0;
}

static void spool_free(struct spool *s)
{
    if (s->dir >= 0)
        close(s->dir);
    pthread_mutex_destroy(&s->lock);
    free(s->folder);
    free(s);
}

int spool_open(const struct spool_options *o, struct spool **ret, ath_err *e)
{
    struct spool *s = MEM_NEW(struct spool);
    int rc;

    s->o = *o;
    s->o.bytes = o->bytes > SPOOL_LEAST ? o->bytes : SPOOL_LEAST;
    s->segment_most = s->o.bytes / SPOOL_SEGMENTS;
    s->folder = mem_dup_z(o->folder);
    s->dir = -1;
    uuid_make(s->writer);
    list_init(&s->all);
    pthread_mutex_init(&s->lock, NULL);
    if ((rc = folder_open(s, e)) < 0)
        spool_free(s);
    else
        *ret = s;
    return rc;
}

void spool_close(struct spool *s)
{
    struct list *node;

    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->in_hand = NULL;
    while ((node = list_first(&s->all))) {
        struct segment *g = list_entry(node, struct segment, node);
        if (!g->name[0]) {
            segment_drop(s, g, &s->disk);
        } else if (g->done == g->end) {
            segment_remove(s, g);
        } else {
            list_unlink(&g->node);
            segment_free(g);
        }
    }
    pthread_mutex_unlock(&s->lock);
    spool_free(s);
}

const char *spool_writer(const struct spool *s)
{
    return s->writer;
}

void spool_stats(const struct spool *s, struct spool_stats *ret)
{
    *ret = (struct spool_stats){ .bytes = atomic_load(&s->bytes),
                                 .events = atomic_load(&s->events),
                                 .put = atomic_load(&s->put),
                                 .done = atomic_load(&s->done),
                                 .adopted = atomic_load(&s->adopted),
                                 .dropped_full = atomic_load(&s->full),
                                 .dropped_disk = atomic_load(&s->disk),
                                 .dropped_torn = atomic_load(&s->torn),
                                 .most = s->o.bytes,
                                 .in_memory = atomic_load(&s->in_memory) };
}
