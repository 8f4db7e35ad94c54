/* Packing and unpacking from a test: a loop, a task on it, folders, and the host's real tables. */
#ifndef TESTS_UNIT_BACKUP_ARCHIVELAB_H
#define TESTS_UNIT_BACKUP_ARCHIVELAB_H

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "backup/archive.h"
#include "backup/tar.h"
#include "io/loop.h"
#include "io/secrets.h"
#include "io/stream.h"
#include "plugin/host.h"
#include "support/check_main.h"
#include "support/testhost.h"

static struct {
    ath_loop *loop;
    int rc;
    char why[1100];
    struct archive_pack *pack;
    struct archive_unpack *unpack;
    ath_str input;               /* what is unpacked */
    size_t piece, sent;          /* so many bytes at a time */
    struct buf output;           /* what was packed */
} lab;

static struct {
    ath_task task;
} job;

static void job_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    (void)result;
    lab.rc = rc;
    lab.why[0] = 0;
    if (rc < 0)
        snprintf(lab.why, sizeof(lab.why), "%.*s", STR_ARG(err_get(e, "message")));
    task_unref(t);
}

static void job_destroy(ath_task *t)
{
    (void)t;
    loop_stop(lab.loop);
}

static const struct task_type job_type = { .name = "job", .end = job_end, .destroy = job_destroy };

/* Runs `step` as a task, and what it starts, to the end. */
static inline int lab_run(ath_run *step)
{
    ath_err e;

    err_reset(&e);
    ath_host_ = host_table();
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &lab.loop, &e), 0);
    task_init(&job.task, &job_type, lab.loop, NULL, NULL);
    task_run(&job.task, step, NULL);
    loop_run(lab.loop);
    ck_assert_uint_eq(task_alive(), 0);
    loop_free(lab.loop);
    return lab.rc;
}

/* ---- packing into lab.output ---- */

static int lab_packed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    if (!lab.pack->out)
        task_done(t, NULL);
    return 0;
}

static int lab_take(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    buf_str(&lab.output, d->bytes);
    if (d->bytes.n)
        return ath_host_->stream->read(t, lab.pack->out, lab_take, NULL, e);
    task_done(t, NULL);
    return 0;
}

static int lab_pack_step(ath_task *t, void *arg, ath_err *e)
{
    int rc;

    (void)arg;
    buf_reset(&lab.output);
    lab.pack->out = ath_host_->stream->open(t, 0);
    rc = archive_pack(t, lab.pack, lab_packed, NULL, e);
    return rc < 0 ? rc : ath_host_->stream->read(t, lab.pack->out, lab_take, NULL, e);
}

static inline int lab_pack(struct archive_pack *p)
{
    lab.pack = p;
    return lab_run(lab_pack_step);
}

static int lab_count_step(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return archive_count(t, lab.pack, lab_packed, NULL, e);
}

static inline int lab_count(struct archive_pack *p)
{
    lab.pack = p;
    return lab_run(lab_count_step);
}

/* ---- unpacking from lab.input ---- */

static int lab_unpacked(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    task_done(t, NULL);
    return 0;
}

static int lab_send(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_str rest = str_after(lab.input, lab.sent);

    if (d && d->rc < 0)
        return d->rc == ATH_E_CANCELED ? 0 : d->rc; /* nobody reads on: the reader says why */
    if (rest.n == 0) {
        ath_host_->stream->end(lab.unpack->in, 0);
        return 0;
    }
    if (lab.piece && rest.n > lab.piece)
        rest.n = lab.piece;
    lab.sent += rest.n;
    return ath_host_->stream->write(t, lab.unpack->in, rest, lab_send, NULL, e);
}

static int lab_unpack_step(ath_task *t, void *arg, ath_err *e)
{
    int rc;

    (void)arg;
    lab.sent = 0;
    lab.unpack->in = ath_host_->stream->open(t, 0);
    rc = archive_unpack(t, lab.unpack, lab_unpacked, NULL, e);
    return rc < 0 ? rc : lab_send(t, NULL, e);
}

static inline int lab_unpack(struct archive_unpack *u, ath_str input)
{
    lab.unpack = u;
    lab.input = input;
    return lab_run(lab_unpack_step);
}

/* ---- folders ---- */

static int lab_remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void lab_remove(const char *folder)
{
    nftw(folder, lab_remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline ath_str lab_folder(char room[64])
{
    snprintf(room, 64, "%s", "/tmp/athena-archive-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(room));
    return str_of(room);
}

static inline void lab_write(const char *folder, const char *name, const void *p, size_t n)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    ck_assert_ptr_nonnull(f = fopen(path, "wb"));
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

static inline void lab_read(const char *path, struct buf *b)
{
    FILE *f = fopen(path, "rb");
    size_t n;

    ck_assert_msg(f != NULL, "no file \"%s\"", path);
    while ((n = fread(buf_room(b, 65536), 1, 65536, f)) > 0)
        buf_end(b, b->p + b->n + n);
    fclose(f);
}

/* ---- what a dump is made of ---- */

static inline void lab_gzip(struct buf *b, const void *p, size_t n, int level)
{
    z_stream z = { 0 };
    uLong most;

    ck_assert_int_eq(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    most = deflateBound(&z, n);
    z.next_out = (Bytef *)buf_room(b, most);
    z.avail_out = (uInt)most;
    z.next_in = (Bytef *)(uintptr_t)p;
    z.avail_in = (uInt)n;
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_end(b, (char *)z.next_out);
    deflateEnd(&z);
}

static inline void toc_int(struct buf *b, int v)
{
    uint32_t u = (uint32_t)(v < 0 ? -v : v);

    buf_char(b, v < 0);
    for (int i = 0; i < 4; i++)
        buf_char(b, (char)(u >> 8 * i));
}

static inline void toc_text(struct buf *b, const char *text)
{
    toc_int(b, text ? (int)strlen(text) : -1);
    if (text)
        buf_z(b, text);
}

static inline void toc_head(struct buf *b, int minor, int entries)
{
    buf_lit(b, "PGDMP");
    buf_char(b, 1);
    buf_char(b, (char)minor);
    buf_mem(b, "\0\4\10\3", 4);
    if (minor >= 15)
        buf_char(b, 1);
    else
        toc_int(b, -1);
    for (int i = 0; i < 7; i++)
        toc_int(b, i);
    toc_text(b, "shop");
    toc_text(b, "15.20 (Debian 15.20-1)");
    toc_text(b, "15.20");
    toc_int(b, entries);
}

static inline void toc_entry(struct buf *b, int minor, int id, const char *schema, const char *name,
                             const char *kind, const char *copy, const char *file)
{
    toc_int(b, id);
    toc_int(b, file[0] != 0);
    toc_text(b, "0");
    toc_text(b, "16384");
    toc_text(b, name);
    toc_text(b, kind);
    toc_int(b, 3);
    toc_text(b, file[0] ? "" : "CREATE TABLE t (a int);\n");
    toc_text(b, NULL);
    toc_text(b, copy);
    toc_text(b, schema);
    toc_text(b, NULL);
    if (minor >= 14)
        toc_text(b, NULL);
    if (minor >= 16)
        toc_int(b, 'r');
    toc_text(b, "owner of it");
    toc_text(b, "false");
    toc_text(b, "1");
    toc_text(b, "22");
    toc_text(b, NULL);
    toc_text(b, file);
}

/* A dump of so many tables with `rows` rows each, in FOLDER. */
static inline void lab_dump(const char *folder, int tables, int rows)
{
    struct buf toc = BUF_HEAP, data = BUF_HEAP, zipped = BUF_HEAP;
    char name[64], file[64];

    toc_head(&toc, 14, 2 * tables);
    for (int i = 0; i < tables; i++) {
        snprintf(name, sizeof(name), "table %d", i);
        snprintf(file, sizeof(file), "%d.dat", 3000 + i);
        toc_entry(&toc, 14, i + 1, "public", name, "TABLE", NULL, "");
        toc_entry(&toc, 14, 3000 + i, "public", name, "TABLE DATA", "COPY t FROM stdin;\n", file);
        buf_reset(&data);
        for (int r = 0; r < rows; r++)
            buf_printf(&data, "%d\tname %d of %d\t\\N\t%d\n", r, r * 7919, i, r % 13);
        buf_lit(&data, "\\.\n\n\n");
        buf_reset(&zipped);
        lab_gzip(&zipped, data.p, data.n, 6);
        snprintf(file, sizeof(file), "%d.dat.gz", 3000 + i);
        lab_write(folder, file, zipped.p, zipped.n);
    }
    lab_write(folder, "toc.dat", toc.p, toc.n);
    buf_free(&toc);
    buf_free(&data);
    buf_free(&zipped);
}

static inline void lab_ring(struct seal_ring *r, const char *keys)
{
    ath_err e;

    err_reset(&e);
    ath_host_ = host_table();
    ck_assert_int_eq(seal_ring_read(r, &secrets_service, str_of(keys), "the setting", &e), 0);
}

#endif
