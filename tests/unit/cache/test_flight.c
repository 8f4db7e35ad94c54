/* Single flight: one leads, the others get what he brings, or one of them takes his place. */
#include <pthread.h>

#include "base/err.h"
#include "cache/flight.h"
#include "lib/text.h"
#include "support/check_main.h"

static ath_loop *loop;

struct waiter {
    struct flight_wait wait;
    int woken;
};

static void on_woken(void *arg)
{
    ((struct waiter *)arg)->woken++;
}

static struct waiter waiter(void)
{
    return (struct waiter){ .wait = { .loop = loop, .woken = on_woken } };
}

static struct flight *join(const struct cache_key *k, struct waiter *w)
{
    *w = waiter();
    w->wait.arg = w;
    return flight_join(k, &w->wait);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* What was posted has run. */
static void settle(void)
{
    loop_call(loop, nothing, NULL);
}

static void setup(void)
{
    ath_err e;

    ck_assert_int_eq(loop_new(LOOP_HTTP, 0, "http-0", &loop, &e), 0);
    ck_assert_int_eq(loop_start(loop, &e), 0);
    flight_start();
}

static void teardown(void)
{
    flight_stop();
    loop_stop(loop);
    loop_join(loop);
    loop_free(loop);
}

START_TEST(all_who_wait_get_the_answer)
{
    struct cache_key k = { { 1, 2 } }, other = { { 1, 3 } };
    struct waiter w[5], o;
    struct flight *lead, *also;
    struct entry *e;

    setup();
    ck_assert_ptr_nonnull(lead = join(&k, &w[0]));
    ck_assert_ptr_nonnull(also = join(&other, &o)); /* another question */
    for (int i = 1; i < 5; i++)
        ck_assert_ptr_null(join(&k, &w[i]));
    e = entry_new(&k, ATH_S("answer"));
    flight_end(lead, e);
    settle();
    for (int i = 1; i < 5; i++) {
        ck_assert_int_eq(w[i].woken, 1);
        ck_assert_ptr_eq(w[i].wait.entry, e);
        ck_assert(!flight_leave(&w[i].wait)); /* too late */
        entry_unref(w[i].wait.entry);
    }
    entry_unref(e);
    ck_assert_ptr_nonnull(lead = join(&k, &w[0])); /* it is over: a new one */
    flight_end(lead, NULL);
    flight_end(also, NULL);
    teardown();
}
END_TEST

START_TEST(when_the_leader_goes_the_first_who_waits_leads_G_34)
{
    struct cache_key k = { { 1, 2 } };
    struct waiter w[4];
    struct flight *lead;

    setup();
    lead = join(&k, &w[0]);
    for (int i = 1; i < 4; i++)
        join(&k, &w[i]);
    ck_assert(flight_leave(&w[1].wait)); /* does not want to wait any more */
    flight_end(lead, NULL);
    settle();
    ck_assert_int_eq(w[1].woken, 0);
    ck_assert_int_eq(w[2].woken, 1);
    ck_assert_ptr_null(w[2].wait.entry);
    ck_assert_ptr_eq(w[2].wait.flight, lead);
    ck_assert_int_eq(w[3].woken, 0);
    ck_assert_ptr_null(join(&k, &w[0])); /* it goes on */
    flight_dissolve(w[2].wait.flight);
    settle();
    ck_assert_int_eq(w[3].woken, 1);
    ck_assert_int_eq(w[0].woken, 1);
    ck_assert_ptr_null(w[3].wait.flight); /* each for himself */
    teardown();
}
END_TEST

/* Many threads, one question: there is always exactly one leader. */
enum { THREADS = 8, TURNS = 3000 };

static atomic_int leaders, worst;

static void *crowd(void *arg)
{
    struct cache_key k = { { 9, 9 } };

    (void)arg;
    for (int i = 0; i < TURNS; i++) {
        struct waiter w;
        struct flight *f = join(&k, &w);
        if (f) {
            int n = atomic_fetch_add(&leaders, 1) + 1;
            if (n > atomic_load(&worst))
                atomic_store(&worst, n);
            atomic_fetch_sub(&leaders, 1);
            flight_dissolve(f);
        } else if (!flight_leave(&w.wait)) {
            settle();
        }
    }
    return NULL;
}

START_TEST(one_leads_at_a_time)
{
    pthread_t thread[THREADS];

    setup();
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, crowd, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_int_eq(atomic_load(&worst), 1);
    teardown();
}
END_TEST

SUITE("flight", all_who_wait_get_the_answer, when_the_leader_goes_the_first_who_waits_leads_G_34,
      one_leads_at_a_time)
