/* From the store into a folder: what lies beside the object says what it has to be, and the
 * unpacking checks every byte of it. Nothing else happens before that has ended well. */
#include "restore.h"

#include <stdlib.h>

struct fetching {
    struct flow flow;
    struct fetch *f;
    ath_stream *stream;
    struct buf text;
    int said;
};

/* ---- what it has to be ---- */

static int ask_manifest(ath_task *t, struct flow *flow, ath_err *e)
{
    struct fetching *x = (struct fetching *)flow;
    struct buf key = BUF_ARENA(ath_arena_of(t));
    ath_s3_object o = { .size = sizeof(o) };

    buf_str(&key, x->f->key);
    buf_lit(&key, MANIFEST_SUFFIX);
    o.key = buf_view(&key);
    return backup_services.s3->get(t, &o, flow_then, x, e);
}

static int got_manifest(ath_task *t, struct flow *flow, const ath_done *d, ath_err *e)
{
    struct fetching *x = (struct fetching *)flow;

    (void)t, (void)e;
    if (d->rc == ATH_E_MISSING)
        return 0;
    x->stream = d->rc < 0 ? NULL : d->stream;
    x->text = BUF_ARENA(ath_arena_of(t));
    return d->rc;
}

static int read_manifest(ath_task *t, struct flow *flow, ath_err *e)
{
    struct fetching *x = (struct fetching *)flow;

    return x->stream ? ath_host_->stream->read(t, x->stream, flow_then, x, e) : FLOW_NEXT;
}

static int manifest_piece(ath_task *t, struct flow *flow, const ath_done *d, ath_err *e)
{
    struct fetching *x = (struct fetching *)flow;
    int rc;

    if (d->rc < 0)
        return d->rc;
    if (x->text.n + d->bytes.n > MANIFEST_BYTES)
        return ath_fail(e, ATH_E_INPUT, "the manifest of \"%.*s\" is larger than %d MiB",
                        STR_ARG(x->f->key), MANIFEST_BYTES >> 20);
    buf_str(&x->text, d->bytes);
    if (d->bytes.n)
        return FLOW_AGAIN;
    rc = manifest_read(&x->f->told, buf_view(&x->text), JSON_ARENA(ath_arena_of(t)), e);
    x->f->has_told = rc == 0;
    return rc;
}

/* ---- the object ---- */

static int ask_object(ath_task *t, struct flow *flow, ath_err *e)
{
    struct fetching *x = (struct fetching *)flow;
    ath_s3_object o = { .size = sizeof(o), .key = x->f->key };

    return backup_services.s3->get(t, &o, flow_then, x, e);
}

static int got_object(ath_task *t, struct flow *flow, const ath_done *d, ath_err *e)
{
    struct fetching *x = (struct fetching *)flow;

    (void)t;
    if (d->rc == ATH_E_MISSING)
        return ath_fail(e, ATH_E_MISSING, "there is no backup \"%.*s\" in the store",
                        STR_ARG(x->f->key));
    if (d->rc < 0)
        return d->rc;
    x->f->size = d->count;
    x->f->bytes = d->stream;
    return 0;
}

static void moved(void *arg, uint64_t bytes)
{
    struct fetching *x = arg;
    struct fetch *f = x->f;
    double part = f->size ? (double)bytes / (double)f->size : 1;
    int pct = f->from + (int)((f->to - f->from) * (part > 1 ? 1 : part));

    if (f->from < 0 || pct == x->said)
        return;
    x->said = pct;
    (void)journal_stage(f->journal, f->stage, pct, 0);
}

static int unpack(ath_task *t, struct flow *flow, ath_err *e)
{
    struct fetching *x = (struct fetching *)flow;
    struct fetch *f = x->f;

    f->unpack = (struct archive_unpack){ .in = f->bytes,
                                         .folder = f->folder,
                                         .ring = f->ring,
                                         .told = f->has_told ? &f->told : NULL,
                                         .rows = f->rows,
                                         .by_digest = f->by_digest,
                                         .moved = moved,
                                         .moved_arg = x };
    return archive_unpack(t, &f->unpack, flow_then, x, e);
}

static const struct flow_step steps[] = {
    { ask_manifest, got_manifest },
    { read_manifest, manifest_piece },
    { ask_object, got_object },
    { unpack, NULL },
    { NULL, NULL },
};

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct fetching *x = ath_new(ath_arena_of(t), sizeof(*x));

    *x = (struct fetching){ .flow = { .step = steps }, .f = arg, .said = -1 };
    return flow_run(t, &x->flow, e);
}

static void forget(void *arg)
{
    struct fetch *f = arg;

    manifest_free(&f->told);
    manifest_free(&f->unpack.manifest);
    free(f->unpack.dump);
}

int fetch_run(ath_task *t, struct fetch *f, ath_then *then, void *arg, ath_err *e)
{
    ath_fork fork = { .size = sizeof(fork), .run = begin, .arg = f };

    if (!backup_services.s3)
        return ath_fail(e, ATH_E_CONFIG, "S3 not configured for queued restore jobs.");
    ath_host_->mem->own(ath_arena_of(f->home), f, forget);
    return ath_host_->task->fork(t, &fork, then, arg, e);
}
