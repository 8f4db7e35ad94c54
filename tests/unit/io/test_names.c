/* Host names and kinds of addresses; digests against published examples. */
#include "base/err.h"
#include "io/crypto.h"
#include "io/resolve.h"
#include "lib/text.h"
#include "support/check_main.h"

START_TEST(addresses_are_told_apart)
{
    /* clang-format off */
    static const struct {
        const char *text;
        enum address_class is;
    } table[] = {
        { "8.8.8.8", ADDRESS_PUBLIC },        { "127.0.0.1", ADDRESS_LOOPBACK },
        { "0.0.0.0", ADDRESS_LOOPBACK },      { "10.1.2.3", ADDRESS_PRIVATE },
        { "172.15.0.1", ADDRESS_PUBLIC },     { "172.16.0.1", ADDRESS_PRIVATE },
        { "172.31.255.255", ADDRESS_PRIVATE },{ "172.32.0.0", ADDRESS_PUBLIC },
        { "192.168.0.1", ADDRESS_PRIVATE },   { "100.64.0.1", ADDRESS_PRIVATE },
        { "100.128.0.1", ADDRESS_PUBLIC },    { "169.254.169.254", ADDRESS_LINK_LOCAL },
        { "224.0.0.1", ADDRESS_SPECIAL },     { "255.255.255.255", ADDRESS_SPECIAL },
        { "223.255.255.255", ADDRESS_PUBLIC },{ "198.19.0.1", ADDRESS_SPECIAL },
        { "::1", ADDRESS_LOOPBACK },          { "::", ADDRESS_LOOPBACK },
        { "2606:4700::1", ADDRESS_PUBLIC },   { "[2606:4700::1]", ADDRESS_PUBLIC },
        { "fd00::1", ADDRESS_PRIVATE },       { "fe80::1", ADDRESS_LINK_LOCAL },
        { "::ffff:127.0.0.1", ADDRESS_LOOPBACK }, { "::ffff:8.8.8.8", ADDRESS_PUBLIC },
        { "64:ff9b::a00:1", ADDRESS_PRIVATE },{ "2002:a9fe:a9fe::1", ADDRESS_LINK_LOCAL },
        { "ff02::1", ADDRESS_SPECIAL },       { "2001:db8::1", ADDRESS_SPECIAL },
        { "::7f00:1", ADDRESS_LOOPBACK },
    };
    /* clang-format on */
    union address a;

    for (size_t i = 0; i < ATH_COUNT(table); i++) {
        ck_assert_msg(address_parse(str_of(table[i].text), &a), "%s", table[i].text);
        ck_assert_msg(address_class(&a) == table[i].is, "%s", table[i].text);
    }
    ck_assert(!address_parse(ATH_S("localhost"), &a));
    ck_assert(!address_parse(ATH_S("1.2.3"), &a));
    ck_assert(!address_parse(ATH_S(""), &a));
}
END_TEST

static ath_loop *l;
static unsigned answers, inside, expected;
static char seen[ADDRESS_TEXT];
static int last_rc;
static ath_err last_err;

static void on_done(struct resolve *r, int rc, const struct addresses *a, const ath_err *e)
{
    (void)r;
    ck_assert_uint_eq(inside, 0);
    last_rc = rc;
    if (rc < 0)
        err_copy(&last_err, e);
    else
        address_text(&a->at[0], seen);
    if (++answers == expected)
        loop_stop(l);
}

static void never(struct resolve *r, int rc, const struct addresses *a, const ath_err *e)
{
    (void)r, (void)rc, (void)a, (void)e;
    ck_abort_msg("it was canceled");
}

static void ask(unsigned n, struct resolve *r, const char *host)
{
    inside = 1;
    for (unsigned i = 0; i < n; i++) {
        r[i].done = on_done;
        resolve_start(l, &r[i], str_of(host));
    }
    inside = 0;
}

START_TEST(names_are_resolved_later_and_once)
{
    struct resolve r[300], gone = { .done = never };
    char name[64];
    ath_err e;

    err_reset(&e);
    err_reset(&last_err);
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    expected = 3;
    ask(3, r, "localhost");
    resolve_start(l, &gone, ATH_S("localhost"));
    resolve_cancel(&gone);
    loop_run(l);
    ck_assert_int_eq(last_rc, 0);
    ck_assert(strcmp(seen, "127.0.0.1") == 0 || strcmp(seen, "::1") == 0);
    loop_free(l);

    answers = 0;
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    expected = 2;
    ask(1, r, "192.0.2.7");
    ask(1, r + 1, "");
    loop_run(l);
    ck_assert_str_eq(seen, "192.0.2.7");
    ck_assert_int_eq(last_rc, ATH_E_INPUT);
    loop_free(l);

    answers = 0; /* more names than are kept; none of them exists */
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    expected = 300;
    for (unsigned i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "no host %u", i);
        ask(1, r + i, name);
    }
    loop_run(l);
    ck_assert_int_eq(last_rc, ATH_E_UPSTREAM);
    ck_assert_ptr_nonnull(
        strstr(err_get(&last_err, "message").p, "could not resolve host \"no host"));
    loop_free(l);
}
END_TEST

START_TEST(digests_match_published_examples)
{
    char text[SHA256_HEX];

    crypto_sha256_hex(ATH_S("abc"), text); /* FIPS 180-4 */
    ck_assert_str_eq(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypto_sha256_hex(ATH_S(""), text);
    ck_assert_str_eq(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    crypto_hmac_sha256_hex(ATH_S("Jefe"), ATH_S("what do ya want for nothing?"),
                           text); /* RFC 4231, 2 */
    ck_assert_str_eq(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    crypto_hmac_sha256_hex((ath_str){ NULL, 0 }, ATH_S(""), text);
    ck_assert_str_eq(text, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}
END_TEST

SUITE("names", addresses_are_told_apart, names_are_resolved_later_and_once,
      digests_match_published_examples)
