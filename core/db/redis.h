/* core/db/redis.h - one pipelined connection to Redis, of one loop.
 *
 * Commands are answered in their order; those of one turn of the loop leave in one write. Each ask
 * gets exactly one answer, later: a reply, or the reason why there is none. An answer that does not
 * come in time ends the connection, and with it all that waited, because nothing could be told apart
 * any more.
 *
 * It opens itself again, at growing intervals; while it is not ready, redis_send() refuses at once.
 * A connection is ready when it is signed in, has its database, and knows which run of the server it
 * talks to: after a restart the same address is another one, whose data may be older.
 *
 * hiredis reads the replies; sockets, time limits and writing are ours (its adapter for libuv drops
 * errors and has no timers). For the loop's own thread.
 */
#ifndef CORE_DB_REDIS_H
#define CORE_DB_REDIS_H

#include "base/err.h"
#include "io/loop.h"

struct redis;
struct redisReply;

struct redis_options {
    char *host, *port;           /* host: a name, an address, or the path of a Unix socket */
    char *user, *password;       /* NULL: none */
    char *database;              /* "0" */
    uint64_t connect_ms, command_ms;
    uint64_t backoff_ms;         /* longest time between two attempts */
};

/* redis://[user[:password]@]host[:port][/database] or unix:///path. Refused with ATH_E_CONFIG,
 * without repeating any part of the URL. */
int redis_options_parse(ath_str url, struct redis_options *ret, ath_err *e);
void redis_options_free(struct redis_options *o);

struct redis_ask {               /* embedded in whoever asks, his until `done` */
    struct list node;
    uint64_t sent_ms;
    /* reply NULL: there is none, and rc says why (ATH_E_TIMEOUT, ATH_E_UPSTREAM). A reply may be an
     * error of the server's; it is borrowed for the call. */
    void (*done)(struct redis_ask *a, const struct redisReply *reply, int rc);
    void *arg;                   /* the asker's own */
};

struct redis_hooks {
    void (*ready)(struct redis *r);      /* asks of this call are answered before any other's */
    void (*lost)(struct redis *r, int rc, const ath_err *why); /* or an attempt failed */
};

/* `o`, `on` and `owner` must outlive it. */
struct redis *redis_open(ath_loop *l, const struct redis_options *o, const struct redis_hooks *on,
                         void *owner);
void redis_close(struct redis *r);       /* answers what waits; no hook is called any more */

void redis_again(struct redis *r, const char *why); /* gives this connection up for another one */

void *redis_owner(const struct redis *r);
bool redis_ready(const struct redis *r);
const char *redis_run(const struct redis *r); /* of a ready one: what its server calls this run */

/* < 0: refused, it is not ready or too much waits to be written; `done` never comes. */
int redis_send(struct redis *r, struct redis_ask *a, const ath_str *word, size_t n);

/* Behind one that was taken, in the same call: it is taken, too. */
void redis_must_send(struct redis *r, struct redis_ask *a, const ath_str *word, size_t n);

/* What a reply holds. */
bool redis_is_error(const struct redisReply *v);
bool redis_is_text(const struct redisReply *v); /* a nil is not, nor is a number */
ath_str redis_text(const struct redisReply *v); /* also of an error; p NULL: nil, or no text */
uint64_t redis_number(const struct redisReply *v); /* 0: no number, or below */
size_t redis_count(const struct redisReply *v); /* of an array */
const struct redisReply *redis_at(const struct redisReply *v, size_t i);

#endif
