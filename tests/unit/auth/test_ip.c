/* core/auth: whose request it is, sets of networks, and from where a key may be used. */
#include "auth/ip.h"

#include "base/err.h"
#include "base/rand.h"
#include "support/check_main.h"

enum { HEADERS = 8 };

static const ath_str proxies = { "127.0.0.0/8,::1/128,10.0.0.0/8,fc00::/7", 39 };

static struct asker {
    struct req r;
    struct peer peer;
    ath_pair header[HEADERS];
} asker;

static void ask_from(const char *peer)
{
    memset(&asker, 0, sizeof(asker));
    arena_init(&asker.r.task.arena);
    if (*peer) {
        ck_assert(address_read(str_of(peer), asker.peer.address));
        asker.peer.known = true;
        asker.peer.n = (uint8_t)address_write(asker.peer.address, asker.peer.text);
        asker.r.peer_address = asker.peer.address;
    }
    asker.r.peer = str_from(asker.peer.text, asker.peer.n);
    asker.r.header = asker.header;
}

static void ask_with(const char *name, const char *value)
{
    asker.header[asker.r.header_count++] = (ath_pair){ str_of(name), str_of(value) };
    asker.r.header_bits |= name_bit(str_of(name));
}

/* The address by the rules for keys, and by those for logs; the request is over then. */
static const char *addresses(void)
{
    static char text[128];
    ath_str key = ip_of(&asker.r), log = ip_of_for_logs(&asker.r);
    uint8_t bytes[16];
    char again[ADDRESS_ROOM] = "";

    ck_assert_ptr_eq(ip_of(&asker.r).p, key.p); /* worked out once */
    if (ip_bytes_of(&asker.r, bytes))
        address_write(bytes, again);
    ck_assert(str_is(key, again));
    snprintf(text, sizeof(text), "%.*s %.*s", STR_ARG(key), STR_ARG(log));
    arena_free(&asker.r.task.arena);
    return text;
}

static void rules(bool in_rules, bool in_logs)
{
    ath_err e;

    ck_assert_int_eq(ip_configure(&(struct ip_rules){ proxies, in_logs, in_rules }, &e), 0);
}

static const char *of(const char *peer, const char *real, const char *forwarded)
{
    ask_from(peer);
    if (real)
        ask_with("x-real-ip", real);
    if (forwarded)
        ask_with("x-forwarded-for", forwarded);
    return addresses();
}

/* D-8, 21.10: whoever is no proxy of ours speaks for himself alone. */
START_TEST(a_strangers_headers_say_nothing)
{
    rules(true, true);
    ck_assert_str_eq(of("203.0.113.9", NULL, NULL), "203.0.113.9 203.0.113.9");
    ck_assert_str_eq(of("203.0.113.9", "10.1.1.1", "10.1.1.1"), "203.0.113.9 203.0.113.9");
    ck_assert_str_eq(of("2001:db8::9", "::1", NULL), "2001:db8::9 2001:db8::9");
    ck_assert_str_eq(of("", NULL, NULL), " ");
}
END_TEST

START_TEST(a_trusted_proxy_says_who_asks)
{
    rules(true, true);
    ck_assert_str_eq(of("10.0.0.1", "203.0.113.9", "198.51.100.7"), "203.0.113.9 203.0.113.9");
    ck_assert_str_eq(of("fd00::1", " 2001:DB8:0::9 ", NULL), "2001:db8::9 2001:db8::9");
    ck_assert_str_eq(of("", "203.0.113.9", NULL), "203.0.113.9 203.0.113.9");
    ck_assert_str_eq(of("10.0.0.1", "unknown", "198.51.100.7"), "198.51.100.7 198.51.100.7");
    ck_assert_str_eq(of("10.0.0.1", "unknown", NULL), "10.0.0.1 10.0.0.1");
}
END_TEST

/* D-8: each hop is believed as long as the one behind it is trusted; what a caller puts in front of
 * what the proxies add is never reached. */
START_TEST(hops_are_walked_from_the_right)
{
    rules(true, true);
    ck_assert_str_eq(of("10.0.0.1", NULL, "6.6.6.6, 203.0.113.9, 10.0.0.2"), "203.0.113.9 203.0.113.9");
    ck_assert_str_eq(of("10.0.0.1", NULL, "10.7.7.7, 10.0.0.2"), "10.7.7.7 10.7.7.7");
    ck_assert_str_eq(of("10.0.0.1", NULL, "203.0.113.9, rubbish, 10.0.0.2"), "10.0.0.2 10.0.0.2");
    ck_assert_str_eq(of("10.0.0.1", NULL, "203.0.113.9,"), "10.0.0.1 10.0.0.1");
    ck_assert_str_eq(of("10.0.0.1", NULL, "203.0.113.9:4711"), "203.0.113.9 203.0.113.9");
    ck_assert_str_eq(of("10.0.0.1", NULL, "[2001:db8::9]:4711"), "2001:db8::9 2001:db8::9");
    ck_assert_str_eq(of("10.0.0.1", NULL, "[2001:db8::9"), "10.0.0.1 10.0.0.1");
    ck_assert_str_eq(of("10.0.0.1", NULL, "2001:db8::9"), "2001:db8::9 2001:db8::9");
}
END_TEST

START_TEST(repeated_headers_are_one_list)
{
    rules(true, true);
    ask_from("10.0.0.1");
    ask_with("x-forwarded-for", "6.6.6.6");
    ask_with("x-forwarded-for", "203.0.113.9");
    ask_with("x-forwarded-for", "10.0.0.2");
    ck_assert_str_eq(addresses(), "203.0.113.9 203.0.113.9");
    ask_from("10.0.0.1");
    ask_with("x-real-ip", "6.6.6.6");
    ask_with("x-real-ip", "203.0.113.9");
    ck_assert_str_eq(addresses(), "203.0.113.9 203.0.113.9");
}
END_TEST

START_TEST(a_walk_ends)
{
    char list[4096] = "203.0.113.9";
    size_t n = strlen(list);

    rules(true, true);
    while (n + 10 < sizeof(list))
        n += (size_t)snprintf(list + n, sizeof(list) - n, ",10.0.0.2");
    ck_assert_str_eq(of("10.0.0.1", NULL, list), "10.0.0.2 10.0.0.2");
}
END_TEST

/* D-8: the two flags keep their names and their meaning: whether X-Forwarded-For counts. */
START_TEST(flags_say_where_forwarded_for_counts)
{
    rules(false, true);
    ck_assert_str_eq(of("10.0.0.1", NULL, "203.0.113.9"), "10.0.0.1 203.0.113.9");
    ck_assert_str_eq(of("10.0.0.1", "198.51.100.7", "203.0.113.9"), "198.51.100.7 198.51.100.7");
    rules(true, false);
    ck_assert_str_eq(of("10.0.0.1", NULL, "203.0.113.9"), "203.0.113.9 10.0.0.1");
}
END_TEST

/* 21.10: ::ffff:10.1.2.3 is 10.1.2.3, whoever says it. */
START_TEST(mapped_addresses_are_folded)
{
    rules(true, true);
    ck_assert_str_eq(of("::ffff:203.0.113.9", NULL, NULL), "203.0.113.9 203.0.113.9");
    ck_assert_str_eq(of("::ffff:10.0.0.1", "::FFFF:cb00:7109", NULL), "203.0.113.9 203.0.113.9");
    ck_assert_str_eq(of("10.0.0.1", NULL, "203.0.113.9, ::ffff:10.0.0.3"), "203.0.113.9 203.0.113.9");
}
END_TEST

START_TEST(what_is_no_network_stops_the_start)
{
    char many[2048] = "";
    ath_err e;

    ck_assert_int_eq(ip_configure(&(struct ip_rules){ .trusted_proxies = ATH_S("10.0.0.0/8, nonsense") }, &e),
                     ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "\"nonsense\" in gateway.trusted_proxies is no network");
    for (size_t i = 0; i < 65; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "10.0.0.%zu,", i);
    ck_assert_int_eq(ip_configure(&(struct ip_rules){ .trusted_proxies = str_of(many) }, &e), ATH_E_CONFIG);
    rules(true, true);
}
END_TEST

/* ---- sets ---- */

static struct ip_set *set_of(const char *list)
{
    struct network net[16];
    ath_str bad;
    int n = networks_read(str_of(list), net, ATH_COUNT(net), &bad);

    ck_assert_int_ge(n, 0);
    return ip_set_new(net, (size_t)n);
}

static bool holds(const struct ip_set *s, const char *address)
{
    uint8_t at[16];

    ck_assert(address_read(str_of(address), at));
    return ip_set_has(s, at);
}

START_TEST(sets_hold_networks_of_both_families)
{
    struct ip_set *s = set_of("10.1.0.0/16, 192.0.2.7, 2001:db8:1::/48, ::1");

    ck_assert(holds(s, "10.1.255.255") && !holds(s, "10.2.0.0"));
    ck_assert(holds(s, "192.0.2.7") && !holds(s, "192.0.2.6"));
    ck_assert(holds(s, "2001:db8:1:ffff::1") && !holds(s, "2001:db8:2::"));
    ck_assert(holds(s, "::1") && !holds(s, "::2") && holds(s, "::ffff:10.1.2.3"));
    ip_set_free(s);
    ck_assert_ptr_null(ip_set_new(NULL, 0));
    ck_assert(!holds(NULL, "::1"));
}
END_TEST

/* auth.md 7.1: the families do not meet, except where an address is written mapped. */
START_TEST(families_stay_apart)
{
    struct ip_set *all6 = set_of("::/0"), *all4 = set_of("0.0.0.0/0"), *mapped = set_of("::ffff:10.0.0.0/104");

    ck_assert(holds(all6, "2001:db8::1") && !holds(all6, "10.0.0.1"));
    ck_assert(holds(all4, "10.0.0.1") && holds(all4, "::ffff:10.0.0.1") && !holds(all4, "2001:db8::1"));
    ck_assert(holds(mapped, "10.9.9.9") && !holds(mapped, "11.0.0.1"));
    ip_set_free(all6);
    ip_set_free(all4);
    ip_set_free(mapped);
}
END_TEST

static bool holds_plainly(const struct network *net, size_t n, const uint8_t at[16])
{
    for (size_t i = 0; i < n; i++)
        if (network_has(&net[i], at) && (net[i].bits >= 96 || !address_is_v4(at)))
            return true;
    return false;
}

/* Few different bytes, so that many lie in each other's networks. */
static void some_address(uint8_t ret[16])
{
    static const uint8_t mapped[12] = { [10] = 0xFF, 0xFF };

    for (int i = 0; i < 16; i++)
        ret[i] = (uint8_t)(rand_u64() % 3 ? 0 : rand_u64() & 0x81);
    if (rand_u64() % 2)
        memcpy(ret, mapped, sizeof(mapped));
}

/* The same as a look at each network, for any networks and addresses. */
START_TEST(sets_agree_with_a_plain_search)
{
    enum { ROUNDS = 300, MOST = 200, LOOKS = 200 };
    struct network net[MOST];
    uint32_t hits = 0;

    for (int round = 0; round < ROUNDS; round++) {
        size_t n = 1 + rand_u64() % MOST;
        struct ip_set *s;
        for (size_t i = 0; i < n; i++) {
            some_address(net[i].address);
            net[i].bits = (uint8_t)(address_is_v4(net[i].address) ? 96 + rand_u64() % 33 : rand_u64() % 129);
        }
        s = ip_set_new(net, n);
        for (int i = 0; i < LOOKS; i++) {
            uint8_t at[16];
            some_address(at);
            ck_assert_int_eq(ip_set_has(s, at), holds_plainly(net, n, at));
            hits += ip_set_has(s, at);
        }
        ip_set_free(s);
    }
    ck_assert_uint_gt(hits, ROUNDS * LOOKS / 100);
    ck_assert_uint_lt(hits, ROUNDS * LOOKS);
}
END_TEST

/* ---- policies ---- */

/* Sets that are freed behind each row. */
struct lists {
    const char *white, *black, *all_white[2], *all_black[2];
    bool learning, wanting;
};

static const char *verdict(const char *peer, struct lists l)
{
    static char text[256];
    struct ip_set *s[6] = { 0 };
    const char *const list[6] = { l.white, l.black, l.all_white[0], l.all_white[1], l.all_black[0],
                                  l.all_black[1] };
    const char *reason = "untouched";
    struct ip_policy p;
    ath_err e;
    int rc;

    err_reset(&e);
    for (int i = 0; i < 6; i++)
        s[i] = list[i] ? set_of(list[i]) : NULL;
    p = (struct ip_policy){ s[0], s[1], { s[2], s[3] }, { s[4], s[5] }, l.learning, l.wanting };
    ask_from(peer);
    rc = ip_check(&p, &asker.r, &reason, &e);
    for (int i = 0; i < 6; i++)
        ip_set_free(s[i]);
    arena_free(&asker.r.task.arena);
    if (rc == 0)
        return reason ? "allowed, with a reason" : "allowed";
    ck_assert_int_eq((int)err_entry(&e)->status, 403);
    snprintf(text, sizeof(text), "%s | %.*s | %s", reason, STR_ARG(err_get(&e, "title")), e.message);
    return text;
}

#define L(...) ((struct lists){ __VA_ARGS__ })

#define UNKNOWN                                                                                         \
    "ip_required_for_key | Client IP required | API key IP policy requires a resolvable client IP for " \
    "this request."

START_TEST(a_key_without_lists_works_from_anywhere)
{
    ck_assert_str_eq(verdict("203.0.113.9", L(0)), "allowed");
    ck_assert_str_eq(verdict("", L(0)), "allowed");
}
END_TEST

START_TEST(an_address_is_needed_where_there_are_rules)
{
    ck_assert_str_eq(verdict("", L(.white = "10.0.0.0/8")), UNKNOWN);
    ck_assert_str_eq(verdict("", L(.black = "10.0.0.0/8")), UNKNOWN);
    ck_assert_str_eq(verdict("", L(.all_white = { "10.0.0.0/8" })), UNKNOWN);
    ck_assert_str_eq(verdict("", L(.all_black = { NULL, "10.0.0.0/8" })), UNKNOWN);
    ck_assert_str_eq(verdict("", L(.learning = true)), UNKNOWN);
}
END_TEST

/* 21.10: hit and miss, CIDR, IPv6, mapped. */
START_TEST(whitelists_let_in_who_is_on_them)
{
    struct lists l = { .white = "192.0.2.0/24,2001:db8::/32" };

    ck_assert_str_eq(verdict("192.0.2.200", l), "allowed");
    ck_assert_str_eq(verdict("::ffff:192.0.2.200", l), "allowed");
    ck_assert_str_eq(verdict("2001:db8:9::1", l), "allowed");
    ck_assert_str_eq(verdict("192.0.3.1", l),
                     "ip_not_whitelisted | IP not allowed | Client IP '192.0.3.1' is not on this API "
                     "key's whitelist.");
    ck_assert_str_eq(verdict("192.0.3.1", L(.all_white = { "192.0.2.0/24" })),
                     "ip_not_in_global_whitelist | IP not allowed | Client IP '192.0.3.1' is not on the "
                     "global whitelist for this deployment.");
    ck_assert_str_eq(verdict("192.0.3.1", L(.all_white = { "192.0.2.0/24", "192.0.3.1" })), "allowed");
    ck_assert_str_eq(verdict("192.0.2.1", L(.all_white = { NULL, "192.0.2.0/24" })), "allowed");
    ck_assert_str_eq(verdict("192.0.2.1", L(.white = "192.0.2.1", .all_white = { "10.0.0.0/8" })),
                     "ip_not_in_global_whitelist | IP not allowed | Client IP '192.0.2.1' is not on the "
                     "global whitelist for this deployment.");
}
END_TEST

/* 21.10: a blacklist beats a whitelist, and everybody's beats the key's. */
START_TEST(blacklists_win)
{
    ck_assert_str_eq(verdict("192.0.2.1", L(.white = "192.0.2.1", .black = "192.0.2.0/24")),
                     "ip_blacklisted | IP blocked | Client IP '192.0.2.1' is on this API key's blacklist.");
    ck_assert_str_eq(verdict("192.0.2.1", L(.white = "192.0.2.1", .black = "192.0.2.1",
                                            .all_white = { "192.0.2.1" }, .all_black = { "192.0.2.1" })),
                     "ip_global_blacklisted | IP blocked | Client IP '192.0.2.1' is on the global blacklist.");
    ck_assert_str_eq(verdict("192.0.2.1", L(.learning = true, .all_black = { NULL, "192.0.2.1" })),
                     "ip_global_blacklisted | IP blocked | Client IP '192.0.2.1' is on the global blacklist.");
    ck_assert_str_eq(verdict("192.0.2.2", L(.black = "192.0.2.1")), "allowed");
}
END_TEST

START_TEST(learning_keys_look_at_no_whitelist)
{
    ck_assert_str_eq(verdict("192.0.2.1", L(.learning = true, .white = "10.0.0.0/8",
                                            .all_white = { "10.0.0.0/8" })), "allowed");
}
END_TEST

/* D-10: a resolved key with an empty list is an error, not free for all. */
START_TEST(what_cannot_be_told_is_refused)
{
    const char *reason;
    ath_err e;

    ck_assert_str_eq(verdict("192.0.2.1", L(.wanting = true)),
                     "ip_policy_unavailable | IP policy unavailable | API key IP policy could not be "
                     "evaluated (key).");
    err_reset(&e);
    ck_assert_int_lt(ip_unavailable("virgin", &reason, &e), 0);
    ck_assert_str_eq(reason, "ip_policy_unavailable");
    ck_assert_str_eq(e.message, "API key IP policy could not be evaluated (virgin).");
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("ip");
    TCase *who = tcase_create("who asks"), *sets = tcase_create("sets"), *policy = tcase_create("policy");

    tcase_add_test(who, a_strangers_headers_say_nothing);
    tcase_add_test(who, a_trusted_proxy_says_who_asks);
    tcase_add_test(who, hops_are_walked_from_the_right);
    tcase_add_test(who, repeated_headers_are_one_list);
    tcase_add_test(who, a_walk_ends);
    tcase_add_test(who, flags_say_where_forwarded_for_counts);
    tcase_add_test(who, mapped_addresses_are_folded);
    tcase_add_test(who, what_is_no_network_stops_the_start);
    tcase_add_test(sets, sets_hold_networks_of_both_families);
    tcase_add_test(sets, families_stay_apart);
    tcase_add_test(sets, sets_agree_with_a_plain_search);
    tcase_add_test(policy, a_key_without_lists_works_from_anywhere);
    tcase_add_test(policy, an_address_is_needed_where_there_are_rules);
    tcase_add_test(policy, whitelists_let_in_who_is_on_them);
    tcase_add_test(policy, blacklists_win);
    tcase_add_test(policy, learning_keys_look_at_no_whitelist);
    tcase_add_test(policy, what_cannot_be_told_is_refused);
    suite_add_tcase(s, who);
    suite_add_tcase(s, sets);
    suite_add_tcase(s, policy);
    return s;
}
