/* The calls that handlers make on their request. */
#include "http/req.h"

#include <string.h>

#include "http/http_priv.h"

/* ---- reading ---- */

static ath_str none(void)
{
    return (ath_str){ "", 0 };
}

static ath_str pattern_of(const struct req *r)
{
    return r->match.route ? str_of(r->match.route->def.path) : none();
}

ath_str req_info(ath_req *t, const char *what)
{
    const struct req *r = req_of(t);
    const struct {
        const char *name;
        ath_str value;
    } known[] = {
        { "path", r->path },
        { "method", r->method },
        { "target", r->target },
        { "query", r->query },
        { "id", str_of(r->id) },
        { "client", r->client_name },
        { "given_id", r->given_id },
        { "trace_id", r->trace_id },
        { "span_id", str_of(r->span_id) },
        { "parent_id", r->parent_id },
        { "peer", r->peer },
        { "route", pattern_of(r) },
        { "label", str_of(r->task.label) },
        { "host", req_header(t, "host") },
        { "version", r->minor ? ATH_S("1.1") : ATH_S("1.0") },
    };

    for (size_t i = 0; i < ATH_COUNT(known); i++)
        if (strcmp(known[i].name, what) == 0)
            return known[i].value.p ? known[i].value : none();
    return none();
}

static ath_str pair_find(const ath_pair *pair, uint32_t n, const char *name)
{
    size_t length = strlen(name);

    for (uint32_t i = 0; i < n; i++)
        if (pair[i].name.n == length && memcmp(pair[i].name.p, name, length) == 0)
            return pair[i].value;
    return none();
}

ath_str req_header(ath_req *t, const char *name)
{
    const struct req *r = req_of(t);

    return pair_find(r->header, r->header_count, name);
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
    return pair_find(args, r->args_count, name);
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

static ath_fact *fact_new(struct req *r, ath_str key)
{
    if (r->fact_count == r->fact_room) {
        uint32_t room = r->fact_room ? r->fact_room * 2 : 16;
        ath_fact *fact = arena_raw(&r->task.arena, room * sizeof(*fact));
        if (r->fact_count)
            memcpy(fact, r->fact, r->fact_count * sizeof(*fact));
        r->fact = fact;
        r->fact_room = room;
    }
    r->fact[r->fact_count].key = arena_str(&r->task.arena, key);
    return &r->fact[r->fact_count++];
}

void req_note(ath_req *t, const ath_fact *f)
{
    struct req *r = req_of(t);
    ath_fact *at = fact_at(r, f->key);

    if (!at)
        at = fact_new(r, f->key);
    at->value = arena_str(&r->task.arena, f->value);
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

static bool is_name(ath_str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] == ':' || name.p[i] > 0x7E ||
            (name.p[i] >= 'A' && name.p[i] <= 'Z'))
            return false;
    return name.n > 0;
}

/* Without the bytes that would end the line or worse. */
static void put_value(struct buf *b, ath_str value)
{
    if (!str_has_control(value)) {
        buf_str(b, value);
        return;
    }
    for (size_t i = 0; i < value.n; i++)
        if (!str_has_control(str_from(value.p + i, 1)))
            buf_char(b, value.p[i]);
}

/* What the writer itself writes: remembered there, or nobody else's to set. */
static bool is_special(struct exchange *x, ath_str name, ath_str value)
{
    static const char *const ours[] = { "connection", "transfer-encoding", "date", "server",
                                        "vary" };

    if (str_starts(name, "x-athena-")) {
        ath_str rest = str_after(name, 9);
        if (str_is(rest, "cached"))
            x->set |= SET_CACHED;
        else if (str_is(rest, "trace-id"))
            x->set |= SET_TRACE_ID;
        else if (str_is(rest, "cache-id"))
            x->set |= SET_CACHE_ID, x->cache_id = arena_str(&x->req.task.arena, value);
        else if (str_is(rest, "cache-key"))
            x->set |= SET_CACHE_KEY, x->cache_key = arena_str(&x->req.task.arena, value);
        return false;
    }
    if (str_is(name, "content-length")) {
        if (str_u64(value, &x->declared))
            x->set |= SET_LENGTH;
        return true;
    }
    for (size_t i = 0; i < ATH_COUNT(ours); i++)
        if (str_is(name, ours[i]))
            return true;
    return false;
}

void req_set(ath_req *t, const char *z, ath_str value)
{
    struct req *r = req_of(t);
    ath_str name = str_of(z);

    if (!is_name(name) || is_special(exchange_of(r), name, value))
        return;
    if (!r->extra.alloc)
        r->extra = ARENA_BUF(&r->task.arena);
    buf_grow(&r->extra, name.n + value.n + 4);
    buf_str(&r->extra, name);
    buf_lit(&r->extra, ": ");
    put_value(&r->extra, value);
    buf_lit(&r->extra, "\r\n");
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
}

int req_send(ath_req *t, int status, const char *type, ath_stream *body)
{
    struct req *r = req_of(t);
    int rc = may_answer(t);

    if (rc < 0)
        return rc;
    answer(r, status, type);
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
    return 0;
}
