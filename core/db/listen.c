/* Listeners.
 *
 * A wish (one task, one channel) is WANTED until its LISTEN was answered; when its task is over it
 * is UNWANTED until its UNLISTEN was. The connection does one of these at a time, in step(), each
 * time it is idle; so whatever was lost with a connection is simply wanted again.
 */
#include "db/listen.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/rand.h"
#include "db/pgown.h"
#include "lib/json.h"
#include "lib/sqlname.h"
#include "log/log.h"

enum { RETRY_MIN_MS = 100, RETRY_MAX_MS = 10000 };

enum wish_state { WANTED, LISTENING, UNWANTED };

struct listener {
    struct list node; /* among the loop's */
    struct db_client *client;
    ath_loop *loop;
    struct pgconn *c;  /* NULL: the retry is awaited */
    struct wish *says; /* whose LISTEN or UNLISTEN is on it */
    struct list wishes;
    struct deadline retry;
    struct deferred tell;
    uint32_t fails;
};

struct wish {
    struct list node;
    struct listener *in;
    struct task_hold hold;
    ath_task *task;  /* NULL: it is over */
    struct op *op;   /* NULL: it does something else */
    struct buf kept; /* payloads, as members of a JSON array */
    bool missed;
    atomic_uint *losses; /* NULL: nobody counts */
    enum wish_state state;
    char channel[CHANNEL_ROOM];
};

static const struct pgconn_hooks hooks;

/* ---- telling ---- */

static void bytes_free(struct op *o)
{
    free(o->impl);
}

/* The array belongs to the operation from here on. */
static void tell(struct wish *w)
{
    struct buf array = BUF_HEAP;
    struct op *o = w->op;

    if (!o || (!w->missed && w->kept.n == 0))
        return;
    buf_char(&array, '[');
    if (!w->missed)
        buf_str(&array, buf_view(&w->kept));
    buf_char(&array, ']');
    buf_free(&w->kept);
    w->missed = false;
    w->op = NULL;
    o->stop = NULL;
    o->impl = array.p;
    o->release = bytes_free;
    o->done.bytes = buf_view(&array);
    op_finish(o, 0);
}

static void tell_all(void *arg)
{
    struct listener *l = arg;

    list_each (node, next, &l->wishes)
        tell(list_entry(node, struct wish, node));
}

static void keep(struct wish *w, const char *payload)
{
    if (w->missed)
        return;
    if (w->kept.n)
        buf_char(&w->kept, ',');
    buf_json(&w->kept, str_of(payload));
    if (w->kept.n <= LISTEN_KEPT)
        return;
    buf_free(&w->kept);
    w->missed = true;
}

static void on_notified(struct pgconn *c, const char *channel, const char *payload)
{
    struct listener *l = c->owner;

    list_each (node, next, &l->wishes) {
        struct wish *w = list_entry(node, struct wish, node);
        if (w->state == LISTENING && strcmp(w->channel, channel) == 0)
            keep(w, payload);
    }
    loop_defer(l->loop, &l->tell);
}

/* ---- what the connection says ---- */

static void wish_free(struct wish *w)
{
    list_unlink(&w->node);
    buf_free(&w->kept);
    free(w);
}

static bool others_listen(const struct wish *w)
{
    list_each (node, next, &w->in->wishes) {
        struct wish *other = list_entry(node, struct wish, node);
        if (other != w && other->state == LISTENING && strcmp(other->channel, w->channel) == 0)
            return true;
    }
    return false;
}

static void say(struct listener *l, struct wish *w)
{
    struct buf sql = BUF_HEAP;

    buf_z(&sql, w->state == WANTED ? "LISTEN " : "UNLISTEN ");
    buf_ident(&sql, str_of(w->channel));
    l->says = w;
    pgconn_say(l->c, sql.p);
    buf_free(&sql);
}

static struct wish *next_wish(struct listener *l)
{
    list_each (node, next, &l->wishes) {
        struct wish *w = list_entry(node, struct wish, node);
        if (w->state == UNWANTED && others_listen(w))
            wish_free(w);
        else if (w->state != LISTENING)
            return w;
    }
    return NULL;
}

static void listener_free(struct listener *l)
{
    deadline_clear(&l->retry);
    deferred_cancel(&l->tell);
    list_unlink(&l->node);
    if (l->c)
        pgown_close(l->c);
    free(l);
}

/* What is to be said next, to an idle connection; nothing left to listen to: it ends. */
static void step(struct listener *l)
{
    struct wish *w;

    if (l->c && (l->says || l->c->state != PGCONN_IDLE))
        return;
    w = l->c ? next_wish(l) : NULL;
    if (w)
        say(l, w);
    else if (list_empty(&l->wishes))
        listener_free(l);
}

/* Its LISTEN or UNLISTEN was answered. */
static void said(struct listener *l)
{
    struct wish *w = l->says;

    l->says = NULL;
    if (!w)
        return;
    if (w->state == UNWANTED) {
        wish_free(w);
        return;
    }
    w->state = LISTENING;
    w->missed = true;
    loop_defer(l->loop, &l->tell);
}

/* ---- the connection ---- */

static void lose(struct listener *l)
{
    list_each (node, next, &l->wishes) {
        struct wish *w = list_entry(node, struct wish, node);
        if (w->losses)
            atomic_fetch_add(w->losses, 1);
        if (w->state == UNWANTED)
            wish_free(w);
        else
            w->state = WANTED;
    }
    l->c = NULL;
    l->says = NULL;
}

static void retry_later(struct listener *l)
{
    uint64_t ms = RETRY_MIN_MS;

    for (uint32_t i = 0; i < l->fails && ms < RETRY_MAX_MS; i++)
        ms *= 2;
    l->fails++;
    deadline_set(l->loop, &l->retry, loop_now_ms(l->loop) + ms / 2 + rand_u64() % (ms / 2 + 1));
}

static void connect_now(struct listener *l)
{
    if (atomic_load(&l->client->gate) == DB_SHUT)
        return; /* listen_retarget() goes on */
    l->c = pgown_open(l->client, l->loop, &hooks, l);
    if (!l->c)
        retry_later(l);
}

static void on_retry(struct deadline *d)
{
    connect_now(container_of(d, struct listener, retry));
}

/* LISTEN is refused by a standby, for one: then it is tried on another connection. */
static void on_ready(struct pgconn *c)
{
    struct listener *l = c->owner;

    if (c->retire) {
        pgown_close(c);
        lose(l);
        retry_later(l);
        return;
    }
    l->fails = 0;
    said(l);
    step(l);
}

static void on_lost(struct pgconn *c, const ath_err *why)
{
    struct listener *l = c->owner;

    if (l->fails == 0)
        log_write(ATH_WARN, "athena::listen", "client \"%s\": notifications stopped: %s",
                  l->client->shown, why ? why->message : "closed");
    pgown_forget(c);
    lose(l);
    if (list_empty(&l->wishes))
        listener_free(l);
    else
        retry_later(l);
}

static const struct pgconn_hooks hooks = {
    .ready = on_ready,
    .lost = on_lost,
    .notified = on_notified,
};

/* ---- wishes ---- */

static struct listener *listener_find(struct db_client *c, ath_loop *l)
{
    list_each (node, next, &db_loop_of(l)->listeners) {
        struct listener *found = list_entry(node, struct listener, node);
        if (found->client == c)
            return found;
    }
    return NULL;
}

static struct listener *listener_of(struct db_client *c, ath_loop *loop)
{
    struct listener *l = listener_find(c, loop);

    if (l)
        return l;
    l = MEM_NEW(struct listener);
    l->client = c;
    l->loop = loop;
    list_init(&l->wishes);
    deadline_init(&l->retry, on_retry);
    deferred_init(&l->tell, tell_all, l);
    list_push(&db_loop_of(loop)->listeners, &l->node);
    connect_now(l);
    return l;
}

static struct wish *wish_find(struct listener *l, ath_task *t, ath_str channel)
{
    list_each (node, next, &l->wishes) {
        struct wish *w = list_entry(node, struct wish, node);
        if (w->task == t && str_is(channel, w->channel))
            return w;
    }
    return NULL;
}

static void task_over(struct task_hold *h)
{
    struct wish *w = container_of(h, struct wish, hold);
    struct listener *l = w->in;
    bool said_nothing = w->state == WANTED && l->says != w;

    w->task = NULL;
    w->losses = NULL;
    w->state = UNWANTED;
    if (said_nothing)
        wish_free(w);
    step(l);
}

static struct wish *wish_new(struct listener *l, ath_task *t, ath_str channel)
{
    struct wish *w = MEM_NEW(struct wish);

    w->in = l;
    w->task = t;
    memcpy(w->channel, channel.p, channel.n);
    w->hold.over = task_over;
    task_hold(t, &w->hold);
    list_push(&l->wishes, &w->node);
    step(l);
    return w;
}

static void wish_stop(struct op *o)
{
    struct wish *w = o->impl;

    o->stop = NULL;
    w->op = NULL;
    op_finish(o, ATH_E_CANCELED);
}

int listen_start(struct db_client *c, ath_task *t, ath_str channel, ath_then *then, void *arg,
                 ath_err *e)
{
    struct listener *l;
    struct wish *w;

    if (channel.n == 0 || channel.n >= CHANNEL_ROOM)
        return err_fail(e, ATH_E_BUG, "the name of a channel has %zu bytes, expected 1 to %d",
                        channel.n, CHANNEL_ROOM - 1);
    l = listener_of(c, t->loop);
    w = wish_find(l, t, channel);
    if (w && w->op)
        return err_fail(e, ATH_E_BUG, "the task waits for channel \"%s\" already", w->channel);
    if (!w)
        w = wish_new(l, t, channel);
    w->op = op_new(t, then, arg);
    w->op->impl = w;
    w->op->stop = wish_stop;
    loop_defer(l->loop, &l->tell);
    return 0;
}

void listen_count_losses(struct db_client *c, ath_task *t, ath_str channel, atomic_uint *losses)
{
    struct listener *l = listener_find(c, t->loop);
    struct wish *w = l ? wish_find(l, t, channel) : NULL;

    if (w)
        w->losses = losses;
}

void listen_retarget(struct db_client *c, ath_loop *loop)
{
    struct listener *l = listener_find(c, loop);

    if (!l)
        return;
    deadline_clear(&l->retry);
    if (l->c) {
        pgown_close(l->c);
        lose(l);
    }
    if (list_empty(&l->wishes))
        listener_free(l);
    else
        connect_now(l);
}

void listen_shut(struct db_client *c, ath_loop *loop)
{
    struct listener *l = listener_find(c, loop);

    if (!l)
        return;
    deadline_clear(&l->retry);
    if (l->c) {
        pgown_close(l->c);
        lose(l);
    }
    step(l);
}

static void wish_end(struct wish *w)
{
    struct op *o = w->op;

    if (w->task)
        task_let_go(&w->hold);
    if (o) {
        o->stop = NULL;
        op_finish(o, err_raise(op_err(o), "server_draining", "the server stops"));
    }
    wish_free(w);
}

void listen_close_all(struct db_loop *on)
{
    while (!list_empty(&on->listeners)) {
        struct listener *l = list_entry(on->listeners.next, struct listener, node);
        while (!list_empty(&l->wishes))
            wish_end(list_entry(l->wishes.next, struct wish, node));
        listener_free(l);
    }
}
