/* The log of key checks and the audit log, from what the check left in r->auth.
 *
 * A row is a draft: what is JSON is put together in a room of the thread's, all texts are copied
 * into the event once, and the sinks' threads do the rest. */
#include "auth/audit.h"

#include "auth/auth.h"
#include "auth/keys.h"
#include "base/clock.h"
#include "base/rand.h"
#include "db/client.h"
#include "io/crypto.h"
#include "lib/json.h"
#include "lib/jsonread.h"
#include "log/log.h"

static const ath_str key_name = { "api_key_auth", 12 }, change_name = { "athena_audit", 12 };
static const ath_str line_name = { "audit", 5 };
static const ath_str rows_source = { "athena::rows", 12 }, line_source = { "athena::audit", 13 };
static const ath_str none = { NULL, 0 };
static const ath_str truth[2] = { { "false", 5 }, { "true", 4 } };

enum { PATH_MOST = 512, TEXT_MOST = 1024, RIGHTS_TEXT = 6144, KEY_TEXT = 1024 };
enum { SAMPLE = 100, REFUSALS_A_SECOND = 10 };

static enum { FULL, SAMPLED, OFF } unenforced;

static _Thread_local struct buf required, granted;
static _Thread_local uint32_t seen; /* requests that brought no key */
static _Thread_local uint64_t second, refusals, left_out;

void audit_configure(ath_str word)
{
    unenforced = str_is(word, "off") ? OFF : str_is(word, "sampled") ? SAMPLED : FULL;
}

void audit_loop_fini(void)
{
    buf_free(&required);
    buf_free(&granted);
}

#define COLUMN(key, form)                                                                          \
    {                                                                                              \
        ATH_S(key), { NULL, 0 }, form, 0                                                           \
    }

static ath_str cut(ath_str s, size_t most)
{
    return str_from(s.p, s.n < most ? s.n : most);
}

static ath_str put(struct log_draft *d, ath_str s)
{
    ath_str kept = log_draft_text(d, cut(s, TEXT_MOST));

    return kept.n ? kept : none;
}

static ath_str put_number(struct log_draft *d, uint64_t v)
{
    char digits[STR_U64_ROOM];

    return log_draft_text(d, str_from_u64(v, digits));
}

static ath_str agent_of(const struct req *r)
{
    return req_find(r, ATH_S("user-agent"));
}

static ath_str client_of(const struct req *r)
{
    return r->task.client ? str_of(r->task.client->shown) : r->client_name;
}

/* ---- the log of key checks ---- */

enum {
    K_ID,
    K_KEY,
    K_INTERNAL,
    K_PUBLIC,
    K_CLIENT,
    K_METHOD,
    K_PATH,
    K_HASH,
    K_SALT,
    K_REQUIRED,
    K_GRANTED,
    K_AUTHENTICATED,
    K_AUTHORIZED,
    K_ENFORCED,
    K_REASON,
    K_REMOTE,
    K_ADDRESS,
    K_AGENT,
    K_TIME,
    K_FACTS
};

static const ath_fact key_facts[K_FACTS] = {
    [K_ID] = COLUMN("request_id", ATH_V_TEXT),
    [K_KEY] = COLUMN("api_key_id", ATH_V_TEXT),
    [K_INTERNAL] = COLUMN("internal_api_key_id", ATH_V_NUMBER),
    [K_PUBLIC] = COLUMN("api_key_public_id", ATH_V_TEXT),
    [K_CLIENT] = COLUMN("client_name", ATH_V_TEXT),
    [K_METHOD] = COLUMN("method", ATH_V_TEXT),
    [K_PATH] = COLUMN("path", ATH_V_TEXT),
    [K_HASH] = COLUMN("presented_key_hash", ATH_V_TEXT),
    [K_SALT] = COLUMN("presented_key_salt", ATH_V_TEXT),
    [K_REQUIRED] = COLUMN("required_rights", ATH_V_JSON),
    [K_GRANTED] = COLUMN("granted_rights", ATH_V_JSON),
    [K_AUTHENTICATED] = COLUMN("authenticated", ATH_V_BOOL),
    [K_AUTHORIZED] = COLUMN("authorized", ATH_V_BOOL),
    [K_ENFORCED] = COLUMN("enforced", ATH_V_BOOL),
    [K_REASON] = COLUMN("failure_reason", ATH_V_TEXT),
    [K_REMOTE] = COLUMN("remote_addr", ATH_V_TEXT),
    [K_ADDRESS] = COLUMN("ipv4_address", ATH_V_TEXT),
    [K_AGENT] = COLUMN("user_agent", ATH_V_TEXT),
    [K_TIME] = COLUMN("time", ATH_V_NUMBER),
};

/* Was a key looked at? Not where there was no store to look into (auth.md 4, lines 0 to 2, 5a). */
static bool was_checked(const char *reason)
{
    static const char *const not [] = { "direct_pg_uri_", "api_key_store_", "api_key_policy_" };
    ath_str said = str_of(reason);

    for (size_t i = 0; i < ATH_COUNT(not ); i++)
        if (str_starts(said, not [i]))
            return false;
    return said.n && !str_is(said, "api_key_lookup_failed");
}

/* Nobody asked for a key, and none came: as many rows as the operator wants of those. */
static bool is_left_out(const struct auth *a)
{
    if (unenforced == FULL || a->presented || a->enforced)
        return false;
    return unenforced == OFF || seen++ % SAMPLE != 0;
}

static void put_rights(struct buf *b, const ath_str *name, uint32_t n)
{
    buf_reset(b);
    buf_char(b, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (b->n + 6 * name[i].n > RIGHTS_TEXT) { /* every byte may become six */
            buf_lit(b, ",\"[CUT]\"");
            break;
        }
        if (i)
            buf_char(b, ',');
        buf_json(b, name[i]);
    }
    buf_char(b, ']');
}

/* A salt of this request's own, and the digest of "salt:value"; empty for what is no key. */
static void fingerprint(ath_str value, char salt[SHA256_HEX], char hash[SHA256_HEX])
{
    char text[SHA256_HEX + KEY_TEXT], *at = salt;

    salt[0] = hash[0] = 0;
    if (!str_starts(value, "ath_") || str_find(value, '.') == value.n || value.n > KEY_TEXT)
        return;
    for (int i = 0; i < 4; i++)
        at = str_put_hex(at, rand_u64());
    *at = 0;
    at = str_put(text, str_of(salt));
    *at++ = ':';
    at = str_put(at, value);
    crypto_sha256_hex(str_from(text, (size_t)(at - text)), hash);
}

static void write_key(struct log_draft *d, struct req *r, const struct auth *a, ath_str value)
{
    char salt[SHA256_HEX], hash[SHA256_HEX];
    ath_event e = { .level = ATH_INFO,
                    .flags = ATH_EV_KEYS | ATH_EV_ROW,
                    .source = rows_source,
                    .name = key_name,
                    .fact = key_facts,
                    .fact_count = K_FACTS };
    const struct auth_key *key = a->key;
    uint64_t now = clock_wall_ns();
    ath_fact *fact;

    e.time_ns = now;
    e.request_id = log_draft_text(d, str_from(r->id, UUID_TEXT - 1));
    fact = log_draft_event(d, &e, 0);
    fingerprint(value, salt, hash);
    fact[K_ID].value = e.request_id;
    fact[K_KEY].value = key ? put(d, key->id) : none;
    fact[K_INTERNAL].value = key ? put_number(d, (uint64_t)key->internal) : none;
    fact[K_PUBLIC].value = put(d, key ? key->public_id : a->public_id);
    fact[K_CLIENT].value = put(d, client_of(r));
    fact[K_METHOD].value = put(d, r->method);
    fact[K_PATH].value = put(d, cut(req_asked_path(r), PATH_MOST));
    fact[K_HASH].value = put(d, str_of(hash));
    fact[K_SALT].value = put(d, str_of(salt));
    fact[K_REQUIRED].value = log_draft_text(d, buf_view(&required));
    fact[K_GRANTED].value = log_draft_text(d, buf_view(&granted));
    fact[K_AUTHENTICATED].value = truth[a->authenticated];
    fact[K_AUTHORIZED].value = truth[a->authorized];
    fact[K_ENFORCED].value = truth[a->enforced];
    fact[K_REASON].value = put(d, str_of(a->reason));
    fact[K_REMOTE].value = fact[K_ADDRESS].value = put(d, ip_of_for_logs(r));
    fact[K_AGENT].value = put(d, agent_of(r));
    fact[K_TIME].value = put_number(d, now / 1000000000u);
}

static void key_row(struct req *r, const struct auth *a, ath_str value)
{
    enum { FIXED = UUID_TEXT + 2 * SHA256_HEX + 2 * STR_U64_ROOM + 64 + 16, KEY_IDS = 256 };
    const ath_str *names = NULL;
    uint32_t n = a->key ? right_set_names(a->key->rights, &names) : 0;
    struct log_draft d;
    size_t text;

    put_rights(&required, a->required, a->required_count);
    put_rights(&granted, names, n);
    text = FIXED + KEY_IDS + required.n + granted.n + client_of(r).n + r->method.n +
           cut(req_asked_path(r), PATH_MOST).n + cut(agent_of(r), TEXT_MOST).n +
           ip_of_for_logs(r).n + cut(a->public_id, TEXT_MOST).n;
    if (!log_draft_begin(&d, 1, K_FACTS, text))
        return;
    write_key(&d, r, a, value);
    log_draft_send(&d);
}

bool audit_wants_keys(void)
{
    return log_takes_row(key_name);
}

void audit_key(struct req *r)
{
    const struct auth *a = r->auth;

    if (likely(r->who.flags & ATH_WHO_ADMIN) || !a || !log_takes_row(key_name))
        return;
    if (!a->session && a->reason && was_checked(a->reason) && !is_left_out(a))
        key_row(r, a, keys_given(r));
}

static bool is_named(const struct auth *a, ath_str name)
{
    for (uint32_t i = 0; i < a->required_count; i++)
        if (str_eq(a->required[i], name))
            return true;
    return false;
}

/* Each once; in the request's arena, as those of the one that it called go with it. */
static void require_too(struct req *r, struct auth *a, const struct auth *from)
{
    ath_str *all =
        arena_alloc(&r->task.arena, (a->required_count + from->required_count) * sizeof(*all) + 1);

    if (a->required_count)
        memcpy(all, a->required, a->required_count * sizeof(*all));
    a->required = all;
    for (uint32_t i = 0; i < from->required_count; i++)
        if (!is_named(a, from->required[i]))
            all[a->required_count++] = arena_str(&r->task.arena, from->required[i]);
}

void audit_called(struct req *r)
{
    ath_task *parent = r->task.parent;
    struct req *top = parent && req_is(parent) ? req_of(parent) : NULL;
    const struct auth *from = r->auth;

    if (!top || !top->auth || !from || top->auth == from)
        return;
    require_too(top, top->auth, from);
    if (!from->authorized && top->auth->authorized) {
        top->auth->authorized = false;
        top->auth->reason = from->reason;
    }
}

/* ---- the audit log ---- */

enum {
    C_ID,
    C_KIND,
    C_ACTOR,
    C_REMOTE,
    C_AGENT,
    C_CLIENT,
    C_METHOD,
    C_ROUTE,
    C_PATH,
    C_STATUS,
    C_ERROR,
    C_DURATION,
    C_CHANGED,
    C_LEFT_OUT,
    C_TIME,
    C_FACTS
};

static const ath_fact change_facts[C_FACTS] = {
    [C_ID] = COLUMN("request_id", ATH_V_TEXT),
    [C_KIND] = COLUMN("actor_kind", ATH_V_PLAIN),
    [C_ACTOR] = COLUMN("actor", ATH_V_TEXT),
    [C_REMOTE] = COLUMN("remote_addr", ATH_V_TEXT),
    [C_AGENT] = COLUMN("user_agent", ATH_V_TEXT),
    [C_CLIENT] = COLUMN("client_name", ATH_V_TEXT),
    [C_METHOD] = COLUMN("method", ATH_V_TEXT),
    [C_ROUTE] = COLUMN("route", ATH_V_TEXT),
    [C_PATH] = COLUMN("path", ATH_V_TEXT),
    [C_STATUS] = COLUMN("status_code", ATH_V_NUMBER),
    [C_ERROR] = COLUMN("error_code", ATH_V_TEXT),
    [C_DURATION] = COLUMN("duration_ms", ATH_V_NUMBER),
    [C_CHANGED] = COLUMN("changed", ATH_V_TEXT),
    [C_LEFT_OUT] = COLUMN("left_out", ATH_V_NUMBER),
    [C_TIME] = COLUMN("time", ATH_V_NUMBER),
};

/* The same in a line; what is not there is empty. */
enum {
    L_KIND,
    L_ACTOR,
    L_REMOTE,
    L_METHOD,
    L_PATH,
    L_CLIENT,
    L_STATUS,
    L_ERROR,
    L_CHANGED,
    L_FACTS
};
static const ath_fact line_facts[L_FACTS] = {
    [L_KIND] = COLUMN("actor_kind", ATH_V_PLAIN),
    [L_ACTOR] = COLUMN("actor", ATH_V_PLAIN),
    [L_REMOTE] = COLUMN("remote_addr", ATH_V_PLAIN),
    [L_METHOD] = COLUMN("http_method", ATH_V_PLAIN),
    [L_PATH] = COLUMN("http_route", ATH_V_PLAIN),
    [L_CLIENT] = COLUMN("client", ATH_V_PLAIN),
    [L_STATUS] = COLUMN("http_status_code", ATH_V_NUMBER),
    [L_ERROR] = COLUMN("error_code", ATH_V_PLAIN),
    [L_CHANGED] = COLUMN("changed", ATH_V_TEXT),
};

/* Data that keys may change by EITHER routes is in the log of operations, with the key; the
 * administrator has no key. */
static bool is_change(const struct req *r)
{
    const struct route *route = r->match.route;

    if (!route || str_is(r->method, "GET") || str_is(r->method, "HEAD") ||
        str_is(r->method, "OPTIONS"))
        return false;
    switch (route->def.auth) {
    case ATH_AUTH_ADMIN:
    case ATH_AUTH_MANAGEMENT:
        return true;
    case ATH_AUTH_EITHER:
        return !route->def.operation || r->who.flags & ATH_WHO_ADMIN;
    default:
        return false;
    }
}

struct actor {
    ath_str kind, who;
};

static struct actor actor_of(const struct req *r)
{
    const struct auth *a = r->auth;

    if (r->who.flags & ATH_WHO_ADMIN)
        return (struct actor){ ATH_S("admin_key"), none };
    if (a && a->session)
        return (struct actor){ ATH_S("session"), r->who.public_id };
    if (a && a->authenticated)
        return (struct actor){ ATH_S("api_key"), a->key ? a->key->public_id : r->who.public_id };
    if (r->who.flags & ATH_WHO_UNCHECKED || (a && a->authorized))
        return (struct actor){ ATH_S("open"), none };
    return (struct actor){ ATH_S("unknown"), none };
}

/* Anybody may be refused as often as they like; the log is not theirs to fill. */
static bool is_one_too_many(const struct actor *who, uint64_t now)
{
    if (!str_is(who->kind, "unknown"))
        return false;
    if (now / 1000000000u != second) {
        second = now / 1000000000u;
        refusals = 0;
    }
    if (refusals++ < REFUSALS_A_SECOND)
        return false;
    left_out++;
    return true;
}

/* What the handler said of it (its fact "changed"), and the names of what was sent:
 * "create_client shop: client_name, pg_uri". */
static ath_str changed_of(struct req *r)
{
    enum { MOST = 512, NAME = 64, VALUES = 100000 };
    const ath_fact *said = req_fact(r, "changed");
    struct buf b = ARENA_BUF(&r->task.arena);
    struct json_error why;
    const struct json *body;
    const char *between = "";

    if (said) {
        buf_str(&b, cut(said->value, MOST / 2));
        between = ": ";
    }
    body = r->body.n == 0 ? NULL
                          : json_read(r->body, (struct json_memory){ arena_raw, &r->task.arena },
                                      VALUES, &why);
    if (body && body->type == JSON_OBJECT)
        json_each(m, body)
        {
            if (b.n + NAME + 2 > MOST)
                break;
            buf_z(&b, between);
            buf_str(&b, cut(m->key, NAME));
            between = ", ";
        }
    return buf_view(&b);
}

static void write_change(struct log_draft *d, const struct actor *who, const ath_str *text)
{
    ath_event e = { .level = ATH_INFO,
                    .flags = ATH_EV_KEYS | ATH_EV_ROW | ATH_EV_KEEP,
                    .source = rows_source,
                    .name = change_name,
                    .request_id = text[C_ID],
                    .fact = change_facts,
                    .fact_count = C_FACTS };
    ath_fact *fact = log_draft_event(d, &e, 0);

    for (int i = 0; i < C_FACTS; i++)
        fact[i].value = text[i];
    fact[C_KIND].value = who->kind;
    left_out = 0;
}

static void write_line(struct log_draft *d, int level, const struct actor *who, const ath_str *text)
{
    static const uint8_t from[L_FACTS] = { C_KIND,   C_ACTOR,  C_REMOTE, C_METHOD, C_PATH,
                                           C_CLIENT, C_STATUS, C_ERROR,  C_CHANGED };
    ath_event e = { .level = (uint32_t)level,
                    .flags = ATH_EV_KEYS | ATH_EV_KEEP,
                    .source = line_source,
                    .name = line_name,
                    .message = ATH_S("an administrator's route was called"),
                    .request_id = text[C_ID],
                    .fact = line_facts,
                    .fact_count = L_FACTS };
    ath_fact *fact = log_draft_event(d, &e, 0);

    for (int i = 0; i < L_FACTS; i++)
        fact[i].value = text[from[i]].n ? text[from[i]] : ATH_S("");
    fact[L_KIND].value = who->kind;
}

/* Each text once, in the draft, in the places of the row. */
static void put_change(struct log_draft *d, struct req *r, const struct actor *who, int status,
                       uint64_t duration_ns, ath_str *ret)
{
    const char *code = r->err.rc ? err_entry(&r->err)->code : "";

    ret[C_ID] = log_draft_text(d, str_from(r->id, UUID_TEXT - 1));
    ret[C_KIND] = who->kind;
    ret[C_ACTOR] = put(d, who->who);
    ret[C_REMOTE] = put(d, ip_of_for_logs(r));
    ret[C_AGENT] = put(d, agent_of(r));
    ret[C_CLIENT] = put(d, client_of(r));
    ret[C_METHOD] = put(d, r->method);
    ret[C_ROUTE] = put(d, str_of(r->match.route->def.path));
    ret[C_PATH] = put(d, cut(req_asked_path(r), PATH_MOST));
    ret[C_STATUS] = put_number(d, (uint64_t)status);
    ret[C_ERROR] = put(d, str_of(code));
    ret[C_DURATION] = put_number(d, duration_ns / 1000000u);
    ret[C_CHANGED] = put(d, changed_of(r));
    ret[C_LEFT_OUT] = put_number(d, left_out);
    ret[C_TIME] = put_number(d, clock_wall_ns() / 1000000000u);
}

void audit_change(struct req *r, int status, uint64_t duration_ns)
{
    enum { ROOM = 10 * TEXT_MOST };
    int level = status >= 400 ? ATH_WARN : ATH_INFO; /* an error has its own line */
    ath_str text[C_FACTS];
    struct log_draft d;
    struct actor who;
    bool row, line;

    if (!is_change(r))
        return;
    row = log_takes_row(change_name);
    line = log_takes(level, line_source, line_name);
    who = actor_of(r);
    if ((!row && !line) || is_one_too_many(&who, clock_wall_ns()))
        return;
    if (!log_draft_begin(&d, row + line, (row ? C_FACTS : 0u) + (line ? L_FACTS : 0u), ROOM))
        return;
    put_change(&d, r, &who, status, duration_ns, text);
    if (row)
        write_change(&d, &who, text);
    if (line)
        write_line(&d, level, &who, text);
    log_draft_send(&d);
}
