/* The calls that handlers make on their request. */
#include "http/req.h"

#include <string.h>

#include "http/http_priv.h"

enum { EXTRA_FIRST = 255 }; /* bytes of header lines that most answers do with */

/* ---- reading ---- */

static ath_str none(void)
{
    return (ath_str){ "", 0 };
}

static ath_str pattern_of(const struct req *r)
{
    return r->match.route ? str_of(r->match.route->def.path) : none();
}

/* Texts of a request by their names. */
static const struct {
    const char *name;
    size_t at;
} known[] = {
    { "path", offsetof(struct req, path) },
    { "method", offsetof(struct req, method) },
    { "target", offsetof(struct req, target) },
    { "query", offsetof(struct req, query) },
    { "client", offsetof(struct req, client_name) },
    { "given_id", offsetof(struct req, given_id) },
    { "trace_id", offsetof(struct req, trace_id) },
    { "parent_id", offsetof(struct req, parent_id) },
    { "peer", offsetof(struct req, peer) },
};

/* What is no text of its own there. */
static ath_str info_other(ath_req *t, const struct req *r, const char *what)
{
    if (strcmp(what, "id") == 0)
        return str_from(r->id, UUID_TEXT - 1);
    if (strcmp(what, "span_id") == 0)
        return str_of(r->span_id);
    if (strcmp(what, "route") == 0)
        return pattern_of(r);
    if (strcmp(what, "label") == 0)
        return str_of(r->task.label);
    if (strcmp(what, "host") == 0)
        return req_header(t, "host");
    if (strcmp(what, "version") == 0)
        return r->minor ? ATH_S("1.1") : ATH_S("1.0");
    return none();
}

ath_str req_info(ath_req *t, const char *what)
{
    const struct req *r = req_of(t);
    ath_str found = { NULL, 0 };
    size_t i = 0;

    while (i < ATH_COUNT(known) && strcmp(known[i].name, what) != 0)
        i++;
    if (i < ATH_COUNT(known))
        memcpy(&found, (const char *)r + known[i].at, sizeof(found));
    else
        found = info_other(t, r, what);
    return found.p ? found : none();
}

static ath_str pair_find(const ath_pair *pair, uint32_t n, ath_str name)
{
    for (uint32_t i = 0; i < n; i++)
        if (str_eq(pair[i].name, name))
            return pair[i].value;
    return none();
}

ath_str req_find_among(const struct req *r, ath_str name)
{
    return pair_find(r->header, r->header_count, name);
}

ath_str req_header(ath_req *t, const char *name)
{
    return req_find(req_of(t), str_of(name));
}

/* The value of {name} of the route's own pattern. */
static bool path_param(const struct req *r, const char *name, ath_str *ret)
{
    ath_str rest = pattern_of(r), segment;
    uint32_t i = 0;

    while (str_next(&rest, '/', &segment)) {
        if (segment.n < 3 || segment.p[0] != '{')
            continue;
        segment = str_from(segment.p + 1, segment.n - 2);
        if (str_ends(segment, "..."))
            segment.n -= 3;
        if (str_is(segment, name)) {
            *ret = r->match.param[i];
            return true;
        }
        i++;
    }
    return false;
}

static const ath_pair *args_of(struct req *r)
{
    if (!r->args)
        args_decode(&r->task.arena, r->query, &r->args, &r->args_count);
    return r->args;
}

ath_str req_param(ath_req *t, const char *name)
{
    struct req *r = req_of(t);
    const ath_pair *args;
    ath_str found;

    if (r->match.route && path_param(r, name, &found))
        return found;
    args = args_of(r); /* which also counts them */
    return pair_find(args, r->args_count, str_of(name));
}

uint32_t req_pairs(ath_req *t, const char *where, const ath_pair **ret)
{
    struct req *r = req_of(t);
    ath_pair *form = NULL;
    uint32_t n = 0;

    if (strcmp(where, "header") == 0) {
        *ret = r->header;
        return r->header_count;
    }
    if (strcmp(where, "query") == 0) {
        *ret = args_of(r);
        return r->args_count;
    }
    if (strcmp(where, "form") == 0 &&
        str_starts(req_header(t, "content-type"), "application/x-www-form-urlencoded"))
        args_decode(&r->task.arena, r->body, &form, &n);
    *ret = form;
    return n;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static ath_str arg_decode(ath_arena *a, ath_str s)
{
    char *out = arena_raw(a, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        int hi = s.p[i] == '%' && i + 2 < s.n ? hex(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex(s.p[i + 2]) : -1;
        if (lo >= 0)
            i += 2;
        out[n++] = (char)(lo >= 0 ? hi << 4 | lo : s.p[i] == '+' ? ' ' : s.p[i]);
    }
    out[n] = 0;
    return (ath_str){ out, n };
}

void args_decode(ath_arena *a, ath_str text, ath_pair **ret, uint32_t *ret_n)
{
    uint32_t most = 1, n = 0;
    ath_str one;
    ath_pair *pair;

    for (size_t i = 0; i < text.n; i++)
        most += text.p[i] == '&';
    pair = arena_raw(a, most * sizeof(*pair));
    while (str_next(&text, '&', &one)) {
        size_t eq = str_find(one, '=');
        if (one.n == 0)
            continue;
        pair[n].name = arg_decode(a, str_from(one.p, eq));
        pair[n++].value = arg_decode(a, str_after(one, eq < one.n ? eq + 1 : eq));
    }
    *ret = pair;
    *ret_n = n;
}

ath_str req_body(ath_req *t)
{
    ath_str body = req_of(t)->body;

    return body.p ? body : none();
}

ath_stream *req_from(ath_req *t)
{
    return req_of(t)->from;
}

void req_who(ath_req *t, ath_who *ret)
{
    const ath_who *who = &req_of(t)->who;
    uint32_t size = ret->size && ret->size < sizeof(*who) ? ret->size : (uint32_t)sizeof(*who);

    memcpy(ret, who, size);
    ret->size = size;
}

/* ---- facts ---- */

static ath_fact *fact_at(struct req *r, ath_str key)
{
    for (uint32_t i = 0; i < r->fact_count; i++)
        if (str_eq(r->fact[i].key, key))
            return &r->fact[i];
    return NULL;
}

static ath_fact *fact_new(struct req *r)
{
    if (r->fact_count == r->fact_room) {
        uint32_t room = r->fact_room ? r->fact_room * 2 : 16;
        ath_fact *fact = arena_raw(&r->task.arena, room * sizeof(*fact));
        if (r->fact_count)
            memcpy(fact, r->fact, r->fact_count * sizeof(*fact));
        r->fact = fact;
        r->fact_room = room;
    }
    return &r->fact[r->fact_count++];
}

/* Key and value stand in one piece. */
void req_note(ath_req *t, const ath_fact *f)
{
    struct req *r = req_of(t);
    ath_fact *at = fact_at(r, f->key);
    size_t key_n = at ? 0 : f->key.n + 1;
    char *p = arena_raw(&r->task.arena, key_n + f->value.n + 1);

    *str_put(p + key_n, f->value) = 0;
    if (!at) {
        *str_put(p, f->key) = 0;
        at = fact_new(r);
        at->key = str_from(p, f->key.n);
    }
    at->value = str_from(p + key_n, f->value.n);
    at->form = f->form;
    at->pad = 0;
}

const ath_fact *req_fact(const struct req *r, const char *key)
{
    for (uint32_t i = 0; i < r->fact_count; i++)
        if (str_is(r->fact[i].key, key))
            return &r->fact[i];
    return NULL;
}

/* ---- the answer's head ---- */

/* Without the bytes that would end the line or worse. */
static char *put_value(char *at, ath_str value)
{
    if (!str_has_control(value))
        return str_put(at, value);
    for (size_t i = 0; i < value.n; i++)
        if (!str_has_control(str_from(value.p + i, 1)))
            *at++ = value.p[i];
    return at;
}

/* What the writer writes itself unless it was set. */
static void set_ours(struct exchange *x, ath_str rest, ath_str value)
{
    if (str_is(rest, "cached"))
        x->set |= SET_CACHED;
    else if (str_is(rest, "trace-id"))
        x->set |= SET_TRACE_ID;
    else if (str_is(rest, "cache-id"))
        x->set |= SET_CACHE_ID, x->cache_id = arena_str(&x->req.task.arena, value);
    else if (str_is(rest, "cache-key"))
        x->set |= SET_CACHE_KEY, x->cache_key = arena_str(&x->req.task.arena, value);
}

/* Names that the handler adds to ours. */
static void vary_by(struct exchange *x, ath_str names)
{
    ath_arena *a = &x->req.task.arena;

    x->set |= SET_VARY_BY;
    x->vary = str_has_control(names)
                  ? x->vary
                  : arena_printf(a, "%.*s, %.*s", STR_ARG(x->vary), STR_ARG(names));
}

/* What is nobody else's to set. */
static bool is_reserved(struct exchange *x, ath_str name, ath_str value)
{
    if (str_is(name, "content-encoding"))
        x->set |= SET_CODED;
    if (str_is(name, "vary")) {
        vary_by(x, value);
        return true;
    }
    if (str_is(name, "content-length")) {
        if (str_u64(value, &x->declared))
            x->set |= SET_LENGTH;
        return true;
    }
    return str_is(name, "date") || str_is(name, "server") || str_is(name, "connection") ||
           str_is(name, "transfer-encoding");
}

void req_set(ath_req *t, const char *z, ath_str value)
{
    struct req *r = req_of(t);
    ath_str name = str_of(z);
    char *at;

    if (!name_is_good(name) || (name.p[0] != 'x' && is_reserved(exchange_of(r), name, value)))
        return;
    if (str_starts(name, "x-athena-"))
        set_ours(exchange_of(r), str_after(name, 9), value);
    if (!r->extra.alloc) {
        r->extra = ARENA_BUF(&r->task.arena);
        buf_grow(&r->extra, EXTRA_FIRST);
    }
    at = str_put(buf_room(&r->extra, name.n + value.n + 4), name);
    at = put_value(str_put(at, ATH_S(": ")), value);
    buf_end(&r->extra, str_put(at, ATH_S("\r\n")));
}

/* ---- answering ---- */

static int may_answer(ath_task *t)
{
    struct req *r = req_of(t);

    if (r->task.loop != t->loop || r->answered)
        return ATH_E_BUG;
    return r->task.ended || r->task.gone ? ATH_E_CANCELED : 0;
}

static void answer(struct req *r, int status, const char *type)
{
    r->status = status;
    r->type = type ? arena_str(&r->task.arena, str_of(type)) : none();
    r->answered = true;
}

int req_reply(ath_req *t, int status, const char *type, ath_str body)
{
    struct req *r = req_of(t);
    int rc = may_answer(t);

    if (rc < 0)
        return rc;
    answer(r, status, type);
    r->reply = body;
    task_end(&r->task, 0, NULL, NULL);
    return 0;
}

static void on_sending(ath_stream *s, void *impl)
{
    struct req *r = impl;

    (void)s;
    if (r->conn)
        conn_answered(r->conn);
    else if (r->call)
        call_answered(r);
}

int req_send(ath_req *t, int status, const char *type, ath_stream *body)
{
    struct req *r = req_of(t);
    int rc = may_answer(t);

    if (rc < 0)
        return rc;
    answer(r, status, type);
    exchange_of(r)->set |= SET_STREAM;
    if (r->head || status == 204 || status == 304) {
        stream_drop(body);
        task_end(&r->task, 0, NULL, NULL);
        return 0;
    }
    if (t != &r->task) /* a fork's, which may end before its bytes have gone */
        stream_move(body, &r->task);
    r->sending = body;
    r->task.held = 1;
    r->mark[MARK_REPLY] = r->conn ? r->conn->hl->now_ns : 0;
    stream_consume(body, on_sending, r);
    if (r->conn)
        conn_answered(r->conn);
    else if (r->call)
        call_answered(r);
    return 0;
}
