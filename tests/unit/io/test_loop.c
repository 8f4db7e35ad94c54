/* Loops and deadlines: order and threads of posts, deferred work, how late deadlines are. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "io/deadline.h"
#include "io/loop.h"
#include "support/check_main.h"

static ath_loop *new_loop(void)
{
    ath_loop *l;
    ath_err e;

    err_reset(&e);
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    return l;
}

/* ---- posts ---- */

enum { POSTERS = 4, POSTS = 20000 };

static struct {
    ath_loop *l;
    unsigned next[POSTERS];
    unsigned seen;
    bool wrong;
} posts;

static void on_post(void *arg)
{
    uintptr_t v = (uintptr_t)arg;
    unsigned who = (unsigned)(v / POSTS), n = (unsigned)(v % POSTS);

    if (posts.next[who]++ != n || loop_current() != posts.l)
        posts.wrong = true;
    posts.seen++;
}

static void *poster(void *arg)
{
    for (uintptr_t i = 0; i < POSTS; i++)
        loop_post(posts.l, on_post, (void *)((uintptr_t)arg * POSTS + i));
    return NULL;
}

static void read_seen(void *arg)
{
    *(unsigned *)arg = posts.seen;
}

START_TEST(posts_run_in_order_of_each_thread)
{
    pthread_t thread[POSTERS];
    unsigned seen = 0;
    ath_err e;

    posts.l = new_loop();
    ck_assert_int_eq(loop_start(posts.l, &e), 0);
    for (uintptr_t i = 0; i < POSTERS; i++)
        pthread_create(&thread[i], NULL, poster, (void *)i);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(thread[i], NULL);
    loop_call(posts.l, read_seen, &seen);
    ck_assert_uint_eq(seen, POSTERS * POSTS);
    ck_assert(!posts.wrong);
    loop_stop(posts.l);
    loop_join(posts.l);
    loop_post(posts.l, on_post, NULL); /* dropped */
    loop_call(posts.l, read_seen, &seen);
    ck_assert_uint_eq(posts.seen, POSTERS * POSTS);
    loop_free(posts.l);
}
END_TEST

/* ---- deferred work ---- */

static struct {
    ath_loop *l;
    struct deferred a, b, chain;
    char order[16];
    unsigned n, links;
    uint64_t timer_at, after_timer;
} def;

static void run_a(void *arg)
{
    (void)arg;
    def.order[def.n++] = 'a';
    loop_defer(def.l, &def.b);
    loop_defer(def.l, &def.b); /* waits already */
}

static void run_b(void *arg)
{
    (void)arg;
    def.order[def.n++] = 'b';
}

static void defer_from_post(void *arg)
{
    (void)arg;
    def.order[def.n++] = 'p';
    loop_defer(def.l, &def.a);
    def.order[def.n++] = 'q';
}

static void from_timer(struct deadline *d)
{
    (void)d;
    def.timer_at = clock_ms();
    loop_defer(def.l, &def.chain);
}

static void run_chain(void *arg)
{
    (void)arg;
    if (def.links == 0)
        def.after_timer = clock_ms();
    if (++def.links < 1000)
        loop_defer(def.l, &def.chain);
    else
        loop_stop(def.l);
}

START_TEST(deferred_work_runs_later_and_before_the_loop_waits)
{
    struct deadline d;

    def.l = new_loop();
    deferred_init(&def.a, run_a, NULL);
    deferred_init(&def.b, run_b, NULL);
    deferred_init(&def.chain, run_chain, NULL);
    loop_post(def.l, defer_from_post, NULL);
    deadline_init(&d, from_timer);
    deadline_set(def.l, &d, loop_now_ms(def.l) + 30);
    loop_run(def.l);
    ck_assert_str_eq(def.order, "pqab");
    ck_assert_uint_eq(def.links, 1000); /* more than one turn may do */
    ck_assert_uint_le(def.after_timer - def.timer_at, 5);
    loop_free(def.l);
}
END_TEST

/* ---- the watchdog's data ---- */

static void label_outer(void *arg)
{
    ath_loop *l = arg;
    uint64_t first, second, third;
    const char *before = loop_enter(l, "outer"), *inner = loop_enter(l, "inner");

    ck_assert_str_eq(loop_busy(l, &first), "inner");
    ck_assert_str_eq(loop_busy(l, &second), "inner");
    ck_assert_uint_eq(first, second);
    loop_leave(l, inner);
    ck_assert_str_eq(loop_busy(l, &third), "outer");
    ck_assert_uint_ne(second, third);
    loop_leave(l, before);
    ck_assert_ptr_null(loop_busy(l, &third));
    uv_sleep(400); /* the next tick is late */
}

static uint64_t lag_seen;

static void look_at_lag(struct deadline *d)
{
    (void)d;
    lag_seen = atomic_load(&loop_current()->lag_ns);
    loop_stop(loop_current());
}

START_TEST(lag_and_labels_are_seen)
{
    ath_loop *l = new_loop();
    struct deadline d;

    deadline_init(&d, look_at_lag);
    deadline_set(l, &d, loop_now_ms(l) + 420);
    loop_post(l, label_outer, l);
    loop_run(l);
    loop_free(l);
    ck_assert_uint_gt(lag_seen, 100 * 1000000u);
}
END_TEST

/* ---- deadlines ---- */

enum { MANY = 10000 };

struct probe {
    struct deadline d;
    uint64_t want;
};

static struct {
    ath_loop *l;
    struct probe p[MANY];
    unsigned fired, left, early, late, worst;
} many;

static void on_probe(struct deadline *d)
{
    struct probe *p = list_entry(d, struct probe, d);
    uint64_t now = clock_ms();

    many.fired++;
    if (now < p->want)
        many.early++;
    else if (now - p->want > many.worst)
        many.worst = (unsigned)(now - p->want);
    if (--many.left == 0)
        loop_stop(many.l);
}

START_TEST(ten_thousand_deadlines_fire_on_time)
{
    unsigned cleared = 0;
    uint64_t now;

    many.l = new_loop();
    uv_update_time(&many.l->uv);
    now = loop_now_ms(many.l);
    srand(7);
    for (unsigned i = 0; i < MANY; i++) {
        struct probe *p = &many.p[i];
        deadline_init(&p->d, on_probe);
        deadline_set(many.l, &p->d, now + (uint64_t)rand() % 100000);
        p->want = now + 1 + (uint64_t)rand() % 2000; /* moved */
        deadline_set(many.l, &p->d, p->want);
    }
    for (unsigned i = 0; i < MANY; i += 10, cleared++)
        deadline_clear(&many.p[i].d);
    many.left = MANY - cleared;
    loop_run(many.l);
    ck_assert_uint_eq(many.fired, MANY - cleared);
    ck_assert_uint_eq(many.early, 0);
    ck_assert_uint_le(many.worst, 200); /* a busy machine; two ticks on an idle one */
    loop_free(many.l);
}
END_TEST

SUITE("loop", posts_run_in_order_of_each_thread, deferred_work_runs_later_and_before_the_loop_waits,
      lag_and_labels_are_seen, ten_thousand_deadlines_fire_on_time)
