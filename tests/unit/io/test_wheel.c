/* Deadlines of all distances, days in no time: libuv's clock and timer are played by this program,
 * which the linker prefers to the library's. */
#include "base/err.h"
#include "io/deadline.h"
#include "support/check_main.h"

static uint64_t now_ms = 5000;
static struct {
    uv_timer_t *handle;
    uv_timer_cb fn;
    uint64_t at;
} armed;

uint64_t uv_now(const uv_loop_t *l)
{
    (void)l;
    return now_ms;
}

int uv_timer_start(uv_timer_t *h, uv_timer_cb fn, uint64_t timeout, uint64_t repeat)
{
    (void)repeat;
    armed.handle = h;
    armed.fn = fn;
    armed.at = now_ms + timeout;
    return 0;
}

static ath_loop *l;
static uint64_t want;
static unsigned fired, wakes;

static void on_fire(struct deadline *d)
{
    (void)d;
    fired++;
    ck_assert_uint_ge(now_ms, want);
    ck_assert_uint_le(now_ms, want + 20);
}

static void wake(void)
{
    uv_timer_t *h = armed.handle;

    ck_assert_ptr_nonnull(h);
    ck_assert_uint_ge(armed.at, now_ms);
    now_ms = armed.at;
    armed.handle = NULL;
    wakes++;
    armed.fn(h);
}

static void new_loop(void)
{
    ath_err e;

    err_reset(&e);
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    armed.handle = NULL; /* the tick's */
}

START_TEST(deadlines_of_all_distances_fire_neither_early_nor_late)
{
    static const uint64_t away[] = { 1,         9,         10,          11,         639,
                                     640,       641,       649,         650,        40950,
                                     40960,     41000,     2621430,     2621440,    2621450,
                                     167772160, 167772170, 10737418240, 30000000000 };
    struct deadline d;

    new_loop();
    deadline_init(&d, on_fire);
    for (size_t i = 0; i < ATH_COUNT(away); i++)
        for (uint64_t shift = 0; shift < 700; shift += 13) {
            unsigned before = fired;

            now_ms += shift;
            want = now_ms + away[i];
            deadline_set(l, &d, want);
            wakes = 0;
            while (fired == before)
                wake();
            ck_assert_uint_le(wakes, 8); /* far ones wake nobody until they are near */
        }
    ck_assert_ptr_null(armed.handle); /* nothing waits, nothing wakes */
    loop_free(l);
}
END_TEST

/* Against a list that is searched: thousands of sets, moves and clears, each fires when it should.
 */
enum { N = 500 };
static struct item {
    struct deadline d;
    uint64_t want;
} item[N];

static void on_item(struct deadline *d)
{
    struct item *it = list_entry(d, struct item, d);

    ck_assert_uint_ne(it->want, 0);
    ck_assert_uint_ge(now_ms, it->want);
    ck_assert_uint_le(now_ms, it->want + 20);
    it->want = 0;
    fired++;
}

static unsigned waiting(uint64_t *ret_first)
{
    unsigned n = 0;

    *ret_first = UINT64_MAX;
    for (int i = 0; i < N; i++)
        if (item[i].want) {
            n++;
            if (item[i].want < *ret_first)
                *ret_first = item[i].want;
        }
    return n;
}

START_TEST(a_random_walk_agrees_with_a_plain_list)
{
    uint64_t seed = 12345, first;

    new_loop();
    fired = 0;
    for (int i = 0; i < N; i++)
        deadline_init(&item[i].d, on_item);
    for (int step = 0; step < 20000; step++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        struct item *it = &item[(seed >> 33) % N];
        uint64_t r = seed >> 20;

        if (r % 8 == 0) {
            deadline_clear(&it->d);
            it->want = 0;
        } else {
            it->want = now_ms + 1 + (r >> 8) % ((uint64_t)1 << (4 + r % 20));
            deadline_set(l, &it->d, it->want);
        }
        if (r % 16 < 3 && waiting(&first)) {
            ck_assert_ptr_nonnull(armed.handle);
            wake();
        }
    }
    while (waiting(&first))
        wake();
    ck_assert_uint_gt(fired, 1000);
    loop_free(l);
}
END_TEST

SUITE("wheel", deadlines_of_all_distances_fire_neither_early_nor_late,
      a_random_walk_agrees_with_a_plain_list)
