/* The stop (TERM, INT): a chain on the control loop, one function per step:
 *
 *     stop_begin    no new connections, idle ones closed, plugins drained
 *     stop_wait     until nothing is in flight, or the drain's time has passed
 *     stop_cut      what is left is ended; a second to leave
 *     stop_send     sinks that send do so, for the rest of the drain's time
 *     stop_finish   loops give up their handles, other sinks flush, plugins end, loops end
 *
 * A second TERM cuts at once.
 */
#include "auth/store.h"
#include "cache/cache.h"
#include "control/control.h"
#include "control/daemons.h"
#include "control/probe.h"
#include "jobs/jobs.h"
#include "jobs/ticks.h"
#include "log/log.h"
#include "plugin/stage.h"
#include "server/notify.h"
#include "server/serve_priv.h"

enum { WAIT_MS = 20, CUT_MS = 1000 };

static void loop_drain(ath_loop *l, void *arg)
{
    (void)arg;
    http_loop_drain(l);
}

static void loop_cut(ath_loop *l, void *arg)
{
    (void)arg;
    if (l->kind == LOOP_HTTP)
        http_loop_cut(l);
    task_cancel_all(l);
}

static void close_handle(uv_handle_t *h)
{
    if (h->loop && !uv_is_closing(h))
        uv_close(h, NULL);
}

void stop_finish(struct server *s)
{
    senders_stop(s);
    loops_rooms_fini(s);
    log_write(ATH_INFO, "athena::server", "stopped");
    sinks_stop(s);
    stage_down(s->setup->registry);
    for (size_t i = 0; i < ATH_COUNT(s->signal); i++)
        close_handle((uv_handle_t *)&s->signal[i]);
    close_handle((uv_handle_t *)&s->watch);
    close_handle((uv_handle_t *)&s->step);
    loops_stop(&s->loops);
}

static bool quiet(const struct server *s)
{
    return atomic_load(&s->http.in_flight) == 0 && atomic_load(&s->own.in_flight) == 0 &&
           task_alive() <= senders_alive();
}

static void stop_sent(uv_timer_t *h)
{
    struct server *s = h->data;

    if (sinks_sent(s) || uv_now(h->loop) >= s->step_until_ms) {
        uv_timer_stop(h);
        stop_finish(s);
    }
}

static void stop_send(struct server *s)
{
    uint64_t least = uv_now(&loops_control(&s->loops)->uv) + CUT_MS;

    sinks_finish(s);
    s->step_until_ms = s->drain_until_ms > least ? s->drain_until_ms : least;
    uv_timer_start(&s->step, stop_sent, 0, WAIT_MS);
}

static void stop_left(uv_timer_t *h)
{
    struct server *s = h->data;

    if (quiet(s) || uv_now(h->loop) >= s->step_until_ms)
        stop_send(s);
}

static void stop_cut(struct server *s)
{
    ath_loop *l = loops_control(&s->loops);

    if (!quiet(s))
        log_write(ATH_WARN, "athena::server", "%u requests are cut",
                  atomic_load(&s->http.in_flight));
    loops_each(&s->loops, 0, loop_cut, NULL);
    uv_update_time(&l->uv);
    s->step_until_ms = uv_now(&l->uv) + CUT_MS;
    uv_timer_start(&s->step, stop_left, 0, WAIT_MS);
}

static void stop_wait(uv_timer_t *h)
{
    struct server *s = h->data;

    if (quiet(s) || uv_now(h->loop) >= s->step_until_ms)
        stop_cut(s);
}

void stop_begin(struct server *s, const char *why)
{
    ath_loop *l = loops_control(&s->loops);

    if (s->stopping) { /* asked twice: at once */
        s->step_until_ms = s->drain_until_ms = 0;
        return;
    }
    s->stopping = true;
    notify_send("STOPPING=1");
    log_write(ATH_INFO, "athena::server", "stopping: %s", why);
    atomic_store(&s->listening, false);
    atomic_store(&s->http.draining, true);
    atomic_store(&s->own.draining, true);
    acceptor_stop(s->acceptor);
    loops_each(&s->loops, LOOP_HTTP, loop_drain, NULL);
    ticks_drain();
    jobs_drain();
    daemons_end();
    probe_drain();
    stage_drain(s->setup->registry);
    cache_drain();
    store_drain();
    control_drain();
    uv_update_time(&l->uv);
    s->step_until_ms = s->drain_until_ms = uv_now(&l->uv) + s->setup->core.server.drain_timeout_ms;
    uv_timer_start(&s->step, stop_wait, 0, WAIT_MS);
}
