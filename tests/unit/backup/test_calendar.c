/* plugins/shared/backup/calendar: what is due next, against dates worked out by hand and against a
 * search minute by minute (D-50: no value makes it long, none is out of bounds). */
#include "backup/calendar.h"
#include "support/check_main.h"

#include <time.h>

static int64_t at(int year, int month, int day, int hour, int minute, int second)
{
    struct tm t = { .tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second };

    return timegm(&t);
}

static const struct calendar_rule hourly = { .frequency = CALENDAR_HOURLY, .minute = 20 };
static const struct calendar_rule daily = { .frequency = CALENDAR_DAILY, .hour = 3, .minute = 15 };
static const struct calendar_rule weekly = {
    .frequency = CALENDAR_WEEKLY, .hour = 23, .minute = 59, .day_of_week = 0
};
static const struct calendar_rule monthly = {
    .frequency = CALENDAR_MONTHLY, .hour = 1, .minute = 5, .day_of_month = 28
};

#define same(rule, now, then) ck_assert_int_eq(calendar_next(&(rule), (now)), (then))

START_TEST(each_frequency)
{
    same(hourly, at(2026, 11, 22, 16, 45, 21), at(2026, 11, 22, 17, 20, 0));
    same(hourly, at(2026, 12, 31, 23, 20, 0), at(2027, 1, 1, 0, 20, 0));
    same(daily, at(2026, 11, 22, 16, 45, 21), at(2026, 11, 23, 3, 15, 0));
    same(daily, at(2026, 11, 22, 3, 14, 59), at(2026, 11, 22, 3, 15, 0));
    same(weekly, at(2026, 11, 22, 16, 45, 21), at(2026, 11, 22, 23, 59, 0)); /* a Sunday */
    same(weekly, at(2026, 11, 22, 23, 59, 0), at(2026, 11, 29, 23, 59, 0));
    same(monthly, at(2026, 11, 22, 16, 45, 21), at(2026, 11, 28, 1, 5, 0));
    same(monthly, at(2026, 12, 28, 1, 5, 0), at(2027, 1, 28, 1, 5, 0));
}
END_TEST

START_TEST(ends_of_february)
{
    struct calendar_rule first = { .frequency = CALENDAR_MONTHLY, .day_of_month = 1 };

    same(first, at(2028, 2, 29, 12, 0, 0), at(2028, 3, 1, 0, 0, 0));
    same(first, at(2027, 2, 28, 23, 59, 59), at(2027, 3, 1, 0, 0, 0));
    same(first, at(2100, 2, 28, 12, 0, 0), at(2100, 3, 1, 0, 0, 0));
    same(monthly, at(2028, 2, 28, 1, 5, 0), at(2028, 3, 28, 1, 5, 0));
    same(monthly, at(2027, 1, 31, 0, 0, 0), at(2027, 2, 28, 1, 5, 0));
}
END_TEST

static bool fits(const struct calendar_rule *r, int64_t when)
{
    time_t sec = when;
    struct tm t;

    gmtime_r(&sec, &t);
    if (t.tm_sec || (uint32_t)t.tm_min != r->minute)
        return false;
    if (r->frequency == CALENDAR_HOURLY)
        return true;
    if ((uint32_t)t.tm_hour != r->hour)
        return false;
    if (r->frequency == CALENDAR_WEEKLY)
        return (uint32_t)t.tm_wday == r->day_of_week;
    return r->frequency == CALENDAR_DAILY || (uint32_t)t.tm_mday == r->day_of_month;
}

/* Nothing that fits lies between `now` and what comes next. */
START_TEST(nothing_is_left_out)
{
    uint64_t seed = 1;

    for (int i = 0; i < 60; i++) {
        struct calendar_rule r = { .frequency = (enum calendar_frequency)(1 + i % 4) };
        int64_t now, next;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        r.hour = (uint32_t)(seed >> 33) % 24;
        r.minute = (uint32_t)(seed >> 40) % 60;
        r.day_of_week = (uint32_t)(seed >> 45) % 7;
        r.day_of_month = 1 + (uint32_t)(seed >> 50) % 28;
        now = at(2023, 12, 20, 0, 0, 0) + (int64_t)((seed >> 20) % (5u * 366 * 86400));
        next = calendar_next(&r, now);
        ck_assert(next > now && fits(&r, next));
        for (int64_t m = now / 60 * 60 + 60; m < next; m += 60)
            ck_assert(!fits(&r, m));
    }
}
END_TEST

static void cron_is(const struct calendar_rule *r, const char *text)
{
    struct buf b = BUF_HEAP;

    calendar_cron(&b, r);
    ck_assert_str_eq(b.p, text);
    buf_free(&b);
}

START_TEST(words_of_cron)
{
    cron_is(&hourly, "20 * * * *");
    cron_is(&daily, "15 3 * * *");
    cron_is(&weekly, "59 23 * * 0");
    cron_is(&monthly, "5 1 28 * *");
}
END_TEST

static bool time_is(const char *text, uint32_t hour, uint32_t minute)
{
    struct calendar_rule r = { 0 };

    return calendar_time(str_of(text), &r) && r.hour == hour && r.minute == minute;
}

START_TEST(times_as_callers_write_them)
{
    static const char *const wrong[] = { "25:00", "ab:cd", "-1:00", " 04:05 ", "04:60", ":", "4:" };
    struct calendar_rule r;

    ck_assert(time_is("03:15", 3, 15) && time_is("1:5", 1, 5) && time_is("23:59", 23, 59));
    ck_assert(time_is("", 2, 0) && time_is("10:20:30", 2, 0) && time_is("noon", 2, 0));
    for (size_t i = 0; i < ATH_COUNT(wrong); i++)
        ck_assert_msg(!calendar_time(str_of(wrong[i]), &r), "%s", wrong[i]);
}
END_TEST

static bool row(const char *frequency, const char *time, const char *week, const char *month,
                struct calendar_rule *r)
{
    return calendar_read(str_of(frequency), str_of(time), str_of(week), str_of(month), r);
}

START_TEST(rows_of_the_table)
{
    struct calendar_rule r;

    ck_assert(row("weekly", "04:30:00", "3", "", &r));
    ck_assert(r.frequency == CALENDAR_WEEKLY && r.hour == 4 && r.minute == 30);
    ck_assert(r.day_of_week == 3 && r.day_of_month == 1);
    ck_assert(row("weekly", "04:30:00", "", "", &r) && r.day_of_week == 1);
    ck_assert(!row("yearly", "04:30:00", "", "", &r));
    ck_assert(!row("weekly", "04:30:00", "7", "", &r));
    ck_assert(!row("monthly", "04:30:00", "", "29", &r));
    ck_assert(!row("monthly", "04:30:00", "", "0", &r));
}
END_TEST

SUITE("calendar", each_frequency, ends_of_february, nothing_is_left_out, words_of_cron,
      times_as_callers_write_them, rows_of_the_table)
