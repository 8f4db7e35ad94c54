/* core/log/metric_priv.h - how observations are kept, and how families are derived from them.
 *
 * An observation is counted in the thread's shard, in the entry of its whole label set. When the
 * metrics are read, the shards' entries are added up and each family is a fold of them over some of
 * the labels. So counting touches one entry, however many families tell of it.
 */
#ifndef CORE_LOG_METRIC_PRIV_H
#define CORE_LOG_METRIC_PRIV_H

#include <pthread.h>

#include "lib/buf.h"
#include "log/metric.h"

enum { BOUNDS = 15, LABELS_MOST = 10, LABEL_BYTES = 128 };
enum { KEY_BYTES = LABELS_MOST * (LABEL_BYTES + 1) };
enum { KIND_HTTP, KIND_OPERATION, KIND_MANAGEMENT, KINDS };
enum { FAMILIES = 512, SERIES = 1000, SETS = 2000 };

/* What is known of one label set. Which members move depends on the kind. */
struct tally {
    /* in: request bodies; of management: changes of objects, whose failures are handler_errors */
    uint64_t bucket[BOUNDS + 1]; /* not cumulative; the last: +Inf */
    uint64_t count, sum_ns, min_ns, max_ns;
    uint64_t in_count, in_bytes, in_min, in_max;
    uint64_t out_count, out_bytes, out_min, out_max;
    uint64_t handler_errors;
    double value;                /* of plain counters and gauges */
    uint64_t client_errors, server_errors; /* filled when read, from the status */
};

void tally_time(struct tally *t, uint64_t ns);
void tally_add(struct tally *to, const struct tally *from);

/* Label values one after the other, each ended by NUL. */
struct key {
    size_t n;                    /* begin with KEY_EMPTY(&k): the bytes behind it mean nothing */
    char p[KEY_BYTES + 8];
};

#define KEY_EMPTY(k) ((k)->n = 0)

uint32_t key_hash(const struct key *k);

static inline void key_add(struct key *k, ath_str v)
{
    size_t n = v.n < LABEL_BYTES ? v.n : LABEL_BYTES;

    str_put(k->p + k->n, (ath_str){ v.p, n });
    k->n += n;
    k->p[k->n++] = 0;
}

/* One label set. */
struct set {
    uint32_t hash, key_n;
    struct tally tally;
    char key[];
};

struct table {
    struct set **slot;           /* a power of two of them, or NULL */
    size_t cap, n;
};

ath_str metric_method(ath_str m); /* a known one, or OTHER */
void key_add_status(struct key *k, int status);

struct set *table_find(const struct table *t, const struct key *k, uint32_t *ret_hash);
struct set *table_add(struct table *t, const struct key *k, uint32_t hash);
void table_free(struct table *t);

/* The set of `k`; when there are `most` already, that of `k` with "other" in place of all labels
 * but those whose bits are in `keep` (what is bounded by itself). */
struct set *table_get(struct table *t, const struct key *k, size_t most, uint32_t keep);

/* The set that was counted in last for a route and a status: most observations find it here and
 * need no key. `label` are those of the set that no pointer tells apart. */
enum { RECENT = 64, RECENT_LABELS = 5 };
struct recent {
    const void *of[2];           /* texts that live as long as the process, by their address */
    int status;
    ath_str label[RECENT_LABELS];
    struct set *set;
};

static inline struct recent *recent_of(struct recent *list, const void *of, int status)
{
    return &list[((uintptr_t)of >> 4 ^ (unsigned)status) % RECENT];
}

static inline bool recent_fits(const struct recent *e, const void *of, const void *of_too,
                               int status, const ath_str *label, size_t n)
{
    if (!e->set || e->of[0] != of || e->of[1] != of_too || e->status != status)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!str_same(e->label[i], label[i]))
            return false;
    return true;
}

/* Remembers `set`; bits of `which` say which of its labels are compared, in their order. */
void recent_keep(struct recent *e, const void *of, const void *of_too, int status, struct set *set,
                 uint32_t which);

struct shard {
    pthread_mutex_t lock;
    struct shard *next;
    bool taken;                  /* by a living thread; else the next new thread goes on with it */
    struct table kind[KINDS];
    struct recent http[RECENT], operation[RECENT];
    struct table *family[FAMILIES]; /* of metric_put(), by id */
};

/* Under the shard's lock. */
void metric_operation_count(struct shard *s, const struct metric_operation *m);

struct shard *shard_lock(void);  /* this thread's own */
static inline void shard_unlock(struct shard *s)
{
    pthread_mutex_unlock(&s->lock);
}

/* All shards' sets of a kind, or of a family, added up. The caller frees it. */
void shards_sum(int kind, uint32_t family, size_t most, uint32_t keep, struct table *ret);

/* ---- reading ---- */

enum show { SHOW_COUNT = 1, SHOW_VALUE, SHOW_TIME, SHOW_TIME_MIN, SHOW_TIME_MAX, SHOW_HISTOGRAM,
            SHOW_IN, SHOW_IN_MIN, SHOW_IN_MAX, SHOW_OUT, SHOW_OUT_MIN, SHOW_OUT_MAX,
            SHOW_HANDLER_ERRORS, SHOW_CHANGE_RATE, SHOW_ERROR_RATE, SHOW_SERVER_RATE,
            SHOW_HANDLER_RATE, SHOW_ROWS,
            SHOW_RATES, SHOW_CLASSES };

struct derived {                 /* a family made of a kind's sets */
    const char *name, *type, *label, *help; /* label: "" none; names of the kind, or derived ones */
    enum show show;
};

struct kind {                    /* of observation */
    const char *names;           /* the labels in its keys, in order; "status_code" among them gives
                                  * status_family and error_class */
    uint32_t keep;               /* see table_get() */
};
extern const struct kind kinds[KINDS];

/* Writes the families of a kind. Families with the same labels stand together in the table. */
void derived_write(struct buf *b, int kind, const struct derived *family, size_t n);

/* The same for one family of metric_put(). */
void derived_family(struct buf *b, uint32_t id, size_t most, const struct derived *d);

void number_seconds(struct buf *b, double v);    /* 6 decimals */
void metric_process_write(struct buf *b);
void metric_http_write(struct buf *b);
void metric_operation_write(struct buf *b);
void metric_management_write(struct buf *b);
void metric_logs_write(struct buf *b);

/* Families that are published but that nobody wrote into `b`: HELP and TYPE, and a 0 where there
 * are no labels. */
void metric_published_write(struct buf *b);

#endif
