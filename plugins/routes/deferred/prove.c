/* Checking, once the key store can be asked again, the key of a request that was put while it could
 * not (D-02).
 *
 * The secret is nowhere but in the memory of the task that does this, which calls a route of ours
 * with it: 503 while the store is away, 401 when it is no key. So nothing is decided here that the
 * check of requests does not decide. When this process ends before that, the request is one that
 * nobody can vouch for, and ends as not authorised (the worker sees to it).
 */
#include "deferred.h"

#include <stdlib.h>

enum { FIRST_MS = 200, MOST_MS = 5000, SEEN_MS = 60000 };

struct prove {
    ath_str id, key;
    uint64_t wait_ms, since_ms; /* since the row was touched */
    char text[];
};

static const char proven_sql[] =
    "update " DEFERRED_TABLE " set context = context || '{\"who\":\"key\"}', updated_at = now()"
    " where request_id = $1 and context->>'who' = 'unchecked'";
static const char refused_sql[] =
    "update " DEFERRED_TABLE " set status = 'dead_letter', completed_at = now(),"
    " updated_at = now(), error_message = 'authorization failed' where request_id = $1"
    " and status = 'queued' and context->>'who' = 'unchecked'";
static const char seen_sql[] = "update " DEFERRED_TABLE " set updated_at = now()"
                               " where request_id = $1 and status = 'queued'"
                               " and context->>'who' = 'unchecked'";

static int again(ath_task *t, struct prove *x, ath_err *e);

static int over(ath_task *t)
{
    ath_host_->task->done(t, NULL);
    return 0;
}

static int write_row(ath_task *t, struct prove *x, const char *sql, ath_then *then, ath_err *e)
{
    ath_stmt stmt = { .sql = sql, .param = &x->id, .param_count = 1 };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(t, &q, then, x, e) < 0 ? again(t, x, e) : 0;
}

static int proven(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return again(t, d->arg, e);
    if (ATH_HAS(ath_host_, job))
        ath_host_->job->wake(DEFERRED_QUEUE);
    return over(t);
}

static int refused(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? again(t, d->arg, e) : over(t);
}

/* Nobody waits any more: it was canceled, or has waited for too long. */
static int seen(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc == 0 && d->count == 0 ? over(t) : again(t, d->arg, e);
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct prove *x = d->arg;

    if (d->rc == 0 && d->status == 204)
        return write_row(t, x, proven_sql, proven, e);
    if (d->rc == 0 && (d->status == 401 || d->status == 403))
        return write_row(t, x, refused_sql, refused, e);
    return again(t, x, e);
}

static int ask(ath_task *t, const ath_done *d, ath_err *e)
{
    struct prove *x = d->arg;
    ath_pair header = { ATH_S("x-athena-key"), x->key };
    ath_fetch f = { .size = sizeof(f),
                    .method = "GET",
                    .url = ATH_S("/routed/deferred"),
                    .header = &header,
                    .header_count = 1 };

    if (d->rc < 0)
        return d->rc;
    if (x->since_ms >= SEEN_MS) {
        x->since_ms = 0;
        return write_row(t, x, seen_sql, seen, e);
    }
    return ath_host_->req->call(t, &f, answered, x, e) < 0 ? again(t, x, e) : 0;
}

static int again(ath_task *t, struct prove *x, ath_err *e)
{
    x->wait_ms = x->wait_ms ? x->wait_ms * 2 : FIRST_MS;
    x->wait_ms = x->wait_ms < MOST_MS ? x->wait_ms : MOST_MS;
    x->since_ms += x->wait_ms;
    return ath_host_->task->after(t, x->wait_ms, ask, x, e);
}

/* GET /routed/deferred: of calls of ours, with any key. */
int deferred_key(ath_req *r, ath_err *e)
{
    ath_who who = { .size = sizeof(who) };

    if (ath_host_->req->info(r, "peer").n)
        return ath_raise(e, "not_found", "The requested resource was not found");
    ath_host_->req->who(r, &who);
    if (!(who.flags & ATH_WHO_KEY))
        return ath_raise(e, "api_key_invalid", "The provided API key is not valid.");
    return ath_reply(r, 204, NULL, ATH_S(""));
}

/* ---- the task ---- */

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct prove *x = arg;

    ath_host_->mem->own(ath_arena_of(t), x, free);
    return again(t, x, e);
}

void deferred_prove(ath_req *r, ath_str id, ath_str key)
{
    struct prove *x = calloc(1, sizeof(*x) + id.n + key.n);

    if (!x)
        abort();
    memcpy(x->text, id.p, id.n);
    memcpy(x->text + id.n, key.p, key.n);
    x->id = str_from(x->text, id.n);
    x->key = str_from(x->text + id.n, key.n);
    ath_host_->task->begin(
        ath_self_, &(ath_fork){ .size = sizeof(ath_fork), .run = begin, .arg = x, .beside = r });
}
