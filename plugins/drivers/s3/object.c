/* What is one request: remove, abort, and links, which are none. */
#include <time.h>

#include "driver.h"

/* One request of a caller's, in its arena. */
struct one {
    struct call call;
    ath_then *then;
    void *arg;
};

static void one_free(void *p)
{
    call_free(&((struct one *)p)->call);
}

/* What is not there is removed already. */
static int removed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct one *o = d->arg;
    bool missing =
        d->rc == ATH_E_MISSING && !str_is(ath_host_->err->get(e, "s3_code"), "NoSuchBucket");
    ath_done done = { .size = sizeof(done), .rc = missing ? 0 : d->rc, .arg = o->arg };

    return o->then(t, &done, e);
}

static struct one *one_new(ath_task *t, ath_then *then, void *arg)
{
    struct one *o = ath_new(ath_arena_of(t), sizeof(*o));

    o->then = then;
    o->arg = arg;
    ath_host_->mem->own(ath_arena_of(t), o, one_free);
    return o;
}

int s3_remove(ath_task *t, const ath_s3_object *object, ath_then *then, void *arg, ath_err *e)
{
    struct one *o;
    int rc = s3_need_on(e);

    if (rc < 0)
        return rc;
    o = one_new(t, then, arg);
    call_init(&o->call, "DeleteObject", "remove object", "DELETE");
    call_of(&o->call, object);
    o->call.then = removed;
    o->call.arg = o;
    return call_start(t, &o->call, e);
}

int s3_abort(ath_task *t, const ath_s3_object *object, ath_str upload_id, ath_then *then, void *arg,
             ath_err *e)
{
    struct one *o;
    int rc = s3_need_on(e);

    if (rc < 0)
        return rc;
    if (upload_id.n == 0 || object->key.n == 0)
        return ath_fail(e, ATH_E_BUG, "an upload to be taken back has a key and an id");
    o = one_new(t, then, arg);
    call_init(&o->call, "AbortMultipartUpload", "take back the upload of", "DELETE");
    call_of(&o->call, object);
    call_ask(&o->call, "uploadId", upload_id);
    o->call.then = removed;
    o->call.arg = o;
    return call_start(t, &o->call, e);
}

/* ---- links ---- */

struct link {
    ath_str bucket, key;
    uint32_t seconds;
    ath_then *then;
    void *arg;
};

static ath_str make_link(ath_task *t, const struct link *l, const struct keys *keys)
{
    struct buf host = BUF_HEAP, path = BUF_HEAP, url = BUF_ARENA(ath_arena_of(t));
    char time_text[SIGN_TIME];
    ath_pair header = { ATH_S("host"), { "", 0 } };
    struct sign s = { .method = "GET",
                      .query = ATH_S(""),
                      .header = &header,
                      .header_count = 1,
                      .payload = SIGN_UNSIGNED,
                      .time = time_text,
                      .region = s3.place.region,
                      .service = "s3",
                      .access = keys->access,
                      .secret = keys->secret };

    sign_time((int64_t)time(NULL) + atomic_load(&s3.skew_s), time_text);
    place_host(&s3.place, l->bucket, &host);
    place_path(&s3.place, l->bucket, l->key, &path);
    header.value = buf_view(&host);
    s.path = buf_view(&path);
    buf_str(&url, s3.place.scheme);
    buf_lit(&url, "://");
    buf_str(&url, buf_view(&host));
    buf_str(&url, buf_view(&path));
    buf_char(&url, '?');
    sign_link(&s, l->seconds, keys->token, &url);
    buf_free(&host);
    buf_free(&path);
    return buf_view(&url);
}

static int linked(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct link *l = d->arg;
    ath_done done = { .size = sizeof(done), .rc = d->rc, .arg = l->arg };
    struct keys keys;

    if (done.rc == 0 && !keys_ready(t, &keys))
        done.rc = ath_fail(e, ATH_E_DENIED, "there are no keys for the object store");
    if (done.rc == 0)
        done.bytes = make_link(t, l, &keys);
    return l->then(t, &done, e);
}

int s3_presign(ath_task *t, const ath_s3_object *o, uint32_t seconds, ath_then *then, void *arg,
               ath_err *e)
{
    struct link *l;
    struct keys keys;
    int rc = s3_need_on(e);

    if (rc < 0)
        return rc;
    if (seconds == 0 || seconds > 604800)
        return ath_fail(e, ATH_E_INPUT, "a link holds for 1 to 604800 seconds");
    l = ath_new(ath_arena_of(t), sizeof(*l));
    *l = (struct link){ o->bucket.n ? o->bucket : s3.place.bucket, o->key, seconds, then, arg };
    if (keys_ready(t, &keys)) /* `then` never comes inside the call */
        return ath_host_->task->after(t, 0, linked, l, e);
    return keys_ask(t, linked, l, e);
}
