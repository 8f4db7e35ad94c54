/* plugins/shared/admin/admin.h - what the operators' routes have in common: they ask the control
 * plane one or a few fixed statements and answer {"status":"success","message":...,"data":{...}}.
 *
 * A result becomes JSON by a table of members, in the order of the statement's columns:
 *
 *     static const struct admin_member members[] = {
 *         { "client_name", ADMIN_TEXT }, { "total_requests", ADMIN_INT }, { "updated_at",
 * ADMIN_TIME } }; static const char sql[] = "select client_name, total_requests, "
 * ADMIN_UTC(updated_at) " from ...";
 */
#ifndef PLUGINS_SHARED_ADMIN_H
#define PLUGINS_SHARED_ADMIN_H

#include <athena/plugin.h>

#include "lib/json.h"
#include "lib/jsonread.h"

enum admin_form {
    ADMIN_TEXT = 1,
    ADMIN_INT,  /* any whole number, as the database writes it */
    ADMIN_REAL, /* with a decimal point, always: 40 is 40.0 */
    ADMIN_BOOL,
    ADMIN_JSON, /* json or jsonb, put in as it is */
    ADMIN_TIME  /* of ADMIN_UTC(): RFC 3339 with Z and a fraction of 0, 3 or 6 digits */
};

/* A timestamptz in a select list, for ADMIN_TIME. */
#define ADMIN_UTC(column) "((" #column ") at time zone 'UTC')::text"

struct admin_member {
    const char *name;
    enum admin_form form;
};

#define ADMIN_MEMBERS(m) (m), ATH_COUNT(m)

/* One row as an object, all rows as an array. A null is null. */
void admin_object(struct buf *b, const ath_rows *rows, uint32_t row,
                  const struct admin_member *member, size_t n);
void admin_objects(struct buf *b, const ath_rows *rows, const struct admin_member *member,
                   size_t n);

void admin_value(struct buf *b, enum admin_form form, ath_str text); /* one cell */

/* ---- asking ---- */

/* Who misses the control plane says it in one of three ways; the keys lie in the auth database. */
enum admin_store { ADMIN_CATALOG = 1, ADMIN_LOGGING, ADMIN_KEYS, ADMIN_BACKUPS };

enum { ADMIN_STATEMENTS = 8 };

/* In the task's arena; see admin_ask_new(). Filled by the caller up to `then`. */
struct admin_ask {
    const char *failed; /* message of the answer when the database refuses: "Failed to list ..." */
    enum admin_store store;
    uint32_t flags;      /* ATH_PG_* */
    uint32_t timeout_ms; /* 0: what is left of the request */
    ath_stmt stmt[ADMIN_STATEMENTS];
    uint32_t count;
    /* private */
    ath_query query;
    ath_then *then;
    void *arg;
};

/* One trip to the store. `then` is called when it worked, with d->arg as given and d->rows
 * that are kept as long as the task; what fails ends the task: 503 by the store's words when there
 * is no control plane, 409 for a unique violation, else 500 with `failed` as its message. */
int admin_ask(ath_task *t, struct admin_ask *a, ath_then *then, void *arg, ath_err *e);

/* The usual one: one statement and its parameters, of which the bytes live until `then`. */
int admin_read(ath_task *t, enum admin_store store, const char *failed, const char *sql,
               const ath_str *param, uint32_t params, ath_then *then, void *arg, ath_err *e);

/* The name by which queries know the store: "@control" or "@auth". */
ath_str admin_database(enum admin_store store);

/* The store cannot be asked: 503 in its words. */
int admin_absent(ath_task *t, enum admin_store store, ath_err *e);

/* What a failure of the store means to the caller; rewrites `e`. For those who ask by other
 * ways than admin_ask(). */
int admin_refuse(ath_task *t, enum admin_store store, const char *failed, ath_err *e);

/* ---- parameters ---- */

struct admin_page {
    int64_t limit, offset;
    ath_str limit_text, offset_text; /* the same, for statements */
};

/* ?limit and ?offset: numbers that are out of range are moved into it, other texts are 400. */
int admin_page(ath_req *r, int64_t limit, int64_t most, struct admin_page *ret, ath_err *e);

/* ?name=true or false, false when it is absent; other texts are 400. */
int admin_switch(ath_req *r, const char *name, bool *ret, ath_err *e);

/* {client_name}, trimmed; 400 when it is empty. */
int admin_client(ath_req *r, ath_str *ret, ath_err *e);

/* A refusal in the words of the published interface: title is the envelope's message. */
ATH_PRINTF(4, 5)
int admin_fail(ath_err *e, const char *code, const char *title, const char *fmt, ...);

/* The body, which must be a JSON object and say so; 400 else. */
int admin_body(ath_req *r, const struct json **ret, ath_err *e);
/* A member of it, for a statement: p NULL when it is absent or null, 400 when it has another type. */
int admin_text(const struct json *body, const char *name, ath_str *ret, ath_err *e);
int admin_bool(const struct json *body, const char *name, ath_str *ret, ath_err *e);

/* For the audit log: what the request did to what, "create_client", "shop". */
void admin_changed(ath_req *r, const char *word, ath_str name);

/* ---- answers ---- */

/* {"status":"success","message":message,"data":{ ... left open; admin_reply() closes and sends. */
struct buf admin_answer(ath_req *r, const char *message);
int admin_reply(ath_req *r, int status, struct buf *b);

/* ---- commands ---- */

/* One request to the server that the command's --url names; the command is done with the whole
 * answer. Anything but 2xx fails it: "/admin/pools failed (401): ...". `body` is JSON; empty: none. */
int admin_remote(ath_task *t, const char *method, ath_str path, ath_str body, ath_err *e);

/* Shows what happens to a job until it is over, with a bar on a terminal; the command is then done
 * with {"job":...}, and its exit status says whether the job ended well. Texts live as long as the
 * task. */
#define ADMIN_FOLLOWED_COLUMNS "key,status,client,attempts,created_at,finished_at,daemon_id,error"
int admin_follow(ath_task *t, ath_str queue, ath_str key, ath_err *e);
struct buf admin_job_path(ath_task *t, ath_str queue, ath_str key); /* "/admin/jobs/QUEUE/KEY" */

/* The last line of a terminal anew: "running [####......] 40% note"; pct < 0: without a bar. */
void admin_bar(ath_str word, int pct, ath_str note);

/* Appends a segment of a path, percent-encoded. */
void admin_segment(struct buf *path, ath_str text);

#endif
