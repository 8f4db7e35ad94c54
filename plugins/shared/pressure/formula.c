#include "pressure/formula.h"

#include <math.h>

static double unit(double x)
{
    if (!isfinite(x) || x <= 0)
        return 0;
    return x < 1 ? x : 1;
}

static double least(double x, double floor)
{
    return x > floor ? x : floor;
}

static double shock(double now, double before)
{
    return fabs(now - before) / before;
}

struct pressure_ratios pressure_ratios(const struct pressure_hour *h)
{
    double n = (double)h->requests, before = (double)h->before;
    double error = (double)h->failed / least(n, 1);
    double error_before = (double)h->before_failed / least(before, 1);

    return (struct pressure_ratios){
        .error = error,
        .miss = (double)h->missed / least(n, 1),
        .tail = h->p95_ms > 0 ? h->p95_ms / least(h->p50_ms, 1) : 0,
        .burst = n / least(h->median, 1),
        .request_shock = shock(n, least(before, 1)),
        .error_shock = fabs(error - error_before) / least(error_before, 0.01),
    };
}

double pressure_share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

double pressure_of_client(const struct pressure_hour *h, const struct pressure_ratios *r,
                          double saturation, double dominant)
{
    return 100 * (0.30 * unit(h->p95_ms / 2000) + 0.20 * unit(r->error / 0.05) +
                  0.10 * unit(r->miss / 0.50) + 0.15 * unit(r->burst / 4) +
                  0.10 * unit(saturation / 0.85) + 0.15 * unit(dominant / 0.60));
}

double pressure_of_table(const struct pressure_hour *h, const struct pressure_ratios *r,
                         double share)
{
    return 100 *
           (0.35 * unit(share) + 0.25 * unit(h->p95_ms / 2000) + 0.20 * unit(r->error / 0.05) +
            0.10 * unit(r->miss / 0.50) + 0.10 * unit(r->burst / 4));
}

double pressure_volatility(const struct pressure_ratios *r)
{
    return 100 *
           (0.45 * unit(r->request_shock) + 0.35 * unit(r->tail / 4) + 0.20 * unit(r->error_shock));
}

double pressure_of_plan(double cost)
{
    return 100 * unit(log10(least(cost, 0) + 1) / 5);
}

double pressure_with_plan(double score, double plan)
{
    return 0.85 * score + 0.15 * plan;
}

const char *pressure_band(double score)
{
    return score >= 70 ? "red" : score >= 35 ? "yellow" : "green";
}

const char *pressure_hint(double score, double dominant)
{
    if (score >= 70)
        return dominant >= 0.50 ? "split_hot_table" : "move_client";
    return score >= 35 ? "watch" : "healthy";
}

bool pressure_is_idle(double saturation)
{
    return saturation < 0.50;
}
