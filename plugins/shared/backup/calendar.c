/* Whole days are counted from 1970; a month is found by the arithmetic of the proleptic Gregorian
 * calendar, in which a year that begins in March has its leap day at the end. */
#include "backup/calendar.h"

enum { HOUR = 3600, DAY = 24 * HOUR, DEFAULT_HOUR = 2 };

/* ---- texts ---- */

static const char *const words[] = { [CALENDAR_HOURLY] = "hourly",
                                     [CALENDAR_DAILY] = "daily",
                                     [CALENDAR_WEEKLY] = "weekly",
                                     [CALENDAR_MONTHLY] = "monthly" };

bool calendar_frequency(ath_str word, enum calendar_frequency *ret)
{
    for (size_t i = CALENDAR_HOURLY; i < ATH_COUNT(words); i++)
        if (str_is(word, words[i])) {
            *ret = (enum calendar_frequency)i;
            return true;
        }
    return false;
}

static bool set_time(ath_str hour, ath_str minute, struct calendar_rule *ret)
{
    uint64_t h, m;

    if (!str_u64(hour, &h) || !str_u64(minute, &m) || h > 23 || m > 59)
        return false;
    ret->hour = (uint32_t)h;
    ret->minute = (uint32_t)m;
    return true;
}

bool calendar_time(ath_str text, struct calendar_rule *ret)
{
    size_t colon = str_find(text, ':');
    ath_str rest = str_after(text, colon + 1);

    if (colon == text.n || str_find(rest, ':') != rest.n) {
        ret->hour = DEFAULT_HOUR;
        ret->minute = 0;
        return true;
    }
    return set_time(str_from(text.p, colon), rest, ret);
}

static bool read_day(ath_str text, uint64_t least, uint64_t most, uint32_t *ret)
{
    uint64_t v = 1;

    if (text.n && (!str_u64(text, &v) || v < least || v > most))
        return false;
    *ret = (uint32_t)v;
    return true;
}

bool calendar_read(ath_str frequency, ath_str time, ath_str day_of_week, ath_str day_of_month,
                   struct calendar_rule *ret)
{
    ath_str hour, minute;

    return calendar_frequency(frequency, &ret->frequency) && str_next(&time, ':', &hour) &&
           str_next(&time, ':', &minute) && set_time(hour, minute, ret) &&
           read_day(day_of_week, 0, CALENDAR_WEEKDAYS - 1, &ret->day_of_week) &&
           read_day(day_of_month, 1, CALENDAR_LAST_DAY, &ret->day_of_month);
}

void calendar_cron(struct buf *b, const struct calendar_rule *r)
{
    buf_printf(b, "%u ", r->minute);
    if (r->frequency == CALENDAR_HOURLY)
        buf_lit(b, "* * * *");
    else if (r->frequency == CALENDAR_DAILY)
        buf_printf(b, "%u * * *", r->hour);
    else if (r->frequency == CALENDAR_WEEKLY)
        buf_printf(b, "%u * * %u", r->hour, r->day_of_week);
    else
        buf_printf(b, "%u %u * *", r->hour, r->day_of_month);
}

/* ---- arithmetic ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

enum { ERA_DAYS = 146097, ERA_YEARS = 400, TO_1970 = 719468 }; /* from March of the year 0 */

/* Months since March of the year 0 of the month that the day lies in. */
static int64_t month_of(int64_t day)
{
    int64_t z = day + TO_1970, era = floor_div(z, ERA_DAYS), of_era = z - era * ERA_DAYS;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);

    return (era * ERA_YEARS + year) * 12 + (5 * of_year + 2) / 153;
}

/* The first day of a month that is counted so. */
static int64_t first_day(int64_t month)
{
    int64_t year = floor_div(month, 12), era = floor_div(year, ERA_YEARS);
    int64_t of_era = year - era * ERA_YEARS, of_year = (153 * (month - year * 12) + 2) / 5;

    return era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - TO_1970;
}

static int64_t next_month(const struct calendar_rule *r, int64_t day, int64_t time, int64_t now)
{
    int64_t month = month_of(day), at;

    at = (first_day(month) + r->day_of_month - 1) * DAY + time;
    return at > now ? at : (first_day(month + 1) + r->day_of_month - 1) * DAY + time;
}

int64_t calendar_next(const struct calendar_rule *r, int64_t now)
{
    int64_t day = floor_div(now, DAY), time = (int64_t)r->hour * HOUR + r->minute * 60, at, step;

    if (r->frequency == CALENDAR_MONTHLY)
        return next_month(r, day, time, now);
    if (r->frequency == CALENDAR_HOURLY) {
        at = floor_div(now, HOUR) * HOUR + r->minute * 60;
        step = HOUR;
    } else if (r->frequency == CALENDAR_DAILY) {
        at = day * DAY + time;
        step = DAY;
    } else {
        int64_t today = (day + 4) % CALENDAR_WEEKDAYS; /* 1970 began on a Thursday */
        int64_t wait = (r->day_of_week - today + 2 * CALENDAR_WEEKDAYS) % CALENDAR_WEEKDAYS;
        at = (day + wait) * DAY + time;
        step = CALENDAR_WEEKDAYS * DAY;
    }
    return at > now ? at : at + step;
}
