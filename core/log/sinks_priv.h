/* core/log/sinks_priv.h - between the files of a sink:
 *
 *     log.c       hands events out to sinks
 *     sinks.c     queues, and the thread that takes events out of one
 *     deliver.c   a batch: written, tried again, given up
 *     drain.c     with a spool: the thread that sends what lies there
 */
#ifndef CORE_LOG_SINKS_PRIV_H
#define CORE_LOG_SINKS_PRIV_H

#include <pthread.h>

#include "lib/uuid.h"
#include "log/event.h"
#include "log/log.h"
#include "log/pack.h"
#include "log/ring.h"
#include "log/spool.h"

enum { SINKS_MOST = 16, SINK_NAMES = 16 };

/* A thread's sleep, which another one ends. */
struct nap {
    pthread_mutex_t lock;        /* of `over` */
    pthread_cond_t cond;
    bool over;
};

void nap_init(struct nap *n);
void nap_fini(struct nap *n);
void nap_end(struct nap *n);     /* the next one, if nobody sleeps */
void nap_take(struct nap *n, uint64_t ms); /* 0: for ever */

struct log_sink {
    char *name;
    const ath_sink *sink;
    void *state;
    bool every;                  /* events "*" */
    uint32_t names;
    ath_str name_of[SINK_NAMES]; /* else; they point into sink->events */
    atomic_uint_fast64_t lost_of[SINK_NAMES]; /* since the sink was told */
    size_t batch;
    uint64_t flush_ms, bytes_most;
    struct ring ring;
    size_t wake;                 /* a power of two: so many that wait end a rest */
    atomic_uint_fast64_t bytes;  /* that its events hold, in the queue or in the batch */
    atomic_int sleep;
    atomic_bool stop, reopen, paused, ended;
    atomic_uint_fast64_t written, dropped, failed, spooled_lost;
    pthread_t thread;
    struct nap nap;
    /* the taking thread's own */
    struct event **events;       /* what it has in hand */
    const ath_event **view;
    size_t n;
    uint64_t number;             /* of the last batch that was taken */
    char writer[UUID_TEXT];      /* of batches that are in no spool */
    struct log_pack pack;
    /* of the thread that delivers: the same one, or, with a spool, drain.c's */
    bool is_open, healed;
    uint64_t lost_before;        /* what had been dropped or given up when it paused */
    struct spool *spool;         /* NULL: none */
    struct drain *drain;
};

/* ---- sinks.c ---- */

/* The sinks of the moment; any may be NULL. Read only between log_enter() and log_leave(). */
extern _Atomic(struct log_sink *) log_sinks[SINKS_MOST];
extern atomic_uint log_sinks_used; /* slots ever used: how far to look */

bool log_sink_takes_all(const struct log_sink *s); /* whatever the name */
bool log_sink_takes(const struct log_sink *s, bool wanted, ath_str name);
bool log_sink_names(const struct log_sink *s, ath_str name); /* a row is for those */

/* The sink has one of the block's references from then on. False: the queue is full, the drop is
 * counted, and the reference is still the caller's. */
bool log_sink_push(struct log_sink *s, struct event *ev);

/* A thread without signals, which are the main thread's. 0, or an errno. */
int log_thread_start(pthread_t *ret, void *(*run)(void *arg), void *arg);

/* ---- deliver.c ---- */

enum { DELIVERED, GIVEN_UP, NOT_YET }; /* not yet: the sink was stopped before it worked */

int sink_open(struct log_sink *s, ath_err *e);
void sink_close(struct log_sink *s);

/* Writes events, again and again while the sink asks for that. `n` may be 0. */
int sink_deliver(struct log_sink *s, struct nap *nap, const ath_event **view, size_t n);
void sink_say_healed(struct log_sink *s); /* when it had paused and writes again */
void sink_say_ended(const struct log_sink *s);

/* `n` events of that name are lost; the sink is told before its next batch. Any thread. */
void sink_count_lost(struct log_sink *s, ath_str name, uint64_t n);
void sink_tell_lost(struct log_sink *s);

/* ---- drain.c ---- */

/* Makes the spool and its thread. ATH_E_CONFIG: its folder cannot be used. */
int drain_start(struct log_sink *s, const struct log_queue_options *o, ath_err *e);
void drain_wake(struct drain *d); /* there is something in the spool */
void drain_stop(struct drain *d); /* when nothing more comes: sends what it can, and ends */

/* ---- log.c ---- */

/* One line on standard error: time, level, source, message, facts. */
void log_stderr(const ath_event *e);

#endif
