/* plugins/routes/gateway/gateway.h - reading and writing rows: POST /gateway/fetch, /gateway/data,
 * GET /data; /gateway/insert, /gateway/update, /gateway/delete. */
#ifndef ROUTES_GATEWAY_H
#define ROUTES_GATEWAY_H

#include <athena/service/cache.h>
#include <athena/service/writes.h>
#include <athena/service/deferred.h>

#include "dataplane/ask.h"
#include "dataplane/question.h"
#include "dataplane/route.h"
#include "dataplane/sender.h"

enum { CACHE_KEY_TEXT = 64 };    /* hex digits */

struct gateway_config {
    int64_t  max_rows;           /* most rows of one fetch; 0: any number */
    int64_t  pieces_above;       /* more rows than these are sent in pieces */
    int64_t  group_rows_max;
    uint64_t query_timeout_ms;
    ath_str  strip_nulls_scope;  /* "keys" or "rows" */
    int32_t  fold_names, bare_rows;
    uint64_t window_ms, overload_retry_ms; /* of inserts that wait for each other */
    int64_t  window_batch, window_queue;
    double   window_watermark;
    int32_t  window_defers;
    ath_str  window_deny;        /* tables, between commas */
    int32_t  deferred, deferred_wal, deferred_public; /* writes that are acknowledged first (buffer.h) */
    uint64_t deferred_window_ms, deferred_max_bytes;
    int64_t  deferred_most, deferred_max_entries;
    ath_str  deferred_dir;
    int32_t  cast_uuids, split_tables; /* kept for old files, see plugin.c */
};

struct window;
struct gateway_local {           /* of a loop */
    struct dp_plans *plans;
    struct window *window;
};

struct gateway_state {
    const ath_catalog *catalog;
    const ath_cache *cache;      /* NULL: answers are not kept */
    const ath_writes *writes;    /* NULL: none are deferred */
    const ath_deferred *deferred; /* NULL: there is no queue */
};

struct gateway_question {        /* what an answer is the answer to */
    ath_str client, schema, table;
    uint64_t digest[2];
    bool strip;
    enum dp_format format;
};

/* cachekey.c: a label of the question, in hex. The same question has the same key in every process. */
void gateway_cache_key(const struct gateway_question *what, char ret[CACHE_KEY_TEXT + 1]);

/* window.c: inserts that wait for each other */
struct window *window_new(void);
void window_free(struct window *w); /* accepts NULL */

/* fetch.c */
int gateway_init(ath_self *s, const void *config, void **ret_state, ath_err *e);
void gateway_drain(void *state);
void gateway_fini(void *state);
int gateway_loop_init(ath_loop *l, void *state, void **ret_local, ath_err *e); /* a loop's plans */
void gateway_loop_fini(ath_loop *l, void *state, void *local);
ath_handler gateway_fetch;

/* What is wrong with a request's body, without a database. */
int gateway_fetch_check(ath_req *r, ath_err *e);

/* Goes on with a body that was read already; its memory is the request's. */
int gateway_fetch_body(ath_req *r, const struct json *body, ath_err *e);

/* Clients of the 0.2 kind send their key twice and no name of their own; they read `data` as the
 * whole body. */
bool gateway_bare_rows(ath_req *r);

/* write.c */
ath_handler gateway_insert, gateway_update, gateway_delete;

/* later.c: for callers who cannot be checked now */
ath_handler gateway_defer_fetch, gateway_defer_insert, gateway_defer_update, gateway_defer_delete;

/* transaction.c */
ath_handler gateway_transaction;

/* install.c: athena idempotency install */
extern const ath_command gateway_fetch_command; /* command.c */
extern const ath_command gateway_install;

/* get.c */
ath_handler gateway_get;

extern const char openapi_yaml[]; /* openapi.yaml */
extern const char idempotency_sql[]; /* idempotency.sql */

#endif
