/* Counting: shards, tables of label sets, and the families that others register.
 *
 * A shard's lock is taken by its own thread for each observation and by the reader once per scrape,
 * so it is nearly always free. Shards are never freed: what a thread counted stays counted, and a
 * new thread goes on with the shard of one that ended.
 */
#include <endian.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "log/metric_priv.h"

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shard *shards;
static pthread_key_t shard_key;
static pthread_once_t shard_once = PTHREAD_ONCE_INIT;
static _Thread_local struct shard *self;

static struct {
    const ath_metric *def;
    unsigned labels;
} families[FAMILIES];
static uint32_t family_count; /* under list_lock */

/* ---- tallies and label sets ---- */

static const uint64_t bound_ns[BOUNDS] = {
    1000000,   2500000,    5000000,    10000000,   25000000,    50000000,    100000000,   250000000,
    500000000, 1000000000, 2500000000, 5000000000, 10000000000, 20000000000, 30000000000,
};

void tally_time(struct tally *t, uint64_t ns)
{
    unsigned i = 0;

    while (i < BOUNDS && ns > bound_ns[i])
        i++;
    t->bucket[i]++;
    if (t->count++ == 0 || ns < t->min_ns)
        t->min_ns = ns;
    if (ns > t->max_ns)
        t->max_ns = ns;
    t->sum_ns += ns;
}

static void extremes(uint64_t *min, uint64_t *max, bool first, uint64_t from_min, uint64_t from_max)
{
    if (first || from_min < *min)
        *min = from_min;
    if (from_max > *max)
        *max = from_max;
}

void tally_add(struct tally *to, const struct tally *from)
{
    if (from->count)
        extremes(&to->min_ns, &to->max_ns, to->count == 0, from->min_ns, from->max_ns);
    if (from->in_count)
        extremes(&to->in_min, &to->in_max, to->in_count == 0, from->in_min, from->in_max);
    if (from->out_count)
        extremes(&to->out_min, &to->out_max, to->out_count == 0, from->out_min, from->out_max);
    for (unsigned i = 0; i <= BOUNDS; i++)
        to->bucket[i] += from->bucket[i];
    to->count += from->count;
    to->sum_ns += from->sum_ns;
    to->in_count += from->in_count;
    to->in_bytes += from->in_bytes;
    to->out_count += from->out_count;
    to->out_bytes += from->out_bytes;
    to->handler_errors += from->handler_errors;
    to->client_errors += from->client_errors;
    to->server_errors += from->server_errors;
    to->value += from->value;
}

/* Eight bytes at a time; the key has room for reading over its end. */
uint32_t key_hash(const struct key *k)
{
    const char *p = k->p, *end = k->p + (k->n & ~(size_t)7);
    uint64_t h = k->n, word;

    for (; p < end; p += sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    if (k->n & 7) {
        memcpy(&word, p, sizeof(word));
        word = le64toh(word) & ~(~(uint64_t)0 << ((k->n & 7) * 8));
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return (uint32_t)h | 1u;
}

struct set *table_find(const struct table *t, const struct key *k, uint32_t *ret_hash)
{
    uint32_t hash = key_hash(k);

    *ret_hash = hash;
    if (t->n == 0)
        return NULL;
    for (size_t i = hash & (t->cap - 1); t->slot[i]; i = (i + 1) & (t->cap - 1)) {
        struct set *s = t->slot[i];
        if (s->hash == hash && s->key_n == k->n && memcmp(s->key, k->p, k->n) == 0)
            return s;
    }
    return NULL;
}

static void slot_fill(struct table *t, struct set *s)
{
    size_t i = s->hash & (t->cap - 1);

    while (t->slot[i])
        i = (i + 1) & (t->cap - 1);
    t->slot[i] = s;
}

struct set *table_add(struct table *t, const struct key *k, uint32_t hash)
{
    struct set *s = mem_new(sizeof(*s) + k->n);

    if (t->n * 2 >= t->cap) {
        struct table bigger = { .cap = t->cap ? t->cap * 2 : 16, .n = t->n };
        bigger.slot = mem_new(bigger.cap * sizeof(struct set *));
        for (size_t i = 0; i < t->cap; i++)
            if (t->slot[i])
                slot_fill(&bigger, t->slot[i]);
        free(t->slot);
        *t = bigger;
    }
    s->hash = hash;
    s->key_n = (uint32_t)k->n;
    memcpy(s->key, k->p, k->n);
    slot_fill(t, s);
    t->n++;
    return s;
}

static void other_of(const struct key *k, uint32_t keep, struct key *ret)
{
    KEY_EMPTY(ret);
    for (size_t at = 0; at < k->n; keep >>= 1) {
        ath_str label = str_of(k->p + at);
        key_add(ret, keep & 1 ? label : ATH_S("other"));
        at += label.n + 1;
    }
}

struct set *table_get(struct table *t, const struct key *k, size_t most, uint32_t keep)
{
    uint32_t hash;
    struct set *s = table_find(t, k, &hash);
    struct key other;

    if (s)
        return s;
    if (t->n < most)
        return table_add(t, k, hash);
    other_of(k, keep, &other);
    s = table_find(t, &other, &hash);
    return s ? s : table_add(t, &other, hash);
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->cap; i++)
        free(t->slot[i]);
    free(t->slot);
    *t = (struct table){ 0 };
}

void recent_keep(struct recent *e, const void *of, const void *of_too, int status, struct set *set,
                 uint32_t which)
{
    size_t n = 0;

    *e = (struct recent){ .of = { of, of_too }, .status = status, .set = set };
    for (size_t at = 0; at < set->key_n; which >>= 1) {
        ath_str label = str_of(set->key + at);
        if (which & 1)
            e->label[n++] = label;
        at += label.n + 1;
    }
}

/* ---- shards ---- */

static void shard_leave(void *arg)
{
    struct shard *s = arg;

    pthread_mutex_lock(&list_lock);
    s->taken = false;
    pthread_mutex_unlock(&list_lock);
}

static void shard_start(void)
{
    pthread_key_create(&shard_key, shard_leave);
}

static struct shard *shard_new(void)
{
    struct shard *s = MEM_NEW(struct shard);

    pthread_mutex_init(&s->lock, NULL);
    s->next = shards;
    shards = s;
    return s;
}

static struct shard *shard_take(void)
{
    struct shard *s;

    pthread_once(&shard_once, shard_start);
    pthread_mutex_lock(&list_lock);
    for (s = shards; s && s->taken; s = s->next) {
    }
    if (!s)
        s = shard_new();
    s->taken = true;
    pthread_mutex_unlock(&list_lock);
    pthread_setspecific(shard_key, s);
    return self = s;
}

struct shard *shard_lock(void)
{
    struct shard *s = self ? self : shard_take();

    pthread_mutex_lock(&s->lock);
    return s;
}

static void table_sum(struct table *to, const struct table *from, size_t most, uint32_t keep)
{
    struct key k;

    for (size_t i = 0; i < from->cap; i++) {
        const struct set *s = from->slot[i];
        if (!s)
            continue;
        k.n = s->key_n;
        memcpy(k.p, s->key, k.n);
        tally_add(&table_get(to, &k, most, keep)->tally, &s->tally);
    }
}

void shards_sum(int kind, uint32_t family, size_t most, uint32_t keep, struct table *ret)
{
    struct shard *s;

    *ret = (struct table){ 0 };
    pthread_mutex_lock(&list_lock);
    s = shards; /* only grows at its head */
    pthread_mutex_unlock(&list_lock);
    for (; s; s = s->next) {
        const struct table *t;
        pthread_mutex_lock(&s->lock);
        t = kind < 0 ? s->family[family] : &s->kind[kind];
        if (t)
            table_sum(ret, t, most, keep);
        pthread_mutex_unlock(&s->lock);
    }
}

/* ---- families of others ---- */

static unsigned label_count(const char *list)
{
    unsigned n = list && list[0] ? 1 : 0;

    for (const char *p = list; n && *p; p++)
        n += *p == ',';
    return n;
}

int metric_register(const ath_metric *metric, uint32_t *ret_id, ath_err *e)
{
    unsigned labels = label_count(metric->label);
    int rc = 0;

    if (labels > LABELS_MOST)
        return err_fail(e, ATH_E_CONFIG, "metric \"%s\" has more than %d labels", metric->name,
                        LABELS_MOST);
    pthread_mutex_lock(&list_lock);
    for (uint32_t i = 0; i < family_count && rc == 0; i++)
        if (strcmp(families[i].def->name, metric->name) == 0)
            rc = err_fail(e, ATH_E_CONFIG, "metric \"%s\" exists already", metric->name);
    if (rc == 0 && family_count == FAMILIES)
        rc = err_fail(e, ATH_E_CONFIG, "more than %d metrics", FAMILIES);
    if (rc == 0) {
        families[family_count].def = metric;
        families[family_count].labels = labels;
        *ret_id = family_count++;
    }
    pthread_mutex_unlock(&list_lock);
    return rc;
}

static size_t series_most(const ath_metric *m)
{
    return m->series ? m->series : SERIES;
}

void metric_put(uint32_t id, const ath_str *label, double v)
{
    const ath_metric *m = families[id].def;
    struct shard *s;
    struct set *set;
    struct key k;

    KEY_EMPTY(&k);
    for (unsigned i = 0; i < families[id].labels; i++)
        key_add(&k, label[i]);
    s = shard_lock();
    if (!s->family[id])
        s->family[id] = MEM_NEW(struct table);
    set = table_get(s->family[id], &k, series_most(m), 0);
    if (m->kind == ATH_M_COUNTER)
        set->tally.value += v;
    else if (m->kind == ATH_M_GAUGE)
        set->tally.value = v;
    else
        tally_time(&set->tally, v > 0 ? (uint64_t)(v * 1e9) : 0);
    shard_unlock(s);
}

/* ---- the text ---- */

static pthread_mutex_t sources_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    metric_writer *write;
    void *arg;
} sources[64];
static size_t source_count;

void metric_source(metric_writer *write, void *arg)
{
    pthread_mutex_lock(&sources_lock);
    if (source_count < ATH_COUNT(sources)) {
        sources[source_count].write = write;
        sources[source_count++].arg = arg;
    }
    pthread_mutex_unlock(&sources_lock);
}

static void registered_write(struct buf *b)
{
    static const char *const types[] = { "untyped", "counter", "gauge", "histogram" };
    uint32_t n;

    pthread_mutex_lock(&list_lock);
    n = family_count;
    pthread_mutex_unlock(&list_lock);
    for (uint32_t i = 0; i < n; i++) {
        const ath_metric *m = families[i].def;
        struct derived d = { .name = m->name,
                             .type = types[m->kind & 3],
                             .help = m->help,
                             .label = m->label ? m->label : "",
                             .show = m->kind == ATH_M_HISTOGRAM ? SHOW_HISTOGRAM : SHOW_VALUE };
        derived_family(b, i, series_most(m), &d);
    }
}

void metric_render(struct buf *b)
{
    metric_process_write(b);
    metric_http_write(b);
    metric_operation_write(b);
    metric_management_write(b);
    metric_logs_write(b);
    registered_write(b);
    pthread_mutex_lock(&sources_lock);
    for (size_t i = 0; i < source_count; i++)
        sources[i].write(b, sources[i].arg);
    pthread_mutex_unlock(&sources_lock);
    metric_published_write(b);
}
