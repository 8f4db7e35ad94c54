/* GET /admin/backups/{key}/download and DELETE /admin/backups/{key}.
 *
 * A download is a stream from the store to the caller (D-40): the slower of both sets the pace, so
 * memory does not grow with the archive, and a caller who leaves ends the request to the store. The
 * object is looked at first; what is read then is that very one, or the answer is cut.
 */
#include "backup.h"

#include "backup/manifest.h"
#include "backup/range.h"
#include "backup/record.h"

int backups_store_failed(ath_task *t, const char *title, ath_err *e)
{
    struct buf words = BUF_ARENA(ath_arena_of(t));

    buf_str(&words, ath_host_->err->get(e, "message"));
    return admin_fail(e, "backup_storage_failed", title, "%.*s", STR_ARG(buf_view(&words)));
}

/* ---- downloading ---- */

struct download {
    ath_s3_object object;
    uint64_t size;
    struct range range;
};

static int no_object(ath_task *t, const struct download *x, int rc, ath_err *e)
{
    if (rc != ATH_E_MISSING)
        return backups_store_failed(t, "S3 read failed", e);
    return admin_fail(e, "backup_not_found", "Backup not found", "No object has the key '%.*s'.",
                      STR_ARG(x->object.key));
}

static ath_str header_of(const ath_done *d, const char *name)
{
    for (uint32_t i = 0; i < d->header_count; i++)
        if (str_is(d->header[i].name, name))
            return d->header[i].value;
    return ATH_S("");
}

static ath_str copy(ath_task *t, ath_str s)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_str(&b, s);
    return buf_view(&b);
}

static const char *type_of(ath_str key)
{
    if (str_ends(key, ".json"))
        return "application/json";
    return str_ends(key, ".gz") ? "application/gzip" : "application/octet-stream";
}

/* The last segment, without what would end the quotes that it stands in. */
static void set_name(ath_req *r, ath_str key)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    ath_str piece, rest = key, name = key;

    while (str_next(&rest, '/', &piece))
        if (piece.n)
            name = piece;
    buf_lit(&b, "attachment; filename=\"");
    for (size_t i = 0; i < name.n; i++)
        buf_char(&b, strchr("\"\\", name.p[i]) ? '_' : name.p[i]);
    buf_char(&b, '"');
    ath_host_->req->set(r, "content-disposition", buf_view(&b));
}

static void set_range(ath_req *r, const struct download *x)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    if (x->range.kind == RANGE_NONE)
        buf_printf(&b, "bytes */%llu", (unsigned long long)x->size);
    else
        buf_printf(&b, "bytes %llu-%llu/%llu", (unsigned long long)x->range.from,
                   (unsigned long long)(x->range.from + x->range.length - 1),
                   (unsigned long long)x->size);
    ath_host_->req->set(r, "content-range", buf_view(&b));
}

static int status_of(const struct download *x)
{
    return x->range.kind == RANGE_PART ? 206 : 200;
}

static void set_head(ath_req *r, const struct download *x)
{
    struct buf length = BUF_ARENA(ath_arena_of(r));

    buf_u64(&length, x->range.length);
    ath_host_->req->set(r, "content-length", buf_view(&length));
    set_name(r, x->object.key);
    if (x->range.kind == RANGE_PART)
        set_range(r, x);
}

static int got(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct download *x = d->arg;

    if (d->rc < 0)
        return no_object(t, x, d->rc, e);
    set_head(t, x);
    return ath_host_->req->send(t, status_of(x), type_of(x->object.key), d->stream);
}

static int get(ath_task *t, struct download *x, ath_err *e)
{
    const struct backups_state *s = ath_state_of(t);
    int rc;

    x->object.from = x->range.from;
    x->object.length = x->range.kind == RANGE_PART ? x->range.length : 0;
    rc = s->s3->get(t, &x->object, got, x, e);
    return rc < 0 ? no_object(t, x, rc, e) : 0;
}

static void set_tags(ath_req *r, const ath_done *d)
{
    ath_str etag = header_of(d, "etag"), modified = header_of(d, "last-modified");

    ath_host_->req->set(r, "accept-ranges", ATH_S("bytes"));
    if (etag.n)
        ath_host_->req->set(r, "etag", etag);
    if (modified.n)
        ath_host_->req->set(r, "last-modified", modified);
}

static int unsatisfied(ath_req *r, const struct download *x, ath_err *e)
{
    set_range(r, x);
    return admin_fail(e, "backup_range_not_satisfiable", "Range not satisfiable",
                      "The object has %llu bytes.", (unsigned long long)x->size);
}

static int looked_at(ath_task *t, const ath_done *d, ath_err *e)
{
    struct download *x = d->arg;
    ath_str etag;

    if (d->rc < 0)
        return no_object(t, x, d->rc, e);
    etag = copy(t, header_of(d, "etag"));
    x->size = d->count;
    x->object.etag = etag;
    x->range = range_of(range_if(ath_header(t, "if-range"), etag) ? ath_header(t, "range")
                                                                  : ATH_S(""),
                        x->size);
    set_tags(t, d);
    if (range_matches(ath_header(t, "if-none-match"), etag))
        return ath_reply(t, 304, NULL, ATH_S(""));
    if (x->range.kind == RANGE_NONE)
        return unsatisfied(t, x, e);
    if (x->size && !str_is(ath_host_->req->info(t, "method"), "HEAD"))
        return get(t, x, e);
    set_head(t, x);
    return ath_reply(t, status_of(x), type_of(x->object.key), ATH_S(""));
}

int backups_download(ath_req *r, ath_err *e)
{
    const struct backups_state *s = ath_state_of(r);
    struct download *x = ath_new(ath_arena_of(r), sizeof(*x));
    int rc = backups_key(r, &x->object.key, e);

    x->object.size = sizeof(x->object);
    if (rc < 0 || (rc = backups_own_key(r, x->object.key, e)) < 0)
        return rc;
    rc = s->s3->head(r, &x->object, looked_at, x, e);
    return rc < 0 ? no_object(r, x, rc, e) : 0;
}

/* ---- deleting: the archive, what is known of it beside it, and its place in the list (D-54) ----
 *
 * The signed record says that a backup of ours is gone before the list forgets it; whatever fails in
 * between, asking again does the rest.
 */

struct removal {
    ath_s3_object object, manifest;
    ath_str param[2];
    struct record record;
};

static const char delete_failed[] = "Failed to update backup jobs";
#define ITS_JOBS " where s3_key = $1 and (s3_bucket is null or s3_bucket = $2) and job_type = 'backup'"
static const char listed_sql[] = "select id from " BACKUP_TABLE ITS_JOBS " order by id desc limit 1";
static const char gone_sql[] =
    "update " BACKUP_TABLE " set s3_key = null, updated_at = now()" ITS_JOBS;

static int not_removed(ath_task *t, ath_err *e)
{
    return backups_store_failed(t, "S3 delete failed", e);
}

static int forgotten(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct removal *x = d->arg;
    struct buf b = admin_answer(t, "Backup deleted");

    (void)e;
    admin_changed(t, "delete_backup", x->object.key);
    buf_json_str(&b, "key", x->object.key);
    return admin_reply(t, 200, &b);
}

static int forget(ath_task *t, struct removal *x, ath_err *e)
{
    ath_stmt stmt = { .sql = gone_sql, .param = x->param, .param_count = 2 };

    return backups_ask(t, delete_failed, &stmt, 1, forgotten, x, e);
}

static int recorded(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? backups_refuse(t, "Failed to record the deletion", e)
                     : forget(t, d->arg, e);
}

static int found(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct backups_state *s = ath_state_of(t);
    struct removal *x = d->arg;
    ath_str job = ath_cell(d->rows, 0, 0);

    if (!job.n)
        return forget(t, x, e);
    x->record = (struct record){ .kind = "deleted",
                                 .backup_id = record_backup_id(x->object.key),
                                 .key = x->object.key,
                                 .job_id = job,
                                 .facts = ATH_S("{\"by\":\"operator\"}") };
    if (record_append(t, s->secrets, &x->record, recorded, x, e) < 0)
        return backups_refuse(t, "Failed to record the deletion", e);
    return 0;
}

static int alone(ath_task *t, const ath_done *d, ath_err *e)
{
    struct removal *x = d->arg;

    if (d->rc < 0)
        return not_removed(t, e);
    return backups_read(t, delete_failed, listed_sql, x->param, 2, found, x, e);
}

static int removed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct backups_state *s = ath_state_of(t);
    struct removal *x = d->arg;

    if (d->rc < 0)
        return not_removed(t, e);
    return s->s3->remove(t, &x->manifest, alone, x, e) < 0 ? not_removed(t, e) : 0;
}

int backups_delete(ath_req *r, ath_err *e)
{
    const struct backups_state *s = ath_state_of(r);
    struct removal *x = ath_new(ath_arena_of(r), sizeof(*x));
    struct buf manifest = BUF_ARENA(ath_arena_of(r));
    ath_s3_config s3;
    int rc = backups_key(r, &x->param[0], e);

    if (rc < 0 || (rc = backups_ready(r, true, e)) < 0 ||
        (rc = backups_own_key(r, x->param[0], e)) < 0 || (rc = backups_storage(r, &s3, e)) < 0)
        return rc;
    buf_printf(&manifest, "%.*s" MANIFEST_SUFFIX, STR_ARG(x->param[0]));
    x->param[1] = s3.bucket;
    x->object = (ath_s3_object){ .size = sizeof(x->object), .key = x->param[0] };
    x->manifest = (ath_s3_object){ .size = sizeof(x->object), .key = buf_view(&manifest) };
    return s->s3->remove(r, &x->object, removed, x, e) < 0 ? not_removed(r, e) : 0;
}
