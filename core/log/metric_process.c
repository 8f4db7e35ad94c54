/* The process itself, the log's own queues, and what /metrics says while it is switched off. */
#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "log/log.h"
#include "log/metric_priv.h"

static uint64_t started_wall_ns, started_ns;

__attribute__((constructor)) static void remember_start(void)
{
    started_wall_ns = clock_wall_ns();
    started_ns = clock_ns();
}

static double uptime(void)
{
    return (double)(clock_ns() - started_ns) / 1e9;
}

static void one_int(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    metric_head(b, name, type, help);
    buf_printf(b, "%s %llu\n", name, (unsigned long long)v);
}

static void one_real(struct buf *b, const char *name, const char *type, const char *help, double v)
{
    metric_head(b, name, type, help);
    buf_printf(b, "%s %.6f\n", name, v);
}

static void build_info(struct buf *b)
{
    metric_head(b, "athena_build_info", "gauge", "The version that runs.");
    buf_lit(b, "athena_build_info{");
    metric_label(b, "version", str_of(athena_version));
    buf_lit(b, "} 1\n");
}

static uint64_t open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t n = 0;

    if (!dir)
        return 0;
    for (struct dirent *d; (d = readdir(dir));)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n ? n - 1 : 0; /* without the one of this look */
}

/* Pages of the whole and of what is resident. */
static void memory(uint64_t *ret_whole, uint64_t *ret_resident)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long whole = 0, resident = 0;

    if (f && fscanf(f, "%llu %llu", &whole, &resident) != 2)
        whole = resident = 0;
    if (f)
        fclose(f);
    *ret_whole = whole * (uint64_t)sysconf(_SC_PAGESIZE);
    *ret_resident = resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* The names that every Prometheus client library uses. */
static void standard(struct buf *b)
{
    struct rlimit files = { 0 };
    struct rusage used;
    uint64_t whole, resident;

    getrusage(RUSAGE_SELF, &used);
    getrlimit(RLIMIT_NOFILE, &files);
    memory(&whole, &resident);
    one_real(b, "process_cpu_seconds_total", "counter", "Processor time used.",
             seconds_of(used.ru_utime) + seconds_of(used.ru_stime));
    one_int(b, "process_resident_memory_bytes", "gauge", "Resident memory.", resident);
    one_int(b, "process_virtual_memory_bytes", "gauge", "Virtual memory.", whole);
    one_int(b, "process_open_fds", "gauge", "Open file descriptors.", open_fds());
    one_int(b, "process_max_fds", "gauge", "Most file descriptors allowed.", files.rlim_cur);
    one_real(b, "process_start_time_seconds", "gauge", "Start of the process since 1970.",
             (double)started_wall_ns / 1e9);
}

void metric_process_write(struct buf *b)
{
    build_info(b);
    one_int(b, "athena_process_start_time_seconds", "gauge", "Start of the process since 1970.",
            started_wall_ns / 1000000000u);
    one_real(b, "athena_uptime_seconds", "gauge", "Time since the start.", uptime());
    one_int(b, "athena_process_available_parallelism", "gauge", "Processors that may be used.",
            (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    one_int(b, "athena_prometheus_metrics_enabled", "gauge", "Is the exporter on?", 1);
    standard(b);
}

void metric_render_off(struct buf *b)
{
    one_int(b, "athena_prometheus_metrics_enabled", "gauge", "Is the exporter on?", 0);
    metric_head(b, "athena_uptime_seconds", "gauge", "Time since the start.");
    buf_printf(b, "athena_uptime_seconds %.3f\n", uptime());
    build_info(b);
}

/* ---- the log's queues ---- */

static void per_sink(struct buf *b, const char *name, const char *type, const char *help,
                     const struct log_sink_stats *s, size_t n, size_t off)
{
    metric_head(b, name, type, help);
    for (size_t i = 0; i < n; i++) {
        uint64_t v = off == offsetof(struct log_sink_stats, paused)
                         ? s[i].paused
                         : *(const uint64_t *)((const char *)&s[i] + off);
        buf_z(b, name);
        buf_char(b, '{');
        metric_label(b, "sink", str_of(s[i].name));
        buf_printf(b, "} %llu\n", (unsigned long long)v);
    }
}

static void per_spool(struct buf *b, const char *name, const char *type, const char *help,
                      const struct log_sink_stats *s, size_t n, size_t off)
{
    metric_head(b, name, type, help);
    for (size_t i = 0; i < n; i++) {
        if (!s[i].spools)
            continue;
        buf_printf(b, "%s{", name);
        metric_label(b, "sink", str_of(s[i].name));
        buf_printf(b, "} %llu\n",
                   (unsigned long long)*(const uint64_t *)((const char *)&s[i].spool + off));
    }
}

static void spool_drops(struct buf *b, const struct log_sink_stats *s, size_t n)
{
    static const char name[] = "athena_log_spool_dropped_total";

    metric_head(b, name, "counter", "Events that a sink's spool lost.");
    for (size_t i = 0; i < n; i++) {
        const struct {
            const char *reason;
            uint64_t n;
        } why[] = { { "full", s[i].spool.dropped_full },
                    { "disk", s[i].spool.dropped_disk },
                    { "torn", s[i].spool.dropped_torn } };
        for (size_t k = 0; s[i].spools && k < ATH_COUNT(why); k++) {
            buf_printf(b, "%s{", name);
            metric_label(b, "sink", str_of(s[i].name));
            buf_printf(b, ",reason=\"%s\"} %llu\n", why[k].reason, (unsigned long long)why[k].n);
        }
    }
}

static void spools_write(struct buf *b, const struct log_sink_stats *s, size_t n)
{
    bool any = false;

    for (size_t i = 0; i < n; i++)
        any |= s[i].spools;
    if (!any)
        return;
#define PER_SPOOL(name, type, help, member)                                                        \
    per_spool(b, name, type, help, s, n, offsetof(struct spool_stats, member))
    PER_SPOOL("athena_log_spool_bytes", "gauge", "Bytes that wait in a sink's spool.", bytes);
    PER_SPOOL("athena_log_spool_events", "gauge", "Events that wait in a sink's spool.", events);
    PER_SPOOL("athena_log_spool_limit_bytes", "gauge", "Bytes that a spool has room for.", most);
    PER_SPOOL("athena_log_spool_put_total", "counter", "Events that went into a spool.", put);
    PER_SPOOL("athena_log_spool_done_total", "counter", "Events that a spool has given out.", done);
    PER_SPOOL("athena_log_spool_adopted_total", "counter",
              "Events that earlier processes left, and that were taken over.", adopted);
#undef PER_SPOOL
    spool_drops(b, s, n);
}

void metric_logs_write(struct buf *b)
{
    struct log_sink_stats s[16];
    size_t n = log_sink_stats(s, ATH_COUNT(s));

#define PER_SINK(name, type, help, member)                                                         \
    per_sink(b, name, type, help, s, n, offsetof(struct log_sink_stats, member))
    PER_SINK("athena_log_rows_written_total", "counter", "Events that a sink wrote.", written);
    PER_SINK("athena_log_rows_dropped_total", "counter",
             "Events that a sink's queue had no room for.", dropped);
    PER_SINK("athena_log_rows_failed_total", "counter", "Events of batches that a sink gave up.",
             failed);
    PER_SINK("athena_log_rows_waiting", "gauge", "Events in a sink's queue.", waiting);
    PER_SINK("athena_log_sink_paused", "gauge", "Is a sink unable to write?", paused);
#undef PER_SINK
    spools_write(b, s, n);
}
