/* Handing events out: filter, one copy, one push per sink; and lines of our own.
 *
 * Sinks come and go while other threads log. A thread says in a word of its own that it is looking
 * at the sinks; log_sink_stop() takes the sink out of the list and then waits until no thread
 * looks.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "lib/buf.h"
#include "log/sinks_priv.h"

struct reader {
    struct list node;
    atomic_uint inside;
};

_Atomic(struct log_sink *) log_sinks[SINKS_MOST];
atomic_uint log_sinks_used;

static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list readers = { &readers, &readers };
static pthread_key_t reader_key;
static pthread_once_t reader_once = PTHREAD_ONCE_INIT;
static _Thread_local struct reader *self;

static void reader_end(void *arg)
{
    struct reader *r = arg;

    pthread_mutex_lock(&readers_lock);
    list_unlink(&r->node);
    pthread_mutex_unlock(&readers_lock);
    self = NULL;
    free(r);
}

static void reader_start(void)
{
    pthread_key_create(&reader_key, reader_end);
}

static struct reader *reader_new(void)
{
    pthread_once(&reader_once, reader_start);
    self = MEM_NEW(struct reader);
    pthread_setspecific(reader_key, self);
    pthread_mutex_lock(&readers_lock);
    list_push(&readers, &self->node);
    pthread_mutex_unlock(&readers_lock);
    return self;
}

/* The main thread's word is not freed by its key. */
__attribute__((destructor)) static void reader_last(void)
{
    if (self)
        reader_end(self);
}

void log_enter(void)
{
    struct reader *r = self ? self : reader_new();

    atomic_store(&r->inside, 1);
}

void log_leave(void)
{
    atomic_store_explicit(&self->inside, 0, memory_order_release);
}

void log_wait_readers(void)
{
    static const struct timespec moment = { .tv_nsec = 50000 };

    pthread_mutex_lock(&readers_lock);
    list_each(node, next, &readers)
    {
        struct reader *r = list_entry(node, struct reader, node);
        while (r != self && atomic_load(&r->inside))
            nanosleep(&moment, NULL);
    }
    pthread_mutex_unlock(&readers_lock);
}

struct takers {
    struct log_sink *sink[SINKS_MOST];
    unsigned n, all;
};

static void takers_find(struct takers *t, bool wanted, ath_str name)
{
    unsigned used = atomic_load_explicit(&log_sinks_used, memory_order_relaxed);

    t->n = t->all = 0;
    for (unsigned i = 0; i < used; i++) {
        struct log_sink *s = atomic_load(&log_sinks[i]);
        if (!s)
            continue;
        t->all++;
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

/* `text` NULL: the texts are anywhere. */
static int hand_out(const ath_event *e, const char *text, size_t n)
{
    bool wanted = log_wants((int)e->level, e->source), kept = true;
    struct event *ev = NULL;
    struct takers t;

    log_enter();
    takers_find(&t, wanted, e->name);
    if (t.n) {
        ev = text ? event_copy_block(e, text, n) : event_copy(e);
        kept = ev != NULL;
    }
    for (unsigned i = 0; ev && i < t.n; i++)
        kept &= log_sink_push(t.sink[i], ev);
    log_leave();
    if (ev)
        event_release(ev);
    if (t.all == 0 && wanted)
        log_stderr(e);
    return kept ? 0 : ATH_E_LIMIT;
}

int log_event(const ath_event *e)
{
    return hand_out(e, NULL, 0);
}

int log_event_block(const ath_event *e, const char *text, size_t n)
{
    return hand_out(e, text, n);
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
