/* What is added up beside the rows, in memory: one entry per client, table, connection, address.
 *
 * Only clients that the server knows have sums: a caller can make up any name. A key's memory is
 * its own, since an entry outlives the batch that it came from. */
#include "sink.h"

#include <stdlib.h>

/* ---- maps ---- */

static uint32_t key_hash(const ath_str *key, uint32_t keys)
{
    uint32_t h = 0;

    for (uint32_t i = 0; i < keys; i++)
        h = h * 31 + str_hash(key[i]);
    return h;
}

static bool same_key(const struct sum *s, const ath_str *key, uint32_t keys)
{
    for (uint32_t i = 0; i < keys; i++)
        if (!str_same(s->key[i], key[i]))
            return false;
    return true;
}

static ath_str copied(ath_str s)
{
    char *p = malloc(s.n + 1);

    if (!p)
        abort(); /* as everywhere */
    *str_put(p, s) = 0;
    return str_from(p, s.n);
}

static struct sum *sum_new(struct sum_map *m, uint32_t hash, const ath_str *key, uint32_t keys)
{
    struct sum *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    s->hash = hash;
    for (uint32_t i = 0; i < keys; i++)
        s->key[i] = copied(key[i]);
    s->next = m->bucket[hash % BUCKETS];
    m->bucket[hash % BUCKETS] = s;
    m->count++;
    return s;
}

/* One client, one connection comes many times in a row. */
struct sum *sum_at(struct sum_map *m, const ath_str *key, uint32_t keys)
{
    struct sum *s = m->recent;
    uint32_t hash;

    if (s && same_key(s, key, keys))
        return s;
    hash = key_hash(key, keys);
    s = m->bucket[hash % BUCKETS];
    while (s && (s->hash != hash || !same_key(s, key, keys)))
        s = s->next;
    if (!s && m->count == SUM_MOST) {
        m->lost++;
        return NULL;
    }
    return m->recent = s ? s : sum_new(m, hash, key, keys);
}

static void sum_free(struct sum *s)
{
    for (uint32_t i = 0; i < SUM_KEYS; i++)
        free((char *)(uintptr_t)s->key[i].p);
    for (uint32_t i = 0; i < SUM_TEXTS; i++)
        buf_free(&s->text[i]);
    free(s);
}

void sum_map_clear(struct sum_map *m)
{
    for (uint32_t i = 0; m->count && i < BUCKETS; i++)
        while (m->bucket[i]) {
            struct sum *s = m->bucket[i];
            m->bucket[i] = s->next;
            sum_free(s);
            m->count--;
        }
    m->recent = NULL;
    m->lost = 0;
}

void sums_free(struct sums *s)
{
    for (int i = 0; i < SUMS; i++)
        sum_map_clear(&s->map[i]);
    sum_map_clear(&s->seen);
}

void sums_move(struct sums *to, struct sums *from)
{
    for (int i = 0; i < SUMS; i++) {
        to->map[i] = from->map[i];
        from->map[i] = (struct sum_map){ .count = 0 };
    }
}

bool sums_any(const struct sums *s)
{
    for (int i = 0; i < SUMS; i++)
        if (s->map[i].count)
            return true;
    return false;
}

static int by_key(const void *a, const void *b)
{
    const struct sum *x = *(struct sum *const *)a, *y = *(struct sum *const *)b;
    int order = 0;

    for (uint32_t i = 0; order == 0 && i < SUM_KEYS; i++)
        order = str_cmp(x->key[i], y->key[i]);
    return order;
}

struct sum **sum_map_sorted(const struct sum_map *m, ath_arena *a)
{
    struct sum **all = ath_new(a, (m->count + 1) * sizeof(struct sum *));
    uint32_t n = 0;

    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct sum *s = m->bucket[i]; s; s = s->next)
            all[n++] = s;
    qsort(all, n, sizeof(struct sum *), by_key);
    return all;
}

/* ---- facts ---- */

/* Those that are read here. */
enum {
    F_REQUEST_ID,
    F_CLIENT,
    F_KNOWN,
    F_METHOD,
    F_PATH,
    F_STATUS,
    F_CACHED,
    F_ADDRESS,
    F_AGENT,
    F_URL,
    F_KEY,
    F_PUBLIC_ID,
    F_AUTHENTICATED,
    F_AUTHORIZED,
    F_TABLE,
    F_OPERATION,
    F_ERROR,
    F_DETAILS,
    FACTS
};

_Static_assert((int)FACTS == (int)SUM_FACTS, "a place for each");

static const char *const fact_name[FACTS] = {
    [F_REQUEST_ID] = "request_id",
    [F_CLIENT] = "client",
    [F_KNOWN] = "client_known",
    [F_METHOD] = "method",
    [F_PATH] = "path",
    [F_STATUS] = "status_code",
    [F_CACHED] = "cached",
    [F_ADDRESS] = "ipv4_address",
    [F_AGENT] = "user_agent",
    [F_URL] = "athena_url",
    [F_KEY] = "api_key_id",
    [F_PUBLIC_ID] = "presented_api_key_public_id",
    [F_AUTHENTICATED] = "api_key_authenticated",
    [F_AUTHORIZED] = "api_key_authorized",
    [F_TABLE] = "table_name",
    [F_OPERATION] = "operation",
    [F_ERROR] = "error",
    [F_DETAILS] = "details",
};

enum { NOWHERE = UINT8_MAX };

static void places_make(struct sum_places *p, const ath_event *ev)
{
    memset(p->at, NOWHERE, sizeof(p->at));
    for (uint32_t i = ev->fact_count < NOWHERE ? ev->fact_count : NOWHERE; i-- > 0;)
        for (int f = 0; f < FACTS; f++)
            if (str_is(ev->fact[i].key, fact_name[f]))
                p->at[f] = (uint8_t)i;
    p->first = ev->flags & ATH_EV_KEYS && ev->fact_count ? ev->fact[0].key.p : NULL;
    p->count = ev->fact_count;
}

/* An event and where its facts are: the same for all of its kind. */
struct reading {
    const ath_event *ev;
    const struct sum_places *at;
};

static struct reading reading_of(struct sum_places *p, const ath_event *ev)
{
    if (!p->first || p->count != ev->fact_count || p->first != ev->fact[0].key.p ||
        !(ev->flags & ATH_EV_KEYS))
        places_make(p, ev);
    return (struct reading){ ev, p };
}

static ath_str get(const struct reading *r, int fact)
{
    uint8_t at = r->at->at[fact];

    return at == NOWHERE ? (ath_str){ NULL, 0 } : r->ev->fact[at].value;
}

static bool is_true(const struct reading *r, int fact)
{
    return str_is(get(r, fact), "true");
}

static double seconds_of(const struct reading *r)
{
    return (double)r->ev->time_ns / 1e9;
}

/* ---- events ---- */

/* What a request came to. */
struct outcome {
    uint64_t status;
    bool cached;
    double at;
};

static void count_outcome(struct sum *s, const struct outcome *o)
{
    s->n[N_REQUESTS]++;
    s->n[N_GOOD] += o->status >= 200 && o->status < 400;
    s->n[N_BAD] += o->status >= 400;
    s->n[N_CACHED] += o->cached;
    s->request_s = o->at > s->request_s ? o->at : s->request_s;
}

/* What stands in its row is said by the last request of a batch. */
static void add_connection(struct sums *s, const struct reading *r, const struct outcome *o,
                           ath_str client, ath_str ip)
{
    ath_str public_id = get(r, F_PUBLIC_ID), id = get(r, F_KEY);
    ath_str key[] = { client, ip, get(r, F_URL),
                      public_id.n ? public_id
                      : id.n      ? id
                                  : ATH_S("ANON") };
    struct sum *c = sum_at(&s->map[SUM_REGISTRY], key, 4);

    if (!c)
        return;
    c->n[N_REQUESTS]++;
    c->n[N_GOOD] = o->status;
    c->request_s = o->at;
    if (!c->last) {
        c->told_next = s->told;
        s->told = c;
    }
    c->last = r->ev;
}

static void keep(struct buf *to, ath_str text)
{
    buf_reset(to);
    buf_str(to, str_from(text.p, text.n < 1024 ? text.n : 1024));
}

/* The batch goes, what is said of a connection stays. */
static void keep_connections(struct sums *s)
{
    static const uint8_t of[SUM_TEXTS] = {
        [X_PUBLIC_ID] = F_PUBLIC_ID,
        [X_KEY_ID] = F_KEY,
        [X_AUTHENTICATED] = F_AUTHENTICATED,
        [X_AUTHORIZED] = F_AUTHORIZED,
        [X_METHOD] = F_METHOD,
        [X_PATH] = F_PATH,
        [X_AGENT] = F_AGENT,
        [X_REQUEST_ID] = F_REQUEST_ID,
    };

    for (struct sum *c = s->told; c; c = c->told_next) {
        struct reading r = reading_of(&s->places[SUM_OF_REQUESTS], c->last);
        for (int i = 0; i < SUM_TEXTS; i++)
            keep(&c->text[i], get(&r, of[i]));
        c->last = NULL;
    }
    s->told = NULL;
}

static void add_request(struct sums *s, const ath_event *ev)
{
    struct reading r = reading_of(&s->places[SUM_OF_REQUESTS], ev);
    ath_str client = get(&r, F_CLIENT), ip = get(&r, F_ADDRESS);
    bool known = client.n && is_true(&r, F_KNOWN);
    struct outcome o = { .cached = is_true(&r, F_CACHED), .at = seconds_of(&r) };
    struct sum *c;

    str_u64(get(&r, F_STATUS), &o.status);
    if (known && (c = sum_at(&s->map[SUM_CLIENTS], &client, 1)))
        count_outcome(c, &o);
    if (known)
        add_connection(s, &r, &o, client, ip);
    if (ip.n == 0 || str_is(ip, "NOT_FOUND"))
        return;
    if ((c = sum_at(&s->map[SUM_ADDRESSES], &ip, 1)))
        count_outcome(c, &o);
}

/* A table that does not exist is a name that the caller made up. */
static bool table_counts(const struct reading *r, ath_str table, bool failed)
{
    static const char made_up[] = "\"error_code\":\"undefined_table\"";
    ath_str details = failed && table.n ? get(r, F_DETAILS) : ATH_S("");

    return table.n && !memmem(details.p, details.n, made_up, sizeof(made_up) - 1);
}

static void add_operation(struct sums *s, const ath_event *ev)
{
    struct reading r = reading_of(&s->places[SUM_OF_OPERATIONS], ev);
    ath_str client = get(&r, F_CLIENT), table = get(&r, F_TABLE);
    ath_str key[] = { client, table, get(&r, F_OPERATION) };
    bool failed = is_true(&r, F_ERROR);
    double at = seconds_of(&r);
    struct sum *c;

    if (client.n == 0 || !is_true(&r, F_KNOWN))
        return;
    if ((c = sum_at(&s->map[SUM_CLIENTS], &client, 1))) {
        c->n[N_OPERATIONS]++;
        c->operation_s = at > c->operation_s ? at : c->operation_s;
    }
    if (!table_counts(&r, table, failed) || !(c = sum_at(&s->map[SUM_TABLES], key, 3)))
        return;
    c->n[N_TABLE_OPERATIONS]++;
    c->n[N_TABLE_ERRORS] += failed;
    c->operation_s = at > c->operation_s ? at : c->operation_s;
}

void sums_add(struct sums *s, const ath_event *const *batch, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(batch[i]->name, "gateway_request"))
            add_request(s, batch[i]);
        else if (str_is(batch[i]->name, "gateway_operation"))
            add_operation(s, batch[i]);
    keep_connections(s);
}
