/* Why a key would be let through: line by line, by the parts of the check. */
#include <stdlib.h>

#include "auth/explain.h"
#include "support/check_main.h"

static const ath_str granted[] = { { "users.read", 10 }, { "gateway.query", 13 } };

struct question {
    struct explain_ask ask;
    struct auth_key key;
    struct explain_facts facts;
    struct ip_policy policy;
};

/* A good key, asked about what it may do. */
static void question(struct question *q)
{
    const struct right_rules rules = { .protected_schemas = { "athena", 6 } };

    right_configure(&rules);
    memset(q, 0, sizeof(*q));
    q->ask.right = (ath_right){ ATH_S("public"), ATH_S("users"), ATH_S("read") };
    q->ask.client = ATH_S("acme");
    q->key.active = true;
    q->key.rights = right_set_new(granted, 2);
    q->facts = (struct explain_facts){
        .store = STORE_WELL, .enforced = 1, .now_us = 1750000000000000, .policy = &q->policy
    };
}

/* The document has all of `part`s; then the question's set is freed. */
static void says(struct question *q, const char *const *part)
{
    struct buf b = BUF_HEAP;

    explain(&q->ask, &q->key, &q->facts, &b);
    for (; *part; part++)
        ck_assert_msg(strstr(b.p, *part), "%s\nexpected: %s", b.p, *part);
    buf_free(&b);
    right_set_free(q->key.rights);
}
#define SAYS(q, ...) says(q, (const char *const[]){ __VA_ARGS__, NULL })

START_TEST(what_is_allowed_names_the_right_that_covers_it)
{
    struct question q;

    question(&q);
    SAYS(&q, "{\"allowed\":true,\"enforced\":true,\"lines\":[{\"check\":\"store\",\"verdict\":\"yes\"",
         "{\"check\":\"enforced\",\"verdict\":\"yes\",\"why\":\"keys are asked for of client \\\"acme\\\"\"}",
         "{\"check\":\"active\",\"verdict\":\"yes\",\"why\":\"it is active\"}",
         "{\"check\":\"expiry\",\"verdict\":\"yes\",\"why\":\"it never expires\"}",
         "{\"check\":\"client\",\"verdict\":\"yes\",\"why\":\"it is bound to no client\"}",
         "{\"check\":\"right\",\"verdict\":\"yes\",\"why\":\"\\\"users.read\\\" is granted and covers users.read on "
         "table public.users\"}",
         "{\"check\":\"address\",\"verdict\":\"note\",\"why\":\"no list of addresses holds for it\"}]",
         "\"required\":\"users.read\",\"summary\":\"allowed\"}");
}
END_TEST

START_TEST(what_is_missing_is_said_in_the_words_of_the_refusal)
{
    struct question q;

    question(&q);
    q.ask.right.action = ATH_S("write");
    SAYS(&q, "\"allowed\":false", "{\"check\":\"right\",\"verdict\":\"no\",\"why\":\"Missing required rights: users.write, "
         "for table public.users. It has: gateway.query, users.read\"}",
         "\"summary\":\"Missing required rights: users.write");
    question(&q);
    q.ask.right = (ath_right){ 0 };
    q.ask.name = ATH_S("gateway.rpc.execute");
    SAYS(&q, "\"allowed\":false", "Missing required rights: gateway.rpc.execute. It has", "\"required\":\"gateway.rpc.execute\"");
}
END_TEST

START_TEST(D_7_a_protected_schema_needs_its_name)
{
    struct question q;

    question(&q);
    q.ask.right.schema = ATH_S("athena");
    SAYS(&q, "\"allowed\":false", "\"required\":\"athena.users.read\"");
}
END_TEST

START_TEST(what_is_wrong_with_a_key_is_told_each)
{
    struct question q;

    question(&q);
    q.key.active = false;
    q.key.expires_us = 1740000000000000;
    q.key.client = ATH_S("two");
    q.key.client_shown = ATH_S("Two");
    q.key.rights = (right_set_free(q.key.rights), NULL);
    SAYS(&q, "{\"check\":\"active\",\"verdict\":\"no\",\"why\":\"The API key has been disabled.\"}",
         "{\"check\":\"expiry\",\"verdict\":\"no\",\"why\":\"The API key has expired. (2025-02-19T21:20:00Z)\"}",
         "{\"check\":\"client\",\"verdict\":\"no\",\"why\":\"The API key is scoped to client 'Two', not 'acme'.\"}",
         "It has none.", "\"summary\":\"The API key has been disabled.\"");
    question(&q);
    q.key.expires_us = 1760000000000000;
    q.key.client = ATH_S("acme");
    q.key.client_shown = ATH_S("ACME");
    SAYS(&q, "\"allowed\":true", "it expires at 2025-10-09T08:53:20Z", "it is bound to client \\\"ACME\\\"");
}
END_TEST

START_TEST(enforcement_and_the_store_are_notes)
{
    struct question q;

    question(&q);
    q.facts.enforced = 0;
    q.facts.store = STORE_STALE;
    SAYS(&q, "\"allowed\":true,\"enforced\":false", "{\"check\":\"store\",\"verdict\":\"note\"", "keys are not asked for of client");
    question(&q);
    q.facts.enforced = -1;
    q.facts.store = STORE_LOST;
    SAYS(&q, "\"enforced\":null", "it is not known whether keys are asked for", "api_key_fail_mode");
}
END_TEST

static struct ip_set *set_of(const char *network)
{
    struct network net;

    ck_assert(network_read(str_of(network), &net));
    return ip_set_new(&net, 1);
}

static void from(struct question *q, const char *address)
{
    q->ask.address = str_of(address);
    ck_assert(address_read(q->ask.address, q->ask.bytes));
}

START_TEST(addresses_are_judged_by_the_lists)
{
    struct ip_set *white = set_of("10.1.0.0/16"), *black = set_of("10.1.2.0/24");
    struct question q;

    question(&q);
    q.policy = (struct ip_policy){ .white = white, .black = black };
    SAYS(&q, "\"allowed\":true", "ask with one to know");
    question(&q);
    q.policy = (struct ip_policy){ .white = white, .black = black };
    from(&q, "10.1.3.4");
    SAYS(&q, "\"allowed\":true", "10.1.3.4 may use it, by the lists of addresses");
    question(&q);
    q.policy = (struct ip_policy){ .white = white, .black = black };
    from(&q, "10.1.2.4");
    SAYS(&q, "\"allowed\":false", "Client IP '10.1.2.4' is on this API key's blacklist.");
    question(&q);
    q.policy = (struct ip_policy){ .white = white };
    from(&q, "::ffff:192.0.2.1");
    SAYS(&q, "\"allowed\":false", "is not on this API key's whitelist.");
    question(&q);
    q.policy = (struct ip_policy){ .learning = true };
    from(&q, "192.0.2.1");
    SAYS(&q, "\"allowed\":true", "the key still learns its addresses");
    question(&q);
    q.policy = (struct ip_policy){ .wanting = true };
    from(&q, "192.0.2.1");
    SAYS(&q, "\"allowed\":false", "API key IP policy could not be evaluated (key).");
    ip_set_free(white);
    ip_set_free(black);
}
END_TEST

SUITE("explain", what_is_allowed_names_the_right_that_covers_it, what_is_missing_is_said_in_the_words_of_the_refusal,
      D_7_a_protected_schema_needs_its_name, what_is_wrong_with_a_key_is_told_each,
      enforcement_and_the_store_are_notes, addresses_are_judged_by_the_lists)
