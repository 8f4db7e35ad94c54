/* The probes together. */
#include "control/probe_priv.h"

#include "log/metric.h"

static struct probe_options options;
static bool running;

static void put_metrics(struct buf *b, void *arg)
{
    (void)arg;
    checks_metrics(b);
    pulses_metrics(b);
    mirrors_metrics(b);
}

static void start_at_home(void *arg)
{
    (void)arg;
    checks_start(&options);
    pulses_start(&options);
    mirrors_start(&options);
}

/* Once in the life of the process, whatever starts and stops in it. */
static void metrics_once(void)
{
    static bool done;

    if (!done)
        metric_source(put_metrics, NULL);
    done = true;
}

void probe_start(const struct probe_options *o)
{
    options = *o;
    running = true;
    metrics_once();
    loop_call(o->home, start_at_home, NULL);
}

static void drain_at_home(void *arg)
{
    (void)arg;
    checks_drain();
    pulses_drain();
    mirrors_drain();
}

void probe_drain(void)
{
    if (running)
        loop_post(options.home, drain_at_home, NULL);
}

void probe_stop(void)
{
    if (!running)
        return;
    running = false;
    checks_stop();
    pulses_stop();
    mirrors_stop();
}

void put_number(struct buf *b, double v)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "%.3f", v);

    while (n > 0 && text[n - 1] == '0')
        n--;
    if (n > 0 && text[n - 1] == '.')
        n--;
    buf_mem(b, text, (size_t)n);
}
