/* athena backup download KEY [--to FILE]: an archive into a file. What is not whole yet has another name,
 * so that nobody takes a part for the archive. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

struct asked {
    ath_str key, to;
};

struct download {
    const char *path, *part;     /* path NULL: to stdout */
    FILE *file;
    ath_stream *from;
    uint64_t size, done;
    int shown;                   /* percent that stand on the terminal; -1: none */
};

static int failed(struct download *x, ath_err *e)
{
    return ath_fail(e, ATH_E_UPSTREAM, "could not write \"%s\": %s", x->path ? x->part : "stdout",
                    strerror(errno));
}

static void leave(void *arg)
{
    struct download *x = arg;

    if (x->shown >= 0)
        fputs("\r\033[K", stderr);
    if (!x->file || !x->path)
        return;
    fclose(x->file);
    unlink(x->part);
}

static void show(struct download *x)
{
    int pct = x->size ? (int)(x->done * 100 / x->size) : 0;

    if (pct == x->shown || !isatty(STDERR_FILENO))
        return;
    x->shown = pct;
    admin_bar(ATH_S("downloading"), pct, ATH_S(""));
}

static int finish(ath_task *t, struct download *x, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_done end = { .size = sizeof(end) };
    FILE *file = x->file;

    if (x->size && x->done != x->size)
        return ath_fail(e, ATH_E_UPSTREAM, "only %llu of %llu bytes came",
                        (unsigned long long)x->done, (unsigned long long)x->size);
    if (!x->path) {
        if (fflush(file) != 0)
            return failed(x, e);
        ath_host_->task->done(t, &end);
        return 0;
    }
    x->file = NULL;
    if (fclose(file) != 0 || rename(x->part, x->path) != 0)
        return failed(x, e);
    buf_char(&b, '{');
    buf_json_str(&b, "file", str_of(x->path));
    buf_json_int(&b, "bytes", (int64_t)x->done);
    buf_char(&b, '}');
    end.bytes = buf_view(&b);
    ath_host_->task->done(t, &end);
    return 0;
}

static int piece(ath_task *t, const ath_done *d, ath_err *e)
{
    struct download *x = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (!d->bytes.n)
        return finish(t, x, e);
    if (fwrite(d->bytes.p, 1, d->bytes.n, x->file) != d->bytes.n)
        return failed(x, e);
    x->done += d->bytes.n;
    show(x);
    return ath_host_->stream->read(t, x->from, piece, x, e);
}

static uint64_t length_of(const ath_done *d)
{
    uint64_t v = 0;

    for (uint32_t i = 0; i < d->header_count; i++)
        if (str_is(d->header[i].name, "content-length"))
            str_u64(d->header[i].value, &v);
    return v;
}

/* What the server says instead of an archive is short. */
static int refused(ath_task *t, const ath_done *d, ath_err *e)
{
    const int *status = d->arg;

    (void)t;
    return d->rc < 0 ? d->rc
                     : ath_fail(e, ATH_E_UPSTREAM, "the download failed (%d): %.*s", *status,
                                STR_ARG(d->bytes));
}

static int began(ath_task *t, const ath_done *d, ath_err *e)
{
    struct download *x = d->arg;
    int *status = ath_new(ath_arena_of(t), sizeof(*status));

    if (d->rc < 0)
        return d->rc;
    *status = d->status;
    if (d->status != 200)
        return ath_host_->stream->read(t, d->stream, refused, status, e);
    x->from = d->stream;
    x->size = length_of(d);
    x->file = x->path ? fopen(x->part, "we") : stdout;
    if (!x->file)
        return failed(x, e);
    return ath_host_->stream->read(t, x->from, piece, x, e);
}

/* The last segment of the key, unless it would leave the folder. */
static int name_of(ath_task *t, ath_str key, ath_str *ret, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_str one, name = key;

    while (str_next(&key, '/', &one))
        name = one;
    if (!name.n || name.p[0] == '.')
        return ath_fail(e, ATH_E_INPUT, "the key names no file: say --to FILE");
    buf_str(&b, name);
    *ret = buf_view(&b);
    return 0;
}

static int run(ath_task *t, const void *options, ath_err *e)
{
    const struct asked *o = options;
    struct download *x = ath_new(ath_arena_of(t), sizeof(*x));
    struct buf path = backups_key_path(t, o->key, "/download"), part = BUF_ARENA(ath_arena_of(t));
    ath_fetch f = { .size = sizeof(f), .flags = ATH_HTTP_STREAM, .method = "GET" };
    ath_str to = o->to;
    int rc = to.n ? 0 : name_of(t, o->key, &to, e);

    if (rc < 0)
        return rc;
    buf_printf(&part, "%.*s.part", STR_ARG(to));
    x->path = str_is(to, "-") ? NULL : to.p;
    x->part = part.p;
    x->shown = -1;
    ath_host_->mem->own(ath_arena_of(t), x, leave);
    f.url = buf_view(&path);
    return ath_host_->req->call(t, &f, began, x, e);
}

/* clang-format off */
static const ath_field fields[] = {
    ATH_STR(struct asked, key, "key", NULL, NULL, "The key of the archive: see athena backup list.", .flags = ATH_CF_ARG),
    ATH_STR(struct asked, to, "to", "", NULL, "The file; -: stdout; empty: the key's last part, in this folder."),
};
/* clang-format on */

const ath_command backup_download_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "backup download"),
    .summary = "Fetch an archive into a file",
    .run = run,
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct asked),
};
