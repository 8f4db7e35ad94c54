/* core/db: whose turn it is. Loops are only names here: nothing is opened. */
#include "db/fair.h"

#include "support/check_main.h"

enum { BUDGET = 16, FEW = 2, RESERVE = 4 };

static struct db_client client[4];
static struct fair_seat seat[4];
static ath_loop loop[2];
static int told;

static void tell(ath_loop *l)
{
    ck_assert_ptr_nonnull(l);
    told++;
}

static void begin(bool fair)
{
    struct db_options o = {
        .budget = BUDGET, .fair = fair, .waiting_max = 100, .waiting_budget = 160
    };

    fair_start(&o, FEW, tell);
    told = 0;
    for (int i = 0; i < 4; i++) {
        client[i] = (struct db_client){ .pool_max = BUDGET };
        seat[i] = (struct fair_seat){ 0 };
        fair_seat_init(&seat[i], &client[i], &loop[i % 2]);
    }
}

/* As many as there are for it; the last one refused, if any, leaves it waiting. */
static int take(int i, int most)
{
    bool reserve;
    int n = 0;

    while (n < most && fair_take(&seat[i], 0, &reserve) == PGBUDGET_TAKEN)
        n++;
    return n;
}

static int turn_of(const ath_loop *l)
{
    struct fair_seat *s = fair_next(l);

    return s ? (int)(s - seat) : -1;
}

START_TEST(the_reserve_is_for_those_with_few)
{
    bool reserve;

    begin(true);
    ck_assert_int_eq(take(0, 99), BUDGET - RESERVE);
    ck_assert(fair_waits(&seat[0]));
    ck_assert_int_eq(fair_take(&seat[1], 0, &reserve), PGBUDGET_TAKEN);
    ck_assert(reserve);
    ck_assert(fair_is_wanted(&seat[0], 12)); /* to fill it again */
    ck_assert(!fair_is_wanted(&seat[1], 1));
    ck_assert_int_eq(take(1, 99), FEW - 1);
    fair_give(&client[0]);
    ck_assert_int_eq(told, 0); /* whoever has many waits until the reserve is whole */
    fair_give(&client[0]);
    ck_assert_int_eq(told, 0);
    fair_give(&client[0]);
    ck_assert_int_eq(told, 1);
}
END_TEST

START_TEST(turns_go_to_the_one_that_holds_fewest)
{
    begin(true);
    ck_assert_int_eq(take(0, 9), 9);
    ck_assert_int_eq(take(1, 99), 3);
    ck_assert_int_eq(take(0, 1), 0);
    ck_assert(fair_is_wanted(&seat[0], 9));
    for (int i = 0; i < 3; i++) { /* 9 and 3 become 6 and 6 */
        fair_give(&client[0]);
        ck_assert_int_eq(turn_of(&loop[1]), 1);
        ck_assert_int_eq(turn_of(&loop[1]), -1);
        ck_assert_int_eq(take(1, 1), 0);
    }
    ck_assert_uint_eq(client[0].connections, 6);
    ck_assert_uint_eq(client[1].connections, 6);
    ck_assert(!fair_is_wanted(&seat[0], 6)); /* and stay so */
    fair_give(&client[1]);
    ck_assert_int_eq(turn_of(&loop[1]), 1);
    fair_leave(&seat[0]);
    fair_give(&client[0]);
    ck_assert_int_eq(turn_of(&loop[0]), -1);
}
END_TEST

START_TEST(a_turn_that_is_not_wanted_any_more_goes_on)
{
    begin(true);
    ck_assert_int_eq(take(0, 6), 6);
    ck_assert_int_eq(take(1, 99), 6);
    ck_assert_int_eq(take(2, 99), FEW);
    ck_assert_int_eq(take(3, 99), FEW);
    fair_give(&client[0]);
    for (int i = 0; i < 4; i++)
        fair_give(&client[0]);
    ck_assert_int_eq(told, 1);
    ck_assert_int_eq(turn_of(&loop[1]), -1);
    fair_leave(&seat[2]); /* had it */
    ck_assert_int_eq(told, 2);
    ck_assert_int_eq(turn_of(&loop[1]), 3);
    ck_assert_uint_eq(client[2].connections, FEW);
    ck_assert_uint_eq(client[3].connections, FEW + 1);
}
END_TEST

START_TEST(without_turns_who_asks_first_gets_all)
{
    begin(false);
    ck_assert_int_eq(take(0, 99), BUDGET);
    ck_assert(!fair_waits(&seat[0]));
    ck_assert_int_eq(take(1, 99), 0);
    fair_give(&client[0]);
    ck_assert_int_eq(told, 0);
    ck_assert_int_eq(take(0, 99), 1);
}
END_TEST

START_TEST(lines_share_what_may_wait)
{
    uint64_t heavy = 0, light = 0;

    begin(true);
    ck_assert_uint_eq(fair_line(&client[0], &heavy, 50), 100);
    client[0].waiting = 130; /* 60 of them on another loop */
    ck_assert_uint_eq(fair_line(&client[0], &heavy, 70), 40);
    client[0].waiting = 90;
    ck_assert_uint_eq(fair_line(&client[0], &heavy, 90), 100); /* alone */
    client[1].waiting = 5;
    ck_assert_uint_eq(fair_line(&client[1], &light, 5), 80);
    ck_assert_uint_eq(fair_line(&client[0], &heavy, 90), 80);
    client[1].waiting = 0;
    ck_assert_uint_eq(fair_line(&client[1], &light, 0), 100);
    client[0].waiting = 0;
    ck_assert_uint_eq(fair_line(&client[0], &heavy, 0), 100);
}
END_TEST

SUITE("db fair", the_reserve_is_for_those_with_few, turns_go_to_the_one_that_holds_fewest,
      a_turn_that_is_not_wanted_any_more_goes_on, without_turns_who_asks_first_gets_all,
      lines_share_what_may_wait)
