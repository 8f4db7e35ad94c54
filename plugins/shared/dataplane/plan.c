/* Plans: what bodies of one template become, kept per loop.
 *
 * A body is read, bound and built in full the first times. Then its template is kept: its bytes,
 * with holes where values stand that became parameters as they are.
 *
 *     {"table_name":"items","conditions":[{"eq_column":"id","eq_value":5}]}
 *                                                                      ^ a hole
 *
 * The next body whose other bytes are the same, with a value of the same kind in each hole, has the
 * same statement; only the parameters differ. That is so because nothing but their kind is looked
 * at on the way from such a value to its parameter; where more is (dp.fixed), no plan is kept. A
 * value with an escape, a control character or invalid UTF-8 matches no hole.
 *
 * Plans belong to a client, a version of its catalogue and the switches that reading depends on.
 * They hold nothing of any of them (the snapshot's address is only compared). Kept is what is seen
 * a second time, up to PLANS, the oldest of a bucket goes first; a request holds the plan that it
 * uses.
 */
#include "dataplane/dataplane.h"

#include "lib/json.h"

enum { BUCKETS = 256, WAYS = 4, SEEN = 1024, LONGEST_BODY = 4096, LONGEST_SQL = 16384 };

struct dp_plans {
    struct dp_plan *way[BUCKETS][WAYS];
    uint8_t oldest[BUCKETS];
    uint64_t seen[SEEN]; /* templates that came once */
};

struct dp_plans *dp_plans_new(void)
{
    return calloc(1, sizeof(struct dp_plans));
}

void dp_plan_drop(void *plan)
{
    struct dp_plan *p = plan;

    if (p && --p->refs == 0)
        free(p);
}

void dp_plans_free(struct dp_plans *p)
{
    if (!p)
        return;
    for (size_t b = 0; b < BUCKETS; b++)
        for (size_t w = 0; w < WAYS; w++)
            dp_plan_drop(p->way[b][w]);
    free(p);
}

/* By the body's start, which nearly always is the first key and a table's name; where a value
 * stands there, a template has several plans. */
static uint32_t bucket_of(ath_str body)
{
    return str_hash(str_from(body.p, body.n < 24 ? body.n : 24)) % BUCKETS;
}

/* ---- matching ---- */

/* The string from `p` to its closing quote; NULL: it has none, or needs decoding. */
static const char *string_end(const char *p, const char *end)
{
    const char *from = p;
    unsigned char all = 0;

    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
        all |= (unsigned char)*p++;
    if (p == end || *p != '"' || (all >= 0x80 && !str_utf8(str_from(from, (size_t)(p - from)))))
        return NULL;
    return p;
}

static const char *digits_end(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* The end of an integer without exponent or fraction, the only numbers that are holes. */
static const char *number_end(const char *p, const char *end)
{
    const char *from;

    p += p < end && *p == '-';
    from = p;
    p = digits_end(p, end);
    return p == from || (*from == '0' && p - from > 1) ? NULL : p;
}

static bool matches(const struct dp_plan *plan, ath_str body, ath_str hole[DP_FEW])
{
    const char *p = body.p, *end = body.p + body.n, *literal = plan->body.p, *stop;
    uint32_t from = 0;

    for (uint32_t i = 0; i <= plan->holes; i++) {
        uint32_t to = i < plan->holes ? plan->hole[i].at : (uint32_t)plan->body.n;
        if ((size_t)(end - p) < to - from || memcmp(p, literal + from, to - from) != 0)
            return false;
        p += to - from;
        if (i == plan->holes)
            return p == end;
        stop = plan->hole[i].text ? string_end(p, end) : number_end(p, end);
        if (!stop)
            return false;
        hole[i] = str_from(p, (size_t)(stop - p));
        from = to + plan->hole[i].n;
        p = stop;
    }
    return false;
}

static bool belongs(const struct dp_plan *p, const struct dp_plan_key *key)
{
    return p->snapshot == key->snapshot && p->version == key->version &&
           p->max_rows == key->max_rows && p->fold == key->fold &&
           str_eq(str_from(p->client, p->client_n), key->client);
}

struct dp_plan *dp_plan_find(struct dp_plans *plans, const struct dp_plan_key *key, ath_str body,
                             ath_str hole[DP_FEW])
{
    struct dp_plan **way = plans->way[bucket_of(body)];

    for (size_t w = 0; w < WAYS; w++)
        if (way[w] && matches(way[w], body, hole) && belongs(way[w], key)) {
            way[w]->refs++;
            return way[w];
        }
    return NULL;
}

void dp_plan_use(const struct dp_plan *plan, const ath_str hole[DP_FEW], struct dp_fetch *f,
                 struct dp_query *q)
{
    memset(f, 0, sizeof(*f));
    f->strip_nulls = plan->strip_nulls;
    f->count = plan->count;
    f->head = plan->head;
    f->in_pieces = plan->in_pieces;
    f->keys = plan->keys.n ? &plan->keys : NULL;
    q->rows = plan->rows;
    q->counted = plan->counted;
    q->stmt_count = 1;
    q->sql.param = q->sql.few_param;
    q->sql.type = q->sql.few_type;
    q->sql.count = plan->params;
    memcpy(q->sql.few_param, plan->param, plan->params * sizeof(ath_str));
    memcpy(q->sql.few_type, plan->type, plan->params * sizeof(uint32_t));
    for (uint32_t i = 0; i < plan->holes; i++)
        q->sql.param[plan->hole[i].param] = hole[i];
    q->stmt[0] = (ath_stmt){ .sql = plan->sql,
                             .param = q->sql.param,
                             .type = q->sql.type,
                             .param_count = q->sql.count,
                             .flags = ATH_PG_READ };
}

/* ---- keeping ---- */

/* Does this parameter stand in the body as a whole value? Then it is a hole. */
static bool hole_of(ath_str body, ath_str param, struct dp_hole *ret)
{
    size_t at = (size_t)(param.p - body.p);
    char before, behind;

    if (!param.p || param.p <= body.p || at + param.n >= body.n)
        return false;
    before = param.p[-1];
    behind = param.p[param.n];
    ret->at = (uint32_t)at;
    ret->n = (uint32_t)param.n;
    ret->text = before == '"';
    if (ret->text)
        return behind == '"' && string_end(param.p, body.p + body.n) == param.p + param.n;
    return (before == ':' || before == ',' || before == '[' || before == ' ') &&
           number_end(param.p, body.p + body.n) == param.p + param.n &&
           (behind == ',' || behind == '}' || behind == ']' || behind == ' ');
}

static uint32_t holes_of(const struct dp_query *q, ath_str body, struct dp_hole hole[DP_FEW])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < q->sql.count; i++) {
        uint32_t at = n;
        struct dp_hole h = { .param = i };
        if (!hole_of(body, q->sql.param[i], &h))
            continue;
        for (; at > 0 && hole[at - 1].at > h.at; at--) /* in the body's order */
            hole[at] = hole[at - 1];
        hole[at] = h;
        n++;
    }
    return n;
}

/* One value twice in the statement would be one hole for two parameters. */
static bool overlap(const struct dp_hole *hole, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (hole[i].at <= hole[i - 1].at + hole[i - 1].n)
            return true;
    return false;
}

static bool seen_before(struct dp_plans *plans, ath_str body, const struct dp_hole *hole,
                        uint32_t n)
{
    uint64_t h = 0xcbf29ce484222325ull, *slot;
    size_t from = 0;

    for (uint32_t i = 0; i <= n; i++) {
        size_t to = i < n ? hole[i].at : body.n;
        for (size_t at = from; at < to; at++)
            h = (h ^ (unsigned char)body.p[at]) * 0x100000001b3ull;
        from = i < n ? to + hole[i].n : 0;
    }
    slot = &plans->seen[(h >> 32) % SEEN];
    if (*slot == h)
        return true;
    *slot = h;
    return false;
}

struct room { /* a plan is one block */
    char *at;
};

static void *take(struct room *r, const void *from, size_t n)
{
    char *p = r->at;

    if (n)
        memcpy(p, from, n);
    r->at += (n + 16) & ~(size_t)15; /* with a zero behind */
    return p;
}

static ath_str take_str(struct room *r, ath_str s)
{
    return str_from(take(r, s.p, s.n), s.n);
}

/* The keys of an answer as they are written, and how long each is. */
struct keys_text {
    struct buf text;
    size_t *length;
    uint32_t n;
};

static struct keys_text keys_text_of(const struct dp *dp, const struct dp_fetch *f)
{
    struct keys_text k = { .text = dp_buf(dp),
                           .length = dp_new(dp, (dp->items + 1) * sizeof(size_t)) };

    for (const struct dp_item *i = f->root.item; i && !i->star; i = i->next) {
        size_t from = k.text.n;
        buf_char(&k.text, ',');
        buf_json(&k.text, i->key);
        buf_char(&k.text, ':');
        k.length[k.n++] = k.text.n - from;
    }
    return k;
}

static void take_keys(struct room *r, const struct keys_text *k, struct dp_keys *keys)
{
    const char *text = take(r, k->text.p, k->text.n);

    keys->n = k->n;
    keys->prefix = take(r, NULL, 0);
    r->at += k->n * sizeof(*keys->prefix);
    for (uint32_t i = 0; i < k->n; text += k->length[i++])
        keys->prefix[i] = str_from(text, k->length[i]);
}

static struct dp_plan *plan_new(const struct dp_plan_key *key, ath_str body,
                                const struct dp_fetch *f, const struct dp_query *q,
                                const struct keys_text *keys)
{
    size_t size = sizeof(struct dp_plan) + key->client.n + body.n + q->sql.text.n + keys->text.n +
                  keys->n * sizeof(ath_str) + f->root.relation->schema.n +
                  f->root.relation->name.n + f->root.asked.n + 16 * (16 + DP_FEW);
    struct dp_plan *p;
    struct room r;

    for (uint32_t i = 0; i < q->sql.count; i++)
        size += q->sql.param[i].n;
    if (!(p = calloc(1, size)))
        return NULL;
    r.at = (char *)p + ((sizeof(*p) + 15) & ~(size_t)15);
    p->client = take(&r, key->client.p, key->client.n);
    p->client_n = key->client.n;
    p->body = take_str(&r, body);
    p->sql = take(&r, q->sql.text.p, q->sql.text.n);
    p->schema = take_str(&r, f->root.relation->schema);
    p->table = take_str(&r, f->root.relation->name);
    p->asked = take_str(&r, f->root.asked);
    for (uint32_t i = 0; i < q->sql.count; i++) {
        p->param[i] = take_str(&r, q->sql.param[i]);
        p->type[i] = q->sql.type[i];
    }
    if (keys->n)
        take_keys(&r, keys, &p->keys);
    return p;
}

/* What a plan does not cover is rare, or costs more than reading its body. */
static bool coverable(const struct dp *dp, ath_str body, const struct dp_fetch *f,
                      const struct dp_query *q)
{
    for (const struct dp_item *i = f->root.item; i; i = i->next)
        if (i->child) /* more relations: more rights than a plan holds */
            return false;
    return !dp->fixed && body.n <= LONGEST_BODY && q->sql.text.n <= LONGEST_SQL &&
           q->sql.count <= DP_FEW && q->stmt_count == 1 && !f->group.by.n;
}

void dp_plan_keep(struct dp_plans *plans, const struct dp_plan_key *key, const struct dp *dp,
                  ath_str body, const struct dp_fetch *f, const struct dp_query *q)
{
    struct dp_hole hole[DP_FEW];
    struct keys_text keys;
    uint32_t n, b;
    struct dp_plan *p;

    if (!coverable(dp, body, f, q))
        return;
    n = holes_of(q, body, hole);
    if (overlap(hole, n) || !seen_before(plans, body, hole, n))
        return;
    keys = keys_text_of(dp, f);
    if (!(p = plan_new(key, body, f, q, &keys)))
        return;
    p->refs = 1;
    p->snapshot = key->snapshot;
    p->version = key->version;
    p->max_rows = key->max_rows;
    p->fold = key->fold;
    p->holes = n;
    memcpy(p->hole, hole, n * sizeof(*hole));
    p->params = q->sql.count;
    p->rows = q->rows;
    p->counted = q->counted;
    p->head = f->head;
    p->in_pieces = f->in_pieces;
    p->count = f->count;
    p->strip_nulls = f->strip_nulls;
    dp_digest_shape(q, f, p->digest);
    b = bucket_of(body);
    dp_plan_drop(plans->way[b][plans->oldest[b]]);
    plans->way[b][plans->oldest[b]] = p;
    plans->oldest[b] = (uint8_t)((plans->oldest[b] + 1) % WAYS);
}
