/* core/server/serve_priv.h - what the files of the serving process share.
 *
 *     serve.c    the start, signals, the end
 *     rooms.c    what the configuration says to each room: http, auth, cache, control
 *     sinks.c    the sinks' threads
 *     stop.c     the stop, step by step
 */
#ifndef CORE_SERVER_SERVE_PRIV_H
#define CORE_SERVER_SERVE_PRIV_H

#include "http/http.h"
#include "log/log.h"
#include "plugin/sender.h"
#include "server/loops.h"
#include "server/setup.h"

enum { RELOADS_MOST = 64 };

/* A sink's thread, and what carries its batches to a work loop; NULL: it writes by itself. */
struct running_sink {
    struct log_sink *sink;
    struct sender *sender;
};

struct server {
    struct setup *setup;
    struct setup_options options;
    struct role role;
    struct loops loops;
    struct http http;            /* the routes of plugins: for who serves, and for calls of our own */
    struct http own;             /* of the socket of a process that does not serve */
    struct acceptor *acceptor;
    struct running_sink *sink;
    uint32_t sink_count;
    bool staged;                 /* stage_up() has succeeded */
    struct setup *reloaded[RELOADS_MOST]; /* configurations that running tasks may still look at */
    uint32_t reload_count;
    uv_signal_t signal[5];
    uv_timer_t watch, step;
    uint64_t step_until_ms, drain_until_ms, watchdog_at_ms, probe_at_ms;
    bool stopping;
    atomic_bool listening;
    int status;
};

/* rooms.c */
void http_setup(struct server *s);
void answers_start(struct server *s);
void limits_start(struct server *s);          /* the routes are known, the loops do not run yet */
int account_start(const struct server *s, ath_err *e);
int brake_start(const struct server *s, ath_err *e);
int inspection_start(struct server *s, ath_err *e);
void catalogue_start(struct server *s);
void control_plane_start(struct server *s);
void registry_start(struct server *s);        /* of daemons */
int loops_up(struct server *s, ath_err *e);   /* threads, then what each room keeps per loop */
void loops_rooms_fini(struct server *s);

/* sinks.c */
int sinks_start(struct server *s, ath_err *e);
void sinks_finish(struct server *s);          /* those that send are told that nothing more comes */
bool sinks_sent(const struct server *s);
void senders_stop(struct server *s);          /* those that send need the loops and the databases */
void sinks_stop(struct server *s);            /* the others */

/* stop.c */
void stop_begin(struct server *s, const char *why); /* a second time: at once */
void stop_finish(struct server *s);

#endif
