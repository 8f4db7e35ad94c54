/* core/log: queues and sink threads, the filter, redaction. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/err.h"
#include "lib/buf.h"
#include "log/log.h"
#include "log/ring.h"
#include "support/check_main.h"

static void moment(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

#define WAIT_FOR(what) \
    for (int tries_ = 0; !(what); tries_++) { \
        if (tries_ == 5000) \
            ck_abort_msg("never: %s", #what); \
        moment(); \
    }

/* ---- ring ---- */

enum { PUSHERS = 4, EACH = 20000 };
static struct ring shared;

static void *pusher(void *arg)
{
    size_t at;

    for (uintptr_t i = 0; i < EACH; i++)
        while (!ring_push(&shared, (void *)((uintptr_t)arg << 32 | (i + 1)), &at))
            sched_yield();
    return NULL;
}

START_TEST(ring_keeps_the_order_of_each_pusher)
{
    pthread_t t[PUSHERS];
    uintptr_t last[PUSHERS] = { 0 };
    size_t got = 0;
    void *item[64];

    ring_init(&shared, 100);
    ck_assert_uint_eq(ring_capacity(&shared), 128);
    for (uintptr_t i = 0; i < PUSHERS; i++)
        pthread_create(&t[i], NULL, pusher, (void *)i);
    while (got < PUSHERS * EACH) {
        size_t n = ring_pop(&shared, item, 64);
        for (size_t i = 0; i < n; i++) {
            uintptr_t who = (uintptr_t)item[i] >> 32, number = (uintptr_t)item[i] & 0xffffffffu;
            ck_assert_uint_eq(number, last[who] + 1);
            last[who] = number;
        }
        got += n;
        if (n == 0)
            sched_yield();
    }
    for (int i = 0; i < PUSHERS; i++)
        pthread_join(t[i], NULL);
    ck_assert_uint_eq(ring_waiting(&shared), 0);
    ring_fini(&shared);
}
END_TEST

START_TEST(ring_refuses_when_full)
{
    struct ring r;
    void *item[4];
    size_t at;

    ring_init(&r, 4);
    for (int lap = 0; lap < 3; lap++) {
        for (int i = 0; i < 4; i++)
            ck_assert(ring_push(&r, &r, &at));
        ck_assert(!ring_push(&r, &r, &at));
        ck_assert_uint_eq(ring_pop(&r, item, 4), 4);
    }
    ring_fini(&r);
}
END_TEST

/* ---- sinks: a scripted one ---- */

struct probe {
    pthread_mutex_t lock;
    struct buf text;             /* a line per event */
    int writes, fail_writes, fail_rc;
    atomic_int opens, closes, fail_open;
    atomic_bool hold;            /* write waits while it is set */
    size_t largest;
};

static void probe_init(struct probe *p)
{
    *p = (struct probe){ 0 };
    pthread_mutex_init(&p->lock, NULL);
}

static int probe_open(void *state, ath_err *e)
{
    struct probe *p = state;

    if (p->fail_open)
        return err_fail(e, ATH_E_CONFIG, "could not open the probe");
    p->opens++;
    return 0;
}

static int probe_write(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    struct probe *p = state;
    int rc = 0;

    while (atomic_load(&p->hold))
        moment();
    pthread_mutex_lock(&p->lock);
    p->writes++;
    if (p->fail_writes > 0) {
        p->fail_writes--;
        rc = err_fail(e, p->fail_rc, "the probe is full");
    }
    for (size_t i = 0; rc == 0 && i < n; i++) {
        buf_printf(&p->text, "%u %s %s", batch[i]->level, batch[i]->source.p, batch[i]->message.p);
        for (uint32_t f = 0; f < batch[i]->fact_count; f++)
            buf_printf(&p->text, " %s=%s", batch[i]->fact[f].key.p, batch[i]->fact[f].value.p);
        buf_char(&p->text, '\n');
    }
    p->largest = n > p->largest ? n : p->largest;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static void probe_close(void *state)
{
    ((struct probe *)state)->closes++;
}

static bool probe_has(struct probe *p, const char *text)
{
    bool has;

    pthread_mutex_lock(&p->lock);
    has = p->text.p && strstr(p->text.p, text);
    pthread_mutex_unlock(&p->lock);
    return has;
}

static int probe_writes(struct probe *p)
{
    int n;

    pthread_mutex_lock(&p->lock);
    n = p->writes;
    pthread_mutex_unlock(&p->lock);
    return n;
}

static const ath_sink probe_sink = {
    ATH_CAP(ath_sink, ATH_CAP_SINK, "probe"),
    .events = "*", .open = probe_open, .write = probe_write, .close = probe_close,
};
static const ath_sink named_sink = {
    ATH_CAP(ath_sink, ATH_CAP_SINK, "named"),
    .events = "operation auth", .open = probe_open, .write = probe_write, .close = probe_close,
};

static struct log_sink *start(struct probe *p, const ath_sink *sink, uint64_t queue, uint64_t flush)
{
    struct log_queue_options o = { .queue_events = queue, .flush_ms = flush };
    struct log_sink *s = NULL;
    ath_err e;

    ck_assert_int_eq(log_sink_start("probe", sink, p, &o, &s, &e), 0);
    return s;
}

START_TEST(a_stop_writes_what_waits)
{
    struct probe p;
    struct log_sink *s;
    ath_fact facts[] = { { ATH_S("a"), ATH_S("1"), ATH_V_NUMBER, 0 }, { ATH_S("b"), { NULL, 0 }, 0, 0 } };
    ath_event ev = { .size = sizeof(ev), .level = ATH_INFO, .source = ATH_S("x"),
                     .message = ATH_S("m"), .fact = facts, .fact_count = 2 };

    probe_init(&p);
    s = start(&p, &probe_sink, 0, 5000);
    for (int i = 0; i < 5000; i++)
        log_write(ATH_INFO, "athena::test", "line %d", i);
    ck_assert_int_eq(log_event(&ev), 0);
    log_sink_stop(s);
    ck_assert(probe_has(&p, "3 athena::test line 0\n"));
    ck_assert(probe_has(&p, "3 athena::test line 4999\n3 x m a=1 b=\n"));
    ck_assert_int_eq(p.opens, 1);
    ck_assert_int_eq(p.closes, 1);
    ck_assert_uint_le(p.largest, 1024);
    buf_free(&p.text);
}
END_TEST

START_TEST(events_that_come_together_leave_together)
{
    struct probe p;
    struct log_sink *s;

    probe_init(&p);
    s = start(&p, &probe_sink, 0, 400);
    log_write(ATH_INFO, "a", "first"); /* wakes the idle sink, which then rests */
    WAIT_FOR(probe_writes(&p) == 1);
    for (int i = 0; i < 50; i++) {
        log_write(ATH_INFO, "a", "more %d", i);
        if (i % 10 == 0)
            moment();
    }
    ck_assert_int_eq(probe_writes(&p), 1);
    log_write(ATH_ERROR, "a", "now"); /* does not wait for the rest */
    for (int i = 0; i < 100 && probe_writes(&p) == 1; i++)
        moment();
    ck_assert_int_eq(probe_writes(&p), 2);
    ck_assert(probe_has(&p, "more 49\n1 a now\n"));
    log_sink_stop(s);
    buf_free(&p.text);
}
END_TEST

START_TEST(a_full_queue_drops_and_counts)
{
    struct probe p;
    struct log_sink *s;
    struct log_sink_stats stats;
    ath_event ev = { .size = sizeof(ev), .level = ATH_INFO, .source = ATH_S("x"), .message = ATH_S("m") };
    int refused = 0;

    probe_init(&p);
    p.hold = true;
    s = start(&p, &probe_sink, 16, 1);
    for (int i = 0; i < 1000; i++)
        refused += log_event(&ev) == ATH_E_LIMIT;
    ck_assert_uint_eq(log_sink_stats(&stats, 1), 1);
    ck_assert_uint_eq(stats.dropped, refused);
    ck_assert_int_ge(refused, 800); /* the queue, and what the sink took while it filled */
    p.hold = false;
    WAIT_FOR((log_sink_stats(&stats, 1), stats.written == 1000u - (unsigned)refused));
    log_sink_stop(s);
    buf_free(&p.text);
}
END_TEST

START_TEST(a_queue_is_bounded_by_bytes_too)
{
    struct probe p;
    struct log_queue_options o = { .queue_bytes = 4u << 20, .flush_ms = 1 };
    struct log_sink *s = NULL;
    struct log_sink_stats stats;
    static char text[300000];
    ath_event ev = { .size = sizeof(ev), .level = ATH_INFO, .source = ATH_S("x"),
                     .message = { text, sizeof(text) - 1 } };
    unsigned kept = 0;
    ath_err e;

    memset(text, 'a', sizeof(text) - 1);
    probe_init(&p);
    p.hold = true;
    ck_assert_int_eq(log_sink_start("probe", &probe_sink, &p, &o, &s, &e), 0);
    for (int i = 0; i < 100; i++)
        kept += log_event(&ev) == 0;
    ck_assert_uint_eq(kept, (4u << 20) / 300000); /* those of the batch in hand count */
    log_sink_stats(&stats, 1);
    ck_assert_uint_eq(stats.dropped, 100 - kept);
    p.hold = false;
    WAIT_FOR((log_sink_stats(&stats, 1), stats.written == kept));
    ck_assert_int_eq(log_event(&ev), 0); /* there is room again */
    log_sink_stop(s);
    buf_free(&p.text);
}
END_TEST

static int draft_send(const char *name, uint32_t flags)
{
    static const ath_fact facts[] = { { ATH_S("hidden"), { "", 0 }, ATH_V_PLAIN, 0 },
                                      { ATH_S("key"), { "", 0 }, ATH_V_PLAIN, 0 } };
    ath_event ev = { .level = ATH_INFO, .flags = flags, .source = ATH_S("x"),
                     .message = ATH_S("one"), .fact = facts, .fact_count = 2 };
    struct log_draft d;
    ath_fact *fact, *second;

    ck_assert(log_draft_begin(&d, 2, 4, 64));
    fact = log_draft_event(&d, &ev, 1);
    fact[0].value = fact[1].value = log_draft_text(&d, str_of(name));
    ev.message = ATH_S("two");
    second = log_draft_event(&d, &ev, 0);
    second[0].value = ATH_S("");
    second[1].value = fact[1].value;
    return log_draft_send(&d);
}

static void *draft_sender(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5000; i++)
        draft_send("other", i % 3 ? ATH_EV_KEYS : 0);
    return NULL;
}

START_TEST(events_of_a_draft_share_texts_and_blocks_come_back)
{
    struct probe p, q;
    struct log_sink *s, *t;
    pthread_t other;

    probe_init(&p);
    probe_init(&q);
    s = start(&p, &probe_sink, 0, 1);
    t = start(&q, &probe_sink, 0, 2);
    ck_assert_int_eq(pthread_create(&other, NULL, draft_sender, NULL), 0);
    for (int i = 0; i < 5000; i++)
        ck_assert_int_eq(draft_send("mine", i % 3 ? ATH_EV_KEYS : 0), 0);
    pthread_join(other, NULL);
    log_sink_stop(s);
    log_sink_stop(t);
    ck_assert_uint_eq(p.text.n, q.text.n);
    ck_assert(probe_has(&p, "3 x one key=mine\n") && probe_has(&q, "3 x two hidden= key=mine\n"));
    ck_assert_uint_eq(p.text.n, 5000 * (sizeof("3 x one key=mine\n3 x two hidden= key=mine\n") - 1 +
                                        sizeof("3 x one key=other\n3 x two hidden= key=other\n") - 1));
    buf_free(&p.text);
    buf_free(&q.text);
}
END_TEST

START_TEST(retry_gives_the_same_batch_and_says_so_once)
{
    struct probe p, other;
    struct log_sink *s, *o;
    struct log_sink_stats stats[2];

    probe_init(&p);
    probe_init(&other);
    p.fail_writes = 2;
    p.fail_rc = ATH_E_RETRY;
    s = start(&p, &probe_sink, 0, 1);
    o = start(&other, &probe_sink, 0, 1);
    log_write(ATH_INFO, "a", "kept");
    WAIT_FOR((log_sink_stats(stats, 2), stats[0].paused));
    WAIT_FOR(probe_has(&p, "3 a kept\n"));
    WAIT_FOR(probe_has(&other, "2 athena::log log sink \"probe\" writes again, 0 events were lost"));
    ck_assert(probe_has(&other, "1 athena::log log sink \"probe\" is paused: the probe is full\n"));
    ck_assert_uint_eq(log_sink_stats(stats, 2), 2);
    ck_assert(!stats[0].paused);
    ck_assert_uint_eq(stats[0].failed, 0);
    log_sink_stop(s);
    log_sink_stop(o);
    ck_assert_ptr_null(strstr(strstr(other.text.p, "is paused") + 1, "is paused"));
    buf_free(&p.text);
    buf_free(&other.text);
}
END_TEST

START_TEST(other_failures_give_the_batch_up)
{
    struct probe p, other;
    struct log_sink *s, *o;
    struct log_sink_stats stats[2];

    probe_init(&p);
    probe_init(&other);
    p.fail_writes = 1;
    p.fail_rc = ATH_E_UPSTREAM;
    s = start(&p, &probe_sink, 0, 1);
    o = start(&other, &probe_sink, 0, 1);
    log_write(ATH_INFO, "a", "lost");
    WAIT_FOR(probe_has(&other, "writes again, 1 events were lost"));
    ck_assert(!probe_has(&p, "3 a lost\n"));
    log_sink_stats(stats, 2);
    ck_assert_uint_eq(stats[0].failed, 1);
    log_sink_stop(s);
    log_sink_stop(o);
    buf_free(&p.text);
    buf_free(&other.text);
}
END_TEST

START_TEST(reopen_closes_and_opens_and_a_failed_open_is_tried_again)
{
    struct probe p, other;
    struct log_sink *s, *o;

    probe_init(&p);
    probe_init(&other);
    s = start(&p, &probe_sink, 0, 1);
    o = start(&other, &named_sink, 0, 1);
    log_sinks_reopen();
    WAIT_FOR(p.opens == 2);
    p.fail_open = 1;
    log_sinks_reopen();
    moment();
    log_write(ATH_INFO, "a", "waits");
    WAIT_FOR(p.closes == 2);
    ck_assert(!probe_has(&p, "waits"));
    p.fail_open = 0;
    WAIT_FOR(probe_has(&p, "3 a waits\n"));
    log_sink_stop(s);
    log_sink_stop(o);
    buf_free(&p.text);
    buf_free(&other.text);
}
END_TEST

START_TEST(a_sink_that_cannot_open_or_write_does_not_start)
{
    static const ath_sink no_write = { ATH_CAP(ath_sink, ATH_CAP_SINK, "x"), .events = "*" };
    struct probe p;
    struct log_sink *s = NULL;
    ath_err e;

    probe_init(&p);
    p.fail_open = 1;
    ck_assert_int_eq(log_sink_start("probe", &probe_sink, &p, NULL, &s, &e), ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "could not open the probe");
    ck_assert_int_eq(log_sink_start("x", &no_write, &p, NULL, &s, &e), ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "sink \"x\" has no write function");
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(named_events_pass_whatever_the_filter_says)
{
    struct probe every, named;
    struct log_sink *a, *b;
    ath_event ev = { .size = sizeof(ev), .level = ATH_INFO, .source = ATH_S("athena_rs::gateway_trace"),
                     .name = ATH_S("operation"), .message = ATH_S("done") };
    ath_err e;

    probe_init(&every);
    probe_init(&named);
    ck_assert_int_eq(log_filter("error", &e), 0);
    a = start(&every, &probe_sink, 0, 1);
    ck_assert(!log_takes(ATH_INFO, ev.source, ev.name));
    b = start(&named, &named_sink, 0, 1);
    ck_assert(log_takes(ATH_INFO, ev.source, ev.name));
    ck_assert(!log_takes(ATH_INFO, ev.source, ATH_S("operations")));
    log_event(&ev);
    log_write(ATH_ERROR, "x", "an error");
    log_sink_stop(a);
    log_sink_stop(b);
    ck_assert_str_eq(every.text.p, "1 x an error\n");
    ck_assert_str_eq(named.text.p, "3 athena_rs::gateway_trace done\n");
    log_filter("info", &e);
    buf_free(&every.text);
    buf_free(&named.text);
}
END_TEST

static atomic_bool done;

static void *writer(void *arg)
{
    while (!atomic_load(&done))
        log_write(ATH_INFO, "w", "from %d", *(int *)arg);
    return NULL;
}

START_TEST(sinks_come_and_go_while_threads_log)
{
    struct probe steady, p;
    struct log_sink *keep;
    pthread_t t[2];
    int id[2] = { 1, 2 };

    probe_init(&steady);
    probe_init(&p);
    keep = start(&steady, &named_sink, 16, 1);
    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, writer, &id[i]);
    for (int i = 0; i < 20; i++) {
        struct log_sink *s = start(&p, &probe_sink, 64, 1);
        moment();
        log_sink_stop(s);
    }
    done = true;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    log_sink_stop(keep);
    ck_assert_int_eq(p.opens, 20);
    ck_assert_int_eq(p.closes, 20);
    ck_assert(probe_has(&p, "from 1"));
    buf_free(&p.text);
    buf_free(&steady.text);
}
END_TEST

/* ---- filter ---- */

static bool wants(int level, const char *source)
{
    return log_wants(level, str_of(source));
}

START_TEST(filter_reads_directives)
{
    ath_err e;

    ck_assert_int_eq(log_filter("warn, athena::http=info,athena::http::slow=debug", &e), 0);
    ck_assert(wants(ATH_WARN, "x") && !wants(ATH_INFO, "x"));
    ck_assert(wants(ATH_INFO, "athena::http") && !wants(ATH_DEBUG, "athena::http"));
    ck_assert(wants(ATH_DEBUG, "athena::http::slow"));
    ck_assert_int_eq(log_filter("off,athena::http=info", &e), 0);
    ck_assert(!wants(ATH_ERROR, "x") && wants(ATH_INFO, "athena::http"));
    ck_assert_int_eq(log_filter("", &e), 0);
    ck_assert(wants(ATH_ERROR, "x") && !wants(ATH_WARN, "x"));
    ck_assert_int_eq(log_filter("TRACE", &e), 0);
    ck_assert(wants(ATH_DEBUG, "x"));
    ck_assert_int_eq(log_filter("!!!", &e), ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "log filter: \"!!!\" is neither a level nor \"target=level\"");
    ck_assert_int_eq(log_filter("a=loud", &e), ATH_E_CONFIG);
    ck_assert_int_eq(log_filter("=info", &e), ATH_E_CONFIG);
    ck_assert(wants(ATH_DEBUG, "x"));
    ck_assert_int_eq(log_filter("info", &e), 0);
}
END_TEST

/* ---- redaction ---- */

START_TEST(redaction_takes_secrets_out)
{
    static const char *const cases[][2] = {
        { "nothing here", "nothing here" },
        { "to postgres://u:s3cret@h:5432/db?x=1 now", "to postgres://u:***@h:5432/db?x=1 now" },
        { "postgres://u:p@ss/w@h/db", "postgres://u:***@h/db" },
        { "http://host:80/path", "http://host:80/path" },
        { "host=h password=abc user=u", "host=h password=*** user=u" },
        { "password='a b' x", "password='***' x" },
        { "?a=1&token=abc&b=2", "?a=1&token=***&b=2" },
        { "{\"api_key\":\"k\\\"1\",\"a\":1}", "{\"api_key\":\"***\",\"a\":1}" },
        { "Authorization: Bearer abc def", "Authorization: ***" },
        { "x-athena-key: abc", "x-athena-key: ***" },
        { "unexpected token: comma", "unexpected token: comma" },
        { "password=", "password=" },
        { "postgres://u:p@a,postgres://u:q@b", "postgres://u:***@b" },
    };

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct buf b = BUF_HEAP;
        log_redact(&b, str_of(cases[i][0]));
        ck_assert_str_eq(b.p, cases[i][1]);
        buf_free(&b);
    }
    ck_assert(log_secret_name(ATH_S("X-PG-URI")) && log_secret_name(ATH_S("proxy-authorization")));
    ck_assert(log_secret_name(ATH_S("Set-Cookie")) && !log_secret_name(ATH_S("x-user-id")));
}
END_TEST

START_TEST(lines_of_ours_are_redacted)
{
    struct probe p;
    struct log_sink *s;

    probe_init(&p);
    s = start(&p, &probe_sink, 0, 1);
    log_write(ATH_WARN, "x", "could not connect to \"%s\"", "postgres://u:pw@h/db");
    log_sink_stop(s);
    ck_assert_str_eq(p.text.p, "2 x could not connect to \"postgres://u:***@h/db\"\n");
    buf_free(&p.text);
}
END_TEST

struct with_queue {
    ath_str other;
    int64_t queue_events, batch;
    uint64_t queue_bytes, flush_ms;
};

START_TEST(queue_options_come_from_the_plugins_table)
{
    static const ath_field fields[] = {
        ATH_STR(struct with_queue, other, "dir", "", NULL, "."),
        ATH_INT(struct with_queue, queue_events, "queue_events", "1", NULL, "."),
        ATH_BYTES(struct with_queue, queue_bytes, "queue_bytes", "2m", NULL, "."),
        ATH_INT(struct with_queue, batch, "batch", "1", NULL, "."),
        ATH_MSEC(struct with_queue, flush_ms, "flush_ms", "1", NULL, "."),
    };
    struct with_queue cfg = { .queue_events = 77, .queue_bytes = 88, .batch = 8, .flush_ms = 9 };
    struct log_queue_options o = { 0 };

    log_queue_options_of(fields, sizeof(fields[0]), ATH_COUNT(fields), &cfg, &o);
    ck_assert_uint_eq(o.queue_events, 77);
    ck_assert_uint_eq(o.queue_bytes, 88);
    ck_assert_uint_eq(o.batch, 8);
    ck_assert_uint_eq(o.flush_ms, 9);
}
END_TEST

SUITE("log", ring_keeps_the_order_of_each_pusher, ring_refuses_when_full, a_stop_writes_what_waits,
      events_that_come_together_leave_together, a_full_queue_drops_and_counts,
      a_queue_is_bounded_by_bytes_too, events_of_a_draft_share_texts_and_blocks_come_back,
      retry_gives_the_same_batch_and_says_so_once, other_failures_give_the_batch_up,
      reopen_closes_and_opens_and_a_failed_open_is_tried_again,
      a_sink_that_cannot_open_or_write_does_not_start, named_events_pass_whatever_the_filter_says,
      sinks_come_and_go_while_threads_log, filter_reads_directives, redaction_takes_secrets_out,
      lines_of_ours_are_redacted, queue_options_come_from_the_plugins_table)
