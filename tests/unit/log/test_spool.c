/* core/log: events as bytes, and the spool that they wait in. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "log/log.h"
#include "log/pack.h"
#include "log/spool.h"
#include "support/check_main.h"

/* ---- packing ---- */

enum { FACTS = 5 };

static ath_event event_of(ath_fact fact[FACTS], const char *id, const char *long_text,
                          const char *n)
{
    fact[0] = (ath_fact){ ATH_S("request_id"), str_of(id), ATH_V_TEXT, 0 };
    fact[1] = (ath_fact){ ATH_S("headers"), str_of(long_text), ATH_V_JSON, 0 };
    fact[2] = (ath_fact){ ATH_S("nothing"), { NULL, 0 }, ATH_V_TEXT, 0 };
    fact[3] = (ath_fact){ ATH_S("empty"), ATH_S(""), ATH_V_TEXT, 0 };
    fact[4] = (ath_fact){ ATH_S("number"), str_of(n), ATH_V_NUMBER, 0 };
    return (ath_event){ .size = sizeof(ath_event),
                        .level = ATH_INFO,
                        .flags = ATH_EV_ROW,
                        .time_ns = 1234567890123456789u,
                        .source = ATH_S("athena::rows"),
                        .name = ATH_S("request"),
                        .message = ATH_S("words"),
                        .request_id = fact[0].value,
                        .trace_id = ATH_S("trace"),
                        .fact = fact,
                        .fact_count = FACTS };
}

static void same(const ath_event *a, const ath_event *b)
{
    ck_assert_uint_eq(a->level, b->level);
    ck_assert_uint_eq(a->flags, b->flags);
    ck_assert_uint_eq(a->time_ns, b->time_ns);
    ck_assert(str_eq(a->source, b->source) && str_eq(a->name, b->name));
    ck_assert(str_eq(a->message, b->message) && str_eq(a->request_id, b->request_id));
    ck_assert(str_eq(a->trace_id, b->trace_id));
    ck_assert_uint_eq(a->fact_count, b->fact_count);
    for (uint32_t i = 0; i < a->fact_count; i++) {
        ath_str v = b->fact[i].value;
        ck_assert(str_eq(a->fact[i].key, b->fact[i].key));
        ck_assert_uint_eq(a->fact[i].form, b->fact[i].form);
        ck_assert_msg(str_eq(a->fact[i].value, v), "\"%.*s\" became \"%.*s\"",
                      STR_ARG(a->fact[i].value), STR_ARG(v));
        ck_assert(!a->fact[i].value.p == !v.p);
        ck_assert(!v.p || v.p[v.n] == 0);
    }
}

static void round_trip(const ath_event *ev, size_t n, size_t *ret_bytes)
{
    struct log_pack p = { 0 };
    struct log_unpacked u = { 0 };

    log_pack_begin(&p);
    for (size_t i = 0; i < n; i++)
        ck_assert(log_pack_add(&p, &ev[i]));
    log_pack_end(&p);
    *ret_bytes = p.body.n + p.kinds.n;
    log_unpack_begin(&u);
    for (int i = 0; i < 2; i++) /* two of them, one after the other */
        ck_assert(log_unpack(&u, buf_view(&p.body), buf_view(&p.kinds), p.events));
    log_unpack_end(&u);
    ck_assert_uint_eq(u.n, 2 * n);
    for (size_t i = 0; i < 2 * n; i++)
        same(&ev[i % n], u.view[i]);
    log_pack_free(&p);
    log_unpacked_free(&u);
}

START_TEST(events_come_back_as_they_were)
{
    static char text[6][70000];
    static ath_fact fact[8][FACTS];
    ath_event ev[8];
    size_t bytes;

    memset(text[0], 'a', 300);
    memset(text[1], 'a', 300);
    text[1][150] = 'b';          /* a delta in the middle */
    memset(text[2], 'a', 301);   /* another length */
    memset(text[3], 'c', 69999); /* too long for a delta, or a short length */
    memset(text[4], 'c', 69998);
    memset(text[5], 'd', 252);
    for (int i = 0; i < 6; i++)
        ev[i] = event_of(fact[i], i % 2 ? "id-1" : "id-2", text[i], i % 3 ? "1" : "22");
    ev[6] = event_of(fact[6], "id-1", "", "1");
    ev[6].message = (ath_str){ NULL, 0 };
    ev[7] = event_of(fact[7], "", "x", "1");
    ev[7].fact_count = 2; /* another kind */
    round_trip(ev, 8, &bytes);
    ck_assert_uint_lt(bytes, 2 * 70000 + 4096);
}
END_TEST

static const ath_fact *facts_of(const ath_event *ev)
{
    static struct log_unpacked u;
    struct log_pack p = { 0 };

    log_pack_begin(&p);
    ck_assert(log_pack_add(&p, ev));
    log_pack_end(&p);
    log_unpack_begin(&u);
    ck_assert(log_unpack(&u, buf_view(&p.body), buf_view(&p.kinds), 1));
    log_unpack_end(&u);
    same(ev, u.view[0]);
    log_pack_free(&p);
    return u.view[0]->fact;
}

/* ATH_EV_KEYS: a pointer that a sink has seen is the same key again. */
START_TEST(keys_that_live_as_long_as_the_process_do)
{
    ath_fact fact[2][FACTS];
    ath_event a = event_of(fact[0], "id", "x", "1"), b = event_of(fact[1], "id", "y", "2");
    const char *key, *other;

    a.flags |= ATH_EV_KEYS;
    b.flags |= ATH_EV_KEYS;
    key = facts_of(&a)[0].key.p;
    b.fact_count = 2;
    other = facts_of(&b)[0].key.p;
    ck_assert_ptr_ne(key, other);
    for (int i = 0; i < 200; i++) { /* kinds that are known no more */
        char name[16];
        snprintf(name, sizeof(name), "name %d", i);
        b.name = str_of(name);
        b.flags = ATH_EV_ROW | (i < 50 ? ATH_EV_KEYS : 0u);
        facts_of(&b);
    }
    ck_assert_ptr_eq(facts_of(&a)[0].key.p, key);
    ck_assert_str_eq(key, "request_id");
}
END_TEST

START_TEST(what_is_the_same_costs_a_byte)
{
    enum { N = 1000 };
    static ath_fact fact[N][FACTS];
    static ath_event ev[N];
    static char id[N][16];
    char headers[400] = { 0 };
    size_t bytes;

    memset(headers, 'h', sizeof(headers) - 1);
    for (int i = 0; i < N; i++) {
        snprintf(id[i], sizeof(id[i]), "id-%d", i / 2);
        ev[i] = event_of(fact[i], id[i / 2 * 2], headers, "7");
    }
    round_trip(ev, N, &bytes);
    ck_assert_uint_lt(bytes, N * 24 + 1024);
}
END_TEST

static void count(void *arg, ath_str name, uint64_t n)
{
    struct buf *b = arg;

    buf_printf(b, "%.*s=%llu ", STR_ARG(name), (unsigned long long)n);
}

START_TEST(a_record_is_full_and_says_what_it_has)
{
    struct log_pack p = { 0 };
    ath_fact fact[FACTS];
    ath_event ev = event_of(fact, "a", "b", "1");
    struct buf b = BUF_HEAP;
    size_t large = PACK_MOST;
    ath_event big = ev;
    char *text = mem_new(large + 1);

    memset(text, 'x', large);
    big.name = ATH_S("big");
    big.message = str_from(text, large);
    log_pack_begin(&p);
    ck_assert(log_pack_add(&p, &ev) && log_pack_add(&p, &ev) && log_pack_add(&p, &big));
    ck_assert(!log_pack_add(&p, &ev));
    log_pack_end(&p);
    ck_assert_uint_eq(p.events, 3);
    log_pack_count(buf_view(&p.kinds), count, &b);
    ck_assert_str_eq(b.p, "request=2 big=1 ");
    buf_free(&b);
    log_pack_free(&p);
    free(text);
}
END_TEST

/* Whatever stands there is refused, or is events: never memory that is not ours. */
START_TEST(damaged_bytes_are_refused)
{
    struct log_pack p = { 0 };
    struct log_unpacked u = { 0 };
    static ath_fact fact[20][FACTS];
    static char headers[20][100];
    ath_event ev[20];
    int refused = 0;

    log_pack_begin(&p);
    for (int i = 0; i < 20; i++) {
        memset(headers[i], 'h', 99);
        headers[i][50] = (char)('a' + i);
        ev[i] = event_of(fact[i], "id", headers[i], "1");
        ck_assert(log_pack_add(&p, &ev[i]));
    }
    log_pack_end(&p);
    for (size_t at = 0; at < p.body.n; at++) {
        char before = p.body.p[at];
        p.body.p[at] = (char)(before ^ (char)(1 + at % 255));
        refused += !log_unpack(&u, buf_view(&p.body), buf_view(&p.kinds), p.events);
        p.body.p[at] = before;
        refused += !log_unpack(&u, str_from(p.body.p, at), buf_view(&p.kinds), p.events);
    }
    for (size_t at = 0; at < p.kinds.n; at++) {
        char before = p.kinds.p[at];
        p.kinds.p[at] = (char)(before ^ (char)(1 + at % 255));
        log_unpack(&u, buf_view(&p.body), buf_view(&p.kinds), p.events);
        p.kinds.p[at] = before;
    }
    ck_assert_int_ge(refused, (int)p.body.n);
    ck_assert(log_unpack(&u, buf_view(&p.body), buf_view(&p.kinds), p.events));
    ck_assert(!log_unpack(&u, buf_view(&p.body), buf_view(&p.kinds), p.events + 1));
    ck_assert(!log_unpack(&u, buf_view(&p.body), buf_view(&p.kinds), p.events - 1));
    log_unpacked_free(&u);
    log_pack_free(&p);
}
END_TEST

/* ---- the spool ---- */

static char folder[64];
static uint64_t lost_events;

static void on_lost_kind(void *arg, ath_str name, uint64_t n)
{
    (void)arg;
    (void)name;
    lost_events += n;
}

static void on_lost(void *arg, ath_str kinds)
{
    log_pack_count(kinds, on_lost_kind, arg);
}

static void folder_make(void)
{
    snprintf(folder, sizeof(folder), "/tmp/athena-spool-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    lost_events = 0;
}

static int each_file(void (*fn)(const char *path))
{
    DIR *d = opendir(folder);
    const struct dirent *one;
    char path[512];
    int n = 0;

    while ((one = readdir(d))) {
        if (strcmp(one->d_name, ".") == 0 || strcmp(one->d_name, "..") == 0)
            continue;
        n++;
        snprintf(path, sizeof(path), "%s/%s", folder, one->d_name);
        if (fn)
            fn(path);
    }
    closedir(d);
    return n;
}

static void path_remove(const char *path)
{
    unlink(path);
}

static void folder_remove(void)
{
    chmod(folder, 0700);
    each_file(path_remove);
    ck_assert_int_eq(rmdir(folder), 0);
}

static struct spool *opened(uint64_t bytes, uint64_t target)
{
    struct spool_options o = {
        .name = "test", .folder = folder, .bytes = bytes, .target = target, .lost = on_lost
    };
    struct spool *s = NULL;
    ath_err e;

    err_reset(&e);
    ck_assert_int_eq(spool_open(&o, &s, &e), 0);
    return s;
}

/* A record of `events` events whose texts take `room` bytes each. */
static int put(struct spool *s, uint64_t number, uint32_t events, size_t room)
{
    struct log_pack p = { 0 };
    char *text = mem_new(events * (room + 1)), word[24];
    ath_fact fact[FACTS];
    ath_event *ev = mem_new(events * sizeof(*ev));
    int rc;

    snprintf(word, sizeof(word), "n%llu", (unsigned long long)number);
    log_pack_begin(&p);
    for (uint32_t i = 0; i < events; i++) {
        char *at = text + i * (room + 1);
        memset(at, 'a' + (int)(i % 26), room);
        ev[i] = event_of(fact, word, "h", "1");
        ev[i].message = str_from(at, room);
        ck_assert(log_pack_add(&p, &ev[i]));
    }
    log_pack_end(&p);
    rc = spool_put(s, number, events, buf_view(&p.body), buf_view(&p.kinds));
    log_pack_free(&p);
    free(text);
    free(ev);
    return rc;
}

/* Takes all that is there, `most` events at once; the numbers of the records in their order. */
static const char *taken_by(struct spool *s, uint64_t most)
{
    static char text[4096];
    struct spool_hand h = { 0 };
    struct log_unpacked u = { 0 };
    size_t n = 0;

    text[0] = 0;
    while (spool_next(s, most, &h)) {
        ck_assert(h.count == 1 || h.events <= most);
        for (uint32_t i = 0; i < h.count; i++) {
            char word[24];
            const struct spool_record *r = &h.record[i];
            log_unpack_begin(&u);
            ck_assert(log_unpack(&u, r->body, r->kinds, r->events));
            snprintf(word, sizeof(word), "n%llu", (unsigned long long)r->number);
            ck_assert(str_is(u.event[0].request_id, word));
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%llu%s ",
                                  (unsigned long long)r->number, h.again ? "'" : "");
        }
        spool_done(s, &h);
    }
    spool_hand_free(&h);
    log_unpacked_free(&u);
    return text;
}

static const char *taken(struct spool *s)
{
    return taken_by(s, 1);
}

static struct spool_stats stats(struct spool *s)
{
    struct spool_stats st;

    spool_stats(s, &st);
    return st;
}

START_TEST(records_come_out_in_their_order)
{
    struct spool *s;

    folder_make();
    s = opened(0, 1);
    for (uint64_t i = 1; i <= 5; i++)
        ck_assert_int_eq(put(s, i, 10, 100), 0);
    ck_assert_uint_eq(stats(s).events, 50);
    ck_assert_str_eq(taken_by(s, 20), "1 2 3 4 5 ");
    ck_assert_uint_eq(stats(s).events, 0);
    ck_assert_uint_eq(stats(s).bytes, 0);
    ck_assert_uint_eq(stats(s).done, 50);
    ck_assert_int_eq(put(s, 6, 1, 10), 0);
    ck_assert_str_eq(taken(s), "6 ");
    spool_close(s);
    ck_assert_int_eq(each_file(NULL), 0); /* nothing that is done stays */
    folder_remove();
}
END_TEST

START_TEST(segments_that_are_done_go_at_once)
{
    struct spool *s;

    folder_make();
    s = opened(SPOOL_LEAST, 1);
    for (uint64_t i = 1; i <= 8; i++)
        ck_assert_int_eq(put(s, i, 100, 3000), 0);
    ck_assert_int_ge(each_file(NULL), 4);
    ck_assert_str_eq(taken(s), "1 2 3 4 5 6 7 8 ");
    ck_assert_int_le(each_file(NULL), 1);
    ck_assert_uint_eq(lost_events, 0);
    spool_close(s);
    folder_remove();
}
END_TEST

START_TEST(what_another_process_left_is_taken_over)
{
    struct spool *s;
    int status;
    pid_t pid;

    folder_make();
    if ((pid = fork()) == 0) { /* it is killed with its spool open, and its first record done */
        struct spool_hand r = { 0 };
        s = opened(0, 1);
        for (uint64_t i = 1; i <= 3; i++)
            put(s, i, 10, 100);
        spool_next(s, 1, &r);
        spool_done(s, &r);
        spool_next(s, 1, &r); /* and its second one under way */
        raise(SIGKILL);
    }
    waitpid(pid, &status, 0);
    s = opened(0, 1);
    ck_assert_int_eq(put(s, 1, 5, 100), 0);
    spool_adopt(s);
    ck_assert_uint_eq(stats(s).adopted, 20);
    ck_assert_uint_eq(stats(s).events, 25);
    ck_assert_str_eq(taken(s), "2' 3' 1 "); /* the oldest first */
    spool_adopt(s);
    ck_assert_str_eq(taken(s), "");
    spool_close(s);
    folder_remove();
}
END_TEST

START_TEST(two_that_share_a_folder_leave_each_other_alone)
{
    struct spool *a, *b;

    folder_make();
    a = opened(0, 1);
    b = opened(0, 1);
    ck_assert_int_eq(put(a, 1, 10, 100), 0);
    ck_assert_int_eq(put(b, 2, 10, 100), 0);
    spool_adopt(a);
    spool_adopt(b);
    ck_assert_str_eq(taken(a), "1 ");
    ck_assert_int_eq(put(a, 3, 10, 100), 0);
    spool_close(a); /* orderly, with something left */
    spool_adopt(b);
    ck_assert_str_eq(taken(b), "3' 2 "); /* its file is the older one */
    spool_close(b);
    folder_remove();
}
END_TEST

START_TEST(events_for_another_place_are_left_alone)
{
    struct spool *s;

    folder_make();
    s = opened(0, 1);
    ck_assert_int_eq(put(s, 1, 10, 100), 0);
    spool_close(s);
    s = opened(0, 2);
    spool_adopt(s);
    ck_assert_str_eq(taken(s), "");
    spool_close(s);
    ck_assert_int_eq(each_file(NULL), 1);
    s = opened(0, 1);
    spool_adopt(s);
    ck_assert_str_eq(taken(s), "1' ");
    spool_close(s);
    folder_remove();
}
END_TEST

/* The spool of a process that left three records behind, whose files `damage` was done to. */
static struct spool *damaged(void (*damage)(const char *path))
{
    struct spool *s;

    folder_make();
    s = opened(0, 1);
    for (uint64_t i = 1; i <= 3; i++)
        ck_assert_int_eq(put(s, i, 10, 100), 0);
    spool_close(s);
    each_file(damage);
    s = opened(0, 1);
    spool_adopt(s);
    return s;
}

static void cut_tail(const char *path)
{
    struct stat st;

    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(truncate(path, st.st_size - 7), 0);
}

START_TEST(a_torn_tail_costs_that_tail)
{
    struct spool *s = damaged(cut_tail);

    ck_assert_str_eq(taken(s), "1' 2' ");
    spool_close(s);
    ck_assert_int_eq(each_file(NULL), 0);
    folder_remove();
}
END_TEST

/* A page that never reached the disk, in the middle of the second record. */
static void break_second(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDWR);
    char zero[16] = { 0 };

    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_eq(pwrite(fd, zero, sizeof(zero), st.st_size / 2), sizeof(zero));
    close(fd);
}

START_TEST(a_broken_record_is_not_sent)
{
    struct spool *s = damaged(break_second);

    ck_assert_str_eq(taken_by(s, 100), "1' "); /* though it was taken with the one that is whole */
    ck_assert_uint_eq(stats(s).dropped_torn, 20);
    ck_assert_uint_eq(stats(s).events, 0);
    ck_assert_uint_eq(stats(s).bytes, 0);
    spool_close(s);
    folder_remove();
}
END_TEST

START_TEST(the_oldest_goes_when_there_is_no_room)
{
    struct spool *s;
    struct spool_stats st;
    const char *left;

    folder_make();
    s = opened(SPOOL_LEAST, 1);
    for (uint64_t i = 1; i <= 100; i++) /* 100 times 300 kB */
        ck_assert_int_eq(put(s, i, 100, 3000), 0);
    st = stats(s);
    ck_assert_uint_le(st.bytes, SPOOL_LEAST);
    ck_assert_uint_gt(st.dropped_full, 0);
    ck_assert_uint_eq(st.dropped_full, lost_events);
    ck_assert_uint_eq(st.events + st.dropped_full, 100 * 100);
    left = taken(s);
    ck_assert_ptr_null(strstr(left, " 40 ")); /* and the latest are there, in their order */
    ck_assert_str_eq(left + strlen(left) - strlen("97 98 99 100 "), "97 98 99 100 ");
    spool_close(s);
    folder_remove();
}
END_TEST

START_TEST(a_record_in_hand_is_not_lost_with_its_segment)
{
    struct spool *s;
    struct spool_hand r = { 0 };

    folder_make();
    s = opened(SPOOL_LEAST, 1);
    ck_assert_int_eq(put(s, 1, 100, 3000), 0);
    ck_assert(spool_next(s, 1, &r));
    for (uint64_t i = 2; i <= 100; i++)
        ck_assert_int_eq(put(s, i, 100, 3000), 0);
    ck_assert_uint_eq(stats(s).events + stats(s).dropped_full, 99 * 100);
    ck_assert_uint_eq(stats(s).dropped_full, lost_events);
    spool_done(s, &r);
    ck_assert_uint_eq(stats(s).done, 100);
    taken(s);
    ck_assert_uint_eq(stats(s).events, 0);
    spool_hand_free(&r);
    spool_close(s);
    folder_remove();
}
END_TEST

START_TEST(without_a_disk_events_wait_in_memory)
{
    struct spool *s;
    struct spool_stats st;
    uint64_t n = 0;

    folder_make();
    s = opened(1u << 30, 1);
    ck_assert_int_eq(rmdir(folder), 0); /* no file can be made there any more, not even by root */
    while (n < 200 && put(s, n + 1, 100, 3000) == 0)
        n++;
    st = stats(s);
    ck_assert(st.in_memory);
    ck_assert_uint_ge(st.bytes, SPOOL_MEMORY / 2);
    ck_assert_uint_le(st.bytes, SPOOL_MEMORY + (SPOOL_MEMORY >> 1));
    ck_assert_uint_lt(n, 200);
    ck_assert_uint_eq(st.dropped_disk, 100);
    ck_assert_uint_eq(lost_events, 100);
    ck_assert_int_gt((int)strlen(taken(s)), 100);
    ck_assert_int_eq(put(s, 300, 1, 10), 0); /* there is room again */
    ck_assert_str_eq(taken(s), "300 ");
    ck_assert_int_eq(put(s, 301, 10, 10), 0);
    spool_close(s); /* and that one is lost, which counts */
    ck_assert_uint_eq(lost_events, 110);
}
END_TEST

/* Files end in the middle of a record: what was written of it is taken back. */
START_TEST(a_disk_that_is_full_leaves_whole_records)
{
    struct rlimit before, less;
    struct spool *s;
    uint64_t n = 0;

    folder_make();
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    s = opened(1u << 30, 1);
    less = (struct rlimit){ 1000000, before.rlim_max };
    setrlimit(RLIMIT_FSIZE, &less); /* of memory, too */
    while (n < 20 && put(s, n + 1, 100, 3000) == 0)
        n++;
    setrlimit(RLIMIT_FSIZE, &before);
    ck_assert_uint_eq(n, 6); /* three in a file, three in memory */
    ck_assert(stats(s).in_memory);
    ck_assert_uint_eq(lost_events, 100);
    ck_assert_int_eq(put(s, 7, 100, 3000), 0);
    ck_assert_str_eq(taken(s), "1 2 3 4 5 6 7 ");
    ck_assert_int_eq(put(s, 8, 100, 3000), 0);
    ck_assert(!stats(s).in_memory); /* it is tried again */
    ck_assert_str_eq(taken(s), "8 ");
    ck_assert_uint_eq(stats(s).bytes, 0);
    spool_close(s);
    folder_remove();
}
END_TEST

START_TEST(a_folder_that_cannot_be_written_is_refused)
{
    struct spool_options o = { .name = "test", .folder = "/proc/no/folder", .lost = on_lost };
    struct spool *s = NULL;
    ath_err e;

    err_reset(&e);
    ck_assert_int_eq(spool_open(&o, &s, &e), ATH_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(e.message, "/proc/no/folder"));
}
END_TEST

SUITE("spool", events_come_back_as_they_were, keys_that_live_as_long_as_the_process_do,
      what_is_the_same_costs_a_byte, a_record_is_full_and_says_what_it_has,
      damaged_bytes_are_refused, records_come_out_in_their_order, segments_that_are_done_go_at_once,
      what_another_process_left_is_taken_over, two_that_share_a_folder_leave_each_other_alone,
      events_for_another_place_are_left_alone, a_torn_tail_costs_that_tail,
      a_broken_record_is_not_sent, the_oldest_goes_when_there_is_no_room,
      a_record_in_hand_is_not_lost_with_its_segment, without_a_disk_events_wait_in_memory,
      a_disk_that_is_full_leaves_whole_records, a_folder_that_cannot_be_written_is_refused)
