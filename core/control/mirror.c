/* One mirror: is it there (/ping), what does it say of itself (its base page), how fast does it
 * send
 * (/openapi.yaml)? One step after the other, each within what is left of the mirror's time.
 *
 * Only 2xx counts, and of the document no more than its first part is read: a probe is no download.
 */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "control/probe_priv.h"
#include "http/client.h"
#include "io/stream.h"
#include "lib/json.h"
#include "lib/jsonread.h"

enum {
    PING_MS = 3000,
    BASE_MS = 4000,
    DOCUMENT_MS = 5000,
    BASE_BYTES = 1 << 20,
    BASE_VALUES = 20000,
    DOCUMENT_BYTES = 64 * 1024,
    TEXT = 256 /* bytes of a text of the mirror's that are shown */
};

struct look {
    struct mirror *m;
    void (*done)(struct mirror *m);
    uint64_t until_ms, begun_ns;
    ath_str base; /* without its last slashes */
    const struct json *page;
    ath_stream *from; /* the document */
    uint64_t bytes;
};

static bool is_good(const ath_done *d)
{
    return d->rc == 0 && d->status >= 200 && d->status < 300;
}

static double seconds_since(uint64_t ns)
{
    double s = (double)(clock_ns() - ns) / 1e9;

    return s < 0.001 ? 0.001 : s;
}

/* 0: begun; else there is nothing to be had: no time, or what is no URL. */
static int get(ath_task *t, struct look *k, ath_fetch *f, uint32_t most_ms, ath_then *then,
               ath_err *e)
{
    uint64_t now = loop_now_ms(t->loop), left = k->until_ms > now ? k->until_ms - now : 0;

    if (left == 0)
        return ATH_E_TIMEOUT;
    f->size = sizeof(*f);
    f->flags |= ATH_HTTP_FOLLOW;
    f->timeout_ms = left < most_ms ? (uint32_t)left : most_ms;
    k->begun_ns = clock_ns();
    return client_fetch(t, f, then, k, e);
}

/* ---- what it says ---- */

static const char *const capability[] = { "pg_dump",          "pg_restore",     "s3cmd",
                                          "s3_access",        "backup_create",  "backup_restore",
                                          "openapi_download", "management_api", "gateway_fetch" };
enum { DECODED = 6, OPENAPI = 6, MANAGEMENT, FETCH };

static void put_capability(struct buf *b, const char *name, bool available, ath_str detail)
{
    buf_json_key(b, name);
    buf_lit(b, "{");
    buf_json_bool(b, "available", available);
    buf_json_str(b, "detail", detail);
    buf_lit(b, "}");
}

static ath_str cut(ath_str s)
{
    size_t n = s.n < TEXT ? s.n : TEXT;

    while (n < s.n && n > 0 && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n--; /* not within a character */
    return str_from(s.p, n);
}

static bool is_capability(const struct json *v)
{
    const struct json *available = json_get(v, "available"), *detail = json_get(v, "detail");

    return available && (available->type == JSON_TRUE || available->type == JSON_FALSE) && detail &&
           detail->type == JSON_STRING;
}

static bool decodes(const struct json *o)
{
    for (size_t i = 0; i < ATH_COUNT(capability); i++)
        if (!is_capability(json_get(o, capability[i])))
            return false;
    return !json_given(o, "deadpool_experimental") ||
           is_capability(json_get(o, "deadpool_experimental"));
}

static bool has_method(const struct json *route, const char *method)
{
    const struct json *list = json_get(route, "methods");

    if (!list || list->type != JSON_ARRAY)
        return false;
    json_each(v, list) if (str_ieq(json_text(v), str_of(method))) return true;
    return false;
}

static bool advertises(const struct json *routes, const char *path, const char *method)
{
    json_each(v, routes) if (str_is(json_text(json_get(v, "path")), path) &&
                             has_method(v, method)) return true;
    return false;
}

static void put_route(struct buf *b, const struct json *page, const char *name, const char *path,
                      const char *method)
{
    const struct json *routes = json_get(page, "routes");
    struct buf detail = BUF_HEAP;
    bool there = false;

    if (routes && routes->type == JSON_ARRAY) {
        there = advertises(routes, path, method);
        buf_printf(&detail, "Route %s (%s) is %sadvertised", path, method, there ? "" : "not ");
    } else {
        buf_lit(&detail, "Mirror did not include routes metadata");
    }
    put_capability(b, name, there, buf_view(&detail));
    buf_free(&detail);
}

static void put_decoded(struct buf *b, const struct json *said)
{
    for (size_t i = 0; i < DECODED; i++) {
        const struct json *v = json_get(said, capability[i]);
        put_capability(b, capability[i], json_get(v, "available")->type == JSON_TRUE,
                       cut(json_text(json_get(v, "detail"))));
    }
}

static ath_str capabilities_of(ath_task *t, const struct look *k)
{
    const struct json *said = k->m->online ? json_given(k->page, "capabilities") : NULL;
    const struct json *deadpool;
    struct buf b = ARENA_BUF(&t->arena);
    ath_str why =
        k->m->online ? ATH_S("capabilities not reported by mirror") : ATH_S("mirror offline");
    bool downloads = k->m->bytes_per_s >= 0;

    if (said && !decodes(said))
        said = NULL;
    buf_lit(&b, "{");
    for (size_t i = 0; !said && i < DECODED; i++)
        put_capability(&b, capability[i], false, why);
    if (said)
        put_decoded(&b, said);
    put_capability(&b, capability[OPENAPI], downloads,
                   downloads ? ATH_S("Downloaded /openapi.yaml successfully")
                             : ATH_S("Failed to download /openapi.yaml"));
    put_route(&b, k->m->online ? k->page : NULL, capability[MANAGEMENT], "/management/capabilities",
              "GET");
    put_route(&b, k->m->online ? k->page : NULL, capability[FETCH], "/gateway/fetch", "POST");
    deadpool = json_given(said, "deadpool_experimental");
    if (deadpool)
        put_capability(&b, "deadpool_experimental",
                       json_get(deadpool, "available")->type == JSON_TRUE,
                       cut(json_text(json_get(deadpool, "detail"))));
    else
        buf_lit(&b, ",\"deadpool_experimental\":null");
    buf_lit(&b, "}");
    return buf_view(&b);
}

static int finish(ath_task *t, struct look *k)
{
    k->m->capabilities = capabilities_of(t, k);
    k->done(k->m);
    return 0;
}

/* ---- the document ---- */

static int on_piece(ath_task *t, const ath_done *d, ath_err *e)
{
    struct look *k = d->arg;

    k->bytes += d->rc == 0 ? d->bytes.n : 0;
    if (d->rc == 0 && d->bytes.n && k->bytes < DOCUMENT_BYTES)
        return stream_read(t, k->from, on_piece, k, e);
    stream_close(k->from, 0);
    if (d->rc == 0 && k->bytes)
        k->m->bytes_per_s = (double)k->bytes / seconds_since(k->begun_ns);
    return finish(t, k);
}

static int on_document(ath_task *t, const ath_done *d, ath_err *e)
{
    struct look *k = d->arg;

    if (is_good(d) && d->stream) {
        k->from = d->stream;
        return stream_read(t, d->stream, on_piece, k, e);
    }
    if (d->stream)
        stream_close(d->stream, 0);
    return finish(t, k);
}

static int ask_document(ath_task *t, struct look *k, ath_err *e)
{
    static const ath_pair part = { { "range", 5 }, { "bytes=0-65535", 13 } };
    ath_fetch f = { .flags = ATH_HTTP_STREAM,
                    .header = &part,
                    .header_count = 1,
                    .url = arena_printf(&t->arena, "%.*s/openapi.yaml", STR_ARG(k->base)) };

    if (get(t, k, &f, DOCUMENT_MS, on_document, e) == 0)
        return 0;
    err_reset(e);
    return finish(t, k);
}

/* ---- the base page ---- */

static void take_page(ath_task *t, struct look *k, ath_str text)
{
    struct json_memory mem = { .alloc = arena_raw, .arena = &t->arena };
    struct json_error why;
    const struct json *v;

    k->page = json_read(arena_str(&t->arena, text), mem, BASE_VALUES, &why);
    if (!k->page)
        return;
    k->m->online = true;
    v = json_get(k->page, "cargo_toml_version");
    k->m->version = cut(json_text(v && v->type == JSON_STRING ? v : json_get(k->page, "version")));
    k->m->message = cut(json_text(json_get(k->page, "message")));
}

static int on_page(ath_task *t, const ath_done *d, ath_err *e)
{
    struct look *k = d->arg;

    if (is_good(d))
        take_page(t, k, d->bytes);
    return ask_document(t, k, e);
}

static int on_ping(ath_task *t, const ath_done *d, ath_err *e)
{
    struct look *k = d->arg;
    ath_fetch f = { .url = str_of(k->m->url), .max_body = BASE_BYTES };

    if (is_good(d)) {
        k->m->latency_ms = (double)(clock_ns() - k->begun_ns) / 1e6;
        if (get(t, k, &f, BASE_MS, on_page, e) == 0)
            return 0;
        err_reset(e);
    }
    return finish(t, k);
}

int mirror_probe(ath_task *t, struct mirror *m, uint64_t until_ms, void (*done)(struct mirror *m),
                 ath_err *e)
{
    struct look *k = ARENA_NEW(&t->arena, struct look);
    ath_fetch f = { 0 };

    *k = (struct look){ .m = m, .done = done, .until_ms = until_ms, .base = str_of(m->url) };
    while (k->base.n && k->base.p[k->base.n - 1] == '/')
        k->base.n--;
    m->online = false;
    m->latency_ms = m->bytes_per_s = -1;
    f.url = arena_printf(&t->arena, "%.*s/ping", STR_ARG(k->base));
    if (get(t, k, &f, PING_MS, on_ping, e) == 0)
        return 0;
    m->capabilities = capabilities_of(t, k);
    return ATH_E_UPSTREAM;
}

static void put_text(struct buf *b, const char *key, ath_str s)
{
    buf_json_key(b, key);
    if (s.n)
        buf_json(b, s);
    else
        buf_lit(b, "null");
}

static void put_figure(struct buf *b, const char *key, double v)
{
    buf_json_key(b, key);
    if (v >= 0)
        put_number(b, v);
    else
        buf_lit(b, "null");
}

/* Whoever may ask for the health of a cluster learns no password. */
char *mirror_shown(const char *url)
{
    const char *at = strstr(url, "://"), *end, *user = NULL;
    struct buf b = BUF_HEAP;

    at = at ? at + 3 : url;
    end = at + strcspn(at, "/?#");
    for (const char *p = at; p < end; p++)
        user = *p == '@' ? p + 1 : user;
    buf_mem(&b, url, (size_t)(at - url));
    buf_z(&b, user ? user : at);
    return b.p;
}

void mirror_json(struct buf *b, const struct mirror *m)
{
    ATH_CLEANUP(mem_freep) char *shown = mirror_shown(m->url);

    buf_lit(b, "{");
    buf_json_str(b, "url", str_of(shown));
    buf_json_str(b, "status", m->online ? ATH_S("online") : ATH_S("offline"));
    put_figure(b, "latency_ms", m->latency_ms);
    put_figure(b, "download_bytes_per_sec", m->bytes_per_s);
    put_text(b, "cargo_toml_version", m->version);
    put_text(b, "message", m->message);
    buf_json_key(b, "capabilities");
    buf_str(b, m->capabilities);
    buf_lit(b, "}");
}
