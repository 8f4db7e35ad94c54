#include "dataplane/ask.h"

#include "lib/text.h"

static int refreshed(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : dp_ask(t, d->arg, e);
}

static int refresh(ath_req *r, struct dp_ask *a, ath_err *e)
{
    if (a->snapshot)
        a->refreshed = true;
    else
        a->begun = true; /* the first reading of all may have begun before this request */
    return a->catalog->refresh(r, a->snapshot ? a->catalog->version(a->snapshot) : 0, refreshed, a,
                               e);
}

/* Did the database say that the statement does not fit what it holds (any more)? */
static bool is_outdated(const ath_err *e)
{
    static const char *const states[] = { "42P01", "42703", "42704", "42883", "0A000" };
    ath_str state = ath_host_->err->get(e, "sql_state");

    for (size_t i = 0; i < ATH_COUNT(states); i++)
        if (str_is(state, states[i]))
            return true;
    return false;
}

int dp_ask_failed(ath_req *r, struct dp_ask *a, int rc, ath_err *e)
{
    if (!a->refreshed && is_outdated(e)) {
        a->snapshot = a->catalog->get(r);
        return refresh(r, a, e);
    }
    return a->failed ? a->failed(r, a, rc, e) : rc;
}

static int asked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct dp_ask *a = d->arg;

    a->answered = d->count;
    return d->rc < 0 ? dp_ask_failed(t, a, d->rc, e) : a->answer(t, a, d->rows, e);
}

int dp_ask_send(ath_req *r, struct dp_ask *a, ath_err *e)
{
    return ath_host_->pg->query(r, &a->query, asked, a, e);
}

int dp_ask(ath_req *r, struct dp_ask *a, ath_err *e)
{
    int rc;

    if (a->read && (rc = a->read(r, a, e)) < 0)
        return rc;
    if (!(a->snapshot = a->catalog->get(r)))
        return a->begun ? ath_raise(e, "backend_unavailable", "the catalogue could not be read")
                        : refresh(r, a, e);
    a->unknown = false;
    a->query = (ath_query){ .size = sizeof(a->query), .stmt_size = sizeof(ath_stmt) };
    rc = a->bind(r, a, e);
    if (rc < 0 && a->unknown && !a->refreshed)
        return refresh(r, a, e);
    if (rc < 0 || a->query.stmt_count == 0)
        return rc;
    return a->send ? a->send(r, a, e) : dp_ask_send(r, a, e);
}
