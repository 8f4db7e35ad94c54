/* Handing events out: filter, one copy, one push per sink; and lines of our own.
 *
 * Sinks come and go while other threads log. A thread says in a word of its own that it is looking
 * at the sinks; log_sink_stop() takes the sink out of the list and then waits until no thread
 * looks.
 */
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/buf.h"
#include "log/sinks_priv.h"

_Atomic(struct log_sink *) log_sinks[SINKS_MOST];
atomic_uint log_sinks_used;

struct takers {
    struct log_sink *sink[SINKS_MOST];
    unsigned n, all;
    bool wanted, alike; /* alike: no sink asked for a name */
};

bool log_takes_row(ath_str name)
{
    unsigned used = atomic_load_explicit(&log_sinks_used, memory_order_relaxed);
    bool named = false;

    if (!log_rows_wanted())
        return false;
    log_enter();
    for (unsigned i = 0; i < used && !named; i++) {
        const struct log_sink *s = atomic_load(&log_sinks[i]);
        named = s && log_sink_names(s, name);
    }
    log_leave();
    return named;
}

static void takers_find_row(struct takers *t, ath_str name)
{
    unsigned used = atomic_load_explicit(&log_sinks_used, memory_order_relaxed);

    t->n = 0;
    t->wanted = t->alike = false;
    for (unsigned i = 0; i < used; i++) {
        struct log_sink *s = atomic_load(&log_sinks[i]);
        if (s && log_sink_names(s, name))
            t->sink[t->n++] = s;
    }
    t->all = t->n + 1; /* it never goes to standard error */
}

static void takers_find(struct takers *t, bool wanted, ath_str name)
{
    unsigned used = atomic_load_explicit(&log_sinks_used, memory_order_relaxed);

    t->n = t->all = 0;
    t->wanted = wanted;
    t->alike = true;
    for (unsigned i = 0; i < used; i++) {
        struct log_sink *s = atomic_load(&log_sinks[i]);
        if (!s)
            continue;
        t->all++;
        t->alike &= log_sink_takes_all(s);
        if (log_sink_takes(s, wanted, name))
            t->sink[t->n++] = s;
    }
}

bool log_takes(int level, ath_str source, ath_str name)
{
    bool wanted = log_wants(level, source);
    struct takers t;

    if (wanted) /* a sink, or standard error, takes it; without either it costs a copy */
        return true;
    log_enter();
    takers_find(&t, wanted, name);
    log_leave();
    return t.n > 0;
}

/* The first `n` sinks that take the event get it; what a full queue refuses is let go. Of an event that
 * nobody takes nothing is read: its block may be gone with the others in it. */
static bool push(const struct takers *t, struct event *ev, struct block *block)
{
    bool kept = true;

    for (unsigned i = 0; i < t->n; i++)
        if (!log_sink_push(t->sink[i], ev)) {
            block_release(block);
            kept = false;
        }
    return kept;
}

/* All references are there before the first push: a sink may be done with an event before the next
 * one is pushed. */
int log_draft_send(struct log_draft *d)
{
    struct event *ev = (struct event *)(void *)d->block->at;
    struct takers t[LOG_DRAFT_EVENTS];
    struct block *block = d->block;
    unsigned refs = 0, n = d->count;
    bool kept = true;

    log_enter();
    for (unsigned i = 0; i < n; i++) {
        bool wanted = log_wants((int)ev[i].e.level, ev[i].e.source);
        if (ev[i].e.flags & ATH_EV_ROW)
            takers_find_row(&t[i], ev[i].e.name);
        else if (i && t[i - 1].alike && t[i - 1].wanted == wanted)
            t[i] = t[i - 1];
        else
            takers_find(&t[i], wanted, ev[i].e.name);
        refs += t[i].n;
    }
    atomic_store_explicit(&block->refs, refs, memory_order_relaxed);
    if (refs == 0) {
        for (unsigned i = 0; i < n; i++)
            if (t[i].all == 0 && log_wants((int)ev[i].e.level, ev[i].e.source))
                log_stderr(&ev[i].e);
        block_give_back(block);
    }
    for (unsigned i = 0; refs && i < n; i++)
        kept &= push(&t[i], &ev[i], block);
    log_leave();
    return kept ? 0 : ATH_E_LIMIT;
}

int log_event(const ath_event *e)
{
    struct log_draft d;

    if (e->flags & ATH_EV_ROW ? !log_takes_row(e->name)
                              : !log_takes((int)e->level, e->source, e->name))
        return 0;
    return event_copy(&d, e) ? log_draft_send(&d) : ATH_E_LIMIT;
}

void log_stderr(const ath_event *e)
{
    static const char *const levels[] = { "", "ERROR", "WARN", "INFO", "DEBUG" };
    uint64_t ns = e->time_ns ? e->time_ns : clock_wall_ns();
    time_t seconds = (time_t)(ns / 1000000000u);
    struct buf b = BUF_HEAP;
    struct tm tm;

    localtime_r(&seconds, &tm);
    buf_printf(&b, "%02d:%02d:%02d.%03d %5s %.*s: %.*s", tm.tm_hour, tm.tm_min, tm.tm_sec,
               (int)(ns / 1000000u % 1000u), levels[e->level < ATH_COUNT(levels) ? e->level : 4],
               STR_ARG(e->source), STR_ARG(e->message));
    for (uint32_t i = 0; i < e->fact_count; i++)
        buf_printf(&b, " %.*s=%.*s", STR_ARG(e->fact[i].key), STR_ARG(e->fact[i].value));
    buf_char(&b, '\n');
    if (write(STDERR_FILENO, b.p, b.n) < 0) {
        /* nobody is left to tell */
    }
    buf_free(&b);
}

void log_write_v(int level, const char *source, const char *fmt, va_list ap)
{
    struct buf raw = BUF_HEAP, clean = BUF_HEAP;
    ath_event e = { .size = sizeof(e), .level = (uint32_t)level, .source = str_of(source) };

    if (!log_wants(level, e.source))
        return;
    buf_vprintf(&raw, fmt, ap);
    log_redact(&clean, buf_view(&raw));
    e.message = buf_view(&clean);
    log_event(&e);
    buf_free(&raw);
    buf_free(&clean);
}

void log_write(int level, const char *source, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_write_v(level, source, fmt, ap);
    va_end(ap);
}
