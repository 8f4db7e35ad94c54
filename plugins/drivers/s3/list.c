/* What there is, by key, and what is unfinished. Both run below the caller's task: what is read of
 * the store's pages goes with them, and only the list is handed on. */
#include "driver.h"
#include "lib/json.h"
#include "s3/xml.h"

enum { PAGE_MOST = 1000, UPLOADS_MOST = 10000, BODY_MOST = 8 << 20 };

struct entry { /* of a page; texts of their own */
    struct buf key, size, modified, etag, upload;
};

struct asked { /* in the caller's arena */
    ath_s3_list list;
    bool uploads;
    ath_then *then;
    void *arg;
};

struct list {
    struct call call;
    const ath_s3_list *asked;
    bool uploads;
    struct buf json, scratch, marker, upload_marker;
    struct entry entry;
    uint32_t count;
    bool more;
};

static void entry_reset(struct entry *n)
{
    buf_reset(&n->key);
    buf_reset(&n->size);
    buf_reset(&n->modified);
    buf_reset(&n->etag);
    buf_reset(&n->upload);
}

static void list_free(void *p)
{
    struct list *l = p;

    call_free(&l->call);
    buf_free(&l->json);
    buf_free(&l->scratch);
    buf_free(&l->marker);
    buf_free(&l->upload_marker);
    buf_free(&l->entry.key);
    buf_free(&l->entry.size);
    buf_free(&l->entry.modified);
    buf_free(&l->entry.etag);
    buf_free(&l->entry.upload);
}

/* ---- a page ---- */

static void put_entry(struct list *l)
{
    const struct entry *n = &l->entry;
    uint64_t size = 0;

    if (l->count++)
        buf_char(&l->json, ',');
    buf_char(&l->json, '{');
    buf_json_str(&l->json, "key", buf_view(&n->key));
    if (l->uploads) {
        buf_json_str(&l->json, "upload_id", buf_view(&n->upload));
        buf_json_str(&l->json, "started", buf_view(&n->modified));
    } else {
        str_u64(buf_view(&n->size), &size);
        buf_json_key(&l->json, "size");
        buf_u64(&l->json, size);
        buf_json_str(&l->json, "modified", buf_view(&n->modified));
        buf_json_str(&l->json, "etag", buf_view(&n->etag));
    }
    buf_char(&l->json, '}');
}

static void keep(struct buf *to, ath_str text)
{
    buf_reset(to);
    buf_str(to, text);
}

static void take_member(struct list *l, const struct xml *x)
{
    struct entry *n = &l->entry;

    if (str_is(x->name, "Key"))
        keep(&n->key, x->text);
    else if (str_is(x->name, "Size"))
        keep(&n->size, str_trim(x->text));
    else if (str_is(x->name, "LastModified") || str_is(x->name, "Initiated"))
        keep(&n->modified, str_trim(x->text));
    else if (str_is(x->name, "ETag"))
        keep(&n->etag, str_trim(x->text));
    else if (str_is(x->name, "UploadId"))
        keep(&n->upload, str_trim(x->text));
}

static void take_word(struct list *l, const struct xml *x)
{
    if (str_is(x->name, "IsTruncated"))
        l->more = str_is(str_trim(x->text), "true");
    else if (str_is(x->name, "NextKeyMarker"))
        keep(&l->marker, x->text);
    else if (str_is(x->name, "NextUploadIdMarker"))
        keep(&l->upload_marker, x->text);
}

static int take_page(struct list *l, ath_str body, ath_err *e)
{
    struct xml x = xml_of(body, &l->scratch);
    const char *item = l->uploads ? "Upload" : "Contents";
    bool within = false;

    l->more = false;
    buf_reset(&l->marker);
    buf_reset(&l->upload_marker);
    while (xml_next(&x)) {
        if (x.depth == 2 && str_is(x.name, item)) {
            within = !x.is_end;
            if (within)
                entry_reset(&l->entry);
            else if (l->entry.key.n)
                put_entry(l);
        } else if (x.is_end && x.depth == 3 && within) {
            take_member(l, &x);
        } else if (x.is_end && x.depth == 2) {
            take_word(l, &x);
        }
    }
    if (!x.whole)
        return ath_fail(e, ATH_E_UPSTREAM,
                        "could not %s of bucket \"%.*s\": the answer is no whole list",
                        l->call.doing, STR_ARG(l->call.bucket));
    return 0;
}

/* ---- pages ---- */

static int answered(ath_task *t, const ath_done *d, ath_err *e);

static int ask_page(ath_task *t, struct list *l, ath_err *e)
{
    uint32_t limit = l->asked->limit && l->asked->limit < PAGE_MOST ? l->asked->limit : PAGE_MOST;
    char room[STR_U64_ROOM];
    ath_str number = str_from_u64(limit, room);

    buf_reset(&l->call.query);
    if (l->uploads) {
        if (l->marker.n)
            call_ask(&l->call, "key-marker", buf_view(&l->marker));
        call_ask(&l->call, "max-uploads", str_from_u64(PAGE_MOST, room));
        call_ask(&l->call, "prefix", l->asked->prefix);
        if (l->marker.n && l->upload_marker.n)
            call_ask(&l->call, "upload-id-marker", buf_view(&l->upload_marker));
        call_ask(&l->call, "uploads", ATH_S(""));
    } else {
        call_ask(&l->call, "list-type", ATH_S("2"));
        call_ask(&l->call, "max-keys", number);
        call_ask(&l->call, "prefix", l->asked->prefix);
        if (l->asked->after.n)
            call_ask(&l->call, "start-after", l->asked->after);
    }
    return call_start(t, &l->call, e);
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct list *l = d->arg;
    ath_done done = { .size = sizeof(done) };
    uint32_t before = l->count;
    int rc = d->rc;

    if (rc < 0 || (rc = take_page(l, d->bytes, e)) < 0)
        return rc;
    if (l->uploads && l->more && l->marker.n && l->count > before && l->count < UPLOADS_MOST)
        return ask_page(t, l, e);
    buf_char(&l->json, ']');
    done.bytes = buf_view(&l->json);
    done.count = l->more;
    ath_host_->task->done(t, &done);
    return 0;
}

/* ---- below the caller's task ---- */

static int run(ath_task *t, void *arg, ath_err *e)
{
    const struct asked *asked = arg;
    struct list *l = ath_new(ath_arena_of(t), sizeof(*l));

    l->asked = &asked->list;
    l->uploads = asked->uploads;
    ath_host_->mem->own(ath_arena_of(t), l, list_free);
    if (l->uploads)
        call_init(&l->call, "ListMultipartUploads", "list the uploads", "GET");
    else
        call_init(&l->call, "ListObjectsV2", "list the objects", "GET");
    if (l->asked->bucket.n)
        l->call.bucket = l->asked->bucket;
    l->call.max_body = BODY_MOST;
    l->call.then = answered;
    l->call.arg = l;
    buf_char(&l->json, '[');
    return ask_page(t, l, e);
}

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct asked *a = d->arg;
    ath_done done = *d;

    done.arg = a->arg;
    return a->then(t, &done, e);
}

static int start(ath_task *t, const ath_s3_list *list, bool uploads, ath_then *then, void *arg,
                 ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = run };
    struct asked *a;
    int rc = s3_need_on(e);

    if (rc < 0)
        return rc;
    a = ath_new(ath_arena_of(t), sizeof(*a));
    *a = (struct asked){ *list, uploads, then, arg };
    f.arg = a;
    return ath_host_->task->fork(t, &f, told, a, e);
}

int s3_list(ath_task *t, const ath_s3_list *l, ath_then *then, void *arg, ath_err *e)
{
    return start(t, l, false, then, arg, e);
}

int s3_uploads(ath_task *t, const ath_s3_list *l, ath_then *then, void *arg, ath_err *e)
{
    return start(t, l, true, then, arg, e);
}
