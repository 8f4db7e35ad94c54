/* Newest first, each rule walks the list once and says what it keeps; what was said first stands.
 */
#include "backup/keep.h"

#include <stdlib.h>

enum { DAY_S = 86400, MONDAY = 3 }; /* 1970 began on a Thursday: day 4 was the first Monday */

static int newest_first(const void *a, const void *b)
{
    const struct keep_item *x = a, *y = b;

    if (x->made_s != y->made_s)
        return x->made_s < y->made_s ? 1 : -1;
    return (x->id < y->id) - (x->id > y->id);
}

static void say(struct keep_item *i, enum keep_why why)
{
    if (i->why == KEEP_NOT)
        i->why = why;
}

/* ---- generations ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t day_of(int64_t s)
{
    return floor_div(s, DAY_S);
}

static int64_t week_of(int64_t s)
{
    return floor_div(day_of(s) + MONDAY, 7);
}

/* Months since some beginning, of the proleptic Gregorian calendar. */
static int64_t month_of(int64_t s)
{
    int64_t z = day_of(s) + 719468, era = floor_div(z, 146097), doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), month = (5 * doy + 2) / 153;

    return (yoe + era * 400) * 12 + month;
}

/* ---- who follows which rules ---- */

static bool by_itself(const struct keep_item *i)
{
    return i->schedule && i->schedule_count;
}

static bool counts(const struct keep_item *i, int64_t now_s)
{
    return i->proven && i->made_s <= now_s && !by_itself(i);
}

static void generations(struct keep_item *item, size_t n, int64_t now_s, uint32_t most,
                        int64_t period(int64_t), enum keep_why why)
{
    int64_t last = 0;
    uint32_t seen = 0;

    for (size_t i = 0; i < n && seen < most; i++) {
        if (!counts(&item[i], now_s) || (seen && period(item[i].made_s) == last))
            continue;
        last = period(item[i].made_s);
        seen++;
        say(&item[i], why);
    }
}

/* What stands between those that count is kept, too: proven or not, it is no older than they are.
 */
static void newest(struct keep_item *item, size_t n, int64_t now_s, uint32_t most)
{
    uint32_t seen = 0;

    for (size_t i = 0; i < n && seen < most; i++) {
        if (by_itself(&item[i]))
            continue;
        seen += counts(&item[i], now_s);
        say(&item[i], KEEP_COUNT);
    }
}

static void within(struct keep_item *item, size_t n, int64_t since_s)
{
    for (size_t i = 0; i < n; i++)
        if (!by_itself(&item[i]) && item[i].made_s >= since_s)
            say(&item[i], KEEP_AGE);
}

/* Quadratic in the runs of one schedule at worst; there are as many as it keeps, and a few more. */
static void of_schedules(struct keep_item *item, size_t n, int64_t now_s)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t newer = 0;
        if (!by_itself(&item[i]))
            continue;
        for (size_t k = 0; k < i && newer < item[i].schedule_count; k++)
            newer +=
                item[k].schedule == item[i].schedule && item[k].proven && item[k].made_s <= now_s;
        if (newer < item[i].schedule_count)
            say(&item[i], KEEP_COUNT);
    }
}

/* ---- what stays in any case ---- */

static bool clocks_agree(const struct keep_clock *c)
{
    return c->now_s - c->other_s <= KEEP_CLOCKS_APART_S &&
           c->other_s - c->now_s <= KEEP_CLOCKS_APART_S;
}

/* The newest proven one; n: there is none. */
static size_t newest_proven(const struct keep_item *item, size_t n, int64_t now_s)
{
    for (size_t i = 0; i < n; i++)
        if (item[i].proven && item[i].made_s <= now_s)
            return i;
    return n;
}

static void in_any_case(struct keep_item *item, size_t n, size_t proven, int64_t now_s)
{
    for (size_t i = 0; i < n; i++) {
        if (item[i].made_s > now_s)
            say(&item[i], KEEP_FUTURE);
        if (i <= proven)
            say(&item[i], KEEP_NEWEST);
        if (item[i].busy)
            say(&item[i], KEEP_BUSY);
    }
}

static void without_rules(struct keep_item *item, size_t n, const struct keep_rules *r)
{
    bool any = r->age_s || r->count || r->daily || r->weekly || r->monthly;

    for (size_t i = 0; i < n; i++)
        if (!any && !by_itself(&item[i]))
            say(&item[i], KEEP_NO_RULE);
}

static void by_rules(struct keep_item *item, size_t n, const struct keep_rules *r, int64_t now_s,
                     int64_t newest_s)
{
    if (r->age_s)
        within(item, n, r->age_s > (uint64_t)newest_s ? 0 : newest_s - (int64_t)r->age_s);
    newest(item, n, now_s, r->count);
    generations(item, n, now_s, r->daily, day_of, KEEP_DAY);
    generations(item, n, now_s, r->weekly, week_of, KEEP_WEEK);
    generations(item, n, now_s, r->monthly, month_of, KEEP_MONTH);
    of_schedules(item, n, now_s);
}

size_t keep_decide(struct keep_item *item, size_t n, const struct keep_rules *rules,
                   const struct keep_clock *clock)
{
    size_t proven, gone = 0;

    if (n)
        qsort(item, n, sizeof(*item), newest_first);
    proven = newest_proven(item, n, clock->now_s);
    for (size_t i = 0; i < n; i++)
        item[i].why = KEEP_NOT;
    without_rules(item, n, rules);
    for (size_t i = 0; i < n && (proven == n || !clocks_agree(clock)); i++)
        say(&item[i], KEEP_UNSURE);
    if (proven < n) {
        in_any_case(item, n, proven, clock->now_s);
        by_rules(item, n, rules, clock->now_s, item[proven].made_s);
    }
    for (size_t i = 0; i < n; i++)
        gone += item[i].why == KEEP_NOT;
    return gone;
}

const char *keep_why_name(enum keep_why why)
{
    static const char *const names[] = {
        [KEEP_NOT] = "deleted",   [KEEP_NO_RULE] = "no rule",
        [KEEP_UNSURE] = "unsure", [KEEP_NEWEST] = "newest proven or newer",
        [KEEP_BUSY] = "in use",   [KEEP_FUTURE] = "from the future",
        [KEEP_AGE] = "age",       [KEEP_COUNT] = "count",
        [KEEP_DAY] = "daily",     [KEEP_WEEK] = "weekly",
        [KEEP_MONTH] = "monthly",
    };

    return names[why];
}
