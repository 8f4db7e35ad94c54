/* plugins/shared/pressure/formula.h - how hard an hour was, for a client and for each of its
 * tables: formula v1. Pure functions of counted numbers.
 *
 * Parts of a score are brought into 0..1 first, so a score is in 0..100. What cannot be divided
 * (nothing happened before, nothing took time) is divided by the least that counts as something.
 */
#ifndef PLUGINS_SHARED_PRESSURE_FORMULA_H
#define PLUGINS_SHARED_PRESSURE_FORMULA_H

#include <stdbool.h>
#include <stdint.h>

#define PRESSURE_FORMULA "v1"

struct pressure_hour {                /* what was counted, of a client or of one of its tables */
    int64_t requests, failed, missed; /* missed: answers that the cache did not have */
    double p50_ms, p95_ms;            /* 0: nothing was timed */
    double median;                    /* of the requests of each hour of the day before */
    int64_t before, before_failed;    /* of the hour before */
};

struct pressure_ratios {
    double error, miss;
    double tail;                       /* how much longer the slow ones take than the usual one */
    double burst;                      /* requests against what is usual */
    double request_shock, error_shock; /* against the hour before */
};

struct pressure_ratios pressure_ratios(const struct pressure_hour *h);

double pressure_share(double part, double whole); /* 0 when there is no whole */

/* Scores, 0..100. `saturation`: of the client's connections, 0 when it is not known; `dominant`:
 * its heaviest table's share of the work; `share`: this table's. */
double pressure_of_client(const struct pressure_hour *h, const struct pressure_ratios *r,
                          double saturation, double dominant);
double pressure_of_table(const struct pressure_hour *h, const struct pressure_ratios *r,
                         double share);
double pressure_volatility(const struct pressure_ratios *r);
double pressure_of_plan(double cost); /* the planner's estimate of its most expensive statement */
double pressure_with_plan(double score, double plan);

/* Words of the tables. */
const char *pressure_band(double score);
const char *pressure_hint(double score, double dominant);

/* Only the idle are asked for plans; the busy are left alone. */
bool pressure_is_idle(double saturation);

#endif
