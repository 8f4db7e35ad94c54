/* plugins/routes/gateway/buffer.h - writes that are acknowledged first and done later
 * (deferred_writes; contract jobs.md 3).
 *
 *     request    checked as ever, put into the log, answered when it is on the disk     buffer.c
 *     backlog       the entries of a client, in their order                                buffer.c
 *     sweep      each entry of a backlog is tried once: every deferred_writes_window, when enough wait,
 *                when somebody asks for it, at the stop
 *     pass       some entries of a sweep: one transaction, one task                     apply.c
 *     start      what the log holds, and the published server's pending.wal             deferred.c
 *
 * One sweep of a backlog runs at a time, so writes of a client are done in the order in which they
 * were acknowledged. An entry that the database refuses is tried again later, ten times in all, and is
 * then moved to dead.jsonl; those behind it do not wait for it. When the database cannot be asked,
 * nothing is counted and everything waits.
 *
 * Each transaction says which entries it was, in the table of idempotency keys of the client's
 * database, if that is there: after a crash those are known to be done. Without the table the last
 * transaction of a client may be done twice.
 *
 * Locks: the log's come before `lock` of the buffer.
 */
#ifndef ROUTES_GATEWAY_BUFFER_H
#define ROUTES_GATEWAY_BUFFER_H

#include <pthread.h>
#include <stdatomic.h>

#include <athena/service/writes.h>

#include "change.h"
#include "wal/wal.h"

enum {
    BUFFER_ATTEMPTS = 10,
    BUFFER_BATCH = 240,          /* most entries of a pass */
    BUFFER_BATCH_BYTES = 4 << 20
};

/* Indexes into the plugin's table of metrics. */
enum { M_BUFFER_ENTRIES, M_BUFFER_WRITES, M_BUFFER_UNMARKED, GATEWAY_METRICS };

/* ---- an entry ---- */

enum { PART_ID, PART_CLIENT, PART_ASKED, PART_SCHEMA, PART_TABLE, PART_KEY, PART_PUBLIC,
       PART_REQUEST, PART_BODY, PARTS };

struct entry {
    struct wal_entry log;        /* first; its text is in the same memory */
    struct entry *next;          /* of its backlog */
    struct backlog *backlog;
    struct table *table;
    enum dp_kind kind;
    bool taken_over;             /* of the published server's file */
    uint32_t attempts;
    uint64_t at_ms, due_ms;      /* wall clock; monotonic, when it may be tried again */
    ath_str part[PARTS];
};

struct draft {                   /* what becomes an entry */
    enum dp_kind kind;
    bool taken_over;
    uint64_t at_ms;
    ath_str part[PARTS];         /* SCHEMA, TABLE: what the caller may write; empty: not known */
};

/* entry.c. NULL: it is none. */
struct entry *entry_new(const struct draft *d);
struct entry *entry_read(ath_str text);
void entry_free(struct entry *x);
/* A line of dead.jsonl, as the published server wrote its entries, with the error. */
void entry_line(struct buf *b, const struct entry *x, ath_str error);

/* ---- backlogs ---- */

struct table {                   /* of a backlog; as long as entries are for it */
    struct table *next;
    uint32_t entries;
    uint32_t fresh;              /* entries that were not tried yet */
    ath_str schema, name;
    char text[];
};

struct backlog {                    /* of a client; lives as long as the process */
    struct backlog *next;
    struct entry *first, *last;
    struct table *tables;
    uint32_t count, most;        /* most: entries of a pass */
    uint32_t failures;           /* in a row; 0: its database was reached */
    uint64_t retry_ms;
    /* the sweep */
    bool running, again, all;    /* all: also those that are not due */
    uint64_t sweep, upto, cursor;
    uint32_t ok, dead;
    struct buf touched;          /* ["client","table"] between commas */
    struct ring *rings;
    /* of its database */
    bool doubt;                  /* some entries may be done already: look */
    bool unmarked, said;         /* it takes no marks */
    struct buf owed;             /* numbers that are done, and the log may not know: "1,2" */
    char client[];
};

enum state { BUFFER_OFF, BUFFER_SHUT, BUFFER_FOREIGN, BUFFER_OPEN };

struct buffer {
    pthread_mutex_t lock, opening;
    _Atomic(enum state) state;
    const struct gateway_config *config;
    struct wal *wal;             /* NULL: nothing outlasts the process */
    struct backlog *backlogs;
    uint64_t count, bytes, seq;
    bool closing, said_full, said_foreign;
};
extern struct buffer buffer;
extern const ath_writes gateway_writes; /* the service */

uint64_t buffer_now_ms(void);
void buffer_say(ath_task *t, int level, const char *fmt, ...) ATH_PRINTF(3, 4);
void buffer_metric(uint32_t metric, const char *label, double v);

/* Whether a request's write may wait: 0, then `then` runs, d->rc < 0: it is not kept; 1: it has to be
 * done at once. The draft is copied. */
int buffer_put(ath_req *r, const struct draft *d, ath_then *then, void *arg, ath_err *e);
int buffer_settle(ath_task *t, const ath_relation_name *relation, uint32_t n, ath_then *then,
                  void *arg, ath_err *e);

/* With the lock. */
void buffer_count(int64_t entries, int64_t bytes); /* more, or fewer */
struct backlog *backlog_of(ath_str client);
void backlog_push(struct entry *x);
void backlog_sweep(struct backlog *l, bool all);
enum sweep {
    SWEEP_RETRY,                 /* backlogs whose database was away, when it is time */
    SWEEP_TIME,                  /* these, and all others */
    SWEEP_ALL                    /* whatever it is time for */
};
void buffer_sweep_due(enum sweep which);

/* Those who wait for a sweep that begins after they asked. */
struct round {
    uint32_t refs, pending;
    ath_loop *loop;
    ath_stream *bell;
    uint32_t total, ok;
    bool failed;
    struct buf touched;
    char words[256];
};
struct round *round_new(ath_task *t);
void round_join(struct round *o, struct backlog *l, bool all);                 /* with the lock */
int round_wait(ath_task *t, struct round *o, ath_then *then, void *arg, ath_err *e);

/* ---- between backlogs and passes ---- */

/* The entries that the pass tries; fewer than there are. */
uint32_t backlog_take(struct backlog *l, struct entry **ret);

struct outcome {
    struct entry *entry;
    enum { STAYS, REFUSED, DEAD, DONE } what;
};
/* The pass is over. Entries that are DONE or DEAD are freed. `more`: there may be more to try;
 * `failure`: why the database could not be asked, or NULL. */
void backlog_ended(struct backlog *l, const struct outcome *of, uint32_t n, bool more,
                const char *failure);

void pass_begin(struct backlog *l);

/* ---- deferred.c ---- */

int deferred_init(const struct gateway_config *config, ath_err *e);
void deferred_drain(void);
void deferred_fini(void);
/* 1: the log is open, or is not ours; 0: `then` runs when that is known. */
int deferred_open(ath_task *t, ath_then *then, void *arg, ath_err *e);
extern const ath_worker deferred_flusher;
extern const ath_check deferred_check;
ath_handler deferred_flush;

#endif
