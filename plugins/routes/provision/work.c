/* The request waits for whatever comes first, the end of a stream that the work ends, or its time.
 * When it is gone the work goes on all the same, and its failure is written to the log. */
#include "provision.h"

#include <stdlib.h>

static void unref(void *p)
{
    struct work *w = p;

    if (--w->refs)
        return;
    explicit_bzero(w->input, w->input_n);
    free(w->input);
    free(w->code);
    free(w->title);
    free(w->words);
    if (w->body.p)
        explicit_bzero(w->body.p, w->body.cap);
    buf_free(&w->body);
    free(w);
}

/* The request is over. */
static void leave(void *p)
{
    struct work *w = p;

    w->gate = NULL;
    w->asked = false;
    unref(w);
}

static char *copy(ath_str s)
{
    struct buf b = BUF_HEAP;

    buf_str(&b, s);
    return buf_view(&b).n ? b.p : NULL;
}

ATH_PRINTF(2, 3) static void say(ath_task *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, t, ATH_WARN, fmt, ap);
    va_end(ap);
}

/* ---- the work ---- */

static void over(struct work *w)
{
    w->over = true;
    if (w->gate)
        ath_host_->stream->end(w->gate, 0);
}

int work_done(ath_task *t, struct work *w, int status, ath_str body)
{
    w->status = status;
    w->body = (struct buf)BUF_HEAP;
    buf_str(&w->body, body);
    over(w);
    ath_host_->task->done(t, NULL);
    return 0;
}

static int ended(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;

    if (d->rc < 0 && !w->over) {
        w->code = copy(ath_host_->err->get(e, "code"));
        w->title = copy(ath_host_->err->get(e, "title"));
        w->words = copy(ath_host_->err->get(e, "message"));
        if (!w->asked)
            say(t, "%s: %s", w->title ? w->title : "provisioning failed", w->words);
        over(w);
    }
    ath_host_->task->done(t, NULL);
    return 0;
}

static int first(ath_task *t, void *arg, ath_err *e)
{
    struct work *w = arg;
    ath_fork f = { .size = sizeof(f), .run = w->run, .arg = w };

    ath_host_->mem->own(ath_arena_of(t), w, unref);
    return ath_host_->task->fork(t, &f, ended, w, e);
}

/* ---- the request ---- */

static int answer(ath_req *r, struct work *w, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    if (!w->over)
        return ath_raise(e, "provisioning_late", "the work goes on without this request");
    if (!w->status)
        return admin_fail(e, w->code ? w->code : "provisioning_failed",
                          w->title ? w->title : "Provisioning failed", "%s",
                          w->words ? w->words : "it was not said why");
    buf_str(&b, buf_view(&w->body));
    return ath_reply(r, w->status, "application/json", buf_view(&b));
}

static int woken(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;

    if (d->rc == ATH_E_CANCELED && !w->over)
        return d->rc;
    w->asked = false;
    return answer(t, w, e);
}

static int late(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : woken(t, d, e);
}

/* Prefer: respond-async (RFC 7240) */
static bool is_patient(ath_req *r)
{
    ath_str rest = ath_header(r, "prefer"), word;

    while (str_next(&rest, ',', &word))
        if (str_ieq(str_trim(str_from(word.p, str_find(word, ';'))), ATH_S("respond-async")))
            return true;
    return false;
}

static int accept(ath_req *r)
{
    struct buf b = admin_answer(r, "Provisioning goes on");

    ath_host_->req->set(r, "preference-applied", ATH_S("respond-async"));
    buf_json_bool(&b, "accepted", true);
    return admin_reply(r, 202, &b);
}

static int wait(ath_req *r, struct work *w, ath_err *e)
{
    const struct provision_config *cfg = ath_config_of(r);
    int rc;

    w->asked = true;
    w->gate = ath_host_->stream->open(r, 0);
    if ((rc = ath_host_->stream->read(r, w->gate, woken, w, e)) < 0)
        return rc;
    return ath_host_->task->after(r, cfg->route_ms, late, w, e);
}

int work_begin(ath_req *r, ath_run *run, ath_str input, ath_err *e)
{
    struct work *w = calloc(1, sizeof(*w));
    ath_fork f = { .size = sizeof(f), .run = first, .arg = w, .beside = r };

    if (!w)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    w->run = run;
    w->refs = 2;
    w->input = copy(input);
    w->input_n = input.n;
    ath_host_->mem->own(ath_arena_of(r), w, leave);
    ath_host_->task->begin(ath_self_, &f);
    return is_patient(r) ? accept(r) : wait(r, w, e);
}
