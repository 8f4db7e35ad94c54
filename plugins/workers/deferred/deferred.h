/* plugins/workers/deferred/deferred.h - carrying out deferred requests.
 *
 *     run.c        one request: who asked, the call of its route, what becomes of it
 *     verdict.c    what an answer means: done, again, given up
 *     summary.c    what is kept of an answer that went well
 *     expire.c     requests whose caller could never be checked
 */
#ifndef WORKERS_DEFERRED_H
#define WORKERS_DEFERRED_H

#include <stdbool.h>

#include <athena/service/deferred.h>

#include "deferred/queue.h"
#include "lib/buf.h"
#include "lib/jsonread.h"

struct deferred_config {
    int32_t enabled;
    uint64_t poll_ms, lease_ms, grace_ms, unchecked_ms;
    int64_t attempts, concurrency;
    uint64_t max_bytes; /* of an answer */
};

struct deferred_kind {
    const char *name;            /* "gateway_query" */
    const char *method, *path;   /* that carries it out */
    const char *word;            /* "query", in what is said of its failure */
    bool reads;                  /* it changes nothing, so nothing has to be done once */
};

struct work {                    /* of one job, in its arena */
    const struct deferred_kind *kind;
    ath_str id, client;
    const struct json *payload, *context;
    ath_str text;                /* the body */
    ath_str key;                 /* that it is done once by; empty: it has none */
    bool own_key;                /* the caller's own, in the request */
    bool once;                   /* the call that is under way has one */
    bool doubt;                  /* an earlier run may have taken effect, and its key may be gone */
};

/* ---- verdict.c ---- */

enum verdict_is {
    DONE,
    AGAIN,                       /* the same again later */
    WITHOUT_KEY,                 /* at once, as it cannot be done with one */
    GIVEN_UP
};

struct verdict {
    enum verdict_is is;
    bool sure;                   /* nothing of it has taken effect */
    bool free;                   /* AGAIN: not for what it asks, so it does not count */
    ath_str words;               /* AGAIN, GIVEN_UP: for error_message */
};

struct verdict verdict_of(ath_task *t, const struct work *w, const ath_done *d, ath_err *e);

/* ---- summary.c ---- */

enum { SUMMARY_ROWS = 25, SUMMARY_ROW_BYTES = 64 << 10, SUMMARY_BYTES = 1 << 20 };

/* The object for result_summary, of an answer with status 2xx. */
ath_str summary_of(ath_task *t, const struct work *w, ath_str answer);

/* ---- run.c, expire.c ---- */

int deferred_run(ath_job *j, ath_err *e);
int deferred_expire(ath_job *j, ath_err *e);

void deferred_tell(const struct work *w, const char *status); /* the metric */

#endif
