/* The check of a request's caller (auth.md 4).
 *
 * auth_check() is entered from the top each time that something it has waited for is there: what it
 * has found out so far is in r->auth or in the store's memory. Whatever it has to wait for, it
 * waits for at most a few times.
 *
 * Each way in which a key fails is a line of `lines`: what the log says, with keys enforced and
 * not, and what the caller is told. An unknown id and a wrong secret differ in the log alone
 * (D-34).
 */
#include "auth/auth.h"

#include "auth/audit.h"
#include "auth/brake.h"
#include "auth/keys.h"
#include "auth/known.h"
#include "auth/session.h"
#include "auth/virgin.h"
#include "base/clock.h"
#include "base/err.h"
#include "http/call.h"
#include "lib/text.h"

enum { LOOKS_MOST = 4 };
enum { DEFERRED = PHASE_DONE + 1 }; /* of the steps below: nothing more is asked */

static struct auth_rules how;

void auth_configure(const struct auth_rules *rules)
{
    how = *rules;
}

enum line { MISSING, FORMAT, UNKNOWN, SECRET, INACTIVE, EXPIRED, MISMATCH, RIGHTS };

#define LINE(reason, code, words)                                                                  \
    {                                                                                              \
        reason, reason "_unenforced", code, words                                                  \
    }

static const struct {
    const char *reason, *open, *code, *words;
} lines[] = {
    [MISSING] = { "missing_api_key", "api_key_not_enforced", "api_key_required",
                  "Missing API key. Use X-Athena-Key." },
    [FORMAT] = LINE("invalid_api_key_format", "api_key_invalid", "The API key format is invalid."),
    [UNKNOWN] = LINE("unknown_api_key", "api_key_invalid", "The provided API key is not valid."),
    [SECRET] =
        LINE("invalid_api_key_secret", "api_key_invalid", "The provided API key is not valid."),
    [INACTIVE] = LINE("inactive_api_key", "inactive_api_key", "The API key has been disabled."),
    [EXPIRED] = LINE("expired_api_key", "expired_api_key", "The API key has expired."),
    [MISMATCH] = LINE("api_key_client_mismatch", "api_key_client_mismatch", NULL),
    [RIGHTS] = LINE("missing_api_key_rights", "forbidden", NULL),
};

static bool is_class(const struct req *r, uint32_t class)
{
    return r->match.route->def.auth == class;
}

/* ---- refusing ---- */

static int refuse_admin(ath_err *e)
{
    if (!keys_admin_set())
        return err_raise(e, "admin_key_unset", "ATHENA_KEY_12 environment variable is not set");
    err_raise(e, "admin_key_invalid", "Invalid or missing API key. Use X-Athena-Key.");
    err_detail(e, "body", str_of("{\"error\":\"Invalid or missing API key. Use X-Athena-Key.\"}"));
    return e->rc;
}

/* The log's word for it; 0 where nobody asks for a key, and the request goes on. */
static int open_or(struct auth *a, const char *reason, const char *open)
{
    a->reason = a->enforced ? reason : open;
    a->authorized = !a->enforced;
    return a->enforced ? -1 : 0;
}

static int refuse(struct auth *a, enum line line, ath_err *e)
{
    if (open_or(a, lines[line].reason, lines[line].open) == 0)
        return 0;
    return err_raise(e, lines[line].code, "%s", lines[line].words);
}

static int refuse_client(struct req *r, struct auth *a, ath_err *e)
{
    if (open_or(a, lines[MISMATCH].reason, lines[MISMATCH].open) == 0)
        return 0;
    return err_raise(e, lines[MISMATCH].code, "The API key is scoped to client '%.*s', not '%.*s'.",
                     STR_ARG(a->key->client_shown), STR_ARG(r->client_name));
}

/* Reasons outlive the request: logs do not copy them. */
static const char *address_reason_open(const char *reason)
{
#define OPEN(reason)                                                                               \
    {                                                                                              \
        reason, reason "_unenforced"                                                               \
    }
    static const char *const pair[][2] = {
        OPEN("ip_required_for_key"), OPEN("ip_global_blacklisted"),
        OPEN("ip_blacklisted"),      OPEN("ip_not_in_global_whitelist"),
        OPEN("ip_not_whitelisted"),  OPEN("ip_policy_unavailable"),
    };
#undef OPEN

    for (size_t i = 0; i < ATH_COUNT(pair); i++)
        if (strcmp(pair[i][0], reason) == 0)
            return pair[i][1];
    return "ip_policy_unavailable_unenforced";
}

/* By its address; `e` has the words. */
static int refuse_address(struct auth *a, const char *reason, ath_err *e)
{
    if (open_or(a, reason, address_reason_open(reason)) < 0)
        return e->rc;
    err_reset(e);
    return 0;
}

/* ---- without the store ---- */

/* A request that is kept until its caller can be checked is one of the published paths, of a
 * caller from outside, for a database that has a name. */
static bool is_deferrable(const struct req *r)
{
    static const char *const path[] = { "/gateway/query",  "/gateway/data",   "/gateway/fetch",
                                        "/gateway/update", "/gateway/insert", "/gateway/delete" };

    if (!how.fail_open || !r->match.route->def.defer || r->call || r->direct_uri.n ||
        r->client_name.n == 0)
        return false;
    for (size_t i = 0; i < ATH_COUNT(path); i++)
        if (str_is(r->path, path[i]))
            return true;
    return false;
}

/* It goes on to its route's `defer`, and to nothing else: whoever it is runs nothing (D-11). What
 * the headers say is ours, in front of whatever came by these names. */
static int defer(struct req *r, struct auth *a, const char *why, const char *reason)
{
    ath_pair *header = arena_raw(&r->task.arena, (r->header_count + 2) * sizeof(*header));
    struct route *route = arena_raw(&r->task.arena, sizeof(*route));

    header[0] = (ath_pair){ ATH_S("x-athena-unchecked"), str_of(why) };
    header[1] = (ath_pair){ ATH_S("x-athena-key"), a->given };
    if (r->header_count)
        memcpy(header + 2, r->header, r->header_count * sizeof(*header));
    r->header = header;
    r->header_count += 2;
    r->header_bits |= name_bit(header[0].name) | name_bit(header[1].name);
    *route = *r->match.route;
    route->def.handle = route->def.defer;
    route->def.flags &= ~(uint32_t)(ATH_RT_CLIENT | ATH_RT_ASKS);
    r->match.route = route;
    a->reason = reason;
    a->authorized = true;
    return DEFERRED;
}

#define FAIL_OPEN(why)                                                                             \
    why, why "_fail_open"

/* Nobody can say whether the caller may. fail_open lets the data routes of the gateway queue what
 * they were asked for, and nothing else through. */
static int refuse_unknown(struct req *r, struct auth *a, bool of_key, ath_err *e)
{
    bool away = store_state() == STORE_NONE || store_unreachable();

    a->authorized = false;
    if (is_deferrable(r)) {
        if (of_key)
            return defer(r, a, FAIL_OPEN("api_key_lookup_failed"));
        if (away)
            return defer(r, a, FAIL_OPEN("api_key_store_unavailable"));
        return defer(r, a, FAIL_OPEN("api_key_policy_lookup_failed"));
    }
    if (of_key) {
        a->reason = "api_key_lookup_failed";
        return err_raise(e, "auth_store_unavailable",
                         "The API key store could not validate the presented key.");
    }
    if (away) {
        a->reason = "api_key_store_unavailable";
        return err_raise(e, "auth_store_unavailable",
                         "Gateway auth store is configured but currently unreachable.");
    }
    a->reason = "api_key_policy_lookup_failed";
    return err_raise(e, "api_key_policy_unavailable",
                     "Gateway API key enforcement could not be evaluated.");
}

#undef FAIL_OPEN

static int refuse_without_store(struct req *r, struct auth *a, ath_err *e)
{
    ath_str id, secret;

    if (is_class(r, ATH_AUTH_EITHER))
        return err_raise(
            e, "unauthorized", "%s",
            keys_admin_set()
                ? "Invalid or missing API key. Use X-Athena-Key with ATHENA_KEY_12 or configure "
                  "gateway.api_key_client."
                : "Set ATHENA_KEY_12 or configure gateway.api_key_client (API key store).");
    if (!a->enforced) {
        a->reason = "api_key_store_not_configured";
        a->authorized = true;
        return 0;
    }
    if (!a->presented)
        return refuse(a, MISSING, e);
    if (!a->named && !keys_split(a->given, &id, &secret))
        return refuse(a, FORMAT, e);
    return refuse_unknown(r, a, false, e);
}

/* ---- waiting ---- */

static int again(struct req *r)
{
    r->phase--;
    req_resume(r, 0, NULL);
    return 0;
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct req *r = req_of(t);

    (void)e;
    r->auth->failed = d->rc < 0;
    return again(r);
}

/* PHASE_WAIT, or < 0: it cannot be waited for. */
static int look(struct req *r, struct auth *a, ath_str id, ath_err *e)
{
    if (a->failed || a->looks == LOOKS_MOST)
        return -1;
    a->looks++;
    a->failed = store_look(&r->task, id, looked, NULL, e) < 0;
    return a->failed ? -1 : PHASE_WAIT;
}

/* ---- is a key asked for? ---- */

static bool scope_is_open(const struct req *r)
{
    return how.scope == AUTH_SCOPE_ALL ||
           (how.scope == AUTH_SCOPE_DATA && is_class(r, ATH_AUTH_GATEWAY));
}

/* A database of the caller's own is for keys that were checked, always (D-12). */
static bool closes(const struct req *r, bool enforced)
{
    return enforced || r->direct_uri.n || !scope_is_open(r);
}

static int find_enforced(struct req *r, struct auth *a, ath_err *e)
{
    int rc;

    if (unlikely(store_asks_always() && a->looks == 0 && store_state() != STORE_NONE) &&
        (rc = look(r, a, (ath_str){ "", 0 }, e)) == PHASE_WAIT)
        return rc;
    if (unlikely(!store_enforced(a->client, &a->enforced))) {
        rc = look(r, a, (ath_str){ "", 0 }, e);
        return rc == PHASE_WAIT ? rc : refuse_unknown(r, a, false, e);
    }
    a->enforced = closes(r, a->enforced);
    return PHASE_NEXT;
}

/* ---- the key ---- */

static void release(void *key)
{
    auth_key_release(key);
}

/* An id that no key can have is unknown, and costs the same. */
static bool is_id(ath_str id)
{
    for (size_t i = 0; i < id.n; i++)
        if (id.p[i] <= ' ' || id.p[i] >= 127)
            return false;
    return id.n > 0 && id.n <= 128;
}

static int refuse_guess(struct req *r, struct auth *a, enum line line, ath_err *e)
{
    if (!r->call)
        brake_failed(r, a->enforced ? BRAKE_ASKED : BRAKE_OPEN);
    return refuse(a, line, e);
}

/* Held by the request. */
static void take_key(struct req *r, struct auth *a, const struct auth_key *k)
{
    a->key = k;
    arena_own(&r->task.arena, (void *)(uintptr_t)k, release);
}

/* A key that nobody shows: whose it is asked for, by its public id. */
static int find_named(struct req *r, struct auth *a, ath_err *e)
{
    const struct auth_key *k;
    bool missing;
    int rc;

    a->public_id = a->given;
    k = store_find(a->public_id, &missing);
    if (!k && !missing && is_id(a->public_id)) {
        rc = look(r, a, a->public_id, e);
        return rc == PHASE_WAIT ? rc : refuse_unknown(r, a, true, e);
    }
    if (!k)
        return refuse(a, UNKNOWN, e);
    take_key(r, a, k);
    return PHASE_NEXT;
}

/* From the value to a->key; PHASE_NEXT with it NULL: the request goes on as nobody's. */
static int find_key(struct req *r, struct auth *a, ath_err *e)
{
    const struct auth_key *k;
    bool missing;
    int rc;

    if (!a->presented)
        return refuse(a, MISSING, e);
    if (unlikely(a->named))
        return find_named(r, a, e);
    if (!keys_split(a->given, &a->public_id, &a->secret))
        return refuse_guess(r, a, FORMAT, e);
    k = store_find(a->public_id, &missing);
    if (unlikely(!k && !missing && is_id(a->public_id))) {
        rc = look(r, a, a->public_id, e);
        return rc == PHASE_WAIT ? rc : refuse_unknown(r, a, true, e);
    }
    if (unlikely(!auth_key_fits(k, a->secret))) {
        bool ask = a->looks == 0 && auth_key_doubted(k);
        auth_key_release(k);
        if (ask && look(r, a, a->public_id, e) == PHASE_WAIT)
            return PHASE_WAIT;
        return refuse_guess(r, a, k ? SECRET : UNKNOWN, e);
    }
    take_key(r, a, k);
    return PHASE_NEXT;
}

/* What the last request with this key for this client has found, if it is as it was. */
static bool recall(struct req *r, struct auth *a)
{
    const struct known *known = known_find(a->given, r->client_name);

    if (!known)
        return false;
    a->key = known->key;
    a->public_id = known->key->public_id;
    a->client = r->client_name;
    a->enforced = closes(r, known->enforced);
    auth_key_hold(a->key);
    arena_own(&r->task.arena, (void *)(uintptr_t)a->key, release);
    return true;
}

/* For the next one; not of a name that had to be folded. */
static void remember(const struct req *r, const struct auth *a, uint64_t changes)
{
    bool enforced;

    if (a->client.p == r->client_name.p && store_enforced(a->client, &enforced))
        known_keep(changes, a->given, r->client_name, a->key, enforced);
}

/* Without a client a bound key opens what shows nothing of any client (D-2). */
static bool fits_client(const struct req *r, const struct auth *a)
{
    if (likely(a->key->client.n == 0))
        return true;
    if (a->client.n == 0)
        return r->match.route->def.flags & ATH_RT_COMMON;
    return auth_key_is_for(a->key, a->client);
}

static void require(struct req *r, struct auth *a, ath_str name)
{
    ath_str *all;

    for (uint32_t i = 0; i < a->required_count; i++)
        if (str_eq(a->required[i], name))
            return;
    all = arena_raw(&r->task.arena, (a->required_count + 1) * sizeof(*all));
    if (a->required_count)
        memcpy(all, a->required, a->required_count * sizeof(*all));
    all[a->required_count++] = name;
    a->required = all;
}

/* What the route itself asks for; a right that begins with a {name} is the handler's to ask for. */
static int check_right(struct req *r, struct auth *a, ath_err *e)
{
    const char *name = r->match.route->def.right;
    ath_str right;

    if (!name || *name == '{')
        return 0;
    right = str_of(name);
    require(r, a, right);
    if (!a->key || right_covers(a->key->rights, right))
        return 0;
    if (open_or(a, lines[RIGHTS].reason, lines[RIGHTS].open) == 0)
        return 1;
    return err_raise(e, lines[RIGHTS].code, "Missing required rights: %.*s", STR_ARG(right));
}

/* ---- addresses ---- */

static int learned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct req *r = req_of(t);
    struct auth *a = r->auth;

    a->learned = true;
    if (d->rc < 0) {
        a->failure = arena_raw(&t->arena, sizeof(*a->failure));
        err_copy(a->failure, e);
    }
    return again(r);
}

/* A request below another one has been counted with that. */
static int learn(struct req *r, struct auth *a, ath_err *e)
{
    if (r->call)
        return 0;
    if (!a->learned) {
        int rc = virgin_learn(r, a->key, a->policy, learned, NULL, e);
        return rc < 0 ? refuse_address(a, err_entry(e)->code, e) : PHASE_WAIT;
    }
    if (!a->failure)
        return 0;
    err_copy(e, a->failure);
    return refuse_address(a, err_entry(e)->code, e);
}

const char *auth_policy(struct req *r, const struct auth_key *k, ath_str client,
                        struct ip_policy *ret)
{
    *ret = (struct ip_policy){ .white = k->white,
                               .black = k->black,
                               .learning = k->virgin && !k->resolved,
                               .wanting = k->virgin && k->resolved && k->white_count == 0 };
    if (unlikely(!store_lists(r, client, ret)))
        return "global";
    return unlikely(k->unlisted) ? "key" : NULL;
}

static int check_lists(struct req *r, struct auth *a, ath_err *e)
{
    const char *untold, *reason;

    if (!a->policy)
        a->policy = ARENA_NEW(&r->task.arena, struct ip_policy);
    untold = auth_policy(r, a->key, a->client, a->policy);
    if (unlikely(untold)) {
        ip_unavailable(untold, &reason, e);
        return refuse_address(a, reason, e);
    }
    if (unlikely(ip_check(a->policy, r, &reason, e) < 0))
        return refuse_address(a, reason, e);
    return unlikely(a->policy->learning) ? learn(r, a, e) : 0;
}

static int check_address(struct req *r, struct auth *a, ath_err *e)
{
    return likely((a->key->anywhere && !store_has_lists()) || a->named) ? 0 : check_lists(r, a, e);
}

/* ---- from the key to the caller ---- */

static void is_right(struct req *r, struct auth *a)
{
    const struct auth_key *k = a->key;

    r->who.flags |= ATH_WHO_KEY;
    r->who.key_id = k->id;
    r->who.public_id = k->public_id;
    r->who.client = k->client_shown;
    a->reason = a->enforced ? "api_key_authenticated" : "api_key_authenticated_unenforced";
    a->authorized = true;
}

/* Lines 8 to 13. PHASE_NEXT: whoever it is, it goes on. */
static int judge(struct req *r, struct auth *a, ath_err *e)
{
    const struct auth_key *k = a->key;
    int rc;

    if (unlikely(!k->active))
        return refuse(a, INACTIVE, e);
    if (unlikely(k->expires_us && auth_key_expired(k, (int64_t)(clock_wall_ns() / 1000))))
        return refuse(a, EXPIRED, e);
    a->authenticated = true;
    if (unlikely(!fits_client(r, a)))
        return refuse_client(r, a, e);
    if (!r->call) {
        uint64_t now_ms = loop_now_ms(r->task.loop);
        auth_key_used(k, now_ms);
        brake_passed(r, k->brake_id, now_ms);
    }
    if (unlikely((rc = check_right(r, a, e)) != 0))
        return rc < 0 ? rc : PHASE_NEXT;
    a->reason = NULL;
    rc = check_address(r, a, e);
    if (likely(rc == 0 && !a->reason))
        is_right(r, a);
    return rc;
}

/* ---- sessions ---- */

static int session_looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct req *r = req_of(t);

    (void)e;
    r->auth->session = d->rc == 0 && d->count > 0;
    r->auth->session_unknown = d->rc < 0;
    return again(r);
}

static bool session_may(const struct req *r, const struct auth *a)
{
    return is_class(r, ATH_AUTH_EITHER) && r->match.route->def.flags & ATH_RT_CLIENT &&
           a->client.n && !r->direct_uri.n;
}

/* A session may do where a key does not. `e` has the words for that. */
static int without_key(struct req *r, struct auth *a, ath_err *e)
{
    ath_str token;
    ath_err words;

    if (a->named)
        return e->rc;
    if (a->session_unknown)
        return err_raise(e, "session_store_unavailable", "failed to verify Athena Auth session");
    if (a->asked_session || !session_may(r, a))
        return e->rc;
    a->asked_session = true;
    token = session_token(r);
    err_reset(&words);
    if (token.n == 0 || str_starts(token, "ath_") ||
        session_look(r, a->client, token, how.org_roles, session_looked, NULL, &words) < 0)
        return e->rc;
    err_reset(e);
    return PHASE_WAIT;
}

static int pass_session(struct auth *a)
{
    a->authenticated = a->authorized = true;
    a->reason = "athena_auth_session";
    return PHASE_NEXT;
}

/* ---- the whole ---- */

ath_str auth_client(ath_arena *a, ath_str name)
{
    size_t i = 0;
    char *p;

    while (i < name.n && !(name.p[i] >= 'A' && name.p[i] <= 'Z'))
        i++;
    if (likely(i == name.n))
        return name;
    p = arena_raw(a, name.n);
    for (i = 0; i < name.n; i++)
        p[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
    return str_from(p, name.n);
}

static struct auth *auth_of(struct req *r, ath_str given)
{
    if (r->auth)
        return r->auth;
    r->auth = ARENA_NEW(&r->task.arena, struct auth);
    r->auth->given = given;
    r->auth->presented = given.n > 0;
    r->auth->named = r->call && call_as(r)->key.n;
    r->auth->recalled = !r->auth->named && recall(r, r->auth);
    if (unlikely(!r->auth->recalled))
        r->auth->client = auth_client(&r->task.arena, r->client_name);
    return r->auth;
}

/* The routes of management are for keys of that client, whether keys are enforced or not. */
static int check_bound(struct req *r, struct auth *a, ath_err *e)
{
    if (r->who.flags & ATH_WHO_KEY && a->key->client.n)
        return PHASE_NEXT;
    if (store_state() == STORE_NONE)
        return err_raise(e, "session_store_unavailable", "No gateway auth client is configured.");
    a->authorized = false;
    return err_raise(e, "management_key_required",
                     "The presented API key must be bound to client '%.*s'.",
                     STR_ARG(r->client_name));
}

static int check_store(struct req *r, struct auth *a, ath_err *e)
{
    uint64_t changes = store_changes_now();
    int rc = find_enforced(r, a, e);

    if (unlikely(rc != PHASE_NEXT))
        return rc;
    if (unlikely(store_state() == STORE_NONE) && !is_class(r, ATH_AUTH_MANAGEMENT))
        return refuse_without_store(r, a, e);
    if (a->key)
        return PHASE_NEXT;
    if ((rc = find_key(r, a, e)) == PHASE_NEXT && a->key && !a->named)
        remember(r, a, changes);
    return rc;
}

static int check_gateway(struct req *r, struct auth *a, ath_err *e)
{
    int rc = likely(a->recalled) ? PHASE_NEXT : check_store(r, a, e);

    return likely(rc == PHASE_NEXT && a->key) ? judge(r, a, e) : rc;
}

static int check_caller(struct req *r, ath_str given, ath_err *e)
{
    struct auth *a = auth_of(r, given);
    int rc;

    if (unlikely(a->session))
        return pass_session(a);
    rc = check_gateway(r, a, e);
    if (unlikely(rc < 0))
        return without_key(r, a, e);
    if (unlikely(rc > 0))
        return rc == DEFERRED ? PHASE_NEXT : rc;
    r->who.flags |= a->enforced ? ATH_WHO_ENFORCED : ATH_WHO_UNCHECKED;
    return unlikely(is_class(r, ATH_AUTH_MANAGEMENT)) ? check_bound(r, a, e) : PHASE_NEXT;
}

/* What stands for the caller: of a called request whoever it was made to be. True: an
 * administrator. */
static bool who_gives(struct req *r, ath_str *ret)
{
    if (r->call && call_as(r)->key.n) {
        *ret = call_as(r)->key;
        return false;
    }
    *ret = keys_given(r);
    return (r->call && call_as(r)->self) || keys_is_admin(*ret);
}

/* For a handler that decides by itself: where it is not known, keys are asked for. */
static void tell_enforced(struct req *r)
{
    bool on = true;

    if (!store_enforced(auth_client(&r->task.arena, r->client_name), &on) || on ||
        how.scope == AUTH_SCOPE_NONE)
        r->who.flags |= ATH_WHO_ENFORCED;
}

/* Nothing is asked for, but who has the right may be shown more. Apart from the routes that are
 * called often. */
static __attribute__((noinline)) int check_more(struct req *r, ath_err *e)
{
    ath_str given;
    struct auth *a;
    int rc;

    tell_enforced(r);
    if (!r->call && brake_on() && keys_given(r).n &&
        brake_check(r, keys_given(r), BRAKE_OPEN, e) < 0) {
        err_reset(e);
        return PHASE_NEXT;
    }
    if (who_gives(r, &given)) {
        r->who.flags = ATH_WHO_ADMIN;
        return PHASE_NEXT;
    }
    if (given.n == 0)
        return PHASE_NEXT;
    a = auth_of(r, given);
    a->enforced = false;
    if (store_state() == STORE_NONE) {
        if (!r->call)
            brake_failed(r, BRAKE_OPEN);
        return PHASE_NEXT;
    }
    rc = a->key ? PHASE_NEXT : find_key(r, a, e);
    if (rc == PHASE_NEXT && a->key)
        rc = judge(r, a, e);
    if (rc == PHASE_WAIT)
        return rc;
    err_reset(e);
    return PHASE_NEXT;
}

static int refuse_direct(struct req *r, ath_err *e)
{
    struct auth *a = auth_of(r, (ath_str){ "", 0 });

    a->enforced = true;
    a->reason = "direct_pg_uri_requires_api_key";
    return err_raise(e, "api_key_required",
                     "Direct PostgreSQL routing requires X-Athena-Key unless "
                     "ATHENA_ALLOW_DIRECT_PG_URI_WITHOUT_API_KEY=true and the URI includes "
                     "credentials.");
}

/* One that came by `call`: the address that it is for has been counted with what calls. */
static __attribute__((noinline)) int check_called(struct req *r, ath_err *e)
{
    ath_str given;
    bool admin = who_gives(r, &given);

    if (r->direct_uri.n && given.n == 0 && !admin)
        return refuse_direct(r, e);
    if (admin) {
        r->who.flags = ATH_WHO_ADMIN;
        return PHASE_NEXT;
    }
    return is_class(r, ATH_AUTH_ADMIN) ? refuse_admin(e) : check_caller(r, given, e);
}

/* Is nobody asked for a key here, by what is in memory? */
static bool is_open(struct req *r)
{
    bool enforced;

    return (is_class(r, ATH_AUTH_GATEWAY) || is_class(r, ATH_AUTH_EITHER)) &&
           store_enforced(auth_client(&r->task.arena, r->client_name), &enforced) &&
           !closes(r, enforced);
}

/* When too many credentials from there have failed this one is not looked at. Where none is asked
 * for the request goes on as nobody's: 1. */
static __attribute__((noinline)) int check_braked(struct req *r, ath_str given, ath_err *e)
{
    bool open = is_open(r);
    int rc = brake_look(r, given, open ? BRAKE_OPEN : BRAKE_ASKED, e);

    if (rc == 0 || !open)
        return rc;
    err_reset(e);
    r->auth = NULL;
    (void)refuse(auth_of(r, (ath_str){ "", 0 }), MISSING, e); /* which is not enforced */
    r->who.flags |= ATH_WHO_UNCHECKED;
    return 1;
}

int auth_check(struct req *r, ath_err *e)
{
    uint32_t class = r->match.route->def.auth;
    ath_str given;
    int rc;

    r->who = (ath_who){ .size = sizeof(r->who), .client = r->client_name };
    if (class == ATH_AUTH_NONE || class == ATH_AUTH_OWN)
        return r->match.route->def.right ? check_more(r, e) : PHASE_NEXT;
    if (unlikely(r->call))
        return check_called(r, e);
    given = keys_given(r);
    if (unlikely(r->direct_uri.n && given.n == 0))
        return refuse_direct(r, e);
    if (brake_on() && given.n && (rc = check_braked(r, given, e)) != 0)
        return rc < 0 ? rc : PHASE_NEXT;
    if (likely(keys_is_admin(given))) {
        r->who.flags = ATH_WHO_ADMIN;
        return PHASE_NEXT;
    }
    if (class != ATH_AUTH_ADMIN)
        return check_caller(r, given, e);
    if (given.n)
        brake_failed(r, BRAKE_ASKED);
    return refuse_admin(e);
}

/* ---- allow() ---- */

static ath_str name_of(struct req *r, const ath_right *right)
{
    struct buf b = ARENA_BUF(&r->task.arena);

    right_name(&b, right);
    return buf_view(&b);
}

/* The missing ones, in the order in which they were asked for. */
static int refuse_rights(struct req *r, const ath_right *right, uint32_t n, ath_err *e)
{
    struct buf b = ARENA_BUF(&r->task.arena);

    for (uint32_t i = 0; i < n; i++) {
        if (right_allows(r->auth->key->rights, &right[i]))
            continue;
        if (b.n)
            buf_lit(&b, ", ");
        right_name(&b, &right[i]);
    }
    return err_raise(e, lines[RIGHTS].code, "Missing required rights: %.*s", STR_ARG(buf_view(&b)));
}

static bool holds_all(const struct auth_key *k, const ath_right *right, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!auth_key_may(k, &right[i]))
            return false;
    return true;
}

/* An administrator, here or by the client's own sessions, may do everything. A handler may ask
 * again for something else when it was refused: the last answer is what the log has. */
int auth_allow(struct req *r, const ath_right *right, uint32_t n, ath_err *e)
{
    struct auth *a = r->auth;

    if (likely(r->who.flags & ATH_WHO_ADMIN))
        return 0;
    if (unlikely(!a || (!a->authorized && a->reason != lines[RIGHTS].reason)))
        return err_raise(e, "forbidden", "the caller holds no rights");
    if (a->session)
        return 0;
    for (uint32_t i = 0; i < n && audit_wants_keys(); i++)
        require(r, a, name_of(r, &right[i]));
    if (likely(r->who.flags & ATH_WHO_KEY && holds_all(a->key, right, n))) {
        if (unlikely(!a->authorized)) /* what was missing before could be done without */
            is_right(r, a);
        return 0;
    }
    if (r->who.flags & ATH_WHO_KEY && open_or(a, lines[RIGHTS].reason, lines[RIGHTS].open) < 0)
        return refuse_rights(r, right, n, e);
    return a->enforced ? err_raise(e, "forbidden", "the caller holds no rights") : 0;
}
