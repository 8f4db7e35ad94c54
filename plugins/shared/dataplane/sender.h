/* plugins/shared/dataplane/sender.h - a result of any size to the caller, in bounded memory.
 *
 * The statement is asked with ATH_PG_ROWS. A result that is over with its first piece is answered
 * whole, as any other: with a length, and it may be kept. A longer one is written piece by piece into
 * a stream that the host pulls: the next rows are asked for when there is room for them, so no more
 * than a piece waits in us and what PostgreSQL has ready waits there.
 *
 *     piece 1 --more--> nothing     whole()
 *             --more--> piece 2     head(), then 1, 2, more, 3, more ... end
 *
 * A failure behind the first byte of a body has no status any more: the task fails, and the host cuts
 * the connection, so nobody takes what came for all there is.
 *
 * The struct lives in the request's arena.
 */
#ifndef PLUGINS_SHARED_DATAPLANE_SENDER_H
#define PLUGINS_SHARED_DATAPLANE_SENDER_H

#include "dataplane/writer.h"

struct dp_sender {
    void *arg;
    int (*whole)(ath_req *r, void *arg, const ath_rows *rows, ath_err *e); /* answers */
    void (*head)(ath_req *r, void *arg, const struct dp_answer *a); /* sets what goes before a body */
    const struct dp_fetch *f;
    const struct dp_query *q;
    struct dp_answer a;          /* what dp_writer_begin() reads is said */
    bool fold;                   /* as in struct dp */
    /* inside */
    struct dp_writer w;
    const ath_rows *first;
    ath_stream *to;
    struct buf text;
    ath_stmt stmt[2];            /* the plan of a guessed count comes before the rows */
};

/* Makes `query`, which asks for s->q, one whose rows come in pieces. */
void dp_sender_ask(struct dp_sender *s, ath_query *query);

/* May the result have more rows than that? Not when its limit or a unique key of its table says so.
 * What is grouped or only counted is never sent in pieces. */
bool dp_may_exceed(const struct dp_fetch *f, int64_t rows);

/* Goes on from the query's first answer. */
int dp_sender_start(ath_req *r, struct dp_sender *s, const ath_rows *rows, ath_err *e);

#endif
