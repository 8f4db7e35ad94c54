/* The connection as a step machine:
 *
 *     waiting -> resolving -> connecting -> greeting -> ready
 *        ^___________|____________|____________|__________|      fail(): everything that waits is
 *                                                                 answered, a timer begins anew
 *
 * The socket lives in a link of its own, which outlives the connection until libuv has closed it.
 */
#include "db/redis.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"
#include "io/deadline.h"
#include "io/resolve.h"
#include "lib/buf.h"

enum {
    BACKOFF_MIN_MS = 100,
    QUEUE_MOST = 16 << 20,
    READ_ROOM = 64 << 10,
    RUN_TEXT = 64,
    GREETINGS = 3
};

enum redis_state { REDIS_WAITING, REDIS_RESOLVING, REDIS_CONNECTING, REDIS_GREETING, REDIS_READY };

struct link {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    uv_connect_t connect;
    struct redis *redis; /* NULL: it is being closed */
};

struct redis {
    ath_loop *loop;
    const struct redis_options *o;
    const struct redis_hooks *on;
    void *owner;
    enum redis_state state;
    struct link *link;
    struct resolve resolve;
    redisReader *reader;
    struct list asks; /* sent, in order */
    struct buf out;
    struct deferred flush;
    struct deadline limit; /* of connecting, or of the ask sent first */
    struct deadline retry;
    uint32_t fails;
    struct redis_ask greeting[GREETINGS];
    char run[RUN_TEXT];
    char in[READ_ROOM];
};

static void fail(struct redis *r, int rc, const char *why);

/* ---- replies ---- */

bool redis_is_error(const struct redisReply *v)
{
    return v->type == REDIS_REPLY_ERROR;
}

bool redis_is_text(const struct redisReply *v)
{
    return v->type == REDIS_REPLY_STRING;
}

ath_str redis_text(const struct redisReply *v)
{
    bool text = v->type == REDIS_REPLY_STRING || v->type == REDIS_REPLY_STATUS ||
                v->type == REDIS_REPLY_ERROR;

    return text ? str_from(v->str, (size_t)v->len) : (ath_str){ 0 };
}

uint64_t redis_number(const struct redisReply *v)
{
    return v->type == REDIS_REPLY_INTEGER && v->integer > 0 ? (uint64_t)v->integer : 0;
}

size_t redis_count(const struct redisReply *v)
{
    return v->type == REDIS_REPLY_ARRAY ? v->elements : 0;
}

const struct redisReply *redis_at(const struct redisReply *v, size_t i)
{
    return v->element[i];
}

/* ---- reading ---- */

static void watch_first(struct redis *r)
{
    struct list *node = list_first(&r->asks);

    if (node)
        deadline_set(r->loop, &r->limit,
                     list_entry(node, struct redis_ask, node)->sent_ms + r->o->command_ms);
    else
        deadline_clear(&r->limit);
}

/* False: the connection failed meanwhile. */
static bool answer(struct redis *r, redisReply *reply)
{
    struct list *node = list_pop(&r->asks);
    struct link *link = r->link;
    struct redis_ask *a;

    if (!node) {
        freeReplyObject(reply);
        fail(r, ATH_E_UPSTREAM, "an answer came that nobody had asked for");
        return false;
    }
    a = list_entry(node, struct redis_ask, node);
    a->done(a, reply, 0);
    freeReplyObject(reply);
    return r->link == link;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct redis *r = ((struct link *)s->data)->redis;
    void *reply = NULL;

    if (!r || n == 0)
        return;
    if (n < 0) {
        fail(r, ATH_E_UPSTREAM, n == UV_EOF ? "it closed the connection" : uv_strerror((int)n));
        return;
    }
    if (redisReaderFeed(r->reader, b->base, (size_t)n) != REDIS_OK) {
        fail(r, ATH_E_UPSTREAM, "out of memory");
        return;
    }
    for (;;) {
        if (redisReaderGetReply(r->reader, &reply) != REDIS_OK) {
            fail(r, ATH_E_UPSTREAM, "its answer is not of the protocol");
            return;
        }
        if (!reply)
            break;
        if (!answer(r, reply))
            return;
    }
    watch_first(r);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *ret)
{
    struct redis *r = ((struct link *)h->data)->redis;

    (void)size;
    *ret = r ? uv_buf_init(r->in, sizeof(r->in)) : uv_buf_init(NULL, 0);
}

/* ---- writing ---- */

struct write {
    uv_write_t req;
    struct buf text;
};

static void on_written(uv_write_t *req, int rc)
{
    struct write *w = (struct write *)req;

    (void)rc; /* a broken connection is read, too */
    buf_free(&w->text);
    free(w);
}

static void flush(void *arg)
{
    struct redis *r = arg;
    struct write *w;
    uv_buf_t b;

    if (!r->link || !r->out.n)
        return;
    w = MEM_NEW(struct write);
    w->text = r->out;
    r->out = BUF_HEAP;
    b = uv_buf_init(w->text.p, (unsigned)w->text.n);
    if (uv_write(&w->req, &r->link->stream, &b, 1, on_written) == 0)
        return;
    on_written(&w->req, UV_EPIPE);
    fail(r, ATH_E_UPSTREAM, "could not be written to");
}

static void put(struct redis *r, struct redis_ask *a, const ath_str *word, size_t n)
{
    buf_char(&r->out, '*');
    buf_u64(&r->out, n);
    for (size_t i = 0; i < n; i++) {
        buf_lit(&r->out, "\r\n$");
        buf_u64(&r->out, word[i].n);
        buf_lit(&r->out, "\r\n");
        buf_str(&r->out, word[i]);
    }
    buf_lit(&r->out, "\r\n");
    a->sent_ms = loop_now_ms(r->loop);
    if (list_empty(&r->asks))
        deadline_set(r->loop, &r->limit, a->sent_ms + r->o->command_ms);
    list_push(&r->asks, &a->node);
    loop_defer(r->loop, &r->flush);
}

int redis_send(struct redis *r, struct redis_ask *a, const ath_str *word, size_t n)
{
    if (r->state != REDIS_READY)
        return ATH_E_UPSTREAM;
    if (r->link->stream.write_queue_size + r->out.n > QUEUE_MOST)
        return ATH_E_LIMIT;
    put(r, a, word, n);
    return 0;
}

void redis_must_send(struct redis *r, struct redis_ask *a, const ath_str *word, size_t n)
{
    put(r, a, word, n);
}

/* ---- the end of a connection ---- */

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

static void link_close(struct redis *r)
{
    struct link *link = r->link;

    r->link = NULL;
    if (!link)
        return;
    link->redis = NULL;
    uv_close(&link->handle, on_closed);
}

static void let_go(struct redis *r, int rc)
{
    struct list asks, *node;

    resolve_cancel(&r->resolve);
    deadline_clear(&r->limit);
    deferred_cancel(&r->flush);
    link_close(r);
    redisReaderFree(r->reader);
    r->reader = redisReaderCreate();
    buf_free(&r->out);
    r->state = REDIS_WAITING;
    list_take(&asks, &r->asks);
    while ((node = list_pop(&asks))) {
        struct redis_ask *a = list_entry(node, struct redis_ask, node);
        a->done(a, NULL, rc);
    }
}

static uint64_t backoff_ms(const struct redis *r)
{
    uint64_t ms = BACKOFF_MIN_MS;

    for (uint32_t i = 1; i < r->fails && ms < r->o->backoff_ms; i++)
        ms *= 2;
    ms = ms < r->o->backoff_ms ? ms : r->o->backoff_ms;
    return ms / 2 + rand_u64() % (ms / 2 + 1);
}

static void fail(struct redis *r, int rc, const char *why)
{
    ath_err e;

    err_reset(&e);
    err_fail(&e, rc, "%s", why);
    let_go(r, rc);
    r->fails++;
    deadline_set(r->loop, &r->retry, loop_now_ms(r->loop) + backoff_ms(r));
    r->on->lost(r, rc, &e);
}

static void on_limit(struct deadline *d)
{
    fail(container_of(d, struct redis, limit), ATH_E_TIMEOUT, "it did not answer in time");
}

/* ---- greeting ---- */

static void take_run(struct redis *r, ath_str info)
{
    ath_str line;

    r->run[0] = 0;
    while (str_next(&info, '\n', &line))
        if (str_starts(line, "run_id:") && line.n - 7 < sizeof(r->run)) {
            line = str_trim(str_after(line, 7));
            *str_put(r->run, line) = 0;
        }
}

/* The last one is INFO, whatever came before it. */
static void greeted(struct redis_ask *a, const struct redisReply *reply, int rc)
{
    struct redis *r = a->arg;
    ath_str text;

    (void)rc;
    if (!reply)
        return;
    text = redis_text(reply);
    if (redis_is_error(reply)) {
        char why[128];
        snprintf(why, sizeof(why), "it refused the connection: %.*s", STR_ARG(text));
        fail(r, ATH_E_UPSTREAM, why);
        return;
    }
    if (!str_starts(text, "# Server") && !memmem(text.p, text.n, "run_id:", 7))
        return; /* +OK */
    take_run(r, text);
    if (!r->run[0]) {
        fail(r, ATH_E_UPSTREAM, "it does not say which run of the server it is");
        return;
    }
    r->fails = 0;
    r->state = REDIS_READY;
    r->on->ready(r);
}

static void greet(struct redis *r)
{
    const struct redis_options *o = r->o;
    ath_str word[3] = { ATH_S("AUTH"), str_of(o->user ? o->user : o->password),
                        str_of(o->password) };

    for (size_t i = 0; i < GREETINGS; i++)
        r->greeting[i] = (struct redis_ask){ .done = greeted, .arg = r };
    r->state = REDIS_GREETING;
    if (o->password)
        put(r, &r->greeting[0], word, o->user ? 3 : 2);
    if (strcmp(o->database, "0") != 0) {
        word[0] = ATH_S("SELECT");
        word[1] = str_of(o->database);
        put(r, &r->greeting[1], word, 2);
    }
    word[0] = ATH_S("INFO");
    word[1] = ATH_S("server");
    put(r, &r->greeting[2], word, 2);
}

/* ---- connecting ---- */

static void on_connected(uv_connect_t *req, int rc)
{
    struct link *link = req->data;
    struct redis *r = link->redis;

    if (!r)
        return;
    deadline_clear(&r->limit);
    if (rc == 0)
        rc = uv_read_start(&link->stream, on_alloc, on_read);
    if (rc == 0)
        greet(r);
    else
        fail(r, ATH_E_UPSTREAM, uv_strerror(rc));
}

static struct link *link_new(struct redis *r)
{
    struct link *link = MEM_NEW(struct link);

    link->redis = r;
    link->connect.data = link;
    r->link = link;
    r->state = REDIS_CONNECTING;
    deadline_set(r->loop, &r->limit, loop_now_ms(r->loop) + r->o->connect_ms);
    return link;
}

static void connect_tcp(struct redis *r, const union address *to)
{
    union address at = *to;
    struct link *link = link_new(r);
    int64_t port = 6379;
    int rc;

    str_i64(str_of(r->o->port), &port);
    if (at.any.sa_family == AF_INET6)
        at.v6.sin6_port = htons((uint16_t)port);
    else
        at.v4.sin_port = htons((uint16_t)port);
    rc = uv_tcp_init(&r->loop->uv, &link->tcp);
    link->handle.data = link;
    if (rc == 0)
        rc = uv_tcp_connect(&link->connect, &link->tcp, &at.any, on_connected);
    if (rc < 0) {
        fail(r, ATH_E_UPSTREAM, uv_strerror(rc));
        return;
    }
    uv_tcp_nodelay(&link->tcp, 1);
    uv_tcp_keepalive(&link->tcp, 1, 30);
}

static void connect_unix(struct redis *r)
{
    struct link *link = link_new(r);

    uv_pipe_init(&r->loop->uv, &link->pipe, 0);
    link->handle.data = link;
    uv_pipe_connect(&link->connect, &link->pipe, r->o->host, on_connected);
}

static void resolved(struct resolve *q, int rc, const struct addresses *a, const ath_err *e)
{
    struct redis *r = container_of(q, struct redis, resolve);

    if (rc < 0)
        fail(r, ATH_E_UPSTREAM, e->message);
    else
        connect_tcp(r, &a->at[r->fails % a->n]);
}

static void begin(struct redis *r)
{
    if (r->o->host[0] == '/') {
        connect_unix(r);
        return;
    }
    r->state = REDIS_RESOLVING;
    resolve_start(r->loop, &r->resolve, str_of(r->o->host));
}

static void on_retry(struct deadline *d)
{
    begin(container_of(d, struct redis, retry));
}

/* ---- life ---- */

struct redis *redis_open(ath_loop *l, const struct redis_options *o, const struct redis_hooks *on,
                         void *owner)
{
    struct redis *r = MEM_NEW(struct redis);

    r->loop = l;
    r->o = o;
    r->on = on;
    r->owner = owner;
    r->reader = redisReaderCreate();
    r->resolve.done = resolved;
    list_init(&r->resolve.node);
    list_init(&r->asks);
    deferred_init(&r->flush, flush, r);
    deadline_init(&r->limit, on_limit);
    deadline_init(&r->retry, on_retry);
    begin(r);
    return r;
}

void redis_close(struct redis *r)
{
    if (!r)
        return;
    let_go(r, ATH_E_CANCELED);
    deadline_clear(&r->retry);
    redisReaderFree(r->reader);
    free(r);
}

void redis_again(struct redis *r, const char *why)
{
    fail(r, ATH_E_UPSTREAM, why);
}

void *redis_owner(const struct redis *r)
{
    return r->owner;
}

bool redis_ready(const struct redis *r)
{
    return r->state == REDIS_READY;
}

const char *redis_run(const struct redis *r)
{
    return r->run;
}

/* ---- the URL ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %40 and the like decoded; NULL: malformed. */
static char *decoded(ath_str s)
{
    char *text = mem_dup_str(s), *to = text;

    for (size_t i = 0; i < s.n; i++) {
        int high = s.p[i] == '%' && i + 2 < s.n ? hex(s.p[i + 1]) : -1;
        int low = high >= 0 ? hex(s.p[i + 2]) : -1;
        if (s.p[i] == '%' && (low < 0 || high * 16 + low == 0)) {
            mem_freep(&text);
            return NULL;
        }
        *to++ = low >= 0 ? (char)(high * 16 + low) : s.p[i];
        i += low >= 0 ? 2 : 0;
    }
    *to = 0;
    return text;
}

static bool take_credentials(ath_str s, struct redis_options *o)
{
    size_t colon = str_find(s, ':');

    o->user = colon ? decoded(str_from(s.p, colon)) : NULL;
    o->password = colon < s.n ? decoded(str_after(s, colon + 1)) : NULL;
    return (!colon || o->user) && (colon == s.n || o->password);
}

static bool take_place(ath_str s, struct redis_options *o)
{
    size_t close = s.n && s.p[0] == '[' ? str_find(s, ']') : 0, colon;
    ath_str host = str_from(s.p + (close > 0), close ? close - 1 : 0), port = ATH_S("6379");
    int64_t n;

    if (close == s.n && close)
        return false;
    s = close ? str_after(s, close + 1) : s;
    colon = str_find(s, ':');
    if (!close)
        host = str_from(s.p, colon);
    if (colon < s.n)
        port = str_after(s, colon + 1);
    if (!host.n || !str_i64(port, &n) || n < 1 || n > 65535)
        return false;
    o->host = mem_dup_str(host);
    o->port = mem_dup_str(port);
    return true;
}

static int parse(ath_str s, struct redis_options *o, ath_err *e)
{
    ath_str place, database = ATH_S("0");
    size_t at = 0, slash;
    int64_t n;

    for (size_t i = 0; i < s.n; i++) /* the last one: a password may hold another */
        at = s.p[i] == '@' ? i + 1 : at;
    if (at && !take_credentials(str_from(s.p, at - 1), o))
        return err_fail(e, ATH_E_CONFIG, "its user or password is malformed");
    place = str_after(s, at);
    slash = str_find(place, '/');
    if (slash + 1 < place.n)
        database = str_after(place, slash + 1);
    if (!str_i64(database, &n) || n < 0 || n > 65535)
        return err_fail(e, ATH_E_CONFIG, "its database is no number");
    if (!take_place(str_from(place.p, slash), o))
        return err_fail(e, ATH_E_CONFIG, "its host or port is malformed");
    o->database = mem_dup_str(database);
    return 0;
}

int redis_options_parse(ath_str url, struct redis_options *ret, ath_err *e)
{
    int rc;

    *ret = (struct redis_options){ 0 };
    url = str_trim(url);
    if (str_starts(url, "rediss://"))
        return err_fail(e, ATH_E_CONFIG,
                        "Redis over TLS (rediss://) is not supported: put a TLS "
                        "tunnel in front of it, or use redis:// in a network that "
                        "is trusted");
    if (str_starts(url, "unix://")) {
        ret->host = mem_dup_str(str_after(url, 7));
        ret->port = mem_dup_z("");
        ret->database = mem_dup_z("0");
        return ret->host[0] == '/' ? 0
                                   : err_fail(e, ATH_E_CONFIG, "its path is not an absolute one");
    }
    if (!str_starts(url, "redis://"))
        return err_fail(e, ATH_E_CONFIG, "expected redis://host:port");
    if ((rc = parse(str_after(url, 8), ret, e)) < 0)
        redis_options_free(ret);
    return rc;
}

static void forget(char **secret)
{
    if (*secret)
        explicit_bzero(*secret, strlen(*secret));
    mem_freep(secret);
}

void redis_options_free(struct redis_options *o)
{
    mem_freep(&o->host);
    mem_freep(&o->port);
    mem_freep(&o->user);
    mem_freep(&o->database);
    forget(&o->password);
}
