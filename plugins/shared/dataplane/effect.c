#include "dataplane/effect.h"

#include "lib/buf.h"

static int reply(ath_req *r, const struct dp_effect *x)
{
    const char *type = x->type ? x->type : "application/json";
    int status = x->status ? x->status : 200;

    return ath_reply(r, status, status == 204 ? NULL : type, x->reply);
}

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : reply(t, d->arg);
}

int dp_effect_done(ath_req *r, struct dp_effect *x, ath_err *e)
{
    int rc = 1;

    if (x->cache && !x->harmless)
        rc = x->cache->changed(r, x->changed, x->changes, told, x, e);
    return rc == 1 ? reply(r, x) : rc;
}

static int answer(ath_req *r, struct dp_ask *ask, const ath_rows *rows, ath_err *e)
{
    struct dp_effect *x = (struct dp_effect *)ask;
    int rc = x->say(r, x, x->framed ? ath_host_->pg->next(rows) : rows, e);

    return rc < 0 ? rc : dp_effect_done(r, x, e);
}

/* ---- with a key ---- */

static int once_answer(ath_req *r, struct dp_once *o, const ath_rows *rows, ath_err *e)
{
    struct dp_effect *x = o->arg;
    int rc = x->say(r, x, rows, e);

    o->status = x->status ? x->status : 200;
    o->body = x->reply;
    return rc;
}

static int once_failed(ath_req *r, struct dp_once *o, int rc, ath_err *e)
{
    struct dp_effect *x = o->arg;

    x->ask.answered = o->answered + x->framed;
    return dp_ask_failed(r, &x->ask, rc, e);
}

static int once_committed(ath_req *r, struct dp_once *o, ath_err *e)
{
    return dp_effect_done(r, o->arg, e);
}

static int send_once(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct dp_effect *x = (struct dp_effect *)ask;
    struct buf b = BUF_ARENA(ath_arena_of(r));

    if (x->also.n) {
        buf_str(&b, x->also);
        buf_char(&b, '\n');
    }
    buf_str(&b, ath_host_->req->body(r));
    x->once.request = buf_view(&b);
    if (!x->once.begin)
        x->once.begin = "BEGIN";
    x->once.effect = ask->query;
    if (x->framed) {
        x->once.effect.stmt++;
        x->once.effect.stmt_count -= 2;
    }
    x->once.answer = once_answer;
    x->once.failed = once_failed;
    x->once.committed = once_committed;
    x->once.arg = x;
    return dp_once(r, &x->once, e);
}

/* ---- the way there ---- */

static int send_after(ath_req *r, struct dp_effect *x, ath_err *e)
{
    return x->after ? x->after(r, &x->ask, e) : dp_ask_send(r, &x->ask, e);
}

static int settled(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : send_after(t, d->arg, e);
}

static int send_settled(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct dp_effect *x = (struct dp_effect *)ask;
    int rc = x->harmless ? 1 : x->writes->settle(r, x->changed, x->changes, settled, x, e);

    return rc == 1 ? send_after(r, x, e) : rc;
}

void dp_effect_send(struct dp_effect *x, dp_ask_step *send)
{
    x->after = send;
    x->ask.send = x->writes ? send_settled : send;
}

int dp_effect_bound(ath_req *r, struct dp_effect *x, ath_err *e)
{
    (void)r;
    x->ask.answer = answer;
    dp_effect_send(x, x->once.key.n ? send_once : NULL);
    return x->once.key.n ? dp_once_installed(x->ask.catalog, x->ask.snapshot, &x->ask.unknown, e)
                         : 0;
}
