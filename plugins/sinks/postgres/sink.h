/* plugins/sinks/postgres/sink.h - rows of requests into the tables of the control plane, and of the
 * key store.
 *
 * The two may be two databases, so there are two sinks, each with its queue, its tables and its state:
 * while one database is away, rows for the other one go on. A further table costs one line in `about`.
 *
 *     plugin.c   configuration, life
 *     send.c     a batch, in trips; what becomes of it when one fails
 *     standing.c how far the batches of a writer are in the tables
 *     tables.c   which tables and columns there are
 *     rows.c     events as lines of COPY
 *     sums.c     what is added up beside the rows: statistics, connections, addresses
 *     sumsql.c   those as statements
 */
#ifndef PLUGINS_SINKS_POSTGRES_SINK_H
#define PLUGINS_SINKS_POSTGRES_SINK_H

#include <pthread.h>

#include <athena/plugin.h>

#include "lib/buf.h"
#include "lib/uuid.h"
#include "logline/sink_fields.h"

extern const char writers_sql[]; /* writers.sql */

struct config {
    ath_str client, auth_client; /* auth_client empty: `client` */
    int32_t files;
    int64_t idle_s, purge_s, wake_events;
    uint64_t spill_bytes;
    SINK_QUEUE_MEMBERS;
};

/* ---- tables.c ---- */

enum place { CONTROL, AUTH, PLACES };

enum table_id {
    REQUESTS,
    OPERATIONS,
    ROUTES,
    ADMISSIONS,
    AUDITS,
    KEY_CHECKS,
    LOGS,                        /* those above get rows */
    CLIENT_SUMS = LOGS,
    TABLE_SUMS,
    REGISTRY,
    ADDRESSES,
    ADDRESS_SUMS,
    CLIENTS,
    WRITERS,
    TABLES
};

enum { NAME_MOST = 64, COLUMNS_MOST = 64, PROBE_MS = 10000, SAY_MS = 3600 * 1000 };

/* What is known of a table beforehand. Its columns get the facts of the event that have their names. */
struct about {
    const char *name;
    const char *event;           /* whose rows it gets; NULL: sums */
    enum place place;            /* WRITERS is in both */
    bool in_files;               /* the files get its rows, where there are files */
    bool durable;                /* a row that was committed outlives a crash of the database */
    const char *refers;          /* a column that refers to rows that may be gone: null then; or NULL */
    const char *needed;          /* columns that statements name; NULL: whichever there are */
};
extern const struct about about[TABLES];

struct column {
    char name[NAME_MOST];
    uint32_t type;               /* OID */
};

struct table {
    char schema[NAME_MOST];      /* empty: there is no such table */
    struct column column[COLUMNS_MOST];
    uint32_t columns;
    bool lacks;                  /* a column that its statements need */
    uint64_t off_until_ms;       /* a statement on it was refused */
    uint64_t said_ms;            /* when that was said, 0: never */
};

struct tables {
    enum place place;            /* only its tables are looked at */
    struct table table[TABLES];
    bool known;
    uint64_t read_ms;
};

bool table_is_here(const struct tables *k, enum table_id id);
ath_str place_client(enum place p);      /* "@control" */
const char *place_words(enum place p);   /* "the control plane" */

/* Reads what there is; `then` goes on whether it could be read or not (d->rc). */
int tables_ask(ath_task *t, const struct tables *k, ath_then *then, void *arg, ath_err *e);
void tables_take(struct tables *k, const ath_rows *rows, uint64_t now_ms);

/* Are some missing that this process is just about to make? */
bool tables_being_made(ath_task *t, const struct tables *k);

/* Can rows be written into it now? When not, says so once an hour. */
bool table_usable(struct tables *k, enum table_id id, uint64_t now_ms);
void table_off(struct tables *k, enum table_id id, uint64_t until_ms);
const struct column *table_column(const struct table *t, ath_str name); /* NULL: none */

/* Its name, quoted, with its schema. */
void table_put_name(struct buf *b, const struct tables *k, enum table_id id);

/* ---- rows.c ---- */

/* Rows of others that are gone, though rows of ours refer to them. */
enum { GONE_MOST = 8 };
struct gone {
    int64_t id[GONE_MOST];
    uint32_t count;
    bool many;                   /* more than that: no row refers to any */
};

/* How the facts of one kind of event become the columns of a table. */
struct mapping {
    uint8_t fact[COLUMNS_MOST], how[COLUMNS_MOST];
    uint32_t columns;
    const struct gone *gone;
};

/* Of an event; *copy becomes its COPY statement. */
void mapping_make(struct mapping *m, const struct tables *k, enum table_id id,
                  const ath_event *ev, struct buf *copy);
/* Has another event the same facts? */
bool mapping_fits(const ath_event *made_for, const ath_event *ev);
void row_put(struct buf *b, const struct mapping *m, const ath_event *ev);

/* ---- sums.c ---- */

enum { SUM_CLIENTS, SUM_TABLES, SUM_REGISTRY, SUM_ADDRESSES, SUMS };
enum { SUM_KEYS = 4, SUM_COUNTS = 5, SUM_TEXTS = 8, SUM_MOST = 10000, BUCKETS = 1024 };

struct sum {
    struct sum *next;
    uint32_t hash;
    ath_str key[SUM_KEYS];       /* its own memory */
    uint64_t n[SUM_COUNTS];
    double request_s, operation_s; /* when the last one was, 0: never */
    struct buf text[SUM_TEXTS];  /* of the last one */
    /* while a batch is added up */
    const ath_event *last;       /* of its own; NULL: it has none yet */
    struct sum *told_next;
};

/* Places of sum.n: of clients and addresses ... */
enum { N_REQUESTS, N_GOOD, N_BAD, N_CACHED, N_OPERATIONS };
/* ... and of tables. */
enum { N_TABLE_OPERATIONS, N_TABLE_ERRORS };

/* Places of sum.text of SUM_REGISTRY. */
enum {
    X_PUBLIC_ID, X_KEY_ID, X_AUTHENTICATED, X_AUTHORIZED, X_METHOD, X_PATH, X_AGENT, X_REQUEST_ID
};

struct sum_map {
    struct sum *bucket[BUCKETS];
    uint32_t count;
    uint64_t lost;               /* there were more than SUM_MOST keys */
    struct sum *recent;          /* asked for last; NULL: none */
};

/* Where the facts that are read stand in events of a kind. */
enum { SUM_OF_REQUESTS, SUM_OF_OPERATIONS, SUM_KINDS };
enum { SUM_FACTS = 18 };

struct sum_places {
    const char *first;           /* the first key of those events, which names them; NULL: look anew */
    uint32_t count;              /* of their facts */
    uint8_t at[SUM_FACTS];
};

struct sums {
    struct sum_map map[SUMS];
    struct sum_map seen;         /* of clients, when athena_clients was told: n[0], in ms */
    struct sum_places places[SUM_KINDS];
    struct sum *told;            /* connections that the batch in hand says something of */
};

void sums_add(struct sums *s, const ath_event *const *batch, size_t n);
bool sums_any(const struct sums *s);
void sum_map_clear(struct sum_map *m);
/* Their sums, in the order of their keys. */
struct sum **sum_map_sorted(const struct sum_map *m, ath_arena *a);
struct sum *sum_at(struct sum_map *m, const ath_str *key, uint32_t keys); /* NULL: full */
void sums_free(struct sums *s);
/* What `from` has added up becomes that of `to`, which has nothing. */
void sums_move(struct sums *to, struct sums *from);

/* ---- sumsql.c ---- */

enum { SUM_STMTS = 10, SEEN_MS = 30000 };

struct sink;
struct sum_stmts {
    ath_stmt stmt[SUM_STMTS];
    enum table_id table[SUM_STMTS]; /* whose failure a failure is */
    uint32_t count;
};
/* What is due of `sums`, as statements in the task's arena. */
void sums_statements(ath_task *t, struct sink *s, const struct sums *sums, uint64_t now_ms,
                     struct sum_stmts *ret);
/* They were committed: begins anew. */
void sums_written(struct sink *s, struct sums *sums, uint64_t now_ms);

/* ---- standing.c ---- */

enum { PART_SUMS = LOGS, PARTS };
const char *part_name(int part);

/* How far the batches of a writer are in the tables: for each part a number that grows, made of a
 * piece's and of how many of its events are done. It stands in athena_log_writers, and the transaction
 * that writes rows moves it on, from what it was known to be: whoever is wrong about that writes
 * nothing, and asks. So rows are there once, whatever was killed, and whoever sends them again. */
struct standing {
    char writer[UUID_TEXT];
    uint64_t number[PARTS];      /* 0: nothing is there */
    bool known;                  /* else it has to be asked for */
};

/* The batch in hand, as standings name its events. */
struct pieces {
    ath_piece at[ATH_PIECES_MOST];
    uint32_t count;
};

/* With the first `done` events of them done. */
uint64_t standing_of(const struct pieces *p, size_t done);
/* How many of their events are done in that part. */
size_t standing_at(const struct standing *g, int part, const struct pieces *p);
/* The sums have one number for all events up to a piece. */
uint64_t standing_of_sums(uint64_t piece);
bool standing_has_sums(const struct standing *g, uint64_t piece);

/* `then` calls standing_take() when it could be read (d->rc). */
int standing_ask(ath_task *t, const struct tables *k, const struct standing *g, ath_then *then,
                 void *arg, ath_err *e);
void standing_take(struct standing *g, const ath_rows *rows);

/* The statement that moves it to `to`. It is refused as standing_refused() says when the standing is
 * not what it is thought to be. */
ath_stmt standing_move(ath_task *t, const struct tables *k, const struct standing *g, int part,
                       uint64_t to);
bool standing_refused(const ath_err *e);

/* ---- send.c ---- */

/* Sums of events that were taken and whose batches are yet to come. Filled on a thread of its own. */
struct taken {
    pthread_mutex_t lock;
    struct sums sums;
    char writer[UUID_TEXT];
    uint64_t number;             /* of the last piece in them */
};

struct sink {                    /* of one place */
    const struct config *cfg;
    struct tables tables;
    struct taken taken;
    struct sums sums;            /* of it, while they are written */
    uint64_t sums_number;
    struct sums old_sums;        /* of the batch in hand, when an earlier process took it */
    struct standing own, old;    /* of this process's batches, and of those of an earlier one */
    struct pieces pieces;        /* the batch in hand */
    bool again;                  /* it is of an earlier process */
    bool placed;                 /* `at` has been set by the standing */
    size_t at[PARTS];            /* how far the batch in hand is written */
    struct buf text;             /* what the COPY under way sends */
    size_t most;                 /* rows of a trip; less after one took too long */
    uint64_t begun_ms, purged_ms, pruned_ms, paused_until_ms;
    bool purges, prunes;         /* the statements in hand do */
};

void sink_begin(struct sink *s, const ath_batch *b);
void sink_taken(struct sink *s, const ath_batch *b, const ath_event *const *event, size_t n);

/* The plugin's state: each sink by its place. */
int control_send(ath_task *t, const ath_event *const *batch, size_t n, ath_err *e);
int auth_send(ath_task *t, const ath_event *const *batch, size_t n, ath_err *e);

enum { METRIC_DROPPED, METRIC_WRITTEN };
void count_rows(uint32_t metric, enum table_id id, const char *reason, uint64_t n);
void count_lost(ath_str name, uint64_t n);
ATH_PRINTF(2, 3) void say(int level, const char *fmt, ...);

#endif
