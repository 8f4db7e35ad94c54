/* From the work folder into the store, and back to see that it is there.
 *
 *     note      the key in athena_backup_uploads, before a byte goes there
 *     put       archive_pack() --stream--> the store's put: no file, no whole archive in memory
 *     manifest  a small object beside it
 *
 * The store's driver tries parts again by itself. When the whole of it fails for want of an answer,
 * it is packed again under another key, three times at most, as the published server does.
 */
#include <time.h>

#include "backup/estimate.h"
#include "create.h"
#include "lib/json.h"

enum { STREAM_BYTES = 1 << 20, AGAIN_MS = 1000, TOLD_MS = 1000, META = 4 };

static uint64_t now_ms(ath_task *t)
{
    return ath_host_->loop->now_ms(ath_host_->task->loop(t));
}

/* At most once a second, and never back. */
static void tell(ath_task *t, struct create *c, const char *stage, int percent, uint64_t bytes)
{
    if (percent <= c->percent && now_ms(t) < c->told_ms + TOLD_MS)
        return;
    c->percent = percent > c->percent ? percent : c->percent;
    c->told_ms = now_ms(t);
    journal_stage(&c->journal, stage, c->percent, bytes);
}

/* ---- names ---- */

static ath_str key_of(struct create *c, const char *suffix, const char *more)
{
    ath_s3_config s3 = { .size = sizeof(s3) };
    struct buf b = BUF_ARENA(ath_arena_of(c->job));

    backup_services.s3->config(&s3);
    if (s3.prefix.n)
        buf_printf(&b, "%.*s/", STR_ARG(s3.prefix));
    buf_printf(&b, "%.*s/%s%s%s", STR_ARG(c->p->client_name), c->backup_id, suffix, more);
    return buf_view(&b);
}

static void name_it(struct create *c)
{
    ath_s3_config s3 = { .size = sizeof(s3) };
    const char *suffix = c->ring.n ? ARCHIVE_SEALED_SUFFIX : ARCHIVE_SUFFIX;

    backup_services.s3->config(&s3);
    uuid_make(c->backup_id);
    c->bucket = s3.bucket;
    c->key = key_of(c, suffix, "");
    c->manifest_key = key_of(c, suffix, MANIFEST_SUFFIX);
}

static ath_str time_text(ath_arena *a)
{
    struct buf b = BUF_ARENA(a);
    struct timespec now;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    buf_printf(&b, "%04d-%02d-%02dT%02d:%02d:%02d.%06ldZ", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000);
    return buf_view(&b);
}

/* ---- the end ---- */

static int again(ath_task *t, struct create *c, ath_err *e);

static int noted_manifest(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    ath_host_->task->done(t, NULL);
    return 0;
}

static int put_manifest(ath_task *t, struct create *c, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(c->job));
    ath_s3_put p = {
        .size = sizeof(p), .bucket = c->bucket, .key = c->manifest_key, .type = "application/json"
    };

    manifest_json(&b, &c->pack.manifest);
    c->manifest_json = p.body = buf_view(&b);
    return backup_services.s3->put(t, &p, noted_manifest, c, e);
}

/* ---- the object ---- */

static bool is_for_want_of_an_answer(int rc)
{
    return rc == ATH_E_UPSTREAM || rc == ATH_E_TIMEOUT;
}

static int both_ended(ath_task *t, struct create *c, ath_err *e)
{
    if (c->failed == 0)
        return put_manifest(t, c, e);
    if (is_for_want_of_an_answer(c->failed) && c->uploads < UPLOAD_TRIES)
        return again(t, c, e);
    if (c->failed == ATH_E_CANCELED || c->failed == ATH_E_LEASE)
        return ath_fail(e, c->failed, "%.*s", STR_ARG(c->words));
    journal_say(&c->journal, "error", "backup upload failed: %.*s", STR_ARG(c->words));
    return ath_fail(e, ATH_E_RETRY, "%.*s", STR_ARG(c->words));
}

/* The one that failed by itself counts: the other one is stopped by it. */
static void note_failure(struct create *c, int rc, const ath_err *e)
{
    if (rc == 0 || (c->failed && c->failed != ATH_E_CANCELED))
        return;
    c->failed = rc;
    c->words = create_words(c, e);
}

static int part_ended(ath_task *t, struct create *c, int rc, ath_err *e)
{
    note_failure(c, rc, e);
    return --c->pending ? 0 : both_ended(t, c, e);
}

static int packed(ath_task *t, const ath_done *d, ath_err *e)
{
    return part_ended(t, d->arg, d->rc, e);
}

static int put_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    c->size = d->count;
    return part_ended(t, c, d->rc, e);
}

static void moved(ath_task *t, void *arg, uint64_t bytes)
{
    struct create *c = arg;

    tell(t, c, "uploading", estimate_part(82, 93, bytes, c->pack.folder_bytes), bytes);
}

static void describe(struct create *c)
{
    struct manifest *m = &c->pack.manifest;

    manifest_free(m);
    c->pack = (struct archive_pack){ .folder = c->folder,
                                     .ring = c->ring.n ? &c->ring : NULL,
                                     .level = (int)c->cfg->gzip_level,
                                     .rows = true };
    manifest_set(&m->backup_id, str_of(c->backup_id));
    manifest_set(&m->client, c->p->client_name);
    manifest_set(&m->key, c->key);
    manifest_set(&m->label, c->p->label);
    manifest_set(&m->created_at, time_text(ath_arena_of(c->job)));
    manifest_set(&m->tool_version, c->tool.version);
}

static int start_pack(ath_task *t, struct create *c, ath_stream *s, ath_err *e)
{
    int rc;

    c->pack.out = s;
    rc = archive_pack(t, &c->pack, packed, c, e);
    c->pending += rc == 0;
    return rc;
}

static int start_put(ath_task *t, struct create *c, ath_stream *s, ath_err *e)
{
    const ath_pair meta[META] = {
        { ATH_S("client_name"), c->p->client_name },
        { ATH_S("backup_id"), str_of(c->backup_id) },
        { ATH_S("created_at"), str_of(c->pack.manifest.created_at) },
        { ATH_S("label"), c->p->label },
    };
    ath_s3_put p = { .size = sizeof(p),
                     .bucket = c->bucket,
                     .key = c->key,
                     .type = ARCHIVE_TYPE,
                     .meta = meta,
                     .meta_count = c->p->label.n ? META : META - 1,
                     .from = s,
                     .moved = moved,
                     .expect = c->dumped };
    int rc = backup_services.s3->put(t, &p, put_over, c, e);

    c->pending += rc == 0;
    return rc;
}

static int noted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;
    ath_stream *s;
    int rc;

    if (d->rc < 0)
        return d->rc;
    c->noted = true;
    c->failed = 0;
    describe(c);
    tell(t, c, "uploading", 82, 0);
    s = ath_host_->stream->open(t, STREAM_BYTES);
    rc = start_put(t, c, s, e);
    return rc < 0 ? rc : start_pack(t, c, s, e);
}

/* ---- before it ---- */

static const char note_sql[] =
    "with job as (update backup_jobs set s3_bucket = $2, progress_stage = 'uploading',"
    " progress_pct = 82 where id = $1::int8 returning id, lease_token)"
    " insert into public.athena_backup_uploads (bucket, key, job_id, lease_token)"
    " select $2, $3, id, lease_token from job";

static int note(ath_task *t, struct create *c, ath_err *e)
{
    ath_str *param = ath_new(ath_arena_of(t), 3 * sizeof(*param));
    ath_stmt stmt = { .sql = note_sql, .param = param, .param_count = 3 };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_FENCED,
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    c->uploads++;
    name_it(c);
    param[0] = ath_host_->job->key(c->job);
    param[1] = c->bucket;
    param[2] = c->key;
    return ath_host_->pg->query(t, &q, noted, c, e);
}

static int note_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : note(t, d->arg, e);
}

static int wait_again(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    return ath_host_->task->after(t, (uint64_t)AGAIN_MS << (c->uploads - 1), note_again, c, e);
}

static int again(ath_task *t, struct create *c, ath_err *e)
{
    journal_say(&c->journal, "warn", "Retrying backup upload attempt %d/%d for client '%.*s'",
                c->uploads + 1, UPLOAD_TRIES, STR_ARG(c->p->client_name));
    return store_take_back(t, c, wait_again, c, e);
}

int store_run(ath_task *t, void *arg, ath_err *e)
{
    struct create *c = arg;

    return note(t, c, e);
}

/* ---- taking it back ---- */

struct removal {
    struct create *c;
    ath_then *then;
    void *arg;
    uint32_t left;
};

/* What cannot be removed now the sweeper finds by its note. */
static int removed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct removal *r = d->arg;
    ath_done mine = *d;

    if (--r->left)
        return 0;
    mine.arg = r->arg;
    if (mine.rc != ATH_E_CANCELED)
        mine.rc = 0;
    return r->then(t, &mine, e);
}

static int remove_one(ath_task *t, struct removal *r, ath_str key, ath_err *e)
{
    ath_s3_object o = { .size = sizeof(o), .bucket = r->c->bucket, .key = key };
    int rc = backup_services.s3->remove(t, &o, removed, r, e);

    r->left += rc == 0;
    return rc;
}

int store_take_back(ath_task *t, struct create *c, ath_then *then, void *arg, ath_err *e)
{
    struct removal *r = ath_new(ath_arena_of(t), sizeof(*r));
    int rc;

    *r = (struct removal){ .c = c, .then = then, .arg = arg };
    rc = remove_one(t, r, c->key, e);
    if (rc == 0)
        rc = remove_one(t, r, c->manifest_key, e);
    return r->left ? 0 : rc;
}

/* ---- the proof ---- */

static int unproven(struct create *c, ath_err *e)
{
    ath_str words = create_words(c, e);

    journal_say(&c->journal, "error", "what lies in the store is not what was put there: %.*s",
                STR_ARG(words));
    return ath_fail(e, ATH_E_RETRY, "the stored backup cannot be decoded: %.*s", STR_ARG(words));
}

static int compare(struct create *c, ath_err *e)
{
    if (!c->fetch.has_told)
        return ath_fail(e, ATH_E_MISSING, "\"%.*s\" is not there", STR_ARG(c->manifest_key));
    return manifest_compare(&c->fetch.unpack.manifest, &c->pack.manifest, e);
}

static int proven(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    if (d->rc == ATH_E_CANCELED || d->rc == ATH_E_LEASE)
        return d->rc;
    if (d->rc < 0 || compare(c, e) < 0)
        return unproven(c, e);
    ath_host_->task->done(t, NULL);
    return 0;
}

int prove_run(ath_task *t, void *arg, ath_err *e)
{
    struct create *c = arg;

    c->fetch = (struct fetch){ .home = c->job,
                               .key = c->key,
                               .ring = &c->ring,
                               .rows = true,
                               .journal = &c->journal,
                               .stage = "proving",
                               .from = 95,
                               .to = 99 };
    tell(t, c, c->fetch.stage, c->fetch.from, 0);
    return fetch_run(t, &c->fetch, proven, c, e);
}
