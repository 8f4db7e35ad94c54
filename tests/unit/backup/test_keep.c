/* plugins/shared/backup/keep: each rule alone, rules together, and what must hold whatever the
 * rules, the backups and the clocks are. */
#include "backup/keep.h"

#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "support/check_main.h"

enum { MOST = 40, DAY = 86400 };

/* 2026-11-25 12:00:00 UTC, a Wednesday. */
static const int64_t NOON = 1795608000;

/* One backup a letter, the newest first, one each `every` seconds: P proven, u not, B in use and
 * proven, b in use and not, F proven and made in the future. */
static size_t make(struct keep_item *item, const char *letters, int64_t every)
{
    size_t n = strlen(letters);

    for (size_t i = 0; i < n; i++) {
        char c = letters[i];
        item[i] = (struct keep_item){ .id = (int64_t)(n - i),
                                      .made_s = NOON - (int64_t)i * every,
                                      .proven = c == 'P' || c == 'B' || c == 'F',
                                      .busy = c == 'B' || c == 'b' };
        if (c == 'F')
            item[i].made_s = NOON + 3600;
    }
    return n;
}

static void show(const struct keep_item *item, size_t n, char *ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = item[i].why == KEEP_NOT ? '-' : 'k';
    ret[n] = 0;
}

static const struct {
    const char *name, *have, *kept;
    int64_t every;
    struct keep_rules rules;
    int64_t apart;
} cases[] = {
    { "no rule keeps all", "PPPPuPP", "kkkkkkk", DAY, { 0 }, 0 },
    { "count", "PPPPP", "kkk--", DAY, { .count = 3 }, 0 },
    { "a count of one", "PPPPP", "k----", DAY, { .count = 1 }, 0 },
    { "more than there are", "PP", "kk", DAY, { .count = 9 }, 0 },
    { "what is not proven does not count", "PuuPuP", "kkkk--", DAY, { .count = 2 }, 0 },
    { "newer than the newest proven", "uuuPP", "kkkk-", DAY, { .count = 1 }, 0 },
    { "nothing proven, nothing goes", "uuuuu", "kkkkk", DAY, { .count = 1 }, 0 },
    { "nothing proven but in use", "ubu", "kkk", DAY, { .age_s = 1 }, 0 },
    { "in use", "PPBPb", "k-k-k", DAY, { .count = 1 }, 0 },
    { "age counts from the newest", "PPPPP", "kkk--", DAY, { .age_s = 2 * DAY }, 0 },
    { "age: what is not proven, too", "PuuPu", "kkk--", DAY, { .age_s = 2 * DAY }, 0 },
    { "of one second the higher id is newer", "PPPPP", "kk---", 0, { .count = 2 }, 0 },
    { "age is no less than the newest", "PPP", "k--", DAY, { .age_s = 1 }, 0 },
    { "an age before 1970", "PPP", "kkk", DAY, { .age_s = UINT64_MAX }, 0 },
    { "either keeps", "PPPPPP", "kkkk--", DAY, { .age_s = DAY, .count = 4 }, 0 },
    { "the newest of each day", "PPPPPPPP", "k-k-k---", DAY / 2, { .daily = 3 }, 0 },
    { "days that have one", "PPPP", "kkk-", 5 * DAY, { .daily = 3 }, 0 },
    { "the newest proven of a day", "PuPPuP", "k-k--k", DAY / 3, { .daily = 3 }, 0 },
    { "weeks begin on Mondays", "PPPPPPPPPPP", "k--k------k", DAY, { .weekly = 3 }, 0 },
    { "months", "PPPPPPPPPPPPP", "k---k---k----", 7 * DAY, { .monthly = 4 }, 0 },
    { "generations",
      "PPPPPPPPPPPPPPPPPPPPPPPPPPPPPP",
      "kk-k------k--------------k----",
      DAY,
      { .daily = 2, .weekly = 3, .monthly = 2 },
      0 },
    { "the clocks do not agree", "PPPPP", "kkkkk", DAY, { .count = 1 }, KEEP_CLOCKS_APART_S + 1 },
    { "nor the other way", "PPPPP", "kkkkk", DAY, { .count = 1 }, -KEEP_CLOCKS_APART_S - 1 },
    { "nearly", "PPPPP", "k----", DAY, { .count = 1 }, KEEP_CLOCKS_APART_S },
    { "from the future", "FPPP", "kk--", DAY, { .count = 1 }, 0 },
    { "alone from the future", "Fuu", "kkk", DAY, { .count = 1 }, 0 },
    { "none", "", "", DAY, { .count = 1 }, 0 },
};

START_TEST(rules)
{
    struct keep_item item[MOST];
    char kept[MOST + 1];
    size_t n = make(item, cases[_i].have, cases[_i].every), gone;
    struct keep_clock clock = { NOON, NOON + cases[_i].apart };

    gone = keep_decide(item, n, &cases[_i].rules, &clock);
    show(item, n, kept);
    ck_assert_msg(strcmp(kept, cases[_i].kept) == 0, "%s: %s of %s, expected %s", cases[_i].name,
                  kept, cases[_i].have, cases[_i].kept);
    for (size_t i = 0; i < n; i++)
        gone -= kept[i] == '-';
    ck_assert_uint_eq(gone, 0);
}
END_TEST

/* D-52: a schedule's own count is for its runs alone, and the rules are for all others. */
START_TEST(D_52_a_schedule_with_a_count_is_kept_by_it)
{
    struct keep_item item[MOST];
    struct keep_rules r = { .count = 1 };
    struct keep_clock clock = { NOON, NOON };
    char kept[MOST + 1];
    size_t n = make(item, "PPPPuPPP", DAY);

    for (size_t i = 0; i < n; i++)
        item[i].schedule = 1 + (int64_t)(i % 2);
    for (size_t i = 0; i < n; i += 2)
        item[i].schedule_count = 2;
    keep_decide(item, n, &r, &clock);
    show(item, n, kept);
    ck_assert_str_eq(kept, "kkk-----");
    keep_decide(item, n, &(struct keep_rules){ 0 }, &clock);
    show(item, n, kept);
    ck_assert_str_eq(kept, "kkkk-k-k");
}
END_TEST

START_TEST(order_does_not_matter)
{
    struct keep_item a[MOST], b[MOST];
    struct keep_rules r = { .count = 2, .weekly = 2 };
    struct keep_clock clock = { NOON, NOON };
    size_t n = make(a, "uPPuPBuPPPPP", DAY);

    for (size_t i = 0; i < n; i++)
        b[i] = a[n - 1 - i];
    keep_decide(a, n, &r, &clock);
    keep_decide(b, n, &r, &clock);
    for (size_t i = 0; i < n; i++)
        ck_assert(a[i].id == b[i].id && a[i].why == b[i].why);
}
END_TEST

/* ---- whatever comes ---- */

static unsigned seed;

static uint32_t any(uint32_t below)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % below;
}

static struct keep_rules any_rules(void)
{
    return (struct keep_rules){ .age_s = any(3) ? 0 : any(60 * DAY),
                                .count = any(3) ? 0 : any(9),
                                .daily = any(3) ? 0 : any(9),
                                .weekly = any(3) ? 0 : any(5),
                                .monthly = any(3) ? 0 : any(4) };
}

static size_t any_items(struct keep_item *item)
{
    size_t n = any(MOST);

    for (size_t i = 0; i < n; i++) {
        int64_t schedule = any(3);
        item[i] = (struct keep_item){ .id = (int64_t)i + 1,
                                      .made_s = NOON + 3 * DAY - (int64_t)any(120 * DAY),
                                      .schedule = schedule,
                                      .schedule_count = schedule == 2 ? 2 : 0,
                                      .proven = any(3) > 0,
                                      .busy = any(8) == 0 };
    }
    return n;
}

static void never_deleted(const struct keep_item *item, size_t n)
{
    bool newest_seen = false;

    for (size_t i = 0; i < n; i++) {
        bool newest = !newest_seen && item[i].proven && item[i].made_s <= NOON;
        if (!newest_seen || item[i].busy || item[i].made_s > NOON)
            ck_assert_int_ne(item[i].why, KEEP_NOT);
        newest_seen |= newest;
    }
}

static size_t without_deleted(struct keep_item *item, size_t n)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        if (item[i].why != KEEP_NOT)
            item[k++] = item[i];
    return k;
}

static bool has(const struct keep_rules *r)
{
    return r->age_s || r->count || r->daily || r->weekly || r->monthly;
}

/* The newest proven one, what is newer, what is in use and what is from the future stay; once more
 * deletes nothing more; a further rule never deletes more; a clock that jumps ahead deletes nothing
 * that would not have gone before. */
START_TEST(whatever_comes)
{
    struct keep_clock clock = { NOON, NOON },
                      ahead = { NOON + 3650 * (int64_t)DAY, NOON + 3650 * (int64_t)DAY };

    for (seed = 1 + (unsigned)_i * 7919; seed % 1000003; seed++) {
        struct keep_item item[MOST], more[MOST], later[MOST];
        struct keep_rules r = any_rules(), wider = r;
        size_t n = any_items(item), gone;
        bool future = false;

        memcpy(more, item, sizeof(item));
        memcpy(later, item, sizeof(item));
        gone = keep_decide(item, n, &r, &clock);
        never_deleted(item, n);
        if (has(&r)) {
            wider.count += 1 + any(4);
            wider.age_s += any(10 * DAY);
            ck_assert_uint_le(keep_decide(more, n, &wider, &clock), gone);
        }
        for (size_t i = 0; i < n; i++)
            future |= later[i].made_s > NOON;
        if (!future) {
            keep_decide(later, n, &r, &ahead);
            for (size_t i = 0; i < n; i++)
                ck_assert_int_eq(later[i].why == KEEP_NOT, item[i].why == KEEP_NOT);
        }
        n = without_deleted(item, n);
        ck_assert_uint_eq(keep_decide(item, n, &r, &clock), 0);
        if (seed > (unsigned)_i * 7919 + 400000)
            break;
        seed += 997;
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("backup.keep");
    TCase *t = tcase_create("keep");

    tcase_add_loop_test(t, rules, 0, ATH_COUNT(cases));
    tcase_add_test(t, D_52_a_schedule_with_a_count_is_kept_by_it);
    tcase_add_test(t, order_does_not_matter);
    tcase_add_loop_test(t, whatever_comes, 0, 8);
    suite_add_tcase(s, t);
    return s;
}
