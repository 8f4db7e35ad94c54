/* One request of ours: checked, its host looked up, sent, its answer taken.
 *
 *     client_fetch()  checks what was asked for; refusals come at once
 *     look_up()       the host's addresses, also of one that a redirect names
 *     fetch_set_up()        tells libcurl about the request; client_loop.c runs it
 *     on_head() ...   libcurl's callbacks: they keep, push and pull bytes and never end anything
 *     transfer_ended() follows a redirect or concludes
 *
 * The caller is told when the whole answer is there, or, of a stream, when its head is. From then
 * on the stream is all that ties the two together: its reader sets the pace, and a reader that goes
 * ends the request. The request goes when it is over and its operation has been delivered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "http/client_priv.h"
#include "http/http_priv.h"
#include "io/stream.h"
#include "log/metric.h"

enum { URL_MOST = 64 * 1024 };

struct client_options client_settings;

static bool ready, counted;
static uint32_t requests_metric;

/* ---- the process ---- */

int client_start(const struct client_options *o, ath_err *e)
{
    static const ath_metric requests = {
        .name = "athena_http_client_requests_total",
        .label = "outcome",
        .kind = ATH_M_COUNTER,
        .help = "Requests of ours to other services, by what they ended with.",
        .series = 16,
    };
    int rc;

    if (!counted && (rc = metric_register(&requests, &requests_metric, e)) < 0)
        return rc;
    counted = true;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_fail(e, ATH_E_CONFIG, "could not set up libcurl");
    client_settings = *o;
    ready = true;
    return 0;
}

void client_stop(void)
{
    if (ready)
        curl_global_cleanup();
    ready = false;
}

static void count(const struct fetch *f, int rc)
{
    static const char *const family[] = { "1xx", "2xx", "3xx", "4xx", "5xx" };
    const char *word = "failed";
    ath_str label;

    if (rc == 0 && f->status >= 100 && f->status < 600)
        word = family[f->status / 100 - 1];
    else if (rc == ATH_E_TIMEOUT)
        word = "timeout";
    else if (rc == ATH_E_CANCELED)
        word = "canceled";
    else if (rc == ATH_E_DENIED)
        word = "denied";
    else if (rc == ATH_E_TOO_LARGE)
        word = "too_large";
    label = str_of(word);
    metric_put(requests_metric, &label, 1);
}

/* ---- where it leads ---- */

static void origin_free(struct origin *o)
{
    curl_free(o->scheme);
    curl_free(o->host);
    curl_free(o->port);
    *o = (struct origin){ 0 };
}

static bool origin_parts(CURLU *u, struct origin *o)
{
    return curl_url_get(u, CURLUPART_HOST, &o->host, 0) == CURLUE_OK &&
           curl_url_get(u, CURLUPART_PORT, &o->port, CURLU_DEFAULT_PORT) == CURLUE_OK;
}

/* libcurl would ask for another name than we do where a URL is not ASCII. */
static bool is_plain(const char *url)
{
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7F)
            return false;
    return true;
}

static int origin_read(CURLU *u, const char *url, struct origin *o, ath_err *e)
{
    if (!u || !is_plain(url) || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &o->scheme, 0) != CURLUE_OK)
        return err_fail(e, ATH_E_INPUT, "what was to be requested is no URL");
    if (strcmp(o->scheme, "http") != 0 && strcmp(o->scheme, "https") != 0)
        return err_fail(e, ATH_E_INPUT, "\"%.16s\" is neither http nor https", o->scheme);
    if (!origin_parts(u, o) || !is_plain(o->host))
        return err_fail(e, ATH_E_INPUT, "what was to be requested is no URL");
    return 0;
}

/* What a URL holds besides its origin may be a secret, so messages never quote one. */
static int origin_of(const char *url, struct origin *o, ath_err *e)
{
    CURLU *u = curl_url();
    union address a;
    int rc = origin_read(u, url, o, e);

    curl_url_cleanup(u);
    if (rc < 0)
        origin_free(o);
    else
        o->literal = address_parse(str_of(o->host), &a);
    return rc;
}

static bool origin_same(const struct origin *a, const struct origin *b)
{
    return strcmp(a->scheme, b->scheme) == 0 && str_ieq(str_of(a->host), str_of(b->host)) &&
           strcmp(a->port, b->port) == 0;
}

/* ---- the end ---- */

static void fetch_unref(struct fetch *f)
{
    if (--f->refs > 0)
        return;
    origin_free(&f->origin);
    buf_free(&f->given);
    buf_free(&f->head);
    buf_free(&f->whole);
    free(f->pair);
    free(f->kept);
    free(f->method);
    free(f->url);
    free(f->err);
    free(f);
}

static void release(struct op *o)
{
    fetch_unref(o->impl);
}

/* d->header from the lines that were kept. */
static void give_header(struct fetch *f, ath_done *d)
{
    ath_str rest = buf_view(&f->head), name, value;
    size_t most = 0;

    for (size_t i = 0; i < rest.n; i++)
        most += rest.p[i] == '\n';
    f->pair = mem_new((most + 1) * sizeof(*f->pair));
    while (str_next(&rest, '\n', &name) && str_next(&rest, '\n', &value))
        f->pair[d->header_count++] = (ath_pair){ name, value };
    for (size_t i = 0; i < f->head.n; i++) /* texts of ours end in a NUL */
        if (f->head.p[i] == '\n')
            f->head.p[i] = 0;
    d->header = f->pair;
    d->status = (int32_t)f->status;
}

void fetch_tell(struct fetch *f, int rc, const ath_err *e)
{
    struct op *o = f->op;

    f->op = NULL;
    o->stop = NULL;
    o->release = release;
    f->refs++;
    if (rc == 0)
        give_header(f, &o->done);
    else if (e && e->rc < 0)
        err_copy(op_err(o), e);
    op_finish(o, rc);
}

static void give_whole(struct fetch *f)
{
    ath_done *d = &f->op->done;

    d->bytes = buf_view(&f->whole);
    d->count = d->bytes.n;
    if (!(f->flags & CLIENT_KEEP))
        return;
    if (f->whole.p)
        arena_own(&f->op->task->arena, f->whole.p, free);
    f->whole = BUF_HEAP;
}

static void let_go(struct fetch *f)
{
    if (f->asking)
        resolve_cancel(&f->ask);
    f->asking = false;
    deadline_clear(&f->deadline);
    deadline_clear(&f->stall);
    client_loop_leave(&f->x);
    if (f->x.easy)
        curl_easy_cleanup(f->x.easy);
    f->x.easy = NULL;
    curl_slist_free_all(f->lines);
    curl_slist_free_all(f->addresses);
    f->lines = f->addresses = NULL;
    if (f->from) {
        stream_consume(f->from, NULL, NULL);
        stream_drop(f->from);
        f->from = NULL;
    }
}

void fetch_over(struct fetch *f, int rc, const ath_err *e)
{
    ath_stream *to = f->to;

    if (f->over)
        return;
    f->over = true;
    let_go(f);
    count(f, rc);
    f->to = NULL;
    if (to) {
        stream_produce(to, NULL, NULL);
        stream_end(to, rc);
    } else if (f->op) {
        if (rc == 0)
            give_whole(f);
        fetch_tell(f, rc, e);
    }
    fetch_unref(f);
}

static void cancel(struct op *o)
{
    fetch_over(o->impl, ATH_E_CANCELED, NULL);
}

void transfer_cut(struct transfer *x)
{
    fetch_over((struct fetch *)x, ATH_E_CANCELED, NULL);
}

static void on_deadline(struct deadline *d)
{
    struct fetch *f = list_entry(d, struct fetch, deadline);
    ath_err e;

    err_reset(&e);
    err_fail(&e, ATH_E_TIMEOUT, "no whole answer from " ORIGIN " within %llu ms", ORIGIN_ARGS(f),
             (unsigned long long)f->limit_ms);
    fetch_over(f, e.rc, &e);
}

/* Looked at now and then, not with each byte. While somebody else keeps it waiting it is not still. */
static void on_stall(struct deadline *d)
{
    struct fetch *f = list_entry(d, struct fetch, stall);
    uint64_t now = loop_now_ms(f->loop);
    ath_err e;

    if (f->choked || f->starved)
        f->moved_ms = now;
    if (now < f->moved_ms + f->stall_ms) {
        deadline_set(f->loop, d, f->moved_ms + f->stall_ms);
        return;
    }
    err_reset(&e);
    err_fail(&e, ATH_E_TIMEOUT, ORIGIN " stood still for %llu ms", ORIGIN_ARGS(f),
             (unsigned long long)f->stall_ms);
    fetch_over(f, e.rc, &e);
}

/* ---- the host's addresses ---- */

static int allowed(const struct fetch *f, const struct addresses *a, ath_err *e)
{
    for (size_t i = 0; f->x.guarded && i < a->n; i++)
        if (address_class(&a->at[i]) != ADDRESS_PUBLIC)
            return err_fail(e, ATH_E_DENIED, "host \"%.255s\" has an address that is not public",
                            f->origin.host);
    return 0;
}

static void on_addresses(struct resolve *r, int rc, const struct addresses *a, const ath_err *e)
{
    struct fetch *f = list_entry(r, struct fetch, ask);
    ath_err own;

    f->asking = false;
    if (rc < 0) {
        fetch_over(f, rc, e);
        return;
    }
    err_reset(&own);
    if (allowed(f, a, &own) < 0 || fetch_set_up(f, a, &own) < 0)
        fetch_over(f, own.rc, &own);
}

static void look_up(struct fetch *f)
{
    f->ask.done = on_addresses;
    f->asking = true;
    resolve_start(f->loop, &f->ask, str_of(f->origin.host));
}

/* ---- redirects ---- */

/* What another origin may be told: nothing that could say who asks. */
static bool is_harmless(ath_str line)
{
    static const char *const names[] = { "accept",        "accept-language",  "accept-encoding",
                                         "content-type",  "user-agent",       "range",
                                         "if-none-match", "if-modified-since" };
    ath_str name = str_from(line.p, line.n);

    name.n = str_find(line, line.n && line.p[line.n - 1] == ';' ? ';' : ':');
    for (size_t i = 0; i < ATH_COUNT(names); i++)
        if (str_ieq(name, str_of(names[i])))
            return true;
    return false;
}

static void strip(struct fetch *f)
{
    struct buf kept = BUF_HEAP;
    ath_str rest = buf_view(&f->given), line;

    while (str_next(&rest, 0, &line))
        if (is_harmless(line))
            buf_mem(&kept, line.p, line.n + 1);
    buf_free(&f->given);
    f->given = kept;
}

/* 303 asks for a GET, and so do, by all clients' habit, 301 and 302 after a POST. */
static int change_method(struct fetch *f, ath_err *e)
{
    bool get = (f->status == 303 && !f->head_only) ||
               ((f->status == 301 || f->status == 302) && strcmp(f->method, "POST") == 0);

    if (get) {
        free(f->method);
        f->method = mem_dup_z("GET");
        f->has_body = f->chunked = false;
        f->body = ATH_S("");
    } else if (f->from) {
        return err_fail(e, ATH_E_UPSTREAM, ORIGIN " redirects a body that cannot be sent twice",
                        ORIGIN_ARGS(f));
    }
    return 0;
}

static void forget_answer(struct fetch *f)
{
    f->status = 0;
    f->head_done = f->redirecting = false;
    f->starved = f->choked = false;
    f->skipped = f->sent = 0;
    buf_reset(&f->head);
    curl_slist_free_all(f->lines);
    curl_slist_free_all(f->addresses);
    f->lines = f->addresses = NULL;
}

static int follow(struct fetch *f, ath_err *e)
{
    struct origin next = { 0 };
    const char *to = NULL;
    int rc;

    curl_easy_getinfo(f->x.easy, CURLINFO_REDIRECT_URL, &to);
    if (++f->redirects > CLIENT_REDIRECTS)
        return err_fail(e, ATH_E_UPSTREAM, ORIGIN " redirects more than %d times", ORIGIN_ARGS(f),
                        CLIENT_REDIRECTS);
    if (!to || strlen(to) > URL_MOST || origin_of(to, &next, e) < 0)
        return err_fail(e, ATH_E_UPSTREAM, ORIGIN " redirects to what is no URL", ORIGIN_ARGS(f));
    if (strcmp(f->origin.scheme, "https") == 0 && strcmp(next.scheme, "https") != 0) {
        origin_free(&next);
        return err_fail(e, ATH_E_DENIED, ORIGIN " redirects to a connection without TLS",
                        ORIGIN_ARGS(f));
    }
    rc = change_method(f, e);
    if (!origin_same(&f->origin, &next))
        strip(f);
    origin_free(&f->origin);
    f->origin = next;
    if (rc < 0)
        return rc;
    free(f->url);
    f->url = mem_dup_z(to);
    forget_answer(f);
    look_up(f);
    return 0;
}

/* ---- how libcurl ended ---- */

static const char *tls_words(CURLcode code)
{
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
        return "its certificate is not trusted or is not for this host";
    case CURLE_SSL_CONNECT_ERROR:
        return "no TLS connection";
    case CURLE_SSL_CACERT_BADFILE:
        return "the file of trusted certificates cannot be read";
    default:
        return NULL;
    }
}

static int failed(struct fetch *f, CURLcode code, ath_err *e)
{
    const char *words = tls_words(code);
    long number = 0;

    if (f->rc < 0) {
        err_copy(e, f->err);
        return f->rc;
    }
    if (f->refused)
        return err_fail(e, ATH_E_DENIED, "host \"%.255s\" has an address that is not public",
                        f->origin.host);
    curl_easy_getinfo(f->x.easy, CURLINFO_OS_ERRNO, &number);
    if (!words && code == CURLE_COULDNT_CONNECT && number)
        words = uv_strerror(uv_translate_sys_error((int)number));
    return err_fail(e, ATH_E_UPSTREAM, "no answer from " ORIGIN ": %s", ORIGIN_ARGS(f),
                    words ? words : curl_easy_strerror(code));
}

/* A redirect's body is of no interest: one that was too long does not matter. */
void transfer_ended(struct transfer *x, CURLcode code)
{
    struct fetch *f = (struct fetch *)x;
    bool skipped = f->redirecting && f->skipped > FETCH_SKIPPED;
    ath_err e;
    int rc = 0;

    err_reset(&e);
    if (code != CURLE_OK && !skipped)
        rc = failed(f, code, &e);
    else if (f->redirecting && (rc = follow(f, &e)) == 0)
        return;
    fetch_over(f, rc, &e);
}

/* ---- the beginning ---- */

static bool is_token(ath_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7F ||
            strchr("()<>@,;:\\\"/[]?={}", s.p[i]))
            return false;
    return s.n > 0;
}

static bool is_value(ath_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7F)
            return false;
    return true;
}

/* How the connection carries the bytes is not the caller's to say. */
bool client_owns(ath_str name)
{
    static const char *const names[] = { "connection", "content-length",    "expect",
                                         "keep-alive", "proxy-connection",  "te",
                                         "trailer",    "transfer-encoding", "upgrade" };

    for (size_t i = 0; i < ATH_COUNT(names); i++)
        if (str_ieq(name, str_of(names[i])))
            return true;
    return false;
}

static int take_header(struct fetch *f, const ath_fetch *g, ath_err *e)
{
    for (uint32_t i = 0; i < g->header_count; i++) {
        ath_str name = g->header[i].name, value = str_trim(g->header[i].value);
        if (!is_token(name) || client_owns(name))
            return err_fail(e, ATH_E_INPUT, "\"%.*s\" is no header that a request may set",
                            (int)(name.n < 64 ? name.n : 64), name.n ? name.p : "");
        if (!is_value(value))
            return err_fail(e, ATH_E_INPUT,
                            "the value of header \"%.*s\" holds a control character",
                            (int)(name.n < 64 ? name.n : 64), name.p);
        buf_str(&f->given, name);
        buf_str(&f->given,
                value.n ? ATH_S(": ") : ATH_S(";")); /* how libcurl is told of an empty one */
        buf_str(&f->given, value);
        buf_char(&f->given, 0);
    }
    return 0;
}

static int take_request(struct fetch *f, const ath_fetch *g, ath_err *e)
{
    const char *method = g->method ? g->method : "GET";
    bool writes =
        strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;

    if (!is_token(str_of(method)))
        return err_fail(e, ATH_E_INPUT, "what was given is no method");
    if (g->url.n > URL_MOST || (g->url.n && memchr(g->url.p, 0, g->url.n)))
        return err_fail(e, ATH_E_INPUT, "what was to be requested is no URL");
    f->method = mem_dup_z(method);
    f->url = mem_dup_str(g->url);
    f->head_only = strcmp(method, "HEAD") == 0;
    f->body = g->body;
    f->from = g->from;
    f->chunked = g->from && g->from_length == 0;
    f->length = g->from ? g->from_length : g->body.n;
    f->has_body = g->from || g->body.n || writes;
    f->max_body = g->max_body ? g->max_body : CLIENT_BODY;
    if (f->head_only && f->has_body)
        return err_fail(e, ATH_E_INPUT, "a HEAD request has no body");
    return 0;
}

static int check(ath_task *t, ath_err *e)
{
    int rc = task_may_start(t, e);

    if (rc < 0)
        return rc;
    if (!ready)
        return err_raise(e, "feature_unavailable", "this process makes no requests of its own");
    return 0;
}

static void set_deadline(struct fetch *f, ath_task *t, const ath_fetch *g)
{
    uint64_t left = task_left_ms(t);

    f->limit_ms = g->timeout_ms && g->timeout_ms < left ? g->timeout_ms : left;
    deadline_init(&f->deadline, on_deadline);
    if (f->limit_ms != UINT64_MAX)
        deadline_set(f->loop, &f->deadline, loop_now_ms(f->loop) + f->limit_ms);
    deadline_init(&f->stall, on_stall);
    f->stall_ms = g->stall_ms;
    f->moved_ms = loop_now_ms(f->loop);
    if (f->stall_ms)
        deadline_set(f->loop, &f->stall, f->moved_ms + f->stall_ms);
}

static struct fetch *fetch_new(ath_task *t, const ath_fetch *g)
{
    struct fetch *f = MEM_NEW(struct fetch);

    f->refs = 1;
    f->loop = t->loop;
    f->flags = g->flags;
    f->x.guarded = g->flags & ATH_HTTP_PUBLIC;
    list_init(&f->x.node);
    list_init(&f->ask.node);
    return f;
}

int client_fetch(ath_task *t, const ath_fetch *g, ath_then *then, void *arg, ath_err *e)
{
    struct fetch *f;
    int rc = check(t, e);

    if (rc < 0)
        return rc;
    f = fetch_new(t, g);
    if ((rc = take_request(f, g, e)) < 0 || (rc = origin_of(f->url, &f->origin, e)) < 0 ||
        (rc = take_header(f, g, e)) < 0) {
        fetch_unref(f);
        return rc;
    }
    f->op = op_new(t, then, arg);
    f->op->impl = f;
    f->op->stop = cancel;
    if (f->from)
        stream_consume(f->from, fetch_from_moved, f);
    client_loop_join(f->loop, &f->x);
    set_deadline(f, t, g);
    look_up(f);
    return 0;
}
