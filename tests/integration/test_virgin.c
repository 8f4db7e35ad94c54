/* Learning of virgin keys over a real PostgreSQL: what counts, when a key is resolved, how many
 * addresses it then has, and that nothing that fails lets anybody in. */
#include <stdlib.h>
#include <unistd.h>

#include "auth/virgin.h"
#include "base/mem.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

enum { LOOPS = 2, CROWD = 64 };

extern const char sql_auth_0001_baseline[], sql_auth_0002_indexes[];

static struct postgres *pg;
static struct lab *lab;
static atomic_uint changes; /* how often the store was told */

/* In place of the store's, which this program has not. */
void store_changed(void)
{
    atomic_fetch_add(&changes, 1);
}

static void cluster_up(void)
{
    pg = postgres_start(NULL);
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_up(void)
{
    struct db_options o = lab_options();
    ath_err e;

    o.auth_client = "acme";
    o.pool_max = 4;
    lab = lab_start(&o, LOOPS);
    ck_assert_msg(db_client_put("acme", postgres_uri(pg), "config", &e) == 0, "%s", e.message);
    ck_assert_int_eq(ip_configure(&(struct ip_rules){ .trusted_proxies = ATH_S("") }, &e), 0);
    atomic_store(&changes, 0);
    postgres_sql(pg, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    postgres_sql(pg, sql_auth_0001_baseline);
    postgres_sql(pg, sql_auth_0002_indexes);
}

static void lab_down(void)
{
    lab_stop(lab);
}

/* ---- requests ---- */

struct learner {
    struct req r;
    uint8_t address[16];
    struct auth_key key;
    struct ip_policy policy;
    char said[160];              /* "passes", or code and text of the refusal */
    atomic_bool over;
};

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    struct learner *l = d->arg;

    if (d->rc == 0)
        snprintf(l->said, sizeof(l->said), "passes");
    else
        snprintf(l->said, sizeof(l->said), "%s: %s", err_entry(e)->code, e->message);
    task_end(t, 0, NULL, NULL);
    return 0;
}

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct learner *l = arg;
    int rc = virgin_learn(&l->r, &l->key, &l->policy, told, l, e);

    if (rc < 0) {
        snprintf(l->said, sizeof(l->said), "%s: %s", err_entry(e)->code, e->message);
        task_end(t, 0, NULL, NULL);
    }
    return 0;
}

static void learner_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    (void)rc, (void)e, (void)result;
    task_unref(t);
}

static void learner_over(ath_task *t)
{
    atomic_store(&container_of(t, struct learner, r.task)->over, true);
}

static const struct task_type learner_type = { .name = "learner", .end = learner_end,
                                               .destroy = learner_over };

static void learner_run(void *arg)
{
    struct learner *l = arg;
    ath_loop *loop = l->r.task.loop;

    task_init(&l->r.task, &learner_type, loop, NULL, NULL);
    task_run(&l->r.task, begin, l);
}

static struct learner *learner_new(const char *peer)
{
    struct learner *l = MEM_NEW(struct learner);

    if (*peer) {
        ck_assert(address_read(str_of(peer), l->address));
        l->r.peer_address = l->address;
    }
    l->r.peer = str_of(peer);
    l->key.internal = 1;
    l->key.public_id = ATH_S("0123456789abcdef");
    l->policy.learning = true;
    return l;
}

static void learner_send(struct learner *l, uint32_t loop)
{
    l->r.task.loop = lab_loop(lab, loop);
    loop_post(l->r.task.loop, learner_run, l);
}

static void learner_wait(struct learner *l)
{
    for (int i = 0; i < 20000 && !atomic_load(&l->over); i++)
        usleep(1000);
    ck_assert_msg(atomic_load(&l->over), "a learner hangs");
}

/* What a request from there is told. */
static const char *from(const char *peer)
{
    static char said[160];
    struct learner *l = learner_new(peer);

    learner_send(l, 0);
    learner_wait(l);
    memcpy(said, l->said, sizeof(said));
    free(l);
    return said;
}

#define REFUSED(peer) "ip_not_whitelisted: Client IP '" peer "' is not on this API key's whitelist."
#define UNAVAILABLE "ip_policy_unavailable: API key IP policy could not be evaluated ("

static void key(int until_requests, int addresses)
{
    char sql[512];

    snprintf(sql, sizeof(sql),
             "INSERT INTO api_keys (id, public_id, name, key_salt, key_hash, virgin_mode, "
             "virgin_until_n_requests, max_whitelist_ips) "
             "VALUES (1, '0123456789abcdef', 'k', 's', 'h', true, %d, %d)", until_requests, addresses);
    postgres_sql(pg, sql);
}

static void is(const char *sql, const char *expected)
{
    char got[256];

    postgres_value(pg, sql, got, sizeof(got));
    ck_assert_msg(strcmp(got, expected) == 0, "%s: \"%s\", expected \"%s\"", sql, got, expected);
}

static const char white[] =
    "SELECT coalesce(string_agg(addr || ' ' || label, ', ' ORDER BY id), '') FROM api_key_ip_whitelist";
static const char state[] =
    "SELECT virgin_resolved || ' ' || virgin_request_count || ' ' || (virgin_resolved_at IS NOT NULL) "
    "FROM api_keys";
static const char seen[] =
    "SELECT coalesce(string_agg(concat_ws(' ', addr, ipv4_address, hit_count, locked_in), ', ' "
    "ORDER BY id), '') FROM api_key_ip_seen";

/* ---- 21.11 ---- */

START_TEST(a_number_of_requests_locks_in)
{
    key(3, 0);
    ck_assert_str_eq(from("192.0.2.1"), "passes");
    ck_assert_str_eq(from("2001:db8::1"), "passes");
    is(state, "false 2 false");
    is(white, "");
    ck_assert_uint_eq(atomic_load(&changes), 0);
    ck_assert_str_eq(from("192.0.2.1"), "passes"); /* it locks in */
    is(state, "true 3 true");
    is(white, "192.0.2.1/32 virgin_learned, 2001:db8::1/128 virgin_learned");
    is(seen, "192.0.2.1 192.0.2.1 2 t, 2001:db8::1 2001:db8::1 1 t");
    ck_assert_uint_eq(atomic_load(&changes), 1);
    ck_assert_str_eq(from("192.0.2.9"), REFUSED("192.0.2.9"));
    ck_assert_str_eq(from("2001:db8::1"), "passes");
    is(state, "true 3 true");
}
END_TEST

START_TEST(a_number_of_addresses_locks_in)
{
    key(0, 2);
    for (int i = 0; i < 5; i++)
        ck_assert_str_eq(from("192.0.2.1"), "passes");
    is(state, "false 5 false");
    ck_assert_str_eq(from("192.0.2.2"), "passes");
    is(white, "192.0.2.1/32 virgin_learned, 192.0.2.2/32 virgin_learned");
    ck_assert_str_eq(from("192.0.2.3"), REFUSED("192.0.2.3"));
}
END_TEST

/* Whatever comes first; the list never has more than the cap, and the request that locks in passes. */
START_TEST(both_limits_and_the_cap)
{
    key(3, 2);
    postgres_sql(pg, "INSERT INTO api_key_ip_seen (api_key_id, addr, first_seen_at) VALUES "
                     "(1, '192.0.2.7', now() - interval '1 day'), "
                     "(1, '192.0.2.8', now() - interval '2 days'), (1, '192.0.2.9', now())");
    ck_assert_str_eq(from("192.0.2.1"), "passes");
    is(white, "192.0.2.8/32 virgin_learned, 192.0.2.7/32 virgin_learned");
    ck_assert_str_eq(from("192.0.2.1"), REFUSED("192.0.2.1"));
}
END_TEST

START_TEST(a_reset_starts_anew)
{
    key(1, 1);
    ck_assert_str_eq(from("192.0.2.1"), "passes");
    ck_assert_str_eq(from("192.0.2.2"), REFUSED("192.0.2.2"));
    postgres_sql(pg, "UPDATE api_keys SET virgin_resolved = false, virgin_resolved_at = NULL, "
                     "virgin_request_count = 0; DELETE FROM api_key_ip_seen");
    ck_assert_str_eq(from("192.0.2.2"), "passes");
    is(white, "192.0.2.1/32 virgin_learned, 192.0.2.2/32 virgin_learned"); /* the list was kept */
    is(state, "true 1 true");
}
END_TEST

/* 21.11: so many at once, over two loops with connections of their own. */
START_TEST(a_crowd_never_passes_the_cap)
{
    struct learner *l[CROWD];
    uint32_t passed = 0;
    char peer[CROWD][ADDRESS_ROOM];

    key(0, 5);
    for (int i = 0; i < CROWD; i++) {
        snprintf(peer[i], sizeof(peer[i]), "192.0.2.%d", i);
        l[i] = learner_new(peer[i]);
    }
    for (uint32_t i = 0; i < CROWD; i++)
        learner_send(l[i], i % LOOPS);
    for (int i = 0; i < CROWD; i++) {
        learner_wait(l[i]);
        passed += strcmp(l[i]->said, "passes") == 0;
        ck_assert_msg(strcmp(l[i]->said, "passes") == 0 || strncmp(l[i]->said, "ip_not_whitelisted", 18) == 0,
                      "%s", l[i]->said);
        free(l[i]);
    }
    ck_assert_uint_eq(passed, 5);
    is("SELECT count(*) FROM api_key_ip_whitelist", "5");
    is("SELECT count(*) FROM api_key_ip_seen WHERE locked_in", "5");
    is(state, "true 5 true");
}
END_TEST

/* The same with one address and a number of requests: nobody is counted twice, or after the end. */
START_TEST(a_crowd_is_counted_one_by_one)
{
    struct learner *l[CROWD];

    key(CROWD / 2, 0);
    for (uint32_t i = 0; i < CROWD; i++)
        learner_send(l[i] = learner_new("192.0.2.1"), i % LOOPS);
    for (int i = 0; i < CROWD; i++) {
        learner_wait(l[i]);
        ck_assert_str_eq(l[i]->said, "passes");
        free(l[i]);
    }
    is(seen, "192.0.2.1 192.0.2.1 32 t");
    is(state, "true 32 true");
    is(white, "192.0.2.1/32 virgin_learned");
}
END_TEST

/* ---- what others hear ---- */

static struct {
    struct ask *ask;
    atomic_bool begun;
    char bytes[64];
} ear;

static int listen_more(ath_task *t, ath_err *e);

static int heard(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    if (str_is(d->bytes, "[]")) {
        atomic_store(&ear.begun, true);
        return listen_more(t, e);
    }
    snprintf(ear.bytes, sizeof(ear.bytes), "%.*s", STR_ARG(d->bytes));
    ask_end(ear.ask);
    return 0;
}

static int listen_more(ath_task *t, ath_err *e)
{
    return db_listen(t, &ear.ask->q, heard, NULL, e);
}

static int listen_begin(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return listen_more(t, e);
}

/* Other processes hear of a lock-in from its own transaction. */
START_TEST(a_lock_in_is_told)
{
    key(1, 0);
    ear.ask = ask_new("acme", 0, "athena_auth_changed");
    ear.ask->instead = listen_begin;
    lab_send(lab, 0, &ear.ask, 1);
    for (int i = 0; i < 20000 && !atomic_load(&ear.begun); i++)
        usleep(1000);
    ck_assert_str_eq(from("192.0.2.1"), "passes");
    ck_assert(ask_wait(ear.ask, 20000));
    ck_assert_str_eq(ear.bytes, "[\"0123456789abcdef\"]");
    ask_free(ear.ask);
}
END_TEST

/* ---- D-10 ---- */

START_TEST(what_cannot_be_learned_is_refused)
{
    key(5, 0);
    postgres_sql(pg, "ALTER TABLE api_key_ip_seen DROP COLUMN ipv4_address");
    ck_assert_str_eq(from("192.0.2.1"), UNAVAILABLE "virgin).");
    is(state, "false 0 false"); /* nothing of it has happened */
    postgres_sql(pg, "ALTER TABLE api_key_ip_seen ADD COLUMN ipv4_address text");
    ck_assert_str_eq(from("192.0.2.1"), "passes");
    postgres_sql(pg, "DROP TABLE api_key_ip_whitelist CASCADE");
    ck_assert_str_eq(from("192.0.2.1"), UNAVAILABLE "virgin).");
}
END_TEST

/* A promotion that fails leaves the key learning, and the request that caused it outside. */
START_TEST(a_failed_promotion_resolves_nothing)
{
    key(1, 0);
    postgres_sql(pg, "ALTER TABLE api_key_ip_whitelist ADD CHECK (label <> 'virgin_learned')");
    ck_assert_str_eq(from("192.0.2.1"), UNAVAILABLE "virgin).");
    is(state, "false 0 false");
    is(seen, "");
}
END_TEST

START_TEST(resolved_with_an_empty_list_is_no_freedom)
{
    key(1, 0);
    postgres_sql(pg, "UPDATE api_keys SET virgin_resolved = true");
    ck_assert_str_eq(from("192.0.2.1"), UNAVAILABLE "key).");
    postgres_sql(pg, "DELETE FROM api_keys");
    ck_assert_str_eq(from("192.0.2.1"), UNAVAILABLE "virgin).");
}
END_TEST

START_TEST(a_database_that_is_gone_lets_nobody_in)
{
    key(5, 0);
    postgres_down(pg, "fast");
    ck_assert_str_eq(from("192.0.2.1"), UNAVAILABLE "virgin).");
    postgres_up(pg);
}
END_TEST

/* What the row says now holds, not what was in memory when the request came. */
START_TEST(what_changed_meanwhile_holds)
{
    key(5, 0);
    postgres_sql(pg, "INSERT INTO api_key_ip_blacklist (api_key_id, addr) VALUES (1, '192.0.2.66')");
    postgres_sql(pg, "UPDATE api_keys SET virgin_mode = false");
    ck_assert_str_eq(from("192.0.2.1"), "passes"); /* no list: from anywhere */
    ck_assert_str_eq(from("192.0.2.66"),
                     "ip_blacklisted: Client IP '192.0.2.66' is on this API key's blacklist.");
    postgres_sql(pg, "INSERT INTO api_key_ip_whitelist (api_key_id, addr) VALUES (1, '192.0.2.0/30')");
    ck_assert_str_eq(from("192.0.2.3"), "passes");
    ck_assert_str_eq(from("192.0.2.4"), REFUSED("192.0.2.4"));
    is(state, "false 0 false");
    ck_assert_uint_gt(atomic_load(&changes), 0);
}
END_TEST

/* Without any limit it learns until an operator promotes it, and remembers a bounded number. */
START_TEST(learning_without_an_end_is_bounded)
{
    key(0, 0);
    postgres_sql(pg, "INSERT INTO api_key_ip_seen (api_key_id, addr) "
                     "SELECT 1, '10.0.0.0'::inet + n FROM generate_series(0, 9998) n");
    ck_assert_str_eq(from("192.0.2.1"), "passes");
    ck_assert_str_eq(from("192.0.2.2"), "passes");
    is("SELECT count(*) FROM api_key_ip_seen", "10000");
    is(state, "false 2 false");
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("virgin");
    TCase *lock = tcase_create("lock-in"), *fail = tcase_create("failures");

    suite_add_tcase(s, lock);
    suite_add_tcase(s, fail);
    tcase_add_unchecked_fixture(lock, cluster_up, cluster_down);
    tcase_add_unchecked_fixture(fail, cluster_up, cluster_down);
    tcase_add_checked_fixture(lock, lab_up, lab_down);
    tcase_add_checked_fixture(fail, lab_up, lab_down);
    tcase_set_timeout(lock, 120);
    tcase_set_timeout(fail, 120);
    tcase_add_test(lock, a_number_of_requests_locks_in);
    tcase_add_test(lock, a_number_of_addresses_locks_in);
    tcase_add_test(lock, both_limits_and_the_cap);
    tcase_add_test(lock, a_reset_starts_anew);
    tcase_add_test(lock, a_crowd_never_passes_the_cap);
    tcase_add_test(lock, a_crowd_is_counted_one_by_one);
    tcase_add_test(lock, a_lock_in_is_told);
    tcase_add_test(fail, what_cannot_be_learned_is_refused);
    tcase_add_test(fail, a_failed_promotion_resolves_nothing);
    tcase_add_test(fail, resolved_with_an_empty_list_is_no_freedom);
    tcase_add_test(fail, a_database_that_is_gone_lets_nobody_in);
    tcase_add_test(fail, what_changed_meanwhile_holds);
    tcase_add_test(fail, learning_without_an_end_is_bounded);
    return s;
}
