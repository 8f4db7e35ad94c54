/* Making, starting, watching and stopping the loops. */
#include "server/loops.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "io/task.h"
#include "log/log.h"

uint32_t loops_per_processor(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > 4 ? 4 : (uint32_t)n;
}

static int add(struct loops *l, enum loop_kind kind, const char *fmt, uint32_t n, ath_err *e)
{
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        int rc;
        snprintf(name, sizeof(name), "%s-%u", fmt, i);
        if ((rc = loop_new(kind, l->count, name, &l->all[l->count], e)) < 0)
            return rc;
        l->count++;
    }
    return 0;
}

int loops_new(struct loops *l, uint32_t http, uint32_t work, ath_err *e)
{
    int rc;

    *l = (struct loops){ .http_count = http, .work_count = work };
    l->http = l->all + 1;
    l->work = l->http + l->http_count;
    if ((rc = add(l, LOOP_CONTROL, "control", 1, e)) < 0 ||
        (rc = add(l, LOOP_HTTP, "http", l->http_count, e)) < 0 ||
        (rc = add(l, LOOP_WORK, "work", l->work_count, e)) < 0)
        return rc;
    task_loops(l->work, l->work_count);
    return 0;
}

int loops_start(struct loops *l, ath_err *e)
{
    for (uint32_t i = 1; i < l->count; i++) {
        int rc = loop_start(l->all[i], e);
        if (rc < 0)
            return rc;
        l->running++;
    }
    return 0;
}

struct each {
    ath_loop *loop;
    void (*fn)(ath_loop *loop, void *arg);
    void *arg;
};

static void each_run(void *arg)
{
    struct each *c = arg;

    c->fn(c->loop, c->arg);
}

void loops_each(struct loops *l, enum loop_kind kind, void (*fn)(ath_loop *loop, void *arg), void *arg)
{
    for (uint32_t i = 0; i <= l->running && i < l->count; i++) {
        struct each c = { l->all[i], fn, arg };
        if (kind && l->all[i]->kind != kind)
            continue;
        if (i == 0)
            each_run(&c);
        else
            loop_call(l->all[i], each_run, &c);
    }
}

void loops_stop(struct loops *l)
{
    for (uint32_t i = 0; i <= l->running && i < l->count; i++)
        loop_stop(l->all[i]);
}

void loops_free(struct loops *l)
{
    for (uint32_t i = 1; i <= l->running; i++)
        loop_join(l->all[i]);
    for (uint32_t i = 0; i < l->count; i++)
        loop_free(l->all[i]);
    l->count = l->running = 0;
}

/* What a loop was last seen at. */
struct seen {
    uint64_t changes, since_ns;
    bool said;
};

static void watch_one(const ath_loop *l, struct seen *seen, uint64_t limit_ms, uint64_t abort_ms)
{
    uint64_t now = clock_ns(), changes, ms;
    const char *label = loop_busy(l, &changes);

    if (!label || changes != seen->changes) {
        *seen = (struct seen){ .changes = changes, .since_ns = now };
        return;
    }
    ms = (now - seen->since_ns) / 1000000u;
    if (ms >= limit_ms && !seen->said) {
        seen->said = true;
        log_write(ATH_WARN, "athena::watchdog", "loop %s has been in \"%s\" for %llu ms", l->name,
                  label, (unsigned long long)ms);
    }
    if (abort_ms && ms >= abort_ms) {
        fprintf(stderr, "loop %s has been in \"%s\" for %llu ms: giving up\n", l->name, label,
                (unsigned long long)ms);
        abort();
    }
}

void loops_watch(struct loops *l, uint64_t limit_ms, uint64_t abort_ms)
{
    static struct seen seen[LOOPS_MOST];

    for (uint32_t i = 1; i <= l->running; i++)
        watch_one(l->all[i], &seen[i], limit_ms, abort_ms);
}

uint64_t loops_waited(void *arg, uint32_t *ret_loops)
{
    struct loops *l = arg;
    uint64_t ns = 0;

    for (uint32_t i = 0; i < l->http_count; i++)
        ns += loop_waited_ns(l->http[i]);
    *ret_loops = l->http_count;
    return ns;
}
