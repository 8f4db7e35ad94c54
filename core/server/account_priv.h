/* core/server/account_priv.h - what the files of the account share.
 *
 *     account.c         the request's line, its trace, its metrics
 *     account_details.c what follows from the facts that the handler noted
 *     account_came.c    what came with it, without secrets
 *     account_rows.c    the rows of the log tables
 */
#ifndef CORE_SERVER_ACCOUNT_PRIV_H
#define CORE_SERVER_ACCOUNT_PRIV_H

#include "lib/buf.h"
#include "log/log.h"
#include "server/account.h"

/* The largest part of one text that is logged, and of all texts of a request. */
enum { TEXT_MOST = 2048, TEXTS_MOST = 12288 };

struct account {
    struct req *r;
    const struct route *route;   /* NULL: unmatched */
    const struct shape *shape;   /* of its details; NULL: it is no operation */
    const char *group;
    int status;                  /* that the caller has got */
    int judged;                  /* what it came to: that, unless it broke behind its head */
    uint64_t duration_ns;        /* until the answer began */
    bool span;                   /* does the filter show the prefix? */
    struct log_draft draft;
    /* as they stand in it */
    ath_str method, path, peer, id, w3c, status_text;
};

/* The fields of the trace; those that a handler may note are asked for by these names. */
enum {
    T_METHOD_SPAN,
    T_ROUTE_SPAN,
    T_PEER_SPAN,
    T_SPANS,
    T_EVENT = T_SPANS,
    T_VERSION,
    T_REQUEST_ID,
    T_CLIENT,
    T_LOGICAL,
    T_METHOD,
    T_PATH,
    T_FAMILY,
    T_OPERATION,
    T_TABLE,
    T_STATUS,
    T_OUTCOME,
    T_DURATION,
    T_BACKEND,
    T_ENGINE,
    T_ERROR_CODE,
    T_TRACE_ID,
    T_CACHE_OUTCOME,
    T_CACHE_SOURCE,
    T_CACHED,
    T_STATEMENTS,
    T_ROWS,
    T_RETURNED,
    T_AFFECTED,
    T_RESOURCE,
    T_DETAIL_KEYS,
    T_MESSAGE,
    T_ROUTE,
    T_KEY,
    T_IN,
    T_OUT,
    T_HEAD_US,
    T_BODY_US,
    T_QUEUE_US,
    T_WAIT_US,
    T_DB_US,
    T_REPLY_US,
    T_SEND_US,
    T_ENDING,
    T_W3C,
    T_SPAN,
    T_FACTS
};

/* ---- details ---- */

enum { NOTED_MOST = 32, KEYS_MOST = NOTED_MOST + 16, SHAPES = 8 };

/* Where a detail's value comes from: below NOTED_MOST the fact of that place, else one of these. */
enum {
    FROM_ERROR_CODE = NOTED_MOST,
    FROM_MESSAGE,
    FROM_ENGINE,
    FROM_CLIENT,
    FROM_OPERATION,
    FROM_OUTCOME,
    FROM_FAMILY,
    FROM_HASH,                   /* of the fact cache_key, which itself is not shown */
    FROM_NOWHERE
};

struct detail {
    uint16_t end;                /* of what stands before it in shape.text, after the one before */
    uint8_t from;
};

struct shape {
    const struct route *route;
    ath_str family, operation, pattern; /* of the route: not longer than TEXT_MOST */
    uint32_t facts;              /* how many of the request's are looked at */
    bool failed, described;      /* it has an error; that has words */
    bool code, message;          /* the error fills the field */
    bool traced;                 /* its path is gateway traffic */
    int8_t field[NOTED_MOST];    /* of each fact; -1: none */
    int8_t from[T_FACTS];        /* of each field the fact; -1: none */
    int8_t cache_key;            /* the fact of that name; -1: none */
    ath_str key[KEYS_MOST];      /* while it is made */
    uint8_t source[KEYS_MOST];   /* of each key */
    uint32_t keys;
    size_t noted_n, sorted_n, text_n;
    uint32_t details;
    struct detail detail[KEYS_MOST]; /* in the order of their keys */
    char noted[1024];            /* the facts' keys, each ended by NUL */
    char sorted[1024];           /* detail_keys */
    char text[1536];             /* details in JSON, without those that are each request's own */
};

const struct shape *account_shape(const struct account *a);

/* What the handler noted for a field; empty: nothing. */
static inline ath_str account_noted(const struct account *a, int field)
{
    int8_t i = a->shape->from[field];

    return i < 0 ? ATH_S("") : a->r->fact[i].value;
}

ath_str account_error_code(const struct account *a);

/* What went wrong, in words that hold nobody's data; they may stand in `room`. */
ath_str account_described(const struct account *a, struct buf *room);

ath_str account_outcome(int status); /* "success", "client_error" ... */

/* ---- texts ---- */

enum { PATH_MOST = 512 };

/* The path as the client sent it, cut between two characters: its length is not the caller's. */
ath_str account_path(const struct req *r);

/* A text into the draft: cut when it is too long, dropped when there is no room left. */
static inline ath_str account_put(struct account *a, ath_str s)
{
    return log_draft_text(&a->draft, str_from(s.p, s.n < TEXT_MOST ? s.n : TEXT_MOST));
}

enum { DIGITS = 20 }; /* of the largest number */

static inline ath_str account_number(struct account *a, uint64_t v)
{
    static const char digit[10][2] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" };
    char digits[DIGITS], *at = digits + DIGITS;

    if (v < 10)
        return str_from(digit[v], 1);
    do
        *--at = (char)('0' + v % 10);
    while (v /= 10);
    return account_put(a, str_from(at, (size_t)(digits + DIGITS - at)));
}

/* ---- what came ---- */

bool account_skipped(const struct req *r); /* it has no rows: see skip_user_agents */

/* The most of one value in JSON; when that is full, the rest is counted and left out. */
enum { VALUE_MOST = 1024, JSON_MOST = 6144 };

/* A text as a JSON string; cut, and without the byte that a database refuses. */
void account_put_string(struct buf *b, ath_str text);

/* All of them, up to JSON_MOST; of several with one name the first. */
void account_put_headers(struct buf *b, const struct req *r);
void account_put_query(struct buf *b, ath_str query); /* each secret as key=[REDACTED] */

/* The URL that the caller used for this host, as far as that is known. */
ath_str account_url(struct account *a, ath_str host);

struct verdict {
    ath_str reason, presented;   /* presented: its public id; p NULL: none */
    bool authenticated, authorized, enforced, hidden; /* hidden: a secret came with it */
};

struct verdict account_verdict(struct req *r);

/* ---- rows ---- */

/* Those of the log tables that the request is worth; where a sink takes such rows. */
void account_rows(struct account *a);

/* The row of an operation that a request of our own was: of the caller's request. */
void account_rows_called(struct account *a);

#endif
