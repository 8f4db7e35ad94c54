/* Nobody knows how large a dump will be. The last one is a good guess, a fifth of growth allowed;
 * else a curve that never arrives. */
#include "backup/estimate.h"

#include <math.h>

enum { DUMP_FROM = 5, DUMP_ROOM = 63 };

#define UNKNOWN_SCALE (256.0 * 1024 * 1024)

static double share(double bytes, double before)
{
    double x;

    if (before <= 0)
        return 0.9 * (1 - exp(-bytes / UNKNOWN_SCALE));
    x = bytes / (1.2 * before);
    return x <= 1 ? 0.92 * pow(x, 0.6) : 0.92 + 0.08 * (1 - exp(1 - x));
}

int estimate_dump(uint64_t bytes, uint64_t before)
{
    return DUMP_FROM + (int)(DUMP_ROOM * share((double)bytes, (double)before));
}

int estimate_part(int from, int to, uint64_t done, uint64_t all)
{
    if (!all || done >= all)
        return to;
    return from + (int)((double)(to - from) * ((double)done / (double)all));
}
