/* Events as bytes and back.
 *
 *     body   of each event: kind (1), time (8), request id, trace id, message, values of the facts
 *     value  NONE | SAME | ID | LONG length (4) bytes NUL | SHORT + length, bytes NUL
 *            | DELTA prefix (2) suffix (2) length (2) bytes
 *     kinds  of each: count (4), level (4), flags (4), facts (4), name, source as values; of each
 *            fact: form (1), key as value
 *
 * SAME is the value before, ID the event's request id, DELTA the value before with another middle.
 * Before means: of the same fact in the last event of that kind; for the two ids, of any event,
 * since those of one request stand together.
 */
#include "log/pack.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "log/event.h"

enum { NONE, SAME, ID, LONG, DELTA, SHORT };
enum { SHORT_MOST = UINT8_MAX - SHORT, DELTA_LEAST = 48, CHUNK = 256 << 10 };
enum { AROUND = 8 }; /* bytes beside a value at most */

struct log_pack_kind {
    const ath_event *like; /* the first event of this kind */
    uint32_t count;
    ath_str *last; /* values before: the message, then the facts */
};

/* ---- kinds ---- */

static bool same_keys(const ath_event *a, const ath_event *b)
{
    if (a->flags & b->flags & ATH_EV_KEYS && a->fact_count && a->fact[0].key.p == b->fact[0].key.p)
        return true;
    for (uint32_t i = 0; i < a->fact_count; i++)
        if (a->fact[i].form != b->fact[i].form || !str_same(a->fact[i].key, b->fact[i].key))
            return false;
    return true;
}

static bool same_kind(const ath_event *a, const ath_event *b)
{
    return a->fact_count == b->fact_count && a->level == b->level && a->flags == b->flags &&
           str_same(a->name, b->name) && str_same(a->source, b->source) && same_keys(a, b);
}

static struct log_pack_kind *kind_of(struct log_pack *p, const ath_event *ev)
{
    struct log_pack_kind *k = p->kind;

    for (uint32_t i = 0; i < p->kind_count; i++, k++)
        if (same_kind(k->like, ev))
            return k;
    if (p->kind_count == PACK_KINDS)
        return NULL;
    k = &p->kind[p->kind_count++];
    *k = (struct log_pack_kind){ .like = ev };
    k->last = mem_new((1 + ev->fact_count) * sizeof(*k->last));
    return k;
}

/* ---- writing ---- */

static char *put_u32(char *at, uint32_t v)
{
    memcpy(at, &v, sizeof(v));
    return at + sizeof(v);
}

static char *put_u64(char *at, uint64_t v)
{
    memcpy(at, &v, sizeof(v));
    return at + sizeof(v);
}

static char *put_bytes(char *at, ath_str v)
{
    if (v.n <= SHORT_MOST) {
        *at++ = (char)(SHORT + v.n);
    } else {
        *at++ = LONG;
        at = put_u32(at, (uint32_t)v.n);
    }
    at = str_put(at, v);
    *at++ = 0;
    return at;
}

static char *put_u16(char *at, size_t v)
{
    uint16_t n = (uint16_t)v;

    memcpy(at, &n, sizeof(n));
    return at + sizeof(n);
}

/* How many of the first bytes are alike; of the last ones. At most `most`, and whole eights. */
static size_t alike_first(const char *a, const char *b, size_t most)
{
    size_t n = 0;

    while (n + 8 <= most && memcmp(a + n, b + n, 8) == 0)
        n += 8;
    return n;
}

static size_t alike_last(const char *a_end, const char *b_end, size_t most)
{
    size_t n = 0;

    while (n + 8 <= most && memcmp(a_end - n - 8, b_end - n - 8, 8) == 0)
        n += 8;
    return n;
}

/* NULL: too little of it is as before. */
static char *put_delta(char *at, ath_str v, ath_str last)
{
    size_t most = v.n < last.n ? v.n : last.n, prefix, suffix;

    if (most < DELTA_LEAST || v.n > UINT16_MAX || last.n > UINT16_MAX)
        return NULL;
    prefix = alike_first(v.p, last.p, most);
    suffix = alike_last(v.p + v.n, last.p + last.n, most - prefix);
    if (prefix + suffix < v.n / 4)
        return NULL;
    *at++ = DELTA;
    at = put_u16(at, prefix);
    at = put_u16(at, suffix);
    at = put_u16(at, v.n - prefix - suffix);
    return str_put(at, str_from(v.p + prefix, v.n - prefix - suffix));
}

/* Constants of the process, which are most of what is the same, are told by their address. */
static char *put_value(char *at, ath_str v, ath_str *last)
{
    ath_str before = *last;
    char *end;

    if (!v.p) {
        *at++ = NONE;
        return at;
    }
    if (v.n == before.n && before.p && (v.p == before.p || str_same(v, before))) {
        *at++ = SAME;
        return at;
    }
    *last = v;
    end = put_delta(at, v, before);
    return end ? end : put_bytes(at, v);
}

void log_pack_begin(struct log_pack *p)
{
    if (!p->kind)
        p->kind = mem_new(PACK_KINDS * sizeof(*p->kind));
    buf_reset(&p->body);
    buf_reset(&p->kinds);
    p->kind_count = p->events = 0;
    p->request_id = p->trace_id = (ath_str){ NULL, 0 };
}

static size_t room_for(const ath_event *ev)
{
    size_t n = 16 + ev->message.n + ev->request_id.n + ev->trace_id.n + 3 * AROUND;

    for (uint32_t i = 0; i < ev->fact_count; i++)
        n += ev->fact[i].value.n + AROUND;
    return n;
}

bool log_pack_add(struct log_pack *p, const ath_event *ev)
{
    struct log_pack_kind *k = p->body.n < PACK_MOST ? kind_of(p, ev) : NULL;
    char *at;

    if (!k)
        return false;
    at = buf_room(&p->body, room_for(ev));
    *at++ = (char)(k - p->kind);
    at = put_u64(at, ev->time_ns);
    at = put_value(at, ev->request_id, &p->request_id);
    at = put_value(at, ev->trace_id, &p->trace_id);
    at = put_value(at, ev->message, &k->last[0]);
    for (uint32_t i = 0; i < ev->fact_count; i++) {
        ath_str v = ev->fact[i].value;
        if (v.p && v.p == ev->request_id.p && v.n == ev->request_id.n)
            *at++ = ID;
        else
            at = put_value(at, v, &k->last[1 + i]);
    }
    buf_end(&p->body, at);
    k->count++;
    p->events++;
    return true;
}

static void put_kind(struct buf *b, const struct log_pack_kind *k)
{
    const ath_event *ev = k->like;
    size_t room = 16 + ev->name.n + ev->source.n + 2 * AROUND;
    char *at;

    for (uint32_t i = 0; i < ev->fact_count; i++)
        room += ev->fact[i].key.n + AROUND + 1;
    at = buf_room(b, room);
    at = put_u32(at, k->count);
    at = put_u32(at, ev->level);
    at = put_u32(at, ev->flags);
    at = put_u32(at, ev->fact_count);
    at = put_bytes(at, ev->name);
    at = put_bytes(at, ev->source);
    for (uint32_t i = 0; i < ev->fact_count; i++) {
        *at++ = (char)ev->fact[i].form;
        at = put_bytes(at, ev->fact[i].key);
    }
    buf_end(b, at);
}

void log_pack_end(struct log_pack *p)
{
    for (uint32_t i = 0; i < p->kind_count; i++) {
        put_kind(&p->kinds, &p->kind[i]);
        free(p->kind[i].last);
    }
    p->kind_count = 0;
}

void log_pack_free(struct log_pack *p)
{
    log_pack_end(p);
    buf_free(&p->body);
    buf_free(&p->kinds);
    free(p->kind);
    p->kind = NULL;
}

/* ---- reading ---- */

struct reader {
    const char *at, *end;
    ath_str id, request_id, trace_id; /* of the event in hand; of the one before */
    struct log_unpacked *texts;       /* NULL: no value can be a delta */
    bool bad;                         /* it ended too early, or holds what nobody writes */
};

static const char *take(struct reader *r, size_t n)
{
    const char *at = r->at;

    if (r->bad || (size_t)(r->end - r->at) < n) {
        r->bad = true;
        return NULL;
    }
    r->at += n;
    return at;
}

static uint64_t take_number(struct reader *r, size_t bytes)
{
    const char *at = take(r, bytes);
    uint64_t v = 0; /* as everywhere here: little-endian, or nothing */

    if (at)
        memcpy(&v, at, bytes);
    return v;
}

static inline uint8_t take_byte(struct reader *r)
{
    if (unlikely(r->at == r->end || r->bad)) {
        r->bad = true;
        return NONE;
    }
    return (uint8_t)*r->at++;
}

/* Room for a text that is put together; it goes with the next record. */
static char *text_room(struct log_unpacked *u, size_t n)
{
    struct log_pack_text *t = u->text;
    char *at;

    if (!t || t->room - t->used < n) {
        size_t room = n < CHUNK ? CHUNK : n;
        t = mem_resize(NULL, sizeof(*t) + room);
        *t = (struct log_pack_text){ .next = u->text, .room = room };
        u->text = t;
    }
    at = t->at + t->used;
    t->used += n;
    return at;
}

static void texts_free(struct log_unpacked *u)
{
    struct log_pack_text *t;

    while ((t = u->text)) {
        u->text = t->next;
        free(t);
    }
}

static ath_str bad(struct reader *r)
{
    r->bad = true;
    return (ath_str){ NULL, 0 };
}

static ath_str take_delta(struct reader *r, ath_str last)
{
    size_t prefix = take_number(r, 2), suffix = take_number(r, 2), n = take_number(r, 2);
    const char *middle = take(r, n);
    char *to, *at;

    if (!r->texts || !middle || prefix + suffix > last.n)
        return bad(r);
    to = text_room(r->texts, prefix + n + suffix + 1);
    at = str_put(to, str_from(last.p, prefix));
    at = str_put(at, str_from(middle, n));
    at = str_put(at, str_after(last, last.n - suffix));
    *at = 0;
    return str_from(to, (size_t)(at - to));
}

static ath_str take_value(struct reader *r, ath_str *last)
{
    uint8_t code = take_byte(r);
    const char *at;
    size_t n;

    if (code == NONE)
        return (ath_str){ NULL, 0 };
    if (code == SAME)
        return last->p ? *last : bad(r);
    if (code == ID)
        return r->id.p ? r->id : bad(r);
    if (code == DELTA)
        return *last = take_delta(r, *last);
    n = code == LONG ? take_number(r, 4) : (size_t)code - SHORT;
    at = take(r, n + 1);
    if (!at || at[n] != 0)
        return bad(r);
    return *last = str_from(at, n);
}

static ath_str take_text(struct reader *r)
{
    ath_str none = { NULL, 0 };

    return take_value(r, &none);
}

struct kinds { /* as they are read */
    ath_event event[PACK_KINDS];
    const ath_fact *fact[PACK_KINDS];
    ath_fact *made[PACK_KINDS]; /* for this record*/
    ath_str *last[PACK_KINDS];
    uint32_t n;
};

/* Kinds whose keys live as long as the process (ATH_EV_KEYS), so that sinks know them again by
 * their address. There are few: what would be more than KNOWN_MOST has keys of its record alone. */
enum { KNOWN_MOST = 64 };

struct known {
    struct known *next;
    ath_fact *fact;
    size_t n;
    char bytes[]; /* of the kind, but for the count; the keys point here */
};

static struct known *known;
static unsigned known_count;
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

static void facts_read(struct reader *r, ath_fact *fact, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        fact[i].form = take_byte(r);
        fact[i].key = take_text(r);
    }
}

/* The facts of a kind whose bytes, `facts_at` of them before its first fact, are whole; NULL: no
 * more can be known. With the lock. */
static const ath_fact *known_facts(ath_str bytes, size_t facts_at, uint32_t n)
{
    struct known *k = known;

    while (k && (k->n != bytes.n || memcmp(k->bytes, bytes.p, bytes.n) != 0))
        k = k->next;
    if (!k && known_count < KNOWN_MOST) {
        k = mem_resize(NULL, sizeof(*k) + bytes.n);
        *k = (struct known){ .next = known, .n = bytes.n };
        memcpy(k->bytes, bytes.p, bytes.n);
        k->fact = mem_new((n + 1) * sizeof(*k->fact));
        facts_read(&(struct reader){ .at = k->bytes + facts_at, .end = k->bytes + bytes.n },
                   k->fact, n);
        known = k;
        known_count++;
    }
    return k ? k->fact : NULL;
}

static void kind_read(struct reader *r, struct kinds *k)
{
    ath_event *ev = &k->event[k->n];
    const char *from, *facts;

    take_number(r, 4);
    from = r->at;
    *ev = (ath_event){ .size = sizeof(*ev) };
    ev->level = (uint32_t)take_number(r, 4);
    ev->flags = (uint32_t)take_number(r, 4);
    ev->fact_count = (uint32_t)take_number(r, 4);
    ev->name = take_text(r);
    ev->source = take_text(r);
    facts = r->at;
    r->bad |= ev->fact_count > EVENT_FACTS;
    if (r->bad)
        return;
    k->fact[k->n] = k->made[k->n] = mem_new((ev->fact_count + 1) * sizeof(ath_fact));
    k->last[k->n] = mem_new((1 + ev->fact_count) * sizeof(ath_str));
    k->n++;
    facts_read(r, k->made[k->n - 1], ev->fact_count);
    if (ev->flags & ATH_EV_KEYS && !r->bad) {
        const ath_fact *all;
        pthread_mutex_lock(&known_lock);
        all = known_facts(str_from(from, (size_t)(r->at - from)), (size_t)(facts - from),
                          ev->fact_count);
        pthread_mutex_unlock(&known_lock);
        k->fact[k->n - 1] = all ? all : k->fact[k->n - 1];
        ev->flags &= all ? ~0u : ~(uint32_t)ATH_EV_KEYS;
    }
}

static void kinds_read(struct kinds *k, struct reader *r)
{
    k->n = 0;
    while (!r->bad && r->at < r->end && k->n < PACK_KINDS)
        kind_read(r, k);
    r->bad |= r->at < r->end;
}

static void kinds_free(struct kinds *k)
{
    for (uint32_t i = 0; i < k->n; i++) {
        free(k->made[i]);
        free(k->last[i]);
    }
}

static ath_fact *fact_room(struct log_unpacked *u, size_t more)
{
    if (u->facts + more > u->fact_room) {
        u->fact_room = (u->facts + more) * 2;
        u->fact = mem_resize(u->fact, u->fact_room * sizeof(*u->fact));
    }
    return u->fact + u->facts;
}

static void event_read(struct log_unpacked *u, struct reader *r, const struct kinds *k)
{
    uint8_t kind = take_byte(r);
    ath_event *ev = &u->event[u->n];
    ath_str *last;
    ath_fact *fact;

    if (kind >= k->n) {
        r->bad = true;
        return;
    }
    last = k->last[kind];
    *ev = k->event[kind];
    ev->time_ns = take_number(r, 8);
    r->id = ev->request_id = take_value(r, &r->request_id);
    ev->trace_id = take_value(r, &r->trace_id);
    ev->message = take_value(r, &last[0]);
    fact = fact_room(u, ev->fact_count);
    for (uint32_t i = 0; i < ev->fact_count; i++) {
        fact[i] = k->fact[kind][i];
        fact[i].value = take_value(r, &last[1 + i]);
    }
    u->facts += ev->fact_count;
    u->n++;
}

static void event_room(struct log_unpacked *u, size_t more)
{
    if (u->n + more <= u->event_room)
        return;
    u->event_room = (u->n + more) * 2;
    u->event = mem_resize(u->event, u->event_room * sizeof(*u->event));
    u->view = mem_resize(u->view, u->event_room * sizeof(*u->view));
}

void log_unpack_begin(struct log_unpacked *u)
{
    texts_free(u);
    u->n = u->facts = 0;
}

bool log_unpack(struct log_unpacked *u, ath_str body, ath_str kinds, size_t events)
{
    struct reader of_kinds = { .at = kinds.p, .end = kinds.p + kinds.n };
    struct reader r = { .at = body.p, .end = body.p + body.n, .texts = u };
    struct kinds *k = MEM_NEW(struct kinds);
    size_t n = u->n, facts = u->facts;

    kinds_read(k, &of_kinds);
    r.bad = of_kinds.bad || events > body.n; /* each has some bytes */
    if (!r.bad)
        event_room(u, events);
    while (u->n < n + events && !r.bad)
        event_read(u, &r, k);
    kinds_free(k);
    free(k);
    if (!r.bad && r.at == r.end)
        return true;
    u->n = n;
    u->facts = facts;
    return false;
}

/* Only now, since the facts move while there are more of them. */
void log_unpack_end(struct log_unpacked *u)
{
    const ath_fact *fact = u->fact;

    for (size_t i = 0; i < u->n; i++) {
        u->view[i] = &u->event[i];
        u->event[i].fact = fact;
        fact += u->event[i].fact_count;
    }
}

void log_unpacked_free(struct log_unpacked *u)
{
    texts_free(u);
    free(u->event);
    free(u->view);
    free(u->fact);
    *u = (struct log_unpacked){ 0 };
}

void log_pack_count(ath_str kinds, void (*each)(void *arg, ath_str name, uint64_t n), void *arg)
{
    struct reader r = { .at = kinds.p, .end = kinds.p + kinds.n };

    while (!r.bad && r.at < r.end) {
        uint64_t n = take_number(&r, 4), facts;
        ath_str name;
        take(&r, 8);
        facts = take_number(&r, 4);
        name = take_text(&r);
        take_text(&r);
        for (uint64_t i = 0; i < facts && !r.bad; i++) {
            take_byte(&r);
            take_text(&r);
        }
        if (!r.bad)
            each(arg, name, n);
    }
}
