/* libcurl on a loop: it says which sockets it waits for and when its next timer is, the loop says
 * what has happened to them. There are two multi handles per loop, because a handle keeps
 * connections and names: one for anything, one for requests that may only reach public addresses.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "http/client_priv.h"

struct drive {
    CURLM *multi;
    uv_timer_t timer;
    ath_loop *loop;
};

struct client_loop {
    struct drive *drive[2]; /* [1]: public addresses only; NULL: not needed yet */
    struct list transfers;
};

struct watch {
    uv_poll_t poll;
    struct drive *on;
    curl_socket_t fd;
};

/* ---- what has ended ---- */

static void take_ended(struct drive *d)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(d->multi, &left))) {
        CURLcode code = m->data.result;
        struct transfer *x = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &x);
        client_loop_pause(x);
        transfer_ended(x, code);
    }
}

static void act(struct drive *d, curl_socket_t fd, int what)
{
    int running;

    curl_multi_socket_action(d->multi, fd, what, &running);
    take_ended(d);
}

/* ---- sockets ---- */

/* A socket with an error is not watched any more by libuv, whatever its events say. */
static void on_socket(uv_poll_t *p, int status, int events)
{
    struct watch *w = p->data;
    int what = 0;

    if (status < 0)
        what = CURL_CSELECT_ERR;
    if (events & UV_READABLE)
        what |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        what |= CURL_CSELECT_OUT;
    act(w->on, w->fd, what);
}

static void on_unwatched(uv_handle_t *h)
{
    free(h->data);
}

static struct watch *watch_new(struct drive *d, curl_socket_t fd)
{
    struct watch *w = MEM_NEW(struct watch);

    w->on = d;
    w->fd = fd;
    w->poll.data = w;
    if (uv_poll_init_socket(&d->loop->uv, &w->poll, fd) < 0) {
        free(w);
        return NULL;
    }
    curl_multi_assign(d->multi, fd, w);
    return w;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct drive *d = arg;
    struct watch *w = known;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(d->multi, fd, NULL);
        if (w)
            uv_close((uv_handle_t *)&w->poll, on_unwatched);
        return 0;
    }
    if (!w && !(w = watch_new(d, fd)))
        return -1;
    if (what & CURL_POLL_IN)
        events |= UV_READABLE;
    if (what & CURL_POLL_OUT)
        events |= UV_WRITABLE;
    return uv_poll_start(&w->poll, events, on_socket) < 0 ? -1 : 0;
}

/* ---- time ---- */

static void on_timer(uv_timer_t *h)
{
    act(h->data, CURL_SOCKET_TIMEOUT, 0);
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
    struct drive *d = arg;

    (void)multi;
    if (ms < 0)
        uv_timer_stop(&d->timer);
    else
        uv_timer_start(&d->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

/* ---- the handles ---- */

static struct drive *drive_new(ath_loop *l)
{
    struct drive *d = MEM_NEW(struct drive);

    d->loop = l;
    d->multi = curl_multi_init();
    if (!d->multi) {
        free(d);
        return NULL;
    }
    uv_timer_init(&l->uv, &d->timer);
    uv_unref((uv_handle_t *)&d->timer);
    d->timer.data = d;
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETDATA, d);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERDATA, d);
    curl_multi_setopt(d->multi, CURLMOPT_MAXCONNECTS, (long)CLIENT_KEPT);
    curl_multi_setopt(d->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    return d;
}

static void on_drive_closed(uv_handle_t *h)
{
    free(h->data);
}

static void drive_free(struct drive *d)
{
    if (!d)
        return;
    curl_multi_cleanup(d->multi);
    uv_close((uv_handle_t *)&d->timer, on_drive_closed);
}

/* ---- transfers ---- */

void client_loop_join(ath_loop *l, struct transfer *x)
{
    struct client_loop *on = l->slot[LOOP_SLOT_CLIENT];

    if (!on) {
        on = l->slot[LOOP_SLOT_CLIENT] = MEM_NEW(struct client_loop);
        list_init(&on->transfers);
    }
    x->on = on;
    list_push(&on->transfers, &x->node);
    if (!on->drive[x->guarded])
        on->drive[x->guarded] = drive_new(l);
}

void client_loop_leave(struct transfer *x)
{
    client_loop_pause(x);
    list_unlink(&x->node);
}

int client_loop_run(struct transfer *x, ath_err *e)
{
    struct drive *d = x->on->drive[x->guarded];

    if (!d || curl_multi_add_handle(d->multi, x->easy) != CURLM_OK)
        return err_fail(e, ATH_E_MEMORY, "could not begin a request of our own");
    x->running = true;
    return 0;
}

void client_loop_pause(struct transfer *x)
{
    if (!x->running)
        return;
    x->running = false;
    curl_multi_remove_handle(x->on->drive[x->guarded]->multi, x->easy);
}

void client_loop_fini(ath_loop *l)
{
    struct client_loop *on = l->slot[LOOP_SLOT_CLIENT];
    struct list *node;

    if (!on)
        return;
    while ((node = list_pop(&on->transfers)))
        transfer_cut(list_entry(node, struct transfer, node));
    drive_free(on->drive[0]);
    drive_free(on->drive[1]);
    free(on);
    l->slot[LOOP_SLOT_CLIENT] = NULL;
}
