/* The bytes of a backup, layer by layer; the first one says which: a tar (0), one whose headers are
 * made here so that their sums hold (1), gzip (2), a table of contents (3), a sealed archive (4), a
 * manifest (5). Whatever they are, what is told of them does not depend on the pieces in which they
 * come, and names stay below "dump/".
 */
#include <stdlib.h>

#include "backup/content.h"
#include "backup/manifest.h"
#include "backup/seal.h"
#include "backup/tar.h"
#include "backup/toc.h"
#include "base/arena.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
    struct content *content;
    struct tar tar;
    struct manifest found;
    struct buf names;
    int rc;
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* ---- a tar, and what lies in it ---- */

static int on_entry(void *arg, ath_str name, bool folder, uint64_t bytes, ath_err *e)
{
    struct told *t = arg;

    must(str_starts(name, "dump") && (name.n == 4 ? folder : name.p[4] == '/'));
    must(name.n < TAR_NAME && name.p[name.n] == 0 && strlen(name.p) == name.n);
    must(!strstr(name.p, "/../") && !str_ends(name, "/..") && !strstr(name.p, "//"));
    buf_str(&t->names, name);
    buf_u64(&t->names, bytes);
    return folder ? 0 : content_entry(t->content, name, e);
}

static int on_data(void *arg, ath_str bytes, ath_err *e)
{
    return content_data(((struct told *)arg)->content, bytes, e);
}

static int on_done(void *arg, ath_err *e)
{
    return content_done(((struct told *)arg)->content, e);
}

static const struct tar_sink sink = { on_entry, on_data, on_done };

static void read_tar(struct told *t, ath_str bytes, size_t piece)
{
    ath_err e;

    err_reset(&e);
    *t = (struct told){ .content = content_begin(true, true, 100) };
    tar_begin(&t->tar, &sink, t);
    for (size_t at = 0; t->rc == 0 && at < bytes.n; at += piece)
        t->rc = tar_feed(&t->tar,
                         str_from(bytes.p + at, bytes.n - at < piece ? bytes.n - at : piece), &e);
    if (t->rc == 0 && (t->rc = tar_end(&t->tar, &e)) == 0)
        t->rc = content_finish(t->content, &t->found, &e);
}

static void told_free(struct told *t)
{
    content_free(t->content);
    manifest_free(&t->found);
    buf_free(&t->names);
}

static void read_tar_twice(ath_str bytes)
{
    struct told whole, pieces;
    ath_err e;

    read_tar(&whole, bytes, bytes.n + 1);
    read_tar(&pieces, bytes, 7);
    must(whole.rc == pieces.rc && str_eq(buf_view(&whole.names), buf_view(&pieces.names)));
    err_reset(&e);
    must(manifest_compare(&whole.found, &pieces.found, &e) == 0);
    told_free(&whole);
    told_free(&pieces);
}

/* Entries of the input's pieces: a kind, a length, a name, data. */
static void build_tar(struct buf *b, const uint8_t *data, size_t size)
{
    static const char *const name[] = {
        "dump/",          "dump/toc.dat", "dump/1.dat", "dump/1.dat.gz", "dump/../x",
        "dump/d/toc.dat", "dump/d",       "x",          "dump/blobs.toc"
    };
    for (size_t at = 0; at + 3 <= size;) {
        struct stat st = { .st_mode = data[at] & 128 ? S_IFDIR : S_IFREG };
        size_t n = data[at + 1] | (size_t)(data[at + 2] & 15) << 8;
        ath_str as = str_of(name[data[at] % ATH_COUNT(name)]);
        at += 3;
        n = n < size - at ? n : size - at;
        st.st_size = (off_t)n;
        must(tar_put_head(b, as, &st, NULL) == 0);
        if (S_ISREG(st.st_mode)) {
            buf_mem(b, (const char *)data + at, n);
            tar_put_pad(b, n);
        }
        at += n;
    }
    tar_put_end(b);
}

/* ---- the others ---- */

static int collect(void *arg, ath_str bytes, ath_err *e)
{
    struct buf *b = arg;

    (void)e;
    if (b->n < 1 << 20)
        buf_str(b, bytes);
    return 0;
}

static int gunzip_in(ath_str bytes, size_t piece, struct buf *ret)
{
    struct gunzip *g = gunzip_begin(collect, ret);
    ath_err e;
    int rc = 0;

    err_reset(&e);
    for (size_t at = 0; rc == 0 && at < bytes.n; at += piece)
        rc =
            gunzip_feed(g, str_from(bytes.p + at, bytes.n - at < piece ? bytes.n - at : piece), &e);
    if (rc == 0)
        rc = gunzip_end(g, &e);
    gunzip_free(g);
    return rc;
}

static void read_gzip(ath_str bytes)
{
    struct buf whole = BUF_HEAP, pieces = BUF_HEAP;
    int rc = gunzip_in(bytes, bytes.n + 1, &whole);

    must(rc == gunzip_in(bytes, 3, &pieces));
    must(rc < 0 || str_eq(buf_view(&whole), buf_view(&pieces)));
    buf_free(&whole);
    buf_free(&pieces);
}

static void read_toc(ath_str bytes)
{
    struct toc whole, pieces;
    ath_err e;
    int rc, again = 0;

    err_reset(&e);
    toc_begin(&whole);
    toc_begin(&pieces);
    rc = toc_feed(&whole, bytes, &e);
    for (size_t i = 0; again == 0 && i < bytes.n; i++)
        again = toc_feed(&pieces, str_from(bytes.p + i, 1), &e);
    must(rc == again && whole.count == pieces.count && whole.done == pieces.done);
    toc_free(&whole);
    toc_free(&pieces);
}

static void read_sealed(ath_str bytes)
{
    static const struct seal_ring ring = { .n = 1, .id = { "00000000" } };
    struct seal *s = seal_open_begin(&ring);
    struct buf out = BUF_HEAP;
    ath_err e;

    err_reset(&e);
    must(seal_feed(s, bytes, true, &out, &e) < 0 && out.n == 0); /* who could have sealed it? */
    seal_free(s);
    buf_free(&out);
}

static void read_manifest(ath_str bytes)
{
    struct manifest m, again;
    struct buf text = BUF_HEAP, more = BUF_HEAP;
    ath_arena a;
    ath_err e;

    arena_init(&a);
    err_reset(&e);
    if (manifest_read(&m, bytes, JSON_ARENA(&a), &e) == 0) {
        manifest_json(&text, &m);
        must(manifest_read(&again, buf_view(&text), JSON_ARENA(&a), &e) == 0);
        must(manifest_compare(&m, &again, &e) == 0);
        manifest_json(&more, &again);
        must(str_eq(buf_view(&text), buf_view(&more)));
        manifest_free(&m);
        manifest_free(&again);
    }
    arena_free(&a);
    buf_free(&text);
    buf_free(&more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ath_str bytes = str_from((const char *)data + 1, size ? size - 1 : 0);
    struct buf tar = BUF_HEAP;

    if (size == 0)
        return 0;
    switch (data[0] % 6) {
    case 0:
        read_tar_twice(bytes);
        break;
    case 1:
        build_tar(&tar, data + 1, size - 1);
        read_tar_twice(buf_view(&tar));
        buf_free(&tar);
        break;
    case 2:
        read_gzip(bytes);
        break;
    case 3:
        read_toc(bytes);
        break;
    case 4:
        read_sealed(bytes);
        break;
    default:
        read_manifest(bytes);
    }
    return 0;
}
