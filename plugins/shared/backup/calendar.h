/* plugins/shared/backup/calendar.h - when a schedule runs next.
 *
 * Times are seconds since 1970, in UTC, as the database tells them; nothing here asks a clock. Every
 * answer is worked out, never searched for, so no value of a field can make it long.
 */
#ifndef PLUGINS_SHARED_BACKUP_CALENDAR_H
#define PLUGINS_SHARED_BACKUP_CALENDAR_H

#include "lib/buf.h"

enum calendar_frequency { CALENDAR_HOURLY = 1, CALENDAR_DAILY, CALENDAR_WEEKLY, CALENDAR_MONTHLY };

enum { CALENDAR_WEEKDAYS = 7, CALENDAR_LAST_DAY = 28 };

struct calendar_rule {
    enum calendar_frequency frequency;
    uint32_t hour, minute;
    uint32_t day_of_week;        /* of a weekly one: 0 is Sunday */
    uint32_t day_of_month;       /* of a monthly one: 1..28, which every month has */
};

/* "hourly", "daily", "weekly", "monthly"; false: another word. */
bool calendar_frequency(ath_str word, enum calendar_frequency *ret);

/* "H:M". A text without exactly one colon is no time and means 02:00, as it always has; false: the
 * parts are no numbers, or no time of a day. */
bool calendar_time(ath_str text, struct calendar_rule *ret);

/* A row of backup_schedules: frequency, time_of_day ("HH:MM:SS"), day_of_week and day_of_month as text,
 * without bytes where they are null (Monday, the first). False: no schedule that we would have made. */
bool calendar_read(ath_str frequency, ath_str time, ath_str day_of_week, ath_str day_of_month,
                   struct calendar_rule *ret);

/* The first time of the rule that is later than `now`. */
int64_t calendar_next(const struct calendar_rule *r, int64_t now);

/* Appends the rule as cron would have it: "30 4 * * 3". */
void calendar_cron(struct buf *b, const struct calendar_rule *r);

#endif
