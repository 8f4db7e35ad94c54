/* core/auth: the key store's memory: what is found, what is forgotten, and what holds without the
 * database. */
#include "auth/known.h"
#include "auth/store_priv.h"

#include "base/clock.h"
#include "base/mem.h"
#include "io/crypto.h"
#include "lib/text.h"
#include "support/check_main.h"

#define SECOND 1000000000ull

static uint64_t time_ns;

static uint64_t fake_clock(void)
{
    return time_ns;
}

static void setup_with(bool enforced)
{
    time_ns = 1000 * SECOND;
    clock_fake(fake_clock);
    store_start(&(struct store_options){
        .named = true, .enforced = enforced, .ttl_ms = 2000, .look_ms = 1000, .use_ms = 30000 });
}

static void setup(void)
{
    setup_with(false);
}

static void teardown(void)
{
    store_stop();
    clock_fake(NULL);
}

/* A key as it comes from its row. */
static struct auth_key *key_new(const char *id, const char *secret)
{
    static char text[2 * SHA256_HEX];
    size_t n = strlen(id);
    struct auth_key *k = mem_new(sizeof(*k) + n + SHA256_HEX);
    char *at = (char *)(k + 1);

    snprintf(text, sizeof(text), "salt:%s", secret);
    memcpy(at, id, n);
    crypto_sha256_hex(str_of(text), at + n);
    k->public_id = str_from(at, n);
    k->salt = ATH_S("salt");
    k->hash = str_from(at + n, SHA256_HEX - 1);
    k->row[0] = (uint64_t)(unsigned char)secret[0];
    atomic_store(&k->refs, 1);
    return k;
}

/* 'k': a key, 'm': known to be missing, '-': neither. */
static char found(const char *id)
{
    bool missing;
    const struct auth_key *k = store_find(str_of(id), &missing);

    auth_key_release(k);
    return k ? 'k' : missing ? 'm' : '-';
}

static bool shows(const char *id, const char *secret)
{
    bool missing;
    const struct auth_key *k = store_find(str_of(id), &missing);
    bool fits = auth_key_fits(k, str_of(secret));

    auth_key_release(k);
    return fits;
}

START_TEST(a_secret_fits_or_does_not)
{
    const char *const digits = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    char other[65];

    memory_key(key_new("one", digits), 1);
    memory_key(key_new("two", "short"), 1);
    for (int round = 0; round < 3; round++) {
        ck_assert(shows("one", digits));
        ck_assert(shows("two", "short"));
        for (size_t i = 0; i < 64; i++) {
            memcpy(other, digits, sizeof(other));
            other[i] ^= 1;
            ck_assert(!shows("one", other));
        }
        ck_assert(!shows("one", ""));
        ck_assert(!shows("two", "shor"));
        ck_assert(!shows("two", "short "));
        ck_assert(!shows("none", digits));
    }
}
END_TEST

START_TEST(D_16_what_is_missing_is_remembered_for_a_second)
{
    ck_assert_int_eq(found("x"), '-');
    memory_missing(ATH_S("x"), 1);
    ck_assert_int_eq(found("x"), 'm');
    time_ns += SECOND - 1000000;
    ck_assert_int_eq(found("x"), 'm');
    time_ns += 2000000;
    ck_assert_int_eq(found("x"), '-');
}
END_TEST

START_TEST(D_34_a_key_that_nobody_has_shown_lasts_as_long_as_a_missing_one)
{
    memory_key(key_new("tried", "secret"), 1);
    memory_key(key_new("shown", "secret"), 1);
    ck_assert(!shows("tried", "wrong"));
    ck_assert(shows("shown", "secret"));
    time_ns += 2 * SECOND;
    ck_assert_int_eq(found("tried"), '-');
    ck_assert_int_eq(found("shown"), 'k');
}
END_TEST

START_TEST(an_older_reading_says_nothing)
{
    memory_key(key_new("x", "new"), 7);
    memory_key(key_new("x", "old"), 6);
    memory_missing(ATH_S("x"), 5);
    ck_assert(shows("x", "new"));
    ck_assert(!shows("x", "old"));
    memory_missing(ATH_S("x"), 8);
    ck_assert_int_eq(found("x"), 'm');
    memory_key(key_new("x", "again"), 9);
    ck_assert(shows("x", "again"));
}
END_TEST

START_TEST(a_secret_that_was_changed_is_not_the_one_that_was_shown)
{
    memory_key(key_new("x", "first"), 1);
    ck_assert(shows("x", "first"));
    memory_key(key_new("x", "second"), 2);
    ck_assert(!shows("x", "first"));
    ck_assert(shows("x", "second"));
}
END_TEST

START_TEST(a_round_asks_for_what_is_in_use_and_forgets_what_is_gone)
{
    struct buf ids = BUF_HEAP;
    const struct auth_key *k;
    bool missing;

    memory_key(key_new("stays", "s"), 1);
    memory_key(key_new("goes", "s"), 1);
    memory_missing(ATH_S("never"), 1);
    ck_assert(shows("stays", "s") && shows("goes", "s"));
    k = store_find(ATH_S("stays"), &missing);
    auth_key_used(k, clock_ms());
    auth_key_release(k);
    memory_ids(&ids, 2);
    ck_assert(strstr(ids.p, "\"stays\"") && !strstr(ids.p, "never"));
    ck_assert(memory_has(ATH_S("stays"), (uint64_t[2]){ 's', 0 }, 2));
    memory_gone(2);
    ck_assert_int_eq(found("stays"), 'k');
    ck_assert_int_eq(found("goes"), '-');
    buf_free(&ids);
}
END_TEST

START_TEST(D_23_memory_is_bounded_and_keys_in_use_stay)
{
    char id[32];
    struct buf ids = BUF_HEAP;

    memory_key(key_new("mine", "s"), 1);
    ck_assert(shows("mine", "s"));
    for (int i = 0; i < 3 * OTHERS_MOST; i++) {
        snprintf(id, sizeof(id), "%016x", (unsigned)i * 2654435761u);
        memory_missing(str_of(id), 1);
    }
    ck_assert_int_eq(found("mine"), 'k');
    ck_assert_int_eq(found(id), 'm');
    time_ns += 2 * SECOND;
    memory_ids(&ids, 2);
    ck_assert_uint_lt(ids.n, 100);
    buf_free(&ids);
}
END_TEST

START_TEST(D_18_uses_are_told_once_in_an_interval)
{
    const struct auth_key *k;
    struct use use[4];
    bool missing;

    memory_key(key_new("x", "s"), 1);
    ck_assert(shows("x", "s"));
    ck_assert_uint_eq(memory_uses(use, 4, false), 0);
    k = store_find(ATH_S("x"), &missing);
    auth_key_used(k, clock_ms());
    time_ns += SECOND;
    ck_assert_uint_eq(memory_uses(use, 4, false), 1);
    ck_assert_uint_eq(use[0].ago_ms, 1000);
    auth_key_used(k, clock_ms() + 1);
    time_ns += 20 * SECOND;
    ck_assert_uint_eq(memory_uses(use, 4, false), 0);
    time_ns += 10 * SECOND;
    ck_assert_uint_eq(memory_uses(use, 4, false), 1);
    time_ns += 60 * SECOND;
    ck_assert_uint_eq(memory_uses(use, 4, false), 0);
    auth_key_used(k, clock_ms());
    ck_assert_uint_eq(memory_uses(use, 4, false), 1);
    time_ns += SECOND;
    auth_key_used(k, clock_ms());
    ck_assert_uint_eq(memory_uses(use, 4, false), 0);
    ck_assert_uint_eq(memory_uses(use, 4, true), 1); /* at the end, whenever the last one was */
    auth_key_release(k);
}
END_TEST

/* ---- without the database ---- */

static void read_tables(bool on)
{
    struct tables *t = MEM_NEW(struct tables);

    atomic_store(&t->refs, 1);
    t->global = t->any_on = on;
    t->digest[0] = 1 + on;
    memory_tables(t);
    memory_read(true, false);
}

/* 'y', 'n', or '?' when it is not known. */
static char enforced(void)
{
    bool on;

    return !store_enforced(ATH_S("app"), &on) ? '?' : on ? 'y' : 'n';
}

START_TEST(D_37_what_is_known_holds_for_half_a_minute)
{
    memory_key(key_new("x", "s"), 1);
    ck_assert_int_eq(store_state(), STORE_STARTING);
    ck_assert_int_eq(enforced(), '?');
    read_tables(true);
    ck_assert_int_eq(store_state(), STORE_WELL);
    ck_assert(shows("x", "s"));
    memory_read(false, true);
    ck_assert_int_eq(store_state(), STORE_STALE);
    ck_assert_int_eq(enforced(), 'y');
    time_ns += (HOLD_MS / 1000 + 1) * SECOND;
    memory_age();
    ck_assert_int_eq(store_state(), STORE_STALE);
    ck_assert_int_eq(found("x"), 'k');
    time_ns += 2 * SECOND;
    memory_age();
    ck_assert_int_eq(store_state(), STORE_LOST);
    ck_assert_int_eq(enforced(), '?');
    ck_assert_int_eq(found("x"), '-');
    read_tables(true);
    ck_assert_int_eq(enforced(), 'y');
    ck_assert_int_eq(found("x"), 'k');
}
END_TEST

START_TEST(D_3_a_lost_store_is_open_only_where_keys_were_never_enforced)
{
    read_tables(false);
    time_ns += 100 * SECOND;
    memory_age();
    ck_assert_int_eq(store_state(), STORE_LOST);
    ck_assert_int_eq(enforced(), 'n');
    read_tables(true);
    ck_assert_int_eq(enforced(), 'y');
    read_tables(false);
    ck_assert_int_eq(enforced(), 'n');
    time_ns += 100 * SECOND;
    memory_age();
    ck_assert_int_eq(enforced(), '?'); /* it was, once */
}
END_TEST

START_TEST(a_reading_that_does_not_end_counts_as_none)
{
    read_tables(true);
    time_ns += 10 * SECOND;
    memory_age();
    ck_assert_int_eq(store_state(), STORE_STALE);
}
END_TEST

START_TEST(what_the_configuration_closes_a_row_does_not_open)
{
    teardown();
    setup_with(true);
    read_tables(false);
    ck_assert_int_eq(enforced(), 'y');
    ck_assert(!store_open_somewhere());
}
END_TEST

/* ---- what a loop has just seen ---- */

#define HALF   "0123456789abcdef0123456789abcdef"
#define SECRET HALF HALF

static ath_str given(const char *id, const char *secret)
{
    static char text[256];

    return str_from(text, (size_t)snprintf(text, sizeof(text), "ath_%s.%s", id, secret));
}

/* As a request does it that has to look: the store's key, kept with what was known before. */
static void look_and_keep(const char *id, const char *client)
{
    uint64_t changes = store_changes_now();
    const struct auth_key *k;
    bool missing;

    k = store_find(str_of(id), &missing);
    ck_assert(auth_key_fits(k, ATH_S(SECRET)));
    known_keep(changes, given(id, SECRET), str_of(client), k, true);
    auth_key_release(k);
}

static bool is_known(const char *id, const char *secret, const char *client)
{
    const struct known *n = known_find(given(id, secret), str_of(client));

    return n && str_is(n->key->public_id, id) && n->enforced;
}

static void see(void)
{
    memory_key(key_new("00000000000000a1", SECRET), 1);
    read_tables(true);
    look_and_keep("00000000000000a1", "app");
    ck_assert(is_known("00000000000000a1", SECRET, "app"));
}

START_TEST(a_loop_knows_what_it_has_just_seen_and_nothing_else)
{
    ck_assert(!is_known("00000000000000a1", SECRET, "app"));
    see();
    ck_assert(!is_known("00000000000000a1", SECRET, "ap"));
    ck_assert(!is_known("00000000000000a1", SECRET, "two"));
    ck_assert(!is_known("00000000000000a1", SECRET, ""));
    ck_assert(!is_known("00000000000000a1", SECRET "0", "app"));
    ck_assert(!is_known("00000000000000a1", "1" HALF "123456789abcdef0123456789abcdef", "app"));
    ck_assert(!is_known("00000000000000a1", HALF, "app"));
    ck_assert(!is_known("00000000000000b1", SECRET, "app"));
    ck_assert(!is_known("0000000000000a1", SECRET, "app"));
    for (size_t i = 0; i < sizeof(SECRET) - 1; i++) { /* each digit counts */
        char other[] = SECRET;
        other[i] = other[i] == 'f' ? 'e' : 'f';
        ck_assert(!is_known("00000000000000a1", other, "app"));
    }
    look_and_keep("00000000000000a1", "two");
    ck_assert(is_known("00000000000000a1", SECRET, "two"));
}
END_TEST

/* 21.7: what is revoked, switched or listed is looked up again by the next request. */
START_TEST(whatever_changes_is_looked_up_again)
{
    see();
    memory_key(key_new("00000000000000a1", SECRET), 2); /* another row */
    ck_assert(!is_known("00000000000000a1", SECRET, "app"));
    look_and_keep("00000000000000a1", "app");
    memory_missing(ATH_S("00000000000000a1"), 3);
    ck_assert(!is_known("00000000000000a1", SECRET, "app"));
    memory_key(key_new("00000000000000a1", SECRET), 4);
    look_and_keep("00000000000000a1", "app");
    read_tables(false);
    ck_assert(!is_known("00000000000000a1", SECRET, "app"));
    look_and_keep("00000000000000a1", "app");
    time_ns += 100 * SECOND;
    memory_age(); /* the store is lost */
    ck_assert(!is_known("00000000000000a1", SECRET, "app"));
}
END_TEST

START_TEST(a_change_while_it_was_looked_up_counts)
{
    uint64_t changes = store_changes_now();
    const struct auth_key *k;
    bool missing;

    memory_key(key_new("00000000000000a1", SECRET), 1);
    k = store_find(ATH_S("00000000000000a1"), &missing);
    ck_assert(auth_key_fits(k, ATH_S(SECRET)));
    memory_missing(ATH_S("00000000000000a1"), 2);
    known_keep(changes, given("00000000000000a1", SECRET), ATH_S("app"), k, true);
    auth_key_release(k);
    ck_assert(!is_known("00000000000000a1", SECRET, "app"));
}
END_TEST

START_TEST(what_is_not_to_be_remembered_is_not_known)
{
    store_options.ttl_ms = 0;
    memory_key(key_new("00000000000000a1", SECRET), 1);
    look_and_keep("00000000000000a1", "app");
    ck_assert(!is_known("00000000000000a1", SECRET, "app"));
}
END_TEST

/* What loops know is not looked for in a shard, and stays there all the same while it is used. */
START_TEST(a_key_in_use_is_not_pushed_out_by_others_that_are_not)
{
    const struct auth_key *k;
    char id[32];

    see();
    k = known_find(given("00000000000000a1", SECRET), ATH_S("app"))->key;
    auth_key_hold(k);
    for (int i = 0; i < PROVEN_MOST + 1000; i++) {
        snprintf(id, sizeof(id), "%016x", i + 4096);
        memory_key(key_new(id, "s"), 2);
        ck_assert(shows(id, "s") && shows(id, "s"));
        auth_key_used(k, clock_ms());
    }
    auth_key_release(k);
    ck_assert_int_eq(found("00000000000000a1"), 'k');
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("store");
    TCase *t = tcase_create("memory");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_secret_fits_or_does_not);
    tcase_add_test(t, D_16_what_is_missing_is_remembered_for_a_second);
    tcase_add_test(t, D_34_a_key_that_nobody_has_shown_lasts_as_long_as_a_missing_one);
    tcase_add_test(t, an_older_reading_says_nothing);
    tcase_add_test(t, a_secret_that_was_changed_is_not_the_one_that_was_shown);
    tcase_add_test(t, a_round_asks_for_what_is_in_use_and_forgets_what_is_gone);
    tcase_add_test(t, D_23_memory_is_bounded_and_keys_in_use_stay);
    tcase_add_test(t, D_18_uses_are_told_once_in_an_interval);
    tcase_add_test(t, D_37_what_is_known_holds_for_half_a_minute);
    tcase_add_test(t, D_3_a_lost_store_is_open_only_where_keys_were_never_enforced);
    tcase_add_test(t, a_reading_that_does_not_end_counts_as_none);
    tcase_add_test(t, what_the_configuration_closes_a_row_does_not_open);
    tcase_add_test(t, a_loop_knows_what_it_has_just_seen_and_nothing_else);
    tcase_add_test(t, whatever_changes_is_looked_up_again);
    tcase_add_test(t, a_change_while_it_was_looked_up_counts);
    tcase_add_test(t, what_is_not_to_be_remembered_is_not_known);
    tcase_add_test(t, a_key_in_use_is_not_pushed_out_by_others_that_are_not);
    suite_add_tcase(s, t);
    return s;
}
