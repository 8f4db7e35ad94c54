/* Learning of virgin keys: four statements in one trip, which is one transaction, over the key
 * store's own connections (D-15).
 *
 * The lock is a statement of its own: what follows then reads what others committed while it
 * waited, so the transaction is read committed whatever the database's default is. The last two do
 * nothing for a key that is not learning any more.
 */
#include "auth/virgin.h"

#include "base/clock.h"
#include "db/query.h"
#include "log/log.h"

enum { LEARN_MS = 5000 };

static const char lock_sql[] = "select 1 from api_keys where id = $1::bigint for no key update";

static const char state_sql[] =
    "select k.virgin_mode and not k.virgin_resolved, k.virgin_mode, "
    "exists (select from api_key_ip_blacklist b where b.api_key_id = k.id "
    "and b.addr >>= $2::inet), "
    "exists (select from api_key_ip_whitelist w where w.api_key_id = k.id), "
    "exists (select from api_key_ip_whitelist w where w.api_key_id = k.id "
    "and w.addr >>= $2::inet) from api_keys k where k.id = $1::bigint";

/* A key that has no limit at all learns until somebody promotes it by hand: it remembers 10000
 * addresses. */
static const char count_sql[] =
    "with k as (update api_keys "
    "set virgin_request_count = least(virgin_request_count, 2147483646) + 1 "
    "where id = $1::bigint and virgin_mode and not virgin_resolved "
    "returning id, virgin_until_n_requests > 0 or max_whitelist_ips > 0 as ends) "
    "insert into api_key_ip_seen as s (api_key_id, addr, ipv4_address) "
    "select k.id, $2::inet, host($2::inet) from k where k.ends or 10000 > (select count(*) from "
    "(select from api_key_ip_seen o where o.api_key_id = k.id limit 10000) o) "
    "on conflict (api_key_id, addr) do update "
    "set hit_count = s.hit_count + 1, last_seen_at = now()";

static const char promote_sql[] =
    "with k as (select id, max_whitelist_ips from api_keys "
    "where id = $1::bigint and virgin_mode and not virgin_resolved and ("
    "virgin_until_n_requests > 0 and virgin_request_count >= virgin_until_n_requests or "
    "max_whitelist_ips > 0 and max_whitelist_ips <= "
    "(select count(*) from api_key_ip_seen s where s.api_key_id = $1::bigint))), "
    "listed as (insert into api_key_ip_whitelist (api_key_id, addr, label) "
    "select k.id, f.addr::cidr, 'virgin_learned' from k cross join lateral ("
    "select s.addr from api_key_ip_seen s where s.api_key_id = k.id "
    "order by s.first_seen_at, s.id limit nullif(greatest(k.max_whitelist_ips, 0), 0)) f "
    "on conflict (api_key_id, addr) do nothing), "
    "marked as (update api_key_ip_seen s set locked_in = true from k where s.api_key_id = k.id) "
    "update api_keys a set virgin_resolved = true, "
    "virgin_resolved_at = coalesce(a.virgin_resolved_at, now()) from k where a.id = k.id "
    "returning pg_notify('athena_auth_changed', a.public_id)";

enum { LOCK, STATE, COUNT, PROMOTE, STATEMENTS };
enum { LEARNING, VIRGIN, BLACK, LISTED, WHITE }; /* columns of state_sql */

struct learning {
    struct req *request;
    const struct ip_policy *policy;
    ath_str public_id;
    ath_then *then;
    void *arg;
    ath_stmt stmt[STATEMENTS];
    ath_str param[2]; /* the key's id, the address */
};

static bool says(const ath_rows *state, uint32_t column)
{
    return str_is(db_rows_text(state, 0, column), "t");
}

/* The key is not learning any more: what its row and its lists say now, and what everybody's do. */
static int judge(const struct learning *l, const ath_rows *state, ath_err *e)
{
    struct ip_policy p = *l->policy;
    struct req *r = l->request;
    const char *reason;
    int rc;

    if (says(state, BLACK))
        return ip_refuse(IP_BLACK, ip_of(r), &reason, e);
    p.white = p.black = NULL; /* which were read before */
    p.learning = false;
    p.wanting = says(state, VIRGIN) && !says(state, LISTED);
    rc = ip_check(&p, r, &reason, e);
    if (rc == 0 && says(state, LISTED) && !says(state, WHITE))
        rc = ip_refuse(IP_NOT_WHITE, ip_of(r), &reason, e);
    return rc;
}

/* Why is for the operator, at most once a second; the caller hears that it failed. */
static int not_learned(const struct learning *l, const char *why, ath_err *e)
{
    static _Atomic uint64_t said_s;
    uint64_t now_s = clock_ns() / 1000000000u, last = atomic_load(&said_s);
    const char *reason;

    if (last != now_s && atomic_compare_exchange_strong(&said_s, &last, now_s))
        log_write(ATH_WARN, "athena::auth", "key %.*s did not learn the address of request %s: %s",
                  STR_ARG(l->public_id), l->request->id, why);
    return ip_unavailable("virgin", &reason, e);
}

static int verdict(const struct learning *l, const ath_done *d, ath_err *e)
{
    const ath_rows *state = d->rc < 0 ? NULL : db_rows_next(d->rows);
    bool learning = says(state, LEARNING);
    char why[512];

    if (d->rc < 0) {
        snprintf(why, sizeof(why), "%.*s", (int)e->message_n, e->message);
        return not_learned(l, why, e);
    }
    if (db_rows_count(state) == 0)
        return not_learned(l, "it is not there any more", e);
    if (!learning || db_rows_count(db_rows_next(db_rows_next(state))))
        store_changed(); /* resolved, now or before this process has read it */
    return learning ? 0 : judge(l, state, e);
}

static int learned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct learning *l = d->arg;
    ath_done done = { .size = sizeof(done), .arg = l->arg };

    done.rc = verdict(l, d, e);
    return l->then(t, &done, e);
}

int virgin_learn(struct req *r, const struct auth_key *k, const struct ip_policy *p, ath_then *then,
                 void *arg, ath_err *e)
{
    static const char *const sql[STATEMENTS] = { lock_sql, state_sql, count_sql, promote_sql };
    static const uint32_t params[STATEMENTS] = { 1, 2, 2, 1 };
    ath_arena *a = &r->task.arena;
    struct learning *l = ARENA_NEW(a, struct learning);
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_COMMITTED,
                    .client = ATH_S("@keys"),
                    .timeout_ms = LEARN_MS,
                    .stmt = l->stmt,
                    .stmt_size = sizeof(l->stmt[0]),
                    .stmt_count = STATEMENTS };
    char why[512];

    *l = (struct learning){
        .request = r, .policy = p, .public_id = k->public_id, .then = then, .arg = arg
    };
    l->param[0] = arena_printf(a, "%lld", (long long)k->internal);
    l->param[1] = ip_of(r);
    for (int i = 0; i < STATEMENTS; i++)
        l->stmt[i] = (ath_stmt){ .sql = sql[i], .param = l->param, .param_count = params[i] };
    if (db_query(&r->task, &q, learned, l, e) == 0)
        return 0;
    snprintf(why, sizeof(why), "%.*s", (int)e->message_n, e->message);
    return not_learned(l, why, e);
}
