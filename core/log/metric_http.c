/* HTTP requests: counting them, and the families that tell of them. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "log/metric_priv.h"

const struct kind kinds[KINDS] = {
    [KIND_HTTP] = { "method,route,route_group,status_code,client", 1 << 0 | 1 << 2 | 1 << 3 },
    [KIND_OPERATION] = { "client,table,operation,method,route,status_code,cache_outcome,cache_"
                         "source",
                         1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 },
    [KIND_MANAGEMENT] = { "operation,status", 0 },
};

/* A method is whatever a peer sends: only known ones become labels. Told apart by their first two
 * letters, then compared. */
ath_str metric_method(ath_str m)
{
    ath_str known = { NULL, 0 };

    if (m.n > 2)
        switch (m.p[0] << 8 | m.p[1]) {
        case 'G' << 8 | 'E':
            known = ATH_S("GET");
            break;
        case 'P' << 8 | 'O':
            known = ATH_S("POST");
            break;
        case 'P' << 8 | 'U':
            known = ATH_S("PUT");
            break;
        case 'P' << 8 | 'A':
            known = ATH_S("PATCH");
            break;
        case 'D' << 8 | 'E':
            known = ATH_S("DELETE");
            break;
        case 'H' << 8 | 'E':
            known = ATH_S("HEAD");
            break;
        case 'O' << 8 | 'P':
            known = ATH_S("OPTIONS");
            break;
        case 'C' << 8 | 'O':
            known = ATH_S("CONNECT");
            break;
        case 'T' << 8 | 'R':
            known = ATH_S("TRACE");
            break;
        default:
            break;
        }
    return known.n && str_eq(m, known) ? known : ATH_S("OTHER");
}

void key_add_status(struct key *k, int status)
{
    unsigned s = status > 0 && status < 1000 ? (unsigned)status : 0;
    char text[3] = { (char)('0' + s / 100), (char)('0' + s / 10 % 10), (char)('0' + s % 10) };

    key_add(k, str_from(text, sizeof(text)));
}

static void bytes(uint64_t *count, uint64_t *sum, uint64_t *min, uint64_t *max, uint64_t n)
{
    if ((*count)++ == 0 || n < *min)
        *min = n;
    if (n > *max)
        *max = n;
    *sum += n;
}

static struct set *set_of(struct shard *s, const struct metric_http *m)
{
    enum { METHOD = 1 << 0, CLIENT = 1 << 4 };
    ath_str label[] = { m->method, m->client.n ? m->client : ATH_S("unknown") };
    struct recent *e = recent_of(s->http, m->route, m->status);
    struct set *set;
    struct key k;

    if (recent_fits(e, m->route, m->route_group, m->status, label, ATH_COUNT(label)))
        return e->set;
    KEY_EMPTY(&k);
    key_add(&k, metric_method(m->method));
    key_add(&k, str_of(m->route));
    key_add(&k, str_of(m->route_group));
    key_add_status(&k, m->status);
    key_add(&k, label[1]);
    set = table_get(&s->kind[KIND_HTTP], &k, SETS, kinds[KIND_HTTP].keep);
    recent_keep(e, m->route, m->route_group, m->status, set, METHOD | CLIENT);
    return set;
}

void metric_request(const struct metric_http *m, const struct metric_operation *o)
{
    struct shard *s = shard_lock();
    struct tally *t = &set_of(s, m)->tally;

    tally_time(t, m->duration_ns);
    if (m->request_bytes)
        bytes(&t->in_count, &t->in_bytes, &t->in_min, &t->in_max, m->request_bytes);
    bytes(&t->out_count, &t->out_bytes, &t->out_min, &t->out_max, m->response_bytes);
    t->handler_errors += m->handler_error;
    if (o)
        metric_operation_count(s, o);
    shard_unlock(s);
}

void metric_http(const struct metric_http *m)
{
    metric_request(m, NULL);
}

/* ---- in flight: one table for the process, entries are only ever added ---- */

enum { FLIGHTS = 1024, FLIGHTS_MOST = 512 };

struct metric_flight {
    atomic_int now, max;
    uint32_t hash;
    struct key key;
};

static _Atomic(struct metric_flight *) flights[FLIGHTS];
static atomic_uint flight_count;

static struct metric_flight *flight_new(const struct key *k, uint32_t hash)
{
    struct metric_flight *f = mem_new(sizeof(*f));

    f->hash = hash;
    f->key.n = k->n;
    memcpy(f->key.p, k->p, k->n);
    return f;
}

static struct metric_flight *flight_get(const struct key *k)
{
    uint32_t hash = key_hash(k);
    struct metric_flight *f, *made;

    for (size_t i = hash;; i++) {
        _Atomic(struct metric_flight *) *slot = &flights[i & (FLIGHTS - 1)];
        f = atomic_load_explicit(slot, memory_order_acquire);
        if (!f) {
            if (atomic_load(&flight_count) >= FLIGHTS_MOST)
                return NULL;
            made = flight_new(k, hash);
            if (atomic_compare_exchange_strong(slot, &f, made)) {
                atomic_fetch_add(&flight_count, 1);
                return made;
            }
            free(made); /* another thread was first, perhaps with the same key */
        }
        if (f->hash == hash && f->key.n == k->n && memcmp(f->key.p, k->p, k->n) == 0)
            return f;
    }
}

/* Entries stay, so each thread finds again what it found before by the addresses of the texts. */
static struct metric_flight *flight_of(ath_str method, const char *route, const char *route_group)
{
    enum { FOUND = 64 };
    static _Thread_local struct {
        const char *method, *route, *route_group;
        struct metric_flight *flight;
    } found[FOUND], *f;
    struct key k;

    f = &found[((uintptr_t)route >> 4 ^ (uintptr_t)method.n) % FOUND];
    if (f->flight && f->route == route && f->route_group == route_group && f->method == method.p)
        return f->flight;
    KEY_EMPTY(&k);
    key_add(&k, method);
    key_add(&k, str_of(route));
    key_add(&k, str_of(route_group));
    f->method = method.p;
    f->route = route;
    f->route_group = route_group;
    return f->flight = flight_get(&k);
}

struct metric_flight *metric_flight_begin(ath_str method, const char *route,
                                          const char *route_group)
{
    struct metric_flight *f = flight_of(metric_method(method), route, route_group);
    int now, max;

    if (!f)
        return NULL;
    now = atomic_fetch_add_explicit(&f->now, 1, memory_order_relaxed) + 1;
    max = atomic_load_explicit(&f->max, memory_order_relaxed);
    while (now > max && !atomic_compare_exchange_weak(&f->max, &max, now)) {
    }
    return f;
}

void metric_flight_end(struct metric_flight *f)
{
    if (f)
        atomic_fetch_sub_explicit(&f->now, 1, memory_order_relaxed);
}

/* ---- the families ---- */

#define ROUTE3  "method,route,status_family"
#define CODE5   "method,route,route_group,status_code,status_family"
#define CLIENT4 "client,method,route_group,status_family"

static const struct derived families[] = {
    { "athena_http_requests_observed_total", "counter", "", "HTTP requests.", SHOW_COUNT },
    { "athena_http_error_rate", "gauge", "", "Share of requests answered 4xx or 5xx.",
      SHOW_ERROR_RATE },
    { "athena_http_server_error_rate", "gauge", "", "Share of requests answered 5xx.",
      SHOW_SERVER_RATE },
    { "athena_http_handler_error_rate", "gauge", "",
      "Share of requests whose handler failed without an answer.", SHOW_HANDLER_RATE },
    { "athena_http_request_duration_observed_seconds", "summary", "",
      "Time until the answer began.", SHOW_TIME },
    { "athena_http_request_bytes_observed", "summary", "", "Bytes of request bodies.", SHOW_IN },
    { "athena_http_request_bytes_min", "gauge", "", "Smallest request body.", SHOW_IN_MIN },
    { "athena_http_request_bytes_max", "gauge", "", "Largest request body.", SHOW_IN_MAX },
    { "athena_http_response_bytes_observed", "summary", "", "Bytes of answers.", SHOW_OUT },
    { "athena_http_response_bytes_min", "gauge", "", "Smallest answer.", SHOW_OUT_MIN },
    { "athena_http_response_bytes_max", "gauge", "", "Largest answer.", SHOW_OUT_MAX },
    { "athena_http_routes_tracked", "gauge", ROUTE3,
      "Label sets of method, route and status family.", SHOW_ROWS },
    { "athena_http_requests_total", "counter", ROUTE3, "HTTP requests by route.", SHOW_COUNT },
    { "athena_http_request_duration_seconds", "summary", ROUTE3,
      "Time until the answer began, by route.", SHOW_TIME },
    { "athena_http_request_duration_seconds_min", "gauge", ROUTE3, "Shortest time by route.",
      SHOW_TIME_MIN },
    { "athena_http_request_duration_seconds_max", "gauge", ROUTE3, "Longest time by route.",
      SHOW_TIME_MAX },
    { "athena_http_request_bytes", "summary", ROUTE3, "Bytes of request bodies by route.",
      SHOW_IN },
    { "athena_http_response_bytes", "summary", ROUTE3, "Bytes of answers by route.", SHOW_OUT },
    { "athena_http_status_codes_tracked", "gauge", CODE5, "Label sets with a status code.",
      SHOW_ROWS },
    { "athena_http_requests_by_status_code_total", "counter", CODE5,
      "HTTP requests by route and status.", SHOW_COUNT },
    { "athena_http_request_duration_seconds_histogram", "histogram", CODE5,
      "Time until the answer began, by route and status.", SHOW_HISTOGRAM },
    { "athena_http_clients_tracked", "gauge", CLIENT4, "Label sets with a client.", SHOW_ROWS },
    { "athena_http_requests_by_client_total", "counter", CLIENT4, "HTTP requests by client.",
      SHOW_COUNT },
    { "athena_http_requests_by_status_family_total", "counter", "status_family",
      "HTTP requests by status family.", SHOW_COUNT },
    { "athena_http_requests_by_route_group_total", "counter", "route_group",
      "HTTP requests by route group.", SHOW_COUNT },
    { "athena_http_requests_by_method_total", "counter", "method", "HTTP requests by method.",
      SHOW_COUNT },
    { "athena_http_handler_errors_total", "counter", "method,route,route_group",
      "Requests whose handler failed without an answer.", SHOW_HANDLER_ERRORS },
};

static void flight_labels(struct buf *b, const struct metric_flight *f)
{
    static const char *const names[] = { "method", "route", "route_group" };
    size_t at = 0;

    for (size_t i = 0; i < ATH_COUNT(names); i++) {
        ath_str v = str_of(f->key.p + at);
        buf_char(b, i ? ',' : '{');
        metric_label(b, names[i], v);
        at += v.n + 1;
    }
    buf_lit(b, "} ");
}

static int flight_cmp(const void *a, const void *b)
{
    const struct metric_flight *x = *(struct metric_flight *const *)a,
                               *y = *(struct metric_flight *const *)b;

    return str_cmp(str_from(x->key.p, x->key.n), str_from(y->key.p, y->key.n));
}

/* Two threads' changes may be seen one before the other. */
static uint64_t not_negative(int v)
{
    return v > 0 ? (uint64_t)v : 0;
}

static void in_flight_write(struct buf *b, struct metric_flight *const *list, size_t n)
{
    uint64_t now = 0, max = 0;

    metric_head(b, "athena_http_in_flight_requests", "gauge", "Requests at work, by route.");
    for (size_t i = 0; i < n; i++) {
        buf_lit(b, "athena_http_in_flight_requests");
        flight_labels(b, list[i]);
        buf_u64(b, not_negative(list[i]->now));
        buf_char(b, '\n');
        now += not_negative(list[i]->now);
        max = not_negative(list[i]->max) > max ? not_negative(list[i]->max) : max;
    }
    metric_head(b, "athena_http_in_flight_requests_max", "gauge",
                "Most requests at work at once, by route.");
    for (size_t i = 0; i < n; i++) {
        buf_lit(b, "athena_http_in_flight_requests_max");
        flight_labels(b, list[i]);
        buf_u64(b, not_negative(list[i]->max));
        buf_char(b, '\n');
    }
    metric_head(b, "athena_http_in_flight_requests_total", "gauge", "Requests at work.");
    buf_printf(b, "athena_http_in_flight_requests_total %llu\n", (unsigned long long)now);
    metric_head(b, "athena_http_in_flight_requests_max_total", "gauge",
                "The largest of the routes' maxima.");
    buf_printf(b, "athena_http_in_flight_requests_max_total %llu\n", (unsigned long long)max);
    metric_head(b, "athena_http_route_states_tracked", "gauge", "Routes with an in-flight count.");
    buf_printf(b, "athena_http_route_states_tracked %zu\n", n);
}

void metric_http_write(struct buf *b)
{
    struct metric_flight *list[FLIGHTS];
    size_t n = 0;

    derived_write(b, KIND_HTTP, families, ATH_COUNT(families));
    for (size_t i = 0; i < FLIGHTS; i++)
        if ((list[n] = atomic_load(&flights[i])))
            n++;
    qsort(list, n, sizeof(*list), flight_cmp);
    in_flight_write(b, list, n);
}
