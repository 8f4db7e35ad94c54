/* One request with its tries.
 *
 *     attempt     keys are at hand, or are asked for
 *     send        signed anew each time: the time is part of the signature
 *     answered    good: given. Else what the store says is read, and then
 *     judged      tried again after a delay, with new keys, by the store's clock; or it has failed
 *
 * What was lost on the way or met an error of the store is tried again, as all requests made here
 * may be carried out twice; who made one that may not looks at `lost`.
 */
#include <sys/random.h>
#include <time.h>

#include "driver.h"
#include "lib/file.h"

enum { REFUSAL_MOST = 64 * 1024, SLOW_STALL_MS = 600000, ASKED_MOST_MS = 30000 };

static int attempt(ath_task *t, struct call *c, ath_err *e);

/* ---- making one ---- */

void call_init(struct call *c, const char *operation, const char *doing, const char *method)
{
    *c = (struct call){ .operation = operation, .doing = doing, .method = method };
    c->bucket = s3.place.bucket;
    c->key = c->body = c->digest = ATH_S("");
}

void call_of(struct call *c, const ath_s3_object *o)
{
    if (o->bucket.n)
        c->bucket = o->bucket;
    c->key = o->key;
}

void call_free(struct call *c)
{
    buf_free(&c->query);
    buf_free(&c->url);
    buf_free(&c->text);
    buf_free(&c->refused);
}

void call_ask(struct call *c, const char *name, ath_str value)
{
    if (c->query.n)
        buf_char(&c->query, '&');
    sign_encode(&c->query, str_of(name), false);
    buf_char(&c->query, '=');
    sign_encode(&c->query, value, false);
}

void call_header(struct call *c, const char *name, ath_str value)
{
    if (c->header_count < CALL_HEADERS)
        c->header[c->header_count++] = (ath_pair){ str_of(name), value };
}

ath_str call_answer_header(const ath_done *d, const char *name)
{
    for (uint32_t i = 0; i < d->header_count; i++)
        if (str_is(d->header[i].name, name))
            return d->header[i].value;
    return ATH_S("");
}

/* ---- what is counted and said ---- */

static void tell(const struct call *c, int rc, int32_t status)
{
    static const char *const family[] = { "1xx", "2xx", "3xx", "4xx", "5xx" };
    const char *word = rc == ATH_E_TIMEOUT    ? "timeout"
                       : rc == ATH_E_CANCELED ? "canceled"
                                              : "failed";
    ath_str label[2] = { str_of(c->operation), str_of(word) };

    if (rc == 0 && status >= 100 && status < 600)
        label[1] = str_of(family[status / 100 - 1]);
    ath_host_->log->put(ath_self_, S3_REQUESTS, label, 1);
}

static void tell_time(ath_task *t, const struct call *c)
{
    uint64_t now = ath_host_->loop->now_ms(ath_host_->task->loop(t));
    ath_str label = str_of(c->operation);

    ath_host_->log->put(ath_self_, S3_SECONDS, &label, (double)(now - c->began_ms) / 1000);
}

ATH_PRINTF(2, 3) static void debug(ath_task *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, t, ATH_DEBUG, fmt, ap);
    va_end(ap);
}

static int give(ath_task *t, struct call *c, int rc, ath_err *e)
{
    ath_done d = { .size = sizeof(d), .rc = rc, .arg = c->arg };

    return c->then(t, &d, e);
}

/* ---- another try ---- */

uint64_t call_delay(uint32_t failed)
{
    uint64_t most = s3.cfg->retry_ms, jitter = 0;

    if (failed == 0)
        return 0;
    for (uint32_t i = 1; i < failed && most < s3.cfg->retry_most_ms; i++)
        most *= 2;
    if (most > s3.cfg->retry_most_ms)
        most = s3.cfg->retry_most_ms;
    if (getrandom(&jitter, sizeof(jitter), 0) < 0)
        jitter = 0;
    return most / 2 + jitter % (most / 2 + 1);
}

static int again(ath_task *t, const ath_done *d, ath_err *e)
{
    struct call *c = d->arg;
    int rc = d->rc;

    if (rc == 0 && (rc = attempt(t, c, e)) == 0)
        return 0;
    return give(t, c, rc, e);
}

/* `e` says why; those are the last words when there are no tries left, or no time for one. */
static int retry(ath_task *t, struct call *c, int rc, ath_err *e)
{
    ath_str label = str_of(c->operation);
    uint64_t delay = call_delay(c->tries);

    if (delay < c->retry_ms)
        delay = c->retry_ms;
    if (c->tries >= (uint32_t)s3.cfg->tries || delay >= ath_host_->task->left_ms(t))
        return give(t, c, rc, e);
    debug(t, "%s: try %u failed, another one in %llu ms: %.*s", c->operation, c->tries,
          (unsigned long long)delay, STR_ARG(ath_host_->err->get(e, "message")));
    ath_host_->log->put(ath_self_, S3_RETRIES, &label, 1);
    rc = ath_host_->task->after(t, delay, again, c, e);
    return rc < 0 ? give(t, c, rc, e) : 0;
}

/* ---- refusals ---- */

static bool is_stale(const struct call *c, const struct refusal *r)
{
    return !c->renewed && s3.access.n == 0 &&
           (str_is(r->code, "ExpiredToken") || str_is(r->code, "InvalidAccessKeyId") ||
            str_is(r->code, "TokenRefreshRequired"));
}

/* It failed for something that is mended now: the next try begins at once. */
static bool is_mended(ath_task *t, struct call *c, const struct refusal *r)
{
    if (is_stale(c, r)) {
        c->renewed = true;
        keys_forget(t);
        return true;
    }
    if (!c->skewed && str_is(r->code, "RequestTimeTooSkewed")) {
        c->skewed = true;
        atomic_store(&s3.skew_s, c->store_s ? c->store_s - (int64_t)time(NULL) : 0);
        return c->store_s != 0;
    }
    return false;
}

static int judged(ath_task *t, struct call *c, ath_err *e)
{
    struct refusal r;
    int rc;

    refusal_read(&r, c->status, buf_view(&c->refused), &c->text);
    c->lost += c->status >= 500;
    if (is_mended(t, c, &r))
        return (rc = attempt(t, c, e)) < 0 ? give(t, c, rc, e) : 0;
    rc = refusal_fail(c, &r, e);
    return r.again ? retry(t, c, rc, e) : give(t, c, rc, e);
}

static int refusal_piece(ath_task *t, const ath_done *d, ath_err *e)
{
    struct call *c = d->arg;
    int rc;

    if (d->rc == ATH_E_CANCELED)
        return give(t, c, d->rc, e);
    if (d->rc == 0 && d->bytes.n && c->refused.n < REFUSAL_MOST) {
        buf_str(&c->refused, d->bytes);
        rc = ath_host_->stream->read(t, c->refusal, refusal_piece, c, e);
        return rc < 0 ? give(t, c, rc, e) : 0;
    }
    ath_host_->stream->end(c->refusal, 0);
    return judged(t, c, e);
}

/* "Wed, 20 May 2026 03:31:09 GMT" in seconds since 1970; 0: it is none. */
static int64_t date_of(ath_str text)
{
    struct tm tm = { 0 };

    if (text.n == 0 || !strptime(text.p, "%a, %d %b %Y %H:%M:%S", &tm))
        return 0;
    return (int64_t)timegm(&tm);
}

static int refused(ath_task *t, struct call *c, const ath_done *d, ath_err *e)
{
    uint64_t seconds;
    int rc;

    c->status = d->status;
    c->store_s = date_of(call_answer_header(d, "date"));
    c->retry_ms = 0;
    if (str_u64(call_answer_header(d, "retry-after"), &seconds) && seconds < ASKED_MOST_MS / 1000)
        c->retry_ms = seconds * 1000;
    buf_reset(&c->refused);
    if (!d->stream) {
        buf_str(&c->refused, d->bytes);
        return judged(t, c, e);
    }
    c->refusal = d->stream;
    rc = ath_host_->stream->read(t, c->refusal, refusal_piece, c, e);
    return rc < 0 ? give(t, c, rc, e) : 0;
}

/* ---- answers ---- */

static bool is_good(const ath_done *d)
{
    return d->status >= 200 && d->status < 300;
}

static void tell_good(const struct call *c, const ath_done *d)
{
    ath_str sent = ATH_S("sent");

    if (c->key.n && c->body.n && strcmp(c->method, "PUT") == 0)
        ath_host_->log->put(ath_self_, S3_BYTES, &sent, (double)c->body.n);
    (void)d;
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct call *c = d->arg;
    ath_done good = *d;
    int rc = d->rc;

    tell(c, rc, d->status);
    if (rc < 0) {
        if (rc != ATH_E_UPSTREAM && rc != ATH_E_TIMEOUT)
            return give(t, c, rc, e);
        c->lost++;
        c->retry_ms = 0;
        return retry(t, c, rc, e);
    }
    tell_time(t, c);
    debug(t, "%s: %d, try %u", c->operation, (int)d->status, c->tries);
    if (!is_good(d))
        return refused(t, c, d, e);
    if (c->judge && (rc = c->judge(c, d, e)) < 0) {
        if (rc == ATH_E_UPSTREAM)
            c->lost++;
        return rc == ATH_E_UPSTREAM ? retry(t, c, rc, e) : give(t, c, rc, e);
    }
    tell_good(c, d);
    good.arg = c->arg;
    return c->then(t, &good, e);
}

/* ---- sending ---- */

static ath_str payload_of(struct call *c)
{
    if (c->flags & CALL_UNSIGNED && s3.cfg->unsigned_payload && str_is(s3.place.scheme, "https"))
        return SIGN_UNSIGNED;
    if (c->digest.n)
        return c->digest;
    sign_digest(c->body, c->hex);
    return str_from(c->hex, SIGN_HEX - 1);
}

/* The headers of the request behind those of the call; what is sent is what was signed, but for the
 * host, which the connection says itself. */
static uint32_t sign(struct call *c, const struct keys *keys, ath_pair header[SIGN_HEADERS])
{
    struct sign s = { .method = c->method,
                      .query = buf_view(&c->query),
                      .header = header,
                      .payload = payload_of(c),
                      .time = c->time,
                      .region = s3.place.region,
                      .service = "s3",
                      .access = keys->access,
                      .secret = keys->secret };
    size_t host, path, end;
    uint32_t n = 0;

    sign_time((int64_t)time(NULL) + atomic_load(&s3.skew_s), c->time);
    buf_reset(&c->url);
    buf_str(&c->url, s3.place.scheme);
    buf_lit(&c->url, "://");
    host = c->url.n;
    place_host(&s3.place, c->bucket, &c->url);
    path = c->url.n;
    place_path(&s3.place, c->bucket, c->key, &c->url);
    end = c->url.n;
    if (c->query.n)
        buf_char(&c->url, '?');
    buf_str(&c->url, s.query);
    s.path = str_from(c->url.p + path, end - path);
    header[n++] = (ath_pair){ ATH_S("host"), str_from(c->url.p + host, path - host) };
    for (uint32_t i = 0; i < c->header_count; i++)
        header[n++] = c->header[i];
    header[n++] = (ath_pair){ ATH_S("x-amz-content-sha256"), s.payload };
    header[n++] = (ath_pair){ ATH_S("x-amz-date"), str_of(c->time) };
    if (keys->token.n)
        header[n++] = (ath_pair){ ATH_S("x-amz-security-token"), keys->token };
    s.header_count = n;
    buf_reset(&c->text);
    sign_authorization(&s, &c->text);
    header[0] = (ath_pair){ ATH_S("authorization"), buf_view(&c->text) };
    return n;
}

static int send(ath_task *t, struct call *c, const struct keys *keys, ath_err *e)
{
    ath_pair header[SIGN_HEADERS];
    ath_fetch f = { .size = sizeof(f),
                    .flags = c->flags & CALL_STREAM ? ATH_HTTP_STREAM : 0,
                    .method = c->method,
                    .body = c->body,
                    .max_body = c->max_body,
                    .header = header,
                    .header_count = sign(c, keys, header),
                    .stall_ms = (uint32_t)s3.cfg->stall_ms };

    if (c->flags & CALL_SLOW && f.stall_ms < SLOW_STALL_MS)
        f.stall_ms = SLOW_STALL_MS;
    f.url = buf_view(&c->url);
    c->began_ms = ath_host_->loop->now_ms(ath_host_->task->loop(t));
    return ath_host_->fetch(t, &f, answered, c, e);
}

static int have_keys(ath_task *t, const ath_done *d, ath_err *e)
{
    struct call *c = d->arg;
    struct keys keys;
    int rc = d->rc;

    if (rc == 0 && !keys_ready(t, &keys))
        rc = ath_fail(e, ATH_E_DENIED, "there are no keys for the object store");
    if (rc == 0 && (rc = send(t, c, &keys, e)) == 0)
        return 0;
    return give(t, c, rc, e);
}

static int attempt(ath_task *t, struct call *c, ath_err *e)
{
    struct keys keys;

    c->tries++;
    if (keys_ready(t, &keys))
        return send(t, c, &keys, e);
    return keys_ask(t, have_keys, c, e);
}

int call_start(ath_task *t, struct call *c, ath_err *e)
{
    c->tries = c->lost = 0;
    c->renewed = c->skewed = false;
    c->retry_ms = 0;
    return attempt(t, c, e);
}
