/* Sealing, the key ring, and what is shown of a URI. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/crypto.h"
#include "io/secrets.h"
#include "lib/uri.h"
#include "support/check_main.h"

#define OLD "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"
#define OLD_BASE64 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define NEW "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static ath_err e;

static void start(const char *keys)
{
    secrets_stop();
    err_reset(&e);
    ck_assert_int_eq(secrets_start(str_of(keys), &e), 0);
}

static char *sealed(const char *text)
{
    struct buf b = BUF_HEAP;

    secrets_seal(&b, str_of(text));
    return b.p;
}

static int opened(const char *stored, struct buf *b)
{
    buf_reset(b);
    err_reset(&e);
    return secrets_open(b, str_of(stored), &e);
}

START_TEST(known_answer)
{
    /* The 16th test case of the GCM specification, without its additional data. */
    uint8_t key[SEAL_KEY] = { 0 }, out[64];
    static const uint8_t from[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* nonce */
                                    0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e, 0x07, 0x4e,
                                    0xc5, 0xd3, 0xba, 0xf3, 0x9d, 0x18, /* text */
                                    0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99, 0x6b, 0xf0, 0x26, 0x5b,
                                    0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19 }; /* tag */

    ck_assert(crypto_open(key, ATH_S(""), str_from((const char *)from, sizeof(from)), out));
    for (size_t i = 0; i < 16; i++)
        ck_assert_uint_eq(out[i], 0);
}
END_TEST

START_TEST(sealing)
{
    uint8_t key[SEAL_KEY] = "0123456789abcdef0123456789abcde", box[64] = { 0 }, out[64];
    ath_str text = ATH_S("a secret"), all = str_from((char *)box, text.n + SEAL_MORE);

    crypto_seal(key, ATH_S("here"), text, box);
    ck_assert(crypto_open(key, ATH_S("here"), all, out));
    ck_assert_mem_eq(out, text.p, text.n);
    ck_assert(!crypto_open(key, ATH_S("there"), all, out));
    for (size_t i = 0; i < all.n; i++) { /* whatever bit is changed */
        box[i] ^= 1;
        ck_assert(!crypto_open(key, ATH_S("here"), all, out));
        box[i] ^= 1;
    }
    key[0] ^= 1;
    ck_assert(!crypto_open(key, ATH_S("here"), all, out));
    ck_assert(!crypto_open(key, ATH_S("here"), str_from((char *)box, SEAL_MORE - 1), out));
    key[0] ^= 1;
    crypto_seal(key, ATH_S(""), ATH_S(""), box);
    ck_assert(crypto_open(key, ATH_S(""), str_from((char *)box, SEAL_MORE), out));
}
END_TEST

START_TEST(rotation_d22)
{
    struct buf b = BUF_HEAP;
    char *before, *again, *after;

    start(OLD);
    before = sealed("postgres://u:pw@h/db");
    again = sealed("postgres://u:pw@h/db");
    ck_assert(strstr(before, "enc:v1:") == before && !strstr(before, ":pw@"));
    ck_assert_str_ne(before, again);
    ck_assert(secrets_is_current(str_of(before)));
    ck_assert(!secrets_is_current(ATH_S("postgres://u:pw@h/db")));
    start(" " NEW " , " OLD_BASE64);
    ck_assert_int_eq(opened(before, &b), 0);
    ck_assert_str_eq(b.p, "postgres://u:pw@h/db");
    ck_assert(!secrets_is_current(str_of(before)));
    after = sealed("x");
    start(OLD);
    ck_assert_int_eq(opened(after, &b), ATH_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(e.message, "not in ATHENA_SECRETS_KEY"));
    ck_assert_int_eq(opened("postgres://plain", &b), 0); /* both forms are read */
    ck_assert_str_eq(b.p, "postgres://plain");
    before[strlen(before) - 3] ^= 2;
    ck_assert_int_eq(opened(before, &b), ATH_E_CONFIG);
    ck_assert_int_eq(opened("enc:v1:", &b), ATH_E_CONFIG);
    ck_assert_int_eq(opened("enc:v1:12345678:", &b), ATH_E_CONFIG);
    buf_free(&b);
    free(before);
    free(again);
    free(after);
}
END_TEST

START_TEST(without_a_key)
{
    char *plain;

    start("");
    ck_assert(!secrets_on());
    plain = sealed("postgres://u:pw@h/db");
    ck_assert_str_eq(plain, "postgres://u:pw@h/db");
    ck_assert(secrets_is_current(str_of(plain)));
    free(plain);
}
END_TEST

START_TEST(bad_keys)
{
    static const char *const bad[] = { "short", OLD "0", OLD ",x", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
                                       "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8 " };

    for (size_t i = 0; i < ATH_COUNT(bad) - 1; i++) {
        secrets_stop();
        err_reset(&e);
        ck_assert_int_eq(secrets_start(str_of(bad[i]), &e), ATH_E_CONFIG);
        ck_assert(!secrets_on());
        ck_assert_ptr_null(strstr(e.message, "short")); /* not a word of it */
    }
    start(OLD);
    ck_assert_int_eq(secrets_start(ATH_S(NEW), &e), 0); /* the first one counts */
    ck_assert(secrets_is_current(ATH_S("plain")) == false);
}
END_TEST

START_TEST(masks)
{
    static const char *const row[][2] = {
        { "postgres://u:pw@h:5432/db", "postgres://u:***@h:5432/db" },
        { "postgres://u@h/db", "postgres://u@h/db" },
        { "postgres://h/db", "postgres://h/db" },
        { "athena://u:p@w/x@h/db?sslmode=require", "athena://u:***@h/db?sslmode=require" },
        { "postgres://u:p?w@h/db?application_name=a", "postgres://u:***@h/db?application_name=a" },
        { "postgres://h/db?user=u&password=pw&x=1", "postgres://h/db?user=u&password=***&x=1" },
        { "postgres://h/db?password=pw&application_name=a@b",
          "postgres://h/db?password=***&application_name=a@b" },
        { "postgres://h/db?pass%77ord=pw", "postgres://h/db?pass%77ord=***" },
        { "postgres://h/db?sslpassword=pw&keepalives=1", "postgres://h/db?sslpassword=***&keepalives=1" },
        { "${SHOP_PG_URI}", "${SHOP_PG_URI}" },
        { "postgres://u:${PW}@h/db", "postgres://u:***@h/db" },
        { "host=h password = pw", "***" },
        { "u:pw@h", "***" },
        { "mysql://u:pw@h", "mysql://u:***@h" },
        { "postgres://u:pw", "postgres://u:pw" },
        { "", "" },
        { " ", " " },
    };

    for (size_t i = 0; i < ATH_COUNT(row); i++) {
        struct buf b = BUF_HEAP;
        buf_uri_masked(&b, str_of(row[i][0]));
        ck_assert_str_eq(buf_view(&b).p, row[i][1]);
        buf_free(&b);
    }
}
END_TEST

SUITE("secrets", known_answer, sealing, rotation_d22, without_a_key, bad_keys, masks)
