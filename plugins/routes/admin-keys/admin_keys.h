/* plugins/routes/admin-keys/admin_keys.h - the operators' view of the key store: API keys, what they
 * may do, where from, and for whom they are asked for (auth.md 11).
 *
 *     change.c    the frame of whatever changes something: one transaction that tells everybody
 *     input.c     what requests bring: ids, times, names of rights, addresses
 *     keys.c      keys that are listed, made and deleted
 *     patch.c     keys that change
 *     rotate.c    keys that are replaced, with a time in which both hold
 *     lists.c     addresses of one key
 *     virgin.c    addresses that a key has learned
 *     global.c    addresses of all keys
 *     rights.c    names of rights
 *     catalog.c   rights that the server knows by itself, beside those
 *     switches.c  whether keys are asked for: in general, and for a client
 *     can.c       whether a key would be let through, and why
 *     command.c   the same from a terminal
 *
 * A secret exists in the request that makes it: in its answer, and as a salted digest in the table.
 */
#ifndef ROUTES_ADMIN_KEYS_H
#define ROUTES_ADMIN_KEYS_H

#include <athena/service/auth.h>
#include <athena/service/clients.h>
#include <athena/service/rights.h>
#include <athena/service/secrets.h>

#include "admin/admin.h"

struct admin_keys_config {
    int32_t make_rights;         /* names of table rights come into being when they are granted */
    uint64_t refresh_ms;         /* how long an answer waits until this process acts by a change */
};

struct admin_keys_state {        /* of the process; what init() found */
    const ath_auth *auth;        /* NULL: nobody follows the key store here */
    const ath_secrets *secrets;
    const ath_clients *clients;
    const ath_rights *rights;
};

/* ---- change.c ---- */

enum { CHANGE_STATEMENTS = 8 };

struct change;

/* Judges what the statements did and writes the members of "data", in order; or refuses. */
typedef int change_settle(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b,
                          ath_err *e);
/* A value that was drawn is taken: draws another. False: enough. */
typedef bool change_again(ath_req *r, void *arg);

struct change {                  /* in the request's arena; zeroed, then filled by the caller */
    const char *failed;          /* message when the database refuses: "Failed to create API key" */
    const char *message;         /* message of the answer */
    ath_str subject;             /* what is changed, as refusals name it */
    int status;                  /* of the answer; 0: 200 */
    change_settle *settle;
    change_again *again;         /* NULL: what is taken is refused */
    void *arg;
    ath_stmt stmt[CHANGE_STATEMENTS + 1];
    uint32_t count;
    /* private */
    ath_str changed;
    ath_query query;
    struct buf answer;
};

struct change *change_new(ath_req *r, const char *failed, const char *message,
                          change_settle *settle);
/* One more statement; its text and the parameters' array live as long as the request. */
void change_add(struct change *c, const char *sql, const ath_str *param, uint32_t params);

/* What the audit log says of it, where the names of what was sent do not: "api_key 5f0c...". Never a
 * secret. */
void change_said(ath_req *r, struct change *c, const char *word, ath_str value);

/* One transaction of all of them, which tells every process; then this one acts by it, and the
 * answer goes out. */
int change_run(ath_req *r, struct change *c, ath_err *e);

/* The result of statement i. */
const ath_rows *rows_of(const ath_rows *rows, uint32_t i);

/* An operator names a client that nobody knows: possible, and said in the log. */
void warn_unknown_client(ath_req *r, ath_str client);

/* 503 when no auth client is configured: that comes before what is wrong with the request. */
int keys_ready(ath_req *r, ath_err *e);

/* ---- input.c ---- */

/* {id}: a UUID, in lower case with its dashes; 400 else. */
int key_id(ath_req *r, ath_str *ret, ath_err *e);
int right_id(ath_req *r, ath_str *ret, ath_err *e);

/* Is it an RFC 3339 timestamp that PostgreSQL takes? */
bool is_rfc3339(ath_str s);
/* "expires_at" of a body: p NULL when it is absent or null; 400 when it is no timestamp. */
int take_expiry(const struct json *body, ath_str *ret, ath_err *e);

/* A count: p NULL when it is absent or null; negative ones are 0; 400 when it is no whole number. */
int take_count(ath_req *r, const struct json *body, const char *name, ath_str *ret, ath_err *e);

/* A text that has to be there. */
int take_text(const struct json *body, const char *name, ath_str *ret, ath_err *e);
/* "enforce_api_keys" and the like. */
int take_bool(const struct json *body, const char *name, ath_str *ret, ath_err *e);
/* "client_name": p NULL when it is absent or null; trimmed; 400 when it is blank. */
int take_client(const struct json *body, ath_str *ret, ath_err *e);

/* "rights": a JSON array of texts, for a statement; p NULL when it is absent or null. 400 when there
 * are more than a key may have. */
int take_rights(const struct json *body, ath_str *ret, ath_err *e);

/* Addresses as a JSON array "[\"10.0.0.0/8\"]" for a statement; how many in *ret_n. Blank ones are
 * left out; 400 for what is none. A member that is absent or null is an empty array. */
int take_addresses(ath_req *r, const struct json *body, const char *name, ath_str *ret,
                   uint32_t *ret_n, ath_err *e);
/* One: its network, host bits zeroed, "10.0.0.0/8". 400 when it is none. */
int read_network(ath_req *r, ath_str text, ath_str *ret, ath_err *e);

/* Is it the name of a right to tables, "orders.read", "sales.orders.*"? Those may be granted without
 * having been declared. */
bool is_table_right(ath_str name);

/* ---- keys.c ---- */

/* A key as all answers show it: what a table of an older form has not stands as its default (D-27).
 * Of "api_keys k"; members in order. */
/* clang-format off */
#define KEY_WORD(column, otherwise) "coalesce(to_jsonb(k)->>'" #column "', '" otherwise "')"
#define KEY_RIGHTS \
    "array_to_json(array(select r.name from api_key_right_grants g join api_key_rights r on r.id = g.right_id " \
    "where g.api_key_id = k.id order by r.name collate \"C\"))::text"
#define KEY_COLUMNS \
    "k.client_name, " ADMIN_UTC(k.created_at) ", k.description, " ADMIN_UTC(k.expires_at) ", k.api_keys_id::text, " \
    "k.is_active, " ADMIN_UTC(k.last_used_at) ", " KEY_WORD(max_whitelist_ips, "0") ", k.name, k.public_id, " \
    KEY_RIGHTS ", " ADMIN_UTC(k.updated_at) ", " KEY_WORD(virgin_mode, "f") ", " \
    KEY_WORD(virgin_request_count, "0") ", " KEY_WORD(virgin_resolved, "f") ", " \
    ADMIN_UTC((to_jsonb(k)->>'virgin_resolved_at')::timestamptz) ", " KEY_WORD(virgin_until_n_requests, "0")
/* clang-format on */
#define KEY_SQL "select " KEY_COLUMNS " from api_keys k where k.api_keys_id = $1::uuid"

void put_key(struct buf *b, const char *member, const ath_rows *rows);
int no_key(ath_err *e, ath_str id);

/* What a new key is made of; $1 to $3 of the statement that stores it. */
struct key_material {
    char public_id[17], secret[65], salt[65];
    ath_str param[3];            /* public_id, key_salt, key_hash */
    unsigned draws;
};
void key_draw(ath_req *r, struct key_material *m);
/* change_again: another public id; arg is the struct key_material. */
change_again key_draw_again;
/* "api_key":"ath_...": the one place where the secret is shown. */
void put_secret(struct buf *b, const struct key_material *m);

/* Goes on with `then` (arg) once it is known that all of `rights` may be granted; 400 names those
 * that may not. */
int rights_known(ath_req *r, ath_str rights, const char *failed, ath_then *then, void *arg,
                 ath_err *e);
/* Statements of a change: the names of $1 exist; the key with the public id $1 has the rights $2. */
extern const char make_rights_sql[], grant_rights_sql[];

#define VIRGIN_TITLE "Invalid virgin configuration"
#define VIRGIN_LIMIT                                                                               \
    "Set at least one of max_whitelist_ips or virgin_until_n_requests to a positive value."

/* ---- handlers ---- */

ath_handler keys_list, keys_one, keys_create, keys_delete; /* keys.c */
ath_handler keys_patch;                                    /* patch.c */
ath_handler keys_rotate;                                   /* rotate.c */
ath_handler key_can;                                       /* can.c */
ath_handler key_policy, key_seen;                          /* lists.c */
ath_handler key_allow, key_disallow, key_block, key_unblock;
ath_handler virgin_promote, virgin_reset;                  /* virgin.c */
ath_handler global_white_list, global_white_put, global_white_delete; /* global.c */
ath_handler global_black_list, global_black_put, global_black_delete;
ath_handler rights_list, rights_create, rights_patch, rights_delete; /* rights.c */
ath_handler catalog_show;                                  /* catalog.c */
ath_handler switch_show, switch_put;                       /* switches.c */
ath_handler clients_show, clients_put, clients_delete;

/* What a command asks of the route of a key, which is named by its id, public id or name. */
struct key_call {
    const char *method, *more;   /* "/admin/api-keys/ID" and this */
    ath_str body;
    ath_then *then;              /* is told the answer; NULL: the command is done with it */
};
int key_call(ath_task *t, ath_str key, const struct key_call *call, ath_err *e);

extern const ath_command keys_can_command;         /* can.c */
extern const ath_command keys_list_command, keys_show_command, keys_create_command,
    keys_rights_command, keys_rotate_command, keys_revoke_command, keys_delete_command,
    keys_enforce_command; /* command.c */

#endif
