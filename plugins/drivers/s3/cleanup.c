/* What must not stay behind: the parts of an upload that came to nothing, an upload whose id was
 * lost with an answer, an object that is not what was sent. Begun when a put ends, in a task of its
 * own, so that it is done also for a caller who is gone, and while the process stops. A store that
 * is away is waited for, much longer than by a put: nobody else would come back to it. */
#include "put.h"

#include <stdlib.h>

#include "lib/jsonread.h"

enum { LIMIT_MS = 3600000, DELAY_MS = 500, DELAY_MOST_MS = 30000, VALUES_MOST = 100000 };

struct cleanup {
    struct buf bucket, key, upload_id;
    bool sweep, remove;
    ath_s3_object object;
    ath_s3_list list;
    const struct json *next; /* of what was found, in the task's memory */
    uint64_t delay_ms;
};

static int next(ath_task *t, struct cleanup *k, ath_err *e);

static void cleanup_free(void *p)
{
    struct cleanup *k = p;

    buf_free(&k->bucket);
    buf_free(&k->key);
    buf_free(&k->upload_id);
    free(k);
}

static bool is_away(const ath_done *d)
{
    return d->rc == ATH_E_UPSTREAM || d->rc == ATH_E_TIMEOUT;
}

static int waited(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : next(t, d->arg, e);
}

static int wait(ath_task *t, struct cleanup *k, ath_err *e)
{
    k->delay_ms = k->delay_ms ? k->delay_ms * 2 : DELAY_MS;
    if (k->delay_ms > DELAY_MOST_MS)
        k->delay_ms = DELAY_MOST_MS;
    return ath_host_->task->after(t, k->delay_ms, waited, k, e);
}

/* The step that `next` has begun is over: it is only now that it is not begun again. */
static int stepped(ath_task *t, const ath_done *d, ath_err *e)
{
    struct cleanup *k = d->arg;

    if (is_away(d))
        return wait(t, k, e);
    if (d->rc < 0)
        return d->rc;
    if (k->upload_id.n)
        buf_reset(&k->upload_id);
    else if (k->remove)
        k->remove = false;
    else
        k->next = k->next->next;
    return next(t, k, e);
}

/* All unfinished uploads of the key: those of other keys that begin like it are not meant. */
static int found(ath_task *t, const ath_done *d, ath_err *e)
{
    struct cleanup *k = d->arg;
    struct json_error why;
    struct buf copy = BUF_ARENA(ath_arena_of(t));
    const struct json *all;

    if (is_away(d))
        return wait(t, k, e);
    if (d->rc < 0)
        return d->rc;
    k->sweep = false;
    buf_str(&copy, d->bytes);
    all = json_read(buf_view(&copy), JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why);
    k->next = all ? all->first : NULL;
    return next(t, k, e);
}

static int next(ath_task *t, struct cleanup *k, ath_err *e)
{
    if (k->upload_id.n)
        return s3_abort(t, &k->object, buf_view(&k->upload_id), stepped, k, e);
    if (k->remove)
        return s3_remove(t, &k->object, stepped, k, e);
    if (k->sweep)
        return s3_uploads(t, &k->list, found, k, e);
    for (; k->next; k->next = k->next->next)
        if (str_eq(json_text(json_get(k->next, "key")), k->object.key))
            return s3_abort(t, &k->object, json_text(json_get(k->next, "upload_id")), stepped, k,
                            e);
    ath_host_->task->done(t, NULL);
    return 0;
}

static int run(ath_task *t, void *arg, ath_err *e)
{
    struct cleanup *k = arg;

    ath_host_->mem->own(ath_arena_of(t), k, cleanup_free);
    return next(t, k, e);
}

void cleanup_begin(const struct put *p)
{
    struct cleanup *k;
    ath_fork f = { .size = sizeof(f), .run = run, .timeout_ms = LIMIT_MS };
    bool left = p->begun && !p->completed, sweep = p->sweep || p->beginning;

    if ((!left && !sweep && !p->spoilt) || !(k = calloc(1, sizeof(*k))))
        return;
    buf_str(&k->bucket, p->asked->put.bucket);
    buf_str(&k->key, p->asked->put.key);
    if (left)
        buf_str(&k->upload_id, buf_view(&p->upload_id));
    k->sweep = sweep;
    k->remove = p->spoilt;
    k->object = (ath_s3_object){ .size = sizeof(k->object),
                                 .bucket = buf_view(&k->bucket),
                                 .key = buf_view(&k->key) };
    k->list = (ath_s3_list){ .size = sizeof(k->list),
                             .bucket = k->object.bucket,
                             .prefix = k->object.key };
    f.arg = k;
    ath_host_->task->begin(ath_self_, &f);
}
